"""What the knob of a stimulus takes from a browser."""

import pytest
from streamlit.testing.v1 import AppTest

from odconv.stimuli import STIMULI


def page(sent, opens_at, layer):
    import streamlit as st

    from odconv.ui import connection, knob, link, live, view

    st.session_state["view"] = link.View(source="stimuli", stimulus="checkerboard", layer=layer)
    view.open_at(opens_at)
    message = {"released": False, "seq": 3, "session": connection.session()} | sent
    live.receive(message, lambda sent: knob.parse_turn(sent, "checkerboard"), "knob")


def turned(sent, opens_at="", layer=""):
    app = AppTest.from_function(page, kwargs={"sent": sent, "opens_at": opens_at, "layer": layer}).run()
    assert not app.exception
    return app.session_state


@pytest.mark.parametrize("stop", [4, 64, 128])
def test_a_turn_moves_the_knob_and_is_answered(stop):
    state = turned({"changes": {"checkerboard": stop}})
    assert state["view"].knob == stop
    assert state["view"].layer == ""
    assert (state["answered-knob"], state["dragging"]) == (3, "knob")


@pytest.mark.parametrize(
    "changes",
    [
        *[{"checkerboard": value} for value in (None, True, "4", [4], {}, 0, 5, 129, 1e308, float("nan"), 10**400)],
        {},
        {"grating": 4},
        {"checkerboard": 4, "grating": 4},
        {"knob": 4},
        None,
        [4],
    ],
    ids=str,
)
def test_what_no_knob_sends_is_refused_and_answered(changes):
    state = turned({"changes": changes})
    assert state["view"].knob is None
    assert state["answered-knob"] == 3


def test_the_layer_that_several_pictures_opened_at_stays_from_the_first_turn_on():
    assert turned({"changes": {"checkerboard": 8}}, opens_at="layer4.1.conv1")["view"].layer == "layer4.1.conv1"
    named = turned({"changes": {"checkerboard": 8}}, opens_at="layer4.1.conv1", layer="layer1.0.conv1")
    assert named["view"].layer == "layer1.0.conv1"


@pytest.mark.parametrize("name", STIMULI)
def test_every_mark_of_a_knob_is_a_stop(name):
    from odconv.ui.knob import MARKED

    assert set(MARKED[name]) <= set(STIMULI[name].stops)
