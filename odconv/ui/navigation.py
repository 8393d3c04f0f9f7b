"""The app's pages, and the bar by which a visitor goes from one to another. The view goes along."""

from __future__ import annotations

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from odconv.ui import glossary, parts, view
from odconv.ui.text import say

# File in ``pages/`` -> its path in the address, in the order of the bar. The first one is what ``/`` shows. A file of its
# path's name is run by itself, without app.py, where a link leads into a server that nobody has visited yet: see
# ``join_app``. No such file is there for the first page, to which a browser comes back when its server was started again.
PATHS = {
    "explore": "home",
    "start": "start",
    "forge": "forge",
    "temperature": "temperature",
    "compare": "compare",
    "switches": "switches",
    "plug_in": "plug_in",
    "checkpoint": "checkpoint",
    "results": "results",
    "teach": "teach",
    "study": "study",
}
# In no bar, and without the foot: it asks after terms that are explained there. Who is to take part gets a link to it.
APART = ("study",)
LESSONS = tuple(name for name in PATHS if name not in ("plug_in", "checkpoint", "results", "teach", *APART))


def run() -> None:
    """Draw the bar, run the page that the address names, and draw what stands at the foot of every page. ``app.py`` does nothing else."""
    # Known for each visitor: what another one's run has declared says nothing of a run that was under way.
    st.session_state["joined"] = True
    page = _declare_pages()
    with parts.page_turn():
        page.run()
        if page.url_path not in APART:
            glossary.show()


def join_app() -> None:
    """Run this page again as one of the app's, where it is run by itself. Every page calls it first."""
    if "joined" not in st.session_state:
        _declare_pages()
        st.rerun()


def _declare_pages() -> StreamlitPage:
    """The page that the address names. From the first time on, the server runs app.py for each of them."""
    pages = [
        st.Page(
            f"pages/{name}.py",
            title=say(f"page.{name}"),
            url_path=path,
            default=position == 0,
            visibility="hidden" if name in APART else "visible",
        )
        for position, (name, path) in enumerate(PATHS.items())
    ]
    return st.navigation(pages, position="hidden" if view.expected().fixed else "top")


def address(page: str) -> str:
    """Where a page is, from any other page of the app."""
    return "./" if page == next(iter(PATHS)) else PATHS[page]
