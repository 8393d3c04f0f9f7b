"""One layer of one picture in full, as data for ``layer.js``."""

from __future__ import annotations

from typing import Any

import numpy as np

from odconv.attention import HEADS, Heads
from odconv.cost import LayerCost
from odconv.drawings.colours import DIVERGING
from odconv.drawings.describe import (
    describe_absence,
    describe_cost,
    describe_difference,
    describe_head,
    describe_shapes,
    difference_statistics_text,
    statistics_text,
    tone_words,
)
from odconv.drawings.differences import Typical, scale_end, subtract_typical
from odconv.drawings.numbers import json_numbers
from odconv.explain import LayerRecord
from odconv.words import say, texts

# Keys of the texts that layer.js needs for single numbers and for its buttons. It fills their placeholders itself.
TEMPLATES = (
    "tap",
    "kernel",
    "channel",
    "channel_and_trained",
    "channel_axis",
    "sorted_axis",
    "left_out",
    "trained_marks",
    "trained_band",
    "choices",
    "sort",
    "fit",
    "fitted",
)


def layer_data(
    language: str,
    record: LayerRecord,
    reference: LayerRecord | None,
    cost: LayerCost,
    typical: Typical | None = None,
    end: float | None = None,
) -> dict[str, Any]:
    """The data of ``layer.js``: shapes, cost, equation and the four heads of one layer.

    Args:
        language: one of ``odconv.words.LANGUAGES``; all texts in the data are in it.
        record: of one picture (N = 1).
        reference: the untouched network's record of the same layer and picture, drawn as ghost marks; ``None`` where the
            settings are the trained ones.
        cost: of this layer.
        typical: the layer's typical attention; where it is given, the difference from it is drawn.
        end: of the scale of differences, ``scale_end_of`` all layers; ``None``: of this layer alone.
    """
    now = subtract_typical(record.attention, typical)
    before = None if reference is None else subtract_typical(reference.attention, typical)
    if typical is not None and end is None:
        end = scale_end([now] if before is None else [now, before])
    words = {key: texts(language)[f"layer.{key}"] for key in TEMPLATES} | tone_words(language)
    return {
        "shapes": describe_shapes(language, record),
        "cost": describe_cost(language, record, cost),
        "equation": say(language, "layer.equation"),
        "span": None if typical is None else end,
        "tones": list(DIVERGING),
        "note": "" if typical is None else say(language, "glance.fitted"),
        "heads": {
            head: _head_data(language, head, record, now, reference, before, typical is not None) for head in HEADS
        },
        "words": words,
    }


def _head_data(
    language: str,
    head: str,
    record: LayerRecord,
    now: Heads[np.ndarray],
    reference: LayerRecord | None,
    before: Heads[np.ndarray] | None,
    difference: bool,
) -> dict[str, Any]:
    """The data of one head's panel.

    ``now`` and ``before``: what is drawn of the record and of the reference, attentions or, with ``difference``, differences
    from the typical.
    """
    title = say(language, f"head.{head}_attention")
    values = getattr(now, head)
    if values is None:
        return {"title": title, "absent": describe_absence(language, head)}
    trained = None
    if reference is not None and before is not None:
        trained = _numbers(language, head, reference, getattr(before, head)[0], difference)
    return {
        "title": title,
        "caption": say(language, f"layer.{head}_{'difference' if difference else 'caption'}"),
        "trained": trained,
    } | _numbers(language, head, record, values[0], difference)


def _numbers(language: str, head: str, record: LayerRecord, values: np.ndarray, difference: bool) -> dict[str, Any]:
    """What a panel shows of one record: ``values``, and what is said of them."""
    data: dict[str, Any] = {"values": json_numbers(values)}
    if difference:
        data["alt"] = describe_difference(language, head, values)
        data["statistics"] = difference_statistics_text(language, values)
    else:
        data["alt"] = describe_head(language, head, values)
        data["statistics"] = statistics_text(language, head, values)
    if head == "kernel" and record.kept is not None:
        data["kept"] = record.kept[0].tolist()
    return data
