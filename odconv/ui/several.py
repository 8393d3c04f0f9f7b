"""Several pictures: the same layer for each, side by side on one scale, and how far they differ in each head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st

from odconv import drawings, figures
from odconv.atlas import expected_spread
from odconv.attention import HEADS
from odconv.explain import Explanation, spread_between
from odconv.figures import Spread
from odconv.ui import components, layer, text, view
from odconv.ui import engine as engines
from odconv.ui.engine import Engine
from odconv.ui.sources import Picture
from odconv.ui.text import say


def show(
    engine: Engine,
    pictures: Sequence[Picture],
    record: Explanation,
    trained: Explanation,
    reference: Explanation | None,
) -> None:
    """Draw the comparison of ``pictures``, two or more; the records are of all of them, in their order."""
    name, language = layer.chosen(record), text.language()
    atlas = engines.atlas_of(engine, trained) if view.current().difference else None
    st.subheader(text.markdown("several.title", count=len(pictures), layer=name), anchor=False)
    components.side_by_side(
        drawings.side_by_side(
            language,
            record.layers[name],
            None if reference is None else reference.layers[name],
            [picture.title for picture in pictures],
            atlas.means()[name] if atlas else None,
        )
    )
    st.markdown(say("several.less_usual" if atlas else "several.how_far", count=len(pictures)))
    spread, before = spreads(record), None if reference is None else spreads(reference)
    usual = None if atlas is None else expected_spread(atlas, len(pictures))
    st.plotly_chart(
        figures.spread_by_depth(language, list(record.layers), spread, before, name, usual),
        key="spread",
        alt=to_sentence(record, spread, usual),
        config={"displaylogo": False},
    )
    if reference is not None:
        st.caption(say("several.dashed"))


def spreads(record: Explanation) -> Spread:
    """Head -> how far the pictures differ in it, layer by layer."""
    return {
        head: [
            None if getattr(one.attention, head) is None else spread_between(getattr(one.attention, head))
            for one in record.layers.values()
        ]
        for head in HEADS
    }


def to_sentence(record: Explanation, spread: Spread, usual: Spread | None) -> str:
    """Where each head differs most, or most against what is ``usual``."""
    parts = []
    for head, values in spread.items():
        numbers = np.array(values, dtype=float) - (0 if usual is None else np.array(usual[head], dtype=float))
        if np.isfinite(numbers).any():
            where = list(record.layers)[int(np.nanargmax(numbers))]
            parts.append(
                say("several.most_in", head=say(f"head.{head}"), layer=where, value=f"{np.nanmax(numbers):.3f}")
            )
    return say("several.most" if usual is None else "several.most_against_usual", where="; ".join(parts))
