"""Whether a picture may be of none of the classes: scores are what loops give, and the note says what is known."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from odconv.card import Card
from odconv.checkpoint import load_checkpoint
from odconv.familiar import SCORES, Familiarity, is_unfamiliar, scores
from odconv.ui import engine, familiar, text
from odconv.ui.pictures import Picture, samples
from odconv.words import LANGUAGES

CLASSES = tuple(
    entry["name"] for entry in json.loads((engine.BUNDLED / engine.LESSONS).with_suffix(".json").read_text())["classes"]
)
TRUST = Familiarity("max_softmax", 0.1, 5.0, 10_000, 11.4, 3_700)


def test_scores_are_what_loops_over_the_logits_give():
    logits = np.random.default_rng(0).normal(0, 3, (20, 7)).astype(np.float32)
    rows = [[float(value) for value in row] for row in logits]
    energies = [math.log(math.fsum(map(math.exp, row))) for row in rows]
    np.testing.assert_array_equal(scores(logits, "max_logit"), list(map(max, rows)))
    np.testing.assert_allclose(scores(logits, "energy"), energies, rtol=1e-12)
    expected = [math.exp(max(row) - energy) for row, energy in zip(rows, energies, strict=True)]
    np.testing.assert_allclose(scores(logits, "max_softmax"), expected, rtol=1e-12)


@pytest.mark.parametrize("score", SCORES)
def test_scores_of_logits_beyond_what_can_be_raised_are_finite(score):
    assert np.isfinite(scores(np.array([[3e38, -3e38], [-2e4, -3e4]], np.float32), score)).all()


def test_a_picture_is_unfamiliar_below_the_threshold_and_not_at_it_and_not_where_there_is_no_number():
    trust = Familiarity("max_logit", 2.5, 5.0, 100, 40.0, 60)
    assert is_unfamiliar(np.array([[2.4, 1.0]], np.float32), trust)
    assert not is_unfamiliar(np.array([[2.5, 1.0]], np.float32), trust)
    for score in SCORES:
        trust = Familiarity(score, 1e30, 5.0, 100, 40.0, 60)
        assert not is_unfamiliar(np.full((1, 3), np.nan, np.float32), trust)


# --- the note -------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=LANGUAGES)
def language(request, monkeypatch):
    monkeypatch.setattr(text, "language", lambda: request.param)
    return request.param


@pytest.fixture
def english(monkeypatch):
    monkeypatch.setattr(text, "language", lambda: "en")


def card(classes=CLASSES, trust=TRUST):
    return Card("net", classes, 64, 64, (0.5,) * 3, (0.2,) * 3, "small", familiar=trust)


def picture(sample=None, drawn=False):
    return Picture("digest", "title", "alt", Image.new("RGB", (8, 8)), sample, drawn)


def logits_for(first, classes=CLASSES, height=9.0):
    logits = np.zeros((1, len(classes)), np.float32)
    logits[0, classes.index(first)] = height
    return logits


def note(*arguments):
    return familiar.to_sentence(*arguments).replace("\\", "")


def test_the_samples_speak_of_the_classes_of_every_bundled_network():
    for path in engine.BUNDLED.glob("*.json"):
        names = [entry["name"] for entry in json.loads(path.read_text(encoding="utf-8"))["classes"]]
        assert familiar.fingerprint(names) in (familiar.TINY_IMAGENET, familiar.IMAGENET), path.name


def test_of_a_sample_it_is_said_what_it_is_or_that_it_is_none_of_the_classes(english):
    for id, sample in samples().items():
        said = note(picture(id), logits_for("pretzel"), card())
        if sample.known is None:
            assert said == "This picture is of none of its 200 classes: whatever it names is wrong."
        else:
            assert f"really is of the class {sample.known.partition(',')[0]}; " in said
            assert said.endswith("takes it for pretzel.")
            assert note(picture(id), logits_for(sample.known), card()) == ""


def test_a_sample_may_be_of_several_of_a_thousand_classes_and_each_of_them_is_right(english):
    thousand = load_checkpoint(engine.BUNDLED / engine.PHOTOS).card
    for id, sample in samples().items():
        said = note(picture(id), logits_for("pretzel", thousand.classes), thousand)
        if sample.thousand:
            assert f"really is of the class {sample.thousand[0].partition(',')[0]}; " in said
        else:
            assert said == "This picture is of none of its 1,000 classes: whatever it names is wrong."
        assert all(note(picture(id), logits_for(name, thousand.classes), thousand) == "" for name in sample.thousand)
    assert any(len(sample.thousand) > 1 for sample in samples().values())


def test_a_stimulus_is_none_of_the_classes_and_a_blurred_sample_is_what_it_was(english):
    assert "is drawn and of none of its 200 classes" in note(picture(drawn=True), logits_for("pretzel"), card())
    assert "of the class tabby" in note(picture("tabby-cat"), logits_for("pretzel"), card())


def test_other_pictures_are_judged_by_the_score_and_the_note_tells_how_far_to_trust_it(english):
    low, high = logits_for("pretzel", height=0.5), logits_for("pretzel")
    said = note(picture(), low, card())
    assert said.startswith(
        "Perhaps none of its 200 classes: as trained, the probability of its first choice is lower than"
    )
    for number in ("95\u00a0%", "10,000", "5\u00a0%", "11\u00a0%", "3,700"):
        assert number in said
    said = note(picture(), high, card())
    assert "whatever it is shown" in said
    assert "11\u00a0%" in said


def test_networks_of_other_classes_know_nothing_of_the_samples(english):
    classes = ("espresso", *CLASSES[1:])  # one of them has another name
    low = logits_for("espresso", classes, 0.5)
    for shown in (picture("raccoon"), picture(drawn=True), picture()):
        assert note(shown, low, card(classes)).startswith("Perhaps none of its 200 classes")
        assert note(shown, low, card(classes, None)) == ""
    assert note(picture(), logits_for("pretzel"), card(trust=None)) == ""


def test_nothing_is_said_of_what_is_no_number(language):
    for shown in (picture("raccoon"), picture("rocket"), picture(drawn=True), picture()):
        assert note(shown, np.full((1, 200), np.nan, np.float32), card()) == ""
