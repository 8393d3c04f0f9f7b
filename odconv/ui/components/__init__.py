"""The page's own browser widgets: each is drawn in place from plain data, so that nothing flickers.

``key`` tells two of a kind on one page apart, in the session and as the CSS class ``st-key-<key>``.

A value that comes back from a browser is untrusted: callers check it.
"""

from __future__ import annotations

import logging
import reprlib
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import streamlit as st

from odconv.drawings import script, style

log = logging.getLogger(__name__)


def _text(name: str) -> str:
    return (files("odconv.ui.components") / name).read_text(encoding="utf-8")


def _widget(name: str, js: str, css: str, entry: str) -> Callable[..., Any]:
    """A component whose JavaScript runs ``entry``, a call with its root element and data, whenever the data change."""
    main = f"""
export default ({{ parentElement, data, setStateValue, setTriggerValue }}) => {{
  const root = parentElement.querySelector(".od");
  if (!root) return;
  const send = sender(data.key, {{ setStateValue, setTriggerValue }});
  root.redraw = (data) => {entry};
  root.redraw(data);
}};"""
    js = _text("sending.js") + js + main
    return st.components.v2.component(f"odconv_{name}", html='<div class="od"></div>', css=css, js=js)


def _lesson(name: str, entry: str) -> Callable[..., Any]:
    """A figure of the temperature lesson, which can follow its dials by itself."""
    return _widget(name, script("on_dials", "attend", name), style() + _text("tempering.css"), entry)


_prediction = _widget("prediction", script("prediction"), style(), "drawPrediction(root, data)")
_glance = _widget(
    "glance",
    script("glance"),
    style(),
    "drawGlance(root, data, { choose: (n) => send('setTriggerValue', 'layer', n) })",
)
_layer = _widget("layer", script("layer"), style(), "drawLayer(root, data)")
_kernel = _widget("kernel", script("kernel_use", "kernel"), style(), "drawKernel(root, data)")
_forging = _widget(
    "forging",
    script("kernel", "forging"),
    style("forging"),
    "drawForging(root, data, { go: (v) => send('setTriggerValue', 'went', v) })",
)
_cases = _widget("cases", script("kernel", "cases"), style("cases"), "drawCases(root, data)")
_task = _widget("task", script("task"), style("task"), "drawTask(root, data)")
_response = _widget(
    "response",
    script("response") + _text("pacing.js") + _text("response.js"),
    style(),
    "drawLiveResponse(root, data, { turn: (v) => send('setStateValue', 'turned', v) })",
)
_still_response = _widget("still_response", script("response"), style(), "drawResponse(root, data)")
_side_by_side = _widget("side_by_side", script("side_by_side"), style(), "drawSideBySide(root, data)")
_SIDES = script("prediction", "side_by_side", "sides")
_side = _widget("side", _SIDES, style(), "drawSide(root, data)")
_differences = _widget(
    "differences",
    _SIDES,
    style(),
    "drawDifferences(root, data, { choose: (n) => send('setTriggerValue', 'layer', n) })",
)
_sides = _widget("sides", _SIDES, style(), "drawSides(root, data)")
_dials = _widget(
    "dials",
    script() + _text("pacing.js") + _text("dials.js"),
    style() + _text("dials.css"),
    "drawDials(root, data, { turn: (v) => send('setStateValue', 'turned', v) })",
)
_temperatures = _widget(
    "temperatures",
    script("on_dials", "attend") + _text("pacing.js") + _text("temperatures.js"),
    style() + _text("dials.css") + _text("temperatures.css"),
    "drawTemperatures(root, data, { turn: (v) => send('setStateValue', 'turned', v) })",
)
_tempered = _lesson("tempered", "drawTempered(root, data)")
_output = _lesson("output", "drawOutput(root, data)")
_curves = _lesson("curves", "drawCurves(root, data)")
_switches = _widget(
    "switches",
    script("switches"),
    style("switches"),
    "drawSwitches(root, data, { choose: (v) => send('setTriggerValue', 'chosen', v) })",
)
_by_hand = _widget(
    "by_hand",
    script("attend", "by_hand") + _text("pacing.js"),
    style("by_hand"),
    "drawByHand(root, data, { turn: (v) => send('setStateValue', 'turned', v) })",
)
_brush = _widget(
    "brush",
    script("brush") + _text("pacing.js"),
    style("brush"),
    "drawBrush(root, data, { turn: (v) => send('setStateValue', 'turned', v) })",
)
_effects = _widget(
    "effects",
    script("effects"),
    style("switches"),
    "drawEffects(root, data, { choose: (v) => send('setTriggerValue', 'chosen', v) })",
)
_totals = _widget("totals", script("plugged"), style("plugged"), "drawTotals(root, data)")
_plugged = _widget("plugged", script("plugged"), style("plugged"), "drawPlugged(root, data)")
_in_force = _widget(
    "in_force", script() + _text("in_force.js"), style() + _text("in_force.css"), "drawInForce(root, data)"
)
_gallery = _widget(
    "gallery",
    script() + _text("gallery.js"),
    style() + _text("gallery.css"),
    "drawGallery(root, data, { pick: (id) => send('setTriggerValue', 'picked', id), takeOut: (id) => send('setTriggerValue', 'out', id) })",
)
_photo = _widget("photo", script() + _text("photo.js"), style() + _text("photo.css"), "drawPhoto(root, data)")
_copy_link = _widget("copy_link", script() + _text("copy_link.js"), style(), "drawCopyLink(root, data)")
_class_link = _widget(
    "class_link", script() + _text("copy_link.js"), style() + _text("class_link.css"), "drawClassLink(root, data)"
)
_bring = _widget(
    "bring",
    script() + _text("bring.js"),
    style() + _text("bring.css"),
    "drawBring(root, data, { brought: (session) => send('setTriggerValue', 'brought', session) })",
)
_connection = _widget(
    "connection",
    script() + _text("connection.js"),
    style() + _text("connection.css"),
    "watchConnection(root, data, { runPage: () => setStateValue('back', data.run) })",
)

