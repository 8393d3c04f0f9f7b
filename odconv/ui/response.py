"""The response curve: what a layer's attention does while the knob of the stimulus goes from end to end."""

from __future__ import annotations

import streamlit as st

from odconv import drawings
from odconv.stimuli import STIMULI
from odconv.ui import asking, components, connection, inference, knob, layer, live, sources, text, view
from odconv.ui.asking import Reply
from odconv.ui.engine import Engine
from odconv.ui.inference import Answers, BusyError


def show(engine: Engine, answers: Answers) -> None:
    """Draw the curve of the chosen layer, where a stimulus is the picture that is shown; ``answers``: of it as it stands.

    It follows a dial on its release: a pass of many pictures for every step of a drag would slow the figures that show it.
    """
    chosen = view.current()
    if sources.shown_member(chosen).source != "stimuli":
        return
    name, stimulus = layer.chosen(answers.now), chosen.stimulus
    if not st.session_state.get("dragging"):
        st.session_state["settings_at_rest"] = chosen.settings
    try:
        settings = st.session_state.get("settings_at_rest", chosen.settings)
        found = inference.ask_response(engine, stimulus, sources.stimulus_photo(chosen), settings)
    except BusyError as error:
        asking.show_busy(Reply(None, error), "response")
        return
    st.subheader(text.markdown("response.heading", layer=name), anchor=False)
    components.response(
        drawings.response_data(
            text.language(),
            stimulus,
            found.values,
            found.layers[name],
            sources.knob(chosen),
            answers.now.layers[name].attention,
        ),
        STIMULI[stimulus].stops,
        stimulus,
        live.answered("response"),
        connection.session(),
        lambda sent: live.receive(sent, lambda sent: knob.parse_turn(sent, stimulus), "response"),
    )
