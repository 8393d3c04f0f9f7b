"""All layers at a glance, and one layer in full."""

from __future__ import annotations

import numpy as np
import streamlit as st

from odconv import drawings
from odconv.atlas import Atlas, said, unusual
from odconv.attention import Heads
from odconv.explain import Explanation
from odconv.ui import components, controls, view
from odconv.ui import engine as engines
from odconv.ui.engine import Engine


def show(engine: Engine, record: Explanation, trained: Explanation, reference: Explanation | None) -> None:
    """Draw the glance and the chosen layer; ``trained``: the untouched network's record, ``reference``: the same, or None
    where the settings are the trained ones."""
    layer = _layer(record)
    atlas = engines.typical(engine, trained)
    typical = _typical(atlas)
    for sentence in view.notices():
        st.info(sentence)
    st.subheader("The network at a glance", anchor=False)
    if atlas:
        _choose_difference(atlas)
    components.glance(drawings.glance_data("en", record, reference, layer, places(record), typical), _choose_layer)
    if atlas:
        sentence = said(unusual(trained, atlas))
        st.caption(sentence if reference is None else f"{sentence} That is as trained.")
    st.subheader(f"One layer: {layer}", anchor=False)
    components.layer(
        drawings.layer_data(
            "en",
            record.layers[layer],
            None if reference is None else reference.layers[layer],
            engines.costs(engine)[layer.partition("#")[0]],
            typical[layer] if typical else None,
        )
    )


def places(record: Explanation) -> dict[str, tuple[str, str]]:
    """Layer -> its stage and short label: ``layer2.0.conv1`` -> (``layer2``, ``0·1``)."""
    return {name: _place(name) for name in record.layers}


def _place(name: str) -> tuple[str, str]:
    base, _, call = name.partition("#")
    parts = base.split(".")
    if parts[0].startswith("layer"):
        label = "·".join(part.removeprefix("conv") for part in parts[1:])
    else:  # features.3.conv.1.0: all of MobileNetV2 is one sequence
        label = "·".join(parts[1:2] + [part for part in parts[2:] if part != "conv"][:1])
    return parts[0], label + (f"#{call}" if call else "")


def _layer(record: Explanation) -> str:
    wanted = view.current().layer
    if wanted not in record.layers:
        if wanted:
            view.notify(f"This network has no layer {wanted!r}; its first one is shown.")
        view.change(layer=next(iter(record.layers)))
    return view.current().layer


def _typical(atlas: Atlas | None) -> dict[str, Heads[np.ndarray]] | None:
    """The typical picture's attentions, where differences from it are to be shown."""
    if not view.current().difference:
        return None
    if atlas is None:
        view.notify("There is no usable atlas beside these weights, so attention is shown as it is.")
        view.change(difference=False)
        return None
    return atlas.means()


def _choose_difference(atlas: Atlas) -> None:
    view.bound(
        st.segmented_control,
        "Attention shown",
        key="difference",
        value=view.current().difference,
        then=lambda chosen: controls.apply(difference=chosen),
        options=[False, True],
        format_func=["As it is", "Difference from the typical picture"].__getitem__,
        required=True,
        help=f"Each weight minus its mean over {atlas.pictures:,} validation pictures under the trained settings. "
        "Taps are coloured where above it and grey where below.",
    )


def _choose_layer(name: object) -> None:
    """A layer was chosen; ``name`` comes from a browser, and is checked where it is looked up."""
    if isinstance(name, str):
        view.change(layer=name)
        st.rerun()
