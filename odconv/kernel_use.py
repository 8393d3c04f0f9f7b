"""Which classes of pictures use a candidate kernel most, and which least: from an atlas's mean shares of each class."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from odconv.atlas import FLOOR, TypicalLayer

LISTED = 3  # classes at either end
RARE = 0.01  # of kernels that all classes use alike are taken for preferred, at most


@dataclass(frozen=True, eq=False)
class KernelUse:
    """How the classes use one of a layer's kernels."""

    shares: np.ndarray  # (classes,) float64: mean share over a class's pictures; NaN where it is not known
    most: tuple[int, ...]  # the classes with the highest shares, highest first
    least: tuple[int, ...]  # those with the lowest, lowest first; none is in both
    preferred: bool  # whether classes differ by more than chance, and by enough to be seen

    def rank(self, label: int) -> int | None:
        """The place of a class, 1 for the highest share; classes with the same share have the same. None: not known."""
        if not 0 <= label < len(self.shares) or not np.isfinite(self.shares[label]):
            return None
        return 1 + int((self.shares > self.shares[label]).sum())


def kernel_use(layer: TypicalLayer, counts: np.ndarray) -> list[KernelUse] | None:
    """How the classes use each of a layer's K kernels; None where there is one kernel alone.

    Classes are taken to differ by chance alone while the highest and the lowest mean are no further apart than they are by
    chance in 99 of 100 kernels at least: for one of C normal draws to stray by z has a probability of at most
    2 C (1 - Φ(z)), Bonferroni's bound. They hardly differ, too, while they are less than ``FLOOR`` apart.

    Args:
        layer: of an atlas.
        counts: (C,), how many pictures of each class the means are of, as in the atlas.
    """
    typical, means = layer.heads.kernel, layer.kernel_by_class
    if typical is None or means is None or means.shape[1] < 2:
        return None
    chance = 2 * NormalDist().inv_cdf(1 - RARE / (2 * len(counts)))  # standard errors between two means
    deviations = typical.deviation.astype(np.float64)
    return [
        _use(shares, mean, deviation / np.sqrt(counts), chance)
        for shares, mean, deviation in zip(means.T.astype(np.float64), typical.mean, deviations, strict=True)
    ]


def _use(shares: np.ndarray, mean: float, errors: np.ndarray, chance: float) -> KernelUse:
    known = np.flatnonzero(np.isfinite(shares))
    rising = known[np.argsort(shares[known], kind="stable")]
    falling = known[np.argsort(-shares[known], kind="stable")]
    listed = min(LISTED, len(known) // 2)
    preferred = False
    if len(known) > 1 and np.ptp(shares[known]) >= FLOOR:
        far = (shares[known] - mean) / np.maximum(errors[known], 1e-12)
        preferred = bool(np.ptp(far) > chance)
    most = tuple(map(int, falling[:listed]))
    # With equal shares the order is that of the classes at both ends: a class that is listed at one is left out at the other.
    least = tuple(label for label in map(int, rising) if label not in most)[:listed]
    return KernelUse(shares, most, least, preferred)
