"""What does every layer attend to in my picture?"""

import streamlit as st

from odconv.ui import (
    asking,
    beginning,
    bootstrap,
    controls,
    familiar,
    invitations,
    knob,
    layer,
    on_release,
    photo,
    several,
    turning,
    view,
)
from odconv.ui import static_network as static
from odconv.ui.engine import Engine
from odconv.ui.pictures import Picture

bootstrap()
engine, pictures = beginning.begin("page.title", "page.intro")
invitations.show(pictures)


@st.fragment(key="stage")
def stage(engine: Engine, pictures: list[Picture]) -> None:
    """What follows a dial while it is dragged; everything in it keeps its identity and place and is redrawn."""
    picture = photo.choose(engine, pictures)
    reply = asking.ask(engine, [picture], "stage")
    dynamic = engine.checkpoint.dynamic
    with st.container(key="screen"):
        left, right = st.columns([37, 63], gap="medium")
    with left:
        photo.show(engine, picture, reply.answers)
        familiar.show(engine, picture, reply.answers)
        knob.show(engine, reply.answers)
    with right:
        if dynamic:
            turning.show(engine, picture)
        else:
            static.show(engine, pictures)
        if dynamic and reply.answers:
            layer.show_glance(engine, reply.answers)
    asking.show_busy(reply, "stage")
    if dynamic:
        controls.show_more(engine)
        if reply.answers:
            layer.show_layer(engine, reply.answers)
    view.write_link()


if engine and pictures:
    several.choose_layer(engine, pictures)
    stage(engine, pictures)
    on_release.show(engine, pictures)
view.write_link()
