"""The data of the switches' table and map: the numbers of the effects, and sentences that say what they are."""

import json

import numpy as np
import pytest

from odconv.attention import HEADS, Heads
from odconv.drawings import effects_data, switches_data
from odconv.switches import AS_LEARNED, CHOICES, Effect, Switches
from odconv.words import LANGUAGES, say

CLASSES = ["tabby, tabby cat", "espresso", "lynx"]
TRAINED = np.array([2.0, 1.0, 0.0], np.float32)
WAS = np.exp(2.0) / np.exp([2.0, 1.0, 0.0]).sum()
WORDS = {"pictures": "10,000", "seed": 7, "donor": "a | b", "layer": "layer1.0.conv1"}
NONE = Effect(0.0, float(WAS), 0)


def data(choices=AS_LEARNED, language="en", present=HEADS, **effects):
    known = {head: NONE for head in present} | {"all": NONE} | effects
    relatives = {"static": Effect(-4.2, 0.01, 1), "dyconv": Effect(0.3, 0.7, 0)}
    return switches_data(
        language,
        Switches(choices),
        CHOICES,
        present,
        "layer1.0.conv1",
        known,
        relatives,
        "mean",
        TRAINED,
        CLASSES,
        WORDS,
    )


def test_each_row_has_the_effect_of_its_own_switch_on_one_scale():
    choices = Heads("mean", "learned", "learned", "shuffled")
    lost = Effect(-1.234, 0.251, 0)
    drawn = data(choices, spatial=lost, all=Effect(-2.5, 0.1, 1))
    rows = {row["head"]: row for row in drawn["rows"]}
    assert list(rows) == list(HEADS)
    assert rows["spatial"]["effect"] == {"logit": -1.234, "text": "−1.23", "probability": "0.67 → 0.25"}
    assert rows["channel"]["effect"]["text"] == "0.00"
    assert [row["choice"] for row in drawn["rows"]] == list(choices)
    assert drawn["total"]["text"] == "−2.50"
    assert drawn["span"] == 5  # the relative's 4.2, rounded up
    assert [row["id"] for row in drawn["relatives"]] == ["static", "dyconv"]


def test_only_what_is_in_use_is_explained_and_a_head_that_is_not_there_says_why():
    drawn = data(Heads("typical", "learned", "typical", "mean"), present=("spatial", "channel", "filter"))
    assert [one["name"] for one in drawn["meanings"]] == [
        "typical: mean of 10,000 pictures",
        "own mean: all entries alike",
    ]
    assert drawn["rows"][3]["absent"] == say("en", "layer.kernel_absent")
    assert drawn["rows"][3]["effect"] is None


@pytest.mark.parametrize(
    ("choices", "effects", "sentence"),
    [
        (
            AS_LEARNED,
            {},
            "As trained: tabby, 0.67. Which head does it need most? Guess, then put something else in the place of one.",
        ),
        (
            Heads("mean", "learned", "learned", "learned"),
            {"spatial": Effect(-1.0, 0.4, 0), "all": Effect(-1.0, 0.4, 0)},
            "tabby: 0.67 as trained, 0.40 with these switches; it stays the first choice.",
        ),
        (
            Heads("mean", "learned", "learned", "argmax"),
            {"spatial": Effect(-1.0, 0.4, 0), "kernel": Effect(-3.0, 0.1, 1), "all": Effect(-4.0, 0.05, 1)},
            "tabby: 0.67 as trained, 0.05 with these switches; the first choice is now espresso. "
            "Of single switches, the one on kernel attention costs most: 0.10 left.",
        ),
        (
            Heads("mean", "learned", "learned", "argmax"),
            {"spatial": Effect(1.0, 0.8, 0), "kernel": Effect(2.0, 0.9, 0), "all": Effect(9.0, 0.3, 2)},
            "tabby: 0.67 as trained, 0.30 with these switches; the first choice is now lynx. "
            "No single switch costs it anything. Its logit rose, but those of other classes rose more.",
        ),
    ],
)
def test_the_sentence_says_what_the_effects_are(choices, effects, sentence):
    assert data(choices, **effects)["sentence"] == sentence


CELLS = [("a", "spatial"), ("a", "channel"), ("b", "channel")]
PLACES = {"a": ("stage 1", "0·1"), "b": ("stage 1", "0·2")}


def test_a_cell_of_the_map_has_its_effect_waits_for_it_or_is_not_there():
    known = {("a", "spatial"): Effect(-0.8, 0.5, 0), ("b", "channel"): Effect(3.0, 0.9, 0)}
    drawn = effects_data("en", CELLS, known, PLACES, ("a", "channel"), TRAINED, CLASSES, "own mean")
    first, second = drawn["layers"]
    assert [None if cell is None else cell["value"] for cell in first["cells"]] == [-0.8, None, None, None]
    assert first["cells"][1]["title"] == "a, channel: not computed yet"
    assert second["cells"][0] is None
    assert second["cells"][1] == {
        "head": "channel",
        "value": 3.0,
        "title": "b, channel: logit +3.00, probability 0.67 → 0.90",
    }
    assert drawn["span"] == 5
    assert drawn["sentence"] == ""  # not before all are known


def test_the_map_names_the_cell_and_the_row_that_cost_most():
    known = {CELLS[0]: Effect(-0.8, 0.5, 0), CELLS[1]: Effect(-2.0, 0.3, 1), CELLS[2]: Effect(1.0, 0.9, 0)}
    sentence = effects_data("en", CELLS, known, PLACES, None, TRAINED, CLASSES, "own mean")["sentence"]
    row = (0.5 - WAS, ((0.3 - WAS) + (0.9 - WAS)) / 2)
    assert row[0] < row[1]
    assert sentence == (
        "The cell that costs tabby most: channel attention in a, probability 0.67 to 0.30. "
        f"Averaged over its layers, spatial attention costs most: −{-row[0]:.2f}."
    )
    none = dict.fromkeys(CELLS, NONE)
    assert "costs tabby anything" in effects_data("en", CELLS, none, PLACES, None, TRAINED, CLASSES, "")["sentence"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_data_are_plain_json_in_every_language_even_where_a_network_gave_no_numbers(language):
    broken = Effect(float("nan"), float("nan"), 0)
    drawn = data(Heads(*["mean"] * 4), language, spatial=broken, all=broken)
    json.dumps(drawn, allow_nan=False)
    assert drawn["total"] == {"logit": 0.0, "text": "–", "probability": "–"}
    json.dumps(
        effects_data(language, CELLS, dict.fromkeys(CELLS, broken), PLACES, None, TRAINED, CLASSES, ""), allow_nan=False
    )
