"""Numbers as plain data for JSON, and as text that reads the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from odconv.words import say

STEPS = {"en": 1_000, "zh": 10_000}  # what numerals are grouped by: thousands in English, 万 in Chinese


def json_numbers(values: np.ndarray, digits: int = 5) -> Any:
    """``values`` as nested lists for JSON. NaN becomes 0: JSON has none, and the page warns of it.

    What is shown has fewer digits than what is sent. So that it is the same as if ``values`` themselves had been rounded to
    it, the last digit sent is cut off and not rounded; where it would be 0 or 5 and something was cut off, it is one more
    (``decimal.ROUND_05UP``): 0.0150001 is sent as 0.01501 and shown as 0.02, and not as 0.01 by way of 0.015.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = np.asarray(values, dtype=np.float64) * 10.0**digits
        nearest = np.rint(scaled)
        whole = np.abs(scaled - nearest) <= 4 * np.spacing(np.abs(scaled))  # but for the product's own error
        cut = np.where(whole, nearest, np.trunc(scaled))
        cut += np.where(whole | (cut % 5 != 0), 0.0, np.sign(scaled))
        return np.nan_to_num(cut / 10.0**digits).tolist()


def json_arrays(arrays: Sequence[np.ndarray]) -> list[list[float]]:
    """Many small arrays for JSON, each flat, as by ``json_numbers``; at once, since each call takes as long as a thousand numbers."""
    numbers = json_numbers(np.concatenate([values.ravel() for values in arrays])) if arrays else []
    ends = np.cumsum([values.size for values in arrays]).tolist()
    return [numbers[end - values.size : end] for values, end in zip(arrays, ends, strict=True)]


def json_number(value: float) -> float:
    """``value`` for JSON, as by ``json_numbers``."""
    return float(json_numbers(np.asarray(value)))


def signed_text(value: float) -> str:
    """``value`` to two digits, with its sign: +0.12, −0.08, 0.00."""
    text = f"{abs(value):.2f}"
    return text if text == "0.00" else f"{'−' if value < 0 else '+'}{text}"


def count_text(language: str, number: int) -> str:
    """A count as text, to three digits where it is large.

    Example:
        >>> count_text("en", 950), count_text("en", 2_359_296), count_text("zh", 2_359_296)
        ('950', '2.36 million', '236 万')
    """
    step = STEPS[language]
    for power in (3, 2, 1):
        size = step**power
        if number >= 0.9995 * size:
            return say(language, f"layer.count_{power}", number=three_digits_text(number / size))
    return str(number)


def three_digits_text(number: float) -> str:
    """``number`` to three digits: 0.123, 1.23, 12.3, 123, 1230."""
    rounded = float(f"{number:.3g}")
    return f"{rounded:.0f}" if rounded >= 100 else f"{rounded:#.3g}"
