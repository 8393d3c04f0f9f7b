"""Where pictures come from: samples, the visitor's own photos, the camera, controlled stimuli."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import streamlit as st
from PIL import Image
from streamlit.runtime.scriptrunner import get_script_run_ctx

from odconv import images
from odconv.stimuli import STIMULI, clamp_knob, draw
from odconv.ui import components, text
from odconv.ui.link import MOST_PICTURES, SOURCES, View
from odconv.ui.text import say
from odconv.ui.view import bound, change, current
from odconv.words import SayableError

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parents[2] / "assets" / "samples"
THUMBNAIL = 96  # px
MOST_FILES = 4 * MOST_PICTURES  # of one upload that are looked at, good or bad


@dataclass(frozen=True)
class Picture:
    """One picture to look into. ``digest`` names its pixels in cache keys."""

    digest: str
    title: str
    alt: str
    image: Image.Image


# --- choosing ------------------------------------------------------------------------------------------------------


def choose(view: View, size: int) -> list[Picture]:
    """The choice of a source and, under it, that source's own; the pictures that come of it, at most ``MOST_PICTURES``.

    ``size``: side in px in which stimuli are drawn: what the network cuts its own square from, so that nothing is enlarged.
    """
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        bound(
            st.segmented_control,
            say("source.label"),
            key="source",
            value=view.source,
            then=lambda source: change(source=source, shown=1),
            options={source: say(f"source.{source}") for source in SOURCES},
            required=True,
        )
        if view.source != "stimuli":
            bound(
                st.toggle,
                say("source.compare"),
                key="compare",
                value=comparing(view),
                then=_compare,
                help=say("source.compare_help", most=MOST_PICTURES),
            )
    if view.source == "stimuli":
        return _from_stimuli(view, size)
    if view.source == "samples":
        return _from_samples(view)
    return _from_visitor(view)


def comparing(view: View) -> bool:
    """Whether a click adds a picture and does not replace the one before."""
    return view.compare or (view.source == "samples" and len(view.samples) > 1)


def _compare(on: bool) -> None:
    """Compare or not; when it ends, the picture that is shown stays."""
    view, chosen = current(), _chosen(current())
    one = chosen[min(view.shown, len(chosen)) - 1 :][:1]
    change(compare=bool(on))
    if not on and chosen:
        change(shown=1)
        _keep(view, one)


def _pick(id: object) -> None:
    """A thumbnail was clicked; ``id`` comes from a browser."""
    view = current()
    if not isinstance(id, str) or id not in _available(view):
        return
    chosen = _chosen(view)
    if not comparing(view):
        _keep(view, [id])
    elif id not in chosen:
        _keep(view, [*chosen, id][-MOST_PICTURES:])
    elif len(chosen) > 1:
        _keep(view, [other for other in chosen if other != id])
    change(shown=_chosen(current()).index(id) + 1 if id in _chosen(current()) else 1)


def _available(view: View) -> Iterable[str]:
    return samples() if view.source == "samples" else own_pictures(view.source)


def _chosen(view: View) -> list[str]:
    """Ids of the chosen pictures of a gallery, in the order of choice."""
    if view.source == "samples":
        return chosen_samples(view)
    own = own_pictures(view.source)
    return [id for id in st.session_state.get(f"chosen-{view.source}", []) if id in own] or list(own)[-1:]


def _keep(view: View, ids: Sequence[str]) -> None:
    if view.source == "samples":
        change(samples=tuple(ids))
    else:
        st.session_state[f"chosen-{view.source}"] = list(ids)
        change()


def _gallery(pictures: Iterable[dict[str, str]], chosen: list[str]) -> None:
    components.gallery(list(pictures), chosen, _pick, say("source.gallery"))


def thumbnail(picture: Image.Image) -> str:
    """A small square of ``picture`` as a data URI."""
    return data_uri(images.crop(picture, THUMBNAIL), "JPEG")


def data_uri(picture: Image.Image, kind: str) -> str:
    """``picture`` as JPEG or PNG inside an address, so that it lies on no server for others to fetch."""
    buffer = BytesIO()
    picture.save(buffer, kind, **({"quality": 88} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64," + base64.b64encode(buffer.getvalue()).decode()


# --- samples -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """A picture that comes with the app. ``known``: its class among the bundled network's, or None."""

    id: str
    file: str
    known: str | None

    @property
    def title(self) -> str:
        """Its name in the visitor's language."""
        return say(f"sample.{self._key}")

    @property
    def alt(self) -> str:
        """What there is to see, in the visitor's language."""
        return say(f"sample.{self._key}_alt")

    @property
    def _key(self) -> str:
        return self.id.replace("-", "_")


@st.cache_resource
def samples() -> dict[str, Sample]:
    """Sample id -> Sample, in the order in which they are shown."""
    listed = json.loads((FOLDER / "samples.json").read_text(encoding="utf-8"))
    return {entry["id"]: Sample(**entry) for entry in listed}


def _sample_picture(id: str) -> Picture:
    sample = samples()[id]
    return Picture(f"sample:{id}", sample.title, sample.alt, _sample_image(id))


@st.cache_resource
def _sample_image(id: str) -> Image.Image:
    return images.decode((FOLDER / samples()[id].file).read_bytes())


@st.cache_resource
def _sample_thumbnails() -> dict[str, str]:
    return {id: thumbnail(_sample_image(id)) for id in samples()}


def chosen_samples(view: View) -> list[str]:
    """The ids of the chosen samples; the first sample where none is chosen."""
    return [id for id in view.samples if id in samples()] or list(samples())[:1]


