"""Several pictures: the same layer for each, side by side on one scale, and how far they differ in each head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st

from odconv import drawings, figures
from odconv.atlas import expected_spread
from odconv.attention import HEADS, Settings
from odconv.explain import Explanation, spread
from odconv.figures import Spread
from odconv.ui import components, view
from odconv.ui import engine as engines
from odconv.ui.engine import BusyError, Engine
from odconv.ui.sources import Picture


@st.fragment(key="compare")
def show(engine: Engine, pictures: Sequence[Picture]) -> None:
    """Draw the comparison of ``pictures``, two or more, under the visitor's settings."""
    if not engine.checkpoint.dynamic:
        return
    settings = engine.normalize(view.current().settings)
    try:
        record = engines.ask_all(engine, pictures, settings).explanation
        trained = None if settings == Settings() else engines.ask_all(engine, pictures, Settings()).explanation
    except BusyError as error:
        st.warning(str(error))
        return
    layer = view.current().layer
    atlas = engines.load_atlas_for(engine, record) if view.current().difference else None
    titles = [picture.title for picture in pictures]
    st.subheader(f"{len(pictures)} pictures in {layer}", anchor=False)
    reference = None if trained is None else trained.layers[layer]
    components.side_by_side(
        drawings.side_by_side(record.layers[layer], reference, titles, atlas.means()[layer] if atlas else None)
    )
    less = f", less what {len(pictures)} validation pictures are expected to have as trained" if atlas else ""
    st.markdown(
        "**How far the pictures differ**, layer by layer: standard deviation between pictures, mean over a head's entries"
        + less
    )
    spread, before = spreads(record), None if trained is None else spreads(trained)
    usual = None if atlas is None else expected_spread(atlas, len(pictures))
    st.plotly_chart(
        figures.between_pictures(list(record.layers), spread, before, layer, usual),
        key="spread",
        alt=said(record, spread, usual),
        config={"displaylogo": False},
    )
    if trained is not None:
        st.caption("Dashed lines: as trained.")


def spreads(record: Explanation) -> Spread:
    """Head -> how far the pictures differ in it, layer by layer."""
    return {
        head: [
            None if getattr(layer.attention, head) is None else spread(getattr(layer.attention, head))
            for layer in record.layers.values()
        ]
        for head in HEADS
    }


def said(record: Explanation, spread: Spread, usual: Spread | None) -> str:
    """Where each head differs most, or most against what is ``usual``, in a sentence."""
    parts = []
    for head, values in spread.items():
        numbers = np.array(values, dtype=float) - (0 if usual is None else np.array(usual[head], dtype=float))
        if np.isfinite(numbers).any():
            parts.append(
                f"{head} attention in {list(record.layers)[int(np.nanargmax(numbers))]}, {np.nanmax(numbers):.3f}"
            )
    return f"The pictures differ most{'' if usual is None else ' against what is expected'}: {'; '.join(parts)}."
