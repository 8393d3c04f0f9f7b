"""The part of Explore that follows a dial: photo, prediction, settings, glance and one layer of one picture.

It is a fragment, so that a turn of a dial reruns this and nothing else; everything in it keeps its identity and is redrawn
in place.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import streamlit as st
from PIL import Image

from odconv import drawings, images
from odconv.atlas import Atlas, Unusual, unusual
from odconv.attention import HEADS, Heads, Settings
from odconv.explain import Explanation
from odconv.ui import components, view
from odconv.ui import engine as engines
from odconv.ui.engine import BusyError, Engine
from odconv.ui.sources import Picture, plain
from odconv.words import say

log = logging.getLogger(__name__)

PHOTO_WIDTH, SEEN_WIDTH = 186, 150  # px; side by side on a phone, too


@st.fragment(key="stage")
def show(engine: Engine, pictures: Sequence[Picture]) -> None:
    """Draw the stage for one of ``pictures``; with several, the visitor chooses which."""
    picture = _shown(pictures)
    settings = view.current().settings
    try:
        answer = engines.answer(engine, [picture], settings)
        trained = engines.answer(engine, [picture], Settings()).explanation
    except BusyError as error:
        st.warning(str(error))
        return
    reference = None if settings == Settings() else trained
    if not np.isfinite(answer.explanation.logits).all():
        st.warning("Under these settings the network's numbers grow beyond all bounds, and it predicts nothing.")
    _photo_and_prediction(engine, picture, answer.explanation, reference)
    if answer.note:
        st.warning(answer.note)
    if not engine.checkpoint.dynamic:
        st.info("This is a static network: its kernels are the same for every picture, so it has no attention to show.")
        return
    _settings(engine, settings)
    layer = _layer(answer.explanation)
    atlas = engines.typical(engine, trained)
    typical = _typical(atlas)
    for sentence in view.notices():
        st.info(sentence)
    st.subheader("The network at a glance", anchor=False)
    if atlas:
        _choose_difference(atlas)
    components.glance(drawings.glance(answer.explanation, reference, layer, typical), _choose_layer)
    if atlas:
        sentence = _most_unusual("en", unusual(trained, atlas))
        st.caption(sentence if reference is None else f"{sentence} {say('en', 'glance.unusual_as_trained')}")
    st.subheader(f"One layer: {layer}", anchor=False)
    components.layer(
        drawings.layer(
            layer,
            answer.explanation.layers[layer],
            None if reference is None else reference.layers[layer],
            engines.costs(engine)[layer.partition("#")[0]],
            typical[layer] if typical else None,
        )
    )
    if not st.session_state.get("dragging"):
        view.write_link()


def _shown(pictures: Sequence[Picture]) -> Picture:
    if len(pictures) == 1:
        return pictures[0]
    titles = [f"{i + 1}\\. {plain(picture.title)}" for i, picture in enumerate(pictures)]
    index = st.pills(
        "Picture shown",
        range(len(titles)),
        default=0,
        required=True,
        format_func=titles.__getitem__,
        key=f"shown-{len(pictures)}",
    )
    return pictures[index]


def _photo_and_prediction(engine: Engine, picture: Picture, record: Explanation, reference: Explanation | None) -> None:
    card = engine.checkpoint.card
    pictures, says = st.columns([5, 6], gap="medium", vertical_alignment="top")
    with pictures.container(horizontal=True, gap="small"):
        photo, seen = _encoded(picture.digest, card.image_size, card.resize, picture.image)
        st.image(photo, plain(picture.title), alt=picture.alt, width=PHOTO_WIDTH)
        st.image(
            seen,
            f"Seen as {card.image_size} × {card.image_size} px",
            alt=f"{picture.alt}, as the network sees it",
            width=SEEN_WIDTH,
        )
    with says:
        st.markdown(f"**What the network says**, of {len(card.classes)} classes")
        components.prediction(drawings.prediction(record, reference, card.classes))


@st.cache_data(max_entries=100, show_spinner=False)
def _encoded(digest: str, size: int, resize: int, _photo: Image.Image) -> tuple[bytes, bytes]:
    """The photo as JPEG and what the network sees as PNG: encoding them at every turn of a dial would take longer than
    the network does."""
    small = _photo.copy()
    small.thumbnail((2 * PHOTO_WIDTH, 2 * PHOTO_WIDTH))
    seen = images.crop(_photo, size, resize).resize((256, 256), Image.Resampling.NEAREST)  # its pixels, not smoothed
    files = BytesIO(), BytesIO()
    small.save(files[0], "JPEG", quality=90)
    seen.save(files[1], "PNG")
    return files[0].getvalue(), files[1].getvalue()


# --- settings ------------------------------------------------------------------------------------------------------


def _settings(engine: Engine, settings: Settings) -> None:
    most = engine.checkpoint.architecture.num_kernels or 1
    heads = [head for head in HEADS if head != "kernel" or most > 1]
    with st.container(border=True):
        components.dials(
            settings.temperature,
            min(settings.kernels or most, most),
            most,
            st.session_state.get("answered", 0),
            lambda turned: _turn(turned, most),
        )
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            view.bound(
                st.segmented_control,
                "Temperature acts on",
                key="tempered",
                value="all" if settings.tempered == HEADS else "kernel",
                then=lambda chosen: _set(tempered=("kernel",) if chosen == "kernel" else HEADS),
                options=["all", "kernel"],
                format_func={"all": "All heads", "kernel": "Kernel only"}.__getitem__,
                required=True,
                disabled=most == 1 and settings.tempered == HEADS,
            )
            view.bound(
                st.segmented_control,
                "Gain of tempered gates",
                key="compensate",
                value=settings.compensate,
                then=lambda chosen: _set(compensate=chosen),
                options=[False, True],
                format_func=["As it comes", "Kept"].__getitem__,
                required=True,
                help="Kept: gates are rescaled to the mean they have at temperature 1. This tells scale from uniformity.",
            )
            view.bound(
                st.segmented_control,
                "Kernels that stay",
                key="keep",
                value=settings.keep,
                then=lambda chosen: _set(keep=chosen),
                options=["strongest", "first"],
                format_func=str.capitalize,
                required=True,
                disabled=most == 1,
                help="Strongest: those with the highest logits, for each picture and layer. First: W1 to Wn, for all alike.",
            )
            view.bound(
                st.pills,
                "Own mean instead of learned",
                key="ablate",
                value=[head for head in settings.ablate if head in heads],
                then=lambda chosen: _set(ablate=tuple(chosen)),
                options=heads,
                format_func=str.capitalize,
                selection_mode="multi",
                help="A chosen head keeps its mean, so the gain stays, and loses its pattern.",
            )
            st.button("Reset", on_click=_reset, disabled=settings == Settings())


def _turn(turned: object, most: int) -> None:
    """A dial was turned, or released; ``turned`` comes from a browser."""
    try:
        temperature = float(turned["temperature"])  # type: ignore[index]
        kernels, seq = int(turned["kernels"]), int(turned["seq"])  # type: ignore[index]
        low, high = view.TEMPERATURES
        if not (low <= temperature <= high and 1 <= kernels <= most):
            raise ValueError("out of range")
    except (TypeError, KeyError, ValueError, OverflowError):
        log.warning("dial: ignored %.100r", turned)
        return
    st.session_state["answered"] = seq
    st.session_state["dragging"] = not turned["released"]  # type: ignore[index]
    view.change(temperature=temperature, kernels=None if kernels == most else kernels)
    if turned["released"]:  # type: ignore[index]
        st.rerun()


def _set(**settings: object) -> None:
    """A setting was chosen: comparison and downloads follow it, too."""
    view.change(**settings)
    st.rerun()


def _reset() -> None:
    view.reset_settings()
    st.rerun()


# --- layers --------------------------------------------------------------------------------------------------------


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


def _most_unusual(language: str, found: Unusual) -> str:
    where = {"head": say(language, f"head.{found.head}"), "layer": found.layer, "pictures": f"{found.pictures:,}"}
    if found.share == 1:
        return say(language, "glance.unusual_all", **where)
    return say(language, "glance.unusual", percent=f"{100 * found.share:.1f}", **where)


def _choose_difference(atlas: Atlas) -> None:
    view.bound(
        st.segmented_control,
        "Attention shown",
        key="difference",
        value=view.current().difference,
        then=lambda chosen: _set(difference=chosen),
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
