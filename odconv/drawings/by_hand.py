"""One layer's attention with entries that a visitor sets, as data for ``by_hand.js``, which redraws every move by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from odconv.attention import HEADS, Heads
from odconv.drawings.describe import describe_absence, describe_head, head_name
from odconv.drawings.tempered import floats
from odconv.switches import MOST_EDITS, Edit, set_by_hand
from odconv.words import say, texts

# What by_hand.js fills and says of single entries.
TEMPLATES = ("tap", "gate", "share", "set", "full", "back", "keys")


def by_hand_data(language: str, learned: Heads[np.ndarray], edits: Sequence[Edit]) -> dict[str, Any]:
    """The data of ``by_hand.js``: one layer, head by head.

    Args:
        language: one of ``odconv.words.LANGUAGES``; all texts in the data are in it.
        learned: the layer's attention for one picture, without N.
        edits: the entries that are set.
    """
    applied = set_by_hand(learned, edits)
    return {
        "heads": {head: _head_data(language, head, getattr(learned, head), getattr(applied, head)) for head in HEADS},
        "edits": [[head, entry, value] for head, entry, value in edits],
        "most": MOST_EDITS,
        "words": {key: texts(language)[f"by_hand.{key}"] for key in TEMPLATES},
    }


def _head_data(language: str, head: str, learned: np.ndarray | None, applied: np.ndarray | None) -> dict[str, Any]:
    title = say(language, f"head.{head}_attention")
    if learned is None or applied is None:
        return {"title": title, "absent": describe_absence(language, head)}
    return {
        "title": title,
        "label": say(language, "by_hand.label", head=head_name(language, head)),
        "learned": floats(learned),
        "alt": describe_head(language, head, applied),
    }
