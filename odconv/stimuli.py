"""Stimuli: controlled pictures, each with one knob. Turn it, and see which attention responds.

Pure functions: the same knob gives the same picture, pixel for pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

CYCLES = 16  # of a grating across the picture: 4 px each in a network that sees 64 px

_Pixels = np.ndarray  # (S, S, 3) uint8


def grating(angle_degrees: float, size: int = 256) -> _Pixels:
    """Grey sine wave, ``CYCLES`` across the picture; (size, size, 3) uint8.

    ``angle_degrees``: the direction in which brightness changes, counter-clockwise; at 0 the stripes stand upright.
    """
    angle = math.radians(angle_degrees)
    row, column = np.mgrid[:size, :size] - (size - 1) / 2  # centred, so that turning the knob turns about the middle
    along = column * math.cos(angle) - row * math.sin(angle)  # rows count downwards
    return _grey(127.5 + 127.5 * np.cos(2 * math.pi * CYCLES / size * along))


def checkerboard(square_pixels: int, size: int = 256) -> _Pixels:
    """Black and white squares of ``square_pixels`` px, black in the upper left corner; (size, size, 3) uint8."""
    row, column = np.mgrid[:size, :size] // square_pixels
    return _grey(255 * ((row + column) % 2))


def plain(hue_degrees: float, size: int = 256) -> _Pixels:
    """One fully saturated colour, nothing else; (size, size, 3) uint8. 0 is red, 120 green, 240 blue."""
    sector = (np.array([5, 3, 1]) + hue_degrees / 60) % 6  # red, green, blue: the same ramp, a third of a turn apart
    colour = 1 - np.clip(np.minimum(sector, 4 - sector), 0, 1)
    return np.tile(np.rint(255 * colour).astype(np.uint8), (size, size, 1))


def noise(seed: int, size: int = 256) -> _Pixels:
    """Every pixel and colour drawn evenly from 0..255, independently; (size, size, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def blur(picture: Image.Image, radius: float) -> Image.Image:
    """``picture`` under a Gaussian of ``radius`` px standard deviation; 0 leaves it as it is."""
    return picture.filter(ImageFilter.GaussianBlur(radius))


@dataclass(frozen=True)
class Stimulus:
    """A kind of controlled picture and its knob."""

    name: str
    knob: str  # what it changes, for error messages
    low: float  # the knob goes from low to high, both allowed
    high: float
    step: float
    default: float
    draw: Callable[[float, int, Image.Image | None], Image.Image]  # value, side in px, photo
    whole: bool = False  # only whole numbers
    needs_photo: bool = False  # what is drawn is that photo, changed, in the photo's own size
    ordered: bool = True  # whether neighbouring values give similar pictures

    @property
    def stops(self) -> list[float]:
        """The values, rising, that a dial can be turned to: from ``low`` in steps of ``step``, and ``high``."""
        steps = math.ceil((self.high - self.low) / self.step)
        return [min(self.low + i * self.step, self.high) for i in range(steps + 1)]


def _from_pixels(pixels: Callable[[Any, int], _Pixels]) -> Callable[[float, int, Image.Image | None], Image.Image]:
    return lambda value, size, photo: Image.fromarray(pixels(value, size))


def _blur_photo(percent: float, size: int, photo: Image.Image | None) -> Image.Image:
    if photo is None:
        raise ValueError("blur needs a photo, and none came")
    return blur(photo, percent / 100 * min(photo.size))  # relative, so that it means the same for photos of any size


STIMULI: dict[str, Stimulus] = {
    stimulus.name: stimulus
    for stimulus in (
        Stimulus("grating", "Direction of change", 0, 180, 5, 0, _from_pixels(grating)),  # degrees
        Stimulus("checkerboard", "Side of a square", 4, 128, 4, 32, _from_pixels(checkerboard), whole=True),  # px
        Stimulus("plain", "Hue", 0, 360, 5, 0, _from_pixels(plain)),  # degrees
        Stimulus("noise", "Seed", 0, 999, 1, 0, _from_pixels(noise), whole=True, ordered=False),
        Stimulus("blur", "Blur", 0, 10, 0.5, 2, _blur_photo, needs_photo=True),  # % of the shorter side
    )
}


def draw(name: str, value: float, photo: Image.Image | None = None, size: int = 256) -> Image.Image:
    """The RGB picture of ``STIMULI[name]``, knob at ``value``: ``size`` x ``size`` px, or as large as its ``photo``.

    Noise and fine patterns fade when they are resized. With ``size=card.resize`` they are not resized: ``images.crop`` then
    cuts the centre out pixel for pixel.

    Raises:
        ValueError: an unknown name, a value that is not a number in the knob's range, or no photo where one is needed.
    """
    if name not in STIMULI:
        raise ValueError(f"stimulus is {name!r}; {', '.join(STIMULI)} are allowed")
    stimulus = STIMULI[name]
    return stimulus.draw(_check(stimulus, value), size, photo)


def clamp_knob(name: str, value: object) -> float:
    """The allowed value of the knob of ``STIMULI[name]`` that is nearest to ``value``.

    Its default for a ``value`` that is no ``int`` or ``float``, or a ``float`` that is not finite.

    Example:
        >>> clamp_knob("checkerboard", 1e9)
        128
    """
    stimulus = STIMULI[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return stimulus.default
    if isinstance(value, float) and not math.isfinite(value):  # an int may be too large to be asked
        return stimulus.default
    nearest = min(max(value, stimulus.low), stimulus.high)
    return round(nearest) if stimulus.whole else nearest


def sweep(name: str, most: int = 25) -> list[float]:
    """At most ``most`` stops of the knob of ``STIMULI[name]``, from its low end on and equally far apart.

    Example:
        >>> sweep("grating", 5)
        [0, 45, 90, 135, 180]
    """
    stops = STIMULI[name].stops
    return stops[:: math.ceil((len(stops) - 1) / (most - 1))]


def _check(stimulus: Stimulus, value: float) -> float:
    in_range = stimulus.low <= value <= stimulus.high  # NaN is in no range
    if not in_range or (stimulus.whole and value != int(value)):
        numbers = "whole numbers" if stimulus.whole else "numbers"
        allowed = f"{numbers} from {stimulus.low:g} to {stimulus.high:g} are allowed"
        raise ValueError(f"{stimulus.name}: {stimulus.knob.lower()} is {value!r}; {allowed}")
    return int(value) if stimulus.whole else value


def _grey(levels: np.ndarray) -> _Pixels:
    """(S, S) in 0..255 -> (S, S, 3) uint8."""
    return np.repeat(np.rint(levels).astype(np.uint8)[..., None], 3, axis=2)
