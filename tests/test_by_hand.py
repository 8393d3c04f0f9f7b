"""Attention that is set by hand: the data of its drawing, and what is taken of a browser's messages."""

import base64

import numpy as np
import pytest

from odconv.attention import HEADS, Heads
from odconv.drawings import by_hand_data
from odconv.switches import AS_LEARNED, MOST_EDITS
from odconv.ui import switching, view
from odconv.ui.link import View
from odconv.words import say

LEARNED = Heads(
    np.linspace(0.1, 0.9, 9, dtype=np.float32).reshape(3, 3),
    np.array([0.2, 0.8], np.float32),
    None,
    np.array([0.5, 0.3, 0.2], np.float32),
)


def test_the_drawing_has_what_was_learned_to_the_last_bit_and_what_is_set():
    edits = [("spatial", 4, 0.25), ("kernel", 0, 0.0)]
    data = by_hand_data("en", LEARNED, edits)
    for head, values in zip(HEADS, LEARNED, strict=True):
        if values is None:
            assert data["heads"][head]["absent"] == say("en", "layer.filter_absent")
        else:
            np.testing.assert_array_equal(
                np.frombuffer(base64.b64decode(data["heads"][head]["learned"]), "<f4"), values.ravel()
            )
    assert data["edits"] == [["spatial", 4, 0.25], ["kernel", 0, 0.0]]
    assert "W2 dominates, 0.60" in data["heads"]["kernel"]["alt"]


@pytest.fixture
def chosen(monkeypatch):
    """The visitor's view, to be set by a test."""
    held = {"view": View()}
    monkeypatch.setattr(view, "current", lambda: held["view"])
    monkeypatch.setattr(view, "wanted_layer", lambda: "layer1.0.conv1")
    return held


def message(*edits, released=True):
    return {"changes": {"hand": [list(edit) for edit in edits]}, "released": released}


def test_setting_an_entry_turns_its_heads_switch_and_unsetting_all_turns_it_back(chosen):
    turn = switching.parse_hand(message(("spatial", 8, 0.5), released=False), LEARNED)
    assert turn.changes == {
        "hand": (("spatial", 8, 0.5),),
        "switches": Heads("hand", "learned", "learned", "learned"),
        "layer": "layer1.0.conv1",
    }
    assert not turn.released
    chosen["view"] = View(hand=turn.changes["hand"], switches=turn.changes["switches"])
    turn = switching.parse_hand(message(("kernel", 0, 1)), LEARNED)
    assert turn.changes["switches"] == Heads("learned", "learned", "learned", "hand")
    chosen["view"] = View(hand=(("spatial", 8, 0.5),), switches=AS_LEARNED._replace(spatial="mean"))
    assert switching.parse_hand(message(("spatial", 8, 0.5)), LEARNED).changes["switches"].spatial == "mean"


@pytest.mark.parametrize(
    "sent",
    [
        None,
        {"changes": {"hand": None}, "released": True},
        {"changes": {}, "released": True},
        {"changes": {"hand": [], "t": 1}, "released": True},
        message(("output", 0, 0.5)),
        message((["spatial"], 0, 0.5)),
        message(("spatial", 9, 0.5)),
        message(("spatial", -1, 0.5)),
        message(("spatial", True, 0.5)),
        message(("filter", 0, 0.5)),
        message(("kernel", 0, 1.01)),
        message(("kernel", 0, float("nan"))),
        message(("kernel", 0, "1")),
        message(("kernel", 0)),
        message(("kernel", 0, 0.5), ("kernel", 0, 0.6)),
        message(*[("spatial", 0, 0.5)] * (MOST_EDITS + 1)),
    ],
)
def test_a_message_that_sets_what_is_not_there_is_refused(chosen, sent):
    with pytest.raises(ValueError, match=r"not|no such|twice"):
        switching.parse_hand(sent, LEARNED)
