"""Pictures on their way into a network: decoded, named, cropped and made model input.

Everything that a visitor uploads comes through ``decode``, which gives the right picture or refuses it with one clear
sentence.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from odconv.decoding import MAX_BYTES, decode
from odconv.picture_files.contents import PictureError

__all__ = [
    "ENDINGS", "MAX_BYTES", "PictureError", "Preprocessing", "crop", "decode", "digest", "prepare", "title_of",
]  # fmt: skip

ENDINGS = ("jpg", "jpeg", "jpe", "jfif", "mpo", "png", "webp", "heic", "heif")  # of files to offer for upload
TITLE_LENGTH = 60  # characters


class Preprocessing(Protocol):
    """How a network wants its pictures; a checkpoint's card has these."""

    @property
    def image_size(self) -> int:
        """Side of the square that the network sees, px."""

    @property
    def resize(self) -> int:
        """Length of the shorter side before the centre crop, px; at least ``image_size``."""

    @property
    def mean(self) -> tuple[float, float, float]:
        """Of red, green and blue, for values in 0..1."""

    @property
    def std(self) -> tuple[float, float, float]:
        """Of red, green and blue, for values in 0..1."""


def digest(data: bytes) -> str:
    """SHA-256 of ``data`` in hexadecimal: the key under which a picture is cached."""
    return hashlib.sha256(data).hexdigest()


def title_of(file_name: str, untitled: str = "picture") -> str:
    """The title of a picture from its file name, at most ``TITLE_LENGTH`` characters; ``untitled`` where none is left.

    Left out are folders, control characters, characters that cannot be encoded, and invisible ones that change how others
    look, such as marks that turn the direction of writing. Markdown and HTML are not escaped.
    """
    name = re.split(r"[/\\]", file_name)[-1]
    shown = "".join(letter for letter in name if unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Zl", "Zp"))
    return shown.strip()[:TITLE_LENGTH].strip() or untitled


def crop(picture: Image.Image, size: int, resize: int | None = None) -> Image.Image:
    """The square that a network sees of an RGB ``picture``: resized, then cropped to the centre.

    Bilinear with antialiasing, like the authors' preprocessing, and done in one step: all of a 1 x 5,000 picture would be
    huge once its shorter side is enlarged. Where nothing is to be resized, the square is cut out pixel for pixel.

    Args:
        picture: of any size.
        size: side of the square, px.
        resize: length of the shorter side before the crop, px, at least ``size``; None: ``size``.
    """
    width, height = picture.size
    if min(width, height) == (resize or size):  # the centre may lie between two pixels, which would blur all of them
        left, top = (width - size) // 2, (height - size) // 2
        return picture.crop((left, top, left + size, top + size))
    side = min(width, height) * size / (resize or size)
    box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    return picture.resize((size, size), Image.Resampling.BILINEAR, box=box)


def prepare(picture: Image.Image, card: Preprocessing) -> Tensor:
    """An RGB picture as model input, (1, 3, S, S) float32: cropped, scaled to 0..1, then normalised by mean and std."""
    pixels = np.array(crop(picture, card.image_size, card.resize), np.float32) / 255  # (S, S, 3)
    pixels = (pixels - np.array(card.mean, np.float32)) / np.array(card.std, np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()  # (1, 3, S, S)
