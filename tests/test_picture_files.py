"""Hostile and damaged picture files: refused before a decoder sees them, or shown right; nothing else ever comes out."""

import re
import struct
import subprocess
import sys
import warnings
import zlib
from io import BytesIO
from itertools import product

import numpy as np
import pytest
from PIL import Image

from odconv import decoding
from odconv.images import PictureError, decode
from odconv.picture_files import inspect
from odconv.picture_files.contents import MAX_PARTS, MEMORY, orientation_of
from tests.pictures import (
    box,
    chunk,
    coded,
    full_box,
    good_files,
    heic,
    interlaced,
    photo,
    pixels,
    png,
    refusal,
    rough,
    saved,
    with_right_sums,
)

WEBP_OF_38_BYTES = bytes.fromhex(
    "524946461e000000574542505650384c110000002ffeff09130750e42ad4a3328188e87f0000"  # 16383 x 3112 px
)


@pytest.fixture
def no_decoder(monkeypatch):
    """Fails the test as soon as a decoder is asked for anything."""

    def fail(*arguments, **named):
        raise BaseException("a decoder was asked")  # not Exception: that would only look like damage

    monkeypatch.setattr(Image, "open", fail)
    monkeypatch.setattr(decoding.pillow_heif, "open_heif", fail)


def after_the_start(data, part, times=1):
    """A JPEG with ``part`` after its start of image, or a PNG with it after its header."""
    place = 33 if data.startswith(b"\x89PNG") else 2
    return data[:place] + part * times + data[place:]


def progressive_of(width, height, scans):
    """A grey JPEG whose first scan of details is there ``scans`` times more."""
    data = saved(Image.new("L", (64, 64)), "JPEG", progressive=True)
    starts = [found.start() for found in re.finditer(rb"\xff\xda", data)]
    frame = data.index(b"\xff\xc2")
    many = data[: starts[2]] + data[starts[1] : starts[2]] * scans + data[starts[2] :]
    return many[: frame + 5] + struct.pack(">HH", height, width) + many[frame + 9 :]


def jpeg_of(width, height, **options):
    """A JPEG that says that it has this size; its pixels are those of a small one."""
    data = saved(Image.new(options.pop("mode", "RGB"), (64, 64)), "JPEG", **options)
    frame = re.search(rb"\xff[\xc0\xc2]\x00[\x0b\x11\x14]\x08", data).start()
    return data[: frame + 5] + struct.pack(">HH", height, width) + data[frame + 9 :]


def heic_of(width, height, alpha=False):
    """A HEIC that says that it has this size."""
    data = saved(Image.new("RGBA" if alpha else "RGB", (64, 64)), "HEIF")
    return data.replace(b"ispe" + struct.pack(">III", 0, 64, 64), b"ispe" + struct.pack(">III", 0, width, height))


# --- pixels and memory -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "size", "most"),
    [
        (png(20_000, 20_000, 8, 0, b"\0"), "20,000 x 20,000", 51),
        (png(10_000, 10_000, 8, 0, b"\0"), "10,000 x 10,000", 51),
        (png(8_000, 8_000, 8, 0, b"\0"), "8,000 x 8,000", 51),
        (WEBP_OF_38_BYTES, "16,383 x 3,112", 20),
        (jpeg_of(8192, 6300), "8,192 x 6,300", 51),
        (jpeg_of(8160, 6144, mode="CMYK", progressive=True, subsampling=0), "8,160 x 6,144", 39),
        (heic_of(9000, 6000), "9,000 x 6,000", 50),
        (heic_of(7000, 6000, alpha=True), "7,000 x 6,000", 34),
    ],
)
def test_too_many_pixels_for_the_memory_they_take_are_refused_before_any_is_decoded(no_decoder, data, size, most):
    assert f"picture has {size} pixels; at most {most} million pixels are allowed." in refusal(data)


@pytest.mark.parametrize(("width", "height"), [(8160, 6144), (8192, 6144), (8064, 6048)])
def test_the_largest_that_phones_make_are_within_the_budgets(width, height):
    for data in (jpeg_of(width, height), jpeg_of(width, height, progressive=True), png(width, height, 8, 6, b"\0")):
        contents = inspect(data)
        decoding.check_budget(contents, decoding._scale_on_load(contents))
    decoding.check_budget(inspect(heic_of(8064, 6048)))


