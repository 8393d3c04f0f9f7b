"""What is said of many waits."""

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of ``values`` that at least ``percent`` % of them do not exceed."""
    return sorted(values)[max(math.ceil(percent / 100 * len(values)), 1) - 1]
