"""The drawings of one picture's layers: all at a glance, and the chosen one in full."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from odconv import drawings
from odconv.attention import Heads
from odconv.backbones import Place
from odconv.explain import Explanation
from odconv.ui import components, controls, live, text, view
from odconv.ui import engine as engines
from odconv.ui.engine import Engine
from odconv.ui.inference import Answers
from odconv.ui.text import say


def chosen(record: Explanation) -> str:
    """The name of the layer to show: the one that is wanted, or the first where there is none of that name."""
    wanted = view.wanted_layer()
    return wanted if wanted in record.layers else next(iter(record.layers))


def show_glance(engine: Engine, answers: Answers) -> None:
    """Draw all layers of one picture at a glance."""
    atlas = engines.load_atlas_for(engine, answers.trained)
    with st.container(horizontal=True, vertical_alignment="center"):
        help = say("page.glance_help")
        if atlas:
            help += f"\n\n{say('page.difference_help', pictures=f'{atlas.pictures:,}')}"
        st.subheader(say("page.glance"), anchor=False, width="content", help=help)
        if atlas:
            _choose_difference()
    if view.current().difference and atlas is None:
        st.info(say("page.no_atlas"))
    components.glance(live.anew(glance_data(engine, answers)), choose)


def glance_data(engine: Engine, answers: Answers) -> dict[str, Any]:
    """The data of ``components.glance``."""
    record, typical = answers.now, _typical(engine, answers)
    return drawings.glance_data(
        text.language(), record, answers.reference, chosen(record), places(engine, record), typical
    )


def show_layer(engine: Engine, answers: Answers) -> None:
    """Draw the chosen layer of one picture, and say what is out of the ordinary."""
    name = chosen(answers.now)
    warn(answers, name)
    st.subheader(text.markdown("page.one_layer", layer=name), anchor=False, help=say("meaning.layer_name"))
    components.layer(live.anew(layer_data(engine, answers)))


def layer_data(engine: Engine, answers: Answers) -> dict[str, Any]:
    """The data of ``components.layer``, of the chosen layer."""
    record, reference, typical = answers.now, answers.reference, _typical(engine, answers)
    name = chosen(record)
    return drawings.layer_data(
        text.language(),
        record.layers[name],
        None if reference is None else reference.layers[name],
        engines.costs(engine)[name.partition("#")[0]],
        typical[name] if typical else None,
        drawings.scale_end_of(record, reference, typical) if typical else None,
    )


def warn(answers: Answers, shown: str) -> None:
    """Say what is out of the ordinary: how it was computed, what came of it, or that the layer ``shown`` is another one."""
    if answers.note:
        st.warning(say(answers.note))
    if not np.isfinite(answers.now.logits).all():
        st.warning(say("page.beyond_bounds"))
    if view.current().layer not in ("", shown):
        st.info(text.markdown("page.no_layer", layer=view.current().layer))


def places(engine: Engine, record: Explanation) -> dict[str, Place]:
    """Name of every layer -> where it stands."""
    return {name: engine.checkpoint.place(name) for name in record.layers}


def _typical(engine: Engine, answers: Answers) -> dict[str, Heads[np.ndarray]] | None:
    """Layer -> typical attention, where the visitor chose to see differences from it; else None."""
    if not view.current().difference:
        return None
    atlas = engines.load_atlas_for(engine, answers.trained)
    return atlas.means() if atlas else None


def _choose_difference() -> None:
    view.bind(
        st.segmented_control,
        say("page.attention_shown"),
        key="difference",
        value=view.current().difference,
        then=lambda difference: controls.change_and_rerun(difference=difference),
        options={False: say("page.as_it_is"), True: say("page.as_difference")},
        required=True,
        label_visibility="collapsed",
    )


def choose(name: object) -> None:
    """A layer was chosen; ``name`` comes from a browser. Whether there is such a layer is checked by ``chosen``."""
    if isinstance(name, str) and name.isprintable() and len(name) <= 100:
        view.choose_layer(name)
        st.rerun()
