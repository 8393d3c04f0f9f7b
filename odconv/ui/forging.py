"""The lesson on forging: one layer at work on the picture, step by step, of one slice of its kernel at one place."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from odconv import drawings
from odconv.attention import Settings
from odconv.explain import Explanation
from odconv.forging_view import STEPS
from odconv.ui import asking, components, inference, kernel, layer, parts, photo, questions, text, view
from odconv.ui import engine as engines
from odconv.ui.devices import BusyError
from odconv.ui.engine import Engine
from odconv.ui.link import ALL_STEPS, LONGEST_SIDE
from odconv.ui.pictures import Picture
from odconv.ui.text import say

PART = "forging_part"


@parts.part(PART)
def show(engine: Engine, pictures: Sequence[Picture]) -> None:
    """Draw the choice of layer, filter and channel, the steps, and a question. ``engine``: of a dynamic network."""
    picture, other = photo.choose(engine, pictures), kernel.other_picture(pictures)
    reply = asking.ask(engine, [picture], PART)
    asking.show_busy(reply, PART)
    if not reply.answers:
        return
    chosen, record = view.current(), reply.answers.now
    name = layer.chosen(record)
    if chosen.layer not in ("", name):
        st.info(text.markdown("page.no_layer", layer=chosen.layer, shown=name))
    controls = st.container(key="forging_controls", horizontal=True, vertical_alignment="top", gap="medium")
    with controls:
        _choose_layer(record, name)
    try:
        found = inference.ask_forging(
            engine, picture, chosen.settings, name, chosen.filter, chosen.channel, chosen.place, other
        )
    except BusyError as error:
        asking.show_busy(asking.Reply(None, error), PART)
        return
    compared = other is not None or engines.load_atlas_for(engine, reply.answers.trained) is not None
    with controls:
        picked = kernel.choose_slice(found.kernel, compared)
    placed = chosen.place == (found.row, found.column)
    if chosen.place and not placed:
        height, width = found.output.shape
        st.info(say("forging.no_place", height=height, width=width))
    _say_settings(engine)
    components.forging(
        drawings.forging_data(
            text.language(),
            found,
            name,
            chosen.forge_step,
            placed=placed,
            picked=picked,
            compared=compared,
        ),
        _go,
    )
    st.subheader(say("forging.ask"), anchor=False)
    questions.show_one(engine, picture, "shuffle")
    view.write_link()


def _choose_layer(record: Explanation, name: str) -> None:
    def label(layer: str) -> str:
        _, outputs, _, side, _ = record.layers[layer].weight_shape
        inputs = record.layers[layer].input_shape[0]
        return say("forging.layer_option", name=layer, side=side, inputs=inputs, outputs=outputs)

    view.bind(
        st.selectbox,
        say("forging.layer"),
        key="forging_layer",
        value=name,
        then=view.choose_layer,
        options={known: label(known) for known in record.layers},
        width=250,
        help=say("meaning.layer_name"),
    )


def _say_settings(engine: Engine) -> None:
    """The settings travel with the view from other pages: say which are in force, with a way back, unless it is as trained."""
    settings = engine.normalize(view.current().settings)
    if settings == Settings():
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        described = drawings.describe_settings(text.language(), settings)
        st.caption(text.markdown("setting.in_force", settings=described), width="content")
        st.button(say("setting.reset"), key="forging_reset", on_click=view.reset_settings)


def _go(sent: object) -> None:
    """A step or a place has come to rest; ``sent`` comes from a browser. Whether the layer has such a place is checked later."""
    if not isinstance(sent, dict) or set(sent) != {"step", "row", "column"}:
        return
    step, place = sent["step"], (sent["row"], sent["column"])
    if step not in (*STEPS, ALL_STEPS):
        return
    if place == (None, None):
        view.change(forge_step=step, place=None)
    elif all(type(index) is int and 0 <= index < LONGEST_SIDE for index in place):
        view.change(forge_step=step, place=place)
