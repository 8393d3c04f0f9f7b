"""Asking the network from a page: while other visitors keep it busy, the page stays whole and says so."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import streamlit as st

from odconv.attention import Settings
from odconv.ui import devices, inference, parts, text, view
from odconv.ui.devices import BusyError
from odconv.ui.engine import Engine
from odconv.ui.inference import Answers
from odconv.ui.pictures import Picture
from odconv.ui.text import say

AGAIN = 4.0  # seconds after which a page that found the network busy asks again by itself
TRIES = 10  # times that it does so, one after another


class Reply(NamedTuple):
    """What a part of the page has to show."""

    answers: Answers | None  # None: nothing yet
    busy: BusyError | None  # why they are of the settings before; None where they are of the visitor's


def ask(
    engine: Engine, pictures: Sequence[Picture], part: str, settings: Settings | None = None, layer: str = ""
) -> Reply:
    """What the network makes of ``pictures`` under ``settings``, or else under the visitor's.

    ``layer``: one whose kernel will be asked for, see ``inference.ask_all``.

    While others keep the network, what this ``part`` of the page has shown of the same pictures before.
    """
    asked = (engine.identity, tuple(picture.digest for picture in pictures))
    try:
        with _waiting(devices.count_waiting(engine.device)):
            answers = inference.ask_both(engine, pictures, settings or view.current().settings, layer)
    except BusyError as error:
        before, answers = st.session_state.get(f"answers-{part}", (None, None))
        return Reply(answers if before == asked else None, error)
    st.session_state[f"answers-{part}"] = (asked, answers)
    parts.let_parts_go_first()
    return Reply(answers, None)


def show_busy(reply: Reply, part: str) -> None:
    """Say that the network is busy, if it was, and ask again: after a while, and at once where a button is pressed."""
    if reply.busy is None:
        return
    with st.container(key="busy" if part == "stage" else f"busy-{part}"):
        meanwhile = f" {say('busy.before')}" if reply.answers else ""
        st.warning(text.refusal(reply.busy) + meanwhile, icon=":material/hourglass_top:")
        st.button(say("busy.again"), key=f"again-{part}", on_click=st.rerun)
        now = time.monotonic()
        tries, last = st.session_state.get(f"tries-{part}", (0, now))
        tries = tries + 1 if now - last < devices.PATIENCE + 3 * AGAIN else 1
        st.session_state[f"tries-{part}"] = (tries, now)
        if tries <= TRIES:
            parts.fragment(_ask_again, run_every=AGAIN)(now)


def _ask_again(shown: float) -> None:
    """Run the page again when the browser has this part run by itself. ``shown``: when the page first said that it was busy."""
    st.caption(say("busy.by_itself"))
    if time.monotonic() - shown >= AGAIN / 2:
        st.rerun()


def _waiting(others: int) -> AbstractContextManager[None]:
    """Says, after half a second, how many ``others`` wait for the network, where there are any."""
    return st.spinner(say("busy.queue", count=others)) if others else nullcontext()
