"""The controls for ``Settings``: the dials with Reset beside them, and what is seldom needed, in a fold."""

from __future__ import annotations

import streamlit as st

from odconv.attention import HEADS
from odconv.drawings import describe_settings
from odconv.ui import dials, text, view
from odconv.ui.engine import Engine
from odconv.ui.text import say


def show_dials(engine: Engine) -> None:
    """Draw the dials, Reset, and a sentence on all settings that are in force, those in the fold too."""
    chosen = view.current().settings
    with st.container(key="controls", horizontal=True, vertical_alignment="center", gap="small"):
        dials.show(chosen, engine.num_kernels)
        # Never disabled: a button that is takes the keyboard's focus with it.
        st.button(say("setting.reset"), key="reset", on_click=_reset)
    with st.container(key="in-force"):
        settings = describe_settings(text.language(), engine.normalize(chosen))
        st.caption(text.markdown("setting.in_force", settings=settings))


def show_more(engine: Engine) -> None:
    """Draw the fold: the heads that temperature acts on, gain, which kernels stay, and ablated heads."""
    most = engine.num_kernels
    heads = {head: say(f"head.{head}").capitalize() for head in engine.heads}
    chosen = view.current().settings
    fold = st.expander(say("setting.more"), key="more")
    with fold, st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        view.bind(
            st.pills,
            say("setting.tempered"),
            key="tempered",
            value=[head for head in chosen.tempered if head in heads],
            then=lambda some: change_and_rerun(tempered=HEADS if set(some) >= set(heads) else tuple(some)),
            options=heads,
            selection_mode="multi",
            help=say("setting.tempered_help"),
        )
        view.bind(
            st.segmented_control,
            say("setting.gain"),
            key="compensate",
            value=chosen.compensate,
            then=lambda kept: change_and_rerun(compensate=kept),
            options={False: say("setting.gain_free"), True: say("setting.gain_kept")},
            required=True,
            help=say("setting.gain_help"),
        )
        view.bind(
            st.segmented_control,
            say("setting.keep"),
            key="keep",
            value=chosen.keep,
            then=lambda which: change_and_rerun(keep=which),
            options={which: say(f"setting.keep_{which}") for which in ("strongest", "first")},
            required=True,
            disabled=most == 1,
            help=say("setting.keep_help"),
        )
        view.bind(
            st.pills,
            say("setting.ablate"),
            key="ablate",
            value=[head for head in chosen.ablate if head in heads],
            then=lambda some: change_and_rerun(ablate=tuple(some)),
            options=heads,
            selection_mode="multi",
            help=say("setting.ablate_help"),
        )


def change_and_rerun(**settings: object) -> None:
    """Change the view and run the whole page again, so that comparison and downloads follow, too."""
    view.change(**settings)
    st.rerun()


def _reset() -> None:
    view.reset_settings()
    st.rerun()
