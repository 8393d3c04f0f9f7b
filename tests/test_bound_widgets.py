"""A bound widget shows what the view says, and never has a browser overwrite what it shows with another value."""

import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.widgets import find


def page():
    import streamlit as st

    from odconv.ui import view

    def choose(key, value):
        st.session_state["values"] |= {key: value}

    options = {name: name.upper() for name in "abc"}
    values = st.session_state.setdefault(
        "values", {"pills": ["a"], "segments": "a", "box": "a", "radio": "a", "number": 1, "toggle": False}
    )
    kinds = {
        "pills": (st.pills, {"options": options, "selection_mode": "multi"}),
        "segments": (st.segmented_control, {"options": options}),
        "box": (st.selectbox, {"options": options}),
        "radio": (st.radio, {"options": options}),
        "number": (st.number_input, {"step": 1}),
        "toggle": (st.toggle, {}),
    }
    for key, (widget, more) in kinds.items():
        if key not in st.session_state.get("hidden", ()):
            view.bind(widget, key, key=key, value=values[key], then=lambda value, key=key: choose(key, value), **more)


KINDS = {"pills": "button_group", "segments": "button_group", "box": "selectbox", "radio": "radio"}
KINDS |= {"number": "number_input", "toggle": "toggle"}
CHOSEN = {"pills": ["c", "b"], "segments": "b", "box": "b", "radio": "b", "number": 2, "toggle": True}
OTHERS = {"pills": [], "segments": "c", "box": "c", "radio": "c", "number": 3, "toggle": False}


def widget(app, key):
    return find(app.get(KINDS[key]) if KINDS[key] == "button_group" else getattr(app, KINDS[key]), key)


@pytest.fixture
def app():
    return AppTest.from_function(page).run()


def is_whole(app):
    """Every widget shows its value, and none sets it in the browser."""
    shown = {key: widget(app, key) for key in KINDS}
    assert {key: one.value for key, one in shown.items()} == app.session_state["values"]
    assert not any(one.proto.set_value for one in shown.values())
    return not app.exception


@pytest.mark.parametrize("key", KINDS)
def test_what_a_visitor_chooses_is_the_view_and_the_widget_stays(app, key):
    before = widget(app, key).proto.id
    widget(app, key).set_value(CHOSEN[key]).run()
    assert app.session_state["values"][key] == CHOSEN[key]
    assert widget(app, key).proto.id == before
    assert is_whole(app)


@pytest.mark.parametrize("key", KINDS)
def test_where_something_else_changes_the_value_another_widget_begins_with_it(app, key):
    widget(app, key).set_value(CHOSEN[key]).run()
    before = widget(app, key).proto.id
    app.session_state["values"] = app.session_state["values"] | {key: OTHERS[key]}
    app.run()
    assert widget(app, key).value == OTHERS[key]
    assert widget(app, key).proto.id != before
    assert is_whole(app)


def test_the_order_in_which_options_were_chosen_makes_no_other_widget(app):
    widget(app, "pills").set_value(["c", "b"]).run()
    before = widget(app, "pills").proto.id
    app.session_state["values"] = app.session_state["values"] | {"pills": ["b", "c"]}
    app.run()
    assert widget(app, "pills").proto.id == before


@pytest.mark.parametrize("key", KINDS)
def test_a_widget_that_was_away_begins_with_what_the_view_says_then(app, key):
    widget(app, key).set_value(CHOSEN[key]).run()
    before = widget(app, key).proto.id
    app.session_state["hidden"] = (key,)
    app.run()
    app.session_state["hidden"] = ()
    app.session_state["values"] = app.session_state["values"] | {key: OTHERS[key]}
    app.run()
    assert widget(app, key).value == OTHERS[key]
    assert widget(app, key).proto.id != before
    assert is_whole(app)


def page_of_one():
    import streamlit as st

    from odconv.ui import view

    def stand_in(label, *, key, value, on_change):
        st.session_state.setdefault(key, value)
        st.session_state.setdefault("changed", []).append(on_change)

    for which in st.session_state["called"]:
        st.session_state["changed"][which]()
    view.bind(stand_in, "label", key="one", value=st.session_state["value"], then=st.session_state["then"])


def test_what_comes_late_from_a_widget_whose_place_another_has_taken_changes_nothing():
    chosen, app = [], AppTest.from_function(page_of_one)
    app.session_state["then"] = chosen.append
    for value, called in (("a", []), ("b", []), ("b", [0]), ("b", [1])):  # another value as by Back; and then messages
        app.session_state["value"], app.session_state["called"] = value, called
        app.run()
        assert not app.exception
    assert chosen == ["b"]
