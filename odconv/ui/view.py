"""What a visitor has chosen, and its permalink.

A view is one frozen record. Widgets show it and change it; nothing else keeps state. A link is untrusted: what does not
exist or is out of range becomes the default, and a sentence says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import streamlit as st

from odconv.attention import HEADS, Settings
from odconv.stimuli import STIMULI

SOURCES = {"samples": "Samples", "upload": "Upload", "camera": "Camera", "stimuli": "Stimuli"}
TEMPERATURES = (0.1, 30.0)
MOST_KERNELS = 64  # more than any network has; clamped per layer
MOST_PICTURES = 8


@dataclass(frozen=True)
class View:
    """Everything that a link holds."""

    model: str = ""  # file name; empty: the first one
    source: str = "samples"
    samples: tuple[str, ...] = ()  # ids; empty: the first one
    stimulus: str = "grating"
    knob: float | None = None  # None: the stimulus's default
    layer: str = ""  # empty: the first one
    difference: bool = False  # attention minus the typical picture's, where an atlas knows it
    settings: Settings = field(default_factory=Settings)


# --- links ---------------------------------------------------------------------------------------------------------


def to_query(view: View) -> dict[str, str]:
    """The parameters of a link to ``view``; what is at its default is left out."""
    settings, default = view.settings, Settings()
    query = {
        "model": view.model,
        "source": "" if view.source == "samples" else view.source,
        "sample": ",".join(view.samples),
        "stimulus": view.stimulus if view.source == "stimuli" else "",
        "knob": f"{view.knob:g}" if view.source == "stimuli" and view.knob is not None else "",
        "layer": view.layer,
        "show": "difference" if view.difference else "",
        "t": "" if settings.temperature == default.temperature else f"{settings.temperature:g}",
        "tempered": "" if settings.tempered == default.tempered else ",".join(settings.tempered),
        "kernels": "" if settings.kernels is None else str(settings.kernels),
        "keep": "" if settings.keep == default.keep else settings.keep,
        "compensate": "1" if settings.compensate else "",
        "ablate": ",".join(settings.ablate),
    }
    return {name: value for name, value in query.items() if value}


def from_query(query: Mapping[str, str], models: list[str], samples: list[str]) -> tuple[View, list[str]]:
    """The view that a link asks for, and the names of the parameters that were not understood and were left out."""
    ignored: list[str] = []

    def read(name: str, parse: Callable[[str], Any], default: Any) -> Any:
        if name not in query:
            return default
        try:
            return parse(query[name])
        except (ValueError, KeyError):
            ignored.append(name)
            return default

    stimulus = read("stimulus", _one_of(list(STIMULI)), "grating")
    settings = Settings(
        temperature=read("t", _number(*TEMPERATURES), 1.0),
        tempered=read("tempered", _some_of(HEADS), HEADS),
        kernels=read("kernels", _whole(1, MOST_KERNELS), None),
        keep=read("keep", _one_of(["strongest", "first"]), "strongest"),
        compensate=read("compensate", _one_of(["1"]), "") == "1",
        ablate=read("ablate", _some_of(HEADS), ()),
    )
    view = View(
        model=read("model", _one_of(models), ""),
        source=read("source", _one_of(list(SOURCES)), "samples"),
        samples=read("sample", _some_of(samples), ())[:MOST_PICTURES],
        stimulus=stimulus,
        knob=read("knob", _number(STIMULI[stimulus].low, STIMULI[stimulus].high), None),
        layer=read("layer", _short, ""),
        difference=read("show", _one_of(["difference"]), "") == "difference",
        settings=settings,
    )
    return view, ignored


def _one_of(allowed: list[str]) -> Callable[[str], str]:
    return lambda text: allowed[allowed.index(text)]


def _some_of(allowed: list[str] | tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        wanted = text.split(",")
        if not set(wanted) <= set(allowed):
            raise ValueError(text)
        return tuple(dict.fromkeys(wanted))

    return parse


def _number(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = float(text[:20])
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(text)
        return value

    return parse


def _whole(low: int, high: int) -> Callable[[str], int]:
    return lambda text: int(_number(low, high)(text if text.isascii() and text.isdigit() else "nan"))


def _short(text: str) -> str:
    if len(text) > 100:
        raise ValueError(text)
    return text


# --- a session's view ----------------------------------------------------------------------------------------------


def start(models: list[str], samples: list[str]) -> None:
    """Give a new session the view that its link asks for. Does nothing in a session that has one."""
    if "view" in st.session_state:
        return
    view, ignored = from_query(st.query_params.to_dict(), models, samples)
    st.session_state["view"] = view
    if ignored:
        notify(f"This link asks for something that is not here ({', '.join(ignored)}); the defaults are shown instead.")


def current() -> View:
    """The visitor's view."""
    return st.session_state["view"]


def change(**changes: Any) -> None:
    """Replace fields of the visitor's view; names of ``Settings`` fields go to the settings."""
    view = current()
    names = {known.name for known in fields(Settings)}
    told = {name: value for name, value in changes.items() if name in names}
    shown = {name: value for name, value in changes.items() if name not in names}
    st.session_state["view"] = replace(view, settings=replace(view.settings, **told), **shown)


def reset_settings() -> None:
    """Back to the trained network."""
    change(**{known.name: known.default for known in fields(Settings)})


def write_link() -> None:
    """Put the view into the page's address, if it is not there yet."""
    query = to_query(current())
    if st.query_params.to_dict() != query:
        st.query_params.from_dict(query)


def notify(sentence: str) -> None:
    """Keep one sentence to be shown on the page, once."""
    st.session_state.setdefault("notices", []).append(sentence)


def notices() -> list[str]:
    """The sentences that are to be shown now; they are shown once."""
    return st.session_state.pop("notices", [])


def bound(
    widget: Callable[..., Any], label: str, *, key: str, value: Any, then: Callable[[Any], None], **options: Any
) -> Any:
    """A streamlit widget that shows ``value`` and hands every change to ``then``: the view alone keeps state."""
    st.session_state[key] = value
    return widget(label, key=key, on_change=lambda: then(st.session_state[key]), **options)
