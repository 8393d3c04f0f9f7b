"""Cases side by side, as data for ``cases.js``: a picture, what one layer makes for it, and what the network says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from odconv.attention import HEADS, Heads
from odconv.drawings.colours import DIVERGING
from odconv.drawings.describe import describe_absence, join_list
from odconv.drawings.kernel import largest_size, weight_digits
from odconv.drawings.names import clean_name
from odconv.drawings.numbers import json_number, json_numbers
from odconv.start import Case
from odconv.words import say, texts, to_text

LISTED = 3  # classes of each case
TEMPLATES = (
    "kernel",
    "spatial",
    "channel",
    "filter",
    "forged",
    "says",
    "gate_tones",
    "weight_tones",
)  # what cases.js says of its parts


def cases_data(
    language: str,
    cases: Sequence[Case],
    thumbnails: Sequence[str],
    names: Sequence[str],
    slice: str,
    *,
    scaled_with: Sequence[Case] = (),
    brief: bool = False,
) -> dict[str, Any]:
    """The data of ``cases.js``.

    Args:
        language: one of ``odconv.words.LANGUAGES``; all texts in the data are in it.
        cases: at least one, all of the same layer shape.
        thumbnails: of each case's picture, data URIs; empty text for a case without one.
        names: of the classes.
        slice: says which slice of the kernel is shown; empty where another drawing beside says it, and what tones mean.
        scaled_with: more cases, drawn elsewhere, whose kernels are to have the same scale.
        brief: whether each case's attention is left out.
    """
    end = largest_size(*(case.forged for case in (*cases, *scaled_with)))
    dynamic = any(head is not None for case in cases for head in case.attention)
    return {
        "cases": [
            _case(language, case, thumbnail, names, brief) for case, thumbnail in zip(cases, thumbnails, strict=True)
        ],
        "slice": slice,
        "gates": dynamic and not brief,
        "span": end,
        "tones": [list(bytes.fromhex(tone[1:])) for tone in DIVERGING],
        "digits": weight_digits(end),
        "words": {key: texts(language)[f"case.{key}"] for key in TEMPLATES}
        | {key: texts(language)[f"forge.{key}"] for key in ("weight", "tap")},
    }


def _case(language: str, case: Case, thumbnail: str, names: Sequence[str], brief: bool) -> dict[str, Any]:
    title = clean_name(to_text(language, case.title))
    order = map(int, np.argsort(-case.probabilities, kind="stable")[:LISTED])
    rows = [{"name": names[i], "probability": json_number(case.probabilities[i])} for i in order]
    listed = join_list(language, (f"{row['name']} {row['probability']:.2f}" for row in rows))
    dynamic = any(head is not None for head in case.attention)
    return {
        "title": title,
        "thumbnail": thumbnail,
        "heads": _heads(language, case.attention) if dynamic and not brief else None,
        "fixed": "" if dynamic or brief else say(language, "case.fixed"),
        "forged": json_numbers(case.forged, 8),
        "rows": rows,
        "alt": say(language, "case.alt", title=title, classes=listed),
    }


def _heads(language: str, attention: Heads[np.ndarray]) -> dict[str, dict[str, Any]]:
    return {
        name: {"absent": describe_absence(language, name)}
        if values is None
        else {"values": json_numbers(values), "range": _range(language, values)}
        for name, values in zip(HEADS, attention, strict=True)
    }


def _range(language: str, values: np.ndarray) -> str:
    return say(language, "case.range", low=f"{values.min():.2f}", high=f"{values.max():.2f}")
