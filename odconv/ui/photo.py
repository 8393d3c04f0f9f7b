"""The photo, what the network sees of it, and what the network says."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import streamlit as st
from PIL import Image

from odconv import drawings, images
from odconv.explain import Explanation
from odconv.ui import components
from odconv.ui.engine import Engine
from odconv.ui.sources import Picture, plain

PHOTO_WIDTH, SEEN_WIDTH = 186, 150  # px; side by side on a phone, too


def choose(pictures: Sequence[Picture]) -> Picture:
    """The picture that is looked into; with several, the visitor chooses which."""
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


def show(engine: Engine, picture: Picture, record: Explanation, reference: Explanation | None) -> None:
    """Draw the photo and the prediction; ``reference``: the untouched network's record, None where settings are the trained ones."""
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
        components.prediction(drawings.prediction_data("en", record, reference, card.classes))


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
