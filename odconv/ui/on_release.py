"""What of Explore follows a dial on its release and not while it is dragged: kernel, comparison, questions and files to take away."""

from __future__ import annotations

import streamlit as st

from odconv.ui import asking, kernel, parts, photo, questions, several, takeaway, view
from odconv.ui.engine import Engine

KEY = "on_release"


@parts.part(KEY)
def show(engine: Engine) -> None:
    """Draw what is said of all pictures; of a static network, only the files."""
    pictures = photo.all_looked_at(engine)
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
    view.write_link()
