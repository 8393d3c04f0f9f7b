"""The dials for temperature and kernel count."""

from __future__ import annotations

import math

import streamlit as st

from odconv.attention import HEADS, Settings
from odconv.drawings import temperatures_text
from odconv.ui import live
from odconv.ui.live import Dial, Parse, Turn
from odconv.ui.text import language, say

# The temperatures that the dial stops at: 50 steps to a decade, as far as two digits can tell them apart.
STOPS = tuple(sorted({float(f"{10 ** (step / 50):.2g}") for step in range(-50, 75)}))
MARKED = {
    0.1: "dial.mark_low",
    0.3: "",
    1.0: "dial.mark",
    3.0: "",
    10.0: "",
    30.0: "dial.mark_high",
}  # and by which text


def show(settings: Settings, most: int, key: str, redraw: str) -> None:
    """Draw both dials, or one where there is one kernel; ``most``: the largest K of the network; the rest as in ``live.show``."""
    dials = [_temperature_dial(settings)]
    if most > 1:
        dials.append(_kernels_dial(min(settings.kernels or most, most), most))
    live.show(dials, lambda sent: parse_turn(sent, most), key, redraw)


def show_apart(settings: Settings, most: int, parse: Parse, key: str) -> None:
    """The same dials as two widgets in columns; ``key`` and what they turn name them. ``parse``: as ``parse_turn``."""
    left, right = st.columns([3, 2], gap="medium")
    with left:
        live.show([_temperature_dial(settings)], parse, f"{key}_temperature")
    if most > 1:
        with right:
            live.show([_kernels_dial(min(settings.kernels or most, most), most)], parse, f"{key}_kernels")


def _temperature_dial(settings: Settings) -> Dial:
    if isinstance(
        settings.temperature, tuple
    ):  # one dial cannot show four: it stands between them, and its text names them
        temperature = math.prod(map(settings.divisor, HEADS)) ** (1 / len(HEADS))
        text = temperatures_text(language(), settings.divisors)
    else:
        temperature, text = settings.temperature, _temperature(settings.temperature)
    away = [abs(math.log(stop / temperature)) for stop in STOPS]
    return Dial(
        id="temperature",
        label=say("dial.temperature"),
        stops=STOPS,
        texts=[_temperature(stop) for stop in STOPS],
        marks=[(stop, say(MARKED[stop]) if MARKED[stop] else f"{stop:g}") for stop in MARKED],
        minor=[stop for stop in MARKED if not MARKED[stop]],
        value=temperature,
        text=text,
        nearest=away.index(min(away)),
    )


def _temperature(temperature: float) -> str:
    """A temperature as the dial and the link write it."""
    return say("dial.trained") if temperature == 1 else f"{temperature:g}"


def _kernels_dial(kernels: int, most: int) -> Dial:
    counts = list(range(1, most + 1))
    return Dial(
        id="kernels",
        label=say("dial.kernels"),
        stops=counts,
        texts=[_count(n, most) for n in counts],
        marks=[(n, str(n)) for n in counts],
        value=kernels,
        text=_count(kernels, most),
        nearest=kernels - 1,
    )


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
    changes, released = live.parse_message(sent, ("temperature", "kernels"))
    settings: dict[str, float | int | None] = {}
    if "temperature" in changes:
        settings["temperature"] = live.check_stop(changes["temperature"], STOPS)
    if "kernels" in changes:
        kernels = changes["kernels"]
        if type(kernels) is not int or not 1 <= kernels <= most:
            raise ValueError("not a kernel count of this network")
        settings["kernels"] = None if kernels == most else kernels
    return Turn(settings, released)
