"""The chunks of a WebP file (RFC 9649)."""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack

from odconv.picture_files.contents import MAX_PROFILE, Contents, PictureError, damaged, limit_parts, orientation_of

_PIXELS = (b"ALPH", b"VP8 ", b"VP8L", b"ANIM", b"ANMF")
_FLAGS_KEPT = 0x12  # transparency, animation; not: profile, EXIF, XMP


def inspect(data: bytes) -> Contents:
    """The contents of the WebP file ``data``.

    Raises:
        PictureError: animated, in too many parts, damaged or cut short.
    """
    kept: list[bytes] = []
    size: tuple[int, int] | None = None
    frames = 0
    profile: bytes | None = None
    orientation = 1
    for kind, body in limit_parts("WebP", _chunks(data)):
        if kind == b"VP8X" and not kept and len(body) >= 10:
            size = _number(body[4:7]) + 1, _number(body[7:10]) + 1
            kept.append(_chunk(kind, bytes([body[0] & _FLAGS_KEPT, *bytes(3)]) + body[4:10]))
        elif kind in _PIXELS:
            size = size or _read_size(kind, body)
            frames += kind == b"ANMF"
            kept.append(_chunk(kind, body))
        elif kind == b"ICCP" and len(body) <= MAX_PROFILE:
            profile = body
        elif kind == b"EXIF":
            orientation = orientation_of(body[: 2**16].removeprefix(b"Exif\0\0"))
    if frames > 1:
        raise PictureError("picture.animated", kind="WebP", frames=frames)
    if size is None or 0 in size:
        raise damaged("WebP")
    chunks = b"".join(kept)
    return Contents(
        "WebP",
        size,
        b"RIFF" + pack("<I", 4 + len(chunks)) + b"WEBP" + chunks,
        working_bytes=12,  # Pillow decodes as if it were animated: the canvas, the one before it, and a copy
        orientation=orientation,
        profile=profile,
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of every chunk; what follows the RIFF is left out."""
    end = 8 + _number(data[4:8])
    if end > len(data):
        raise damaged("WebP")
    place = 12
    while place + 8 <= end:
        kind, length = data[place : place + 4], _number(data[place + 4 : place + 8])
        place += 8
        if place + length > end:
            raise damaged("WebP")
        yield kind, data[place : place + length]
        place += length + length % 2


def _chunk(kind: bytes, body: bytes) -> bytes:
    return kind + pack("<I", len(body)) + body + bytes(len(body) % 2)


def _read_size(kind: bytes, body: bytes) -> tuple[int, int] | None:
    """Width and height from the header of a lossy or a lossless picture; None for any other chunk."""
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        return _number(body[6:8]) & 0x3FFF, _number(body[8:10]) & 0x3FFF
    if kind == b"VP8L" and body[:1] == b"\x2f" and len(body) >= 5:
        sides = _number(body[1:5])
        return (sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1
    return None


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")
