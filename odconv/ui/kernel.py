"""The kernel itself: one slice of what the chosen layer forges for the picture, and for another one."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from odconv import drawings
from odconv.attention import Settings
from odconv.kernel_view import KernelView
from odconv.ui import components, layer, text, view
from odconv.ui import engine as engines
from odconv.ui.engine import Answers, BusyError, Engine
from odconv.ui.sources import Picture
from odconv.ui.text import say


def ask(engine: Engine, picture: Picture, pictures: Sequence[Picture]) -> KernelView | None:
    """One slice of the chosen layer's kernel for ``picture``, beside that of the next of ``pictures`` or the typical one.

    None for a static network, and while others keep the device. To be asked first, see :func:`odconv.ui.engine.ask_kernel`.
    """
    if not engine.checkpoint.dynamic:
        return None
    chosen = view.current()
    try:
        name = layer.chosen(engines.ask(engine, picture, Settings()).explanation)
        return engines.ask_kernel(
            engine, picture, chosen.settings, name, chosen.filter, chosen.channel, _other(picture, pictures)
        )
    except BusyError:
        return None


def _other(picture: Picture, pictures: Sequence[Picture]) -> Picture | None:
    return None if len(pictures) == 1 else pictures[(pictures.index(picture) + 1) % len(pictures)]


def show(
    engine: Engine, picture: Picture, pictures: Sequence[Picture], answers: Answers, found: KernelView | None
) -> None:
    """Draw what :func:`ask` has found."""
    name, chosen, other = layer.chosen(answers.now), view.current(), _other(picture, pictures)
    st.subheader(text.markdown("forge.heading", layer=name), anchor=False)
    if found is None:
        st.warning(say("busy.network"), icon=":material/hourglass_top:")
        return
    st.caption(say("forge.intro"))
    asked = ((chosen.filter, found.filters), (chosen.channel, found.channels))
    picked = not any(index is not None and index < count for index, count in asked)
    if any(index is not None and index >= count for index, count in asked):
        st.info(say("forge.no_slice", filters=found.filters - 1, channels=found.channels - 1))
    _choose_slice(found, picked)
    components.kernel(
        drawings.kernel_data(text.language(), found, picture.title, None if other is None else other.title, picked)
    )
    if found.other is None:
        st.caption(say("forge.no_other"))
    elif other is None:
        atlas = engines.load_atlas_for(engine, answers.trained)
        st.caption(say("forge.typical_note", pictures=f"{atlas.pictures if atlas else 0:,}"))


def _choose_slice(found: KernelView, picked: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        for field, shown, count in (
            ("filter", found.filter, found.filters),
            ("channel", found.channel, found.channels),
        ):
            _choose_index(field, shown, count, {"filter": found.filter, "channel": found.channel})
        st.button(
            say("forge.most" if found.other else "forge.most_largest"),
            key="most",
            on_click=lambda: view.change(filter=None, channel=None),
            disabled=picked,
        )


def _choose_index(field: str, shown: int, count: int, both: dict[str, int]) -> None:
    def choose(index: object) -> None:
        """The browser keeps to the widget's limits; what else comes is not obeyed. The other index stays as it is shown."""
        if type(index) is int and 0 <= index < count:
            view.change(**(both | {field: index}))

    view.bound(
        st.number_input,
        say(f"forge.{field}"),
        key=field,
        value=shown,
        then=choose,
        min_value=0,
        max_value=max(count - 1, 1),
        step=1,
        width=150,
        disabled=count == 1,
    )
