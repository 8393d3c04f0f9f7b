"""The page that makes a link for a class: which lesson, which of its steps, what can be changed, when answers are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from odconv import drawings
from odconv.start import STEPS
from odconv.ui import components, navigation, sidebar, steps, text, view
from odconv.ui.engine import Engine
from odconv.ui.link import OWN, REVEALS, View, class_view, to_query
from odconv.ui.pictures import Picture
from odconv.ui.text import language, say
from odconv.words import LANGUAGES

ASKS_NOTHING = ("compare", "switches")  # lessons without questions
LINK_WORDS = ("link", "copy", "copied", "by_hand", "preview", "local")


def show(engine: Engine, pictures: Sequence[Picture]) -> None:
    """Draw the choices, what a class sees of them, and the link.

    ``pictures``: those of the teacher's view; none where a source is chosen of which there is none yet.
    """
    with st.container(key="lesson_link"):
        left, right = st.columns([45, 55], gap="large")
    with left:
        _choose_lesson()
        _choose_ways()
    lesson, seen = view.current().lesson, class_view(_without_own(view.current()))
    with right:
        st.subheader(say("teach.seen"), anchor=False)
        st.markdown("\n".join(f"* {line}" for line in describe(engine, pictures, lesson.page, seen)))
        words = {name: say(f"teach.{name}") for name in LINK_WORDS}
        components.class_link(
            f"{navigation.address(lesson.page)}?{urlencode(to_query(seen), safe=',')}".rstrip("?"), words
        )
        if lesson.reveal == "never":
            st.caption(say("teach.held"))
    st.subheader(say("teach.study"), anchor=False)
    st.markdown(say("teach.study_text"))
    st.page_link("pages/study.py", label=say("teach.study_open"), icon=":material/quiz:")


def _without_own(chosen: View) -> View:
    """``chosen`` without the network that the teacher brought: it is in no link."""
    b = replace(chosen.b, model=None) if chosen.b.model == OWN else chosen.b
    return replace(chosen, model="" if chosen.model == OWN else chosen.model, b=b)


def _choose_lesson() -> None:
    lesson = view.current().lesson
    view.bind(
        st.segmented_control,
        say("teach.lesson"),
        key="lesson",
        value=lesson.page,
        then=lambda page: _change(page=page),
        options={name: say(f"page.{name}") for name in navigation.LESSONS},
        required=True,
    )
    if lesson.page == "start":
        view.bind(
            st.pills,
            say("teach.steps"),
            key="lesson_steps",
            value=list(lesson.steps or STEPS),
            then=_choose_steps,
            options={step: say(f"start.{step}") for step in STEPS},
            selection_mode="multi",
            help=say("teach.steps_help"),
        )


def _choose_steps(chosen: list[str]) -> None:
    """Walk these steps, in the path's order; without any, all."""
    some = tuple(step for step in STEPS if step in chosen)
    _change(steps=() if some == STEPS else some)


def _choose_ways() -> None:
    lesson = view.current().lesson
    _choose("fixed", lesson.fixed, {False: "free", True: "fixed"})
    if lesson.page not in ASKS_NOTHING:
        _choose("reveal", lesson.reveal, {when: when for when in REVEALS})
    _choose("present", lesson.present, {False: "one", True: "room"})


def _choose(field: str, value: Any, options: Mapping[Any, str]) -> None:
    view.bind(
        st.segmented_control,
        say(f"teach.{field}"),
        key=f"lesson_{field}",
        value=value,
        then=lambda chosen: _change(**{field: chosen}),
        options={one: say(f"teach.{field}_{name}") for one, name in options.items()},
        required=True,
    )


def _change(**fields: Any) -> None:
    view.change(lesson=replace(view.current().lesson, **fields))


def describe(engine: Engine, pictures: Sequence[Picture], page: str, seen: View) -> list[str]:
    """What a class sees, line by line, as Markdown. ``seen``: its view, of the lesson on ``page``."""
    lines = [text.markdown("teach.sees_page", page=say(f"page.{page}"))]
    if page == "start":
        lines += [say("teach.sees_step", step=i, name=say(f"start.{step}")) for i, step in enumerate(seen.path, 1)]
    lines.append(_describe_pictures(pictures, page, seen))
    if page != "start" and engine.checkpoint.dynamic:
        settings = drawings.describe_settings(language(), engine.normalize(seen.settings))
        lines.append(text.markdown("teach.sees_settings", settings=settings))
    if engine.own:
        lines.append(say("teach.sees_not_own"))
    else:
        label = sidebar.model_labels().get(engine.name, engine.name)
        lines.append(text.markdown("teach.sees_network", network=drawings.clean_name(label)))
    if page == "compare":
        lines.append(say("teach.sees_side_b"))
    lines.append(say(f"teach.sees_{'fixed' if seen.fixed else 'free'}"))
    if page not in ASKS_NOTHING:
        lines.append(say(f"teach.sees_{seen.reveal}"))
    lines.append(say(f"teach.sees_{'room' if seen.present else 'one'}"))
    lines.append(
        say("teach.sees_language", language=LANGUAGES[seen.language]) if seen.language else say("teach.sees_browser")
    )
    return lines


def _describe_pictures(pictures: Sequence[Picture], page: str, seen: View) -> str:
    if {seen.source, *seen.compared} & {"upload", "camera"}:
        return say("teach.sees_own")
    if page == "start" and not steps.has_chosen(seen):
        return say("teach.sees_pictures_of_steps")
    return text.markdown("teach.sees_pictures", pictures=say("head.comma").join(picture.title for picture in pictures))
