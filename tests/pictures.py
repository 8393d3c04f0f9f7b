"""Picture files for tests: made by libraries, or put together by hand where no library would."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from odconv.images import PictureError, decode

# Adam7: where each pass starts, and its steps; x first.
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def photo(width=90, height=60):
    """Smooth, so that JPEG keeps it; every pixel unlike its neighbours."""
    row, column = np.mgrid[:height, :width]
    return Image.fromarray(
        np.stack([255 * column / width, 255 * row / height, 128 + 100 * np.sin(column / 9)], -1).astype(np.uint8)
    )


def rough(width=64, height=64, seed=0):
    """Every pixel drawn by itself, so that no part of the file can be missed."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def saved(picture, format, **options):
    stream = BytesIO()
    if format == "HEIF":
        pillow_heif.from_pillow(picture).save(stream, **{"quality": 90, **options})
    else:
        picture.save(stream, format, **options)
    return stream.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth, colour, rows, extra=b"", interlace=0):
    """A PNG; colour: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def interlaced(picture):
    """The filtered rows of all seven passes over an RGB picture."""
    pixels = np.asarray(picture)
    passes = [pixels[top::down, left::across] for left, top, across, down in ADAM7]
    return b"".join(b"\0" + row.tobytes() for part in passes if part.size for row in part)


def box(kind, body):
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full_box(kind, body, version=0):
    return box(kind, struct.pack(">I", version << 24) + body)


def heic(items, properties, belongs, references=(), data=b"", inside=b""):
    """A HEIC by hand; its primary item is 1.

    ``items``: (id, kind, construction, offset, length), offsets into ``data`` (construction 0) or ``inside`` (1);
    ``properties``: boxes; ``belongs``: id -> numbers of its properties from 1 on; ``references``: (kind, from, [to, ...]).
    """
    entries = [full_box(b"infe", struct.pack(">HH4s", id, 0, kind) + b"\0", 2) for id, kind, *_ in items]
    links = b"".join(
        box(kind, struct.pack(">HH", source, len(targets)) + struct.pack(f">{len(targets)}H", *targets))
        for kind, source, targets in references
    )
    associations = struct.pack(">I", len(belongs)) + b"".join(
        struct.pack(">HB", id, len(numbers)) + bytes(128 + number for number in numbers)
        for id, numbers in belongs.items()
    )
    ftyp = box(b"ftyp", b"heic\0\0\0\0mif1heic")

    def meta(start):
        places = [
            struct.pack(">HHHHII", id, where, 0, 1, offset + (0 if where else start), length)
            for id, _, where, offset, length in items
        ]
        return full_box(
            b"meta",
            full_box(b"hdlr", b"\0\0\0\0pict" + bytes(13))
            + full_box(b"pitm", struct.pack(">H", 1))
            + full_box(b"iloc", struct.pack(">BBH", 0x44, 0, len(items)) + b"".join(places), 1)
            + full_box(b"iinf", struct.pack(">H", len(items)) + b"".join(entries))
            + box(b"iprp", box(b"ipco", b"".join(properties)) + full_box(b"ipma", associations))
            + (full_box(b"iref", links) if links else b"")
            + box(b"idat", inside),
        )

    return ftyp + meta(len(ftyp) + len(meta(0)) + 8) + box(b"mdat", data)


def coded(side=64):
    """One HEVC picture of ``side`` x ``side`` px: its configuration box, its size box and its data."""
    data = saved(Image.new("RGB", (side, side), (200, 30, 40)), "HEIF")
    start = data.index(b"hvcC") - 4
    (length,) = struct.unpack_from(">I", data, start)
    return (
        data[start : start + length],
        full_box(b"ispe", struct.pack(">II", side, side)),
        data[data.index(b"mdat") + 4 :],
    )


def profile(space, tags):
    """An ICC profile of version 2, put together by hand; tags: signature -> body. XYZ for RGB and grey, Lab for CMYK."""
    table, bodies, place = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for signature, body in tags.items():
        body += bytes(-len(body) % 4)
        table += struct.pack(">4sII", signature, place + len(bodies), len(body))
        bodies += body
    header = struct.pack(
        ">I4sI4s4s4s12x4s", place + len(bodies), b"\0\0\0\0", 0x02400000, b"prtr" if space == b"CMYK" else b"mntr", space,
        b"Lab " if space == b"CMYK" else b"XYZ ", b"acsp",
    )  # fmt: skip
    header += bytes(28) + struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)  # intent perceptual; D50
    return header + bytes(128 - len(header)) + table + bodies


def xyz(*values):
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def gamma(value):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


def with_right_sums(data):
    """A PNG whose chunks, as far as there are any, have the sums that they should have."""
    fixed, place = data[:8], 8
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        body = data[place + 8 : place + 8 + length]
        fixed += struct.pack(">I", length) + data[place + 4 : place + 8] + body
        fixed += struct.pack(">I", zlib.crc32(data[place + 4 : place + 8] + body))
        place += 12 + length
    return fixed


def good_files():
    """Small files of every kind, way of storage and transparency."""
    grey = profile(b"GRAY", {})
    exif = Image.Exif()
    exif[0x0112] = 6
    exif = exif.tobytes()
    palette = photo(40, 30).quantize(16)
    clear = photo(40, 30).convert("RGBA")
    clear.putalpha(photo(40, 30).convert("L"))
    return [
        saved(photo(40, 30), "JPEG", exif=exif, icc_profile=grey),
        saved(photo(40, 30), "JPEG", progressive=True),
        saved(photo(40, 30).convert("CMYK"), "JPEG", restart_marker_blocks=2),
        saved(photo(40, 30), "MPO", save_all=True, append_images=[photo(40, 30)]),
        saved(photo(40, 30), "PNG", exif=exif, icc_profile=grey),
        saved(palette, "PNG", transparency=bytes(range(16))),
        png(40, 30, 8, 2, interlaced(photo(40, 30)), interlace=1),
        saved(photo(40, 30), "WEBP", exif=exif),
        saved(clear, "WEBP", lossless=True),
        saved(clear, "WEBP"),
        saved(photo(64, 64), "HEIF", exif=exif),
        saved(clear.resize((64, 64)), "HEIF"),
        saved(photo(160, 130), "HEIF", tile_size=64),
    ]


def pixels(picture):
    return np.asarray(picture).astype(int)


def refusal(data):
    with pytest.raises(PictureError) as refused:
        decode(data)
    message = str(refused.value)
    assert message.startswith("This ")
    assert message.endswith(".")
    assert "\n" not in message
    return message
