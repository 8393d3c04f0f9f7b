"""The same layer for several pictures, as data for ``side_by_side.js``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from odconv.attention import HEADS, Heads
from odconv.drawings.colours import DIVERGING
from odconv.drawings.describe import (
    describe_difference,
    describe_head,
    head_name,
    join_list,
    join_sentences,
    tone_words,
)
from odconv.drawings.differences import Typical, scale_end, subtract_typical
from odconv.drawings.names import clean_name
from odconv.drawings.numbers import json_numbers
from odconv.explain import LayerRecord
from odconv.words import say, texts

# Keys of the texts that side_by_side.js fills itself.
TEMPLATES = ("layer.tap", "layer.kernel", "compare.trained_marks", "compare.trained_band")


def side_by_side_data(
    language: str,
    record: LayerRecord,
    reference: LayerRecord | None,
    titles: Sequence[str],
    typical: Typical | None = None,
    end: float | None = None,
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
        end: of the scale of differences, ``scale_end_of`` all layers; ``None``: of this layer alone.
        thumbnails: a data URI for each picture, to stand beside its name; none for names alone.
    """
    now = subtract_typical(record.attention, typical)
    before = None if reference is None else subtract_typical(reference.attention, typical)
    titles = [clean_name(title) for title in titles]
    rows = [
        {
            "title": title,
            "thumbnail": thumbnails[n] if thumbnails else None,
            "trained": None if before is None else _picture(language, title, before, n, typical is not None),
        }
        | _picture(language, title, now, n, typical is not None)
        for n, title in enumerate(titles)
    ]
    if typical is None:
        gates = [values.max() for values in (record.attention.channel, record.attention.filter) if values is not None]
        top = max([1.0, *map(float, gates)])  # gates whose gain is kept can exceed 1
        scale: dict[str, float] = {"top": top}
        note = [say(language, "compare.scale", low=0, high=f"{top:.3g}")]
    else:
        if end is None:
            end = scale_end([now] if before is None else [now, before])
        scale = {"span": end}
        note = [say(language, "compare.scale", low=f"−{end:g}", high=f"+{end:g}"), say(language, "glance.fitted")]
    absent = [head_name(language, head) for head, values in zip(HEADS, record.attention, strict=True) if values is None]
    if absent:
        note.append(say(language, "compare.absent", heads=join_list(language, absent)))
    words = {key.partition(".")[2]: texts(language)[key] for key in TEMPLATES} | {
        "heads": {head: head_name(language, head) for head in HEADS},
        **tone_words(language),
    }
    return {"rows": rows, "note": join_sentences(language, note), "tones": list(DIVERGING), "words": words} | scale


def _picture(language: str, title: str, heads: Heads[np.ndarray], n: int, difference: bool) -> dict[str, Any]:
    """One picture's numbers, and each head in words."""
    describe = describe_difference if difference else describe_head
    drawn: dict[str, Any] = {}
    alts: dict[str, str | None] = {}
    for head, values in zip(HEADS, heads, strict=True):
        drawn[head] = alts[head] = None
        if values is not None:
            drawn[head] = json_numbers(values[n])
            description = describe(language, head, values[n])
            alts[head] = say(language, "compare.title_and_description", title=title, description=description)
    return {"heads": drawn, "alts": alts}
