"""Edits of the picture that is looked into, and how far attention and prediction follow them."""

from __future__ import annotations

import numpy as np
import streamlit as st

from odconv import drawings
from odconv.attention import Settings
from odconv.edits import BLURS, MOST_DABS, SCALE, TURNS, Dab, PictureEdit, apply_edit, mean_colour
from odconv.ui import components, connection, inference, layer, live, scene, text, view
from odconv.ui.engine import Engine
from odconv.ui.live import Dial, Turn
from odconv.ui.photo import PHOTO_SIDE
from odconv.ui.pictures import Picture, data_uri
from odconv.ui.text import language, say

TURN_STOPS = tuple(float(turn) for turn in range(TURNS[0], TURNS[1] + 1, 5))
BLUR_STOPS = tuple(step / 2 for step in range(int(2 * BLURS[1]) + 1))


def current_edit() -> PictureEdit:
    """What the visitor has chosen to do to the picture."""
    chosen = view.current()
    return PictureEdit(chosen.brush, chosen.turn, chosen.blur, chosen.grey)


def edit(picture: Picture) -> Picture:
    """``picture`` as the visitor has edited it."""
    chosen = current_edit()
    if chosen == PictureEdit():
        return picture
    digest = f"{picture.digest}:{chosen}"
    # Turning and blurring takes as long as a pass, and several parts of the page ask.
    if st.session_state.get("edited", ("",))[0] != digest:
        st.session_state["edited"] = (digest, apply_edit(picture.image, chosen))
    title = say("edit.edited", title=picture.title)
    return Picture(digest, title, say("edit.edited", title=picture.alt), st.session_state["edited"][1])


def show(engine: Engine, picture: Picture) -> None:
    """Draw the brush and the dials, and how far attention follows. ``picture``: as it is without edits.

    Raises:
        BusyError: others have kept the device for too long.
    """
    st.subheader(say("edit.title"), anchor=False)
    st.caption(say("edit.intro"))
    with st.container(key="editing"):
        left, right = st.columns([36, 64], gap="medium")
    with left:
        _show_brush(picture)
        _show_dials()
    with right:
        _show_what_follows(engine, picture)


def _show_brush(picture: Picture) -> None:
    photo, colour, size = _encode(picture)
    components.brush(
        drawings.brush_data(language(), photo, picture.alt, size, colour, view.current().brush),
        live.answered("brush"),
        connection.session(),
        lambda sent: live.receive(sent, parse_brush, "brush"),
    )


def _encode(picture: Picture) -> tuple[str, tuple[int, int, int], tuple[int, int]]:
    """The picture as a data URI, its mean colour and its size; the last result is kept, in this session alone."""
    if st.session_state.get("brushed", ("",))[0] != picture.digest:
        small = picture.image.copy()
        small.thumbnail((PHOTO_SIDE, PHOTO_SIDE))
        encoded = (data_uri(small, "JPEG"), mean_colour(picture.image), small.size)
        st.session_state["brushed"] = (picture.digest, encoded)
    found: tuple[str, tuple[int, int, int], tuple[int, int]] = st.session_state["brushed"][1]
    return found


def _show_dials() -> None:
    chosen = view.current()
    dials = [
        _dial("turn", TURN_STOPS, chosen.turn, "edit.degrees", (-180, -90, 0, 90, 180)),
        _dial("blur", BLUR_STOPS, chosen.blur, "edit.percent", (0, 5, 10)),
    ]
    live.show(dials, parse_turn, "edit_dials")
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        view.bind(
            st.toggle,
            say("edit.grey"),
            key="grey",
            value=chosen.grey,
            then=lambda on: _change_and_rerun(grey=bool(on)),
        )
        st.button(say("edit.reset"), key="edit_reset", on_click=_change_and_rerun, kwargs=vars(PictureEdit()))


def _change_and_rerun(**changes: object) -> None:
    """The map of effects is of the edited picture, too."""
    view.change(**changes)
    st.rerun()


def _dial(name: str, stops: tuple[float, ...], value: float, key: str, marks: tuple[int, ...]) -> Dial:
    def name_of(stop: float) -> str:
        return say(key, value=f"{stop:g}".replace("-", "−"))

    return Dial(
        id=name,
        label=say(f"edit.{name}"),
        stops=stops,
        texts=[name_of(stop) for stop in stops],
        marks=[(mark, name_of(mark)) for mark in marks],
        value=value,
        text=name_of(value),
        nearest=int(np.abs(np.array(stops) - value).argmin()),
    )


def parse_turn(sent: object) -> Turn:
    """Check a message that a browser sent: {changes: {turn: a stop, blur: a stop}, either or both, released}.

    Raises:
        ValueError: it is anything else.
    """
    changes, released = live.parse_message(sent, ("turn", "blur"))
    stops = {"turn": TURN_STOPS, "blur": BLUR_STOPS}
    return Turn({name: live.check_stop(value, stops[name]) for name, value in changes.items()}, released)


def parse_brush(sent: object) -> Turn:
    """Check a message that a browser sent: {changes: {brush: all dabs, [x, y, radius]}, released}.

    Raises:
        ValueError: it is anything else, or there are too many.
    """
    changes, released = live.parse_message(sent, ("brush",))
    dabs = changes.get("brush")
    if not isinstance(dabs, list) or len(dabs) > MOST_DABS:
        raise ValueError("not dabs of the brush")
    for dab in dabs:
        numbers = isinstance(dab, list) and len(dab) == 3 and all(type(number) is int for number in dab)
        if not numbers or not all(0 <= number <= SCALE for number in dab):
            raise ValueError("not a dab of the brush")
    return Turn({"brush": tuple(Dab(*dab) for dab in dabs)}, released)


def _show_what_follows(engine: Engine, picture: Picture) -> None:
    classes = engine.checkpoint.card.classes
    plain = inference.ask(engine, picture, Settings()).explanation
    edited = inference.ask(engine, edit(picture), Settings()).explanation
    with st.container(key="edit_sentence"):
        if current_edit() == PictureEdit():
            best = int(plain.logits[0].argmax())
            was = f"{plain.probabilities[0, best]:.2f}"
            sentence = say("edit.none", name=drawings.first_synonym(classes[best]), was=was)
        else:
            sentence = drawings.describe_edit(language(), plain, edited, classes)
        st.markdown(f"**{text.escape_markdown(sentence)}**")
    name = layer.chosen(plain)
    places = scene.places(engine, plain)
    components.differences(
        drawings.edit_data(language(), plain, edited, classes, name, places), layer.choose, key="edit_map"
    )
