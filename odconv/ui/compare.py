"""Several pictures: the same layer for each, side by side on one scale, and how far they differ in each head."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from odconv import drawings, figures
from odconv.atlas import expected_spread
from odconv.attention import HEADS, Settings
from odconv.drawings import Spread
from odconv.explain import Explanation, between_pictures
from odconv.ui import components, view
from odconv.ui import engine as engines
from odconv.ui.engine import BusyError, Engine
from odconv.ui.sources import Picture


@st.fragment(key="compare")
def show(engine: Engine, pictures: Sequence[Picture]) -> None:
    """Draw the comparison of ``pictures``, two or more, under the visitor's settings."""
    if not engine.checkpoint.dynamic:
        return
    settings = view.current().settings
    try:
        record = engines.answer(engine, pictures, settings).explanation
        trained = None if settings == Settings() else engines.answer(engine, pictures, Settings()).explanation
    except BusyError as error:
        st.warning(str(error))
        return
    layer = view.current().layer
    atlas = engines.typical(engine, record) if view.current().difference else None
    titles = [picture.title for picture in pictures]
    st.subheader(f"{len(pictures)} pictures in {layer}", anchor=False)
    reference = None if trained is None else trained.layers[layer]
    components.side_by_side(
        drawings.side_by_side_data(
            "en", record.layers[layer], reference, titles, atlas.means()[layer] if atlas else None
        )
    )
    less = f", less what {len(pictures)} validation pictures are expected to have as trained" if atlas else ""
    st.markdown(
        "**How far the pictures differ**, layer by layer: standard deviation between pictures, mean over a head's entries"
        + less
    )
    spread, before = spreads(record), None if trained is None else spreads(trained)
    usual = None if atlas is None else expected_spread(atlas, len(pictures))
    st.plotly_chart(
        figures.spread_by_depth("en", list(record.layers), spread, before, layer, usual),
        key="spread",
        alt=drawings.describe_spread("en", list(record.layers), spread, usual),
        config={"displaylogo": False},
    )
    if trained is not None:
        st.caption("Dashed lines: as trained.")


def spreads(record: Explanation) -> Spread:
    """Head -> how far the pictures differ in it, layer by layer."""
    return {
        head: [
            None if getattr(layer.attention, head) is None else between_pictures(getattr(layer.attention, head))
            for layer in record.layers.values()
        ]
        for head in HEADS
    }
