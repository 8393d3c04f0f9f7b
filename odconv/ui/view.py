"""What one visitor has chosen, kept in step with the page's address.

A view is one frozen record. Widgets show it and change it; nothing else keeps state. The address holds it, too: Back and
Forward are followed, and every choice makes one entry in the browser's history.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from odconv.ui import link
from odconv.ui.link import SETTINGS, Offer, View


def start(offer: Offer) -> None:
    """Read the address: in a new session, and where it is no longer what the page wrote, as after Back."""
    session, query = st.session_state, st.query_params.to_dict()
    acted = session.pop("acted", False)
    if "view" in session and not _navigated(query, acted):
        session["seen"] = query
        return
    session["seen"] = query
    session["view"], ignored = link.from_query(query, offer)
    session["written"] = link.to_query(session["view"])
    session["ignored"] = ignored


def _navigated(query: dict[str, str], acted: bool) -> bool:
    """Whether the browser went to another address by itself.

    A browser may send a choice before it has heard of the address that the choice before it led to: then the address is
    still the one that was seen last, and nobody has gone anywhere.
    """
    context = get_script_run_ctx()
    if context is not None and context.is_history_navigation:
        return True
    return not acted and query not in (st.session_state["seen"], st.session_state["written"])


def ignored() -> list[str]:
    """The names of the address's parameters that were not understood; they are named once."""
    return st.session_state.pop("ignored", [])


def current() -> View:
    """The visitor's view."""
    return st.session_state["view"]


def change(**changes: Any) -> None:
    """Replace fields of the visitor's view; names of ``Settings`` fields go to the settings."""
    st.session_state["view"] = link.change(current(), **changes)
    st.session_state["acted"] = True


def reset_settings() -> None:
    """Back to the trained network."""
    change(**SETTINGS)


def write_link() -> None:
    """Put the view into the page's address, if a choice has changed it since it was written or read."""
    query = link.to_query(current())
    if query != st.session_state["written"]:
        st.session_state["written"] = query
        st.query_params.from_dict(query)


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
    """A streamlit widget that shows ``value`` and hands every change to ``then``: the view alone keeps state.

    ``options``: what there is to choose from -> its label, as Markdown; None for a widget that has no options. A browser can
    send anything: what is not among them is ignored.
    """

    def changed() -> None:
        chosen = st.session_state[key]
        if options is None or _offered(chosen, options):
            then(chosen)

    st.session_state[key] = value
    if options is not None:
        more |= {"options": list(options), "format_func": options.__getitem__}
    return widget(label, key=key, on_change=changed, **more)


def _offered(chosen: object, options: Mapping[Any, str]) -> bool:
    every = chosen if isinstance(chosen, list) else [chosen]
    return all(isinstance(one, Hashable) and one in options for one in every)
