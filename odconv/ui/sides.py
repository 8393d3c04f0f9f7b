"""The comparison of two sides, each any picture, network, settings and layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from odconv import drawings
from odconv.attention import Settings
from odconv.checkpoint import CheckpointError
from odconv.comparison import find_largest
from odconv.drawings import Side, clean_name
from odconv.explain import Explanation
from odconv.stimuli import STIMULI
from odconv.ui import (
    asking,
    components,
    controls,
    dials,
    familiar,
    inference,
    offers,
    other,
    parts,
    photo,
    scene,
    several,
    sidebar,
    sources,
    text,
    view,
)
from odconv.ui import engine as engines
from odconv.ui import knob as knobs
from odconv.ui.devices import BusyError
from odconv.ui.engine import Engine
from odconv.ui.link import SETTINGS, other_settings
from odconv.ui.live import Parse, Turn
from odconv.ui.pictures import Picture
from odconv.ui.text import language, say

PART = "sides"


@dataclass(frozen=True)
class Half:
    """What one side is made of, before its network is asked."""

    engine: Engine
    picture: Picture
    settings: Settings


def intro() -> str:
    """Key of the text that says what the page is."""
    return "sides.intro_fixed" if view.current().fixed else "sides.intro"


def open_network(engine: Engine) -> Engine | None:
    """The network of side B, on the device of side A's; None, with a sentence on the page, where it cannot be used."""
    try:
        return engines.open_engine(other.model(view.current()), engine.device)
    except CheckpointError as error:
        st.error(text.refusal(error))
        return None


def open_layer(engine: Engine, beside: Engine, pictures: Sequence[Picture]) -> None:
    """Open at the layer in which the sides differ most, until the visitor chooses a layer or turns a dial."""
    several.choose_layer(engine, pictures[:1])  # of the pictures of side A, one alone is compared
    chosen = view.current()
    shown = pictures[min(chosen.shown, len(pictures)) - 1]
    halves = (Half(engine, shown, chosen.settings), _half_b(beside))
    try:
        a, b = (inference.ask(half.engine, half.picture, half.settings).explanation for half in halves)
    except BusyError:
        return  # the page says so, and asks again
    largest = find_largest(a, b)
    view.open_at(largest.layer if largest else "")


def _half_b(engine: Engine) -> Half:
    chosen = view.current()
    return Half(engine, other.picture(chosen, engine.checkpoint.card.resize), other_settings(chosen))


@parts.part(PART)
def show(engine: Engine, beside: Engine, pictures: Sequence[Picture]) -> None:
    """Draw both sides and how they differ; it follows a dial while that is dragged.

    Args:
        engine, beside: the networks of side A and side B.
        pictures: those of the visitor's view; side A has the one that is shown.
    """
    offers.show(engine)
    a = Half(engine, photo.choose(engine, pictures), view.current().settings)
    b = _half_b(beside)
    records, busy = _ask(a, b)
    asking.show_busy(asking.Reply(None, busy), PART)
    with st.container(key="screen"):
        left, right = st.columns(2, gap="medium")
        below = st.container()
    sides = _sides(a, b, *records) if records else None
    with left:
        _show_half_a(a, sides)
    with right:
        _show_half_b(b, sides)
    if sides:
        with below:
            _show_differences(engine, *sides)
        _say_more(a, b, *sides)
    _show_rare(engine, beside)
    view.write_link()


def _ask(a: Half, b: Half) -> tuple[tuple[Explanation, Explanation] | None, BusyError | None]:
    """Both records; while others keep a network, those before of the same pictures in the same networks."""
    asked = tuple((half.engine.identity, half.picture.digest) for half in (a, b))
    try:
        one, two = (inference.ask(half.engine, half.picture, half.settings).explanation for half in (a, b))
    except BusyError as error:
        before, records = st.session_state.get("answers-sides", (None, None))
        return (records if before == asked else None), error
    st.session_state["answers-sides"] = (asked, (one, two))
    return (one, two), None


def _sides(a: Half, b: Half, one: Explanation, two: Explanation) -> tuple[Side, Side]:
    wanted, own = view.wanted_layer(), view.current().b.layer
    layer_a = _find_layer(one, wanted)
    layer_b = _find_layer(two, own or layer_a or wanted)
    return tuple(  # type: ignore[return-value]  # two
        Side(record, half.engine.checkpoint.card.classes, layer, half.engine.name)
        for half, record, layer in ((a, one, layer_a), (b, two, layer_b))
    )


def _find_layer(record: Explanation, wanted: str) -> str | None:
    """The layer to show, see ``scene.shown_layer``; None in a static network."""
    return scene.shown_layer(record, wanted) if record.layers else None


# --- the sides ---------------------------------------------------------------------------------------------------------


def _show_half_a(a: Half, sides: tuple[Side, Side] | None) -> None:
    with st.container(key="sides_head_a", horizontal=True, vertical_alignment="center", gap="small"):
        st.subheader("A", anchor=False, width="content")
        if sides and sides[0].layer:
            _choose_layer(list(sides[0].record.layers), sides[0].layer)
    if sides:
        components.side(_side_data("B", a, *sides), key="side_a")
    _show_dials(a, _turn_a(a.engine), "a", _change_a)
    if sources.shown_member(view.current()).source == "stimuli":
        name = view.current().stimulus
        knobs.show_dial(name, sources.knob(view.current()), lambda sent: knobs.parse_turn(sent, name), "knob")


