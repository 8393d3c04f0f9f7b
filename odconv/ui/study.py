"""The study kit's page: eight questions, the path, the same questions again, and the answers to download.

A participant's answers are in the memory of this session alone: in no link, no file and no log of the server.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import streamlit as st

from odconv import study as kit
from odconv.start import STEPS
from odconv.study import PHASES, QUESTIONS, Study
from odconv.ui import beginning, sidebar, start, view
from odconv.ui import engine as engines
from odconv.ui.link import View
from odconv.ui.text import language, say
from odconv.version import __version__

REVEAL = {"interactive": "after", "reading": "always"}


def show() -> None:
    """Draw the page, in the stage that the participant has come to."""
    study: Study | None = st.session_state.get("study")
    with st.sidebar:
        sidebar.choose_language()
    beginning.open_title("study.title", "study.intro")
    if study and study.stage == "path":
        _show_path(study)
        return
    with st.container(key="study"):
        if study is None:
            _show_beginning()
        elif study.stage == "done":
            _show_end(study)
        else:
            _show_question(study)


def _show_beginning() -> None:
    st.markdown(say("study.how", count=len(QUESTIONS)))
    st.markdown(say("study.kept"))
    st.caption(say("study.claim"))
    st.button(say("study.begin"), key="study-begin", type="primary", on_click=_begin)


def _begin() -> None:
    study = Study(secrets.randbits(32))
    st.session_state["study"] = study
    view.restart(**_path_of(study))


def _path_of(study: Study) -> dict[str, Any]:
    """What is chosen on the path: the first network, each step's own pictures, and nothing else can be."""
    fields = ("model", "source", "samples", "compared", "compare", "steps")
    return {name: getattr(View(), name) for name in fields} | {"fixed": True, "reveal": REVEAL[study.arm]}


def _show_question(study: Study) -> None:
    phase, id = study.stage, kit.ask(study)
    at = len(getattr(study, phase)) + 1
    st.subheader(say(f"study.{phase}", at=at, count=len(QUESTIONS)), anchor=False)
    st.markdown(f"**{say(f'quiz.{id}')}**")
    answers = kit.order_answers(study.seed, phase, id)
    view.bind(
        st.radio,
        say(f"quiz.{id}"),
        key=f"quiz-{phase}-{id}",
        value=study.marked,
        then=_mark,
        options={answer: _to_text(id, answer) for answer in answers},
        index=None,
        label_visibility="collapsed",
    )
    st.button(say("study.give"), key="study-give", type="primary" if study.marked else "secondary", on_click=_give)


def _to_text(question: str, answer: str) -> str:
    return say("quiz.unknown") if answer == kit.UNKNOWN else say(f"quiz.{question}_{answer}")


def _mark(answer: str) -> None:
    study: Study = st.session_state["study"]
    st.session_state["study"] = kit.mark(study, answer)


def _give() -> None:
    st.session_state["study"] = kit.give(st.session_state["study"], time.monotonic())


def _show_path(study: Study) -> None:
    kept, chosen = _path_of(study), view.current()
    if any(getattr(chosen, name) != value for name, value in kept.items()):  # by Back, or an address that was typed
        view.restart(**kept)
    with st.sidebar:
        engine = sidebar.choose_engine(view.current())
    st.caption(say(f"study.path_{study.arm}"))
    start.show(engine)
    if view.current().step < len(STEPS):
        return
    left = [say(f"start.{step}") for step in STEPS if study.arm == "interactive" and step not in _predicted()]
    if left:
        st.caption(say("study.left", steps=say("head.comma").join(left)))
    st.button(say("study.on"), key="study-on", type="secondary" if left else "primary", on_click=_leave_path)


def _predicted() -> set[str]:
    return set(STEPS) & set(dict(view.current().answers))


def _leave_path() -> None:
    st.session_state["study"] = kit.leave_path(st.session_state["study"], time.monotonic(), len(_predicted()))


def _show_end(study: Study) -> None:
    st.subheader(say("study.done"), anchor=False)
    before, after = (kit.count_right(getattr(study, phase)) for phase in PHASES)
    st.markdown(say("study.counts", before=before, after=after, count=len(QUESTIONS)))
    st.markdown(say("study.hand_in"))
    network, spoken = engines.opening(), language()  # where the file is built there is no session
    with st.container(horizontal=True):
        st.download_button(
            say("study.csv"),
            lambda: kit.to_csv(study, version=__version__, network=network, language=spoken).encode(),
            f"study-{study.seed}.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/download:",
            key="study-csv",
            type="primary",
        )
        st.button(say("study.leave"), key="study-leave", on_click=_leave)
    st.caption(say(f"study.arm_{study.arm}"))
    with st.expander(say("study.right"), key="study-right"):
        st.markdown("\n\n".join(_describe_question(study, id) for id in QUESTIONS))


def _describe_question(study: Study, id: str) -> str:
    """A question, its right answer, and what was said before and after, as Markdown."""
    answers = {"right": QUESTIONS[id].right, "before": dict(study.before)[id], "after": dict(study.after)[id]}
    lines = [say(f"study.{name}_answer", answer=_to_text(id, answer)) for name, answer in answers.items()]
    return "  \n".join([f"**{say(f'quiz.{id}')}**", *lines])


def _leave() -> None:
    """Forget the answers, and give the app back whole."""
    del st.session_state["study"]
    view.restart()
