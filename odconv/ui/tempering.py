"""The temperature lesson's figures: what the network makes of the temperatures, one layer's numbers, a question, curves."""

from __future__ import annotations

import time
from dataclasses import replace

import streamlit as st

from odconv import drawings
from odconv.attention import HEADS, Settings
from odconv.drawings import Sweep
from odconv.tempering import CURVE, Reading
from odconv.ui import (
    asking,
    components,
    inference,
    knob,
    layer,
    live,
    parts,
    photo,
    questions,
    scene,
    temperatures,
    text,
    view,
)
from odconv.ui.asking import Reply
from odconv.ui.devices import BusyError
from odconv.ui.engine import Engine
from odconv.ui.inference import Answers
from odconv.ui.pictures import Picture
from odconv.ui.text import language, say

AT_A_TIME = 0.3  # seconds of readings in one run, so that a dial that is turned meanwhile is answered
PAUSE = 0.1  # seconds until the next run

FREE = {temperature: Settings(temperature) for temperature in CURVE}
KEPT = {temperature: Settings(temperature, compensate=True) for temperature in CURVE}


def note_what_is_left_aside() -> None:
    """Say which of the visitor's settings do not act on this page."""
    others = replace(view.current().settings, temperature=1.0, tempered=HEADS, compensate=False)
    if others != Settings(keep=others.keep):
        st.info(text.markdown("temper.aside", settings=drawings.describe_settings(language(), others)))


def show_predictions(engine: Engine, picture: Picture, answers: Answers | None) -> None:
    """Draw what the network says with tempered attention, and beside it the same temperature on the output alone."""
    with st.container(key="screen"):
        left, middle, right = st.columns([3, 4, 4], gap="medium")
    with left:
        photo.show_picture(engine, picture)
        knob.show(engine, None)  # the knob alone: this page is about another curve
    with middle:
        st.markdown(say("temper.attention_title"))
        photo.show_prediction(scene.current(engine, picture), answers)
    with right:
        st.markdown(say("temper.output_title"))
        if answers:
            classes = engine.checkpoint.card.classes
            components.output(drawings.output_data(language(), answers.trained, answers.now, classes))


def show_layers(engine: Engine, answers: Answers) -> None:
    """Draw all layers at a glance, and the chosen one number by number."""
    record, name = answers.now, layer.chosen(answers.now)
    layer.warn(answers, name)
    st.subheader(text.markdown("temper.one_layer", layer=name), anchor=False)
    st.caption(say("temper.one_layer_note"))
    components.tempered(drawings.tempered_data(language(), record.layers[name], temperatures.settings()))
    st.subheader(say("temper.layers"), anchor=False)
    st.caption(say("temper.layers_note"))
    places = scene.places(engine, record)
    components.glance(drawings.glance_data(language(), record, answers.reference, name, places), layer.choose)


def ask_question(engine: Engine, picture: Picture) -> None:
    """Ask which head a high temperature harms most; when the visitor has chosen, the network answers."""
    st.subheader(say("temper.question"), anchor=False)
    questions.show_one(engine, picture, "suffers")


def show_curves(engine: Engine, picture: Picture, name: str) -> None:
    """Draw the curves over all temperatures, and those of the kernel's norm in the layer ``name``.

    A sweep takes a second or many. It is made piece by piece, in runs of a fragment that others' wishes come between.
    """
    complete = len(_known(engine, picture)) == len({*FREE.values(), *KEPT.values()})
    parts.fragment(_show_curves, key="curves_part", run_every=None if complete else PAUSE)(
        engine, picture, name, complete
    )


def _show_curves(engine: Engine, picture: Picture, name: str, was_complete: bool) -> None:
    st.subheader(say("temper.curves"), anchor=False)
    try:
        sweep = _sweep_on(engine, picture)
    except BusyError as error:
        asking.show_busy(Reply(None, error), "curves")
        return
    if sweep is None:
        share = len(_known(engine, picture)) / len({*FREE.values(), *KEPT.values()})
        st.progress(share, say("temper.reading", count=len(CURVE)))
        return
    if not was_complete and not live.dragged():
        st.rerun()  # without the fragment's own runs
    classes, now = engine.checkpoint.card.classes, temperatures.settings()
    name_of_first = drawings.first_synonym(classes[sweep.trained.first_choice])
    st.caption(text.markdown("temper.curves_note", count=len(CURVE), name=name_of_first))
    components.curves(drawings.curves_data(language(), sweep, name, classes, now))
    st.subheader(say("temper.trap"), anchor=False)
    st.markdown(say("temper.trap_note"))
    components.curves(drawings.shrinking_data(language(), sweep, name, classes, now), key="shrinking")


def _sweep_on(engine: Engine, picture: Picture) -> Sweep | None:
    """Read for a while, and give the sweep if nothing is missing any more."""
    known, end = _known(engine, picture), time.monotonic() + AT_A_TIME
    missing = [settings for settings in dict.fromkeys([*FREE.values(), *KEPT.values()]) if settings not in known]
    for settings, reading in zip(missing, inference.read_each(engine, picture, missing), strict=True):
        known[settings] = reading
        if time.monotonic() > end and settings != missing[-1]:
            return None
    return Sweep({t: known[FREE[t]] for t in CURVE}, {t: known[KEPT[t]] for t in CURVE})


def _known(engine: Engine, picture: Picture) -> dict[Settings, Reading]:
    """What has been read of this picture in this session."""
    asked = (engine.identity, picture.digest)
    before, known = st.session_state.get("sweep", (None, {}))
    if before != asked:
        known = {}
        st.session_state["sweep"] = (asked, known)
    return known
