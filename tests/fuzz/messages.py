"""What browsers send to widgets, as JSON of {to: which, sent: what}; each is answered in a session of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import streamlit as st
from hypothesis import strategies
from hypothesis.strategies import SearchStrategy

from odconv.attention import Heads
from odconv.edits import MOST_DABS
from odconv.stimuli import STIMULI
from odconv.switches import CHOICES
from odconv.ui import (
    components,
    dials,
    editing,
    effect_map,
    forging,
    knob,
    layer,
    live,
    photo,
    sides,
    sources,
    switching,
    temperatures,
    view,
)
from odconv.ui.link import Offer, Other, View, from_query, to_query
from odconv.ui.pictures import samples
from tests.fuzz.strategies import changed_json, read_json, to_bytes, values

MEMORY = 32_000_000

ENGINE: Any = SimpleNamespace(num_kernels=4)
CASE: Any = SimpleNamespace(off="typical", offered=list(CHOICES))
LEARNED = Heads(np.full((3, 3), 0.5), np.full(8, 0.5), np.full(4, 0.5), np.full(4, 0.25))
CELLS = [("layer1.0.conv1", "spatial"), ("layer1.0.conv1", "kernel")]
STIMULUS = "grating"
OPENED = View(
    source="stimuli",
    stimulus=STIMULUS,
    samples=tuple(list(samples())[:3]),
    hand=(("kernel", 1, 0.5),),
    b=Other(STIMULUS),
)

Handler = Callable[[object], None]


def _dial(parse: Callable[[object], live.Turn], key: str) -> Handler:
    return lambda sent: live.receive(sent, parse, key)


def _text(use: Callable[[str], None]) -> Handler:
    """A click that sends text."""

    def handle(sent: object) -> None:
        st.session_state["widget"] = {"picked": sent}
        components._pass_text("widget", "picked", use)
        del st.session_state["widget"]

    return handle


HANDLERS: dict[str, Handler] = {
    "dials": _dial(partial(dials.parse_turn, most=4), "dials"),
    "temperatures": _dial(temperatures.parse_temperatures, "temperatures"),
    "edit_dials": _dial(editing.parse_turn, "edit_dials"),
    "brush": _dial(editing.parse_brush, "brush"),
    "knob": _dial(partial(knob.parse_turn, name=STIMULUS), "knob"),
    "by_hand": _dial(partial(switching.parse_hand, learned=LEARNED), "by_hand"),
    "side_a": _dial(sides._turn_a(ENGINE), "side_a"),
    "side_b": _dial(sides._turn_b(ENGINE), "side_b"),
    "b_knob": _dial(partial(sides._turn_knob_b, name=STIMULUS), "b_knob"),
    "switches": lambda sent: switching._choose(sent, CASE),
    "effects": lambda sent: effect_map._pick(sent, CELLS, "mean"),
    "forging": forging._go,
    "layer": _text(layer.choose),
    "gallery": _text(lambda id: sources._pick(id, view.current())),
    "strip": _text(photo._with(sources.take_out)),
}


def _turn(**changes: Any) -> dict[str, Any]:
    return {"changes": changes, "released": False, "seq": 1, "session": "mine"}


GOOD: tuple[dict[str, Any], ...] = (
    *({"to": to, "sent": _turn(temperature=2.0, kernels=3)} for to in ("dials", "side_a", "side_b")),
    {"to": "temperatures", "sent": _turn(temperatures=[1.0, 2.5, 30, 0.1])},
    {"to": "edit_dials", "sent": _turn(turn=-15.0, blur=0.5)},
    {"to": "brush", "sent": _turn(brush=[[1, 2, 3], [1000, 0, 100]])},
    {"to": "brush", "sent": _turn(brush=[[1, 2, 3]] * MOST_DABS)},
    *({"to": to, "sent": _turn(**{STIMULUS: STIMULI[STIMULUS].stops[1]})} for to in ("knob", "b_knob")),
    {"to": "by_hand", "sent": _turn(hand=[["kernel", 0, 0.25], ["spatial", 8, 1]])},
    {"to": "switches", "sent": {"choices": list(CHOICES[:1]) * 4}},
    {"to": "switches", "sent": {"relative": "senet"}},
    {"to": "effects", "sent": {"layer": "layer1.0.conv1", "head": "kernel"}},
    {"to": "forging", "sent": {"step": "pool", "row": 1, "column": None}},
    {"to": "forging", "sent": {"step": "all", "row": 1, "column": 2}},
    {"to": "layer", "sent": "layer1.0.conv1#2"},
    {"to": "gallery", "sent": "checkerboard"},
    {"to": "strip", "sent": f"stimuli:{STIMULUS}"},
)


def cases(corpus: Sequence[bytes]) -> SearchStrategy[bytes]:
    kept = [message for message in map(_parse, map(read_json, corpus)) if message]
    whole = changed_json([*GOOD, *kept])
    parts = strategies.builds(
        lambda to, sent: {"to": to, "sent": sent}, strategies.sampled_from(list(HANDLERS)), values
    )
    return strategies.one_of(whole, parts).filter(lambda message: bool(_parse(message))).map(to_bytes)


def parse(data: bytes) -> dict[str, Any]:
    try:
        return _parse(json.loads(data))
    except (ValueError, RecursionError):  # refused by Streamlit, which reads JSON in the same way
        return {}


def _parse(message: Any) -> dict[str, Any]:
    whole = isinstance(message, dict) and isinstance(message.get("to"), str) and message["to"] in HANDLERS
    return {"to": message["to"], "sent": message.get("sent")} if whole else {}


def check(data: bytes) -> str:
    message = parse(data)
    if not message:
        return "no message"
    for name in list(st.session_state):
        del st.session_state[name]
    before = {"view": OPENED, "session": "mine", "theirs": "kept"}
    for name, value in before.items():
        st.session_state[name] = value
    HANDLERS[message["to"]](message["sent"])
    found: dict[Any, Any] = {name: st.session_state[name] for name in st.session_state}
    more = set(found) - set(before) - {"acted", "dragging", f"answered-{message['to']}"}
    assert not more, f"{more} were left in the session"
    assert (found["session"], found["theirs"]) == ("mine", "kept")
    assert found.get("dragging", "") in ("", message["to"])
    query = to_query(found["view"])
    offer = Offer([], list(samples()), [])
    assert from_query(query, offer) == (found["view"], []), f"no link says {found['view']}"
    return "acted" if found["view"] != OPENED else "ignored"
