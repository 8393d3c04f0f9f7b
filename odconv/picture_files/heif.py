"""The boxes of a HEIC file: which pictures make up the primary one, and what they cost (ISO/IEC 23008-12, 14496-12).

libheif checks the size of each coded picture itself, before it decodes. Checked here are their number, how they are put
together, and how often the file uses the same bytes.
"""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from odconv.picture_files.contents import MAX_PIXELS, MAX_PROFILE, Contents, damaged, limit_parts, rare_storage

_CODED = (b"hvc1", b"hev1")
_TRANSPARENCY = (
    b"urn:mpeg:hevc:2015:auxid:1",
    b"urn:mpeg:avc:2015:auxid:1",
    b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha",
)
_SAMPLES = (1, 1.5, 2, 3)  # per pixel, by chroma format: grey, 4:2:0, 4:2:2, 4:4:4
_MAX_CODED_PIXELS = 2 * MAX_PIXELS  # of all tiles, and of those of the transparency
_MAX_METADATA = 8 * 2**20  # bytes, counted as often as they belong to a picture


@dataclass
class _Meta:
    """The items of a file."""

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)  # item -> kind: a coded picture, a grid of them, EXIF, ...
    lengths: Counter[int] = field(default_factory=Counter)  # item -> bytes
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)  # item -> width and height, px
    samples: dict[int, float] = field(default_factory=dict)  # coded picture -> bytes of its planes, per pixel
    profiles: dict[int, bytes] = field(default_factory=dict)  # item -> ICC profile
    made_of: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))  # item -> its tiles
    auxiliary: defaultdict[int, list[int]] = field(
        default_factory=lambda: defaultdict(list)
    )  # item -> its transparency, ...
    transparency: set[int] = field(default_factory=set)  # the items that are transparency
    described: Counter[int] = field(default_factory=Counter)  # metadata item -> how many pictures it belongs to


def inspect(data: bytes) -> Contents:
    """The contents of the HEIC file ``data``; of many pictures in one file, the primary. ``Contents.data`` is ``data``.

    Raises:
        PictureError: a film, stored in a rare way, in too many parts, damaged or cut short.
    """
    try:
        meta = _read(_Reader(data))
    except (struct.error, IndexError) as error:
        raise damaged("HEIC") from error
    size = meta.sizes.get(meta.primary)
    if size is None or 0 in size:
        raise damaged("HEIC")
    pictures = [meta.primary, *(item for item in meta.auxiliary[meta.primary] if item in meta.transparency)]
    if sum(_coded_pixels(meta, picture) for picture in pictures) > _MAX_CODED_PIXELS:
        raise rare_storage("HEIC")
    metadata = [item for item, kind in meta.kinds.items() if kind not in (*_CODED, b"grid")]
    if sum(meta.lengths[item] * max(1, meta.described[item]) for item in metadata) > _MAX_METADATA:
        raise rare_storage("HEIC")
    transparent = len(pictures) > 1
    coded = [meta.samples[part] for part in _parts(meta, meta.primary)]
    return Contents(
        "HEIC",
        size,
        data,
        decoded_bytes=4 if transparent else 3,
        working_bytes=2.25 * max(coded) + 2 * transparent,  # measured: the planes, and a good copy to turn or convert
        profile=_profile_of(meta),
    )


