"""Browser widgets: each draws from plain data, keeps its identity between reruns and never flickers.

A value that comes back from a browser is untrusted: callers check it again.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import streamlit as st

from odconv.drawings import script, style

Do = Callable[[], None]


def _text(name: str) -> str:
    return (files("odconv.ui.components") / name).read_text(encoding="utf-8")


def _widget(name: str, js: str, css: str, entry: str) -> Callable[..., Any]:
    """A component that calls the JavaScript function in ``entry`` on its one root element whenever data change."""
    main = f"""
export default ({{ parentElement, data, setStateValue, setTriggerValue }}) => {{
  const root = parentElement.querySelector(".od");
  if (root) {entry};
}};"""
    return st.components.v2.component(f"odconv_{name}", html='<div class="od"></div>', css=css, js=js + main)


_prediction = _widget("prediction", script("prediction"), style(), "drawPrediction(root, data)")
_glance = _widget(
    "glance", script("glance"), style(), "drawGlance(root, data, { choose: (n) => setTriggerValue('layer', n) })"
)
_layer = _widget("layer", script("layer"), style(), "drawLayer(root, data)")
_side_by_side = _widget("side_by_side", script("side_by_side"), style(), "drawSideBySide(root, data)")
_dials = _widget(
    "dials",
    script() + _text("dials.js"),
    style() + _text("dials.css"),
    "drawDials(root, data, { turn: (v) => setStateValue('turned', v) })",
)
_gallery = _widget(
    "gallery",
    script() + _text("gallery.js"),
    style() + _text("gallery.css"),
    "drawGallery(root, data, { toggle: (id) => setTriggerValue('picked', id) })",
)
_photo = _widget("photo", script() + _text("photo.js"), style() + _text("photo.css"), "drawPhoto(root, data)")
_copy_link = _widget("copy_link", script() + _text("copy_link.js"), style(), "drawCopyLink(root)")


def photo(data: dict[str, str]) -> None:
    """The photo and what the network sees of it: data URIs and their texts."""
    _photo(key="photo", data=data)


def prediction(data: dict[str, Any]) -> None:
    """The most likely classes; ``data`` from ``drawings.prediction``."""
    _prediction(key="prediction", data=data)


def glance(data: dict[str, Any], on_choose: Callable[[object], None]) -> None:
    """All layers x four heads; ``on_choose`` gets the name of the layer that was clicked or reached by arrow key."""
    _glance(key="glance", data=data, on_layer_change=lambda: on_choose(_sent("glance", "layer")))


def layer(data: dict[str, Any]) -> None:
    """One layer; ``data`` from ``drawings.layer``."""
    _layer(key="layer", data=data)


def side_by_side(data: dict[str, Any]) -> None:
    """One layer for several pictures; ``data`` from ``drawings.side_by_side``."""
    _side_by_side(key="side_by_side", data=data)


def dials(temperature: float, kernels: int, most: int, answered: int, on_turn: Callable[[object], None]) -> None:
    """Temperature and kernel count. ``on_turn`` gets {temperature, kernels, released, seq}, also while dragging.

    ``answered``: the last ``seq`` whose figures are on the page; the next value is sent only then.
    """
    data = {"temperature": temperature, "kernels": kernels, "most": most, "answered": answered}
    _dials(key="dials", data=data, on_turned_change=lambda: on_turn(_sent("dials", "turned")))


def gallery(pictures: list[dict[str, str]], chosen: list[str], on_pick: Callable[[object], None], label: str) -> None:
    """Thumbnails {id, title, thumbnail, alt}; ``on_pick`` gets the id of the one that was clicked."""
    data = {"pictures": pictures, "chosen": chosen, "label": label}
    _gallery(key="gallery", data=data, on_picked_change=lambda: on_pick(_sent("gallery", "picked")))


def copy_link() -> None:
    """A button that copies the page's address."""
    _copy_link(key="copy_link", data={})


def _sent(key: str, name: str) -> object:
    return st.session_state[key].get(name)
