"""What the page says, in the visitor's language."""

from __future__ import annotations

from typing import Any

import streamlit as st

from odconv import words
from odconv.words import LANGUAGES


def language() -> str:
    """The browser's language, where it is spoken here."""
    wanted = (st.context.locale or "").lower().partition("-")[0]
    return wanted if wanted in LANGUAGES else next(iter(LANGUAGES))


def say(key: str, /, **values: Any) -> str:
    """The text ``key``, as it is: for what does not read Markdown."""
    return words.say(language(), key, **values)
