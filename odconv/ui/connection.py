"""A page that loses its server: what it says, and how it is made whole when the server is back."""

from __future__ import annotations

import secrets

import streamlit as st

from odconv import export
from odconv.ui import components, view
from odconv.ui.text import language, say


def session() -> str:
    """A name for this session that no other one has.

    The server gives a browser a new session where it has forgotten the old one or was started again; a component that
    gets another name than before knows that what it has sent was not heard.
    """
    return st.session_state.setdefault("session", secrets.token_urlsafe(9))


def show() -> None:
    """Watch the connection from this page. Every page draws it once, outside any fragment."""
    words = {"lost": say("connection.lost"), "back": say("connection.back")}
    components.connection(secrets.token_urlsafe(9), export.LANGUAGE_TAGS[language()], view.canonical_address(), words)
