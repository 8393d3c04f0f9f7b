"""The lesson on forging, without a browser: every kind of network, and links that ask for what is not there."""

import pytest

from odconv.attention import Settings
from odconv.forging_view import STEPS
from odconv.ui import forging, view
from odconv.ui.link import LONGEST_SIDE, View
from odconv.words import say
from tests.pages.test_explore import _fresh_caches, captions, headings, opened, sentences  # noqa: F401


def works(app):
    return not app.exception and [box.label for box in app.selectbox if box.key == "forging_layer"] == ["Layer"]


def test_the_page_opens_on_the_first_layer_and_keeps_what_was_chosen_elsewhere():
    app = opened(page="forge", sample="dahlia", t="3")
    assert works(app)
    assert app.selectbox(key="forging_layer").value == "layer1.0.conv1"
    assert any("temperature 3 on all heads" in caption for caption in captions(app))
    assert sentences(app) == []
    app.button(key="forging_reset").click().run()
    assert not any("In force" in caption for caption in captions(app))
    assert not [button for button in app.button if button.key == "forging_reset"]


def test_another_layer_forgets_slice_and_place_of_the_one_before():
    app = opened(page="forge", filter="3", channel="4", place="5,6")
    assert works(app)
    assert dict(app.query_params) | {"place": "5,6"} == dict(app.query_params)
    app.selectbox(key="forging_layer").set_value("layer4.1.conv2").run()
    assert works(app)
    assert dict(app.query_params) == {"layer": "layer4.1.conv2"}


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"place": "33,1"}, "32 × 32 places"),
        ({"filter": "999"}, "filters 0 to 31"),
        ({"layer": "conv9"}, "no layer conv9"),
    ],
    ids=str,
)
def test_what_a_link_asks_for_and_is_not_there_is_one_sentence(query, sentence):
    app = opened(page="forge", **query)
    assert works(app)
    assert len(sentences(app)) == 1
    assert sentence in sentences(app)[0]


@pytest.mark.parametrize(
    ("network", "layer"),
    [
        ("1x1", "layer1.0.conv1"),
        ("one kernel", "layer2.0.conv1"),  # stride 2
        ("1x1, one kernel", "layer1.0.conv3"),
        ("depth-wise", "features.1.conv.0.0"),
    ],
)
def test_every_kind_of_layer_is_forged(shown, network, layer):
    app = shown(network, page="forge", layer=layer, sample="dahlia,espresso", forge="all")
    assert works(app)
    assert sentences(app) == []


def test_a_static_network_has_nothing_to_forge(shown):
    app = shown("static", page="forge", sample="dahlia")
    assert not app.exception
    assert say("en", "static.title") in headings(app)
    assert not any(box.key == "forging_layer" for box in app.selectbox)


@pytest.fixture
def taken(monkeypatch):
    """The changes of the view that a browser's message makes."""
    changes = []
    monkeypatch.setattr(view, "change", lambda **some: changes.append(some))
    return changes


@pytest.mark.parametrize("step", [*STEPS, "all"])
def test_a_step_and_a_place_that_a_browser_sends_are_taken(taken, step):
    forging._go({"step": step, "row": 3, "column": 0})
    forging._go({"step": step, "row": None, "column": None})
    assert taken == [{"forge_step": step, "place": (3, 0)}, {"forge_step": step, "place": None}]


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "pool",
        ["pool", 1, 1],
        {"step": "pool"},
        {"step": "melt", "row": 1, "column": 1},
        {"step": ["pool"], "row": 1, "column": 1},
        {"step": "pool", "row": True, "column": 1},
        {"step": "pool", "row": -1, "column": 1},
        {"step": "pool", "row": 1.5, "column": 1},
        {"step": "pool", "row": None, "column": 1},
        {"step": "pool", "row": LONGEST_SIDE, "column": 1},
        {"step": "pool", "row": "1", "column": 1},
    ],
    ids=str,
)
def test_what_a_browser_makes_up_changes_nothing(taken, sent):
    forging._go(sent)
    assert taken == []


def test_the_view_begins_with_the_first_step_and_the_trained_settings():
    assert (View().forge_step, View().place, View().settings) == (STEPS[0], None, Settings())
