"""Pictures: shown right, or refused with one clear sentence."""

import hashlib
import struct
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pillow_heif
import pytest
import torch
from PIL import Image, ImageFile

from odconv import decoding
from odconv.images import ENDINGS, MAX_BYTES, PictureError, crop, decode, digest, prepare, title_of
from odconv.stimuli import noise
from tests.pictures import chunk, gamma, photo, pixels, png, profile, refusal, rough, saved, xyz

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


@pytest.mark.parametrize(
    ("format", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 12),
        ("JPEG", {"quality": 95}, 12),
        ("JPEG", {"quality": 95, "progressive": True}, 12),
        ("MPO", {"quality": 95, "save_all": True, "append_images": [Image.new("RGB", (90, 60))]}, 12),
        ("HEIF", {"quality": 95, "chroma": 444}, 12),
    ],
)
def test_a_picture_comes_back_as_it_went_in(format, options, tolerance):
    picture = decode(saved(photo(), format, **options))
    assert (picture.mode, picture.size) == ("RGB", (90, 60))
    assert np.abs(pixels(picture) - pixels(photo())).max() <= tolerance


# Where a 2 x 2 block picture's corners go, by the EXIF standard: what is stored -> what is seen.
#   stored  R G     (upper left, upper right, lower left, lower right)
#           B W
UPRIGHT = {
    1: (RED, GREEN, BLUE, WHITE),
    2: (GREEN, RED, WHITE, BLUE),
    3: (WHITE, BLUE, GREEN, RED),
    4: (BLUE, WHITE, RED, GREEN),
    5: (RED, BLUE, GREEN, WHITE),
    6: (BLUE, RED, WHITE, GREEN),
    7: (WHITE, GREEN, BLUE, RED),
    8: (GREEN, WHITE, RED, BLUE),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_a_picture_taken_with_the_camera_turned_is_shown_upright(format, orientation):
    stored = Image.new("RGB", (48, 32))
    for colour, corner in zip((RED, GREEN, BLUE, WHITE), [(0, 0), (24, 0), (0, 16), (24, 16)], strict=True):
        stored.paste(colour, (*corner, corner[0] + 24, corner[1] + 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    seen = decode(saved(stored, format, exif=exif.tobytes(), quality=95))
    assert seen.size == ((48, 32) if orientation < 5 else (32, 48))
    right, bottom = seen.width - 5, seen.height - 5
    corners = [seen.getpixel(place) for place in [(4, 4), (right, 4), (4, bottom), (right, bottom)]]
    assert np.abs(np.subtract(corners, UPRIGHT[orientation])).max() <= 12


def test_grey_of_16_bits_is_scaled_and_keeps_its_levels():
    ramp = np.tile(np.linspace(0, 65535, 512).astype(np.uint16), (8, 1))
    picture = decode(saved(Image.fromarray(ramp), "PNG"))
    assert len(np.unique(np.asarray(picture))) > 200
    assert np.abs(pixels(picture)[..., 0] - ramp / 257).max() <= 1


def test_colour_of_16_bits_is_scaled_and_keeps_its_levels():
    ramp = np.linspace(0, 65535, 512).astype(np.uint16)
    colours = np.stack([ramp, ramp[::-1], np.full(512, 32768)], -1).astype(">u2")  # (512, 3)
    picture = decode(png(512, 1, 16, 2, b"\0" + colours.tobytes()))
    assert len(np.unique(np.asarray(picture)[..., 0])) > 200
    assert np.abs(pixels(picture)[0] - colours.astype(int) / 257).max() <= 1


def test_grey_of_16_bits_with_a_transparent_level_shows_white_there():
    data = png(2, 1, 16, 0, b"\0" + struct.pack(">2H", 1000, 20000), chunk(b"tRNS", struct.pack(">H", 1000)))
    assert pixels(decode(data))[0].tolist() == [[255] * 3, [78] * 3]


def test_grey_of_16_bits_with_alpha_lies_on_white():
    data = png(2, 1, 16, 4, b"\0" + struct.pack(">4H", 0, 32768, 20000, 65535))
    assert np.abs(pixels(decode(data))[0] - [[127] * 3, [78] * 3]).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "CMYK"])
def test_pictures_without_rgb_get_their_colours(mode):
    stored = Image.new("RGB", (16, 16), BLUE if mode == "CMYK" else WHITE).convert(mode)
    data = saved(stored, "JPEG" if mode == "CMYK" else "PNG")
    assert np.abs(pixels(decode(data)) - (BLUE if mode == "CMYK" else WHITE)).max() <= 3


def test_half_transparent_red_lies_on_white():
    picture = decode(saved(Image.new("RGBA", (4, 4), (255, 0, 0, 128)), "PNG"))
    assert np.abs(pixels(picture) - (255, 127, 127)).max() <= 1


def test_a_palette_with_transparency_lies_on_white():
    stored = Image.new("P", (3, 1))
    stored.putpalette([*RED, *GREEN, *BLUE])
    stored.putdata([0, 1, 2])
    data = saved(stored, "PNG", transparency=bytes([255, 0, 128]))
    assert np.abs(pixels(decode(data))[0] - [RED, WHITE, (127, 127, 255)]).max() <= 1


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_one_pixel_is_a_picture(format):
    assert decode(saved(Image.new("RGB", (1, 1), WHITE), format)).size == (1, 1)


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("size", "kept"),
    [((3000, 2250), (640, 480)), ((2000, 2000), (640, 640)), ((1000, 3000), (320, 960)), ((3000, 500), (1024, 171))],
)
def test_a_large_picture_is_kept_small_in_its_shape_and_a_long_one_not_too_narrow(format, size, kept):
    picture = decode(saved(photo(*size), format))
    assert picture.size == kept
    assert np.abs(pixels(picture) - pixels(photo(*size).resize(picture.size, Image.Resampling.BOX))).mean() < 3


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_nothing_but_pixels_is_kept(format):
    exif = Image.Exif()
    exif[0x010E] = "a secret"
    data = saved(photo(), format, exif=exif, xmp=b"<x>a secret</x>", icc_profile=b"a secret")
    picture = decode(data)
    assert b"a secret" in data
    assert type(picture) is Image.Image
    assert picture.info == {}
    assert not picture.getexif()


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_broken_metadata_does_not_hide_a_sound_picture(format):
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(range(200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert decode(saved(photo(), format, exif=exif)).size == (90, 60)


def test_an_empty_file_is_refused():
    assert "empty (0 bytes); JPEG, PNG, WebP and HEIC" in refusal(b"")


def test_a_file_over_the_limit_is_refused_before_it_is_read():
    assert "has 10.5 MiB; at most 10 MiB" in refusal(saved(photo(), "PNG") + bytes(MAX_BYTES + 2**19))


@pytest.mark.parametrize("data", [b"hello " * 99, b"%PDF-1.7 ...", b"PK\3\4 ...", b"\0", bytes(range(256))])
def test_a_file_that_is_no_picture_is_refused_whatever_its_name(data):
    assert "not a picture that can be read; JPEG, PNG, WebP and HEIC" in refusal(data)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "AVIF"])
