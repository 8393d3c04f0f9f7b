"""The dials for temperature and kernel count, which act while they are dragged."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st

from odconv.attention import HEADS, Settings
from odconv.drawings import temperatures_text
from odconv.ui import components, connection, view
from odconv.ui.text import language, say

log = logging.getLogger(__name__)

# The temperatures that the dial stops at: 50 steps to a decade, as far as two digits can tell them apart.
STOPS = tuple(sorted({float(f"{10 ** (step / 50):.2g}") for step in range(-50, 75)}))
LARGEST_SEQ = 2**53  # the largest whole number that JavaScript counts to


@dataclass(frozen=True)
class Turn:
    """One message of the dials, checked."""

    settings: dict[str, Any]  # the fields of ``Settings`` that were changed
    released: bool  # whether the dial is held no longer


def show(settings: Settings, most: int) -> None:
    """Draw both dials; ``most``: the largest K of the network."""
    temperature = settings.temperature
    if isinstance(temperature, tuple):  # one dial cannot show four: it stands between them, and the text names them
        between = math.prod(map(settings.divisor, HEADS)) ** (1 / len(HEADS))
        place, name = between, temperatures_text(language(), settings.divisors)
    else:
        place, name = temperature, _temperature(temperature)
    shown = {
        "temperature": place,
        "text": name,
        "kernels": min(settings.kernels or most, most),
        "most": most,
    }
    words = {
        "temperature": say("dial.temperature"),
        "kernels": say("dial.kernels"),
        "mark": say("dial.mark"),
        "waiting": say("dial.waiting"),
        "temperatures": [_temperature(stop) for stop in STOPS],
        "counts": [_count(n, most) for n in range(1, most + 1)],
    }
    components.dials(shown, STOPS, answered(), connection.session(), words, lambda sent: _handle_turn(sent, most))


def answered() -> int:
    """The last message of a dial whose figures are on the page."""
    number: int = st.session_state.get("answered", 0)
    return number


def _temperature(temperature: float) -> str:
    """A temperature as the dial and the link write it."""
    return say("dial.trained") if temperature == 1 else f"{temperature:g}"


def _count(kernels: int, most: int) -> str:
    return say("dial.all" if kernels == most else "dial.some", kernels=kernels, most=most)


def parse_turn(sent: object, most: int) -> Turn:
    """Check a message that a browser sent.

    Args:
        sent: {changes: {temperature, kernels}, released}; either change may be absent.
        most: the largest K of the network.

    Raises:
        ValueError: it is anything else, or out of range.
    """
    if not isinstance(sent, dict) or type(sent.get("released")) is not bool:
        raise ValueError("not the message of a dial")
    changes = sent.get("changes")
    if not isinstance(changes, dict) or not set(changes) <= {"temperature", "kernels"}:
        raise ValueError("not a dial's changes")
    settings: dict[str, Any] = {}
    if "temperature" in changes:
        if type(changes["temperature"]) not in (int, float) or changes["temperature"] not in STOPS:
            raise ValueError("not a temperature of the dial")
        settings["temperature"] = float(changes["temperature"])
    if "kernels" in changes:
        if type(changes["kernels"]) is not int or not 1 <= changes["kernels"] <= most:
            raise ValueError("not a kernel count of this network")
        settings["kernels"] = None if changes["kernels"] == most else changes["kernels"]
    return Turn(settings, sent["released"])


def _handle_turn(sent: object, most: int) -> None:
    """A dial was turned or released; ``sent`` comes from a browser."""
    handle_turn(sent, lambda sent: parse_turn(sent, most))


def handle_turn(sent: object, parse: Callable[[object], Turn]) -> None:
    """Apply a message of a control that acts while it is dragged; ``sent`` comes from a browser.

    A refused message is answered, too, so that the control shows again what is applied. A message to a session that is gone
    is not answered: the control sends it once more when it is drawn in this session.

    Args:
        parse: checks the message; raises ValueError for what the control does not send.
    """
    if not isinstance(sent, dict) or sent.get("session") != connection.session():
        log.warning("dial: ignored %.100r", sent)
        return
    if type(sent.get("seq")) is int and 0 < sent["seq"] <= LARGEST_SEQ:
        st.session_state["answered"] = sent["seq"]
    try:
        turn = parse(sent)
    except ValueError as error:
        log.warning("dial: ignored %.100r: %s", sent, error)
        return
    st.session_state["dragging"] = not turn.released
    view.change(**turn.settings)
    if turn.released:
        st.rerun()
