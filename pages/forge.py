"""What does every layer attend to in my picture?"""

import streamlit as st

from odconv.ui import asking, bootstrap, controls, kernel, layer, photo, several, sidebar, sources, takeaway, text, view
from odconv.ui.engine import Engine
from odconv.ui.pictures import Picture
from odconv.ui.text import say

bootstrap()
with st.sidebar:
    sidebar.choose_language()
    engine = sidebar.choose_engine(view.current())
    if engine:
        sidebar.describe(engine)

st.header(say("page.title"), anchor=False)
st.markdown(say("page.intro"))
if unknown := view.ignored():
    st.info(text.markdown("page.bad_link", names=", ".join(unknown)))
with st.container(key="pictures"):
    pictures = sources.choose(view.current(), engine.checkpoint.card.resize) if engine else []
if engine and not pictures:
    st.info(sources.prompt(view.current()))


@st.fragment(key="stage")
def stage(engine: Engine, pictures: list[Picture]) -> None:
    """What follows a dial while it is dragged; everything in it keeps its identity and is redrawn in place."""
    picture = photo.choose(pictures)
    reply = asking.ask(engine, [picture], "stage")
    photo.show(engine, picture, reply.answers)
    if engine.checkpoint.dynamic:
        controls.show(engine)
    else:
        st.info(say("page.static"))
    asking.show_busy(reply, "stage")
    if reply.answers and engine.checkpoint.dynamic:
        layer.show(engine, reply.answers)
    if not st.session_state.get("dragging"):
        view.write_link()


if engine and pictures:
    stage(engine, pictures)
    if engine.checkpoint.dynamic:
        reply = asking.ask(engine, pictures, "all")
        if len(pictures) > 1:
            asking.show_busy(reply, "all")
        if reply.answers:
            kernel.show(engine, pictures, reply.answers)
            if len(pictures) > 1:
                several.show(engine, pictures, reply.answers)
            with st.container(key="takeaway"):
                takeaway.show(engine, pictures, reply.answers)
view.write_link()
