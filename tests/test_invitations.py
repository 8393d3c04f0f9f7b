"""What the invitations promise is what the bundled network does."""

import pytest

from odconv import Settings, explain, images, load_checkpoint
from odconv.stimuli import STIMULI, draw
from odconv.ui import engine
from odconv.ui.invitations import INVITATIONS
from odconv.ui.pictures import FOLDER
from odconv.words import LANGUAGES, say

LAYER = "layer1.0.conv1"


@pytest.fixture(scope="module")
def ask():
    checkpoint = load_checkpoint(engine.BUNDLED / engine.LESSONS)
    card = checkpoint.card

    def ask(picture, settings=None):
        """The kernel with the largest share in ``LAYER``, counted from 1, that share, and the most likely class."""
        record = explain(checkpoint.model, images.prepare(picture, card), settings)
        shares = record.layers[LAYER].attention.kernel[0]
        return int(shares.argmax()) + 1, float(shares.max()), card.classes[int(record.logits[0].argmax())]

    return ask


def sample(name):
    return images.decode((FOLDER / f"{name}.jpg").read_bytes())


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_invitation_names_what_it_shows(language):
    for name, promised in {"pictures": ("W3", "W1"), "temperature": ("30",), "grating": ("90°", "W1", "W2")}.items():
        text = say(language, f"invitation.{name}")
        assert all(word in text for word in promised)


def test_espresso_takes_w3_and_the_rocket_w1_in_the_layer_that_is_shown(ask):
    invitation = INVITATIONS["pictures"]
    assert invitation["layer"] == LAYER
    taken = [ask(sample(name)) for name in invitation["samples"]]
    assert [kernel for kernel, _, _ in taken] == [3, 1]
    assert all(share > 0.7 for _, share, _ in taken)


def test_at_temperature_30_the_tabby_is_taken_for_a_dog(ask):
    invitation = INVITATIONS["temperature"]
    [name] = invitation["samples"]
    assert ask(sample(name))[2].startswith("tabby")
    assert ask(sample(name), Settings(temperature=invitation["temperature"]))[2] == "golden retriever"


def test_a_grating_that_is_turned_by_90_degrees_goes_from_w1_to_w2(ask):
    invitation = INVITATIONS["grating"]
    start = STIMULI[invitation["stimulus"]].default if invitation["knob"] is None else invitation["knob"]
    assert invitation["layer"] == LAYER
    assert start + 90 <= STIMULI[invitation["stimulus"]].high
    before, after = (ask(draw(invitation["stimulus"], angle, None, 64)) for angle in (start, start + 90))
    assert [before[0], after[0]] == [1, 2]
    assert min(before[1], after[1]) > 0.7