@pytest.mark.parametrize("size", [(4000, 3000), (8160, 6144), (3000, 1000), (100, 51_000), (1024, 1024), (7, 5000)])
def test_a_jpeg_is_shrunk_on_load_as_much_as_is_foreseen(size):
    contents = inspect(jpeg_of(*size))
    picture = Image.open(BytesIO(contents.data))
    picture.draft("RGB", decoding._draft_size(size))
    scale = decoding._scale_on_load(contents)
    assert picture.size == tuple(-(-side // scale) for side in size)


def test_no_picture_within_the_limits_takes_more_memory_than_is_allowed(tmp_path):
    (tmp_path / "a.png").write_bytes(rgba_png())
    (tmp_path / "b.webp").write_bytes(webp())
    script = """
import resource, sys
from pathlib import Path
from odconv.images import decode
from tests.pictures import photo, saved
for format in ("PNG", "JPEG", "WEBP"):
    decode(saved(photo(), format))  # what decoders need anyway
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sizes = [decode(path.read_bytes()).size for path in sorted(Path(sys.argv[1]).iterdir())]
print(len(sizes), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""
    # A process starts with the peak of the one that it was started by: a small one in between has none to hand on.
    between = "import subprocess, sys; raise SystemExit(subprocess.call(sys.argv[1:]))"
    command = [sys.executable, "-c", between, sys.executable, "-c", script, str(tmp_path)]
    shown, taken = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert shown == "2"
    assert 100_000_000 < int(taken) < MEMORY + 30_000_000  # what is kept, the file and the allocator's own come on top


def rgba_png():
    """7141 x 7141 px, all clear, in 216 KB."""
    some = bytes(193 * (1 + 4 * 7141))  # rows, a 37th of all; squeezed once
    squeeze = zlib.compressobj(9)
    part = squeeze.compress(some) + squeeze.flush(zlib.Z_FULL_FLUSH)
    start, end = part[:2], squeeze.flush()[:-4]
    rows = start + 37 * part[2:] + end + struct.pack(">I", zlib.adler32(bytes(37 * len(some))))
    data = png(7141, 7141, 8, 6, b"").replace(chunk(b"IDAT", zlib.compress(b"")), chunk(b"IDAT", rows))
    assert len(data) < 220_000
    return data


def webp():
    """The 38-byte file with fewer rows: 16383 x 1220 px, just within the budget. Its size is in bits 14 to 27."""
    bits = int.from_bytes(WEBP_OF_38_BYTES[21:25], "little")
    bits = bits & ~(0x3FFF << 14) | (1219 << 14)
    return WEBP_OF_38_BYTES[:21] + bits.to_bytes(4, "little") + WEBP_OF_38_BYTES[25:]


# --- work --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (after_the_start(saved(photo(), "JPEG"), b"\xff\xe5\0\2", 1_000_000), "picture.too_many_parts"),
        (after_the_start(saved(photo(), "PNG"), chunk(b"tEXt", b"a\0b"), 200_000), "picture.too_many_parts"),
        (b"RIFF" + struct.pack("<I", 4 + 8 * 200_000) + b"WEBP" + b"JUNK\0\0\0\0" * 200_000, "picture.too_many_parts"),
        (saved(photo(), "HEIF") + box(b"free", b"") * 200_000, "picture.too_many_parts"),
        (progressive_of(8160, 6144, 188), "picture.too_many_passes"),
    ],
    ids=["segments", "png chunks", "webp chunks", "boxes", "passes"],
)
def test_what_would_keep_a_decoder_busy_is_refused_before_it_is_asked(no_decoder, data, key):
    with pytest.raises(PictureError) as refused:
        decode(data)
    assert refused.value.key == key


def test_no_more_parts_are_looked_at_than_are_allowed(monkeypatch):
    from odconv.picture_files import png as room

    seen, original = [], zlib.crc32

    def crc32(*arguments):
        seen.append(1)
        return original(*arguments)

    data = after_the_start(saved(photo(), "PNG"), chunk(b"tEXt", b"a\0b"), 3 * MAX_PARTS)
    monkeypatch.setattr(room.zlib, "crc32", crc32)
    refusal(data)
    assert len(seen) <= MAX_PARTS + 1


@pytest.mark.parametrize("where", [2, -2], ids=["before the first segment", "after the last pixel"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}])
def test_fill_bytes_are_never_given_to_a_decoder(monkeypatch, where, options):
    data = saved(photo(), "JPEG", **options)
    given, original = [], Image.open
    monkeypatch.setattr(Image, "open", lambda file, **named: given.append(file.getvalue()) or original(file, **named))
    filled = data[:where] + b"\xff" * 9_900_000 + data[where:]
    assert decode(filled).tobytes() == decode(data).tobytes()
    assert max(map(len, given)) <= len(data)


def test_metadata_are_never_given_to_a_decoder(monkeypatch):
    given, original = [], Image.open
    monkeypatch.setattr(Image, "open", lambda file, **named: given.append(file.getvalue()) or original(file, **named))
    bomb = zlib.compress(bytes(10**7))
    texts = chunk(b"zTXt", b"a\0\0" + bomb) + chunk(b"iTXt", b"a\0\1\0\0\0" + bomb) + chunk(b"iCCP", b"a\0\0" + bomb)
    assert decode(after_the_start(saved(photo(), "PNG"), texts)).tobytes() == photo().tobytes()
    exif = Image.Exif()
    exif[0x010E] = "a secret"
    for format in ("JPEG", "PNG", "WEBP"):
        decode(
            saved(photo(), format, exif=exif.tobytes(), xmp=b"a secret", icc_profile=b"a secret", comment=b"a secret")
        )
    assert len(given) == 4
    assert not any(b"a secret" in file or bomb in file for file in given)


def test_an_exif_block_whose_entries_all_point_at_the_same_bytes_is_read_for_one_number():
    entries = [struct.pack("<HHII", 0x9000 + index, 7, 60_000, 2) for index in range(100)]
    entries.insert(50, struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0))
    exif = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries)
    assert orientation_of(exif) == 6
    assert [orientation_of(exif[:end]) for end in (0, 4, 9, 30)] == [1, 1, 1, 1]
    assert orientation_of(b"MM\0*" + struct.pack(">IHHHIHH", 8, 1, 0x0112, 3, 1, 9, 0)) == 1


# --- HEIC --------------------------------------------------------------------------------------------------------------


def grid(rows, columns, width, height):
    return struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)


def test_a_heic_put_together_by_hand_is_shown():
    configuration, size, data = coded()
    whole = full_box(b"ispe", struct.pack(">II", 128, 128))
    file = heic(
        [(1, b"grid", 1, 0, 8), (2, b"hvc1", 0, 0, len(data))],
        [whole, configuration, size],
        {1: [1], 2: [2, 3]},
        [(b"dimg", 1, [2, 2, 2, 2])],
        data,
        grid(2, 2, 128, 128),
    )
    assert np.abs(pixels(decode(file)) - (200, 30, 40)).max() <= 6


@pytest.mark.parametrize("kind", [b"iovl", b"iden", b"av01", b"jpeg", b"unci"])
def test_a_heic_made_of_anything_but_coded_pictures_and_grids_of_them_is_refused(no_decoder, kind):
    configuration, size, data = coded()
    items = [(1, kind, 0, 0, len(data)), (2, b"hvc1", 0, 0, len(data))]
    file = heic(items, [configuration, size], {1: [1, 2], 2: [1, 2]}, [(b"dimg", 1, [2])], data)
    assert "stored in a way that hardly any program uses" in refusal(file)


def test_a_grid_of_grids_is_refused(no_decoder):
    configuration, size, data = coded()
    items = [(1, b"grid", 1, 0, 8), (2, b"grid", 1, 0, 8), (3, b"hvc1", 0, 0, len(data))]
    links = [(b"dimg", 1, [2, 2]), (b"dimg", 2, [3, 3])]
    file = heic(items, [configuration, size], {1: [2], 2: [2], 3: [1, 2]}, links, data, grid(1, 2, 64, 64))
    assert "hardly any program" in refusal(file)


def test_a_small_heic_of_many_large_tiles_is_refused(no_decoder):
    configuration, small, data = coded()
    large = full_box(b"ispe", struct.pack(">II", 8000, 6000))
    items = [(1, b"grid", 1, 0, 8), (2, b"hvc1", 0, 0, len(data))]
    file = heic(
        items, [configuration, small, large], {1: [2], 2: [1, 3]}, [(b"dimg", 1, [2] * 4)], data, grid(2, 2, 64, 64)
    )
    assert "hardly any program" in refusal(file)


def test_a_heic_that_asks_for_the_same_bytes_again_and_again_is_refused(no_decoder):
    configuration, size, data = coded()
    data += bytes(100_000)
    pictures = [(1, b"hvc1", 0, 0, len(data))]
    belongs = {1: [1, 2]}
    texts = [(id, b"Exif", 0, 0, len(data)) for id in range(2, 30)]
    assert "hardly any program" in refusal(heic(pictures + texts, [configuration, size], belongs, (), data))
    many = [(b"cdsc", 2, [1] * 90)]
    assert "hardly any program" in refusal(heic(pictures + texts[:1], [configuration, size], belongs, many, data))


def test_a_heic_whose_last_tile_is_cut_off_is_refused(no_decoder):
    data = saved(rough(256, 256), "HEIF", tile_size=64)
    assert "This HEIC picture is damaged or cut short" in refusal(data[:-200])


def test_a_film_without_a_picture_is_refused(no_decoder):
    film = box(b"ftyp", b"hevc\0\0\0\0msf1hevc") + box(b"moov", bytes(100))
    assert "This HEIC is stored in a way" in refusal(film)


# --- whole or not ------------------------------------------------------------------------------------------------------

WAYS = [
    {**options, **restarts}
    for options in ({}, {"progressive": True}, {"optimize": True}, {"quality": 30}, {"quality": 98})
    for restarts in ({}, {"restart_marker_blocks": 3}, {"restart_marker_rows": 1})
]


def picture_in(mode, size):
    return rough(*size).convert(mode)


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize(("mode", "subsampling"), [("RGB", 0), ("RGB", 1), ("RGB", 2), ("L", 0), ("CMYK", 0)])
def test_a_whole_jpeg_is_never_refused_and_looks_as_pillow_shows_it(options, mode, subsampling):
    for size in ((1, 1), (8, 8), (16, 16), (17, 9), (1, 70), (33, 64), (130, 47)):
        for picture in (picture_in(mode, size), Image.new(mode, size, "white")):
            data = saved(picture, "JPEG", subsampling=subsampling, **options)
            expected = Image.open(BytesIO(data)).convert("RGB").tobytes()
            for ending in (
                b"",
                b"\xff\xd9",
                b"\0" * 40,
                b"\xff" * 9,
                data,
            ):  # phones write films and more behind the end
                assert decode(data + ending).tobytes() == expected
            assert decode(data[:-2]).tobytes() == expected  # all is there but the marker for the end


def test_a_large_jpeg_is_shown_as_pillow_shows_it_at_the_same_scale():
    for options in ({}, {"progressive": True}):
        data = saved(photo(2300, 2200), "JPEG", **options)
        expected = Image.open(BytesIO(data))
        expected.draft("RGB", (1150, 1100))
        expected.load()
        expected = expected.copy()
        expected.thumbnail((decoding.kept_side(expected.size),) * 2)
        assert np.abs(pixels(decode(data)) - pixels(expected)).max() <= 1


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize(("mode", "subsampling"), [("RGB", 0), ("RGB", 2), ("L", 0), ("CMYK", 0)])
def test_a_jpeg_that_ends_early_but_properly_is_refused(options, mode, subsampling):
    data = saved(picture_in(mode, (160, 120)), "JPEG", subsampling=subsampling, **options)
    start = data.index(b"\xff\xda") + 20
    for share in (0.0, 0.3, 0.5, 0.8, 0.95):
        cut = data[: start + int(share * (len(data) - start))].rstrip(b"\xff")
        assert "This JPEG picture is damaged or cut short" in refusal(cut + b"\xff\xd9"), share
        assert "damaged or cut short" in refusal(cut), share


def test_a_progressive_jpeg_without_its_last_scan_is_refused():
    data = saved(photo(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    tables = data.rindex(b"\xff\xc4", 0, last)
    for cut in (last, tables):
        assert "damaged or cut short" in refusal(data[:cut] + b"\xff\xd9")


KINDS_OF_PNG = [
    (8, 2, 3),
    (16, 2, 6),
    (8, 0, 1),
    (1, 0, 0.125),
    (8, 6, 4),
    (16, 4, 4),
]  # depth, colour, bytes per pixel


@pytest.mark.parametrize(("depth", "colour", "wide"), KINDS_OF_PNG)
@pytest.mark.parametrize("value", [0, 255])
def test_a_png_with_a_row_too_few_is_refused_and_a_whole_one_is_shown(depth, colour, wide, value):
    width, height = 24, 20
    row = b"\0" + bytes([value]) * int(width * wide)
    assert decode(png(width, height, depth, colour, row * height)).size == (width, height)
    assert decode(png(width, height, depth, colour, row * height + b"more")).size == (width, height)
    for rows in (0, 1, height // 2, height - 1):
        assert "This PNG picture is damaged" in refusal(png(width, height, depth, colour, row * rows)), rows
    assert "damaged" in refusal(png(width, height, depth, colour, (row * height)[:-1]))


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 5), (8, 8), (37, 21), (2, 9)])
def test_an_interlaced_png_is_shown_if_all_its_passes_have_come(size):
    picture = rough(*size)
    rows = interlaced(picture)
    assert decode(png(*size, 8, 2, rows, interlace=1)).tobytes() == picture.tobytes()
    for cut in {1, len(rows) // 2, len(rows) - 1} & set(range(1, len(rows))):
        assert "damaged" in refusal(png(*size, 8, 2, rows[:-cut], interlace=1))


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"tRNS", b"tEXt", b"IDAT", b"IEND"])
def test_a_png_with_a_wrong_sum_anywhere_is_refused(kind):
    stored = rough(20, 20).quantize(16)
    data = after_the_start(saved(stored, "PNG", transparency=bytes([9, 255])), chunk(b"tEXt", b"a\0b"))
    place = data.index(kind)
    (length,) = struct.unpack_from(">I", data, place - 4)
    assert decode(data).size == (20, 20)
    sum_ = place + 4 + length
    assert "damaged" in refusal(data[:sum_] + bytes([data[sum_] ^ 1]) + data[sum_ + 1 :])


@pytest.mark.parametrize("palette", [b"", chunk(b"PLTE", b"")])
def test_a_palette_png_without_a_palette_is_refused(palette):
    assert "damaged" in refusal(png(4, 4, 8, 3, bytes(20), palette))


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 80}, {"quality": 80, "alpha": True}])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_webp_that_ends_early_but_properly_is_refused(options, share):
    stored = rough(80, 80)
    if options.pop("alpha", False):
        stored.putalpha(rough(80, 80, seed=1).convert("L"))
    data = saved(stored, "WEBP", **options)
    kind = b"VP8L" if "lossless" in options else b"VP8 "
    place = data.index(kind)
    (length,) = struct.unpack_from("<I", data, place + 4)
    body = data[place + 8 : place + 8 + int(share * length) // 2 * 2]
    cut = data[12:place] + kind + struct.pack("<I", len(body)) + body
    assert "This WebP picture is damaged" in refusal(b"RIFF" + struct.pack("<I", 4 + len(cut)) + b"WEBP" + cut)


# --- anything ----------------------------------------------------------------------------------------------------------


def test_a_changed_file_is_a_picture_or_refused_with_one_sentence_and_nothing_else():
    random = np.random.default_rng(0)
    shown = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for (index, seed), trial in product(enumerate(good_files()), range(60)):
            data = np.frombuffer(seed, np.uint8).copy()
            ends = [min(len(data), 700), len(data)]
            places = random.integers(0, ends[trial % 2], [1, 2, 6][trial % 3])
            data[places] = random.integers(0, 256, len(places))
            data = data.tobytes()
            if trial % 5 == 0:
                start, end = sorted(random.integers(0, len(data), 2))
                data = data[:start] + data[end:] if trial % 2 else data[:end] + data[start:]
            if 4 <= index <= 6:
                data = with_right_sums(data)
            try:
                picture = decode(data)
            except PictureError:
                continue
            shown += 1
            assert picture.mode == "RGB"
            assert max(picture.size) <= decoding.LARGEST_SIDE
    assert shown > 100  # the changes are not all fatal
