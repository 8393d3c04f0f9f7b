"""Answers that are kept by one owner, and go with it."""

from __future__ import annotations

import pickle
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class Memo:
    """Answers by key. Those that were asked for longest ago go where all together take too much.

    They are kept pickled, so that nobody who changes an answer changes it for the next.
    """

    def __init__(self, most: int) -> None:
        """``most``: bytes that answers may take; a larger one is not kept."""
        self.most = most
        self._kept: OrderedDict[Hashable, tuple[float, bytes]] = OrderedDict()  # key -> when it ends, pickle
        self._lock = threading.Lock()

    def get(self, key: Hashable, seconds: float, compute: Callable[[], Any]) -> Any:
        """The answer to ``key``: computed, or as computed less than ``seconds`` ago. What ``compute`` raises is not kept."""
        with self._lock:
            ends, kept = self._kept.get(key, (0.0, b""))
            if time.monotonic() < ends:
                self._kept.move_to_end(key)
                return pickle.loads(kept)  # made here, and by nobody else
        answer = compute()
        made = pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL)
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = (time.monotonic() + seconds, made)
            self._drop()
        return answer

    def clear(self) -> None:
        """Forget all answers."""
        with self._lock:
            self._kept.clear()

    def _drop(self) -> None:
        now = time.monotonic()
        for key in [key for key, (ends, _) in self._kept.items() if ends <= now]:
            del self._kept[key]
        while sum(len(made) for _, made in self._kept.values()) > self.most:
            self._kept.popitem(last=False)
