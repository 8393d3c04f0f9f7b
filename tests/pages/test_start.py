"""The first lesson without a browser: its steps on every kind of network, and links that ask for what is not there."""

import re

import pytest

from odconv.attention import HEADS
from odconv.start import STEPS
from odconv.tasks import TASKS
from odconv.ui import components
from odconv.words import say
from tests.pages.test_explore import STATIC, _fresh_caches, headings, opened, sentences  # noqa: F401

K1 = "od_resnet18_w32_1x_tiny_imagenet.safetensors"
EVERY = {"kernels": "two", "flat": "other", "temperature": "neither", "grating": "w2", "twin": "apart"}
ANSWERS = ",".join(f"{task}.{answer}" for task, answer in EVERY.items())


def choices(app, step):
    return next((box.options for box in app.get("button_group") if box.key == f"task-{step}"), None)


@pytest.mark.parametrize("at", range(1, 6))
def test_each_step_asks_first_and_answers_only_then(at):
    step = STEPS[at - 1]
    app = opened(page="start", step=str(at))
    assert not app.exception
    assert say("en", "start.of", step=at, count=5, name=say("en", f"start.{step}")) in headings(app)
    assert sentences(app) == []
    app = opened(page="start", step=str(at), answers=ANSWERS)
    assert not app.exception
    assert app.query_params["answers"] == ANSWERS


@pytest.fixture
def drawn():
    """The data of the cases that pages draw."""
    data = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(components, "cases", lambda cases, **more: data.append(cases))
        yield data


def test_the_gratings_slice_and_scale_are_the_same_before_and_after_the_answer(drawn):
    for answers in ("", "grating.w2"):
        assert not opened(page="start", step="4", answers=answers, knob="0").exception
    before, after = drawn
    assert before["cases"][0] == after["cases"][0]  # both of 0°
    assert (before["slice"], before["span"]) == (after["slice"], after["span"])


def test_the_answered_grating_stands_where_the_question_asks(drawn):
    opened(page="start", step="4", answers="grating.w2")
    assert [case["title"] for case in drawn[0]["cases"]] == ["Grating, 90°"]


@pytest.mark.parametrize("step", ["flat", "temperature"])
def test_an_answer_adds_cases_of_the_slice_that_was_there_before(drawn, step):
    at = str(STEPS.index(step) + 1)
    for answers in ("", ANSWERS):
        assert not opened(page="start", step=at, answers=answers).exception
    before, after = drawn
    assert before["slice"] == after["slice"]
    assert before["cases"][0]["forged"] in [case["forged"] for case in after["cases"]]


def test_the_twins_kernels_are_drawn_on_the_scale_of_the_dynamic_ones(drawn):
    assert not opened(page="start", step="5", answers=ANSWERS).exception
    dynamic, fixed = drawn
    assert dynamic["span"] == fixed["span"]
    largest = max(abs(weight) for data in drawn for case in data["cases"] for row in case["forged"] for weight in row)
    assert largest <= dynamic["span"] < 1.2 * largest
    assert re.fullmatch(
        r"Kernel slice: filter \d+, input channel \d+, in which Espresso and Rocket differ most.", fixed["slice"]
    )


@pytest.mark.parametrize("name", [K1, STATIC])
@pytest.mark.parametrize("at", [1, 3, 4, 5])
def test_another_network_is_told_of_what_it_does(name, at):
    app = opened(page="start", model=name, step=str(at), answers=ANSWERS)
    assert not app.exception
    if name == STATIC and at < 5:
        assert say("en", "static.title") in headings(app)
    assert (say("en", "start.summary") in headings(app)) == (at == 5)


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("network", ["1x1", "depth-wise, one kernel"])
def test_a_network_of_other_layers_takes_every_step(shown, network, at):
    app = shown(network, page="start", step=str(at), answers=ANSWERS)
    assert not app.exception


def test_next_and_back_go_along_the_path_and_explore_opens_on_what_the_step_shows():
    app = opened(page="start")
    app.button(key="step-next").click().run()
    assert dict(app.query_params) == {"step": "2"}
    app.button(key="step-explore").click().run()
    assert not app.exception
    assert "The network at a glance" in headings(app)
    view = app.session_state["view"]
    assert (view.samples, view.settings.ablate) == (("tabby-cat",), HEADS)


def test_a_picture_that_the_visitor_chose_is_looked_into_until_it_is_given_back():
    app = opened(page="start", step="2", sample="dahlia", t="3")
    assert not app.exception
    assert any("pomegranate" in block.value for block in app.markdown)
    assert say("en", "start.aside") in [caption.value for caption in app.caption]
    app.button(key="own").click().run()
    assert any("tabby" in block.value for block in app.markdown)


@pytest.mark.parametrize("query", [{"step": "6"}, {"step": "0"}, {"answers": "flat.many"}], ids=str)
def test_a_bad_link_is_one_sentence(query):
    app = opened(page="start", **query)
    assert not app.exception
    assert len(sentences(app)) == 1
    assert "default" in sentences(app)[0]


def test_an_answer_that_this_network_cannot_give_is_none():
    app = opened(page="start", step="4", answers="grating.spatial")
    assert not app.exception
    assert set(TASKS["grating"].answers) > {"spatial", "w1"}
    assert choices(app, "grating") is None or say("en", "task.kernel", kernel=1) in choices(app, "grating")
