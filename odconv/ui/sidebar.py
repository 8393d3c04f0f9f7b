"""The sidebar: the choice of language, model and device, and what is known about the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import streamlit as st

from odconv.architecture import Architecture
from odconv.card import is_percent
from odconv.checkpoint import CheckpointError, labels
from odconv.drawings import clean_name, count_text
from odconv.ui import cluster, text
from odconv.ui import engine as engines
from odconv.ui.engine import DEVICES, Engine
from odconv.ui.link import OWN, View
from odconv.ui.text import language, say
from odconv.ui.view import bind, change
from odconv.words import LANGUAGES


def choose_language() -> None:
    """Draw the switch between languages; each is named in its own language."""
    bind(
        st.segmented_control,
        say("page.language"),
        key="language",
        value=language(),
        then=lambda chosen: change(language=chosen),
        options=LANGUAGES,
        required=True,
        label_visibility="collapsed",
    )


def choose_engine(view: View, wanted: str = engines.LESSONS) -> Engine | None:
    """Draw the choice of model and device where it is the visitor's, and open the network, or ``wanted`` where none is chosen.

    None, with a sentence on the page, where there are no weights or the chosen ones cannot be used.
    """
    st.subheader(say("network.title"), anchor=False)
    names = engines.offered()
    if not names:
        st.error(say("network.none"))
        return None
    chosen = view.model if view.model in names else engines.opening(wanted) or names[0]
    device = "auto" if view.fixed else _choose(chosen)
    try:
        with st.spinner(say("network.opening")):
            engine = engines.open_engine(chosen, device)
    except CheckpointError as error:
        st.error(text.refusal(error))
        return None
    where = "network.runs_on_cluster" if cluster.asked(engine) else "network.runs_on"
    st.caption(say(where, device=_device(engine.device)))
    return engine


def _choose(model: str) -> str:
    """Draw the choice of model and device. Returns the device."""
    bind(
        st.selectbox,
        say("network.model"),
        key="model",
        value=model,
        then=lambda name: change(model=name),
        options=model_labels(),
    )
    devices = {name: _device(name) for name in engines.devices()}
    device = st.session_state.get("device", "auto")
    device = device if device in devices else "auto"
    bind(
        st.selectbox,
        say("network.device"),
        key="device",
        value=device,
        then=lambda device: change(),
        options=devices,
    )
    return device


def model_labels() -> dict[str, str]:
    """Name -> what the model picker calls it: what network it is, or the file's name where that is not known."""
    found = {name: (_in_words(one), one.num_classes if one else 0) for name, one in engines.architectures().items()}
    differing = Counter(words for words, _ in set(found.values()))  # description -> how many numbers of classes
    descriptions = {
        name: say("network.with_classes", network=words, count=f"{classes:,}") if differing[words] > 1 else words
        for name, (words, classes) in found.items()
    }
    if mine := engines.own():
        descriptions[OWN] = say("network.own", file=clean_name(mine.path.name))
    return labels(descriptions)


def _in_words(architecture: Architecture | None) -> str:
    """What a network is, in a few words; empty where that is not known."""
    if architecture is None:
        return ""
    kernels = architecture.num_kernels
    if kernels is None:
        return say("network.is_static")
    return say("network.is_single" if kernels == 1 else "network.is_dynamic", kernels=kernels)


def _device(name: str) -> str:
    return say("network.auto") if name == "auto" else DEVICES[name]


def describe(engine: Engine) -> None:
    """Draw what weights and card say about the network: its classes, shape, cost, accuracy and training."""
    card, architecture = engine.checkpoint.card, engine.checkpoint.architecture
    with st.expander(say("network.classes", count=f"{len(card.classes):,}")):
        st.text(", ".join(name.partition(",")[0] for name in card.classes))
    with st.expander(say("network.training")):
        st.text(say("network.file", file=engine.path.name))
        kernels = architecture.num_kernels
        st.text(
            say(
                "network.static" if kernels is None else "network.dynamic",
                backbone=architecture.backbone,
                width=f"{architecture.width:g}",
                kernels=kernels,
                size=card.image_size,
            )
        )
        costs = engine.costs.values()
        parameters, multiply_adds = sum(one.parameters for one in costs), sum(one.multiply_adds for one in costs)
        st.text(
            say(
                "network.cost",
                parameters=count_text(language(), parameters),
                multiply_adds=count_text(language(), multiply_adds),
            )
        )
        for sentence in (card.data, accuracy(card.measured), card.recipe, card.known_weaknesses):
            if sentence:
                st.text(sentence)


def accuracy(measured: Mapping[str, Any]) -> str:
    """How often the network is right, in a sentence. ``measured``: from its card; empty where it lacks sound numbers."""
    n, top1, top5 = (measured.get(name) for name in ("n", "top1", "top5"))
    if not (is_percent(top1) and is_percent(top5) and type(n) is int and 1 <= n < 10**12):
        return ""
    return say("network.accuracy", top1=f"{top1:.1f}", top5=f"{top5:.1f}", n=f"{n:,}")
