"""What the dials show, and what they take from a browser."""

import itertools
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from odconv.attention import Settings
from odconv.ui.dials import STOPS, parse_turn
from odconv.ui.link import TEMPERATURES, View, to_query
from odconv.ui.live import Turn

ROUND = (0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 15, 20, 30)

anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def test_the_dial_stops_at_round_temperatures_and_at_both_ends():
    assert set(ROUND) <= set(STOPS)
    assert (STOPS[0], STOPS[-1]) == TEMPERATURES
    assert list(STOPS) == sorted(STOPS)


def test_the_stops_are_close_together_and_evenly_so_as_far_as_two_digits_allow():
    assert 100 <= len(STOPS) <= 150
    steps = [math.log10(after / before) for before, after in itertools.pairwise(STOPS)]
    assert max(steps) < 0.042  # 1 to 1.1
    assert all(stop == float(f"{stop:.1e}") for stop in STOPS)


@pytest.mark.parametrize("stop", STOPS)
def test_a_stop_is_written_into_a_link_as_the_dial_shows_it(stop):
    query = to_query(View(settings=Settings(temperature=stop)))
    assert query == ({} if stop == 1 else {"t": f"{stop:g}"})
    assert float(f"{stop:g}") == stop


@given(st.sampled_from(STOPS), st.integers(1, 4), st.booleans())
def test_a_turn_changes_what_was_turned_and_nothing_else(stop, kernels, released):
    sent = json.loads(json.dumps({"changes": {"temperature": stop}, "released": released}))
    assert parse_turn(sent, 4) == Turn({"temperature": stop}, released)
    kept = None if kernels == 4 else kernels
    assert parse_turn({"changes": {"kernels": kernels}, "released": released}, 4) == Turn({"kernels": kept}, released)


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "turned",
        [],
        {},
        {"changes": {"temperature": 3}},
        {"changes": {"temperature": 3}, "released": 1},
        {"released": True},
        *[{"changes": changes, "released": True} for changes in (None, [], "temperature", {"layer": "x"}, {"": 1})],
        *[
            {"changes": {"temperature": value}, "released": True}
            for value in (None, True, "3", [3], {}, 0, -1, 30.5, 29.5, 1e308, float("nan"), float("inf"), 10**4000)
        ],
        *[
            {"changes": {"kernels": value}, "released": True}
            for value in (None, True, "3", [3], {}, 0, -1, 5, 2.0, 2.5, float("nan"), 10**4000)
        ],
    ],
    ids=lambda sent: str(sent)[:60],
)
def test_what_no_dial_sends_is_refused(sent):
    with pytest.raises(ValueError):
        parse_turn(sent, 4)


@given(anything, anything, anything)
def test_nothing_that_a_browser_sends_gets_out_of_range(sent, changes, released):
    for message in (
        sent,
        {"changes": changes, "released": released},
        {"changes": {"temperature": sent}, "released": True},
    ):
        try:
            turn = parse_turn(message, 4)
        except ValueError:
            continue
        assert set(turn.changes) <= {"temperature", "kernels"}
        assert turn.changes.get("temperature", 1.0) in STOPS
        assert turn.changes.get("kernels") in (None, 1, 2, 3)


def page(sent):
    import streamlit as st

    from odconv.ui import connection, dials, link, live

    st.session_state.setdefault("view", link.View())
    for message in sent:
        if isinstance(message, dict) and message.get("session") == "this":
            message["session"] = connection.session()
        live.receive(message, lambda sent: dials.parse_turn(sent, 4), "dials")


def turned(*sent):
    app = AppTest.from_function(page, args=(list(sent),)).run()
    assert not app.exception
    return app.session_state


def message(changes, **other):
    return {"changes": changes, "released": False, "seq": 7, "session": "this"} | other


def test_a_turn_is_applied_and_answered():
    state = turned(message({"kernels": 2}), message({"temperature": 0.3}, seq=8))
    assert state["view"].settings == Settings(temperature=0.3, kernels=2)
    assert (state["answered-dials"], state["dragging"]) == (8, "dials")


def test_a_turn_that_was_answered_changes_nothing_when_it_comes_again():
    first = message({"kernels": 2})
    state = turned(first, message({"kernels": 3}, seq=8), first, message({"temperature": 3.0}, seq=8))
    assert state["view"].settings == Settings(kernels=3)
    assert state["answered-dials"] == 8


def test_a_refused_turn_changes_nothing_and_is_answered_so_that_the_dial_shows_what_is_applied(caplog):
    state = turned(message({"kernels": 5}))
    assert state["view"].settings == Settings()
    assert state["answered-dials"] == 7
    assert "dials: ignored" in caplog.text


def test_a_turn_of_another_session_waits_until_the_dial_sends_it_again():
    state = turned(message({"kernels": 2}, session="that"))
    assert state["view"].settings == Settings()
    assert "answered-dials" not in state


@pytest.mark.parametrize(
    "sent",
    [
        None,
        [],
        3,
        "x",
        {},
        message({}, seq="x"),
        message({}, seq=True),
        message({}, seq=10**4000),
        message({}, session=[]),
    ],
    ids=lambda sent: str(sent)[:40],
)
def test_no_message_breaks_the_session(sent):
    state = turned(sent)
    assert state["view"].settings == Settings()
    assert "answered-dials" not in state


def drawn():
    import streamlit as st

    from odconv.ui import live

    st.session_state["drawn"] = live.anew({"number": 1})


def test_the_same_figure_is_other_data_after_every_turn_so_that_a_browser_draws_it_again():
    app = AppTest.from_function(drawn)
    found = []
    for answered in (7, 8):
        app.session_state["answered-dials"] = answered
        found.append(app.run().session_state["drawn"])
    assert [data["number"] for data in found] == [1, 1]
    assert found[0] != found[1]
