"""Pictures to look into: their record, their form in the browser, and the samples that come with the app."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path

import streamlit as st
from PIL import Image

from odconv import images
from odconv.ui import text
from odconv.ui.link import View
from odconv.ui.text import say

FOLDER = Path(__file__).parents[2] / "assets" / "samples"
THUMBNAIL = 96  # px
SQUARE = 224  # px


@dataclass(frozen=True)
class Picture:
    """One picture to look into."""

    digest: str  # names its pixels in cache keys
    title: str
    alt: str  # what there is to see, for screen readers
    image: Image.Image  # RGB
    sample: str | None = None  # id of the sample that it shows, sharp or not; None: of none
    drawn: bool = False  # as a stimulus, without a photo

    @cached_property
    def thumbnail(self) -> str:
        """A small square of it as a data URI."""
        return data_uri(images.crop(self.image, THUMBNAIL), "JPEG")

    @cached_property
    def square(self) -> str:
        """A larger square of it as a data URI."""
        return data_uri(images.crop(self.image, SQUARE), "JPEG")


def data_uri(picture: Image.Image, kind: str) -> str:
    """``picture`` as a data URI, so that it lies on no server for others to fetch. ``kind``: "JPEG" or "PNG"."""
    buffer = BytesIO()
    # The smallest PNG takes three times as long as one that is a tenth larger.
    picture.save(buffer, kind, **({"quality": 88} if kind == "JPEG" else {"compress_level": 1}))
    return f"data:image/{kind.lower()};base64," + base64.b64encode(buffer.getvalue()).decode()


# --- samples -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """A picture that comes with the app."""

    id: str
    file: str  # its name in ``FOLDER``
    known: str | None  # its class, where it is one of Tiny-ImageNet's 200
    thousand: tuple[str, ...]  # its classes among ImageNet's thousand, the best first

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
    entries = json.loads((FOLDER / "samples.json").read_text(encoding="utf-8"))
    return {entry["id"]: Sample(**entry | {"thousand": tuple(entry["thousand"])}) for entry in entries}


def sample_picture(id: str) -> Picture:
    """The sample of this id, decoded.

    Raises:
        KeyError: there is no such sample.
    """
    return _sample_picture(id, text.language())


@st.cache_resource
def _sample_picture(id: str, language: str) -> Picture:
    sample = samples()[id]
    return Picture(f"sample:{id}", sample.title, sample.alt, _sample_image(id), id)


@st.cache_resource
def _sample_image(id: str) -> Image.Image:
    return images.decode((FOLDER / samples()[id].file).read_bytes())


def chosen_samples(view: View) -> list[str]:
    """The ids of the chosen samples; the first sample where none is chosen."""
    return [id for id in view.samples if id in samples()] or list(samples())[:1]
