"""The knob of the stimulus, which acts while it is dragged, and above it what the chosen layer does along it."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from odconv import drawings
from odconv.stimuli import STIMULI
from odconv.ui import asking, components, connection, inference, layer, live, sources, text, view
from odconv.ui.asking import Reply
from odconv.ui.devices import BusyError
from odconv.ui.engine import Engine
from odconv.ui.inference import Answers
from odconv.ui.live import Dial, Parse, Turn
from odconv.ui.text import say

MARKED = {  # stops that are marked along the knob
    "grating": (0, 45, 90, 135, 180),
    "checkerboard": (4, 32, 64, 96, 128),
    "plain": (0, 60, 120, 180, 240, 300, 360),
    "noise": (0, 250, 500, 750, 999),
    "blur": (0, 2, 4, 6, 8, 10),
}


def show(engine: Engine, answers: Answers | None) -> None:
    """Draw knob and response, where a stimulus is the picture that is shown.

    ``answers``: of that picture, or None where there are none yet.
    """
    chosen = view.current()
    if sources.shown_member(chosen).source != "stimuli":
        return
    response = _response(engine, answers) if answers and engine.checkpoint.dynamic else None
    draw(chosen.stimulus, sources.knob(chosen), response)


def draw(stimulus: str, value: float, response: dict[str, Any] | None) -> None:
    """Draw the knob of ``stimulus`` at ``value``, and above it a layer's response, by which it can be turned, too.

    ``response``: from ``drawings.response_data``; None where there is none.
    """
    with st.container(key="stimulus"):
        if response:
            components.response(
                response,
                STIMULI[stimulus].stops,
                stimulus,
                live.answered("response"),
                connection.session(),
                lambda sent: live.receive(sent, lambda sent: parse_turn(sent, stimulus), "response"),
            )
        show_dial(stimulus, value, lambda sent: parse_turn(sent, stimulus), "knob")
        if response:
            st.markdown(f"**{response['sentence']}**")
            st.caption(response["note"])


def show_dial(name: str, value: float, parse: Parse, key: str) -> None:
    """Draw the knob of the stimulus ``name`` alone; ``key`` names the widget."""
    live.show([_dial(name, value)], parse, key)


def _response(engine: Engine, answers: Answers) -> dict[str, Any] | None:
    """The data of the curve; None while others keep the network."""
    chosen, name = view.current(), layer.chosen(answers.now)
    try:
        found = inference.ask_response(engine, chosen.stimulus, sources.stimulus_photo(chosen), chosen.settings)
    except BusyError as error:
        asking.show_busy(Reply(None, error), "response")
        return None
    return drawings.response_data(
        text.language(),
        name,
        chosen.stimulus,
        found.values,
        found.layers[name],
        sources.knob(chosen),
        answers.now.layers[name].attention,
    )


def _dial(name: str, value: float) -> Dial:
    stops, language = STIMULI[name].stops, text.language()
    return Dial(
        id=name,
        label=say(f"source.knob_{name}"),
        stops=stops,
        texts=[drawings.knob_text(language, name, stop) for stop in stops],
        marks=[(stop, f"{stop:g}") for stop in MARKED[name]],
        value=value,
        text=drawings.knob_text(language, name, value),
        nearest=int(np.abs(np.array(stops) - value).argmin()),
    )


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
