"""What every network here says to one picture: K = 4, K = 1 and static, where a comparison has two sides."""

from __future__ import annotations

import streamlit as st

from odconv import drawings
from odconv.attention import Settings
from odconv.checkpoint import CheckpointError
from odconv.drawings import Side
from odconv.ui import components, inference, parts, sidebar, sources, text, view
from odconv.ui import engine as engines
from odconv.ui.devices import BusyError
from odconv.ui.engine import Engine
from odconv.ui.text import language, say

MOST = 4  # as many stay open, see ``engine``


@parts.part("networks_part")
def show(engine: Engine) -> None:
    """Draw, in a fold, what every network here says to side A's picture, as trained; they are opened when the fold is."""
    names = [engine.name, *(name for name in engines.offered() if name != engine.name)][:MOST]
    fold = st.expander(say("sides.networks"), key="networks", on_change="rerun")
    if not fold.open or len(names) == 1:
        return
    picture = sources.picture(sources.shown_member(view.current()), view.current(), engine.checkpoint.card.resize)
    asked = []
    try:
        for name in names:
            one = engines.open_engine(name, engine.device)
            record = inference.ask(one, picture, Settings()).explanation
            asked.append((one, Side(record, one.checkpoint.card.classes, None, name)))
    except (CheckpointError, BusyError) as error:
        fold.warning(text.refusal(error))
    if not asked:
        return
    with fold:
        st.markdown(f"**{text.escape_markdown(drawings.describe_agreement(language(), [side for _, side in asked]))}**")
        for column, (i, (one, side)) in zip(st.columns(len(asked)), enumerate(asked), strict=True):
            label = sidebar.model_labels().get(side.network, side.network)
            measured = sidebar.accuracy(one.checkpoint.card.measured)
            with column:
                components.side(drawings.network_data(language(), side, label, measured), key=f"network_{i}")
