"""Invitations: three things to try on the bundled network, each done by one click. What they promise is held by a test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from odconv.ui import engine as engines
from odconv.ui import view
from odconv.ui.link import SETTINGS
from odconv.ui.pictures import Picture
from odconv.ui.text import say

# What a click chooses, beside the lessons' network as trained: name of an invitation -> fields of ``View`` or ``Settings``.
INVITATIONS: dict[str, dict[str, Any]] = {
    "pictures": {"source": "samples", "samples": ("espresso", "rocket"), "compare": True, "layer": "layer1.0.conv1"},
    "temperature": {"source": "samples", "samples": ("tabby-cat",), "compare": False, "temperature": 30.0},
    "grating": {"source": "stimuli", "compare": False, "stimulus": "grating", "knob": None, "layer": "layer1.0.conv1"},
}


def show(pictures: Sequence[Picture]) -> None:
    """Draw the invitations, where the visitor may choose pictures, the network is there of which they are true, and there is one picture or none."""
    if view.current().fixed or len(pictures) > 1 or engines.LESSONS not in engines.weights():
        return
    with st.container(key="invitations", horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(say("invitation.title"), width="content")
        for name in INVITATIONS:
            st.button(say(f"invitation.{name}"), key=f"invite-{name}", type="tertiary", on_click=_accept, args=(name,))


def _accept(name: str) -> None:
    others: dict[str, Any] = {"compared": (), "shown": 1, "filter": None, "channel": None}
    view.change(**(SETTINGS | others | {"model": engines.LESSONS} | INVITATIONS[name]))
