"""The map of effects: one head in one layer at a time, computed piece by piece, so that it can be cancelled at once."""

from __future__ import annotations

import time
from typing import Any

import streamlit as st

from odconv import drawings
from odconv.attention import HEADS
from odconv.switches import MAPPED, Cell, Choice, Effect, cells_of, find_effect, switch_of, to_pass
from odconv.ui import (
    asking,
    components,
    controls,
    editing,
    inference,
    live,
    parts,
    photo,
    scene,
    switching,
    text,
    view,
)
from odconv.ui.asking import Reply
from odconv.ui.devices import BusyError
from odconv.ui.engine import Engine
from odconv.ui.switching import Case
from odconv.ui.text import language, say

AT_A_TIME = 0.25  # seconds of passes in one run, so that Cancel and whatever else is done meanwhile is answered
PAUSE = 0.05  # seconds until the next run
PART = "map_part"


def show(engine: Engine) -> None:
    """Draw the map of effects of the picture that is looked into, or what there is of it so far."""
    running = bool(_state().get("running"))
    parts.fragment(_show, key=PART, run_every=PAUSE if running else None)(engine, running)


def _state() -> dict[str, Any]:
    """{asked: what the effects are of, effects: those known so far, running: whether more are computed}."""
    return st.session_state.setdefault("effect_map", {})


def _show(engine: Engine, runs_by_itself: bool) -> None:
    st.subheader(say("switches.map"), anchor=False)
    st.caption(say("switches.map_intro"))
    try:
        case = switching.open_case(engine, editing.edit(photo.looked_at(engine)))
        choice = _choice(case)
        _choose_map(case, choice)
        effects, cells = _recall(case, choice), cells_of(case.trained)
        if _state()["running"]:
            _go_on(case, choice, cells, effects)
    except BusyError as error:
        asking.show_busy(Reply(None, error), PART)
        return
    with st.container(key="map_progress", horizontal=True, vertical_alignment="center", gap="medium"):
        _show_progress(len(effects), len(cells))
    if effects:
        _draw(case, choice, cells, effects)
    if runs_by_itself != _state()["running"] and not live.dragged():
        st.rerun()  # with the fragment's own runs, or without them
    view.write_link()


def _choice(case: Case) -> Choice:
    wanted = view.current().map_of
    return wanted if wanted in case.offered else case.off


def _choose_map(case: Case, choice: Choice) -> None:
    words = case.words()
    view.bind(
        st.selectbox,
        say("switches.map_of"),
        key="map_of",
        value=choice,
        then=lambda choice: controls.change_and_rerun(map_of=choice),  # a second picture may be needed, chosen above
        options={one: text.markdown(f"switches.{one}", **words) for one in MAPPED if one in case.offered},
        width=340,
    )


def _recall(case: Case, choice: Choice) -> dict[Cell, Effect]:
    """The effects that are known of this map in this session."""
    donor = case.donor.digest if choice == "transplanted" else None
    seed = view.current().shuffling if choice == "shuffled" else 0
    asked, state = (case.engine.identity, case.picture.digest, choice, donor, seed), _state()
    if state.get("asked") != asked:
        state |= {"asked": asked, "effects": {}, "running": False}
    found: dict[Cell, Effect] = state["effects"]
    return found


def _go_on(case: Case, choice: Choice, cells: list[Cell], effects: dict[Cell, Effect]) -> None:
    """Compute effects for a while."""
    end, missing = time.monotonic() + AT_A_TIME, [cell for cell in cells if cell not in effects]
    passes = [to_pass(switch_of(cell, choice, view.current().shuffling), case.sources) for cell in missing]
    for cell, logits in zip(missing, inference.read_logits(case.engine, case.picture, passes), strict=True):
        effects[cell] = find_effect(case.trained.logits[0], logits)
        if time.monotonic() > end:
            break
    if len(effects) == len(cells):
        _state()["running"] = False


def _show_progress(done: int, count: int) -> None:
    if _state()["running"]:
        st.progress(done / count, say("switches.map_progress", done=done, count=count))
        st.button(say("switches.map_cancel"), key="map_cancel", on_click=_run, args=(False,))
    elif done < count:
        label = "switches.map_resume" if done else "switches.map_start"
        st.button(say(label), key="map_start", type="primary", on_click=_run, args=(True,))
        if done:
            st.caption(say("switches.map_cancelled", done=done, count=count))


def _run(running: bool) -> None:
    _state()["running"] = running


def _draw(case: Case, choice: Choice, cells: list[Cell], effects: dict[Cell, Effect]) -> None:
    components.effects(
        drawings.effects_data(
            language(),
            cells,
            effects,
            scene.places(case.engine, case.trained),
            _selected(case),
            case.trained.logits[0],
            case.engine.checkpoint.card.classes,
            say(f"switches.{choice}", **case.words()),
        ),
        lambda sent: _pick(sent, cells, choice),
    )


def _selected(case: Case) -> Cell | None:
    """The cell whose switch is the only one that is turned."""
    turned = [head for head, one in zip(HEADS, case.switches.choices, strict=True) if one != "learned"]
    return (case.layer, turned[0]) if case.switches.layer and len(turned) == 1 else None


def _pick(sent: object, cells: list[Cell], choice: Choice) -> None:
    """A cell was chosen: its switch alone is turned; ``sent`` comes from a browser."""
    if not isinstance(sent, dict):
        return
    cell = (sent.get("layer"), sent.get("head"))
    if cell in cells:
        name, head = str(cell[0]), str(cell[1])
        view.choose_layer(name)
        view.change(switches=switch_of((name, head), choice).choices, where="one")
        st.rerun()
