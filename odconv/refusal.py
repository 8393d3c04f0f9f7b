"""The error for weights and cards that are refused, and names from such files made printable."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from odconv.words import SayableError

# Marks that turn the direction of the text around them: a name with one of them can look like another.
DIRECTION_MARKS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
HIDDEN = ("Cc", "Cs", "Zl", "Zp")  # Unicode's control characters, lone surrogates, separators of lines and paragraphs


class CheckpointError(SayableError):
    """Weights or a card that cannot be used; the message is one clear sentence."""


def printable(text: str, most: int = 80) -> str:
    """``text`` with "�" for each character that cannot be shown or hides what is there, and no longer than ``most``.

    Example:
        >>> printable("fc\\u202ethgiew.")
        'fc�thgiew.'
    """
    shown = "".join(
        "�" if character in DIRECTION_MARKS or unicodedata.category(character) in HIDDEN else character
        for character in text[:most]
    )
    return shown if len(text) <= most else f"{shown[: most - 1]}…"


def join_names(names: Sequence[str], most: int = 5) -> str:
    """The first ``most`` names, made printable, and how many more there are: ``a, b, … (+3)``."""
    rest = f", … (+{len(names) - most})" if len(names) > most else ""
    return ", ".join(printable(name) for name in names[:most]) + rest
