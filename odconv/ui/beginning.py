"""How every page begins: its question, the sidebar with language and network, and the choice of pictures."""

from __future__ import annotations

from typing import NamedTuple

import streamlit as st

from odconv.ui import engine as engines
from odconv.ui import glossary, sidebar, sources, text, view
from odconv.ui.engine import Engine
from odconv.ui.link import View
from odconv.ui.pictures import Picture
from odconv.ui.text import say


class Chosen(NamedTuple):
    """What a page has to work with."""

    engine: Engine | None  # None: there is none, and the sidebar says why
    pictures: list[Picture]  # empty: the visitor has yet to bring one, and the page says so


def begin(title: str, intro: str, wanted: str = engines.LESSONS) -> Chosen:
    """Draw the beginning of a page, after ``bootstrap``.

    Args:
        title: key of the page's question.
        intro: key of a sentence or two under it, as Markdown.
        wanted: name of the network that is opened where the visitor has chosen none.
    """
    engine = open_network(title, intro, wanted)
    return Chosen(engine, choose_pictures(engine, view.current()) if engine else [])


def open_network(title: str, intro: str, wanted: str = engines.LESSONS) -> Engine | None:
    """Draw the beginning of a page without the choice of pictures; the arguments as in ``begin``."""
    with st.sidebar:
        sidebar.choose_language()
        engine = sidebar.choose_engine(view.current(), wanted)
        if engine:
            sidebar.describe(engine)
    open_title(title, intro)
    return engine


def open_title(title: str, intro: str) -> None:
    """Draw the row at the top of a page; the arguments as in ``begin``."""
    glossary.begin()
    with st.container(key="beginning", horizontal=True, vertical_alignment="center", gap="medium"):
        st.header(say(title), anchor=False, width="content")
        st.markdown(glossary.explain(intro))
        _choose_presentation()
    if unknown := view.ignored():
        st.info(text.markdown("page.bad_link", names=", ".join(unknown)))


def choose_pictures(engine: Engine, looked_into: View) -> list[Picture]:
    """Draw the choice of pictures where it is the visitor's, and say what is to be done where there is none yet.

    ``looked_into``: whose pictures are marked as chosen: the visitor's view, or what a page makes of it.
    """
    with st.container(key="pictures", horizontal=True, vertical_alignment="center", gap="medium"):
        pictures = sources.choose(looked_into, engine.checkpoint.card.resize)
    if not pictures:
        st.info(sources.prompt(looked_into))
    return pictures


def _choose_presentation() -> None:
    """Draw the switch between the page for one reader and the page for a room, which has large text and no sidebar."""
    present = view.current().present
    st.button(
        say("page.present_end" if present else "page.present"),
        key="present",
        icon=":material/close_fullscreen:" if present else ":material/slideshow:",
        help=say("page.present_help"),
        on_click=lambda: view.change(present=not present),
    )
