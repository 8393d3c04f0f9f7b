"""A class's link without a browser: what the page that makes it says, and what pages leave out that are opened by it."""

from urllib.parse import parse_qsl, urlsplit

import pytest

from odconv.ui import components, navigation
from odconv.words import say
from tests.pages.test_explore import STATIC, _fresh_caches, headings, opened, sentences  # noqa: F401

# Keys of what chooses picture, network or page.
CHOICES = {"model", "device", "source", "compare", "own", "open-twin", "b_picture", "b_model", "sides_swap"}
CHOICES |= {"step-explore", "step-forge", "invite-pictures", "sides_offer_0"}
KINDS = ("button", "button_group", "selectbox", "toggle")


def keys(app):
    return {widget.key for kind in KINDS for widget in app.get(kind) if widget.key}


@pytest.fixture
def links():
    """The addresses of the links that are drawn."""
    drawn = []
    # No ``monkeypatch``: nothing stands in for a network, so that those which are open can stay open.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(components, "class_link", lambda address, words: drawn.append(address))
        yield drawn


@pytest.fixture
def answered():
    """Keys of the answers that are drawn, and whether the guess holds."""
    drawn = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(components, "task", lambda data, *, key: drawn.update({key: data["holds"]}))
        yield drawn


def query(address):
    return dict(parse_qsl(urlsplit(address).query))


def test_a_link_says_what_was_chosen_for_the_class_and_the_list_beside_it_does_too(links):
    app = opened(page="teach", sample="dahlia", lang="zh")
    assert not app.exception
    assert links[-1] == "start?lang=zh&sample=dahlia"
    app.button_group(key="lesson_steps").set_value(["twin", "flat"]).run()
    app.button_group(key="lesson_fixed").set_value(True).run()
    app.button_group(key="lesson_reveal").set_value("never").run()
    app.button_group(key="lesson_present").set_value(True).run()
    assert not app.exception
    wanted = {"lang": "zh", "sample": "dahlia", "steps": "flat,twin"}
    assert query(links[-1]) == wanted | {"present": "1", "controls": "hidden", "reveal": "never"}
    seen = next(block.value for block in app.markdown if say("zh", "teach.sees_never") in block.value)
    first, second = (say("zh", f"start.{step}") for step in ("flat", "twin"))
    assert seen.index(first) < seen.index(second)
    assert say("zh", "start.kernels") not in seen
    assert say("zh", "sample.dahlia") in seen
    assert {"model", "source", "present"} <= keys(app)  # the page itself stays as it was


@pytest.mark.parametrize("name", navigation.LESSONS)
def test_every_lesson_can_be_chosen_and_opens_by_its_link(links, name):
    app = opened(page="teach", **{"class-page": name, "t": "3"})
    assert not app.exception
    assert links[-1] == navigation.address(name) + "?t=3" * (name != "start")
    assert sentences(app) == []


@pytest.mark.parametrize("name", navigation.LESSONS)
@pytest.mark.parametrize("model", ["", STATIC], ids=["dynamic", "static"])
def test_where_choices_are_hidden_they_are_not_there(name, model):
    chosen = {"model": model} if model else {}
    free = opened(page=name, **chosen)
    assert {"model", "device", "source"} <= keys(free)
    fixed = opened(page=name, controls="hidden", sample="dahlia", **chosen)
    assert not fixed.exception
    assert keys(fixed) & CHOICES == set()
    assert not any(key.startswith(("invite-", "sides_offer", "sides_copy")) for key in keys(fixed))
    assert {"language", "present"} <= keys(fixed)


def test_a_second_picture_to_transplant_from_is_a_choice_too():
    chosen = {"sample": "dahlia", "switch": "transplanted,learned,learned,learned"}
    assert "b_picture" in keys(opened(page="switches", **chosen))
    assert "b_picture" not in keys(opened(page="switches", controls="hidden", **chosen))


def test_a_picture_of_ones_own_is_asked_for_where_the_link_asks_for_one(links):
    app = opened(page="teach", source="upload", **{"class-controls": "hidden"})
    assert query(links[-1])["source"] == "upload"
    assert any(say("en", "teach.sees_own") in block.value for block in app.markdown)
    fixed = opened(page="explore", source="upload", controls="hidden")
    assert not fixed.exception
    assert len(fixed.get("file_uploader")) == 1
    assert say("en", "source.ask_upload") in sentences(fixed)


def test_chosen_steps_are_walked_alone_and_numbered_anew():
    app = opened(page="start", steps="flat,twin")
    assert say("en", "start.of", step=1, count=2, name=say("en", "start.flat")) in headings(app)
    app.button(key="step-next").click().run()
    assert not app.exception
    assert say("en", "start.of", step=2, count=2, name=say("en", "start.twin")) in headings(app)
    assert "step-next" not in keys(app)
    assert "step-forge" in keys(app)


@pytest.mark.parametrize(
    ("reveal", "holds"), [("after", {"answer-flat": True}), ("never", {}), ("always", {"answer-flat": None})]
)
def test_an_answer_is_shown_after_a_prediction_or_held_back_or_shown_without_one(answered, reveal, holds):
    app = opened(page="start", step="2", answers="flat.other", reveal=reveal)
    assert not app.exception
    assert answered == holds
    assert ("task-flat" in keys(app)) == (reveal != "always")
    held = say("en", "task.held_back") in [caption.value for caption in app.caption]
    assert held == (reveal == "never")


@pytest.mark.parametrize("at", range(1, 6))
def test_every_step_can_be_read_and_asks_nothing(answered, at):
    app = opened(page="start", step=str(at), reveal="always")
    assert not app.exception
    assert list(answered.values()) == [None]
    assert not any(key.startswith("task-") for key in keys(app))


@pytest.mark.parametrize(("name", "open_at_once"), [("explore", 1), ("forge", 2), ("temperature", 1)])
def test_other_lessons_hold_their_answers_back_and_show_them_at_once(answered, name, open_at_once):
    some = {"answers": "taps.taps,suffers.channel,shuffle.none", "question": "taps"}
    for reveal, shown in (("never", 0), ("always", open_at_once)):
        answered.clear()
        app = opened(page=name, reveal=reveal, **some)
        assert not app.exception
        assert len(answered) == shown
        assert list(answered.values()) == [None] * shown
