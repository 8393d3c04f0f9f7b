"""The knob of the stimulus, which acts while it is dragged."""

from __future__ import annotations

import numpy as np

from odconv.drawings import knob_text
from odconv.stimuli import STIMULI
from odconv.ui import live, sources, text, view
from odconv.ui.live import Dial, Parse, Turn
from odconv.ui.text import say

MARKED = {
    "grating": (0, 45, 90, 135, 180),
    "checkerboard": (4, 32, 64, 96, 128),
    "plain": (0, 60, 120, 180, 240, 300, 360),
    "noise": (0, 250, 500, 750, 999),
    "blur": (0, 2, 4, 6, 8, 10),
}


def show() -> None:
    """Draw the knob, where a stimulus is the picture that is shown."""
    chosen = view.current()
    if sources.shown_member(chosen).source != "stimuli":
        return
    name = chosen.stimulus
    draw(name, sources.knob(chosen), lambda sent: parse_turn(sent, name), "knob")


def draw(name: str, value: float, parse: Parse, key: str) -> None:
    """Draw the knob of the stimulus ``name``; ``key`` names the widget."""
    stops, language = STIMULI[name].stops, text.language()
    dial = Dial(
        id=name,
        label=say(f"source.knob_{name}"),
        stops=stops,
        texts=[knob_text(language, name, stop) for stop in stops],
        marks=[(stop, f"{stop:g}") for stop in MARKED[name]],
        value=value,
        text=knob_text(language, name, value),
        minor=MARKED[name][1:-1],
        nearest=int(np.abs(np.array(stops) - value).argmin()),
    )
    live.show([dial], parse, key)


def parse_turn(sent: object, name: str) -> Turn:
    """Check a message that a browser sent: {changes: {``name`` of the stimulus: value}, released}.

    From the first turn on, the layer that is shown is the chosen one: where several pictures differ most can be elsewhere
    for every value, and what is looked at has to stay.

    Raises:
        ValueError: it is anything else, of another stimulus, or out of range.
    """
    changes, released = live.parse_message(sent, (name,))
    knob = live.check_stop(changes.get(name), STIMULI[name].stops)
    return Turn({"knob": knob, "layer": view.wanted_layer()}, released)
