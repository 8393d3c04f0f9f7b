"""The comparison of several pictures: one layer side by side, and how far the pictures differ in every layer."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from odconv import drawings, figures
from odconv.attention import HEADS
from odconv.drawings import Spread
from odconv.explain import Explanation, spread
from odconv.ui import components, layer, text, view
from odconv.ui import engine as engines
from odconv.ui.engine import Engine
from odconv.ui.inference import Answers
from odconv.ui.pictures import Picture
from odconv.ui.text import say
from odconv.unusual import expected_spread


def show(engine: Engine, pictures: Sequence[Picture], answers: Answers) -> None:
    """Draw the comparison of two or more ``pictures``; ``answers`` has all of them, in the same order."""
    record, reference, language = answers.now, answers.reference, text.language()
    name = layer.chosen(record)
    atlas = engines.load_atlas_for(engine, answers.trained) if view.current().difference else None
    st.subheader(text.markdown("compare.heading", count=len(pictures), layer=name), anchor=False)
    components.side_by_side(
        drawings.side_by_side_data(
            language,
            record.layers[name],
            None if reference is None else reference.layers[name],
            [picture.title for picture in pictures],
            atlas.means()[name] if atlas else None,
        )
    )
    st.markdown(say("compare.less_usual" if atlas else "compare.how_far", count=len(pictures)))
    names, spreads = list(record.layers), _spread_by_head(record)
    before = None if reference is None else _spread_by_head(reference)
    usual = None if atlas is None else expected_spread(atlas, len(pictures))
    st.plotly_chart(
        figures.spread_by_depth(language, names, spreads, before, name, usual),
        key="spread",
        alt=drawings.describe_spread(language, names, spreads, usual),
        config={"displaylogo": False},
    )
    if reference is not None:
        st.caption(say("compare.dashed"))


def _spread_by_head(record: Explanation) -> Spread:
    """Head -> for each layer, how far the pictures differ in it; None: no such head."""
    return {
        head: [
            None if getattr(layer.attention, head) is None else spread(getattr(layer.attention, head))
            for layer in record.layers.values()
        ]
        for head in HEADS
    }
