"""The part of Explore that follows a dial: photo, prediction, settings, glance and one layer of one picture.

It is a fragment, so that a turn of a dial reruns this and nothing else; everything in it keeps its identity and is redrawn
in place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st

from odconv.attention import Settings
from odconv.ui import controls, layer, photo, view
from odconv.ui import engine as engines
from odconv.ui.engine import BusyError, Engine
from odconv.ui.sources import Picture
from odconv.words import say


@st.fragment(key="stage")
def show(engine: Engine, pictures: Sequence[Picture]) -> None:
    """Draw the stage for one of ``pictures``; with several, the visitor chooses which."""
    picture = photo.choose(pictures)
    settings = engine.normalize(view.current().settings)
    try:
        answer = engines.ask(engine, picture, settings)
        trained = engines.ask(engine, picture, Settings()).explanation
    except BusyError as error:
        st.warning(str(error))
        return
    reference = None if settings == Settings() else trained
    if not np.isfinite(answer.explanation.logits).all():
        st.warning("Under these settings the network's numbers grow beyond all bounds, and it predicts nothing.")
    photo.show(engine, picture, answer.explanation, reference)
    if answer.note:
        st.warning(say("en", answer.note))
    if not engine.checkpoint.dynamic:
        st.info("This is a static network: its kernels are the same for every picture, so it has no attention to show.")
        return
    controls.show(engine, view.current().settings)  # as chosen: what has no effect yet can be chosen first
    layer.show(engine, answer.explanation, trained, reference)
    if not st.session_state.get("dragging"):
        view.write_link()
