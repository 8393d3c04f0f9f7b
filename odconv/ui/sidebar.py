"""The choice of model and device, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from odconv.checkpoint import CheckpointError
from odconv.drawings import count_text
from odconv.ui import engine as engines
from odconv.ui.engine import DEVICES, Engine
from odconv.ui.view import View, bound, change


def choose_engine(view: View) -> Engine | None:
    """The model picker and the device; None, with a sentence on the page, where the chosen weights cannot be used."""
    names = list(engines.weights())
    if not names:
        st.error("There are no weights in assets/weights; put a checkpoint there and reload the page.")
        return None
    chosen = view.model if view.model in names else names[0]
    bound(
        st.selectbox,
        "Model",
        key="model",
        value=chosen,
        then=lambda name: change(model=name, layer=""),
        options=names,
        format_func=lambda name: name.rpartition(".")[0],
    )
    device = st.selectbox("Device", engines.devices(), key="device", format_func=DEVICES.__getitem__)
    try:
        engine = engines.open_engine(chosen, device)
    except CheckpointError as error:
        st.error(str(error))
        return None
    st.caption(f"Runs on {DEVICES[engine.device]}.")
    return engine


def describe(engine: Engine) -> None:
    """What the network is, costs, knows and how it was trained, from its weights and its card."""
    card, architecture = engine.checkpoint.card, engine.checkpoint.architecture
    with st.expander(f"The {len(card.classes)} classes it knows"):
        st.write(", ".join(name.partition(",")[0] for name in card.classes))
    with st.expander("How it was trained"):
        kernels = "ordinary convolutions" if architecture.num_kernels is None else f"K = {architecture.num_kernels}"
        st.write(f"{architecture.backbone}, width {architecture.width:g}, {kernels}, {card.image_size} px.")
        costs = engines.costs(engine).values()
        st.write(
            f"{count_text('en', sum(layer.parameters for layer in costs))} parameters and "
            f"{count_text('en', sum(layer.multiply_adds for layer in costs))} multiply-adds for a picture, in convolutions and classifier."
        )
        for text in (card.data, _accuracy(card.measured), card.recipe, card.known_weaknesses):
            if text:
                st.text(text)


def _accuracy(measured: Mapping[str, Any]) -> str:
    """How often the network is right, as its card says; empty where a card says no such numbers."""
    n, top1, top5 = (measured.get(name) for name in ("n", "top1", "top5"))
    shares = all(isinstance(share, (int, float)) and 0 <= share <= 100 for share in (top1, top5))
    if not (shares and type(n) is int and 1 <= n < 10**12):
        return ""
    return (
        f"Right in {top1:.1f} % of {n:,} validation pictures; the right class is among its first five in {top5:.1f} %."
    )
