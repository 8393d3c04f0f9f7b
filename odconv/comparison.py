"""How two passes differ, of one network or of two: head by head, layer by layer. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from odconv.attention import HEADS, Heads
from odconv.explain import Explanation

Attention = Heads[np.ndarray]  # of one layer and one picture, N = 1
Why = Literal["neither", "left", "right", "shapes"]  # who lacks the head; or both have it, with other shapes


def why_not(left: Attention, right: Attention, head: str) -> Why | None:
    """Why the two cannot be compared in ``head``; None where they can."""
    ours, theirs = getattr(left, head), getattr(right, head)
    if ours is None:
        return "neither" if theirs is None else "left"
    if theirs is None:
        return "right"
    return None if ours.shape == theirs.shape else "shapes"


def subtract(left: Attention, right: Attention) -> Attention:
    """``right`` minus ``left`` in float64, head by head; None where they cannot be compared, see ``why_not``."""
    return Heads(
        *(
            None
            if why_not(left, right, head)
            else getattr(right, head).astype(np.float64) - getattr(left, head).astype(np.float64)
            for head in HEADS
        )
    )


def subtract_all(left: Explanation, right: Explanation) -> dict[str, Attention]:
    """Layer -> ``right`` minus ``left``, for the layers whose name is in both, in the order of ``left``."""
    return {
        name: subtract(layer.attention, right.layers[name].attention)
        for name, layer in left.layers.items()
        if name in right.layers
    }


def mean_sizes(difference: Attention) -> Heads[float]:
    """Mean absolute difference over each head's entries; None where there is no difference, or none that is finite."""
    return Heads(*(None if head is None else _mean_size(head) for head in difference))


def _mean_size(values: np.ndarray) -> float | None:
    size = float(np.abs(values).mean(dtype=np.float64))
    return size if math.isfinite(size) else None


@dataclass(frozen=True)
class Largest:
    """The head of a layer in which two passes differ most, and the entry of it in which they do."""

    layer: str
    head: str
    size: float  # mean absolute difference over the head's entries
    entry: tuple[int, ...]  # of the entry that differs most: its index in one picture's head
    left: float  # that entry on either side
    right: float


def find_largest(
    left: Explanation, right: Explanation, differences: Mapping[str, Attention] | None = None
) -> Largest | None:
    """The head and layer with the largest mean absolute difference; the first of several that are equal.

    Args:
        differences: from ``subtract_all``, where it was called already.

    Returns:
        None where no head of any layer can be compared.
    """
    differences = subtract_all(left, right) if differences is None else differences
    sizes = {
        (name, head): size
        for name, difference in differences.items()
        for head, size in zip(HEADS, mean_sizes(difference), strict=True)
        if size is not None
    }
    if not sizes:
        return None
    name, head = max(sizes, key=sizes.__getitem__)
    values = np.abs(getattr(differences[name], head)[0])
    entry = tuple(int(index) for index in np.unravel_index(int(values.argmax()), values.shape))
    ours, theirs = (float(getattr(side.layers[name].attention, head)[0][entry]) for side in (left, right))
    return Largest(name, head, sizes[name, head], entry, ours, theirs)
