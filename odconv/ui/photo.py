"""The photo, the pixels that the network sees of it, and the prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st
from PIL import Image

from odconv import images
from odconv.card import Card
from odconv.ui import components, keeping, live, scene, several, sources, text, view
from odconv.ui.budget import MIB
from odconv.ui.engine import Engine
from odconv.ui.inference import Answers
from odconv.ui.memo import Memo
from odconv.ui.pictures import Picture, data_uri
from odconv.ui.scene import Scene
from odconv.ui.sources import Member
from odconv.ui.text import say

_samples = Memo(8 * MIB)
PHOTO_SIDE = 520  # px, as wide as a photo is shown on a projector, and twice as wide as on a laptop


def choose(engine: Engine, pictures: Sequence[Picture]) -> Picture:
    """The picture to look into; of several, the visitor chooses one, or takes one out, by its thumbnail.

    A stimulus is drawn with its knob where it stands now: ``pictures`` are those of the last run of the whole page.
    """
    chosen = view.current()
    shown = sources.shown_member(chosen)
    if len(pictures) > 1:
        entries = [
            {
                "id": member.key,
                "title": picture.title,
                "alt": picture.alt,
                "thumbnail": picture.thumbnail,
                "caption": picture.title,
                "out": say("source.take_out", picture=picture.title),
            }
            for member, picture in zip(sources.members(chosen), pictures, strict=True)
        ]
        with st.container(key="chosen", horizontal=True, vertical_alignment="center", gap="medium"):
            components.strip(
                entries, shown.key, say("page.picture_shown"), _with(sources.look_at), _with(sources.take_out)
            )
            if sentence := several.opening():
                st.caption(sentence)
    return looked_at(engine)


def looked_at(engine: Engine) -> Picture:
    """The picture that is looked into, as ``choose`` gives it."""
    chosen = view.current()
    return sources.picture(sources.shown_member(chosen), chosen, engine.checkpoint.card.resize)


def all_looked_at(engine: Engine) -> list[Picture]:
    """All chosen pictures, a stimulus with its knob where it stands now."""
    return sources.pictures(view.current(), engine.checkpoint.card.resize)


def _with(act: Callable[[Member], None]) -> Callable[[str], None]:
    """``act`` on the picture whose key a browser sent, if it is among those that are looked into, and run the whole page."""

    def act_on(key: str) -> None:
        named = [member for member in sources.members(view.current()) if member.key == key]
        if named:
            act(named[0])
            st.rerun()

    return act_on


def show(shown: Scene, answers: Answers | None) -> None:
    """Draw the photo and the prediction; ``answers`` is None where there are none yet."""
    show_picture(shown.engine, shown.picture)
    show_prediction(shown, answers)


def show_picture(engine: Engine, picture: Picture) -> None:
    """Draw the photo and the pixels that the network sees of it."""
    components.photo(_photo(picture, engine.checkpoint.card))


def show_prediction(shown: Scene, answers: Answers | None) -> None:
    """Draw the most likely classes; ``answers`` is None where there are none yet."""
    st.markdown(text.markdown("page.prediction", count=f"{len(shown.engine.checkpoint.card.classes):,}"))
    if answers:
        components.prediction(live.anew(scene.prediction(shown, answers)))


def _photo(picture: Picture, card: Card) -> dict[str, str]:
    """The photo and the network's own pixels as data URIs, with their texts."""
    whole, seen = _encoded(picture, card.image_size, card.resize)
    return {
        "photo": whole,
        "seen": seen,
        "title": picture.title,
        "alt": picture.alt,
        "caption": say("page.seen", size=card.image_size),
        "seen_alt": say("page.seen_alt", picture=picture.alt),
    }


def _encoded(picture: Picture, image_size: int, resize: int) -> tuple[str, str]:
    """The photo, and the network's own pixels, as data URIs.

    Encoding takes as long as half of a pass. So samples are kept for all visitors, and of other pictures the last one in this
    session alone.
    """
    key = (picture.digest, image_size, resize)
    encoded: tuple[str, str]
    if picture.sample is not None:
        encoded = _samples.get(key, keeping.HOUR, lambda: _encode(picture.image, image_size, resize))
        return encoded
    if st.session_state.get("encoded", (None,))[0] != key:
        st.session_state["encoded"] = (key, _encode(picture.image, image_size, resize))
    encoded = st.session_state["encoded"][1]
    return encoded


def _encode(photo: Image.Image, image_size: int, resize: int) -> tuple[str, str]:
    whole = photo.copy()
    whole.thumbnail((PHOTO_SIDE, PHOTO_SIDE))
    return data_uri(whole, "JPEG"), data_uri(images.crop(photo, image_size, resize), "PNG")
