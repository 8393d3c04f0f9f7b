"""The first lesson: a path of five steps. Each sets the network to work, asks for a prediction, then shows and says why.

The visitor's settings are left aside: each step has its own. Pictures and network are the step's own, too, until the
visitor chooses others; what is said is computed for those.
"""

from __future__ import annotations

from typing import Any, Literal

import streamlit as st

from odconv.attention import HEADS
from odconv.start import LAYER
from odconv.ui import asking, beginning, sources, steps, view
from odconv.ui import static_network as static
from odconv.ui.asking import Reply
from odconv.ui.devices import BusyError
from odconv.ui.engine import Engine
from odconv.ui.link import SETTINGS, View
from odconv.ui.pictures import Picture
from odconv.ui.sources import Member
from odconv.ui.text import say

# What Explore is opened with, beside the step's pictures.
IN_EXPLORE: dict[str, dict[str, Any]] = {"flat": {"ablate": HEADS}, "temperature": {"temperature": 30.0}}


def intro() -> str:
    """Key of the text that says what the path is."""
    chosen = view.current()
    if chosen.reveal != "after":
        return f"start.intro_{chosen.reveal}"
    return "start.intro_some" if chosen.steps else "start.intro"


def show(engine: Engine | None) -> None:
    """Draw the path and the step that the visitor is at."""
    _choose_step()
    if engine is None:
        return
    step = view.current().path[view.current().step - 1]
    here, foot = st.container(key="step"), st.container(key="other")
    looked_into = steps.view_of(step, view.current())
    with foot:
        pictures = _choose_pictures(engine, step, looked_into)
    if not pictures:
        return
    with here:
        try:
            steps.show(engine, step, pictures, looked_into)
        except BusyError as error:
            asking.show_busy(Reply(None, error), "start")
        _show_ways(engine, step, looked_into)


# --- the path ---------------------------------------------------------------------------------------------------------


def _choose_step() -> None:
    answered = dict(view.current().answers)
    path = enumerate(view.current().path, 1)
    names = {i: f"{i} {'✓' if step in answered else ''} {say(f'start.{step}')}" for i, step in path}
    view.bind(
        st.segmented_control,
        say("start.path"),
        key="path",
        value=view.current().step,
        then=lambda step: view.change(step=step),
        options=names,
        required=True,
        label_visibility="collapsed",
    )


def _choose_pictures(engine: Engine, step: str, looked_into: View) -> list[Picture]:
    size = engine.checkpoint.card.resize
    if step == "grating":
        return [sources.picture(Member("stimuli", steps.GRATING), looked_into, size)]
    if not looked_into.fixed:
        st.subheader(say("start.other"), anchor=False)
        st.caption(say("start.other_note"))
    pictures = beginning.choose_pictures(engine, looked_into)
    if steps.has_chosen(view.current()) and not looked_into.fixed:
        st.button(say("start.own"), key="own", on_click=_take_own)
    return pictures


def _take_own() -> None:
    view.change(source="samples", samples=(), compared=(), compare=False, shown=1)


def _show_ways(engine: Engine, step: str, looked_into: View) -> None:
    """Draw the ways on: back, next, and where the page does not stay, from the last step to Forge, and to Explore with the step's view."""
    path, fixed = view.current().path, view.current().fixed
    at = path.index(step) + 1
    with st.container(key="ways", horizontal=True, gap="small"):
        if at > 1:
            st.button(say("start.back"), key="step-back", on_click=lambda: view.change(step=at - 1))
        kind: Literal["primary", "secondary"] = "primary" if step in dict(view.current().answers) else "secondary"
        if at < len(path):
            name = say(f"start.{path[at]}")
            st.button(
                say("start.next", name=name), key="step-next", type=kind, on_click=lambda: view.change(step=at + 1)
            )
        elif not fixed and st.button(say("start.next_page"), key="step-forge", type=kind):
            st.switch_page("pages/forge.py")
        if not fixed and st.button(say("start.explore"), key="step-explore", type="tertiary"):
            fields = ("source", "samples", "compare", "compared", "stimulus", "knob")
            chosen: dict[str, Any] = {name: getattr(looked_into, name) for name in fields} | {"layer": LAYER}
            twin = static.static_twin(engine) if step == "twin" else None
            model = {"model": twin or engine.name}
            view.change(**(SETTINGS | chosen | model | IN_EXPLORE.get(step, {})))
            st.switch_page("pages/explore.py")
