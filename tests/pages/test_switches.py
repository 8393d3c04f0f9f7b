"""The lesson on switches without a browser: what it says, on every kind of network, and with links that ask for too much."""

from functools import partial

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from odconv.attention import HEADS, Heads, Settings
from odconv.switches import AS_LEARNED, Pass, attentions_of, set_by_hand
from odconv.ui import devices, effect_map, inference
from odconv.ui.engine import LESSONS, open_engine
from odconv.ui.pictures import sample_picture
from odconv.words import say
from tests.pages import test_explore
from tests.pages.test_explore import _fresh_caches, sentences  # noqa: F401

opened = partial(test_explore.opened, page="switches")


@pytest.fixture
def shown(shown):
    """The lesson, opened on a tiny network."""
    return partial(shown, page="switches")


def view(app):
    return app.session_state["view"]


def whole(app):
    return not app.exception and say("en", "switches.map") in [heading.value for heading in app.main.subheader]


@pytest.mark.parametrize("network", ["all heads", "one kernel", "1x1", "depth-wise"])
def test_the_lesson_is_whole_on_every_kind_of_network(shown, network):
    app = shown(network, switch="mean,uniform,argmax,shuffled")
    assert whole(app)
    assert sentences(app) == []
    app.button_group(key="switches_where").set_value("one").run()
    assert whole(app)
    assert app.query_params["where"] == "one"


def test_a_static_network_has_no_switches(shown):
    app = shown("static")
    assert not app.exception
    assert [heading.value for heading in app.main.subheader] == [say("en", "static.title")]


def test_without_an_atlas_the_own_mean_stands_for_the_typical_and_that_is_said(shown):
    app = shown("all heads", switch="typical,learned,learned,learned")
    assert whole(app)
    assert sentences(app) == [say("en", "switches.no_typical")]
    assert app.selectbox(key="map_of").options[0] == "own mean: all entries alike"
    shipped = opened(switch="typical,learned,learned,learned")
    assert whole(shipped)
    assert sentences(shipped) == []
    assert "10,000 pictures" in shipped.selectbox(key="map_of").options[0]


def test_switches_go_into_the_link_and_back_and_all_can_be_learned_again(shown):
    app = shown("all heads", switch="shuffled,learned,transplanted,learned", seed="999")
    assert whole(app)
    assert view(app).switches == Heads("shuffled", "learned", "transplanted", "learned")
    app.button(key="switches_seed").click().run()
    assert view(app).shuffling == 0
    app.selectbox(key="b_picture").set_value("samples:tabby-cat").run()
    assert app.query_params["b-picture"] == "tabby-cat"
    app.button(key="switches_reset").click().run()
    assert view(app).switches == AS_LEARNED
    assert not {"switch", "seed"} & set(app.query_params)


def test_settings_of_other_pages_are_left_aside_and_that_is_said(shown):
    app = shown("all heads", t="3")
    assert whole(app)
    assert sentences(app)[0].startswith("Only the switches act on this page. Left aside, for Explore: temperature 3")
    assert app.query_params["t"] == "3"


def test_an_edited_picture_is_what_every_part_of_the_page_is_about_and_undone_at_once(shown):
    app = shown("all heads", turn="90", grey="1", brush="500:500:160", blur="2")
    assert whole(app)
    assert any("Edited: " in one.value.replace("\\", "") for one in app.main.markdown)
    app.button(key="map_start").click().run()
    edited = app.session_state["effect_map"]["asked"][1]
    app.toggle(key="grey").set_value(False).run()
    assert "grey" not in app.query_params
    app.button(key="edit_reset").click().run()
    assert whole(app)
    assert not {"turn", "grey", "brush", "blur"} & set(app.query_params)
    assert any("Nothing is edited yet" in one.value for one in app.main.markdown)
    assert app.session_state["effect_map"]["asked"][1] != edited


def test_entries_that_a_link_sets_by_hand_and_the_layer_does_not_have_are_left_out(shown):
    app = shown("all heads", switch="hand,hand,learned,hand", hand="spatial:4:0.1,channel:9999:1")
    assert whole(app)
    assert app.query_params["hand"] == "spatial:4:0.1,channel:9999:1"
    app.selectbox(key="switches_layer").set_value("layer2.0.conv1").run()
    assert "hand" not in app.query_params


