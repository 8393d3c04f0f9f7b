"""Side B of a comparison: what it shows, how a visitor chooses it, and how the sides change places.

Side A is the visitor's view. Side B is that, but for what ``View.b`` has of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import streamlit as st

from odconv.attention import Settings
from odconv.drawings import clean_name
from odconv.stimuli import STIMULI, clamp_knob
from odconv.ui import engine as engines
from odconv.ui import sidebar, sources, uploads, view
from odconv.ui.link import OTHER_SETTINGS, OWN, SAME, Other, View, as_own, other_settings
from odconv.ui.pictures import Picture, samples
from odconv.ui.sources import Member
from odconv.ui.text import say

AS_A = ""  # the choice of what side A has


# --- what side B is ----------------------------------------------------------------------------------------------------


def model(chosen: View) -> str:
    """The file name of side B's network; ``engines.offered()`` has it."""
    names = engines.offered()
    return next(name for name in (chosen.b.model, chosen.model, engines.opening(), *names) if name in names)


def member(chosen: View) -> Member:
    """Which picture side B shows. An own picture that is no longer there, or was never here, is as none chosen."""
    own = st.session_state.get("own-b")
    if chosen.b.picture == SAME:
        return sources.shown_member(chosen)
    if chosen.b.picture == OWN and own and own.id in uploads.own_pictures(own.source):
        return own
    if chosen.b.picture in samples():
        return Member("samples", str(chosen.b.picture))
    if chosen.b.picture in STIMULI:
        return Member("stimuli", str(chosen.b.picture))
    return _next(chosen)


def lacks_own(chosen: View) -> bool:
    """Whether side B is to show an own picture that is not there: it came from a link, or was deleted."""
    return chosen.b.picture == OWN and member(chosen) == _next(chosen)


def _next(chosen: View) -> Member:
    """Of several pictures that are looked into, the one after A's; else the sample after it."""
    shown, there = sources.shown_member(chosen), sources.members(chosen)
    if len(there) > 1:
        return there[(there.index(shown) + 1) % len(there)]
    ids = list(samples())
    return Member("samples", ids[(ids.index(shown.id) + 1) % len(ids) if shown.source == "samples" else 0])


def knob(chosen: View) -> float:
    """Where the knob of side B's stimulus stands."""
    if chosen.b.picture in STIMULI:
        return clamp_knob(str(chosen.b.picture), chosen.b.knob)
    return sources.knob(chosen)  # side A's stimulus


def picture(chosen: View, size: int) -> Picture:
    """The picture of side B; ``size``: as for ``sources.picture``."""
    shown = member(chosen)
    drawn = replace(chosen, stimulus=shown.id, knob=knob(chosen)) if shown.source == "stimuli" else chosen
    return sources.picture(shown, drawn, size, kept="drawn-b")


# --- changing it -------------------------------------------------------------------------------------------------------


def change(**own: Any) -> None:
    """Give side B something of its own, or with ``None`` what side A has; and run the whole page again."""
    view.change(b=replace(view.current().b, **own))
    st.rerun()


def change_settings(settings: Mapping[str, Any]) -> Other:
    """Side B with these settings of its own; what a dial sends."""
    chosen = view.current()
    return replace(chosen.b, **as_own(replace(other_settings(chosen), **settings), settings))


def keep_settings(names: Mapping[str, Any]) -> Other:
    """Side B, with these settings as they are now of its own: so it stays when side A's are changed."""
    chosen = view.current()
    return replace(chosen.b, **as_own(other_settings(chosen), names))


def change_knob(value: float) -> Other:
    """Side B with the knob of its stimulus turned."""
    return replace(view.current().b, knob=value)


def copy_to_b() -> None:
    """Show on side B what is on side A."""
    view.change(b=Other(picture=SAME))


def copy_to_a() -> None:
    """Show on side A what is on side B."""
    _show_on_a(view.current(), Other(picture=SAME))


