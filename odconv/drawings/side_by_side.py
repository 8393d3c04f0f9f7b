"""The same layer for several pictures, as data for ``side_by_side.js``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from odconv.attention import HEADS, Heads
from odconv.drawings.describe import describe_difference, describe_head, head_name, join_list, join_sentences
from odconv.drawings.differences import Typical, scale_end, subtract_typical
from odconv.drawings.names import clean_name
from odconv.drawings.numbers import json_numbers
from odconv.explain import LayerRecord
from odconv.words import say, texts


def side_by_side_data(
    language: str,
    record: LayerRecord,
    reference: LayerRecord | None,
    titles: Sequence[str],
    typical: Typical | None = None,
    thumbnails: Sequence[str] = (),
) -> dict[str, Any]:
    """The data of ``side_by_side.js``: one layer for N pictures, a row each, on one scale.

    Args:
        language: one of ``odconv.words.LANGUAGES``; all texts in the data are in it.
        record: of N pictures.
        reference: the untouched network's record of the same layer and pictures, drawn as ghost marks; ``None`` where the
            settings are the trained ones.
        titles: the pictures' names (N), in the order of the record.
        typical: the layer's typical attention; where it is given, the differences from it are drawn.
        thumbnails: a data URI for each picture, to stand beside its name; none for names alone.
    """
    now = subtract_typical(record.attention, typical)
    before = None if reference is None else subtract_typical(reference.attention, typical)
    titles = [clean_name(title) for title in titles]
    describe = describe_head if typical is None else describe_difference
    rows = [
        {
            "title": title,
            "thumbnail": thumbnails[n] if thumbnails else None,
            "heads": _picture(now, n),
            "ghost": None if before is None else _picture(before, n),
            "alts": {
                head: None
                if values is None
                else say(
                    language,
                    "compare.title_and_description",
                    title=title,
                    description=describe(language, head, values[n]),
                )
                for head, values in zip(HEADS, now, strict=True)
            },
        }
        for n, title in enumerate(titles)
    ]
    if typical is None:
        gates = [values.max() for values in (record.attention.channel, record.attention.filter) if values is not None]
        top = max([1.0, *map(float, gates)])  # gates whose gain is kept can exceed 1
        scale: dict[str, float] = {"top": top}
        note = [say(language, "compare.scale", low=0, high=f"{top:.3g}")]
    else:
        end = scale_end([now] if before is None else [now, before])
        scale = {"span": end}
        note = [say(language, "compare.scale", low=f"−{end:g}", high=f"+{end:g}"), say(language, "glance.signs")]
    absent = [head_name(language, head) for head, values in zip(HEADS, record.attention, strict=True) if values is None]
    if absent:
        note.append(say(language, "compare.absent", heads=join_list(language, absent)))
    if reference is not None:
        note.append(say(language, "glance.ghosts_in_lines"))
    words = {
        "heads": {head: head_name(language, head) for head in HEADS},
        "tap": texts(language)["layer.tap"],
        "kernel": texts(language)["layer.kernel"],
    }
    return {"rows": rows, "note": join_sentences(language, note), "words": words} | scale


def _picture(heads: Heads[np.ndarray], n: int) -> dict[str, Any]:
    pairs = zip(HEADS, heads, strict=True)
    return {head: None if values is None else json_numbers(values[n]) for head, values in pairs}
