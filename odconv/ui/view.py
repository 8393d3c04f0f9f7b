"""The visitor's view, kept in step with the page's address.

A ``View`` is one frozen record. Widgets show it and change it, and keep no state of their own. The address holds it, too:
every choice makes one entry in the browser's history, and Back and Forward are followed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from odconv.ui import link
from odconv.ui.link import SETTINGS, Offer, View


def start(offer: Offer) -> None:
    """Read the view from the address in a new session, and when the browser went to another address, as by Back."""
    session, query = st.session_state, st.query_params.to_dict()
    acted, turned = session.pop("acted", False), _turned_page()
    # A drag runs no page, or a part of one: now that all of it runs, its release came or was lost.
    session["dragging"] = ""
    session.pop("redraw", None)
    session.pop("following", None)
    if "view" in session and turned and not query:  # by the bar, whose links name a page and nothing of the view
        session["seen"], session["written"], session["rewritten"] = query, link.to_query(current()), True
        return
    if "view" in session and not _navigated(query, acted):
        session["seen"] = query
        return
    session["seen"] = query
    session["view"], ignored = link.from_query(query, offer)
    session["written"] = link.to_query(session["view"])
    session["ignored"] = ignored
    session["rewritten"] = query != session["written"]
    if _went_through_history():
        # The address of a choice that was made just before Back comes after it, and would stay.
        st.query_params.from_dict(session["written"])


def _turned_page() -> bool:
    """Whether this session showed another page before, and not by Back or Forward."""
    context, session = get_script_run_ctx(), st.session_state
    if context is None:
        return False
    before, session["page"] = session.get("page"), context.page_script_hash
    return before not in (None, session["page"]) and not _went_through_history()


def _went_through_history() -> bool:
    """Whether the browser asks for this run since it went Back or Forward."""
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def _navigated(query: dict[str, str], acted: bool) -> bool:
    """Whether the browser went to an address that the page did not write. ``acted``: a widget changed the view.

    A browser can send a choice before it gets the address that the page wrote after the choice before. The address is then
    still the one seen last, which is no navigation.
    """
    if _went_through_history():
        return True
    return not acted and query not in (st.session_state["seen"], st.session_state["written"])


def canonical_address() -> dict[str, Any] | None:
    """What the address is to say where it was just read and says the same in another way; None where there is nothing to do."""
    if not st.session_state.pop("rewritten", False):
        return None
    return {"names": [parameter.name for parameter in link.PARAMETERS], "query": st.session_state["written"]}


def ignored() -> list[str]:
    """The names of the address's parameters that were ignored; returned once, then forgotten."""
    return st.session_state.pop("ignored", [])


def current() -> View:
    """The visitor's view."""
    return st.session_state["view"]


def wanted_layer() -> str:
    """The layer that the visitor chose, or else the one that the page opens at; empty: the first one."""
    return current().layer or st.session_state.get("opens_at", "")


def open_at(layer: str) -> None:
    """The layer that the page opens at where the visitor has chosen none; empty: the first one.

    It is not part of the view: it is found from the pictures, anew whenever the whole page is run.
    """
    st.session_state["opens_at"] = layer


def expected() -> View:
    """The view; before a page has read the address, what that says of it, without pictures, network and lesson."""
    if "view" in st.session_state:
        return current()
    return link.from_query(st.query_params.to_dict(), Offer([], []))[0]


def change(**changes: Any) -> None:
    """Replace fields of the visitor's view, or of its settings."""
    st.session_state["view"] = link.change(current(), **changes)
    st.session_state["acted"] = True


def restart(**chosen: Any) -> None:
    """Forget what the visitor chose, but for language and size, and choose ``chosen``."""
    kept = {name: getattr(current(), name) for name in ("language", "present")}
    st.session_state["view"] = View(**kept)
    change(**chosen)


def choose_layer(name: str) -> None:
    """Look into another layer; what was chosen inside the one before means nothing there."""
    change(layer=name, filter=None, channel=None, place=None, hand=())


def reset_settings() -> None:
    """Back to the trained network."""
    change(**SETTINGS)


def write_link() -> None:
    """Write the view into the page's address, if it has changed since it was last written or read.

    Not while something is dragged: a drag makes one entry in the browser's history, on its release.
    """
    if st.session_state.get("dragging"):
        return
    query = link.to_query(current())
    if query != st.session_state["written"]:
        st.session_state["written"] = query
        st.query_params.from_dict(query)


NAMES = 10  # that a bound widget has one after another: when the first comes again, no browser remembers it


def bind(
    widget: Callable[..., Any],
    label: str,
    *,
    key: str,
    value: Any,
    then: Callable[[Any], None],
    options: Mapping[Any, str] | None = None,
    **more: Any,
) -> Any:
    """Draw a streamlit widget that shows ``value`` and passes every change to ``then``.

    So the view alone keeps state. Where something else than the widget has changed the value, such as Back or a link, another
    widget takes its place, which begins with that. To be told another value in its place, a browser needs two steps: if it
    draws the page anew or is clicked between them, then the click is lost, or the next message brings the old value again.

    Args:
        widget: such as ``st.pills``.
        label: its first argument.
        key: names it as CSS class, and in the session, there with spaces at its end that tell it from the one before.
        value: what it shows.
        then: called with the new value when the visitor changes it.
        options: value -> label, as Markdown; None for a widget without options. A browser can send anything: a value
            that is not among them is ignored.
        more: further arguments of the widget.
    """

    bound, page = st.session_state.setdefault("bound", {}), st.session_state.get("page")
    drawn_on, name = bound.get(key, (page, key))
    if key in bound and (drawn_on != page or name not in st.session_state or not _alike(st.session_state[name], value)):
        name = key + " " * ((len(name) - len(key) + 1) % NAMES)
    bound[key] = page, name

    def changed() -> None:
        if bound[key] != (page, name):  # it was on its way when another widget took the place of this one
            return
        chosen = st.session_state[name]
        if options is None or _offered(chosen, options):
            then(chosen)

    if options is not None:
        more |= {"options": list(options), "format_func": options.__getitem__}
    if widget in (st.selectbox, st.radio):
        more["index"] = None if options is None or value not in options else list(options).index(value)
    else:
        more["default" if widget in (st.pills, st.segmented_control) else "value"] = value
    return widget(label, key=name, on_change=changed, **more)


def _alike(one: object, other: object) -> bool:
    """Whether a widget shows both alike: of several options the order does not matter."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(entry in other for entry in one)
    return one == other


def _offered(chosen: object, options: Mapping[Any, str]) -> bool:
    every = chosen if isinstance(chosen, list) else [chosen]
    return all(isinstance(one, Hashable) and one in options for one in every)
