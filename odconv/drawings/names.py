"""Names from elsewhere, of pictures, layers, models and classes, made fit to be shown."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

_JOINERS = "\u200c\u200d"  # between letters of some scripts, and in emoji


@lru_cache(10_000)  # the names of a thousand classes are asked for in every step of a drag
def clean_name(name: str) -> str:
    """``name`` on one line, without characters that are invisible, turn the direction of writing, or are no text.

    Control characters and line breaks become spaces, lone surrogates U+FFFD; other format characters are left out, but for
    the joiners that scripts and emoji need. The rest is unchanged: whoever writes it into HTML escapes it there.

    Example:
        >>> clean_name("holiday\\u202egpj.exe\\n")
        'holidaygpj.exe'
    """
    return " ".join("".join(map(_shown, name)).split())


def _shown(character: str) -> str:
    match unicodedata.category(character):
        case "Cc" | "Zl" | "Zp":
            return " "
        case "Cs":
            return "\ufffd"
        case "Cf":
            return character if character in _JOINERS else ""
        case _:
            return character


def first_synonym(class_name: str) -> str:
    """The first of a class's synonyms: ``"tabby, tabby cat"`` -> ``"tabby"``."""
    return clean_name(class_name.partition(",")[0])
