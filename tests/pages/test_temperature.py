"""The temperature lesson without a browser: what it says, on every kind of network, and with links that ask for too much."""

from functools import partial

import pytest

from odconv.attention import HEADS, Heads, Settings
from odconv.ui import devices, tempering
from odconv.words import say
from tests.pages import test_explore
from tests.pages.test_explore import _fresh_caches, captions, in_force, sentences  # noqa: F401

opened = partial(test_explore.opened, page="temperature")


@pytest.fixture
def shown(shown):
    """The lesson, opened on a tiny network, with curves of three temperatures read in one run."""
    few = (0.1, 1.0, 30.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempering, "CURVE", few)
        patch.setattr(tempering, "FREE", {t: Settings(t) for t in few})
        patch.setattr(tempering, "KEPT", {t: Settings(t, compensate=True) for t in few})
        patch.setattr(tempering, "AT_A_TIME", 60.0)
        yield partial(shown, page="temperature")


def headings(app):
    return [heading.value for heading in app.main.subheader]


def whole(app):
    return not app.exception and headings(app)[-2:] == ["Over all temperatures", "Scale or uniformity?"]


@pytest.mark.parametrize(
    ("network", "heads"),
    [("all heads", HEADS), ("one kernel", HEADS[:3]), ("1x1", HEADS), ("depth-wise", HEADS)],
)
def test_the_lesson_is_whole_on_every_kind_of_network_and_asks_about_its_heads(shown, network, heads):
    app = shown(network, t="30", answers="suffers.channel")
    assert whole(app)
    assert sentences(app) == []
    guess = app.button_group(key="task-suffers")
    assert guess.options == [say("en", f"head.{head}") for head in heads]
    assert guess.value == "channel"


def test_a_static_network_has_nothing_to_temper(shown):
    app = shown("static")
    assert not app.exception
    assert [heading.value for heading in app.main.subheader] == [say("en", "static.title")]


def test_a_sweep_is_read_piece_by_piece_and_lost_by_another_picture(shown, monkeypatch):
    monkeypatch.setattr(tempering, "AT_A_TIME", -1.0)  # one reading in a run
    app = shown("all heads")
    assert headings(app)[-1] == "Over all temperatures"
    for _ in range(10):
        if whole(app):
            break
        before = len(app.session_state["sweep"][1])
        app.run()
        assert len(app.session_state["sweep"][1]) > before
    assert whole(app)
    app.query_params["sample"] = "rocket"
    app.run()
    assert not whole(app)


def test_four_temperatures_in_a_link_have_four_dials_and_one_takes_the_furthest_from_1(shown):
    app = shown("all heads", t="20,1,1,0.1")
    assert app.session_state["view"].settings.temperature == Heads(20.0, 1.0, 1.0, 0.1)
    assert app.button_group(key="temper_dials").value == "four"
    app.button_group(key="temper_dials").set_value("one").run()
    assert app.session_state["view"].settings == Settings(20.0)
    assert app.query_params["t"] == "20"
    app.button_group(key="temper_dials").set_value("four").run()
    assert app.query_params["dials"] == "four"
    app.button_group(key="temper_gain").set_value(True).run()
    assert app.query_params["compensate"] == "1"
    app.button(key="temper_reset").click().run()
    assert not {"t", "compensate"} & set(app.query_params)


def test_explore_shows_four_temperatures_that_it_has_no_dials_for():
    app = test_explore.opened(t="20,1,1,0.1")
    assert not app.exception
    assert in_force(app) == "In force: temperature spatial 20, channel 1, filter 1, kernel 0.1."
    assert app.query_params["t"] == "20,1,1,0.1"


def test_settings_of_other_pages_are_left_aside_and_that_is_said(shown):
    app = shown("all heads", kernels="2", ablate="channel", t="3")
    assert whole(app)
    assert sentences(app) == [
        "Only the temperature acts on this page. Left aside, for Explore: "
        "strongest kernels kept: 2; own mean instead of channel attention."
    ]
    assert app.query_params["kernels"] == "2"


def test_a_guess_goes_into_the_link_and_another_one_takes_its_place(shown):
    app = shown("all heads")
    assert app.button_group(key="task-suffers").value is None
    for guess in ("filter", "spatial"):
        app.button_group(key="task-suffers").set_value(guess).run()
        assert app.query_params["answers"] == f"suffers.{guess}"
        assert app.button_group(key="task-suffers").value == guess


def test_what_the_network_met_in_training_comes_from_its_card(shown):
    app = shown("all heads")
    assert not any("from its card" in caption for caption in captions(app))
    shipped = opened()
    assert any("temperature 30 to 1 over 6 epochs (geometric)" in caption for caption in captions(shipped))


def test_while_others_keep_the_network_the_page_says_so_and_asks_again(monkeypatch):
    monkeypatch.setattr(devices, "PATIENCE", 0.0)
    with devices.hold("cpu", 0.0):
        app = opened()
        assert not app.exception
        assert len(sentences(app, "warning")) == 1
    monkeypatch.undo()
    app.button(key="again-stage").click().run()
    assert not app.exception
    assert sentences(app, "warning") == []


def test_the_lesson_speaks_chinese(shown):
    app = shown("all heads", lang="zh", answers="suffers.spatial")
    assert not app.exception
    assert headings(app)[-1] == say("zh", "temper.trap")
