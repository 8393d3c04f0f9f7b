"""Differences of attention from the typical, and the scale that they are drawn on."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from odconv.attention import Heads

Typical = Heads[np.ndarray]  # a layer's mean attention over many pictures, each head shaped as one picture's, without N

SCALE_ENDS = (0.05, 0.1, 0.2, 0.5, 1.0)  # a few, so that the scale seldom changes while a dial turns


def subtract_typical(attention: Heads[np.ndarray], typical: Typical | None) -> Heads[np.ndarray]:
    """``attention`` (N, ...) of a layer minus ``typical`` (...); unchanged where ``typical`` is None."""
    if typical is None:
        return attention
    pairs = zip(attention, typical, strict=True)
    return Heads(*(None if values is None or usual is None else values - usual for values, usual in pairs))


def scale_end(differences: Iterable[Heads[np.ndarray]]) -> float:
    """The end of a scale, the same to either side, that holds all ``differences``.

    One of ``SCALE_ENDS``, or a larger whole number where compensated gates exceed 1.
    """
    sizes = (float(np.abs(values).max()) for heads in differences for values in heads if values is not None)
    largest = max(sizes, default=0)
    whole = float(math.ceil(largest)) if math.isfinite(largest) else 1.0
    return next((end for end in SCALE_ENDS if largest <= end), whole)
