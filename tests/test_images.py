"""Pictures: shown right, or refused with one clear sentence."""

import hashlib
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from odconv.images import KEPT_SIDE, MAX_BYTES, PictureError, crop, decode, digest, prepare

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def photo(width=90, height=60):
    """Smooth, so that JPEG keeps it; every pixel unlike its neighbours."""
    row, column = np.mgrid[:height, :width]
    return Image.fromarray(
        np.stack([255 * column / width, 255 * row / height, 128 + 100 * np.sin(column / 9)], -1).astype(np.uint8)
    )


def saved(picture, format, **options):
    stream = BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth, colour, rows, extra=b""):
    """A PNG put together by hand; colour: 0 grey, 2 RGB, 4 grey and alpha, 6 RGB and alpha."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


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


@pytest.mark.parametrize(
    ("format", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 12),
        ("JPEG", {"quality": 95}, 12),
        ("JPEG", {"quality": 95, "progressive": True}, 12),
        ("MPO", {"quality": 95, "save_all": True, "append_images": [Image.new("RGB", (90, 60))]}, 12),
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
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_picture_taken_with_the_camera_turned_is_shown_upright(format, orientation):
    stored = Image.new("RGB", (48, 32))
    for colour, corner in zip((RED, GREEN, BLUE, WHITE), [(0, 0), (24, 0), (0, 16), (24, 16)], strict=True):
        stored.paste(colour, (*corner, corner[0] + 24, corner[1] + 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    seen = decode(saved(stored, format, exif=exif, quality=95))
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
def test_a_large_picture_is_kept_small_in_its_shape(format):
    picture = decode(saved(photo(3000, 1500), format))
    assert picture.size == (KEPT_SIDE, KEPT_SIDE // 2)
    assert np.abs(pixels(picture) - pixels(photo(3000, 1500).resize(picture.size, Image.Resampling.BOX))).mean() < 3


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
    assert "empty (0 bytes); JPEG, PNG and WebP" in refusal(b"")


def test_a_file_over_the_limit_is_refused_before_it_is_read():
    assert "has 10.5 MiB; at most 10 MiB" in refusal(saved(photo(), "PNG") + bytes(MAX_BYTES + 2**19))


@pytest.mark.parametrize("data", [b"hello " * 99, b"%PDF-1.7 ...", b"PK\3\4 ...", b"\0", bytes(range(256))])
def test_a_file_that_is_no_picture_is_refused_whatever_its_name(data):
    assert "not a picture that can be read; JPEG, PNG and WebP" in refusal(data)


@pytest.mark.parametrize(
    ("format", "kind"), [("GIF", "a GIF"), ("BMP", "a BMP"), ("TIFF", "a TIFF"), ("AVIF", "an AVIF")]
)
def test_pictures_of_other_kinds_are_refused_by_name(format, kind):
    assert refusal(saved(photo(), format)) == f"This is {kind} picture; JPEG, PNG and WebP pictures are allowed."


@pytest.mark.parametrize(
    ("brands", "kind"),
    [(b"heic\0\0\0\0mif1heic", "a HEIC"), (b"mif1\0\0\0\0mif1heic", "a HEIC"), (b"mif1\0\0\0\0mif1avif", "an AVIF")],
)
def test_a_phone_picture_in_a_newer_format_is_named_from_its_first_box(brands, kind):
    box = struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands
    assert f"This is {kind} picture" in refusal(box + bytes(64))


@pytest.mark.parametrize(("format", "kind"), [("JPEG", "JPEG"), ("PNG", "PNG"), ("WEBP", "WebP")])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
def test_a_picture_cut_short_is_refused_and_not_filled_up(format, kind, share):
    noisy = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = saved(noisy, format)
    assert f"This {kind} picture is damaged or cut short" in refusal(data[: int(len(data) * share)])
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize(("side", "came"), [(20_000, "400 million"), (8_000, "8,000 x 8,000")])
def test_too_many_pixels_are_refused_from_the_header(side, came):
    assert f"has {came} pixels; at most 51 million" in refusal(png(side, side, 8, 0, b"\0"))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_size_that_pillow_only_warns_of_is_refused_too():
    assert "at most 51 million" in refusal(png(10_000, 10_000, 8, 0, b"\0"))


@pytest.mark.parametrize(("format", "kind"), [("PNG", "PNG"), ("WEBP", "WebP")])
def test_an_animated_picture_is_refused(format, kind):
    frames = [photo(), photo().rotate(180), photo().rotate(90)]
    data = saved(frames[0], format, save_all=True, append_images=frames[1:], duration=50)
    assert f"This {kind} is animated (3 frames)" in refusal(data)


def test_a_jpeg_of_endless_passes_is_refused_before_it_is_decoded():
    data = saved(photo(), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    assert "more than 200 passes" in refusal(data[:-2] + data[start:-2] * 200 + data[-2:])


def test_damage_anywhere_is_shown_or_refused_but_never_crashes():
    random = np.random.default_rng(0)
    sources = [saved(photo(40, 30), format, exif=photo().getexif()) for format in ("JPEG", "PNG", "WEBP")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for trial in range(300):
            data = np.frombuffer(sources[trial % 3], np.uint8).copy()
            places = random.integers(0, [60, len(data)][trial % 2], 5)
            data[places] = random.integers(0, 256, 5)
            with suppress(PictureError):
                assert decode(data.tobytes()).mode == "RGB"


def test_many_threads_decode_alike():
    files = [saved(photo(200 + index, 150), "JPEG") for index in range(8)] * 4
    alone = [decode(data).tobytes() for data in files]
    with ThreadPoolExecutor(8) as threads:
        assert [picture.tobytes() for picture in threads.map(decode, files)] == alone


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
