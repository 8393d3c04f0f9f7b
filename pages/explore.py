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
    parts,
    photo,
    scene,
    several,
    view,
)
from odconv.ui import static_network as static
from odconv.ui.engine import PHOTOS, Engine

bootstrap()
engine, pictures = beginning.begin("page.title", "page.intro", PHOTOS)
invitations.show(pictures)


@parts.part("stage")
def stage(engine: Engine) -> None:
    """What follows a knob while it is dragged; everything in it keeps its identity and place and is redrawn."""
    pictures = photo.all_looked_at(engine)
    picture = photo.choose(engine, pictures)
    shown = scene.current(engine, picture)
    reply = asking.ask(engine, [picture], "stage", layer=scene.layer_to_look_into(engine, shown.layer))
    with st.container(key="screen"):
        left, right = st.columns([37, 63], gap="medium")
    with left:
        photo.show(shown, reply.answers)
        familiar.show(engine, picture, reply.answers)
        knob.show(engine, reply.answers)
    with right:
        if engine.checkpoint.dynamic:
            controls.show_dials(shown, reply.answers)
            layer.show_glance(shown, reply.answers)
        else:
            static.show(engine, pictures)
    asking.show_busy(reply, "stage")
    if engine.checkpoint.dynamic:
        controls.show_more(engine)
        if reply.answers:
            layer.show_layer(shown, reply.answers)
    view.write_link()


if engine and pictures:
    several.choose_layer(engine, pictures)
    stage(engine)
    on_release.show(engine)
    parts.follow("stage", on_release.KEY)
view.write_link()
