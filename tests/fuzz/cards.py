"""Cards beside weights."""

from __future__ import annotations

import json
import tempfile
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from odconv.architecture import Architecture
from odconv.card import Card, card_beside
from odconv.checkpoint import recognise
from odconv.familiar import is_unfamiliar
from odconv.refusal import CheckpointError
from odconv.ui import questions, sidebar, steps, temperatures
from tests.fuzz.checkpoints import small_network
from tests.fuzz.sentences import check_refusal
from tests.fuzz.strategies import changed_bytes, changed_json, to_bytes

MEMORY = 64_000_000  # JSON of 4 MiB as Python objects

GOOD: tuple[dict[str, Any], ...] = (
    {
        "name": "three things",
        "classes": ["a", "b", {"name": "c", "wordnet": "n01"}],
        "image_size": 32,
        "resize": 40,
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 1],
        "stem": "small",
        "data": "none",
        "recipe": "SGD, batch 256; temperature 30 to 1 over 6 epochs (geometric); dropout 0.2",
        "known_weaknesses": "many\nof them",
        "measured": {"top1": 20.0, "top5": 50, "n": 5, "strongest_n_kernels": {"1": {"top1": 9.5}, "2": {"top1": 20}}},
        "familiar": {
            "score": "energy",
            "threshold": -3.5,
            "false_alarms": 5,
            "caught": 61.5,
            "n": 5000,
            "strangers": 900,
        },
    },
    {"classes": ["a", "b", "c"], "image_size": 16, "mean": [0, 0, 0], "std": [1, 1, 1]},
)


def cases(corpus: Sequence[bytes]) -> SearchStrategy[bytes]:
    return st.one_of(changed_json(GOOD).map(to_bytes), changed_bytes([*map(to_bytes, GOOD), *corpus]))


@cache
def architecture() -> Architecture:
    return recognise(small_network())


def check(data: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "weights.json").write_bytes(data)
        try:
            card = card_beside(Path(folder) / "weights.pth", architecture())
        except CheckpointError as error:
            check_refusal(error, folder)
            return error.key
    _check_card(card)
    return "read"


def _check_card(card: Card) -> None:
    assert len(card.classes) == 3
    for text in (card.name, *card.classes, card.data, card.recipe, card.known_weaknesses):
        text.encode()
        assert not [letter for letter in text if unicodedata.category(letter) in ("Cc", "Cs") and letter != "\n"]
    assert 16 <= card.image_size <= card.resize
    assert np.isfinite([*card.mean, *card.std]).all()
    assert min(card.std) > 0
    json.dumps(card.measured)
    # What pages say of it.
    assert "nan" not in sidebar.accuracy(card.measured)
    temperatures.temperature_clauses(card.recipe)
    engine: Any = SimpleNamespace(checkpoint=SimpleNamespace(card=card))
    for measured in (questions._measured_alone(card.measured, 2), steps._accuracies(engine, engine)):
        assert measured is None or np.isfinite(measured).all()
    if card.familiar:
        is_unfamiliar(np.array([[1.0, 2.0, 3.0]]), card.familiar)
