"""The settings under the dials: what temperature acts on, gain, which kernels stay, which heads lose their pattern."""

from __future__ import annotations

import streamlit as st

from odconv.attention import HEADS, Settings
from odconv.ui import dials, view
from odconv.ui.engine import Engine


def show(engine: Engine, settings: Settings) -> None:
    """Draw the dials and the other settings."""
    most = engine.num_kernels
    heads = engine.heads
    with st.container(border=True):
        dials.show(settings, most)
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            view.bound(
                st.segmented_control,
                "Temperature acts on",
                key="tempered",
                value="all" if settings.tempered == HEADS else "kernel",
                then=lambda chosen: apply(tempered=("kernel",) if chosen == "kernel" else HEADS),
                options=["all", "kernel"],
                format_func={"all": "All heads", "kernel": "Kernel only"}.__getitem__,
                required=True,
                disabled=most == 1 and settings.tempered == HEADS,
            )
            view.bound(
                st.segmented_control,
                "Gain of tempered gates",
                key="compensate",
                value=settings.compensate,
                then=lambda chosen: apply(compensate=chosen),
                options=[False, True],
                format_func=["As it comes", "Kept"].__getitem__,
                required=True,
                help="Kept: gates are rescaled to the mean they have at temperature 1. This tells scale from uniformity.",
            )
            view.bound(
                st.segmented_control,
                "Kernels that stay",
                key="keep",
                value=settings.keep,
                then=lambda chosen: apply(keep=chosen),
                options=["strongest", "first"],
                format_func=str.capitalize,
                required=True,
                disabled=most == 1,
                help="Strongest: those with the highest logits, for each picture and layer. First: W1 to Wn, for all alike.",
            )
            view.bound(
                st.pills,
                "Own mean instead of learned",
                key="ablate",
                value=[head for head in settings.ablate if head in heads],
                then=lambda chosen: apply(ablate=tuple(chosen)),
                options=heads,
                format_func=str.capitalize,
                selection_mode="multi",
                help="A chosen head keeps its mean, so the gain stays, and loses its pattern.",
            )
            st.button("Reset", on_click=_reset, disabled=engine.normalize(settings) == Settings())


def apply(**settings: object) -> None:
    """A setting was chosen: comparison and downloads follow it, too."""
    view.change(**settings)
    st.rerun()


def _reset() -> None:
    view.reset_settings()
    st.rerun()
