"""Differences of attention from the typical, and the scale that they are drawn on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from odconv.attention import Heads
from odconv.explain import Explanation

Typical = Heads[np.ndarray]  # a layer's mean attention over many pictures, each head shaped as one picture's, without N

HELD = 0.99  # the share of the numbers that a scale holds: a few large ones would make all others pale
LEAST_END = 0.05  # so that rounding errors are not drawn in full colour


def subtract_typical(attention: Heads[np.ndarray], typical: Typical | None) -> Heads[np.ndarray]:
    """``attention`` (N, ...) of a layer minus ``typical`` (...); unchanged where ``typical`` is None."""
    if typical is None:
        return attention
    pairs = zip(attention, typical, strict=True)
    return Heads(*(None if values is None or usual is None else values - usual for values, usual in pairs))


def scale_end(differences: Iterable[Heads[np.ndarray]]) -> float:
    """The end of a scale, the same to either side, for all ``differences``: it holds ``HELD`` of the numbers.

    1, 2 or 5 times a power of ten and no less than ``LEAST_END``, so that it seldom changes while a dial turns.
    """
    sizes = [np.abs(values).ravel() for heads in differences for values in heads if values is not None]
    numbers = np.concatenate(sizes) if sizes else np.zeros(1)
    numbers = numbers[np.isfinite(numbers)]
    wanted = float(np.quantile(numbers, HELD)) if numbers.size else 0.0
    return round_up(max(wanted, LEAST_END))


def round_up(size: float) -> float:
    """The smallest 1, 2 or 5 times a power of ten that is no less than ``size``, a number above 0."""
    power = math.floor(math.log10(size))
    # The margin: 0.2 in float32 is a little more than 0.2.
    return next(end for step in (1, 2, 5, 10) if size <= (end := float(f"{step}e{power}")) * (1 + 1e-6))


def scale_end_of(record: Explanation, reference: Explanation | None, typical: Mapping[str, Typical]) -> float:
    """The end of the scale on which all layers and pictures of ``record``, and its ghosts, are drawn."""
    records = [record] if reference is None else [record, reference]
    return scale_end(
        subtract_typical(layer.attention, typical[name]) for one in records for name, layer in one.layers.items()
    )
