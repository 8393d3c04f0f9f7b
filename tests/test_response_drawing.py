"""What the response curve shows and says."""

import json
import re

import numpy as np
import pytest

from odconv import drawings, explain
from odconv.attention import Heads
from odconv.drawings.response import knob_text
from odconv.response import LayerResponse, distance_from, draw_sweep, respond
from odconv.stimuli import STIMULI
from odconv.words import LANGUAGES
from tests.test_drawings import texts_in, without_texts
from tests.test_response import CARD, PHOTO


def made(shares, language="en", stimulus="grating", value=30.0):
    shares = np.array(shares)
    centre = Heads(None, None, None, shares.mean(0))
    response = LayerResponse(shares, centre, distance_from(centre, Heads(None, None, None, shares)))
    values = np.linspace(STIMULI[stimulus].low, STIMULI[stimulus].high, len(shares))
    return drawings.response_data(
        language, "a.layer", stimulus, values, response, value, Heads(None, None, None, shares[:1])
    )


@pytest.fixture(scope="module")
def drawn(small_model):
    """One layer's response, at a knob between two values of the sweep, and the record it is drawn from."""

    def draw(language, stimulus, layer="layer1.0.conv1"):
        values, batch = draw_sweep(stimulus, CARD, PHOTO)
        response, record = respond(small_model, batch)[layer], explain(small_model, batch[1:2]).layers[layer]
        data = drawings.response_data(language, layer, stimulus, values, response, values[1], record.attention)
        return data, response, record

    return draw


def test_a_line_for_each_kernel_has_the_shares_and_the_cursor_those_of_the_picture(drawn):
    data, response, record = drawn("en", "plain")
    assert [line["name"] for line in data["lines"]] == ["W1", "W2", "W3", "W4"]
    np.testing.assert_allclose([line["values"] for line in data["lines"]], response.shares.T, atol=5.1e-5)
    np.testing.assert_allclose([line["now"] for line in data["lines"]], record.attention.kernel[0], atol=5.1e-5)
    assert data["top"] == 1
    assert [line["reading"] for line in data["lines"]] == [f"{share:.2f}" for share in record.attention.kernel[0]]


def test_the_sentence_names_the_kernel_that_moves_most_and_where():
    data = made([[0.1, 0.5, 0.4], [0.1, 0.2, 0.7], [0.2, 0.3, 0.5]])
    assert data["sentence"] == "W2 moves most: 0.50 at 0°, 0.20 at 90°. Where it has least, W3 leads with 0.70."
    assert data["sentence"] in data["alt"]
    assert made([[0.1, 0.9], [0.102, 0.898]])["sentence"] == "To two digits, nothing moves here: this layer does not notice the knob."  # fmt: skip


def test_without_a_kernel_head_each_head_has_a_line_of_how_far_it_moves(drawn):
    response = LayerResponse(
        None,
        Heads(np.array([[0.5]]), np.array([0.2, 0.4]), None, None),
        Heads(np.array([0.1, 0.0, 0.1]), np.array([0.0, 0.03, 0.15]), None, None),
    )
    attention = Heads(np.array([[[0.75]]]), np.array([[0.3, 0.7]]), None, None)
    data = drawings.response_data("en", "a.layer", "blur", np.array([0.0, 5.0, 10.0]), response, 2.0, attention)
    assert [(line["name"], line["head"], line["now"]) for line in data["lines"]] == [
        ("spatial", "spatial", 0.25),
        ("channel", "channel", 0.2),
    ]
    assert data["top"] == 0.2
    assert data["sentence"] == "The spatial attention moves most: 0.07 from its mean on average, 0.10 at 0 %."


def test_seeds_are_not_joined(drawn):
    assert [name for name in STIMULI if not drawn("en", name)[0]["joined"]] == ["noise"]


@pytest.mark.parametrize("stimulus", STIMULI)
def test_a_response_is_plain_json_in_both_languages_with_the_same_numbers(drawn, stimulus):
    english, chinese = (drawn(language, stimulus)[0] for language in LANGUAGES)
    json.dumps(english, allow_nan=False)
    assert without_texts(english) == without_texts(chinese)
    for text in (one.replace("layer1.0.conv1", "") for one in texts_in(chinese)):
        assert not re.search("[A-Za-z]{3,}", text) or text in Heads._fields, text


def test_numbers_beyond_all_bounds_are_still_json():
    data = made([[np.nan, np.nan], [0.5, 0.5]])
    json.dumps(data, allow_nan=False)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("stimulus", STIMULI)
def test_a_value_is_said_with_its_unit(language, stimulus):
    assert "7.5" in knob_text(language, stimulus, 7.5)