def test_pictures_of_other_kinds_are_refused_by_name(kind):
    expected = f"This picture is of the kind {kind}; JPEG, PNG, WebP and HEIC pictures are allowed."
    assert refusal(saved(photo(), kind)) == expected


def test_an_avif_that_calls_itself_heif_first_is_refused_by_name():
    brands = b"mif1\0\0\0\0mif1avif"
    assert "of the kind AVIF" in refusal(struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + bytes(64))


@pytest.mark.parametrize(("format", "kind"), [("JPEG", "JPEG"), ("PNG", "PNG"), ("WEBP", "WebP"), ("HEIF", "HEIC")])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
def test_a_picture_cut_short_is_refused_and_not_filled_up(format, kind, share):
    data = saved(rough(), format)
    assert f"This {kind} picture is damaged or cut short" in refusal(data[: int(len(data) * share)])
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize(("format", "kind"), [("PNG", "PNG"), ("WEBP", "WebP")])
def test_an_animated_picture_is_refused(format, kind):
    frames = [photo(), photo().rotate(180), photo().rotate(90)]
    data = saved(frames[0], format, save_all=True, append_images=frames[1:], duration=50)
    assert f"This {kind} is animated (3 frames)" in refusal(data)


def test_many_threads_decode_alike():
    files = [saved(photo(200 + index, 150), "JPEG") for index in range(8)] * 4
    alone = [decode(data).tobytes() for data in files]
    with ThreadPoolExecutor(8) as threads:
        assert [picture.tobytes() for picture in threads.map(decode, files)] == alone


