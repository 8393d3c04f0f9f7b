"""Untrusted bytes -> RGB picture -> model input.

Everything a visitor uploads comes through :func:`decode`, which shows a picture right or refuses it with one clear
sentence. Nothing here changes Pillow's process-wide settings, so any number of threads may decode at once.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from contextlib import suppress
from io import BytesIO
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

MAX_BYTES = 10 * 2**20
MAX_PIXELS = 51_000_000  # the largest that phones make: 8160 x 6144 and 8192 x 6144
MAX_SCANS = 200  # of a JPEG; a progressive one has about 10. Each passes over all pixels and can be made of a few bytes
KEPT_SIDE = 1024  # the longer side of what is kept, px

_FORMATS = ("JPEG", "PNG", "WEBP")
_SHOWN = {"JPEG": "JPEG", "MPO": "JPEG", "PNG": "PNG", "WEBP": "WebP"}  # a phone's JPEG may open as MPO, many in one
_ALLOWED = "JPEG, PNG and WebP pictures are allowed"
_PIXELS_ALLOWED = f"at most {MAX_PIXELS // 1_000_000} million pixels are allowed"

_SIGNATURES = (  # at the start of a file -> what it is; for the refusals only, Pillow itself decides what a file is
    (rb"\xff\xd8\xff", "a JPEG"),
    (rb"\x89PNG\r\n\x1a\n", "a PNG"),
    (rb"RIFF....WEBP", "a WebP"),
    (rb"GIF8[79]a", "a GIF"),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "a TIFF"),
    (rb"BM", "a BMP"),
    (rb"....ftyp(avif|avis)", "an AVIF"),
    (rb"....ftyp(mif1|msf1|miaf).{4,64}avif", "an AVIF"),
    (rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", "a HEIC"),
    (rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a", "a JPEG XL"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "a JPEG 2000"),
    (rb"(\xef\xbb\xbf)?\s*(<\?xml.{0,1000})?<svg", "an SVG"),
)
_SIGNATURES_RE = tuple((re.compile(pattern, re.DOTALL), kind) for pattern, kind in _SIGNATURES)
_ALLOWED_KINDS = ("a JPEG", "a PNG", "a WebP")
_START_OF_SCAN = re.compile(rb"\xff\xda\x00[\x06\x08\x0a\x0c][\x01-\x04]")

# What Pillow's decoders are known to raise for broken files; warnings too, for where they are turned into errors.
_BROKEN = (
    OSError,  # among them UnidentifiedImageError
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    MemoryError,
    struct.error,
    zlib.error,
    Warning,
)


class PictureError(ValueError):
    """A picture that cannot be shown; the message is one clear sentence for a visitor."""


class Preprocessing(Protocol):
    """How a network wants its pictures; a checkpoint's card has these."""

    @property
    def image_size(self) -> int:
        """Side of the square that the network sees, px."""

    @property
    def resize(self) -> int:
        """What the shorter side becomes before the centre crop, px; at least ``image_size``."""

    @property
    def mean(self) -> tuple[float, float, float]:
        """Of red, green and blue, for values in 0..1."""

    @property
    def std(self) -> tuple[float, float, float]:
        """Of red, green and blue, for values in 0..1."""


def digest(data: bytes) -> str:
    """SHA-256 of ``data`` in hexadecimal: the key under which a picture is cached."""
    return hashlib.sha256(data).hexdigest()


def decode(data: bytes) -> Image.Image:
    """The picture in ``data``: upright, RGB, white where transparent, longer side at most ``KEPT_SIDE``, no metadata.

    JPEG (also CMYK, and the first picture of an MPO), PNG (also with a palette, transparency or 16 bits) and WebP.

    Raises:
        PictureError: empty, not one of these formats, over ``MAX_BYTES`` or ``MAX_PIXELS``, animated, or damaged.
    """
    if not data:
        raise PictureError(f"This file is empty (0 bytes); {_ALLOWED}.")
    if len(data) > MAX_BYTES:
        size, limit = len(data) / 2**20, MAX_BYTES // 2**20
        raise PictureError(f"This file has {size:.1f} MiB; at most {limit} MiB are allowed.")
    picture = _open(data)
    try:
        if picture.format in ("JPEG", "MPO"):
            picture.draft("RGB", (KEPT_SIDE, KEPT_SIDE))  # decodes at 1/2, 1/4 or 1/8 where that is still large enough
        picture.load()  # verify() would let a truncated file pass
        _turn_upright(picture)
        picture = _to_rgb(picture)
        picture.thumbnail((KEPT_SIDE, KEPT_SIDE))
    except _BROKEN as error:
        raise PictureError(_damaged(_SHOWN[picture.format or "PNG"])) from error
    picture.info = {}
    return picture


