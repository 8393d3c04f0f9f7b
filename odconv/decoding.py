"""Untrusted bytes of a picture file -> RGB picture, or one clear sentence on why not.

One picture is decoded at a time, whoever asks: so many visitors together cost no more at once than one. Nothing here changes
the process-wide settings of Pillow or pillow-heif.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from threading import BoundedSemaphore

import numpy as np
import pillow_heif
from PIL import Image, ImageCms

from odconv.picture_files import inspect
from odconv.picture_files.contents import Contents, PictureError, check_budget, damaged
from odconv.picture_files.png import PngContents, holds_all_rows

MAX_BYTES = 10 * 2**20  # of a file
# A decoded picture's longer side has at most 640 px, more than a page shows of a photo. Where the shorter one would have less than 320,
# from which networks cut 224 and more, it has up to 1024.
KEPT_SIDE, KEPT_SHORTER, LARGEST_SIDE = 640, 320, 1024

_PATIENCE = 15.0  # seconds that a picture waits for its turn
_STRIP = 64  # rows that are flattened at once
_PAIR = b"\xff\0"  # 8 one bits in a JPEG's coded pixels, where no code has only ones
_END_OF_IMAGE = b"\xff\xd9"
_PREFETCHED = 8  # pairs that libjpeg may want to see beyond the last pixel: it reads 64 bits ahead
_PROBES = 24  # further pairs, enough for several codes of at most 16 bits
_TRANSPOSES = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_decoder = BoundedSemaphore(1)  # one picture at a time


def decode(data: bytes) -> Image.Image:
    """The picture in the file ``data``: upright, sRGB, white where transparent, longer side at most ``kept_side``.

    JPEG (also CMYK, and the first picture of an MPO), PNG (also with a palette, transparency or 16 bits), WebP, and the
    primary picture of HEIC and HEIF. Colours are converted by the file's ICC profile, where it has a sound one. No metadata
    stay.

    Raises:
        PictureError: the file is empty, of another format, animated or damaged, or exceeds ``MAX_BYTES`` or the budgets for
            pixels, parts and passes; or other pictures kept the decoder busy for too long.
    """
    if not data:
        raise PictureError("picture.empty")
    if len(data) > MAX_BYTES:
        raise PictureError("picture.too_large", megabytes=len(data) / 2**20, most=MAX_BYTES // 2**20)
    contents = inspect(data)
    check_budget(contents, _scale_on_load(contents))
    with _wait_for_decoder():
        try:
            picture = _READERS[contents.kind](contents)
            if contents.orientation in _TRANSPOSES:
                picture = picture.transpose(_TRANSPOSES[contents.orientation])
            picture.thumbnail((kept_side(picture.size),) * 2)
            picture = _to_srgb(picture, contents.profile)
        except PictureError:
            raise
        except MemoryError as error:
            raise PictureError("picture.no_memory") from error
        except Exception as error:  # decoders raise all there is, such as AssertionError, on bytes that nobody foresaw
            raise damaged(contents.kind) from error
    picture.info = {}
    return picture


def kept_side(size: tuple[int, int]) -> int:
    """The longer side at most, in px, of what is kept of a picture of this size."""
    enough = KEPT_SHORTER * max(size) // min(size)
    return min(max(KEPT_SIDE, enough), LARGEST_SIDE)


@contextmanager
def _wait_for_decoder() -> Iterator[None]:
    """Hold the decoder, one picture at a time.

    Raises:
        PictureError: others kept it for ``_PATIENCE`` seconds.
    """
    if not _decoder.acquire(timeout=_PATIENCE):
        raise PictureError("picture.busy")
    try:
        yield
    finally:
        _decoder.release()


# --- readers: contents of a file -> its picture, shrunk and without transparency, as L, RGB or CMYK ---------------------


def _read_jpeg(contents: Contents) -> Image.Image:
    picture = _open(contents)
    picture.draft("RGB", _draft_size(contents.size))  # decodes at 1/2, 1/4 or 1/8 where that is still large enough
    _load_whole_jpeg(picture, contents)
    return _flatten(picture.size, _strips(picture))


def _read_png(contents: Contents) -> Image.Image:
    assert isinstance(contents, PngContents)
    picture = _open(contents)
    picture.load()
    interlaced = bool(picture.info.get("interlace"))
    last_row = picture.crop((0, picture.height - 1, picture.width, picture.height))
    # Pillow leaves at 0 what does not come. Where the last row has come, the others have; else only counting tells.
    if (interlaced or not np.asarray(last_row).any()) and not holds_all_rows(contents):
        raise damaged("PNG")
    return _flatten(picture.size, _strips(picture))


def _read_webp(contents: Contents) -> Image.Image:
    picture = _open(contents)
    picture.load()  # verify() would let a truncated file pass
    return _flatten(picture.size, _strips(picture))


def _read_heif(contents: Contents) -> Image.Image:
    images = pillow_heif.open_heif(contents.data)
    image = images[images.primary_index]
    if image.size[0] * image.size[1] > contents.size[0] * contents.size[1]:
        raise damaged("HEIC")
    pixels = np.asarray(image)  # (H, W) or (H, W, channels) uint8; decoded here, turned as the file says
    mode = image.mode

    def strip(top: int, bottom: int) -> Image.Image:
        rows = np.ascontiguousarray(pixels[top:bottom])
        return Image.frombytes(mode, (rows.shape[1], rows.shape[0]), rows.tobytes())

    return _flatten(image.size, strip)


_READERS: dict[str, Callable[[Contents], Image.Image]] = {
    "JPEG": _read_jpeg,
    "PNG": _read_png,
    "WebP": _read_webp,
    "HEIC": _read_heif,
}


def _open(contents: Contents) -> Image.Image:
    picture = Image.open(BytesIO(contents.data), formats=(contents.kind.upper(),))
    if picture.size != contents.size:
        raise damaged(contents.kind)
    return picture


def _strips(picture: Image.Image) -> Callable[[int, int], Image.Image]:
    return lambda top, bottom: picture.crop((0, top, picture.width, bottom))


def _draft_size(size: tuple[int, int]) -> tuple[int, int]:
    """The smallest width and height that a JPEG of ``size`` may be decoded to, px."""
    longer, kept = max(size), kept_side(size)
    if longer <= kept:
        return size
    width, height = (max(1, -(-side * kept // longer)) for side in size)
    return width, height


def _scale_on_load(contents: Contents) -> int:
    """1, 2, 4 or 8: how many times smaller Pillow's ``draft`` makes a JPEG; 1 for other kinds."""
    if contents.kind != "JPEG":
        return 1
    fits = min(side // least for side, least in zip(contents.size, _draft_size(contents.size), strict=True))
    return max(scale for scale in (1, 2, 4, 8) if scale <= fits)


def _load_whole_jpeg(picture: Image.Image, contents: Contents) -> None:
    """Decode a JPEG that ends where its last scan does; refuse it if the scan ends before the picture is complete.

    libjpeg fills missing pixels with grey, and Pillow hides its warning. But as long as libjpeg has seen no marker, it waits
    for more bytes. So it gets bytes of one bits, which are no code, a pair at a time. If it looks for the next marker, it
    takes each at once. If it still looks for pixels, it takes them only after several, as one code.
    """
    ((name, extents, _, arguments),) = picture.tile  # type: ignore[attr-defined]
    picture.load_prepare()  # type: ignore[attr-defined]
    decoder = Image._getdecoder(picture.mode, name, arguments, picture.decoderconfig)  # type: ignore[attr-defined]
    decoder.setimage(picture.im, extents)
    waiting = contents.data
    for number in range(1 + _PREFETCHED + _PROBES):
        taken, error = decoder.decode(waiting)
        if taken < 0:  # all pixels have come, or nothing sensible; a picture in many passes first waits for its end
            if error < 0 or number > _PREFETCHED:
                raise damaged("JPEG")
            break
        waiting = waiting[taken:]
        if number > _PREFETCHED and waiting:
            raise damaged("JPEG")
        waiting += _PAIR
    else:
        taken, error = decoder.decode(waiting + _END_OF_IMAGE)
        if taken >= 0 or error < 0 or contents.passes == 1:
            raise damaged("JPEG")
    picture.tile = []  # type: ignore[attr-defined]


def _flatten(size: tuple[int, int], strip: Callable[[int, int], Image.Image]) -> Image.Image:
    """Put a picture on white and shrink it, so that its longer side is below four times ``kept_side``.

    Strip by strip, so that there is never a second picture of the full size.

    Args:
        size: of the picture, px.
        strip: (top, bottom) -> those rows of the picture.
    """
    factor = max(1, max(size) // (2 * kept_side(size)))
    height = size[1]
    small: Image.Image | None = None
    rows = factor * -(-_STRIP // factor)
    for top in range(0, height, rows):
        part = _on_white(strip(top, min(top + rows, height)))
        part = part.reduce((min(factor, part.width), min(factor, part.height))) if factor > 1 else part
        if small is None:
            small = Image.new(part.mode, (part.width, -(-height // factor)))
        small.paste(part, (0, top // factor))
    assert small is not None
    return small


def _on_white(picture: Image.Image) -> Image.Image:
    """A picture of any mode on white, as L, RGB or CMYK of 8 bits."""
    if picture.mode.startswith("I"):
        return _scale_16_bits(picture)
    grey = picture.mode in ("1", "L", "LA", "La")
    if not picture.has_transparency_data:
        return picture.convert("L" if grey else "CMYK" if picture.mode == "CMYK" else "RGB")
    transparent = picture.convert("RGBA")
    flat = Image.new("RGB", transparent.size, "white")
    flat.paste(transparent, mask=transparent.getchannel("A"))
    return flat.convert("L") if grey else flat


def _scale_16_bits(picture: Image.Image) -> Image.Image:
    """Grey of 16 bits as L. Pillow's own conversion clips at 255, which leaves black and white."""
    grey = np.asarray(picture)
    levels = (grey >> 8).astype(np.uint8)  # the high byte, as Pillow reads colour of 16 bits
    transparent = picture.info.get("transparency")
    if transparent is not None:
        levels[grey == transparent] = 255
    return Image.fromarray(levels)


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """An L, RGB or CMYK picture as RGB; converted by its ICC ``profile`` where that is sound and fits the mode."""
    if profile is None:
        return picture.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        colours = source.profile.xcolor_space.strip()
        if colours == "RGB":
            picture = picture.convert("RGB")
        converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except Exception:  # a broken profile is no reason to refuse a sound picture
        return picture.convert("RGB")
    assert converted is not None
    return converted