def swap() -> None:
    """Let the sides change places."""
    chosen = view.current()
    shown = sources.shown_member(chosen)
    settings = other_settings(chosen)
    differ = [name for name in OTHER_SETTINGS if getattr(settings, name) != getattr(chosen.settings, name)]
    name = chosen.model if chosen.model in engines.offered() else engines.opening()
    if _same_picture(chosen):
        now: dict[str, Any] = {"picture": SAME}
    else:
        now = {"picture": _choice(shown), "knob": sources.knob(chosen) if shown.source == "stimuli" else None}
    other = Other(
        **now,
        model=None if name == model(chosen) else name,
        layer=chosen.layer if chosen.b.layer else None,
        **as_own(chosen.settings, differ),
    )
    _show_on_a(chosen, other)
    if other.picture == OWN:
        st.session_state["own-b"] = shown


def _same_picture(chosen: View) -> bool:
    shown = sources.shown_member(chosen)
    return member(chosen) == shown and (shown.source != "stimuli" or knob(chosen) == sources.knob(chosen))


def _show_on_a(chosen: View, other: Other) -> None:
    """Show on side A what is on side B of the view ``chosen``, and on side B what ``other`` says."""
    shown = member(chosen)
    view.change(
        model=chosen.b.model or chosen.model,
        layer=chosen.b.layer or chosen.layer,
        knob=knob(chosen) if shown.source == "stimuli" else chosen.knob,
        b=other,
        **{known.name: getattr(other_settings(chosen), known.name) for known in fields(Settings)},
    )
    sources.look_at_alone(shown)


def _choice(shown: Member) -> str:
    """A picture as ``Other`` names it."""
    return OWN if shown.source in ("upload", "camera") else shown.id


# --- widgets -----------------------------------------------------------------------------------------------------------


def choose_picture(label: str = "") -> None:
    """Draw the choice of side B's picture: side A's, a sample, a stimulus, or one that the visitor has brought.

    ``label``: to be shown above it; empty: none.
    """
    chosen = view.current()
    own = [Member(source, id) for source in ("upload", "camera") for id in uploads.own_pictures(source)]
    options = {SAME: say("sides.same_picture")}
    options |= {one.key: uploads.own_pictures(one.source)[one.id].title for one in own}
    options |= {Member("samples", id).key: one.title for id, one in samples().items()}
    options |= {Member("stimuli", name).key: say(f"source.stimulus_{name}") for name in STIMULI}
    view.bind(
        st.selectbox,
        label or say("sides.picture"),
        key="b_picture",
        value=SAME if chosen.b.picture == SAME else member(chosen).key,
        then=_pick,
        options=options,
        label_visibility="visible" if label else "collapsed",
    )


def _pick(key: str) -> None:
    if key == SAME:
        change(picture=SAME, knob=None)
        return
    source, _, id = key.partition(":")
    if source in ("upload", "camera"):
        st.session_state["own-b"] = Member(source, id)
        change(picture=OWN, knob=None)
    else:
        change(picture=id, knob=None)


def choose_model() -> None:
    """Draw the choice of side B's network."""
    chosen = view.current()
    view.bind(
        st.selectbox,
        say("sides.model"),
        key="b_model",
        value=chosen.b.model or AS_A,
        then=lambda name: change(model=name or None),
        options={AS_A: say("sides.same_model")} | sidebar.model_labels(),
        label_visibility="collapsed",
    )


def choose_layer(layers: list[str]) -> None:
    """Draw the choice of side B's layer, of its network's ``layers``."""
    chosen = view.current().b.layer
    view.bind(
        st.selectbox,
        say("sides.layer_b"),
        key="b_layer",
        value=chosen if chosen in layers else AS_A,
        then=lambda name: change(layer=name or None),
        options={AS_A: say("sides.same_layer")} | {name: clean_name(name) for name in layers},
        label_visibility="collapsed",
    )
