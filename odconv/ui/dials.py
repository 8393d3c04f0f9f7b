"""Temperature and kernel count, live while they are dragged."""

from __future__ import annotations

import logging

import streamlit as st

from odconv.attention import Settings
from odconv.ui import components, view

log = logging.getLogger(__name__)


def show(settings: Settings, most: int) -> None:
    """Draw both dials; ``most``: the largest K of the network."""
    components.dials(
        settings.temperature,
        min(settings.kernels or most, most),
        most,
        st.session_state.get("answered", 0),
        lambda turned: _turn(turned, most),
    )


def _turn(turned: object, most: int) -> None:
    """A dial was turned, or released; ``turned`` comes from a browser."""
    try:
        temperature = float(turned["temperature"])  # type: ignore[index]
        kernels, seq = int(turned["kernels"]), int(turned["seq"])  # type: ignore[index]
        low, high = view.TEMPERATURES
        if not (low <= temperature <= high and 1 <= kernels <= most):
            raise ValueError("out of range")
    except (TypeError, KeyError, ValueError, OverflowError):
        log.warning("dial: ignored %.100r", turned)
        return
    st.session_state["answered"] = seq
    st.session_state["dragging"] = not turned["released"]  # type: ignore[index]
    view.change(temperature=temperature, kernels=None if kernels == most else kernels)
    if turned["released"]:  # type: ignore[index]
        st.rerun()
