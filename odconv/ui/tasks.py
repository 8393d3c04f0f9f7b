"""Predict, then reveal: a task on a page. The visitor answers first; then the network does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from odconv import drawings
from odconv.tasks import Finding, Task, give
from odconv.ui import asking, components, text, view
from odconv.ui.asking import Reply
from odconv.ui.devices import BusyError
from odconv.ui.text import say


def given(task: Task, answers: Sequence[str]) -> str | None:
    """The visitor's answer to ``task``, if it is one of ``answers``."""
    answer = dict(view.current().answers).get(task.id)
    return answer if answer in answers else None


def revealed(task: Task, answers: Sequence[str]) -> bool:
    """Whether what the network does is shown: always, never, or once the visitor has predicted it."""
    when = view.current().reveal
    return when == "always" or (when == "after" and given(task, answers) is not None)


def ask(task: Task, question: str, answers: Sequence[str], find: Callable[[], Finding]) -> None:
    """Draw a task, and what the network answers where that is ``revealed``. A page to be read does not ask.

    Args:
        task: which one.
        question: as Markdown.
        answers: ids of those of the task's answers that this network can give.
        find: runs the network; called only when its answer is shown. May raise ``BusyError``.
    """
    with st.container(key=f"asked-{task.id}"):
        _show(task, question, answers, find)


def _show(task: Task, question: str, answers: Sequence[str], find: Callable[[], Finding]) -> None:
    st.markdown(question)
    guess = given(task, answers)
    if view.current().reveal == "always":
        guess = None
    else:
        _choose(task, answers, guess)
    if not revealed(task, answers):
        if guess is not None:
            st.caption(say("task.held_back"))
        return
    try:
        finding = find()
    except BusyError as error:
        asking.show_busy(Reply(None, error), task.id)
        return
    components.task(drawings.task_data(text.language(), task, finding, guess), key=f"answer-{task.id}")


def _choose(task: Task, answers: Sequence[str], guess: str | None) -> None:
    view.bind(
        st.pills,
        say("task.answers"),
        key=f"task-{task.id}",
        value=guess,
        then=lambda answer: view.change(answers=give(view.current().answers, task.id, answer)),
        options={answer: task.answers[answer].say(text.language()) for answer in answers},
        label_visibility="collapsed",
    )