def _show_half_b(b: Half, sides: tuple[Side, Side] | None) -> None:
    with st.container(key="sides_head_b", horizontal=True, vertical_alignment="center", gap="small"):
        st.subheader("B", anchor=False, width="content")
        if not view.current().fixed:
            other.choose_picture()
            other.choose_model()
        if sides and sides[1].layer:
            other.choose_layer(list(sides[1].record.layers))
    if sides:
        components.side(_side_data("A", b, sides[1], sides[0]), key="side_b")
    _show_dials(b, _turn_b(b.engine), "b", _change_b)
    name = view.current().b.picture
    if name in STIMULI:
        knobs.show_dial(str(name), other.knob(view.current()), lambda sent: _turn_knob_b(sent, str(name)), "b_knob")


def _choose_layer(layers: list[str], shown: str) -> None:
    view.bind(
        st.selectbox,
        say("sides.layer_a"),
        key="a_layer",
        value=shown,
        then=view.choose_layer,
        options={name: clean_name(name) for name in layers},
        label_visibility="collapsed",
        width=220,
    )


def _side_data(letter: str, half: Half, own: Side, beside: Side) -> dict[str, Any]:
    picture = {"thumbnail": half.picture.square, "alt": half.picture.alt, "title": half.picture.title}
    return drawings.side_data(language(), letter, own, beside, picture, _caption(half))


def _caption(half: Half) -> str:
    label = clean_name(sidebar.model_labels().get(half.engine.name, half.engine.path.name))
    if not half.engine.checkpoint.dynamic:
        return label
    settings = drawings.describe_settings(language(), half.engine.normalize(half.settings))
    return say("sides.caption", model=label, settings=settings)


def _show_dials(half: Half, parse: Parse, key: str, change: Callable[..., None]) -> None:
    if not half.engine.checkpoint.dynamic:
        st.caption(say("sides.no_dials"))
        return
    with st.container(key=f"{key}_controls", horizontal=True, vertical_alignment="center", gap="small"):
        with st.container():
            dials.show_apart(half.settings, half.engine.num_kernels, parse, key)
        if st.button(say("setting.reset"), key=f"{key}_reset"):
            change(**SETTINGS)
            st.rerun()


def _turn_a(engine: Engine) -> Parse:
    """Side A's dials. Side B stays as it is, and so does the layer that is looked at."""

    def parse(sent: object) -> Turn:
        turn = dials.parse_turn(sent, engine.num_kernels)
        kept = {"b": other.keep_settings(turn.changes), "layer": view.wanted_layer()}
        return Turn(turn.changes | kept, turn.released)

    return parse


def _turn_b(engine: Engine) -> Parse:
    def parse(sent: object) -> Turn:
        turn = dials.parse_turn(sent, engine.num_kernels)
        return Turn({"b": other.change_settings(turn.changes), "layer": view.wanted_layer()}, turn.released)

    return parse


def _turn_knob_b(sent: object, name: str) -> Turn:
    turn = knobs.parse_turn(sent, name)
    changed = {"b": other.change_knob(turn.changes["knob"]), "layer": turn.changes["layer"]}
    return Turn(changed, turn.released)


# --- how they differ ---------------------------------------------------------------------------------------------------


def _show_differences(engine: Engine, a: Side, b: Side) -> None:
    left, right = st.columns([36, 64], gap="medium")
    with left:
        with st.container(key="sides_sentence"):
            st.markdown(f"**{text.escape_markdown(drawings.describe_comparison(language(), a, b))}**")
        if a.layer and b.layer:
            places = {name: engine.checkpoint.place(name) for name in a.record.layers}
            components.differences(drawings.differences_data(language(), a, b, places), _choose_both)
    with right:
        if a.layer or b.layer:
            components.sides(drawings.heads_data(language(), a, b))


def _choose_both(name: object) -> None:
    """A layer was chosen for both sides; ``name`` comes from a browser. Whether there is such a layer is checked later."""
    if isinstance(name, str) and name.isprintable() and len(name) <= 100:
        view.choose_layer(name)
        other.change(layer=None)


def _say_more(a: Half, b: Half, one: Side, two: Side) -> None:
    """What a link asked for and is not here; what the pictures really are; where an own picture is chosen for side B."""
    chosen = view.current()
    if other.lacks_own(chosen):
        st.info(say("sides.no_picture"))
    for letter, side, wanted in (("A", one, chosen.layer), ("B", two, chosen.b.layer or chosen.layer)):
        if side.layer and wanted and side.layer != wanted:
            st.info(text.markdown("sides.no_layer", side=letter, layer=wanted, shown=side.layer))
    for letter, half in (("A", a), ("B", b)):
        try:
            trained = inference.ask(half.engine, half.picture, Settings()).explanation
        except BusyError:
            return
        if sentence := familiar.to_sentence(half.picture, trained.logits, half.engine.checkpoint.card):
            st.caption(say("sides.side_picture", side=letter, sentence=sentence))
    if not chosen.fixed:
        st.caption(say("sides.own_pictures"))


# --- settings that are seldom needed ------------------------------------------------------------------------------------


def _show_rare(engine: Engine, beside: Engine) -> None:
    """Draw the fold with the settings of both sides that are seldom needed, built when it is opened as on Explore."""
    if not (engine.checkpoint.dynamic or beside.checkpoint.dynamic):
        return
    fold = st.expander(say("setting.more"), key="more", on_change="rerun")
    if not fold.open:
        return
    chosen = view.current()
    with fold:
        for letter, one, settings, change in (
            ("A", engine, chosen.settings, _change_a),
            ("B", beside, other_settings(chosen), _change_b),
        ):
            if one.checkpoint.dynamic:
                with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
                    st.markdown(f"**{letter}**", width="content")
                    controls.show_rare(one, settings, change, f"sides_{letter.lower()}_")


def _change_a(**settings: Any) -> None:
    view.change(b=other.keep_settings(settings), **settings)


def _change_b(**settings: Any) -> None:
    view.change(b=other.change_settings(settings))
