"""The connection to the server: a notice when a page loses it, and a full run of the page when it is back."""

from __future__ import annotations

import secrets

import streamlit as st

from odconv import export
from odconv.ui import components, view
from odconv.ui.text import language, say


def session() -> str:
    """A unique name for this session.

    A server that was started again, or has forgotten a browser, gives it a new session. A component that is drawn with
    another name than before knows from it that its last message was lost.
    """
    return st.session_state.setdefault("session", secrets.token_urlsafe(9))


def show() -> None:
    """Watch the connection from this page. Every page draws it once, outside any fragment."""
    words = {"lost": say("connection.lost"), "back": say("connection.back")}
    components.connection(secrets.token_urlsafe(9), export.LANGUAGE_TAGS[language()], view.canonical_address(), words)