class _Reader:
    """Walks over a file's boxes, all of which count towards ``MAX_PARTS``."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._count = limit_parts("HEIC", count())

    def step(self) -> None:
        next(self._count)

    def boxes(self, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """The boxes from ``start`` to ``end``: kind, start and end of the body of each."""
        while start + 8 <= end:
            self.step()
            length, kind = struct.unpack_from(">I4s", self.data, start)
            body = start + 8
            if length == 1:
                (length,) = struct.unpack_from(">Q", self.data, body)
                body += 8
            stop = end if length == 0 else start + length
            if not body <= stop <= end:
                raise damaged("HEIC")
            yield kind, body, stop
            start = stop

    def by_kind(self, start: int, end: int) -> dict[bytes, tuple[int, int]]:
        """Kind -> start and end of the body. A box that matters may not come twice: readers differ in which one they take."""
        found: dict[bytes, tuple[int, int]] = {}
        for kind, body, stop in self.boxes(start, end):
            if kind in found and kind in (b"meta", b"pitm", b"iinf", b"iloc", b"iprp", b"iref", b"ipco", b"ipma"):
                raise rare_storage("HEIC")
            found[kind] = body, stop
        return found

    def number(self, place: int, size: int) -> int:
        """The big-endian number in the ``size`` bytes at ``place``."""
        if place + size > len(self.data):
            raise damaged("HEIC")
        return int.from_bytes(self.data[place : place + size], "big")

    def version(self, place: int) -> tuple[int, int]:
        """Version and flags at the start of a full box."""
        return self.number(place, 1), self.number(place + 1, 3)


def _read(reader: _Reader) -> _Meta:
    top = reader.by_kind(0, len(reader.data))
    if b"meta" not in top:
        if b"moov" in top:
            raise rare_storage("HEIC")  # a film without a picture
        raise damaged("HEIC")
    boxes = reader.by_kind(top[b"meta"][0] + 4, top[b"meta"][1])
    if not {b"pitm", b"iinf", b"iloc", b"iprp"} <= set(boxes):
        raise damaged("HEIC")
    meta = _Meta()
    place = boxes[b"pitm"][0]
    meta.primary = reader.number(place + 4, 2 if reader.version(place)[0] == 0 else 4)
    _read_kinds(reader, meta, *boxes[b"iinf"])
    _read_lengths(reader, meta, boxes)
    _read_properties(reader, meta, *boxes[b"iprp"])
    if b"iref" in boxes:
        _read_references(reader, meta, *boxes[b"iref"])
    return meta


def _read_kinds(reader: _Reader, meta: _Meta, start: int, end: int) -> None:
    entries = start + (6 if reader.version(start)[0] == 0 else 8)
    for _, body, stop in reader.boxes(entries, end):
        version = reader.version(body)[0]
        if version < 2:
            raise rare_storage("HEIC")
        wide = 2 if version == 2 else 4
        item, kind = reader.number(body + 4, wide), reader.data[body + 6 + wide : body + 10 + wide]
        texts = reader.data[body + 10 + wide : stop].split(b"\0")  # name; of "mime": content type, content encoding
        if kind == b"mime" and len(texts) > 2 and texts[2]:
            raise rare_storage("HEIC")  # compressed: nobody knows how long it gets
        meta.kinds[item] = kind


def _read_lengths(reader: _Reader, meta: _Meta, boxes: dict[bytes, tuple[int, int]]) -> None:
    """Read how long each item is, and check that all of it is there."""
    place, end = boxes[b"iloc"]
    version = reader.version(place)[0]
    sizes = reader.number(place + 4, 2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    wide = 2 if version < 2 else 4
    items, place = reader.number(place + 6, wide), place + 6 + wide
    for _ in range(items):
        reader.step()
        item, place = reader.number(place, wide), place + wide
        inside = 0  # 0: places are in the file, 1: in the item data box
        if version > 0:
            inside, place = reader.number(place, 2) & 15, place + 2
        place += 2
        base, place = reader.number(place, base_size), place + base_size
        extents, place = reader.number(place, 2), place + 2
        start, stop = boxes.get(b"idat", (0, 0)) if inside == 1 else (0, len(reader.data))
        for _ in range(extents):
            reader.step()
            place += index_size if version > 0 else 0
            offset, place = reader.number(place, offset_size), place + offset_size
            length, place = reader.number(place, length_size), place + length_size
            if place > end or start + base + offset + length > stop:
                raise damaged("HEIC")
            meta.lengths[item] += length or stop - start - base - offset
    if sum(meta.lengths.values()) > 2 * len(reader.data):
        raise rare_storage("HEIC")  # the same bytes again and again


def _read_properties(reader: _Reader, meta: _Meta, start: int, end: int) -> None:
    """Read each item's width, height, samples and profile, and which items are transparency."""
    boxes = reader.by_kind(start, end)
    if not {b"ipco", b"ipma"} <= set(boxes):
        raise damaged("HEIC")
    properties = list(reader.boxes(*boxes[b"ipco"]))
    place, stop = boxes[b"ipma"]
    version, flags = reader.version(place)
    wide, index = (2 if version == 0 else 4), (2 if flags & 1 else 1)
    items, place = reader.number(place + 4, 4), place + 8
    for _ in range(items):
        reader.step()
        item, number = reader.number(place, wide), reader.number(place + wide, 1)
        place += wide + 1
        if place + number * index > stop:
            raise damaged("HEIC")
        for _ in range(number):
            which = reader.number(place, index) & (0x7FFF if index == 2 else 0x7F)
            place += index
            kind, body, end = properties[which - 1] if 0 < which <= len(properties) else (b"", 0, 0)
            if kind == b"ispe":
                meta.sizes.setdefault(item, (reader.number(body + 4, 4), reader.number(body + 8, 4)))
            elif kind == b"hvcC":
                samples = _SAMPLES[reader.number(body + 16, 1) & 3]
                deep = (reader.number(body + 17, 1) | reader.number(body + 18, 1)) & 7
                meta.samples[item] = max(meta.samples.get(item, 0), samples * (2 if deep else 1))
            elif kind == b"colr" and reader.data[body : body + 4] in (b"prof", b"rICC"):
                meta.profiles[item] = reader.data[body + 4 : end]
            elif kind == b"auxC" and reader.data[body + 4 : end].startswith(_TRANSPARENCY):
                meta.transparency.add(item)


def _read_references(reader: _Reader, meta: _Meta, start: int, end: int) -> None:
    wide = 2 if reader.version(start)[0] == 0 else 4
    for kind, body, stop in reader.boxes(start + 4, end):
        source, number = reader.number(body, wide), reader.number(body + wide, 2)
        place = body + wide + 2
        if place + number * wide > stop:
            raise damaged("HEIC")
        for target in (reader.number(at, wide) for at in range(place, place + number * wide, wide)):
            reader.step()
            if kind == b"dimg":
                meta.made_of[source].append(target)
            elif kind == b"auxl":
                meta.auxiliary[target].append(source)
            elif kind == b"cdsc":
                meta.described[source] += 1


def _parts(meta: _Meta, item: int) -> list[int]:
    """The coded pictures that make up a picture: itself, or its tiles.

    Raises:
        PictureError: it is made up otherwise, such as a grid of grids or an overlay.
    """
    parts = meta.made_of[item] if meta.kinds.get(item) == b"grid" else [item]
    if not parts or any(meta.kinds.get(part) not in _CODED for part in parts):
        raise rare_storage("HEIC")
    if any(part not in meta.sizes or part not in meta.samples for part in parts):
        raise damaged("HEIC")
    return parts


def _profile_of(meta: _Meta) -> bytes | None:
    """The ICC profile of the primary picture, or of its first tile where a grid has none."""
    found = [meta.profiles[item] for item in (meta.primary, *meta.made_of[meta.primary][:1]) if item in meta.profiles]
    return found[0] if found and len(found[0]) <= MAX_PROFILE else None


def _coded_pixels(meta: _Meta, item: int) -> int:
    """How many pixels are decoded for a picture."""
    return sum(meta.sizes[part][0] * meta.sizes[part][1] for part in _parts(meta, item))
