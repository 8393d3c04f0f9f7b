"""Whether a picture may show none of a network's classes.

A classifier names one of its classes whatever it is shown. How large its outputs are tells a little: a picture is said to be
unfamiliar where a score of its logits is below a threshold, which the network's card holds together with how often that is
wrong. ``python -m odconv.training.familiar`` measures both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


def _energy(logits: np.ndarray) -> np.ndarray:
    highest = logits.max(axis=1, keepdims=True)
    return highest[:, 0] + np.log(np.exp(logits - highest).sum(axis=1))


def _max_softmax(logits: np.ndarray) -> np.ndarray:
    return 1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)


# Name -> (N, classes) logits to (N,) scores, higher for what a network was trained on. Hendrycks et al., "Scaling
# out-of-distribution detection for real-world settings", ICML 2022; Liu et al., "Energy-based out-of-distribution
# detection", NeurIPS 2020 (log-sum-exp); Hendrycks and Gimpel, "A baseline for detecting misclassified and
# out-of-distribution examples", ICLR 2017.
SCORES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "max_logit": lambda logits: logits.max(axis=1),
    "energy": _energy,
    "max_softmax": _max_softmax,
}


@dataclass(frozen=True)
class Familiarity:
    """Below what score a network's pictures are unfamiliar, and how far that can be trusted."""

    score: str  # one of ``SCORES``
    threshold: float
    false_alarms: float  # percent of the validation pictures that are below it
    pictures: int  # of validation
    caught: float  # percent below it of pictures of none of the classes
    strangers: int  # how many of those


def scores(logits: np.ndarray, score: str) -> np.ndarray:
    """The scores (N,), float64, of ``logits`` (N, classes). ``score``: one of ``SCORES``."""
    with np.errstate(invalid="ignore", over="ignore"):
        return SCORES[score](logits.astype(np.float64))


def is_unfamiliar(logits: np.ndarray, familiarity: Familiarity) -> bool:
    """Whether the logits (1, classes) that a network, as trained, gives a picture are below its threshold; no for NaN."""
    return bool(scores(logits, familiarity.score)[0] < familiarity.threshold)
