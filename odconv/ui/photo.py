"""The photo, the pixels that the network sees of it, and the prediction."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st
from PIL import Image

from odconv import drawings, images
from odconv.card import Card
from odconv.ui import components, controls, text, view
from odconv.ui.engine import Engine
from odconv.ui.inference import Answers
from odconv.ui.pictures import Picture, data_uri
from odconv.ui.text import say

PHOTO_SIDE = 380  # px, twice as large as it is shown, for screens with small pixels


def choose(pictures: Sequence[Picture]) -> Picture:
    """The picture to look into; of several, the visitor chooses one."""
    shown = min(view.current().shown, len(pictures))
    if len(pictures) == 1:
        return pictures[0]
    view.bind(
        st.pills,
        say("page.picture_shown"),
        key="shown",
        value=shown,
        then=lambda position: controls.change_and_rerun(shown=position),
        options={i: f"{i}\\. {text.escape_markdown(picture.title)}" for i, picture in enumerate(pictures, 1)},
        required=True,
    )
    return pictures[shown - 1]


def show(engine: Engine, picture: Picture, answers: Answers | None) -> None:
    """Draw the photo and the prediction; ``answers`` is None where there are none yet."""
    card = engine.checkpoint.card
    left, right = st.columns([5, 6], gap="medium", vertical_alignment="top")
    with left:
        components.photo(_photo(picture, card))
    with right:
        st.markdown(text.markdown("page.prediction", count=len(card.classes)))
        if answers:
            components.prediction(
                drawings.prediction_data(text.language(), answers.now, answers.reference, card.classes)
            )


def _photo(picture: Picture, card: Card) -> dict[str, str]:
    """The photo and the network's own pixels as data URIs, with their texts."""
    whole, seen = _encoded((picture.digest, card.image_size, card.resize), picture.image)
    return {
        "photo": whole,
        "seen": seen,
        "title": picture.title,
        "alt": picture.alt,
        "caption": say("page.seen", size=card.image_size),
        "seen_alt": say("page.seen_alt", picture=picture.alt),
    }


def _encoded(key: tuple[str, int, int], photo: Image.Image) -> tuple[str, str]:
    """The photo, and the network's own pixels, as data URIs. ``key``: digest, ``image_size`` and ``resize``.

    Encoding takes longer than a pass. So the last result is kept, in this session alone.
    """
    if st.session_state.get("encoded", (None,))[0] != key:
        whole = photo.copy()
        whole.thumbnail((PHOTO_SIDE, PHOTO_SIDE))
        seen = images.crop(photo, key[1], key[2])
        st.session_state["encoded"] = (key, (data_uri(whole, "JPEG"), data_uri(seen, "PNG")))
    encoded: tuple[str, str] = st.session_state["encoded"][1]
    return encoded
