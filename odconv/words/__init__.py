"""Every text that a visitor reads, in each language: ``say("en", "dial.temperature")``.

``en.json`` and ``zh.json`` hold sections of texts under the same keys, with the same ``{placeholders}``. Values are filled in
unchanged: whoever writes a text into Markdown or HTML escapes them there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, NamedTuple

LANGUAGES = {"en": "English", "zh": "简体中文"}  # code -> its own name; the first one is the default


@cache
def texts(language: str) -> dict[str, str]:
    """All texts of ``language``, "section.key" -> text."""
    sections = json.loads((files("odconv.words") / f"{language}.json").read_text(encoding="utf-8"))
    return {f"{section}.{key}": text for section, entries in sections.items() for key, text in entries.items()}


def say(language: str, key: str, /, **values: Any) -> str:
    """The text ``key`` in ``language``, with ``values`` in its placeholders.

    Example:
        >>> say("en", "network.classes", count=200)
        'The 200 classes it knows'

    Raises:
        KeyError: there is no such language or text, or a placeholder has no value.
    """
    if language not in LANGUAGES:
        raise KeyError(f"language {language!r}; {', '.join(LANGUAGES)} are there")
    return texts(language)[key].format_map(values)


class Phrase(NamedTuple):
    """A text that is yet to be said in a language: what pure functions find is kept so, and shown in any language.

    Example:
        >>> Phrase("task.yes", {"answer": Phrase("head.spatial")}).say("en")
        'Right: spatial.'
    """

    key: str
    values: Mapping[str, Any] = MappingProxyType({})  # placeholders; a phrase among them is said in the same language

    def say(self, language: str) -> str:
        """The text in ``language``."""
        return say(language, self.key, **{name: to_text(language, value) for name, value in self.values.items()})


def to_text(language: str, value: Any) -> Any:
    """A phrase as text in ``language``; anything else as it is."""
    return value.say(language) if isinstance(value, Phrase) else value


class SayableError(ValueError):
    """An error whose message is a text of ``odconv.words``, in every language; ``str`` gives it in English.

    Example:
        >>> raise PictureError("picture.too_large", megabytes=12.5, most=10)
    """

    def __init__(self, key: str, /, **values: Any) -> None:
        super().__init__(say("en", key, **values))
        self.key = key
        self.values = values

    def say(self, language: str) -> str:
        """The message in ``language``."""
        return say(language, self.key, **self.values)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_error, (type(self), self.key, self.values)  # caches and worker processes pickle errors


def _rebuild_error(kind: type[SayableError], key: str, values: dict[str, Any]) -> SayableError:
    return kind(key, **values)