def test_pictures_are_decoded_one_at_a_time_whoever_asks(monkeypatch):
    opened, most, lock, original = 0, 0, threading.Lock(), decoding._flatten

    def flatten(*arguments):
        nonlocal opened, most
        with lock:
            opened += 1
            most = max(most, opened)
        small = original(*arguments)
        with lock:
            opened -= 1
        return small

    monkeypatch.setattr(decoding, "_flatten", flatten)
    files = [saved(photo(300 + index, 250), "PNG") for index in range(8)]
    with ThreadPoolExecutor(8) as threads:
        assert len(list(threads.map(decode, files))) == 8
    assert most == 1


def test_who_waits_too_long_for_a_turn_is_told_so_and_the_next_one_is_served(monkeypatch):
    monkeypatch.setattr(decoding, "_PATIENCE", 0.0)
    data = saved(photo(), "PNG")
    with decoding._wait_for_decoder(), pytest.raises(PictureError) as refused:
        decode(data)
    assert refused.value.key == "picture.busy"
    assert decode(data).size == (90, 60)


@pytest.mark.parametrize(
    ("raised", "key"),
    [(AssertionError(), "picture.damaged"), (RuntimeError(), "picture.damaged"), (MemoryError(), "picture.no_memory")],
)
def test_whatever_a_decoder_raises_is_one_sentence_and_the_next_picture_is_served(monkeypatch, raised, key):
    def fail(*arguments, **named):
        raise raised

    data = saved(photo(), "PNG")
    with monkeypatch.context() as patched:
        patched.setattr(Image, "open", fail)
        with pytest.raises(PictureError) as refused:
            decode(data)
    assert refused.value.key == key
    assert decode(data).size == (90, 60)


# --- colours -----------------------------------------------------------------------------------------------------------

P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])  # to XYZ, D50
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])  # to XYZ, D50
P3_PROFILE = profile(
    b"RGB ",
    {b"wtpt": xyz(0.9642, 1, 0.8249)}
    | {name + b"XYZ": xyz(*column) for name, column in zip((b"r", b"g", b"b"), P3.T, strict=True)}
    | {name + b"TRC": gamma(1.8) for name in (b"r", b"g", b"b")},
)
COLOURS = [(200, 100, 50), (30, 160, 90), (120, 120, 120), (255, 255, 255), (0, 0, 0), (90, 60, 180), (180, 160, 40)]


def encoded(linear):
    """By the transfer curve of sRGB, 0..255."""
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def patches(colours, mode="RGB"):
    """16 px squares side by side, as JPEG keeps them."""
    picture = Image.new(mode, (16 * len(colours), 16))
    for index, colour in enumerate(colours):
        picture.paste(colour, (16 * index, 0, 16 * index + 16, 16))
    return picture


def middles(picture):
    return pixels(picture)[8, 8::16]