# Keys of what is computed from the controls. It is marked as not computed while it does not belong to what they show.
# Of a picture over all temperatures: no dial for a temperature changes them.
_SWEPT = ("curves", "shrinking")
FIGURES = (
    *("photo", "prediction", "glance", "layer", "kernel", "forging", "side_by_side", "spread", "response"),
    *("side_a", "side_b", "differences", "sides"),
    *("output", "tempered", *_SWEPT),
    *("switches", "effects", "edit_map"),
)
_LAST = ("kernel", "side_by_side", "spread")
# Of these, what follows the release of a widget, and not a drag of it.
LATER = {
    "dials": (*_LAST, "response"),
    "knob": (*_LAST, *_SWEPT, "effects"),
    "response": _LAST,
    "edit_dials": ("effects",),
    "brush": ("effects",),
}


def photo(data: dict[str, str], *, key: str = "photo") -> None:
    """The photo and the pixels that the network sees. ``data``: {photo, seen: data URIs, title, alt, caption, seen_alt}."""
    _photo(key=key, data=data | {"key": key})


def prediction(data: dict[str, Any], *, key: str = "prediction") -> None:
    """The most likely classes; ``data`` from ``drawings.prediction``."""
    _prediction(key=key, data=data | {"key": key})


def glance(data: dict[str, Any], on_choose: Callable[[str], None], *, key: str = "glance") -> None:
    """All layers x four heads; ``on_choose`` gets the name of the layer that was clicked or reached by arrow key."""
    _glance(key=key, data=data | {"key": key}, on_layer_change=lambda: _pass_text(key, "layer", on_choose))


def layer(data: dict[str, Any], *, key: str = "layer") -> None:
    """One layer; ``data`` from ``drawings.layer``."""
    _layer(key=key, data=data | {"key": key})


def kernel(data: dict[str, Any], *, key: str = "kernel") -> None:
    """One slice of a layer's kernel; ``data`` from ``drawings.kernel``."""
    _kernel(key=key, data=data | {"key": key})


def forging(data: dict[str, Any], on_go: Callable[[object], None], *, key: str = "forging") -> None:
    """One layer's work, step by step; ``data`` from ``drawings.forging``.

    ``on_go`` gets {step, row, column: None where the visitor chose none}, when a step or a place has come to rest.
    """
    _forging(key=key, data=data | {"key": key}, on_went_change=lambda: on_go(_sent(key, "went")))


def cases(data: dict[str, Any], *, key: str = "cases") -> None:
    """Pictures or settings side by side in one layer; ``data`` from ``drawings.cases``."""
    _cases(key=key, data=data | {"key": key})


def task(data: dict[str, Any], *, key: str) -> None:
    """What the network answers to a task; ``data`` from ``drawings.task``."""
    _task(key=key, data=data | {"key": key})


def response(
    data: dict[str, Any],
    stops: Sequence[float],
    knob: str,
    answered: int,
    session: str,
    on_turn: Callable[[object], None],
    *,
    key: str = "response",
) -> None:
    """A layer against the knob of a stimulus, which can be turned there; ``data`` from ``drawings.response``.

    ``knob``: names its value in messages; ``stops``: the values that it can be turned to; the rest as in ``dials``.
    """
    sent = {"stops": stops, "knob": knob, "answered": answered, "session": session, "key": key}
    _response(key=key, data=data | sent, on_turned_change=lambda: on_turn(_sent(key, "turned")))


