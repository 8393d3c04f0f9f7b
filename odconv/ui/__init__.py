"""What pages share: the only part of ``odconv`` that imports streamlit."""

from __future__ import annotations

import streamlit as st
from PIL import Image

from odconv.drawings import COLOURS
from odconv.ui import connection, engine, lifetime, view
from odconv.ui.sources import samples

SIDEBAR = 390  # px; it is folded away on a phone


def bootstrap() -> None:
    """Page config and the session's view. Every page starts with it, since a deep link can run a page without the app."""
    st.set_page_config("ODConv Explorer", page_icon=_icon(), layout="wide", initial_sidebar_state=SIDEBAR)
    lifetime.start()
    view.start(list(engine.weights()), list(samples()))
    connection.show()


def _icon() -> Image.Image:
    """Four squares in the heads' colours; drawn here, since a named icon would be fetched from another server."""
    icon = Image.new("RGB", (64, 64), "white")
    for i, colour in enumerate(COLOURS.values()):
        icon.paste(colour, (4 + 30 * (i % 2), 4 + 30 * (i // 2), 30 + 30 * (i % 2), 30 + 30 * (i // 2)))
    return icon