@pytest.mark.parametrize(
    ("format", "options", "tolerance"),
    [("PNG", {}, 1), ("WEBP", {"lossless": True}, 1), ("JPEG", {"quality": 98}, 4), ("HEIF", {"quality": 98}, 4)],
)
def test_colours_are_converted_from_the_profile_of_the_file(format, options, tolerance):
    stored = patches(COLOURS)
    stored.info["icc_profile"] = P3_PROFILE
    data = saved(stored, format, icc_profile=P3_PROFILE, **options)
    linear = (np.array(COLOURS) / 255) ** (round(1.8 * 256) / 256)
    expected = encoded(linear @ P3.T @ np.linalg.inv(SRGB).T)
    assert np.abs(expected - COLOURS).max() > 20
    assert np.abs(middles(decode(data)) - expected).max() <= tolerance


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_grey_levels_are_converted_from_the_profile_of_the_file(format):
    grey = profile(b"GRAY", {b"wtpt": xyz(0.9642, 1, 0.8249), b"kTRC": gamma(1.0)})
    levels = [0, 20, 60, 128, 255]
    seen = middles(decode(saved(patches(levels, "L"), format, icc_profile=grey)))
    assert np.abs(seen - encoded(np.array(levels) / 255)[:, None]).max() <= 2


def test_inks_are_converted_from_the_profile_of_the_file():
    lightness = [100 * 0.5 ** bin(corner).count("1") for corner in range(15)] + [
        0
    ]  # each ink halves it; none has a hue
    table = bytes(value for level in lightness for value in (round(2.55 * level), 128, 128))
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * (index % 4 == 0) for index in range(9)))
    lookup = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + 4 * ramp + table + 3 * ramp
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255)]
    data = saved(patches(inks, "CMYK"), "JPEG", quality=98, icc_profile=profile(b"CMYK", {b"A2B0": lookup}))
    luminance = ((np.array([100, 50, 25, 50]) + 16) / 116) ** 3  # CIE 1976, from lightness
    assert np.abs(middles(decode(data)) - encoded(luminance)[:, None]).max() <= 4


@pytest.mark.parametrize(
    "broken", [b"", b"a secret", P3_PROFILE[:200], bytes(3000), P3_PROFILE + bytes(5 * 2**20), P3_PROFILE[::-1]]
)
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_profile_that_cannot_be_used_is_ignored(format, broken):
    options = {"lossless": True} if format == "WEBP" else {"quality": 98} if format == "JPEG" else {}
    plain = decode(saved(photo(), format, **options))
    assert decode(saved(photo(), format, icc_profile=broken, **options)).tobytes() == plain.tobytes()


def test_a_profile_for_other_colours_than_the_picture_has_is_ignored():
    inks = profile(b"CMYK", {b"A2B0": b"mft1"})
    assert decode(saved(photo(), "PNG", icc_profile=inks)).tobytes() == photo().tobytes()


# --- HEIC --------------------------------------------------------------------------------------------------------------


def test_a_half_transparent_heic_lies_on_white():
    picture = decode(saved(Image.new("RGBA", (64, 64), (255, 0, 0, 128)), "HEIF", quality=98))
    assert np.abs(pixels(picture) - (255, 127, 127)).max() <= 6


def test_a_grey_heic_and_one_of_10_bits_keep_their_levels():
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    assert np.abs(pixels(decode(saved(Image.fromarray(ramp), "HEIF", quality=98)))[..., 0] - ramp).max() <= 6
    deep = pillow_heif.from_bytes("RGB;16", (64, 64), (257 * np.repeat(ramp[..., None], 3, 2).astype("<u2")).tobytes())
    stream = BytesIO()
    deep.save(stream, quality=98)
    assert pillow_heif.open_heif(stream.getvalue()).info["bit_depth"] == 10
    assert np.abs(pixels(decode(stream.getvalue()))[..., 1] - ramp).max() <= 6


def test_of_many_pictures_in_a_heic_the_primary_is_shown():
    file = pillow_heif.HeifFile()
    for colour in (RED, GREEN, BLUE):
        file.add_from_pillow(Image.new("RGB", (64, 64), colour))
    stream = BytesIO()
    file.save(stream, primary_index=1, quality=98)
    assert np.abs(pixels(decode(stream.getvalue())) - GREEN).max() <= 6


def test_a_heic_in_tiles_as_phones_make_it_is_put_together_and_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    seen = decode(saved(photo(300, 200), "HEIF", quality=95, tile_size=128, exif=exif.tobytes()))
    assert np.abs(pixels(seen) - pixels(photo(300, 200).transpose(Image.Transpose.ROTATE_270))).mean() < 3


