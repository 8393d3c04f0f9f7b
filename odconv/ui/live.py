"""Dials that act while they are dragged: what each shows, and how their messages are taken from a browser."""

from __future__ import annotations

import logging
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from odconv.ui import components, connection, parts, view
from odconv.ui.text import say

log = logging.getLogger(__name__)

LARGEST_SEQ = 2**53  # the largest whole number that JavaScript counts to


@dataclass(frozen=True)
class Dial:
    """One dial as it is drawn. Its thumb stands at the stop that is nearest to its value, which a link may set between stops."""

    id: str  # names its value in messages
    label: str
    stops: Sequence[float]  # the values that it can be turned to, rising
    texts: Sequence[str]  # what each stop is called
    marks: Sequence[tuple[float, str]]  # stops that are marked, and how
    value: float  # what is applied
    text: str  # what that is called
    nearest: int  # position of the stop where the thumb stands
    minor: Sequence[float] = ()  # marked stops whose marks give way where there is little room


@dataclass(frozen=True)
class Turn:
    """One message of a dial, checked."""

    changes: dict[str, Any]  # fields of ``View`` or its ``Settings`` that were changed
    released: bool  # whether the dial is held no longer


Parse = Callable[[object], Turn]  # checks a message that a browser sent; raises ValueError where no dial sends it


def show(dials: Sequence[Dial], parse: Parse, key: str, redraw: str = "") -> None:
    """Draw ``dials`` as one widget; ``key`` names it.

    ``redraw``: the address that redraws the page's figures while a dial is dragged, see ``redraw.offer``; empty: each step of
    a drag is a message like its release.
    """
    drawn = [
        {name: value for name, value in vars(dial).items() if name != "minor"}
        | {
            "marks": [
                {"position": dial.stops.index(stop), "text": text, "minor": stop in dial.minor}
                for stop, text in dial.marks
            ]
        }
        for dial in dials
    ]
    components.dials(
        drawn,
        answered(key),
        connection.session(),
        say("dial.waiting"),
        redraw,
        lambda sent: receive(sent, parse, key),
        key=key,
    )


def answered(key: str) -> int:
    """The number of the last message of a widget that is answered."""
    return st.session_state.get(f"answered-{key}", 0)


def anew(data: dict[str, Any]) -> dict[str, Any]:
    """``data`` of a figure, with what makes a browser draw them though the page has the same: a drag may have drawn others since."""
    return data | {"after": answered("dials")}


def dragged() -> str:
    """The key of the widget that is being dragged; empty: none is."""
    return st.session_state.get("dragging", "")


def parse_message(sent: object, ids: Sequence[str]) -> tuple[dict[str, Any], bool]:
    """The changes, of dials among ``ids``, and whether the dial was released. The values are yet to be checked.

    Raises:
        ValueError: it is no such message.
    """
    if not isinstance(sent, dict) or type(sent.get("released")) is not bool:
        raise ValueError("not the message of a dial")
    changes = sent.get("changes")
    if not isinstance(changes, dict) or not set(changes) <= set(ids):
        raise ValueError("not a dial's changes")
    return changes, sent["released"]


def check_stop(value: object, stops: Sequence[float]) -> float:
    """``value`` if it is one of ``stops``.

    Raises:
        ValueError: it is none.
    """
    if type(value) not in (int, float) or value not in stops:
        raise ValueError("not a stop of the dial")
    return float(value)  # type: ignore[arg-type]  # as was checked


def receive(sent: object, parse: Parse, key: str) -> None:
    """A dial was turned or released; ``sent`` comes from a browser.

    A refused message is answered, too, so that the dial shows again what is applied. A message to a session that is gone
    is not answered: the dial sends it once more when it is drawn in this session. One that was answered changes nothing: a
    browser repeats with every message what each widget said last, and after Back Streamlit can take that for news.
    """
    if not isinstance(sent, dict) or sent.get("session") != connection.session():
        log.warning("%s: ignored %s", key, reprlib.repr(sent))
        return
    if type(sent.get("seq")) is int and 0 < sent["seq"] <= LARGEST_SEQ:
        if sent["seq"] <= answered(key):
            return
        st.session_state[f"answered-{key}"] = sent["seq"]
    try:
        turn = parse(sent)
    except ValueError as error:
        log.warning("%s: ignored %s: %s", key, reprlib.repr(sent), error)
        return
    st.session_state["dragging"] = "" if turn.released else key
    view.change(**turn.changes)
    if turn.released:
        parts.rerun()
