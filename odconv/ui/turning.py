"""What follows a dial while it is dragged. The dials alone are drawn again, and bring the new data of the figures with them.

To draw every figure's part of the page again would take the browser twice as long, for the same pixels.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from odconv.ui import asking, controls, layer, live, photo
from odconv.ui.engine import Engine
from odconv.ui.inference import Answers
from odconv.ui.pictures import Picture


@st.fragment(key="turning")
def show(engine: Engine, picture: Picture) -> None:
    """Draw the dials; while one is dragged, redraw the figures of ``picture``. Its release runs the whole page."""
    if live.dragged() != controls.DIALS:
        controls.show_dials(engine, {})
        return
    reply = asking.ask(engine, [picture], "stage")
    controls.show_dials(engine, _figures(engine, reply.answers) if reply.answers else {})
    asking.show_busy(reply, "turning")


def _figures(engine: Engine, answers: Answers) -> dict[str, Any]:
    """Key of a figure -> its data."""
    return {
        "prediction": photo.prediction_data(engine, answers),
        "glance": layer.glance_data(engine, answers),
        "layer": layer.layer_data(engine, answers),
    }
