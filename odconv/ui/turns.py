"""A queue: who has waited longest is next, where nobody says that it can wait for others or that it cannot."""

from __future__ import annotations

import threading
import time
from bisect import insort
from itertools import count


class Turns:
    """A lock that is handed from one who waits to the next, in the order in which they came.

    Python's own locks are free for a moment when they are released. Who has several passes to make takes such a lock again
    before anybody who waits has woken up, and keeps it until the last one is made.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._free = True
        # Its place in time, when it came among all, what wakes it, how much later than it came its place is; sorted.
        self._waiting: list[tuple[float, int, threading.Event, float]] = []
        self._came = count()

    def acquire(self, timeout: float, later: float = 0.0) -> bool:
        """Wait for a turn; False where it has not come after ``timeout`` seconds. 0: only where nobody need be waited for.

        ``later``: as if it had come so many seconds later than now, or earlier. So nobody waits for ever, whoever comes.
        """
        with self._guard:
            if self._free:
                self._free = False
                return True
            if timeout <= 0:
                return False
            mine = (time.monotonic() + later, next(self._came), threading.Event(), later)
            insort(self._waiting, mine)
        if mine[2].wait(timeout):
            return True
        with self._guard:
            if mine[2].is_set():  # it came just then
                return True
            self._waiting.remove(mine)
            return False

    def count_waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    def next_is(self, later: float) -> bool:
        """Whether somebody waits who is next, and came with at most this ``later``."""
        with self._guard:
            return bool(self._waiting) and self._waiting[0][3] <= later

    def release(self) -> None:
        """End the turn: it is at once that of who is next."""
        with self._guard:
            if self._waiting:
                self._waiting.pop(0)[2].set()
            else:
                self._free = True
