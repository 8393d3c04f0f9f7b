"""What does dividing the logits do?"""

import streamlit as st

from odconv.ui import asking, bootstrap, layer, photo, sidebar, sources, temperatures, tempering, text, view
from odconv.ui.engine import Engine
from odconv.ui.pictures import Picture
from odconv.ui.text import say

bootstrap()
with st.sidebar:
    sidebar.choose_language()
    engine = sidebar.choose_engine(view.current())
    if engine:
        sidebar.describe(engine)

st.header(say("temper.title"), anchor=False)
st.markdown(say("temper.intro"))
if unknown := view.ignored():
    st.info(text.markdown("page.bad_link", names=", ".join(unknown)))
with st.container(key="pictures"):
    pictures = sources.choose(view.current(), engine.checkpoint.card.resize) if engine else []
if engine and not pictures:
    st.info(sources.prompt(view.current()))


@st.fragment(key="stage")
def stage(engine: Engine, picture: Picture) -> str | None:
    """What follows a dial while it is dragged. The name of the layer that is shown; None while the network is busy."""
    temperatures.show_choices(engine)
    temperatures.show(engine)
    reply = asking.ask(engine, [picture], "stage", temperatures.settings())
    tempering.show_predictions(engine, picture, reply.answers)
    asking.show_busy(reply, "stage")
    temperatures.describe_schedule(engine.checkpoint.card)
    if reply.answers:
        tempering.show_layers(engine, reply.answers)
    if not st.session_state.get("dragging"):
        view.write_link()
    return layer.chosen(reply.answers.now) if reply.answers else None


if engine and pictures:
    if engine.checkpoint.dynamic:
        picture = photo.choose(pictures)
        tempering.note_what_is_left_aside()
        if shown := stage(engine, picture):
            tempering.ask_question(engine, picture)
            tempering.show_curves(engine, picture, shown)
    else:
        st.info(say("page.static"))
view.write_link()
