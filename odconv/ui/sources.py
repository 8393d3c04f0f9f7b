"""Where pictures come from: samples, upload, camera, controlled stimuli."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import streamlit as st
from PIL import Image

from odconv import images
from odconv.stimuli import STIMULI, draw
from odconv.ui import components
from odconv.ui.view import MOST_PICTURES, SOURCES, View, bound, change, current

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parents[2] / "assets" / "samples"
THUMBNAIL = 96  # px


@dataclass(frozen=True)
class Picture:
    """One picture to look into. ``digest`` names its pixels in cache keys."""

    digest: str
    title: str
    alt: str
    image: Image.Image


@dataclass(frozen=True)
class Sample:
    """A picture that comes with the app. ``known``: its class among the bundled network's, or None."""

    id: str
    title: str
    file: str
    alt: str
    known: str | None


@st.cache_resource
def samples() -> dict[str, Sample]:
    """Sample id -> Sample, in the order in which they are shown."""
    listed = json.loads((FOLDER / "samples.json").read_text(encoding="utf-8"))
    return {entry["id"]: Sample(**entry) for entry in listed}


@st.cache_resource
def _sample_picture(id: str) -> Picture:
    sample = samples()[id]
    return Picture(f"sample:{id}", sample.title, sample.alt, images.decode((FOLDER / sample.file).read_bytes()))


@st.cache_resource
def _thumbnails() -> list[dict[str, str]]:
    return [
        {
            "id": sample.id,
            "title": sample.title,
            "alt": sample.alt,
            "thumbnail": _data_uri(_sample_picture(sample.id).image),
        }
        for sample in samples().values()
    ]


def _data_uri(picture: Image.Image) -> str:
    buffer = BytesIO()
    images.crop(picture, THUMBNAIL).save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def asked(view: View) -> str:
    """What to tell a visitor who has chosen a source and not yet a picture."""
    if view.source == "camera":
        return "Take a picture in the sidebar, and it is shown here."
    return "Upload a photo in the sidebar, and it is shown here. A link to an uploaded photo asks for the photo again."


def choose(view: View, size: int) -> list[Picture]:
    """The source choice and, under it, that source's own; the pictures that come of it, at most ``MOST_PICTURES``.

    ``size``: side in px in which stimuli are drawn: drawn in the size that the network sees, fine patterns do not fade.
    """
    bound(
        st.segmented_control,
        "Pictures from",
        key="source",
        value=view.source,
        then=lambda source: change(source=source),
        options=list(SOURCES),
        format_func=SOURCES.__getitem__,
        required=True,
        width="stretch",
    )
    if view.source == "samples":
        return _from_samples(view)
    if view.source == "upload":
        return _from_upload()
    if view.source == "camera":
        return _from_camera()
    return _from_stimuli(view, size)


def chosen_samples(view: View) -> list[str]:
    """The ids of the chosen samples; the first sample where none is chosen."""
    return [id for id in view.samples if id in samples()] or list(samples())[:1]


def _from_samples(view: View) -> list[Picture]:
    chosen = chosen_samples(view)
    components.gallery(_thumbnails(), chosen, _pick)
    st.caption(
        f"Click to add or remove, up to {MOST_PICTURES} at once. Authors and licences: `assets/samples/CREDITS.md`."
    )
    return [_sample_picture(id) for id in chosen]


def _pick(id: object) -> None:
    if id not in samples():
        return
    chosen = chosen_samples(current())
    if id not in chosen:
        change(samples=tuple([*chosen, str(id)][-MOST_PICTURES:]))
    elif len(chosen) > 1:
        change(samples=tuple(other for other in chosen if other != id))


def _from_upload() -> list[Picture]:
    megabytes = images.MAX_BYTES // 2**20
    files = st.file_uploader(
        "Photos", type=_endings(st.context.headers.get("User-Agent", "")), accept_multiple_files=True, key="uploads",
        help=f"JPEG, PNG or WebP, up to {megabytes} MB each, up to {MOST_PICTURES} at once. They stay in this server's memory.",
    )  # fmt: skip
    if len(files) > MOST_PICTURES:
        st.warning(f"The first {MOST_PICTURES} of {len(files)} pictures are shown.")
    return read(files[:MOST_PICTURES])


def _endings(browser: str) -> list[str]:
    """The endings that the file dialog offers to a browser that names itself so.

    HEIC cannot be shown; it is let in so that the visitor reads why. An iPhone or iPad that is not offered HEIC converts
    its photos to JPEG by itself, so there it stays out.
    """
    shown = ["jpg", "jpeg", "png", "webp", "mpo"]
    return shown if re.search("iPhone|iPad", browser) else [*shown, "heic", "heif"]


def _from_camera() -> list[Picture]:
    shot = st.camera_input("Camera", key="camera")
    return read([shot] if shot else [])


def read(files: Sequence[st.runtime.uploaded_file_manager.UploadedFile]) -> list[Picture]:
    """The pictures in uploaded files; for a file that is none, one sentence on the page and in the log."""
    pictures: dict[str, Picture] = {}
    for file in files:
        data = file.getvalue()
        title = _title(file.name)
        try:
            digest = images.digest(data)
            pictures.setdefault(digest, Picture(digest, title, f"the picture {title}", _decoded(digest, data)))
        except images.PictureError as error:
            log.warning("picture refused: %s: %s", title, error)
            st.error(f"{plain(title)}: {error}")
    return list(pictures.values())


@st.cache_data(max_entries=64, show_spinner=False)
def _decoded(digest: str, _data: bytes) -> Image.Image:
    return images.decode(_data)


def _title(name: str) -> str:
    """A file name made harmless and short: no folders, no control characters."""
    return re.sub(r"[\x00-\x1f\x7f]", "", re.split(r"[/\\]", name)[-1])[:60] or "picture"


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|<>~$:])", r"\\\1", text)


def _from_stimuli(view: View, size: int) -> list[Picture]:
    bound(
        st.selectbox,
        "Stimulus",
        key="stimulus",
        value=view.stimulus,
        then=lambda name: change(stimulus=name, knob=None),
        options=list(STIMULI),
        format_func=str.capitalize,
    )
    stimulus = STIMULI[view.stimulus]
    value = stimulus.default if view.knob is None else view.knob
    value = bound(
        st.slider,
        f"{stimulus.knob} ({stimulus.unit})" if stimulus.unit else stimulus.knob,
        key=f"knob_{stimulus.name}",
        value=float(value),
        then=lambda knob: change(knob=knob),
        min_value=float(stimulus.low),
        max_value=float(stimulus.high),
        step=float(stimulus.step),
        format="%g",
    )
    photo = _sample_picture(chosen_samples(view)[0]) if stimulus.needs_photo else None
    try:
        picture = draw(stimulus.name, value, photo.image if photo else None, size)
    except ValueError as error:
        st.error(str(error))
        return []
    named = f"{stimulus.name}, {stimulus.knob.lower()} {value:g} {stimulus.unit}".strip()
    return [Picture(f"stimulus:{named}:{size}:{photo.digest if photo else ''}", named.capitalize(), named, picture)]
