"""What paired differences say: an interval for their mean, and two exact tests. Pure, and without other libraries."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction


def t_probability(t: float, freedom: int) -> float:
    """P(-t < T < t) for Student's t with ``freedom`` degrees of freedom; ``t`` is at least 0.

    The finite sums for whole degrees: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = freedom % 2
    if freedom == 1:
        return 2 * angle / math.pi
    term = total = cosine if odd else 1.0
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def t_quantile(freedom: int, confidence: float = 0.95) -> float:
    """The t with P(-t < T < t) = ``confidence``, by bisection."""
    low, high = 0.0, 1.0
    while t_probability(high, freedom) < confidence:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if t_probability(middle, freedom) < confidence else (low, middle)
    return (low + high) / 2


def mean_interval(differences: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of the differences, and the ends of its t interval; infinite ends for a single difference."""
    count = len(differences)
    mean = math.fsum(differences) / count
    if count == 1:
        return mean, -math.inf, math.inf
    variance = math.fsum((one - mean) ** 2 for one in differences) / (count - 1)
    reach = t_quantile(count - 1, confidence) * math.sqrt(variance / count)
    return mean, mean - reach, mean + reach


def sign_flip_p(differences: Sequence[int]) -> float:
    """Two-sided p of the exact test that flips the signs of the differences in all 2^n ways.

    The share of the ways in which the sum is as far from 0 as it is, or farther. Whole numbers, such as pictures more right than
    by the twin, so that equal sums are equal.
    """
    ways = Counter({0: 1})  # sum -> in how many ways
    for one in differences:
        added: Counter[int] = Counter()
        for total, count in ways.items():
            added[total + one] += count
            added[total - one] += count
        ways = added
    found = abs(sum(differences))
    return sum(count for total, count in ways.items() if abs(total) >= found) / 2 ** len(differences)


def mcnemar_p(gained: int, lost: int) -> float:
    """Two-sided p of McNemar's exact test: ``gained`` pictures are right in one alone, ``lost`` in the other alone.

    Twice the probability that of so many fair coins at most the smaller number are heads.
    """
    coins, fewer = gained + lost, min(gained, lost)
    if gained == lost:
        return 1.0
    ways = term = 1
    for heads in range(1, fewer + 1):
        term = term * (coins - heads + 1) // heads
        ways += term
    return min(1.0, float(Fraction(2 * ways, 2**coins)))