def still_response(data: dict[str, Any], *, key: str = "still_response") -> None:
    """A layer against the knob of a stimulus, which cannot be turned; ``data`` from ``drawings.response``."""
    _still_response(key=key, data=data | {"key": key})


def side_by_side(data: dict[str, Any], *, key: str = "side_by_side") -> None:
    """One layer for several pictures; ``data`` from ``drawings.side_by_side``."""
    _side_by_side(key=key, data=data | {"key": key})


def side(data: dict[str, Any], *, key: str) -> None:
    """One side of a comparison; ``data`` from ``drawings.side_data``."""
    _side(key=key, data=data | {"key": key})


def differences(data: dict[str, Any], on_choose: Callable[[str], None], *, key: str = "differences") -> None:
    """How far two sides differ in every layer; ``on_choose`` gets the layer that was chosen, as in ``glance``."""
    _differences(key=key, data=data | {"key": key}, on_layer_change=lambda: _pass_text(key, "layer", on_choose))


def sides(data: dict[str, Any], *, key: str = "sides") -> None:
    """One layer of two sides and their difference; ``data`` from ``drawings.heads_data``."""
    _sides(key=key, data=data | {"key": key})


def dials(
    dials: Sequence[Mapping[str, Any]],
    answered: int,
    session: str,
    waiting: str,
    redraw: str,
    on_turn: Callable[[object], None],
    *,
    key: str = "dials",
) -> None:
    """Dials that send what they are turned to, also while they are dragged.

    Args:
        dials: {id, label, stops, texts: of the stops, marks: [{position, text}], value, text, nearest: position of the thumb}
        answered: the last ``seq`` whose figures are on the page; the next change is sent only then
        session: ``connection.session()``
        waiting: what to say of a change that has waited for too long
        redraw: the address to ask for the figures while a dial is dragged; empty: each step is sent like the release
        on_turn: gets {changes: {id: stop}, released, seq, session}
    """
    data = {
        "dials": dials,
        "answered": answered,
        "session": session,
        "waiting": waiting,
        "redraw": redraw,
        "key": key,
    }
    _dials(key=key, data=data, on_turned_change=lambda: on_turn(_sent(key, "turned")))


def in_force(data: dict[str, str], *, key: str = "in_force") -> None:
    """The settings that are in force; ``data``: {settings, why: what the temperature does}."""
    _in_force(key=key, data=data | {"key": key})


def temperatures(data: dict[str, Any], on_turn: Callable[[object], None], *, key: str = "temperatures") -> None:
    """The temperature of each head.

    Args:
        data: {divisors: of all four heads, as applied, heads: those of the network, four: whether each has a dial, stops: of
            a dial, schedule: a temperature for each tenth of an epoch, answered, session: as in ``dials``, words}
        on_turn: gets {changes: {temperatures: of all four heads}, released, seq, session}, also while dragging
    """
    _temperatures(key=key, data=data | {"key": key}, on_turned_change=lambda: on_turn(_sent(key, "turned")))


def tempered(data: dict[str, Any], *, key: str = "tempered") -> None:
    """One layer from logit to attention; ``data`` from ``drawings.tempered_data``."""
    _tempered(key=key, data=data | {"key": key})


def output(data: dict[str, Any], *, key: str = "output") -> None:
    """The temperature on the output's softmax alone; ``data`` from ``drawings.output_data``."""
    _output(key=key, data=data | {"key": key})


def curves(data: dict[str, Any], *, key: str = "curves") -> None:
    """Curves over temperatures; ``data`` from ``drawings.curves_data`` or ``drawings.shrinking_data``."""
    _curves(key=key, data=data | {"key": key})


def switches(data: dict[str, Any], on_choose: Callable[[object], None], *, key: str = "switches") -> None:
    """What stands in the place of each head; ``data`` from ``drawings.switches_data``.

    ``on_choose`` gets {choices: of all four heads}, or {relative}.
    """
    _switches(key=key, data=data | {"key": key}, on_chosen_change=lambda: on_choose(_sent(key, "chosen")))


def by_hand(
    data: dict[str, Any], answered: int, session: str, on_turn: Callable[[object], None], *, key: str = "by_hand"
) -> None:
    """One layer's attention, whose entries can be set; ``data`` from ``drawings.by_hand_data``, the rest as in ``dials``.

    ``on_turn`` gets {changes: {hand: [[head, entry, value], ...], all that are set}, released, seq, session}.
    """
    sent = {"answered": answered, "session": session, "key": key}
    _by_hand(key=key, data=data | sent, on_turned_change=lambda: on_turn(_sent(key, "turned")))


