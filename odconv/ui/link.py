"""A view as parameters of a link, and back: one table, used both ways.

A link is untrusted: what does not exist here or is out of range becomes the default, and its parameter is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from odconv.attention import HEADS, Settings
from odconv.stimuli import STIMULI, clamp_knob
from odconv.words import LANGUAGES

SOURCES = ("samples", "upload", "camera", "stimuli")
TEMPERATURES = (0.1, 30.0)
MOST_KERNELS = 64  # more than any network has; a network takes no more than its own K
MOST_PICTURES = 8
LONGEST_NAME = 100  # of a layer
MOST_CHANNELS = 99_999  # a link can name; which ones a layer has is known when there is a network


@dataclass(frozen=True)
class View:
    """Everything that a link holds."""

    language: str = ""  # empty: the browser's
    model: str = ""  # file name; empty: the first one
    source: str = "samples"
    samples: tuple[str, ...] = ()  # ids; empty: the first one
    compare: bool = False  # a click on a picture adds it, and does not replace
    stimulus: str = "grating"
    knob: float | None = None  # None: the stimulus's default
    shown: int = 1  # which of several pictures is looked into, from 1
    layer: str = ""  # empty: the first one
    filter: int | None = None  # whose kernel is shown, from 0; None: where kernels differ most
    channel: int | None = None  # the same, of the input channels that the filter sees
    difference: bool = False  # attention minus the typical picture's, where an atlas knows it
    settings: Settings = field(default_factory=Settings)


class Offer(NamedTuple):
    """What this server has to choose from."""

    models: Sequence[str]  # file names
    samples: Sequence[str]  # ids


@dataclass(frozen=True)
class Parameter:
    """One parameter of a link. ``field`` is a field of ``View``, or of its ``Settings``, and has its default there."""

    name: str
    field: str
    parse: Callable[[str, Offer], Any]  # raises ValueError for what is not understood
    format: Callable[[Any], str] = str


SETTINGS = {known.name: known.default for known in fields(Settings)}
NOTHING = "none"  # an empty choice, where the default is not empty


def _one_of(allowed: Sequence[str]) -> Callable[[str, Offer], str]:
    return lambda text, offer: _chosen(text, allowed)


def _chosen(text: str, allowed: Sequence[str]) -> str:
    return allowed[list(allowed).index(text)]


def _some_of(text: str, allowed: Sequence[str]) -> tuple[str, ...]:
    wanted = text.split(",")
    if not set(wanted) <= set(allowed):
        raise ValueError(text)
    return tuple(dict.fromkeys(wanted))


def _heads(text: str, offer: Offer) -> tuple[str, ...]:
    return () if text == NOTHING else _some_of(text, HEADS)


def _listed(values: Sequence[str]) -> str:
    return ",".join(values) or NOTHING


def _switch(on: str) -> Callable[[str, Offer], bool]:
    return lambda text, offer: bool(_chosen(text, [on]))


def _number(low: float, high: float) -> Callable[[str, Offer], float]:
    """Three significant digits: what the page shows is what the network is told, and what the link says."""

    def parse(text: str, offer: Offer) -> float:
        value = float(f"{float(text[:20]):.3g}")
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(text)
        return value

    return parse


def _whole(low: int, high: int) -> Callable[[str, Offer], int]:
    def parse(text: str, offer: Offer) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(high)) and low <= int(text) <= high):
            raise ValueError(text)
        return int(text)

    return parse


def _name(text: str, offer: Offer) -> str:
    """A layer's name: whether the network has it is known when there is a network."""
    if not (text.isprintable() and len(text) <= LONGEST_NAME):
        raise ValueError(text)
    return text


def _as_number(value: float) -> str:
    return f"{value:g}"


PARAMETERS = (
    Parameter("lang", "language", _one_of(list(LANGUAGES))),
    Parameter("model", "model", lambda text, offer: _chosen(text, offer.models)),
    Parameter("source", "source", _one_of(SOURCES)),
    Parameter("sample", "samples", lambda text, offer: _some_of(text, offer.samples)[:MOST_PICTURES], ",".join),
    Parameter("compare", "compare", _switch("1"), lambda on: "1"),
    Parameter("stimulus", "stimulus", _one_of(list(STIMULI))),
    Parameter("knob", "knob", _number(-math.inf, math.inf), _as_number),
    Parameter("shown", "shown", _whole(1, MOST_PICTURES)),
    Parameter("layer", "layer", _name),
    Parameter("filter", "filter", _whole(0, MOST_CHANNELS)),
    Parameter("channel", "channel", _whole(0, MOST_CHANNELS)),
    Parameter("show", "difference", _switch("difference"), lambda on: "difference"),
    Parameter("t", "temperature", _number(*TEMPERATURES), _as_number),
    Parameter("tempered", "tempered", _heads, _listed),
    Parameter("kernels", "kernels", _whole(1, MOST_KERNELS)),
    Parameter("keep", "keep", _one_of(["strongest", "first"])),
    Parameter("compensate", "compensate", _switch("1"), lambda on: "1"),
    Parameter("ablate", "ablate", _heads, _listed),
)


def change(view: View, **changes: Any) -> View:
    """``view`` with other values; names of ``Settings`` fields go to its settings."""
    settings = {name: value for name, value in changes.items() if name in SETTINGS}
    others = {name: value for name, value in changes.items() if name not in SETTINGS}
    return replace(view, settings=replace(view.settings, **settings), **others)


def to_query(view: View) -> dict[str, str]:
    """The parameters of a link to ``view``; what is at its default is left out."""
    query = {}
    for parameter in PARAMETERS:
        value = _value(view, parameter.field)
        if value != _value(View(), parameter.field):
            query[parameter.name] = parameter.format(value)
    return query


def _value(view: View, name: str) -> Any:
    return getattr(view.settings if name in SETTINGS else view, name)


def from_query(query: Mapping[str, str], offer: Offer) -> tuple[View, list[str]]:
    """The view that a link asks for, and the names of the parameters that were not understood and were left out."""
    found: dict[str, Any] = {}
    ignored: list[str] = []
    for parameter in PARAMETERS:
        if parameter.name in query:
            try:
                found[parameter.field] = parameter.parse(query[parameter.name], offer)
            except ValueError:
                ignored.append(parameter.name)
    view = change(View(), **found)
    if view.knob is not None and view.knob != clamp_knob(view.stimulus, view.knob):
        return replace(view, knob=None), [*ignored, "knob"]
    return view, ignored