def test_reading_a_heic_leaves_what_pillow_opens_as_it_was():
    before = dict(Image.OPEN)
    decode(saved(photo(), "HEIF"))
    assert before == Image.OPEN
    assert "HEIF" not in Image.OPEN


# --- crops -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "resize"), [(224, 256), (224, 255), (64, 64), (63, 72)])
def test_a_picture_of_the_right_size_is_cut_out_pixel_for_pixel(size, resize):
    drawn = noise(0, resize)
    start = (resize - size) // 2
    seen = crop(Image.fromarray(drawn), size, resize)
    assert np.array_equal(np.asarray(seen), drawn[start : start + size, start : start + size])


@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (256, 256), (40, 30)])
@pytest.mark.parametrize(("size", "resize"), [(64, 64), (56, 64)])
def test_a_crop_is_the_resized_picture_cut_at_the_centre(shape, size, resize):
    picture = photo(*shape)
    scale = resize / min(shape)
    whole = picture.resize([round(side * scale) for side in shape], Image.Resampling.BILINEAR)
    left, top = (whole.width - size) // 2, (whole.height - size) // 2
    naive = whole.crop((left, top, left + size, top + size))
    seen = crop(picture, size, resize)
    assert seen.size == (size, size)
    assert np.abs(pixels(seen) - pixels(naive)).max() <= 6


def test_a_crop_shrinks_with_antialiasing():
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (256, 128))).convert("RGB")
    assert np.abs(pixels(crop(stripes, 64)) - 127.5).max() < 10


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (1, 1)])
def test_a_crop_of_a_sliver_is_as_small_as_any(shape):
    assert crop(Image.new("RGB", shape, RED), 64).getcolors() == [(64 * 64, RED)]


@dataclass(frozen=True)
class Card:
    image_size: int = 48
    resize: int = 64
    mean: tuple[float, float, float] = (0.48, 0.45, 0.40)
    std: tuple[float, float, float] = (0.27, 0.26, 0.28)


def test_prepared_pixels_are_scaled_less_mean_over_std():
    card = Card()
    tensor = prepare(photo(), card)
    assert (tensor.shape, tensor.dtype, tensor.is_contiguous()) == ((1, 3, 48, 48), torch.float32, True)
    seen = np.asarray(crop(photo(), 48, 64), np.float64)
    for channel in range(3):
        expected = (seen[:, :, channel] / 255 - card.mean[channel]) / card.std[channel]
        np.testing.assert_allclose(tensor[0, channel].numpy(), expected, rtol=0, atol=1e-5)


def test_the_digest_is_the_published_sha256():
    assert digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest(saved(photo(), "PNG")) == hashlib.sha256(saved(photo(), "PNG")).hexdigest()


# --- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("IMG_0001.HEIC", "IMG_0001.HEIC"),
        ("../../etc/passwd", "passwd"),
        (r"C:\photos\cat.jpg", "cat.jpg"),
        ("a\0b\nc\x7f\x85d\u2028e", "abcde"),
        ("photo\u202egpj.exe", "photogpj.exe"),
        ("a\u200b\u200f\u2066\ufeff\u00adb", "ab"),
        ("\ud800cat\udfff", "cat"),
        ("猫 и кот ä.png", "猫 и кот ä.png"),
        ("![x](https://example.org)", "example.org)"),
        ("x" * 99, "x" * 60),
        ("  \t ", "picture"),
        ("\u202e", "picture"),
        ("", "picture"),
        ("folder/", "picture"),
    ],
)
def test_a_title_is_the_file_name_without_what_is_not_seen(name, title):
    assert title_of(name) == title
    title_of(name).encode()


def test_a_picture_without_a_name_is_called_what_the_page_says():
    assert title_of("/", "图片") == "图片"


def test_every_ending_that_pillow_knows_for_a_jpeg_is_offered():
    registered = {ending for ending, format in Image.registered_extensions().items() if format in ("JPEG", "MPO")}
    assert {f".{ending}" for ending in ENDINGS} == registered | {".png", ".webp", ".heic", ".heif"}
