"""The most likely classes of one picture, as data for ``prediction.js``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from odconv.drawings.describe import join_list
from odconv.drawings.names import first_synonym
from odconv.drawings.numbers import json_number
from odconv.explain import Explanation
from odconv.words import say


def prediction_data(
    language: str, record: Explanation, reference: Explanation | None, classes: Sequence[str], most: int = 5
) -> dict[str, Any]:
    """The data of ``prediction.js``: the ``most`` likely classes of one picture, and the untouched network's probability of each.

    Args:
        language: one of ``odconv.words.LANGUAGES``; all texts in the data are in it.
        record: of one picture (N = 1).
        reference: the untouched network's record of the same picture, drawn as ghost marks; ``None`` where the settings
            are the trained ones.
        classes: names in the order of the logits; of synonyms separated by commas the first is shown.
        most: how many classes, at least 1.
    """
    shares = record.probabilities[0]
    trained = None if reference is None else reference.probabilities[0]
    names = [first_synonym(name) for name in classes]
    rows = [
        {
            "name": names[i],
            "probability": json_number(shares[i]),
            "ghost": None if trained is None else json_number(trained[i]),
        }
        for i in map(int, np.argsort(-shares, kind="stable")[:most])
    ]
    as_trained = shares if trained is None else trained
    best = int(as_trained.argmax())
    listed = join_list(language, (f"{row['name']} {row['probability']:.2f}" for row in rows))
    return {
        "rows": rows,
        # Always there, and hidden under the trained settings, so that nothing below it moves when a dial is turned.
        "note": say(language, "prediction.note", name=names[best], share=f"{as_trained[best]:.2f}"),
        "compared": trained is not None,
        "alt": say(language, "prediction.alt", classes=listed),
        "words": {"as_trained": say(language, "prediction.as_trained")},
    }
