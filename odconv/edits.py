"""Edits of a picture, so that one sees what attention follows: brushed out, turned, blurred, grey. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from odconv.stimuli import blur

MOST_DABS = 64
TURNS = (-180, 180)  # degrees
BLURS = (0.0, 10.0)  # % of the shorter side
SCALE = 1000  # of places and radii


class Dab(NamedTuple):
    """One touch of the brush: a disc."""

    x: int  # of its centre, in thousandths of the picture's width
    y: int  # of the height
    radius: int  # in thousandths of the shorter side


@dataclass(frozen=True)
class PictureEdit:
    """What is done to a picture, in this order."""

    brush: tuple[Dab, ...] = ()  # painted over with the mean colour
    turn: float = 0.0  # degrees counter-clockwise about the middle; corners get the mean colour
    blur: float = 0.0  # standard deviation of a Gaussian, in % of the shorter side
    grey: bool = False  # every pixel gets its luminance (ITU-R 601)


def mean_colour(picture: Image.Image) -> tuple[int, int, int]:
    """The mean of an RGB picture's pixels, rounded."""
    red, green, blue = (round(float(value)) for value in np.asarray(picture, np.float64).mean((0, 1)))
    return red, green, blue


def apply_edit(picture: Image.Image, edit: PictureEdit) -> Image.Image:
    """An edited RGB ``picture``, of the same size; the same object where nothing is to be done."""
    if edit == PictureEdit():
        return picture
    colour, side = mean_colour(picture), min(picture.size)
    if edit.brush:
        picture = picture.copy()
        pen = ImageDraw.Draw(picture)
        for x, y, radius in edit.brush:
            middle, reach = (x / SCALE * picture.width, y / SCALE * picture.height), radius / SCALE * side
            pen.ellipse((middle[0] - reach, middle[1] - reach, middle[0] + reach, middle[1] + reach), fill=colour)
    if edit.turn:
        picture = picture.rotate(edit.turn, Image.Resampling.BILINEAR, fillcolor=colour)
    if edit.blur:
        picture = blur(picture, edit.blur / 100 * side)
    return picture.convert("L").convert("RGB") if edit.grey else picture
