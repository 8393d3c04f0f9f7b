"""Familiarity: thresholds and rates are what plain loops count, and the card keeps them with their conditions."""

import json

import numpy as np
import pytest

from odconv import Settings, load_checkpoint
from odconv.familiar import scores
from odconv.training import familiar
from odconv.training.familiar import auroc, measure_familiarity
from odconv.training.measure import Preparation, predict_logits, wilson
from tests.training.conftest import CARD, MEAN, STD, arguments, draw, refusal


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Two folders of other things: greys and whites, and bees again, larger than the network sees them."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for kind, colour, count in (("grey", (128, 128, 128), 60), ("apis", (60, 200, 60), 3), ("dusk", (60, 60, 90), 4)):
        for i in range(count):
            draw(folder / "first" / kind / f"{i:02}.png", colour, 100 + i, 20)
    for i in range(3):
        draw(folder / "second" / "white" / f"{i}.png", (250, 250, 250), i, 20)
    return folder


def options(weights, animals, elsewhere, *more):
    names = [f"first={elsewhere / 'first'}", f"second={elsewhere / 'second'}"]
    common = arguments(weights=weights, data=animals, cache=animals.parent / "cache", device="cpu")
    return [*common, "--others", *names, "--known", "apis", "--doubtful", "dusk", *more]


def test_the_command_writes_into_the_card_what_loops_count(own_weights, animals, pictures, elsewhere, capsys):
    familiar.main(options(own_weights, animals, elsewhere))
    card = json.loads(own_weights.with_suffix(".json").read_text())
    entry, checkpoint = card["familiar"], load_checkpoint(own_weights)
    inside = predict_logits(checkpoint.model, pictures, Preparation(16, MEAN, STD), Settings())
    below = scores(inside, entry["score"]) < entry["threshold"]
    assert entry["false_alarms"] == round(100 * below.mean(), 2)
    assert (entry["n"], entry["strangers"], entry["photos"]["n"]) == (12, 53, 3)  # of the greys, 50
    caught = sum(round(some["caught"] / 100 * some["n"]) for some in entry["caught_of"].values())
    assert {name: some["n"] for name, some in entry["caught_of"].items()} == {"first": 50, "second": 3}
    assert entry["caught"] == round(100 * caught / 53, 2)
    assert entry["caught_interval"] == [round(100 * end, 2) for end in wilson(caught, 53)]
    assert entry["kinds"] == {"first": ["grey"], "second": ["white"]}
    assert (entry["known"], entry["doubtful"]) == (["apis"], ["dusk"])
    assert (card["note"], card["classes"]) == (CARD["note"], CARD["classes"])
    trust = checkpoint.card.familiar
    assert (trust.score, trust.threshold, trust.pictures, trust.strangers) == (
        entry["score"],
        entry["threshold"],
        12,
        53,
    )
    assert f"{entry['score']} below {entry['threshold']:g}: " in capsys.readouterr().out


def test_the_area_under_the_curve_is_how_many_pairs_are_in_order():
    random = np.random.default_rng(0)
    inside, outside = random.integers(0, 9, 30), random.integers(-2, 7, 20)
    pairs = [(a > b) + 0.5 * (a == b) for a in inside for b in outside]
    assert auroc(inside, outside) == pytest.approx(np.mean(pairs))


def test_the_score_that_orders_most_pairs_is_taken_and_its_threshold_is_the_fifth_percentile():
    random = np.random.default_rng(0)
    validation, strange = random.normal(size=(200, 6)), random.normal(size=(80, 6))
    validation[:, 0] += 6  # one class ahead
    strange += 6  # as high, and no class ahead: the probability tells and the logit does not
    entry = measure_familiarity(validation, {"elsewhere": strange}, validation[:0])
    assert entry["score"] == "max_softmax"
    assert (
        entry["auroc"]
        == max(tried["auroc"] for tried in entry["scores"].values())
        > entry["scores"]["max_logit"]["auroc"]
    )
    assert entry["threshold"] == pytest.approx(np.percentile(scores(validation, "max_softmax"), 5), abs=1e-4)
    assert entry["false_alarms"] == 5
    assert entry["caught"] > 50
    assert "photos" not in entry


def test_what_cannot_be_measured_ends_in_one_sentence(own_weights, animals, elsewhere):
    given = options(own_weights, animals, elsewhere)
    assert "There is no class cow in the folders" in refusal(familiar, [*given, "--known", "apis", "cow"])
    assert "no pictures of other things" in refusal(familiar, [*given, "--known", "apis", "grey", "white"])
    assert "There is no folder /nowhere" in refusal(familiar, [*given, "--others", "x=/nowhere"])
    assert "holds no folders with .jpg" in refusal(familiar, [*given, "--others", f"x={elsewhere / 'first' / 'grey'}"])
    assert "familiar" not in json.loads(own_weights.with_suffix(".json").read_text())
    with pytest.raises(SystemExit):
        familiar.main([*given, "--others", "no-name"])
