"""The questions at the foot of pages, without a browser: each can be asked and answered, and of every kind of network."""

import pytest

from odconv.tasks import TASKS
from odconv.ui import questions
from tests.pages.test_explore import _fresh_caches, opened, sentences  # noqa: F401
from tests.pages.widgets import find


def unfolded(app):
    app.session_state["questions"] = True
    return app.run()


def asked(app):
    return find(app.selectbox, "question")


def test_explore_asks_of_the_bundled_network_all_that_it_has():
    app = unfolded(opened())
    assert not app.exception
    assert len(asked(app).options) == len(questions.EXPLORE)
    app = unfolded(app.switch_page("pages/forge.py").run())
    assert not app.exception
    assert len(asked(app).options) == len(questions.FORGE)


@pytest.mark.parametrize("id", questions.QUESTIONS)
def test_every_question_is_answered(id):
    answer = next(iter(TASKS[id].answers))
    open_on = {"suffers": "temperature", "shuffle": "forge"}  # pages that ask it outside of a fold
    app = opened(page=open_on.get(id, "explore"), question=id, answers=f"{id}.{answer}", sample="tabby-cat")
    assert not app.exception
    if id not in open_on:
        assert asked(app).value == id
    assert app.button_group(key=f"task-{id}").value == answer
    assert sentences(app) == []


def test_a_network_is_asked_only_what_it_can_answer(shown):
    app = shown("1x1, one kernel", question="likes", answers="likes.espresso")
    assert not app.exception
    assert len(asked(app).options) == 1  # its first layer is 1x1, it has one kernel and no atlas
