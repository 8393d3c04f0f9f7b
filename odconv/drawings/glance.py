"""All layers x four heads of one picture, as data for ``glance.js``."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from odconv.attention import HEADS, Heads
from odconv.drawings.colours import DIVERGING
from odconv.drawings.describe import describe_furthest, describe_layer, head_name, join_list, join_sentences, tone_words
from odconv.drawings.differences import Typical, scale_end_of, subtract_typical
from odconv.drawings.names import clean_name
from odconv.drawings.numbers import json_arrays, json_numbers
from odconv.explain import Explanation, effective_kernels
from odconv.words import say, texts

# A strip of channel or filter attention has this many rows of cells, and up to so many cells side by side in a row.
STRIP_ROWS = 32
STRIP_COLUMNS = 8

# What is said of the cell under the pointer.
CELLS = ("cell_tap", "cell_channel", "cell_channels", "cell_kernel")

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
            scale of plus and minus ``span``, see ``scale_end_of``.
    """
    span = None if typical is None else scale_end_of(record, reference, typical)
    drawn, cells = _columns(record, typical, span)
    ghosts = None if reference is None else _ghosts(reference, typical, span)
    columns = []
    for name, layer in record.layers.items():
        stage, label = places[name]
        description = describe_layer(language, layer, None if typical is None else typical[name])
        columns.append(
            {
                "name": name,
                "stage": clean_name(stage),
                "label": clean_name(label),
                "alt": say(language, "glance.layer_alt", layer=clean_name(name), description=description),
                "ghost": None if ghosts is None else ghosts[name],
            }
            | cells[name]
        )
    return {
        "layers": columns,
        "selected": selected,
        "span": span,
        "tones": list(DIVERGING),
        "note": _note(language, record, None if span is None else drawn, reference is not None),
        "alt": say(language, "glance.alt" if typical is None else "glance.alt_difference", count=len(columns)),
        "legend": _legend(language, record),
        "words": {
            "heads": {head: head_name(language, head) for head in HEADS},
            "no_head": say(language, "glance.no_head"),
            "effective": say(language, "glance.effective"),
            **{key: texts(language)[f"glance.{key}"] for key in CELLS},
            **tone_words(language),
        },
    }


def _legend(language: str, record: Explanation) -> dict[str, list[str]]:
    """Head -> the lines of text that explain its row."""
    sides = sorted({layer.weight_shape[-1] for layer in record.layers.values()})
    sizes = join_list(language, (f"{side}×{side}" for side in sides if side > 1))
    cells = [say(language, "glance.cells"), say(language, "glance.rows")]
    return {
        "spatial": [say(language, "glance.taps", sizes=sizes)] if sizes else [],
        "channel": [say(language, "glance.input_channels"), *cells],
        "filter": [say(language, "glance.output_channels"), *cells],
        "kernel": [say(language, "glance.shares" if _most_kernels(record) > 1 else "glance.one_kernel")],
    }


def _note(language: str, record: Explanation, drawn: Mapping[str, Heads[np.ndarray]] | None, ghosts: bool) -> str:
    """The note under the drawing. ``drawn``: the differences, or None; ``ghosts``: whether ghost marks are drawn."""
    sentences = []
    if drawn is not None:
        sentences += [describe_furthest(language, drawn), say(language, "glance.fitted")]
    elif (kernels := _most_kernels(record)) > 1:
        sentences.append(say(language, "glance.effective_range", most=f"{kernels:.1f}"))
    widest = max((max(layer.input_shape[0], layer.output_shape[0]) for layer in record.layers.values()), default=1)
    if (pool := _pool(widest)) > 1:
        sentences.append(say(language, "glance.pooled", most=STRIP_ROWS * STRIP_COLUMNS, count=pool))
    if ghosts:
        sentences.append(say(language, "glance.ghosts" if drawn is None else "glance.ghosts_difference"))
    return join_sentences(language, sentences)


def _most_kernels(record: Explanation) -> int:
    return max((layer.weight_shape[0] for layer in record.layers.values()), default=1)


