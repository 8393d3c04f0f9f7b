"""Asking the network from a page: while other visitors keep it busy, the page stays whole and says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import streamlit as st

from odconv.attention import Settings
from odconv.ui import inference, text, view
from odconv.ui.engine import Engine
from odconv.ui.inference import Answers, BusyError
from odconv.ui.pictures import Picture
from odconv.ui.text import say


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
        answers = inference.ask_both(engine, pictures, settings or view.current().settings, layer)
    except BusyError as error:
        before, answers = st.session_state.get(f"answers-{part}", (None, None))
        return Reply(answers if before == asked else None, error)
    st.session_state[f"answers-{part}"] = (asked, answers)
    return Reply(answers, None)


def show_busy(reply: Reply, part: str) -> None:
    """Say that the network is busy, if it was, with a button to ask again."""
    if reply.busy is None:
        return
    with st.container(key="busy" if part == "stage" else f"busy-{part}"):
        meanwhile = f" {say('busy.before')}" if reply.answers else ""
        st.warning(text.refusal(reply.busy) + meanwhile, icon=":material/hourglass_top:")
        st.button(say("busy.again"), key=f"again-{part}", on_click=st.rerun)