def brush(
    data: dict[str, Any], answered: int, session: str, on_turn: Callable[[object], None], *, key: str = "brush"
) -> None:
    """The picture, to be painted on; ``data`` from ``drawings.brush_data``, the rest as in ``dials``.

    ``on_turn`` gets {changes: {brush: [[x, y, radius], ...], all dabs}, released, seq, session}.
    """
    sent = {"answered": answered, "session": session, "key": key}
    _brush(key=key, data=data | sent, on_turned_change=lambda: on_turn(_sent(key, "turned")))


def effects(data: dict[str, Any], on_choose: Callable[[object], None], *, key: str = "effects") -> None:
    """The map of effects; ``data`` from ``drawings.effects_data``. ``on_choose`` gets {layer, head} of a cell."""
    _effects(key=key, data=data | {"key": key}, on_chosen_change=lambda: on_choose(_sent(key, "chosen")))


def totals(data: dict[str, Any], *, key: str = "totals") -> None:
    """Totals of a network before and after; ``data`` from ``drawings.totals_data``."""
    _totals(key=key, data=data | {"key": key})


def plugged(data: dict[str, Any], *, key: str = "plugged") -> None:
    """A network's layers before and after; ``data`` from ``drawings.layers_data``."""
    _plugged(key=key, data=data | {"key": key})


def gallery(
    pictures: list[dict[str, str]],
    chosen: list[str],
    on_pick: Callable[[str], None],
    label: str,
    *,
    key: str = "gallery",
) -> None:
    """Thumbnails {id, title, thumbnail, alt, caption: under it, or empty}; ``on_pick`` gets the id of the one that was clicked."""
    data = {"pictures": pictures, "chosen": chosen, "label": label, "key": key}
    _gallery(key=key, data=data, on_picked_change=lambda: _pass_text(key, "picked", on_pick))


def strip(
    pictures: list[dict[str, str]],
    shown: str,
    label: str,
    on_pick: Callable[[str], None],
    on_out: Callable[[str], None],
    *,
    key: str = "strip",
) -> None:
    """Thumbnails as of ``gallery``, with ``out``: what the button says that takes a picture out; ``on_out`` gets the id of that."""
    data = {"pictures": pictures, "chosen": [shown], "label": label, "key": key}
    _gallery(
        key=key,
        data=data,
        on_picked_change=lambda: _pass_text(key, "picked", on_pick),
        on_out_change=lambda: _pass_text(key, "out", on_out),
    )


def copy_link(words: Mapping[str, str]) -> None:
    """A button that copies the page's address. ``words``: {copy, copied, by_hand}."""
    _copy_link(key="copy_link", data={"words": words, "key": "copy_link"})


def class_link(address: str, words: Mapping[str, str]) -> None:
    """A link to another view, to see, copy and open beside this page.

    ``address``: from this page; ``words``: {link: its name, copy, copied, by_hand, preview, local: where nobody else reaches it}.
    """
    _class_link(key="class_link", data={"address": address, "words": words, "key": "class_link"})


def bring(
    address: str, session: str, endings: Sequence[str], card: str, round: int, refused: str, words: Mapping[str, str]
) -> None:
    """A place to bring a checkpoint to, which is sent to ``address``; the page is run when it has come.

    Args:
        session: ``connection.session()``
        endings: of the files that can be chosen; ``card``: the one of a card
        round: counts what was opened or refused: with another one than before, nothing is under way
        refused: why the last one was not opened; empty: it was, or there was none
        words: {choose, drop, sending: "{percent}", "{size}" in MiB and "{file}", cancel, read: while the page reads it, failed, one: where it is not one checkpoint}
    """
    data = {"address": address, "session": session, "endings": endings, "card": card, "round": round}
    data |= {"refused": refused, "words": words, "key": "bring"}
    _bring(key="bring", data=data, on_brought_change=lambda: None)


def connection(run: str, language: str, address: Mapping[str, Any] | None, words: Mapping[str, str]) -> None:
    """Watches the connection to the server.

    ``run`` names this run of the page; ``language``: of the page, as in HTML; ``address``: {names: all parameters of a link,
    query: those that the address is to have instead}, or None where it is as it is to be; ``words``: {lost, back}.
    """
    _connection(
        key="connection",
        data={
            "run": run,
            "language": language,
            "address": address,
            "figures": FIGURES,
            "later": LATER,
            "words": words,
            "key": "connection",
        },
        on_back_change=lambda: None,
    )


def _sent(key: str, name: str) -> object:
    return st.session_state[key].get(name)


def _pass_text(key: str, name: str, use: Callable[[str], None]) -> None:
    """Call ``use`` with what a browser sent, if it is text; the widget sends nothing else."""
    sent = _sent(key, name)
    if isinstance(sent, str):
        use(sent)
    else:
        log.warning("%s: ignored %s", key, reprlib.repr(sent))
