"""The parts that all kinds of picture files share: their record, its budgets, and the refusals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import error as StructError
from struct import unpack_from
from typing import TypeVar

from odconv.words import SayableError

MAX_PIXELS = 51_000_000  # as phones make at most: 8160 x 6144 and 8192 x 6144
MAX_PARTS = 10_000  # segments, chunks, boxes and the like; a 10 MiB PNG by libpng has 1,300
MAX_PROFILE = 4 * 2**20  # bytes of an ICC profile; those of presses (CMYK) have up to 3 MB
MAX_WORK = 600_000_000  # passes x pixels: 11 passes over the largest picture, where progressive JPEGs have about 10
MEMORY = 320_000_000  # bytes that decoding one picture may take at once

_Part = TypeVar("_Part")


class PictureError(SayableError):
    """A picture that cannot be shown; the message is one clear sentence for a visitor."""


@dataclass(frozen=True)
class Contents:
    """What one picture file holds."""

    kind: str  # "JPEG", "PNG", "WebP" or "HEIC"
    size: tuple[int, int]  # width, height as stored, px
    data: bytes  # a file of the same kind with only what the pixels need
    decoded_bytes: float = 4  # for each pixel of the decoded picture; Pillow keeps RGB in 4 bytes, too
    working_bytes: float = 0  # for each stored pixel, taken by the decoder beside that
    passes: int = 1  # over all pixels
    orientation: int = 1  # by EXIF, 1..8; 1 is upright
    profile: bytes | None = None  # ICC


def check_budget(contents: Contents, scale: int = 1) -> None:
    """Refuse a picture that would cost too much to decode at 1/``scale`` of its width and height.

    Raises:
        PictureError: too many pixels for the kind and its storage, or too many passes over them.
    """
    width, height = contents.size
    bytes_per_pixel = contents.working_bytes + contents.decoded_bytes / scale**2
    most = min(MAX_PIXELS, int(MEMORY / bytes_per_pixel))
    if width * height > most:
        raise PictureError(
            "picture.too_many_pixels", kind=contents.kind, width=width, height=height, most=most // 1_000_000
        )
    if contents.passes * width * height > MAX_WORK:
        raise PictureError("picture.too_many_passes", kind=contents.kind, passes=contents.passes)


def limit_parts(kind: str, parts: Iterable[_Part]) -> Iterator[_Part]:
    """Iterate over ``parts``.

    Raises:
        PictureError: there are more than ``MAX_PARTS``.
    """
    for number, part in enumerate(parts, 1):
        if number > MAX_PARTS:
            raise PictureError("picture.too_many_parts", kind=kind, most=MAX_PARTS)
        yield part


def damaged(kind: str) -> PictureError:
    """The error for a picture that is damaged or cut short."""
    return PictureError("picture.damaged", kind=kind)


def rare_storage(kind: str) -> PictureError:
    """The error for a picture that is stored in a rare way, which is not read here."""
    return PictureError("picture.rare", kind=kind)


def orientation_of(exif: bytes) -> int:
    """The EXIF orientation, 1..8, from the first directory of a TIFF block; 1 where there is none.

    Pillow's own reader copies what every entry points at: 5,000 entries that point at the same 60 kB take 300 MB.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (start,) = unpack_from(order + "I", exif, 4)
        (entries,) = unpack_from(order + "H", exif, start)
        for place in range(start + 2, start + 2 + 12 * min(entries, MAX_PARTS), 12):
            tag, type_, _, value = unpack_from(order + "HHIH", exif, place)
            if tag == 0x0112:
                return value if type_ == 3 and 1 <= value <= 8 else 1
    except StructError:
        pass  # broken metadata is no reason to refuse a sound picture
    return 1
