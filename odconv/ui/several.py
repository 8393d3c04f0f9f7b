"""The comparison of several pictures: one layer side by side, and how far the pictures differ in every layer."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from odconv import drawings, figures
from odconv.attention import HEADS, Settings
from odconv.drawings import Spread
from odconv.explain import Explanation, layer_spread, spread
from odconv.ui import components, inference, layer, text, view
from odconv.ui import engine as engines
from odconv.ui.devices import BusyError
from odconv.ui.engine import Engine
from odconv.ui.inference import Answers
from odconv.ui.pictures import Picture
from odconv.ui.text import say
from odconv.unusual import expected_spread


def choose_layer(engine: Engine, pictures: Sequence[Picture]) -> None:
    """Open at the layer in which several ``pictures`` differ most, as trained, so that it stays while a dial is turned."""
    st.session_state["differ"] = None
    view.open_at("")
    if len(pictures) < 2 or not engine.checkpoint.dynamic:
        return
    try:
        trained = inference.ask_all(engine, pictures, Settings()).explanation
    except BusyError:
        return  # the page says so, and asks again
    spreads = {name: layer_spread(record) for name, record in trained.layers.items()}
    most = max(spreads, key=spreads.__getitem__)
    st.session_state["differ"] = (len(pictures), most, spreads[most])
    view.open_at(most)


def opening() -> str:
    """A sentence, as Markdown, on the layer in which the pictures differ most; empty where that is not known."""
    if st.session_state.get("differ") is None:
        return ""
    count, most, by = st.session_state["differ"]
    shown = view.wanted_layer() == most
    return text.markdown("compare.opens" if shown else "compare.most", count=count, layer=most, by=f"{by:.2f}")


def show(engine: Engine, pictures: Sequence[Picture], answers: Answers) -> None:
    """Draw the comparison of two or more ``pictures``; ``answers`` has all of them, in the same order."""
    record, reference, language = answers.now, answers.reference, text.language()
    name = layer.chosen(record)
    atlas = engines.load_atlas_for(engine, answers.trained) if view.current().difference else None
    typical = atlas.means() if atlas else None
    st.subheader(text.markdown("compare.heading", count=len(pictures), layer=name), anchor=False)
    components.side_by_side(
        drawings.side_by_side_data(
            language,
            record.layers[name],
            None if reference is None else reference.layers[name],
            [picture.title for picture in pictures],
            typical[name] if typical else None,
            drawings.scale_end_of(record, reference, typical) if typical else None,
            [picture.thumbnail for picture in pictures],
        )
    )
    st.markdown(say("compare.less_usual" if atlas else "compare.how_far", count=len(pictures)))
    names, spreads = list(record.layers), _spread_by_head(record)
    before = None if reference is None else _spread_by_head(reference)
    usual = None if atlas is None else expected_spread(atlas, len(pictures))
    st.plotly_chart(
        figures.spread_by_depth(language, names, spreads, before, name, usual, text_size=text.chart_size()),
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
