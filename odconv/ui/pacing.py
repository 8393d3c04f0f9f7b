"""How often a browser may ask for redraws: often where a server has nothing else to do, and seldom where a class drags at once.

What all ask for beyond what a core can do waits in a queue, and so does everything else. So each answer says when the next one
may be asked for. A release is always answered.
"""

from __future__ import annotations

import threading

SHARE = 0.5  # of a core's time, for the redraws of all who drag
QUICKEST = 0.05  # seconds between two of one visitor, where nobody else is there
SLOWEST = 0.4  # however many are there
RECENT = 1.0  # seconds for which somebody who has asked is taken to drag


class Pacing:
    """What redraws have cost, and who asks for them."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._asked: dict[str, float] = {}  # session -> when it asked last
        self._cost = 0.0  # seconds of a core that a redraw takes

    def note(self, session: str, seconds: float, now: float) -> None:
        """A redraw for ``session`` has taken so many ``seconds`` of a core; ``now``: of ``time.monotonic()``."""
        with self._guard:
            self._cost += (seconds - self._cost) / (10 if self._cost else 1)
            self._asked = {who: when for who, when in self._asked.items() if now - when < RECENT} | {session: now}

    def gap(self, runs: int) -> float:
        """Seconds that a visitor is to leave between two requests, beside as many ``runs`` of pages."""
        with self._guard:
            return min(max((len(self._asked) + runs) * self._cost / SHARE, QUICKEST), SLOWEST)
