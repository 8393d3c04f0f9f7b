"""The drawings of one picture's layers: all at a glance, and the chosen one in full."""

from __future__ import annotations

import numpy as np
import streamlit as st

from odconv.explain import Explanation
from odconv.ui import components, controls, live, parts, scene, text, view
from odconv.ui import engine as engines
from odconv.ui.inference import Answers
from odconv.ui.scene import Scene
from odconv.ui.text import say


def chosen(record: Explanation) -> str:
    """The name of the layer to show, see ``scene.shown_layer``."""
    return scene.shown_layer(record, view.wanted_layer())


def show_glance(shown: Scene, answers: Answers | None) -> None:
    """Draw all layers of one picture at a glance; nothing where there are no answers yet."""
    if not answers:
        return
    atlas = engines.load_atlas_for(shown.engine, answers.trained)
    with st.container(horizontal=True, vertical_alignment="center"):
        help = say("page.glance_help")
        if atlas:
            help += f"\n\n{say('page.difference_help', pictures=f'{atlas.pictures:,}')}"
        st.subheader(say("page.glance"), anchor=False, width="content", help=help)
        if atlas:
            _choose_difference()
    if view.current().difference and atlas is None:
        st.info(say("page.no_atlas"))
    components.glance(live.anew(scene.glance(shown, answers)), choose)


def show_layer(shown: Scene, answers: Answers) -> None:
    """Draw the chosen layer of one picture, and say what is out of the ordinary."""
    name = chosen(answers.now)
    warn(answers, name)
    st.subheader(text.markdown("page.one_layer", layer=name), anchor=False, help=say("meaning.layer_name"))
    components.layer(live.anew(scene.layer(shown, answers)))


def warn(answers: Answers, shown: str) -> None:
    """Say what is out of the ordinary: how it was computed, what came of it, or that the layer ``shown`` is another one."""
    if answers.note:
        st.warning(say(answers.note))
    if not np.isfinite(answers.now.logits).all():
        st.warning(say("page.beyond_bounds"))
    if view.current().layer not in ("", shown):
        st.info(text.markdown("page.no_layer", layer=view.current().layer, shown=shown))


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
        parts.rerun()
