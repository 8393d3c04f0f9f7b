"""The controls for ``Settings``: the dials with Reset beside them, and what is seldom needed, in a fold."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st

from odconv.attention import HEADS, Settings
from odconv.ui import components, dials, parts, redraw, scene, view
from odconv.ui.engine import Engine
from odconv.ui.inference import Answers
from odconv.ui.scene import Scene
from odconv.ui.text import say


def show_dials(shown: Scene, answers: Answers | None) -> None:
    """Draw the dials, Reset, all settings that are in force, and what the temperature does.

    ``answers``: of the picture that is shown; while there are none yet, each step of a drag runs the page's figures.
    """
    address = redraw.offer(partial(scene.redraw, shown, answers.trained)) if answers else ""
    with st.container(key="controls", horizontal=True, vertical_alignment="center", gap="small"):
        dials.show(shown.settings, shown.engine.num_kernels, "dials", address)
        # Never disabled: a button that is takes the keyboard's focus with it.
        st.button(say("setting.reset"), key="reset", on_click=_reset)
    components.in_force(scene.in_force(shown))


def show_more(engine: Engine) -> None:
    """Draw the fold: the heads that temperature acts on, gain, which kernels stay, and ablated heads.

    They are built when it is opened: four more widgets slow every step of a drag. A popover, which a browser builds by itself,
    forgets what they were set to while it was closed.
    """
    fold = st.expander(say("setting.more"), key="more", on_change="rerun")
    if not fold.open:
        return
    with fold, st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        show_rare(engine, view.current().settings, change_and_rerun)


def show_rare(engine: Engine, chosen: Settings, change: Callable[..., None], prefix: str = "") -> None:
    """Draw the widgets of the settings that are seldom needed.

    Args:
        chosen: what they show.
        change: gets the setting that was changed, by its name.
        prefix: of the widgets' keys, for a page that has them twice.
    """
    heads = {head: say(f"head.{head}").capitalize() for head in engine.heads}
    view.bind(
        st.pills,
        say("setting.tempered"),
        key=f"{prefix}tempered",
        value=[head for head in chosen.tempered if head in heads],
        then=lambda some: change(tempered=HEADS if set(some) >= set(heads) else tuple(some)),
        options=heads,
        selection_mode="multi",
        help=say("setting.tempered_help"),
    )
    view.bind(
        st.segmented_control,
        say("setting.gain"),
        key=f"{prefix}compensate",
        value=chosen.compensate,
        then=lambda kept: change(compensate=kept),
        options={False: say("setting.gain_free"), True: say("setting.gain_kept")},
        required=True,
        help=say("setting.gain_help"),
    )
    view.bind(
        st.segmented_control,
        say("setting.keep"),
        key=f"{prefix}keep",
        value=chosen.keep,
        then=lambda which: change(keep=which),
        options={which: say(f"setting.keep_{which}") for which in ("strongest", "first")},
        required=True,
        disabled=engine.num_kernels == 1,
        help=say("setting.keep_help"),
    )
    view.bind(
        st.pills,
        say("setting.ablate"),
        key=f"{prefix}ablate",
        value=[head for head in chosen.ablate if head in heads],
        then=lambda some: change(ablate=tuple(some)),
        options=heads,
        selection_mode="multi",
        help=say("setting.ablate_help"),
    )


def change_and_rerun(**settings: object) -> None:
    """Change the view and run all that follows it, such as comparison and downloads."""
    view.change(**settings)
    parts.rerun()


def _reset() -> None:
    view.reset_settings()
    parts.rerun()
