"""All layers x four heads of one picture, as data for ``glance.js``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from odconv.attention import HEADS, Heads
from odconv.drawings.describe import describe_layer, head_name, join_list, join_sentences
from odconv.drawings.differences import Typical, scale_end, subtract_typical
from odconv.drawings.names import clean_name
from odconv.drawings.numbers import json_number, json_numbers
from odconv.explain import Explanation, effective_kernels
from odconv.words import say

QUANTILES = 25  # points of a sorted profile

Place = tuple[str, str]  # where a layer stands: its stage, and its short label within the stage


def glance_data(
    language: str,
    record: Explanation,
    reference: Explanation | None,
    selected: str,
    places: Mapping[str, Place],
    typical: Mapping[str, Typical] | None = None,
) -> dict[str, Any]:
    """The data of ``glance.js``: all layers of one picture in execution order.

    Args:
        language: one of ``odconv.words.LANGUAGES``; all texts in the data are in it.
        record: of one picture (N = 1).
        reference: the untouched network's record of the same picture, drawn as ghost marks; ``None`` where the settings
            are the trained ones.
        selected: name of the chosen layer.
        places: name of every layer of the record -> (stage, short label).
        typical: name of every layer -> its typical attention; where it is given, the differences from it are drawn, on one
            scale of plus and minus ``span``.
    """
    columns, drawn = [], []
    for name, layer in record.layers.items():
        usual = None if typical is None else typical[name]
        now = subtract_typical(layer.attention, usual)
        before = None if reference is None else subtract_typical(reference.layers[name].attention, usual)
        drawn += [now] if before is None else [now, before]
        stage, label = places[name]
        kernel = layer.attention.kernel
        description = describe_layer(language, layer, usual)
        columns.append(
            {
                "name": name,
                "stage": clean_name(stage),
                "label": clean_name(label),
                "alt": say(language, "glance.layer_alt", layer=clean_name(name), description=description),
                "effective": None if kernel is None else json_number(round(float(effective_kernels(kernel[0])), 2)),
                "ghost": None if before is None else _cells(before),
            }
            | _cells(now)
        )
    end = None if typical is None else scale_end(drawn)
    return {
        "layers": columns,
        "selected": selected,
        "span": end,
        "note": _note(language, end, reference is not None),
        "alt": say(language, "glance.alt" if typical is None else "glance.alt_difference", count=len(columns)),
        "legend": _legend(language, record, typical is not None),
        "words": {
            "heads": {head: head_name(language, head) for head in HEADS},
            "no_head": say(language, "glance.no_head"),
        },
    }


def _legend(language: str, record: Explanation, difference: bool) -> dict[str, list[str]]:
    """Head -> the lines of text that explain its row."""
    sides = sorted({layer.weight_shape[-1] for layer in record.layers.values()})
    sizes = join_list(language, (f"{side}×{side}" for side in sides if side > 1))
    most = max((layer.weight_shape[0] for layer in record.layers.values()), default=1)
    profile = say(language, "glance.sorted" if difference else "glance.sorted_gates")
    shares = say(language, "glance.shares_difference" if difference else "glance.shares", most=most)
    kernel = [shares, say(language, "glance.effective")] if most > 1 else [say(language, "glance.one_kernel")]
    return {
        "spatial": [say(language, "glance.taps", sizes=sizes)] if sizes else [],
        "channel": [say(language, "glance.input_channels"), profile],
        "filter": [say(language, "glance.output_channels"), profile],
        "kernel": kernel,
    }


def _note(language: str, end: float | None, ghosts: bool) -> str:
    """The note under the drawing. ``end``: of the scale of differences, or None; ``ghosts``: whether ghost marks are drawn."""
    if end is None:
        return say(language, "glance.ghosts") if ghosts else ""
    sentences = [say(language, "glance.scale", end=f"{end:g}"), say(language, "glance.signs")]
    return join_sentences(language, sentences + ([say(language, "glance.ghosts_in_lines")] if ghosts else []))


def _cells(attention: Heads[np.ndarray]) -> dict[str, Any]:
    spatial, channel, filter, kernel = (None if head is None else head[0] for head in attention)
    return {
        "spatial": None if spatial is None else json_numbers(spatial.ravel()),
        "channel": None if channel is None else _profile(channel),
        "filter": None if filter is None else _profile(filter),
        "kernel": None if kernel is None else json_numbers(kernel),
    }


def _profile(gates: np.ndarray) -> list[float]:
    return json_numbers(np.quantile(gates, np.linspace(1, 0, QUANTILES)))
