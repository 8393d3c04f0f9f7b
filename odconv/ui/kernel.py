"""The kernel itself: one slice of what the chosen layer forges for the picture, and for another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import streamlit as st

from odconv import drawings
from odconv.explain import Explanation
from odconv.kernel_use import kernel_use
from odconv.kernel_view import KernelView
from odconv.ui import components, inference, layer, parts, text, view
from odconv.ui import engine as engines
from odconv.ui.devices import BusyError
from odconv.ui.engine import Engine
from odconv.ui.inference import Answers
from odconv.ui.pictures import Picture
from odconv.ui.text import say


@parts.part("kernel_part")
def show(engine: Engine, pictures: Sequence[Picture], answers: Answers) -> None:
    """Draw one slice of the chosen layer's kernel for the picture that is shown, and for the next one or the typical one.

    It follows a dial on its release: forging for every step of a drag would slow the figures that show the drag.
    """
    chosen, name = view.current(), layer.chosen(answers.now)
    picture, other = _shown(pictures), other_picture(pictures)
    try:
        found = inference.ask_kernel(engine, picture, chosen.settings, name, chosen.filter, chosen.channel, other)
    except BusyError:
        return  # the page has said so, and asks again
    st.subheader(text.markdown("forge.heading", layer=name), anchor=False)
    st.caption(say("forge.intro"))
    picked = choose_slice(found, found.other is not None)
    components.kernel(
        drawings.kernel_data(
            text.language(),
            found,
            picture.title,
            None if other is None else other.title,
            picked,
            _use(engine, answers.trained.picture(pictures.index(picture)), name),
        )
    )
    if found.other is None:
        st.caption(say("forge.no_other"))
    elif other is None:
        atlas = engines.load_atlas_for(engine, answers.trained)
        st.caption(say("forge.typical_note", pictures=f"{atlas.pictures if atlas else 0:,}"))
    view.write_link()


def _use(engine: Engine, trained: Explanation, layer: str) -> dict[str, Any] | None:
    """Which classes use which kernel of ``layer``; None where there is one kernel, or no atlas that tells its classes apart."""
    atlas, classes = engines.load_atlas_for(engine, trained), engine.checkpoint.card.classes
    if atlas is None or atlas.classes != len(classes) or not atlas.tells_classes_apart:
        return None
    kernels, logits = kernel_use(atlas.layers[layer], atlas.counts), trained.logits[0]
    if kernels is None:
        return None
    first = int(logits.argmax()) if np.isfinite(logits).all() else None
    return drawings.kernel_use_data(text.language(), kernels, atlas.counts, classes, first)


def _shown(pictures: Sequence[Picture]) -> Picture:
    return pictures[min(view.current().shown, len(pictures)) - 1]


def other_picture(pictures: Sequence[Picture]) -> Picture | None:
    """The picture that the one shown is compared with: the next one; None where it is alone."""
    return None if len(pictures) == 1 else pictures[(pictures.index(_shown(pictures)) + 1) % len(pictures)]


def choose_slice(found: KernelView, compared: bool) -> bool:
    """Draw the choice of filter and input channel, and say so where a link asks for what the layer does not have.

    Args:
        found: the slice that is shown.
        compared: whether there is another picture's kernel for it to differ from.

    Returns:
        Whether the program chose the slice, since the visitor named neither.
    """
    chosen = view.current()
    asked = ((chosen.filter, found.filters), (chosen.channel, found.channels))
    picked = not any(index is not None and index < count for index, count in asked)
    if any(index is not None and index >= count for index, count in asked):
        st.info(say("forge.no_slice", filters=found.filters - 1, channels=found.channels - 1))
    with st.container(key="slice", horizontal=True, vertical_alignment="bottom", gap="medium"):
        for field, shown, count in (
            ("filter", found.filter, found.filters),
            ("channel", found.channel, found.channels),
        ):
            _choose_index(field, shown, count, {"filter": found.filter, "channel": found.channel})
        st.button(
            say("forge.most" if compared else "forge.most_largest"),
            key="most",
            on_click=lambda: view.change(filter=None, channel=None),
            disabled=picked,
        )
    return picked


def _choose_index(field: str, shown: int, count: int, both: dict[str, int]) -> None:
    def choose(index: object) -> None:
        """The browser keeps to the widget's limits; what else comes is not obeyed. The other index stays as it is shown."""
        if type(index) is int and 0 <= index < count:
            view.change(**(both | {field: index}))

    view.bind(
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
