"""Where pictures come from, and the choice among them: samples, the visitor's own photos, the camera, stimuli.

One source is offered at a time. The pictures that are looked into can be of several: while pictures are compared, another
source only shows another choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import streamlit as st
from PIL import Image

from odconv import drawings
from odconv.stimuli import STIMULI, clamp_knob, draw
from odconv.ui import cluster, components, text, uploads
from odconv.ui.link import MOST_PICTURES, SOURCES, View
from odconv.ui.pictures import THUMBNAIL, Picture, chosen_samples, sample_picture, samples
from odconv.ui.text import say
from odconv.ui.view import bind, change, current


class Member(NamedTuple):
    """One of the pictures that are looked into."""

    source: str
    id: str  # of a sample, the digest of an own picture, or the name of a stimulus

    @property
    def key(self) -> str:
        """Names it in a browser."""
        return f"{self.source}:{self.id}"


# --- the pictures that are looked into ---------------------------------------------------------------------------------


def members(view: View) -> list[Member]:
    """Which pictures are looked into, at most ``MOST_PICTURES``: by source in the order of ``SOURCES``, then as chosen."""
    chosen = [Member(source, id) for source in SOURCES if source in view.compared for id in _chosen_ids(view, source)]
    return chosen or [Member(view.source, id) for id in _chosen_ids(view, view.source)]


def shown_member(view: View) -> Member:
    """The one of ``members``, of which there is one at least, whose layers are shown."""
    there = members(view)
    return there[min(view.shown, len(there)) - 1]


def is_comparing(view: View) -> bool:
    """Whether a click on a picture adds it to the others; else it replaces them."""
    return view.compare or len(members(view)) > 1


def picture(member: Member, view: View, size: int, kept: str = "drawn") -> Picture:
    """One of the pictures that are looked into.

    Args:
        size: side of a stimulus in px. With the side that the network cuts its square from, nothing of it is enlarged.
        kept: where in the session the stimulus drawn last is kept, for a page that shows two.
    """
    if member.source == "stimuli":
        return _stimulus(view, size, kept)
    return sample_picture(member.id) if member.source == "samples" else uploads.own_pictures(member.source)[member.id]


def pictures(view: View, size: int) -> list[Picture]:
    """All pictures that are looked into, as ``members`` has them; ``size`` as in ``picture``."""
    return [picture(member, view, size) for member in members(view)]


def knob(view: View) -> float:
    """Where the knob of the stimulus stands."""
    return clamp_knob(view.stimulus, view.knob)


def stimulus_photo(view: View) -> Picture | None:
    """The photo that the stimulus is drawn from; None where it needs none."""
    return _last_photo(view) if STIMULI[view.stimulus].needs_photo else None


def _last_photo(view: View) -> Picture:
    """The visitor's own picture, if the last photo that was looked into was one and is still there; else the first chosen sample."""
    source, id = st.session_state.get("last-photo", ("samples", ""))
    own = uploads.own_pictures(source) if source != "samples" else {}
    return own[id] if id in own else sample_picture(chosen_samples(view)[0])


def _stimulus(view: View, size: int, kept: str) -> Picture:
    name, value, photo = view.stimulus, knob(view), stimulus_photo(view)
    digest = f"stimulus:{name}:{value:g}:{size}:{photo.digest if photo else ''}"
    # A blur takes longer than a pass, and each frame of a drag asks.
    if st.session_state.get(kept, ("",))[0] != digest:
        st.session_state[kept] = (digest, draw(name, value, photo.image if photo else None, size))
    image: Image.Image = st.session_state[kept][1]
    title = say(
        "source.drawn", stimulus=say(f"source.stimulus_{name}"), value=drawings.knob_text(text.language(), name, value)
    )
    return Picture(digest, title, title, image, photo.sample if photo else None, drawn=photo is None)


def _chosen_ids(view: View, source: str) -> list[str]:
    """Ids of the chosen pictures of a source, in the order of choice."""
    if source == "samples":
        return chosen_samples(view)
    return [view.stimulus] if source == "stimuli" else uploads.chosen_ids(source)


# --- choosing them -----------------------------------------------------------------------------------------------------


def choose(view: View, size: int) -> list[Picture]:
    """Draw the choice of a source and, under it, the choice among its pictures.

    Args:
        view: what the visitor has chosen so far.
        size: side of a stimulus in px.

    Returns:
        The chosen pictures, as ``members`` has them; none where the visitor has yet to bring one.
    """
    if members(view) and shown_member(view).source != "stimuli":
        st.session_state["last-photo"] = shown_member(view)
    if not view.fixed:
        _choose_source(view)
    if view.source in ("upload", "camera"):
        _offer_uploads(view)  # in no link: where such a picture is asked for, each visitor brings one
    elif not view.fixed:
        (_offer_samples if view.source == "samples" else _offer_stimuli)(view)
    return pictures(view, size)


def _choose_source(view: View) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        bind(
            st.segmented_control,
            say("source.label"),
            key="source",
            value=view.source,
            then=_show_source,
            options={source: say(f"source.{source}") for source in SOURCES},
            required=True,
            label_visibility="collapsed",
        )
        bind(
            st.toggle,
            say("source.compare"),
            key="compare",
            value=is_comparing(view),
            then=lambda on: _switch_comparing(on, view),
            help=say("source.compare_help", most=MOST_PICTURES),
        )


def _show_source(source: str) -> None:
    """Another source is to be offered. While pictures are compared they stay; else those of that source are shown."""
    view = current()
    if is_comparing(view) and members(view):
        _look_into(members(view), shown_member(view), source=source)
    else:
        change(source=source, compared=(), shown=1)