def _columns(
    record: Explanation, typical: Mapping[str, Typical] | None, span: float | None
) -> tuple[dict[str, Heads[np.ndarray]], dict[str, dict[str, Any]]]:
    """Name of every layer -> what is drawn of it, attention or differences; and -> its cells.

    Numbers of all layers are worked on at once: each call of NumPy takes as long as hundreds of numbers.
    """
    drawn = {
        name: subtract_typical(layer.attention, None if typical is None else typical[name])
        for name, layer in record.layers.items()
    }
    small: dict[tuple[str, str], np.ndarray] = {}
    gates: dict[tuple[str, str], np.ndarray] = {}
    for name, now in drawn.items():
        small |= {(name, head): values for head in ("spatial", "kernel") if (values := getattr(now, head)) is not None}
        gates |= {
            (name, head): values[0] for head in ("channel", "filter") if (values := getattr(now, head)) is not None
        }
    numbers = dict(zip(small, json_arrays(list(small.values())), strict=True))
    effective = _effective_kernels(record)
    strips = dict(zip(gates, _strips(list(gates.values()), span), strict=True))
    cells = {
        name: {
            "spatial": numbers.get((name, "spatial")),
            "channel": strips.get((name, "channel")),
            "filter": strips.get((name, "filter")),
            "kernel": numbers.get((name, "kernel")),
            "effective": effective.get(name),
        }
        for name in drawn
    }
    return drawn, cells


# While a dial is dragged, the reference is the same for every step.
_drawn: WeakKeyDictionary[Explanation, dict[str, dict[str, Any]]] = WeakKeyDictionary()


def _ghosts(
    reference: Explanation, typical: Mapping[str, Typical] | None, span: float | None
) -> dict[str, dict[str, Any]]:
    """Name of every layer -> its cells in the reference."""
    if typical is not None:
        return _columns(reference, typical, span)[1]
    if reference not in _drawn:
        _drawn[reference] = _columns(reference, None, None)[1]
    return _drawn[reference]


def _effective_kernels(record: Explanation) -> dict[str, float]:
    """Name of every layer with kernel attention -> its effective kernels."""
    shares = {name: layer.attention.kernel for name, layer in record.layers.items()}
    found: dict[str, float] = {}
    for count in {len(kernel[0]) for kernel in shares.values() if kernel is not None}:
        alike = {name: kernel for name, kernel in shares.items() if kernel is not None and len(kernel[0]) == count}
        found |= zip(alike, json_numbers(effective_kernels(np.concatenate(list(alike.values())))), strict=True)
    return found


def _pool(channels: int) -> int:
    """How many neighbouring channels a cell of a strip is the mean of."""
    return math.ceil(channels / (STRIP_ROWS * STRIP_COLUMNS))


def _strips(gates: Sequence[np.ndarray], span: float | None) -> list[dict[str, Any]]:
    """For each (C,) of ``gates`` a strip of cells in channel order, row by row, ``columns`` side by side.

    ``levels``: a byte a cell in base64, 0 to 255 for 0 to 1, or for minus to plus ``span``: tones need no more digits, and
    a redraw is small.
    """
    if not gates:
        return []
    sizes = [len(one) for one in gates]
    pools = [_pool(size) for size in sizes]
    starts = [np.arange(0, size, pool) for size, pool in zip(sizes, pools, strict=True)]
    counts = [np.minimum(pool, size - first) for size, pool, first in zip(sizes, pools, starts, strict=True)]
    offsets = np.cumsum([0, *sizes[:-1]])
    joined = np.nan_to_num(np.concatenate(gates), posinf=0, neginf=0)
    begins = np.concatenate([first + offset for first, offset in zip(starts, offsets, strict=True)])
    means = np.add.reduceat(joined, begins) / np.concatenate(counts)
    shares = means if span is None else (means / span + 1) / 2
    levels = np.round(255 * np.clip(shares, 0, 1)).astype(np.uint8).tobytes()
    ends = np.cumsum([len(first) for first in starts]).tolist()
    return [
        {
            "levels": base64.b64encode(levels[end - len(first) : end]).decode("ascii"),
            "columns": math.ceil(len(first) / STRIP_ROWS),
            "pool": pool,
            "count": size,
        }
        for size, pool, first, end in zip(sizes, pools, starts, ends, strict=True)
    ]
