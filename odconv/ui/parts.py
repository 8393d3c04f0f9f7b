"""Parts of a page that can be run by themselves; and turns for all that a server does for its visitors.

Python runs one thread at a time. Pages that run at once take it from each other thousands of times a second, at a fifth of
the time of all, and each of thirty is done when nearly all are. One after another, half of them are done in half of the time:
so a page, a part of one and a step of a drag each wait for their turn. What is soon done comes first.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from odconv.ui.turns import Turns

# How much later than it comes something takes its place in the queue, in seconds: a page waits for parts of pages that come up
# to five seconds after it. Steps of a drag, and the next part of a run that was begun, go before nearly all; before all goes a page
# that has let others go first.
NEXT, STEP, GOING_ON, PART, PAGE = -math.inf, -10.0, -5.0, 0.0, 5.0
LONGEST = 10.0  # seconds for which a page waits. Then it is run beside the others, which may have something long to do

_turns = Turns()


class _Running(threading.local):
    """What this thread runs: a page runs in one thread, and parts of it within that."""

    inside = False  # whether it runs something that waited for its turn
    has_turn = False  # whether that came
    parts: object = None  # the list of those that are run one after another, with a turn each


_running = _Running()


@contextmanager
def turn(later: float) -> Iterator[None]:
    """Do something when its turn has come. ``later``: as of ``Turns.acquire``."""
    if _running.inside:
        yield
        return
    _running.has_turn = _turns.acquire(LONGEST, later)
    _running.inside = True
    try:
        yield
    finally:
        had_turn, _running.has_turn, _running.inside = _running.has_turn, False, False
        if had_turn:
            _turns.release()


@contextmanager
def pause() -> Iterator[None]:
    """While this thread waits for something else than Python, it is the turn of others."""
    if not _running.has_turn:
        yield
        return
    _running.has_turn = False
    _turns.release()
    try:
        yield
    finally:
        _running.has_turn = _turns.acquire(LONGEST, GOING_ON)


def give_way() -> None:
    """Let those go first who have come before now; to be called again and again by who has long to do."""
    if _running.has_turn:
        _turns.release()
        _running.has_turn = _turns.acquire(LONGEST)


def let_parts_go_first() -> None:
    """Called between two pieces of whatever is run: where that is a whole page, parts of others' pages that wait now go first.

    So they wait for a piece of a page and not for all of it. Another page does not go first: both would be done later.
    """
    if _running.parts is not None:
        return
    for _ in range(_turns.count_waiting()):
        if not (_running.has_turn and _turns.next_is(PART)):
            break
        _turns.release()
        _running.has_turn = _turns.acquire(LONGEST, NEXT)


@contextmanager
def page_turn() -> Iterator[None]:
    """Run a page, or a part of it, when its turn has come."""
    context = get_script_run_ctx()
    before, _running.parts = _running.parts, context.fragment_ids_this_run if context else None
    let_parts_go_first()
    later = PAGE if _running.parts is None else GOING_ON if before is _running.parts else PART
    with turn(later):
        yield


def fragment(show: Callable[..., None], **options: Any) -> Callable[..., None]:
    """A part of a page that can be run by itself, in its turn; ``options`` as of ``st.fragment``."""

    @wraps(show)
    def show_in_turn(*args: Any, **kwargs: Any) -> None:
        with page_turn():
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
