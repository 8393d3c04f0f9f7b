"""The segments of a JPEG file: what its scans hold and cost, and whether all are there (ITU-T T.81)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from struct import unpack_from
from typing import NamedTuple

from odconv.picture_files.contents import MAX_PROFILE, Contents, damaged, limit_parts, orientation_of, rare_storage

_EOI, _SOS, _INTERVAL = 0xD9, 0xDA, 0xDD
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # 8 bits, Huffman or arithmetic coding; not lossless, not hierarchical
_PROGRESSIVE = {0xC2, 0xCA}
_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF}
_TABLES = {0xC4, 0xCC, 0xDB, 0xDD}  # Huffman, arithmetic, quantization, restart interval
_BARE = {0x01, *range(0xD0, 0xD9)}  # markers without a length

# Two bytes and no repetition: any number of fill bytes 0xFF is passed over at the speed of C.
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_END_OF_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # neither a stuffed zero nor a restart
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_FILL = re.compile(rb"\xff+(?=\xff)")


class _Segment(NamedTuple):
    marker: int
    body: bytes
    scan: bytes = b""  # the coded pixels that follow a start of scan


class _Component(NamedTuple):
    horizontal: int  # sampling factors
    vertical: int


def inspect(data: bytes) -> Contents:
    """The contents of the JPEG file ``data``; of many pictures in one file (MPO), the first.

    ``Contents.data`` ends where its last scan does, without an end-of-image marker.

    Raises:
        PictureError: stored in a rare way, in too many parts, damaged or cut short.
    """
    kept = [b"\xff\xd8"]
    seen: set[int] = set()
    profile: list[bytes] = []
    orientation = 1
    frame: bytes | None = None
    progressive = False
    components: dict[int, _Component] = {}
    missing: dict[int, list[int]] = {}  # component -> how many low bits of each coefficient have not come yet
    passes = interval = 0
    for marker, body, scan in limit_parts("JPEG", _segments(data)):
        if marker in _OTHER_FRAMES:
            raise rare_storage("JPEG")
        if marker in _FRAMES:
            if frame is not None:
                raise damaged("JPEG")
            frame, progressive, components = body, marker in _PROGRESSIVE, _read_frame(body)
            missing = {identity: [16] * 64 for identity in components}
        elif marker == _SOS:
            _mark_scan(body, missing, progressive)
            passes += 1
            if interval and len(_RESTART.findall(scan)) < (_units(frame, components, body) - 1) // interval:
                raise damaged("JPEG")
        elif marker == _INTERVAL:
            interval = int.from_bytes(body[:2], "big")
        elif marker == 0xE1 and body.startswith(b"Exif\0\0") and marker not in seen:
            orientation = orientation_of(body[6:])
            seen.add(marker)
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"):
            profile.append(body[12:])
        if marker in _FRAMES or marker in _TABLES or marker == _SOS or (_sets_colours(marker, body, seen)):
            kept += [bytes([0xFF, marker]), (len(body) + 2).to_bytes(2, "big"), body, scan]
    if frame is None or any(any(bits) for bits in missing.values()):
        raise damaged("JPEG")
    height, width = unpack_from(">HH", frame, 1)
    return Contents(
        "JPEG",
        (width, height),
        b"".join(kept),
        working_bytes=_coefficient_bytes(components) if progressive or passes > 1 else 0,
        passes=passes,
        orientation=orientation,
        profile=_join_profile(profile),
    )


def _segments(data: bytes) -> Iterator[_Segment]:
    place = 2
    while (found := _MARKER.search(data, place)) is not None:
        marker, place = data[found.start() + 1], found.end()
        if marker == _EOI:
            return
        if marker in _BARE:
            continue
        length = int.from_bytes(data[place : place + 2], "big")
        end = place + length
        if length < 2 or end > len(data):
            raise damaged("JPEG")
        body, place = data[place + 2 : end], end
        if marker != _SOS:
            yield _Segment(marker, body)
            continue
        after = _END_OF_SCAN.search(data, place)
        end = len(data) if after is None else after.start()
        scan = data[place:end].rstrip(b"\xff")
        yield _Segment(marker, body, _FILL.sub(b"", scan) if b"\xff\xff" in scan else scan)
        place = end


def _read_frame(body: bytes) -> dict[int, _Component]:
    """Component id -> its sampling, from the body of a frame header."""
    if len(body) < 6 or len(body) != 6 + 3 * body[5]:
        raise damaged("JPEG")
    precision, height, width, number = unpack_from(">BHHB", body)
    if precision != 8 or number not in (1, 3, 4):
        raise rare_storage("JPEG")
    components = {
        body[at]: _Component(body[at + 1] >> 4, body[at + 1] & 15) for at in range(6, len(body), 3)
    }  # fmt: skip
    sampled_well = all(1 <= factor <= 4 for component in components.values() for factor in component)
    if not width or not height or len(components) != number or not sampled_well:
        raise damaged("JPEG")
    return components


def _mark_scan(body: bytes, missing: dict[int, list[int]], progressive: bool) -> None:
    """Mark in ``missing`` the bits of coefficients that a scan brings. ``body``: of its start-of-scan segment."""
    number = body[0] if body else 0
    if not number or len(body) != 4 + 2 * number:
        raise damaged("JPEG")
    start, end, bits = body[-3], body[-2], body[-1] & 15
    if not progressive:
        start, end, bits = 0, 63, 0  # some writers leave these bytes at anything, and decoders do not look at them
    if not start <= end <= 63:
        raise damaged("JPEG")
    for identity in body[1 : 1 + 2 * number : 2]:
        if identity not in missing:
            raise damaged("JPEG")
        missing[identity][start : end + 1] = [bits] * (end + 1 - start)


def _units(frame: bytes | None, components: dict[int, _Component], scan: bytes) -> int:
    """The number of units in a scan, as restart intervals count them: blocks of a lone component, or sets of blocks."""
    assert frame is not None  # there is none without components, and then the scan has been refused
    height, width = unpack_from(">HH", frame, 1)
    most = [max(factors) for factors in zip(*components.values(), strict=True)]
    across, down = (8 * factor for factor in most)
    if scan[0] == 1:
        own = components[scan[1]]
        width, height = -(-width * own.horizontal // most[0]), -(-height * own.vertical // most[1])
        across = down = 8
    return -(-width // across) * -(-height // down)


def _coefficient_bytes(components: dict[int, _Component]) -> float:
    """Bytes for each pixel that a decoder keeps until the last scan has come: 2 for each coefficient."""
    sampled = list(components.values())
    largest = max(component.horizontal for component in sampled) * max(component.vertical for component in sampled)
    return 2 * sum(component.horizontal * component.vertical for component in sampled) / largest


def _sets_colours(marker: int, body: bytes, seen: set[int]) -> bool:
    """Whether this is the first JFIF or the first Adobe segment: they tell decoders how colours are stored."""
    tells = (marker == 0xE0 and body.startswith(b"JFIF\0")) or (marker == 0xEE and body.startswith(b"Adobe"))
    if not tells or marker in seen:
        return False
    seen.add(marker)
    return True


def _join_profile(parts: list[bytes]) -> bytes | None:
    """Join an ICC profile from its numbered parts; None where one is missing, or it is longer than ``MAX_PROFILE``."""
    complete = parts and all(len(part) >= 2 and part[1] == len(parts) for part in parts)
    if not complete or sum(map(len, parts)) > MAX_PROFILE:
        return None
    return b"".join(part[2:] for part in sorted(parts, key=lambda part: part[0]))
