"""What of Explore follows a dial on its release and not while it is dragged: kernel, comparison, questions and files to take away."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from odconv.ui import asking, kernel, photo, questions, several, takeaway
from odconv.ui.engine import Engine
from odconv.ui.pictures import Picture


def show(engine: Engine, pictures: Sequence[Picture]) -> None:
    """Draw what is said of all ``pictures``; of a static network, only the files."""
    reply = asking.ask(engine, pictures, "all")
    if len(pictures) > 1:
        asking.show_busy(reply, "all")
    if not reply.answers:
        return
    if engine.checkpoint.dynamic:
        kernel.show(engine, pictures, reply.answers)
        if len(pictures) > 1:
            several.show(engine, pictures, reply.answers)
        questions.show(engine, photo.looked_at(engine), questions.EXPLORE)
    with st.container(key="takeaway"):
        takeaway.show(engine, pictures, reply.answers)
