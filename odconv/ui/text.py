"""Texts in the visitor's language, and names made safe for Markdown."""

from __future__ import annotations

import re
from typing import Any

import streamlit as st

from odconv import words
from odconv.ui import view
from odconv.words import LANGUAGES, SayableError


def language() -> str:
    """The language that the visitor chose, or else the browser's, or else the first of ``LANGUAGES``."""
    wanted = (st.context.locale or "").lower().partition("-")[0]
    return view.expected().language or (wanted if wanted in LANGUAGES else next(iter(LANGUAGES)))


def say(key: str, /, **values: Any) -> str:
    """The text ``key`` with ``values`` as they are: for places that do not read Markdown."""
    return words.say(language(), key, **values)


def markdown(key: str, /, **values: Any) -> str:
    """The text ``key`` as Markdown, with ``values`` escaped."""
    return words.say(language(), key, **{name: _escape(value) for name, value in values.items()})


def refusal(error: SayableError) -> str:
    """An error's sentence as Markdown."""
    return markdown(error.key, **error.values)


def _escape(value: Any) -> Any:
    return escape_markdown(value) if isinstance(value, str) else value


def escape_markdown(text: str) -> str:
    """``text`` so that Markdown, with Streamlit's colours, icons and formulas, shows it as it is, on one line."""
    text = re.sub(r"\s+", " ", text)
    # Addresses become links after Markdown has been read, escaped or not: an invisible word joiner parts them.
    text = re.sub(r"(?i)(https?:)(?=//)|(www)(?=\.)|(?=@)", lambda found: found[0] + "\u2060", text)
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|<>~$:&@/=^])", r"\\\1", text)


def chart_size() -> int:
    """Of texts in Plotly charts, px; on a page for a room it is the smallest that is allowed there."""
    return 20 if view.current().present else 12
