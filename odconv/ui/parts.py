"""Parts of a page that can be run by themselves. Pages and parts that are run at the same time get their turns.

Python runs one thread at a time. Pages that run at once share it in turns of half a millisecond, and each of thirty is done when
nearly all are: one after another, half of them are done in half of the time, and nothing is spent on changing between them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import streamlit as st

from odconv.ui.turns import Turns

AT_ONCE = 2  # pages: while one waits for the network, another is drawn
LONGEST = 3.0  # seconds for which a page waits. Then it is run beside the others, which may have something long to do

_turns = Turns(AT_ONCE)
_running = threading.local()  # whether this thread has its turn: a page runs in one thread, and parts of it within that


@contextmanager
def turn() -> Iterator[None]:
    """Run a page, or a part of it, when its turn has come."""
    if getattr(_running, "has_turn", False):
        yield
        return
    came = _turns.acquire(LONGEST)
    _running.has_turn = True
    try:
        yield
    finally:
        _running.has_turn = False
        if came:
            _turns.release()


def fragment(show: Callable[..., None], **options: Any) -> Callable[..., None]:
    """A part of a page that can be run by itself, in its turn; ``options`` as of ``st.fragment``."""

    @wraps(show)
    def show_in_turn(*args: Any, **kwargs: Any) -> None:
        with turn():
            show(*args, **kwargs)

    return st.fragment(show_in_turn, **options)


def follow(*keys: str) -> None:
    """Say which parts of this page ``rerun`` runs, until the whole page is run: their keys, in the order of the page."""
    st.session_state["following"] = keys


def rerun() -> None:
    """From a widget's callback: run what follows a choice again, all of the page where it does not say what that is.

    The rest, which stays as it is, takes a third of the time of a whole run.
    """
    st.session_state.pop("redraw", None)  # it was offered for what was chosen before
    st.rerun(st.session_state.get("following") or "app")


def part(key: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a function a ``fragment``, named ``key``."""
    return lambda show: fragment(show, key=key)