def test_the_map_is_computed_piece_by_piece_can_be_cancelled_and_goes_on(shown, monkeypatch):
    monkeypatch.setattr(effect_map, "AT_A_TIME", -1.0)  # one pass in a run
    app = shown("all heads")
    done = lambda: len(app.session_state["effect_map"]["effects"])  # noqa: E731
    assert done() == 0
    app.button(key="map_start").click().run()
    for _ in range(3):
        before = done()
        app.run()
        assert done() > before
    app.button(key="map_cancel").click().run()
    stopped = done()
    app.run()
    assert done() == stopped < 64
    monkeypatch.setattr(effect_map, "AT_A_TIME", 60.0)
    app.button(key="map_start").click().run()
    app.run()
    assert done() == 64
    assert "map_cancel" not in [button.key for button in app.button]
    app.selectbox(key="map_of").set_value("argmax").run()
    assert done() == 0
    assert app.query_params["map"] == "argmax"


def test_while_others_keep_the_network_the_page_says_so_and_asks_again(monkeypatch):
    monkeypatch.setattr(devices, "PATIENCE", 0.0)
    with devices.hold("cpu", 0.0):
        app = opened()
        assert not app.exception
        assert len(sentences(app, "warning")) == 2
    monkeypatch.undo()
    app.button(key="again-switches_part").click().run()
    assert whole(app)
    assert sentences(app, "warning") == []


@pytest.mark.parametrize(
    "sent",
    [
        None, "x", {}, {"choices": "mean"}, {"choices": ["mean"] * 3}, {"choices": ["mean"] * 3 + ["off"]},
        {"choices": ["mean"] * 3 + [["mean"]]}, {"relative": "resnet"}, {"relative": ["se"]},
    ],
)  # fmt: skip
def test_a_message_that_no_switch_sends_changes_nothing(sent):
    def page():
        import json

        import streamlit as st

        from odconv.ui import bootstrap, switching, view
        from odconv.ui.engine import LESSONS, open_engine
        from odconv.ui.pictures import sample_picture

        st.session_state["joined"] = True
        bootstrap()
        case = switching.open_case(open_engine(LESSONS, "cpu"), sample_picture("espresso"))
        before = view.current()
        switching._choose(json.loads(st.session_state["sent"]), case)
        st.session_state["same"] = view.current() == before

    import json

    app = AppTest.from_function(page, default_timeout=60)
    app.session_state["sent"] = json.dumps(sent)
    app.run()
    assert not app.exception
    assert app.session_state["same"]


def test_passes_with_other_attention_given_are_kept_apart_and_the_same_ones_asked_once(monkeypatch):
    engine, picture = open_engine(LESSONS, "cpu"), sample_picture("espresso")
    trained = inference.ask(engine, picture, Settings()).explanation
    learned = attentions_of(trained)["layer1.0.conv1"]
    passes = [
        Pass(Settings(), {"layer1.0.conv1": set_by_hand(learned, [("spatial", entry, value)])})
        for entry, value in ((3, 0.0), (3, 1.0), (4, 0.0))
    ]
    full = [inference.ask_switched(engine, picture, told).logits[0] for told in passes]
    read = list(inference.read_logits(engine, picture, passes))
    assert len({one.tobytes() for one in [*full, trained.logits[0]]}) == 4
    for one, other in zip(full, read, strict=True):
        np.testing.assert_array_equal(one, other)
    monkeypatch.setattr(inference, "explain", None)  # none is asked again
    np.testing.assert_array_equal(inference.ask_switched(engine, picture, passes[1]).logits[0], full[1])
    np.testing.assert_array_equal(next(inference.read_logits(engine, picture, passes[2:])), full[2])


def test_the_lesson_speaks_chinese(shown):
    app = shown("all heads", lang="zh", switch=",".join(["mean"] * len(HEADS)))
    assert not app.exception
    assert [heading.value for heading in app.main.subheader][-1] == say("zh", "switches.map")
