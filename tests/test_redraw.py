"""What a browser gets while a dial is dragged: the figures of the settings that it names, and nothing for anybody else."""

import gzip
import json
from functools import partial
from types import SimpleNamespace

import pytest
from starlette.requests import Request
from streamlit.testing.v1 import AppTest

from odconv import Settings, images
from odconv.drawings import describe_settings
from odconv.ui import engine, inference, redraw, scene
from odconv.ui.devices import BusyError
from odconv.ui.pacing import QUICKEST, SHARE, SLOWEST, Pacing
from odconv.ui.pictures import Picture
from odconv.ui.scene import Scene
from odconv.words import say
from tests.browser.explore import record_of, sample
from tests.loops import finish


def ask(sent, kind="application/json", **headers):
    """What the server answers to a message."""
    body = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    parts = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive():
        return next(parts)

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", kind.encode())]}
    scope["headers"] += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return finish(redraw.answer(Request(scope, receive)))


def post(sent, kind="application/json"):
    """(status, body) of what the server answers to a message."""
    response = ask(sent, kind)
    return response.status_code, response.body


@pytest.fixture
def offered(monkeypatch):
    """offered(redraw): the message of the session to which it was offered."""
    kept = []

    def offer(function):
        kept.append(function)
        redraw._offered["mine"] = function
        return {"session": "mine", "changes": {}, "released": False, "seq": 1}

    yield offer
    kept.clear()


def test_the_figures_are_those_that_the_page_draws_under_the_same_settings(offered):
    rocket = Picture("the rocket's", "Rocket", "a rocket", images.decode(sample("rocket")))
    opened = engine.open_on(engine.BUNDLED / engine.LESSONS, "cpu")
    shown = Scene(opened, rocket, Settings(kernels=3), "layer2.0.conv1", False, "en")
    trained = inference.ask(opened, rocket, Settings()).explanation
    message = offered(partial(scene.redraw, shown, trained))
    status, body = post(message | {"changes": {"temperature": 3.0}})
    figures = json.loads(body)
    assert status == 200
    assert list(figures) == ["prediction", "glance", "layer", "in_force"]
    assert figures["glance"]["selected"] == "layer2.0.conv1"
    record = record_of(sample("rocket"), Settings(temperature=3.0, kernels=3))
    best = sorted(record.probabilities[0], reverse=True)[:5]
    assert [row["probability"] for row in figures["prediction"]["rows"]] == pytest.approx(best, abs=1e-4)


def test_who_turns_the_dial_to_where_another_has_had_it_makes_no_pass_and_reads_the_own_language(offered, monkeypatch):
    rocket = Picture("again the rocket's", "Rocket", "a rocket", images.decode(sample("rocket")))
    opened = engine.open_on(engine.BUNDLED / engine.LESSONS, "cpu")
    trained = inference.ask(opened, rocket, Settings()).explanation
    passes, explain = [], inference.explain
    monkeypatch.setattr(inference, "explain", lambda *args, **more: passes.append(1) or explain(*args, **more))
    turned, drawn = {"changes": {"temperature": 5.0}}, []
    for settings, language in ((Settings(), "en"), (Settings(compensate=False), "en"), (Settings(), "zh")):
        message = offered(partial(scene.redraw, Scene(opened, rocket, settings, "", False, language), trained))
        drawn.append(json.loads(post(message | turned)[1]))
    assert passes == [1]
    assert drawn[0] == drawn[1]
    assert drawn[0]["in_force"]["settings"] == say(
        "en", "setting.in_force", settings=describe_settings("en", Settings(5.0))
    )
    assert drawn[2]["in_force"]["settings"] == say(
        "zh", "setting.in_force", settings=describe_settings("zh", Settings(5.0))
    )


@pytest.mark.parametrize(
    "changes", [{"temperature": 3.01}, {"kernels": 5}, {"ablate": []}, [], None, {"temperature": "3"}], ids=str
)
def test_what_no_dial_sends_is_refused(offered, changes, caplog):
    shown = SimpleNamespace(engine=SimpleNamespace(num_kernels=4))
    assert post(offered(partial(scene.redraw, shown, None)) | {"changes": changes})[0] == 400
    assert "redraw: ignored" in caplog.text


@pytest.mark.parametrize(
    "sent", [b"", b"{", b"[]", b"3", b"{}", b'{"session": []}', b'{"session": "mine"' + b" " * 2000 + b"}"], ids=str
)
def test_what_is_no_message_is_refused(offered, sent):
    offered(lambda sent: redraw.pack({}))
    assert post(sent)[0] == 400


def test_a_page_of_another_site_cannot_ask(offered):
    assert post(offered(lambda sent: redraw.pack({})), kind="text/plain")[0] == 400


def test_nobody_is_answered_for_a_session_that_shows_nothing(offered):
    message = offered(lambda sent: redraw.pack({}))
    assert post(message | {"session": "other"})[0] == 404


def test_a_busy_network_is_no_figures_now(offered):
    def busy(sent):
        raise BusyError("busy.network")

    assert post(offered(busy))[0] == 503


def test_a_session_that_is_being_answered_waits_its_turn(offered):
    inner = []

    def ask_meanwhile(sent):
        inner.append(post(message)[0])
        return redraw.pack({})

    message = offered(ask_meanwhile)
    assert post(message) == (200, b"{}")
    assert inner == [429]
    assert post(message)[0] == 200


def test_figures_are_packed_for_who_can_unpack_them_and_come_with_the_time_to_the_next_request(offered):
    message = offered(lambda sent: redraw.pack({"prediction": {"rows": [1, 2, 3] * 100}}))
    plain, packed = ask(message), ask(message, accept_encoding="gzip, deflate, br")
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.body) < len(plain.body)
    assert gzip.decompress(packed.body) == plain.body
    for answer in (plain, packed):
        assert 1e3 * QUICKEST <= float(answer.headers["odconv-gap"]) <= 1e3 * SLOWEST


def test_the_more_drag_and_the_more_pages_are_run_the_longer_the_time_to_the_next_request_up_to_a_bound():
    pacing = Pacing()
    assert pacing.gap(0) == pacing.gap(3) == QUICKEST  # nothing is known of what one costs
    for second in range(4):
        pacing.note("one", 0.04, second)
    alone = pacing.gap(0)
    assert alone == pytest.approx(0.04 / SHARE)
    pacing.note("another", 0.04, 3.1)
    assert pacing.gap(0) == pytest.approx(2 * alone)
    assert pacing.gap(1) == pytest.approx(3 * alone)
    assert pacing.gap(100) == SLOWEST < 0.5  # two a second for everybody
    pacing.note("another", 0.04, 5)  # the first one has let go
    assert pacing.gap(0) == pytest.approx(alone)
    for second in range(6, 106):
        pacing.note("another", 0.001, second)
    assert pacing.gap(0) == QUICKEST


def page():
    import streamlit as st

    from odconv.ui import link, redraw

    st.session_state.setdefault("view", link.View())
    st.session_state["address"] = redraw.offer(lambda sent: redraw.pack({"prediction": {}}))


def test_what_is_offered_goes_with_the_session_that_it_was_offered_to():
    app = AppTest.from_function(page).run()
    message = {"session": app.session_state["session"], "changes": {}, "released": False}
    assert app.session_state["address"] == redraw.path()
    assert post(message)[0] == 200
    del app.session_state["redraw"]
    assert post(message)[0] == 404
