"""What dividing by the temperature makes of one layer's logits, and of the output's, as data for JavaScript to redraw live.

The browser gets the logits and computes what follows from them by itself, at every move of a dial.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from odconv.attention import HEADS, Settings
from odconv.drawings.describe import describe_absence, describe_head, join_list
from odconv.drawings.names import first_synonym
from odconv.explain import Explanation, LayerRecord
from odconv.words import say, texts

# What tempered.js says of single numbers, fills into its captions, and calls its columns.
TEMPLATES = (
    "at",
    "curve",
    "logit",
    "divided",
    "gate",
    "gate_kept",
    "sorted",
    "range",
    "gain",
    "tap",
    "channel",
    "steps",
    "steps_kept",
    "candidate",
    "less",
    "power",
    "share",
    "sum",
    "softmax_note",
    "effective",
    "badge",
)
FIRST = 5  # of the classes, those that are listed


def floats(values: np.ndarray) -> str:
    """``values`` to the last bit, for a JavaScript Float32Array: little-endian float32, row by row, in base64."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode("ascii")


def tempered_data(language: str, record: LayerRecord, settings: Settings) -> dict[str, Any]:
    """The data of ``tempered.js``: the four heads of one layer, from logit to attention.

    Args:
        language: one of ``odconv.words.LANGUAGES``; all texts in the data are in it.
        record: of one picture (N = 1).
        settings: what it was recorded under; kernels, ablated heads and chosen layers are not drawn.

    Raises:
        ValueError: ``settings`` has more than temperatures and their gain.
    """
    if Settings(settings.temperature, settings.tempered, compensate=settings.compensate) != settings:
        raise ValueError(f"{settings}: only temperature, tempered and compensate are drawn")
    return {
        "heads": {head: _head_data(language, head, record) for head in HEADS},
        "divisors": list(settings.divisors),
        "keep_gain": settings.compensate,
        "words": {key: texts(language)[f"temper.{key}"] for key in TEMPLATES},
    }


def _head_data(language: str, head: str, record: LayerRecord) -> dict[str, Any]:
    title, logits = say(language, f"head.{head}_attention"), getattr(record.logits, head)
    if logits is None:
        return {"title": title, "absent": describe_absence(language, head)}
    attention = getattr(record.attention, head)
    return {
        "title": title,
        "logits": floats(logits[0]),
        "applied": floats(attention[0]),
        "alt": describe_head(language, head, attention[0]),
    }


def output_data(language: str, trained: Explanation, now: Explanation, classes: Sequence[str]) -> dict[str, Any]:
    """The data of ``output.js``: the same temperature on the output's softmax alone, for the classes most likely as trained.

    Args:
        language: one of ``odconv.words.LANGUAGES``; all texts in the data are in it.
        trained: the untouched network's record of one picture (N = 1).
        now: the record of the same picture with tempered attention. The sentence says what became of the order.
        classes: names in the order of the logits; of synonyms separated by commas the first is shown.
    """
    first = _order(trained)[:FIRST]
    names = [first_synonym(classes[i]) for i in first]
    return {
        "logits": floats(trained.logits[0]),
        "rows": [{"name": name, "index": i} for name, i in zip(names, first, strict=True)],
        "divisors": list(now.settings.divisors),
        "alt": say(language, "temper.output_alt", classes=join_list(language, names)),
        "note": say(language, "temper.output_note"),
        "sentence": _order_sentence(language, trained, now, classes),
        "words": {key: texts(language)[f"temper.{key}"] for key in ("at", "output_differ", "output_trained")},
    }


def _order(record: Explanation) -> list[int]:
    return [int(i) for i in np.argsort(-record.logits[0], kind="stable")]


def _order_sentence(language: str, trained: Explanation, now: Explanation, classes: Sequence[str]) -> str:
    """What tempered attention does to the order of the classes that are listed."""
    before, after = _order(trained), _order(now)
    listed = [i for i in after if i in before[:FIRST]]
    changed = listed != before[:FIRST]
    order = join_list(language, (first_synonym(classes[i]) for i in listed))
    if before[0] == after[0]:
        return say(language, "temper.order_changed" if changed else "temper.order_same", order=order)
    first = {"before": first_synonym(classes[before[0]]), "after": first_synonym(classes[after[0]])}
    return say(language, "temper.order_first", order=order, **first)
