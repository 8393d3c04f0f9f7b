"""How much of the server's memory and disk takes what visitors send."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from odconv.words import SayableError

MIB = 2**20  # bytes


class Budget:
    """Bytes that are taken together, as by the checkpoints of all visitors."""

    def __init__(self, full: str) -> None:
        """``full``: key of the sentence that says that there is no room."""
        self.full = full
        self.taken = 0
        self._lock = threading.RLock()  # a share can go while another one is taken

    def take(self, size: int, most: int) -> Share:
        """A share of ``size`` bytes, while all together take at most ``most``.

        Raises:
            SayableError: there is no room for it.
        """
        share = Share(self, 0)
        share.resize(size, most)
        return share

    def change(self, by: int, most: int) -> None:
        """Take ``by`` bytes more; a negative number gives them back, and always can."""
        with self._lock:
            if by > 0 and self.taken + by > most:
                raise SayableError(self.full)
            self.taken += by


@dataclass(eq=False)
class Share:
    """What one file takes of a budget, for as long as somebody holds it."""

    budget: Budget
    size: int

    def resize(self, size: int, most: int) -> None:
        """Take more or fewer bytes.

        Raises:
            SayableError: there is no room for more.
        """
        self.budget.change(size - self.size, most)
        self.size = size

    def release(self) -> None:
        """Give all of it back."""
        self.resize(0, 0)

    def __del__(self) -> None:
        self.release()
