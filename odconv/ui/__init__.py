"""The parts that pages share. Nothing else in ``odconv`` imports streamlit."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import streamlit as st
from PIL import Image

from odconv.drawings import COLOURS
from odconv.ui import connection, engine, navigation, view
from odconv.ui.link import Offer
from odconv.ui.pictures import samples

SIDEBAR = 264  # px; it is folded away on a phone


def bootstrap() -> None:
    """Set up page, style and the session's view. Every page calls it first: a link to a page runs that page without the app."""
    navigation.join_app()
    st.set_page_config("ODConv Explorer", page_icon=_icon(), layout="wide", initial_sidebar_state=SIDEBAR)
    view.start(Offer(engine.offered(), list(samples()), navigation.LESSONS))
    st.html(f"<style>{_style('page')}{_style('present') if view.current().present else ''}</style>")
    connection.show()


@cache
def _style(name: str) -> str:
    return (Path(__file__).parent / f"{name}.css").read_text(encoding="utf-8")


def _icon() -> Image.Image:
    """Four squares in the heads' colours; drawn here, since a named icon would be fetched from another server."""
    icon = Image.new("RGB", (64, 64), "white")
    for i, colour in enumerate(COLOURS.values()):
        icon.paste(colour, (4 + 30 * (i % 2), 4 + 30 * (i // 2), 30 + 30 * (i % 2), 30 + 30 * (i // 2)))
    return icon