def crop(picture: Image.Image, size: int, resize: int | None = None) -> Image.Image:
    """What a network sees of an RGB ``picture``: shorter side to ``resize``, then the centre ``size`` x ``size``.

    ``resize``: px, at least ``size``; None: ``size``. Done in one step: the whole of a 1 x 5,000 picture would be huge
    once its shorter side is enlarged. Bilinear with antialiasing, like the authors' preprocessing.
    """
    width, height = picture.size
    side = min(width, height) * size / (resize or size)
    left, top = (width - side) / 2, (height - side) / 2
    return picture.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))


def prepare(picture: Image.Image, card: Preprocessing) -> Tensor:
    """An RGB picture as model input, (1, 3, S, S) float32: cropped, in 0..1, minus mean, over standard deviation."""
    pixels = np.array(crop(picture, card.image_size, card.resize), np.float32) / 255  # (S, S, 3)
    pixels = (pixels - np.array(card.mean, np.float32)) / np.array(card.std, np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()  # (1, 3, S, S)


def _open(data: bytes) -> Image.Image:
    """Header read, no pixel decoded; everything that a header can refuse is refused."""
    try:
        picture = Image.open(BytesIO(data), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        found = re.search(r"(\d+) pixels", str(error))  # Pillow refuses before it hands the size over
        came = f"{int(found[1]) // 1_000_000} million" if found else "far too many"
        raise PictureError(f"This picture has {came} pixels; {_PIXELS_ALLOWED}.") from error
    except _BROKEN as error:
        raise PictureError(_unreadable(data)) from error
    if picture.format not in _SHOWN:
        raise PictureError(f"This is a {picture.format} picture; {_ALLOWED}.")
    kind = _SHOWN[picture.format]
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise PictureError(f"This picture has {width:,} x {height:,} pixels; {_PIXELS_ALLOWED}.")
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":
        raise PictureError(f"This {kind} is animated ({frames:,} frames); only still pictures are allowed.")
    if kind == "JPEG" and len(_START_OF_SCAN.findall(data)) > MAX_SCANS:
        raise PictureError(f"This JPEG is stored in more than {MAX_SCANS} passes; save it again as an ordinary JPEG.")
    return picture


def _unreadable(data: bytes) -> str:
    kind = next((kind for pattern, kind in _SIGNATURES_RE if pattern.match(data)), None)
    if kind is None:
        return f"This file is not a picture that can be read; {_ALLOWED}."
    if kind in _ALLOWED_KINDS:
        return _damaged(kind.split()[1])
    return f"This is {kind} picture; {_ALLOWED}."


def _damaged(kind: str) -> str:
    return f"This {kind} picture is damaged or cut short; only whole pictures can be shown."


def _turn_upright(picture: Image.Image) -> None:
    with suppress(*_BROKEN):  # broken metadata is no reason to refuse a sound picture
        ImageOps.exif_transpose(picture, in_place=True)


def _to_rgb(picture: Image.Image) -> Image.Image:
    """8-bit RGB on white. A new picture, so that nothing of the file's own object stays."""
    if picture.mode.startswith("I"):
        return _scale_16_bits(picture)
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layered = picture.convert("RGBA")
    flat = Image.new("RGB", layered.size, "white")
    flat.paste(layered, mask=layered.getchannel("A"))
    return flat


def _scale_16_bits(picture: Image.Image) -> Image.Image:
    """Grey of 16 bits as RGB. Pillow's own conversion clips at 255, which leaves black and white."""
    grey = np.asarray(picture)
    levels = (grey >> 8).astype(np.uint8)  # the high byte, as Pillow reads colour of 16 bits
    transparent = picture.info.get("transparency")
    if transparent is not None:
        levels[grey == transparent] = 255
    return Image.fromarray(levels).convert("RGB")
