"""A queue: who has waited longest is next."""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """A lock that is handed from one who waits to the next, in the order in which they came.

    Python's own locks are free for a moment when they are released. Who has several passes to make takes such a lock again
    before anybody who waits has woken up, and keeps it until the last one is made.
    """

    def __init__(self, places: int = 1) -> None:
        """``places``: how many can have a turn at once."""
        self._guard = threading.Lock()
        self._free = places
        self._waiting: deque[threading.Event] = deque()

    def acquire(self, timeout: float) -> bool:
        """Wait for a turn; False where it has not come after ``timeout`` seconds. 0: only where nobody need be waited for."""
        with self._guard:
            if self._free:
                self._free -= 1
                return True
            if timeout <= 0:
                return False
            mine = threading.Event()
            self._waiting.append(mine)
        if mine.wait(timeout):
            return True
        with self._guard:
            if mine.is_set():  # it came just then
                return True
            self._waiting.remove(mine)
            return False

    def count_waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    def release(self) -> None:
        """End the turn: it is at once that of who has waited longest."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1
