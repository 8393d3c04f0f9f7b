"""What can be done with the two sides of a comparison by one click: swap, copy across, and change one thing on side B."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from odconv.ui import engine as engines
from odconv.ui import other, sidebar, text, view
from odconv.ui.engine import Engine
from odconv.ui.link import SAME, Other
from odconv.ui.text import say

HOT = 30.0  # the first temperature of the authors' training
MOST_NETWORKS = 3


def show(engine: Engine) -> None:
    """Draw the buttons that swap and copy, and comparisons to begin with, in which one thing differs; nothing where both sides' pictures stay."""
    if view.current().fixed:
        return
    with st.container(key="sides_actions", horizontal=True, vertical_alignment="center", gap="small"):
        for name, act in (("swap", other.swap), ("copy_to_b", other.copy_to_b), ("copy_to_a", other.copy_to_a)):
            st.button(say(f"sides.{name}"), key=f"sides_{name}", on_click=_then_rerun, args=(act,))
        st.markdown(say("sides.offer"), width="content")
        for i, (label, offered) in enumerate(_offers(engine).items()):
            st.button(
                text.escape_markdown(label), key=f"sides_offer_{i}", type="tertiary", on_click=_take, args=(offered,)
            )


def _offers(engine: Engine) -> dict[str, Other]:
    """What an offer is called -> side B; all but one thing is as on side A."""
    # Of networks with other classes most would differ, and little could be said of it.
    wanted, labels = engine.checkpoint.architecture.num_classes, sidebar.model_labels()
    alike = [name for name, one in engines.architectures().items() if one and one.num_classes == wanted]
    models = {name: labels[name] for name in alike if name != engine.name}
    offers = {say("sides.offer_picture"): Other()}
    offers |= {label: Other(picture=SAME, model=name) for name, label in list(models.items())[:MOST_NETWORKS]}
    if engine.checkpoint.dynamic:
        offers[say("sides.offer_temperature", temperature=f"{HOT:g}")] = Other(picture=SAME, temperature=HOT)
    if engine.num_kernels > 1:
        offers[say("sides.offer_kernels")] = Other(picture=SAME, kernels=1)
    return offers


def _take(offered: Other) -> None:
    _then_rerun(lambda: view.change(b=offered, layer=""))


def _then_rerun(act: Callable[[], None]) -> None:
    """The whole page follows: the layer that it opens at, and what stands outside of this part."""
    act()
    st.rerun()