def _adopt(shown: View) -> None:
    """Where a page looks into pictures of its own, since the visitor chose none, those become the visitor's: what is chosen next adds to them or replaces them."""
    if shown.source == current().source and members(shown) != members(current()):
        change(samples=shown.samples, compare=shown.compare, compared=shown.compared, shown=shown.shown)


def _switch_comparing(on: bool, looked_into: View) -> None:
    """The *Several* switch was turned. When comparing ends, the picture that is shown stays, alone, and its source is offered."""
    _adopt(looked_into)
    view = current()
    if on or not members(view):
        change(compare=bool(on))
        return
    shown = shown_member(view)
    for source in ("upload", "camera"):  # so that looking at another source does not compare again
        uploads.choose_ids(source, uploads.chosen_ids(source)[:1])
    change(samples=view.samples[:1])
    _look_into([shown], shown, source=shown.source, compare=False)


def _pick(id: object, shown: View) -> None:
    """A picture that is offered was clicked; ``id`` comes from a browser. ``shown``: what the page looks into."""
    _adopt(shown)
    view = current()
    if not isinstance(id, str) or id not in _available(view):
        return
    picked, there = Member(view.source, id), members(view)
    if picked not in there:
        _add([picked])
    elif is_comparing(view):
        take_out(picked)


def _add(new: Sequence[Member]) -> None:
    """Look into ``new`` pictures of one source, beside those before while comparing. There is one stimulus at most."""
    view = current()
    before = [member for member in members(view) if member not in new] if is_comparing(view) else []
    if new[0].source == "stimuli":
        before = [member for member in before if member.source != "stimuli"]
        if new[0].id != view.stimulus:
            change(knob=None)
    room = MOST_PICTURES - len(new)
    kept = before[len(before) - min(room, len(before)) :]
    _look_into([*kept, *new], new[0], compare=is_comparing(view) or len(new) > 1)


def take_out(member: Member) -> None:
    """Look into the others only. The last one stays."""
    view = current()
    there = members(view)
    shown, others = shown_member(view), [other for other in there if other != member]
    if len(others) in (0, len(there)):
        return
    _look_into(others, shown if shown in others else others[0])


def look_at(member: Member) -> None:
    """Show the layers of one of ``members``."""
    change(shown=members(current()).index(member) + 1)


def look_at_alone(member: Member) -> None:
    """Show the layers of ``member``: of those that are looked into it is one of them, else it takes the place of all."""
    if member in members(current()):
        look_at(member)
    else:
        _look_into([member], member, source=member.source)


def _look_into(chosen: Sequence[Member], shown: Member, **changes: Any) -> None:
    """Look into exactly the ``chosen`` pictures, at least one, and show the layers of ``shown``; make other ``changes``, too."""
    ids = {source: [member.id for member in chosen if member.source == source] for source in SOURCES}
    for source in ("upload", "camera"):
        if ids[source]:
            uploads.choose_ids(source, ids[source])
    if ids["samples"]:
        changes["samples"] = tuple(ids["samples"])
    if ids["stimuli"]:
        changes["stimulus"] = ids["stimuli"][0]
    sources = tuple(source for source in SOURCES if ids[source])
    offered = changes.get("source", current().source)
    change(**{"compare": is_comparing(current())} | changes, compared=() if sources == (offered,) else sources)
    look_at(shown)


def _available(view: View) -> Iterable[str]:
    if view.source == "samples":
        return samples()
    return STIMULI if view.source == "stimuli" else uploads.own_pictures(view.source)


def prompt(view: View) -> str:
    """What to tell a visitor who has chosen a source and has no picture of it yet."""
    return say("source.ask_camera" if view.source == "camera" else "source.ask_upload")


# --- what each source offers -------------------------------------------------------------------------------------------


def _offer(pictures: Iterable[tuple[str, Picture]], view: View, captions: bool = False) -> None:
    entries = [
        {"id": id, "title": one.title, "alt": one.alt, "thumbnail": one.thumbnail, "caption": one.title * captions}
        for id, one in pictures
    ]
    chosen = [member.id for member in members(view) if member.source == view.source]
    components.gallery(entries, chosen, lambda id: _pick(id, view), say("source.gallery"))


def _offer_samples(view: View) -> None:
    _offer(((id, sample_picture(id)) for id in samples()), view)


def _offer_uploads(view: View) -> None:
    uploads.show_loader(view.source, lambda ids: _add([Member(view.source, id) for id in ids]))
    own = uploads.own_pictures(view.source)
    if not own:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        _offer(own.items(), view)
        st.button(
            say("source.forget"), key="forget", on_click=uploads.forget, args=(view.source,), icon=":material/delete:"
        )
    st.caption(say("source.lifetime_cluster" if cluster.named() else "source.lifetime"))


def _offer_stimuli(view: View) -> None:
    photo = _last_photo(view)
    offered = []
    for name, one in STIMULI.items():
        if one.needs_photo and photo.sample is None:
            offered.append((name, _stimulus_offered(name, photo)))  # an own picture is kept in no cache
        else:
            offered.append((name, _known_stimulus(name, photo.sample if one.needs_photo else None, text.language())))
    _offer(offered, view, True)


@st.cache_resource(max_entries=200)
def _known_stimulus(name: str, sample: str | None, language: str) -> Picture:
    return _stimulus_offered(name, sample_picture(sample) if sample else None)


def _stimulus_offered(name: str, photo: Picture | None) -> Picture:
    """What a stimulus looks like; ``photo``: that it is drawn from, None where it needs none."""
    title = say(f"source.stimulus_{name}")
    return Picture(name, title, title, draw(name, STIMULI[name].default, photo.image if photo else None, THUMBNAIL))