def _from_samples(view: View) -> list[Picture]:
    chosen = chosen_samples(view)
    entries = ({"id": d, "title": p.title, "alt": p.alt} for d, p in samples().items())
    _gallery([entry | {"thumbnail": _sample_thumbnails()[entry["id"]]} for entry in entries], chosen)
    return [_sample_picture(id) for id in chosen]


# --- the visitor's own ---------------------------------------------------------------------------------------------


def own_pictures(source: str) -> dict[str, Picture]:
    """Digest -> picture of all that this visitor has brought from ``source``: a look at other sources loses nothing.

    They live in the session and nowhere else, small and decoded, and go with it.
    """
    return st.session_state.setdefault(f"pictures-{source}", {})


def _from_visitor(view: View) -> list[Picture]:
    source, round_ = view.source, st.session_state.setdefault("upload-round", 0)
    if source == "upload":
        st.file_uploader(
            say("source.photos"),
            type=_endings(st.context.headers.get("User-Agent", "")),
            accept_multiple_files=True,
            key=f"uploads-{round_}",  # a new key empties it: the server holds no file that has been read
            on_change=lambda: _take(source, st.session_state[f"uploads-{round_}"]),
            help=say("source.photos_help", megabytes=images.MAX_BYTES // 2**20, most=MOST_PICTURES),
        )
    else:
        st.camera_input(
            say("source.camera"),
            key="camera",
            on_change=lambda: _take(source, [st.session_state["camera"]]),
            width=420,
        )
    for title, error in st.session_state.get(f"refused-{source}", []):
        reason = error.say(text.language())
        st.error(text.markdown("source.refused", title=title, reason=reason) if title else reason)
    own, chosen = own_pictures(source), _chosen(view)
    if not own:
        return []
    entries = ({"id": d, "title": p.title, "alt": p.alt, "thumbnail": thumbnail(p.image)} for d, p in own.items())
    with st.container(horizontal=True, vertical_alignment="center"):
        _gallery(entries, chosen)
        st.button(say("source.forget"), key="forget", on_click=_forget, args=(source,), icon=":material/delete:")
    st.caption(say("source.lifetime"))
    return [own[digest] for digest in chosen]


def _endings(browser: str) -> list[str]:
    """The endings that the file dialog offers to a browser that names itself so.

    An iPhone or iPad that is not offered HEIC converts its photos to JPEG by itself, which loads faster.
    """
    light = [ending for ending in images.ENDINGS if ending not in ("heic", "heif")]
    return light if re.search("iPhone|iPad", browser) else list(images.ENDINGS)


def _take(source: str, files: Sequence[Any]) -> None:
    """Read what a visitor has brought, keep the good pictures, say why the others were refused, and drop the files."""
    own = own_pictures(source)
    new: list[str] = []
    refused: list[tuple[str, SayableError]] = []
    brought = [file for file in files if file is not None]
    for file in brought[:MOST_FILES]:
        if len(new) == MOST_PICTURES:
            break
        title, data = images.title_of(file.name, say("picture.untitled")), file.getvalue()
        digest = images.digest(data)
        try:
            if digest not in own:
                own[digest] = Picture(digest, title, title, images.decode(data))
            if digest not in new:
                new.append(digest)
        except images.PictureError as error:
            log.warning("picture refused: %s: %s", title, error)
            refused.append((title, error))
    for file in brought:
        _release(file)
    if len(new) + len(refused) < len(brought):
        refused.append(("", SayableError("source.too_many", most=MOST_PICTURES)))
    for digest in [digest for digest in own if digest not in new][: max(0, len(own) - MOST_PICTURES)]:
        del own[digest]
    st.session_state[f"refused-{source}"] = refused
    st.session_state["upload-round"] += 1
    if new:
        before = [digest for digest in _chosen(current()) if digest not in new] if current().compare else []
        chosen = [*before, *new][-MOST_PICTURES:]
        st.session_state[f"chosen-{source}"] = chosen
        change(compare=current().compare or len(new) > 1, shown=chosen.index(new[0]) + 1)


def _release(file: Any) -> None:
    """Drop an uploaded file's bytes at once: its picture has been decoded."""
    context = get_script_run_ctx()
    if context is not None and context.uploaded_file_mgr is not None:
        context.uploaded_file_mgr.remove_file(  # type: ignore[attr-defined]  # of the in-memory manager
            session_id=context.session_id, file_id=file.file_id
        )


def _forget(source: str) -> None:
    for name in ("pictures", "chosen", "refused"):
        st.session_state.pop(f"{name}-{source}", None)
    change(shown=1)


def asked(view: View) -> str:
    """What to tell a visitor who has chosen a source and not yet a picture."""
    return say("source.ask_camera" if view.source == "camera" else "source.ask_upload")


# --- stimuli -------------------------------------------------------------------------------------------------------


def _from_stimuli(view: View, size: int) -> list[Picture]:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        bound(
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
        bound(
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
    photo = _sample_picture(chosen_samples(view)[0]) if stimulus.needs_photo else None
    picture = draw(stimulus.name, knob, photo.image if photo else None, size)
    title = say("source.drawn", stimulus=say(f"source.stimulus_{stimulus.name}"), knob=say(f"source.knob_{stimulus.name}"), value=f"{knob:g}")  # fmt: skip
    return [Picture(f"stimulus:{stimulus.name}:{knob:g}:{size}:{photo.digest if photo else ''}", title, title, picture)]
