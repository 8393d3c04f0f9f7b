"""The chunks of a PNG file, their checksums, and whether all rows are there (W3C PNG, third edition)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from struct import pack, unpack

from odconv.picture_files.contents import (
    MAX_PROFILE,
    Contents,
    PictureError,
    damaged,
    limit_parts,
    orientation_of,
)

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PALETTE = 3
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # Adam7
_STEP = 2**20  # bytes


@dataclass(frozen=True)
class PngContents(Contents):
    """What one PNG file holds."""

    compressed: bytes = b""  # all rows
    row_bytes: int = 0  # of all rows, uncompressed


def inspect(data: bytes) -> PngContents:
    """The contents of the PNG file ``data``.

    Raises:
        PictureError: animated, in too many parts, with a wrong checksum, or cut short.
    """
    kept: dict[bytes, bytes] = {}
    rows: list[memoryview] = []
    profile: bytes | None = None
    orientation = 1
    for kind, body in limit_parts("PNG", _chunks(data)):
        if kind == b"IDAT":
            rows.append(body)
        elif kind == b"acTL" and len(body) == 8 and (frames := int.from_bytes(body[:4], "big")) > 1:
            raise PictureError("picture.animated", kind="PNG", frames=frames)
        elif kind in (b"IHDR", b"PLTE", b"tRNS"):
            kept.setdefault(kind, bytes(body))
        elif kind == b"iCCP" and profile is None:
            profile = _read_profile(bytes(body))
        elif kind == b"eXIf":
            orientation = orientation_of(bytes(body[: 2**16]))
    header = kept.get(b"IHDR", b"")
    if len(header) != 13:
        raise damaged("PNG")
    width, height, depth, colour, _, _, interlace = unpack(">IIBBBBB", header)
    sound = depth in _DEPTHS.get(colour, ()) and 0 < width < 2**31 and 0 < height < 2**31 and interlace < 2
    if not sound or not rows or (colour == _PALETTE and not kept.get(b"PLTE")):
        raise damaged("PNG")
    compressed = b"".join(rows)
    parts = [*kept.items(), (b"IDAT", compressed), (b"IEND", b"")]
    return PngContents(
        "PNG",
        (width, height),
        _SIGNATURE + b"".join(_chunk(kind, body) for kind, body in parts),
        orientation=orientation,
        profile=profile,
        compressed=compressed,
        row_bytes=_row_bytes(width, height, depth * _CHANNELS[colour], bool(interlace)),
    )


def holds_all_rows(contents: PngContents) -> bool:
    """Whether the compressed rows are sound and as many as the height says.

    Takes about as long as decoding does, and ``_STEP`` bytes of memory: check the budget first.
    """
    inflate = zlib.decompressobj()
    missing, waiting = contents.row_bytes, contents.compressed
    try:
        while missing > 0 and not inflate.eof:
            rows = inflate.decompress(waiting, _STEP)
            waiting = inflate.unconsumed_tail
            if not rows and not waiting:
                return False
            missing -= len(rows)
    except zlib.error:
        return False
    return missing <= 0


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and body of every chunk before the end chunk."""
    view, place = memoryview(data), len(_SIGNATURE)
    while True:
        length, kind = int.from_bytes(view[place : place + 4], "big"), data[place + 4 : place + 8]
        end = place + 8 + length
        if end + 4 > len(data) or zlib.crc32(view[place + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise damaged("PNG")
        if kind == b"IEND":
            return
        yield kind, view[place + 8 : end]
        place = end + 4


def _chunk(kind: bytes, body: bytes) -> bytes:
    return pack(">I", len(body)) + kind + body + pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _read_profile(body: bytes) -> bytes | None:
    """The ICC profile in an iCCP chunk: a name, a zero, the method 0, and the compressed profile."""
    _, _, packed = body.partition(b"\0")
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(packed[1:], MAX_PROFILE)
    except zlib.error:
        return None
    return profile if inflate.eof else None


def _row_bytes(width: int, height: int, bits: int, interlaced: bool) -> int:
    """The bytes of all rows, each with its filter byte. ``bits``: of one pixel."""
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits // 8))
    return total
