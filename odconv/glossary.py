"""The terms of the field that pages use, and their explanations: found in a text, and marked there for a page to explain."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache

from odconv.words import say, texts

SECTION = "term."


@cache
def terms(language: str) -> dict[str, str]:
    """Term id -> how it is written in ``language``, longest first, so that a term inside another one is not taken for it."""
    ids = [key.removeprefix(SECTION) for key in texts(language) if key.startswith(SECTION)]
    found = {id: say(language, f"term.{id}") for id in ids}
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def meaning(language: str, term: str) -> str:
    """What a term means."""
    return say(language, f"meaning.{term}")


def find_terms(language: str, text: str, wanted: Collection[str]) -> dict[int, str]:
    """Where in a Markdown ``text`` the first use of each of the ``wanted`` terms ends: position -> term id.

    In English whole words are found, in singular and plural, whatever their case. What is found belongs to one term alone.
    """
    taken: list[tuple[int, int]] = []
    ends = {}
    for term, written in terms(language).items():
        literal = re.escape(written).replace(r"\.", r"\\?\.")  # Markdown can have a point escaped
        pattern = rf"\b{literal}s?\b" if language == "en" else literal
        for match in re.finditer(pattern, text, re.IGNORECASE):
            if any(start < match.end() and match.start() < end for start, end in taken):
                continue
            taken.append(match.span())
            if term in wanted:
                ends[_past_stars(text, match.end())] = term
                break
    return ends


def _past_stars(text: str, place: int) -> int:
    """Behind the stars that end bold text."""
    while text[place : place + 1] == "*":
        place += 1
    return place
