"""What does every layer attend to in my picture?"""

import streamlit as st

from odconv.ui import bootstrap, controls, kernel, layer, photo, several, sidebar, sources, takeaway, text, view
from odconv.ui import engine as engines
from odconv.ui.engine import Answers, BusyError, Engine
from odconv.ui.sources import Picture
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
    st.info(sources.asked(view.current()))


def ask(engine: Engine, pictures: list[Picture]) -> Answers | None:
    """What the network makes of ``pictures`` under the visitor's settings; None, and a sentence, while others keep it."""
    try:
        return engines.ask_both(engine, pictures, view.current().settings)
    except BusyError as error:
        st.warning(text.refusal(error), icon=":material/hourglass_top:")
        return None


@st.fragment(key="stage")
def stage(engine: Engine, pictures: list[Picture]) -> None:
    """What follows a dial while it is dragged; everything in it keeps its identity and is redrawn in place."""
    found = kernel.ask(engine, picture := photo.choose(pictures), pictures)
    photo.show(engine, picture, answers := ask(engine, [picture]))
    if engine.checkpoint.dynamic:
        controls.show(engine)
        if answers:
            layer.show(engine, answers)
            kernel.show(engine, picture, pictures, answers, found)
    else:
        st.info(say("page.static"))
    if not st.session_state.get("dragging"):
        view.write_link()


if engine and pictures:
    stage(engine, pictures)
    if answers := ask(engine, pictures) if engine.checkpoint.dynamic else None:
        if len(pictures) > 1:
            several.show(engine, pictures, answers)
        with st.container(key="takeaway"):
            takeaway.show(engine, pictures, answers)
view.write_link()
