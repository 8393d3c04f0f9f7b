"""Where pictures come from, and the choice among them: samples, the visitor's own photos, the camera, stimuli."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import streamlit as st

from odconv.stimuli import STIMULI, clamp_knob, draw
from odconv.ui import components, uploads
from odconv.ui.link import MOST_PICTURES, SOURCES, View
from odconv.ui.pictures import Picture, chosen_samples, sample_picture, sample_thumbnails, samples, thumbnail
from odconv.ui.text import say
from odconv.ui.view import bind, change, current


def choose(view: View, size: int) -> list[Picture]:
    """Draw the choice of a source and, under it, the choice among its pictures.

    Args:
        view: what the visitor has chosen so far.
        size: side of a stimulus in px. With the side that the network cuts its square from, nothing is enlarged.

    Returns:
        The chosen pictures, at most ``MOST_PICTURES``; none where the visitor has yet to bring one.
    """
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        bind(
            st.segmented_control,
            say("source.label"),
            key="source",
            value=view.source,
            then=lambda source: change(source=source, shown=1),
            options={source: say(f"source.{source}") for source in SOURCES},
            required=True,
        )
        if view.source != "stimuli":
            bind(
                st.toggle,
                say("source.compare"),
                key="compare",
                value=is_comparing(view),
                then=_switch_comparing,
                help=say("source.compare_help", most=MOST_PICTURES),
            )
    if view.source == "stimuli":
        return _from_stimuli(view, size)
    if view.source == "samples":
        return _from_samples(view)
    return _from_uploads(view)


def is_comparing(view: View) -> bool:
    """Whether a click on a picture adds it to the others; else it replaces them."""
    return view.compare or (view.source == "samples" and len(view.samples) > 1)


def _switch_comparing(on: bool) -> None:
    """The *Compare* switch was turned. When comparing ends, the picture that is shown stays chosen."""
    view, chosen = current(), _chosen_ids(current())
    one = chosen[min(view.shown, len(chosen)) - 1 :][:1]
    change(compare=bool(on))
    if not on and chosen:
        change(shown=1)
        _choose_ids(view, one)


def _pick(id: object) -> None:
    """A thumbnail was clicked; ``id`` comes from a browser."""
    view = current()
    if not isinstance(id, str) or id not in _available(view):
        return
    chosen = _chosen_ids(view)
    if not is_comparing(view):
        _choose_ids(view, [id])
    elif id not in chosen:
        _choose_ids(view, [*chosen, id][-MOST_PICTURES:])
    elif len(chosen) > 1:
        _choose_ids(view, [other for other in chosen if other != id])
    change(shown=_chosen_ids(current()).index(id) + 1 if id in _chosen_ids(current()) else 1)


def _available(view: View) -> Iterable[str]:
    return samples() if view.source == "samples" else uploads.own_pictures(view.source)


def _chosen_ids(view: View) -> list[str]:
    """Ids of the chosen pictures of a gallery, in the order of choice."""
    if view.source == "samples":
        return chosen_samples(view)
    return uploads.chosen_ids(view.source)


def _choose_ids(view: View, ids: Sequence[str]) -> None:
    """Choose the pictures of these ids in the source that ``view`` is at."""
    if view.source == "samples":
        change(samples=tuple(ids))
    else:
        uploads.choose_ids(view.source, ids)
        change()


def _gallery(pictures: Iterable[dict[str, str]], chosen: list[str]) -> None:
    components.gallery(list(pictures), chosen, _pick, say("source.gallery"))


def prompt(view: View) -> str:
    """What to tell a visitor who has chosen a source and has no picture of it yet."""
    return say("source.ask_camera" if view.source == "camera" else "source.ask_upload")


# --- what each source offers ---------------------------------------------------------------------------------------


def _from_samples(view: View) -> list[Picture]:
    chosen = chosen_samples(view)
    entries = ({"id": d, "title": p.title, "alt": p.alt} for d, p in samples().items())
    _gallery([entry | {"thumbnail": sample_thumbnails()[entry["id"]]} for entry in entries], chosen)
    return [sample_picture(id) for id in chosen]


def _from_uploads(view: View) -> list[Picture]:
    uploads.show_loader(view.source)
    own, chosen = uploads.own_pictures(view.source), uploads.chosen_ids(view.source)
    if not own:
        return []
    entries = ({"id": d, "title": p.title, "alt": p.alt, "thumbnail": thumbnail(p.image)} for d, p in own.items())
    with st.container(horizontal=True, vertical_alignment="center"):
        _gallery(entries, chosen)
        st.button(
            say("source.forget"), key="forget", on_click=uploads.forget, args=(view.source,), icon=":material/delete:"
        )
    st.caption(say("source.lifetime"))
    return [own[digest] for digest in chosen]


def _from_stimuli(view: View, size: int) -> list[Picture]:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        bind(
            st.selectbox,
            say("source.stimulus"),
            key="stimulus",
            value=view.stimulus,
            then=lambda name: change(stimulus=name, knob=None),
            options={name: say(f"source.stimulus_{name}") for name in STIMULI},
            width=220,
        )
        stimulus = STIMULI[view.stimulus]
        knob = clamp_knob(stimulus.name, stimulus.default if view.knob is None else view.knob)
        bind(
            st.slider,
            say(f"source.knob_{stimulus.name}"),
            key=f"knob_{stimulus.name}",
            value=float(knob),
            then=lambda value: change(knob=clamp_knob(current().stimulus, value)),
            min_value=float(stimulus.low),
            max_value=float(stimulus.high),
            step=float(stimulus.step),
            format="%g",
            width=420,
        )
    photo = sample_picture(chosen_samples(view)[0]) if stimulus.needs_photo else None
    picture = draw(stimulus.name, knob, photo.image if photo else None, size)
    title = say("source.drawn", stimulus=say(f"source.stimulus_{stimulus.name}"), knob=say(f"source.knob_{stimulus.name}"), value=f"{knob:g}")  # fmt: skip
    digest = f"stimulus:{stimulus.name}:{knob:g}:{size}:{photo.digest if photo else ''}"
    return [Picture(digest, title, title, picture, photo.sample if photo else None, drawn=photo is None)]
