"""What a page says of a network with ordinary convolutions, and the way from there to one with attention."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from odconv.ui import engine as engines
from odconv.ui import sidebar, text, view
from odconv.ui.engine import Engine
from odconv.ui.pictures import Picture
from odconv.ui.text import say


def show(engine: Engine, pictures: Sequence[Picture]) -> None:
    """Say what a static convolution is, why there is nothing to turn, and what to compare the network with."""
    st.subheader(say("static.title"), anchor=False)
    st.markdown(say("static.kernel"))
    st.markdown(say("static.nothing"))
    twin = dynamic_twin(engine)
    if twin is None or view.current().fixed:
        return
    label = sidebar.model_labels()[twin]
    st.markdown(text.markdown("static.compare", model=label))
    st.button(
        text.markdown("static.open" if len(pictures) == 1 else "static.open_several", model=label),
        key="open-twin",
        type="primary",
        on_click=lambda: view.change(model=twin),
    )


def dynamic_twin(engine: Engine) -> str | None:
    """File name of an ODConv network that differs from this one in nothing but its convolutions; else of any ODConv network."""
    dynamic = {name: found for name, found in engines.architectures().items() if found and found.dynamic}
    twins = (name for name, found in dynamic.items() if found.static_twin() == engine.checkpoint.architecture)
    return next(twins, next(iter(dynamic), None))


def static_twin(engine: Engine) -> str | None:
    """File name of the network that differs from this one in nothing but its ordinary convolutions."""
    wanted = engine.checkpoint.architecture.static_twin()
    return next((name for name, found in engines.architectures().items() if found == wanted), None)
