"""Answers that are kept for a while, so that nobody computes again what is known."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from odconv.ui import parts

OBJECT = 64  # bytes that are counted for whatever is not an array, a text or a container
SCALARS = (int, float, type(None))
ARRAY = 160  # bytes of an array beside its numbers


class Memo:
    """Answers by key. Those that were asked for longest ago go where all together take too much.

    Whoever asks gets the same answer. So that nobody changes it for the next, its arrays are made read-only. What is being
    computed is waited for, and not computed twice.
    """

    def __init__(self, most: int) -> None:
        """``most``: bytes that answers may take; a larger one is not kept."""
        self.most = most
        self._kept: OrderedDict[Hashable, tuple[float, int, Any]] = OrderedDict()  # key -> when it ends, bytes, answer
        self._size = 0  # bytes of all
        self._lock = threading.Lock()
        self._computing: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, seconds: float, compute: Callable[[], Any]) -> Any:
        """The answer to ``key``: computed, or as computed less than ``seconds`` ago. What ``compute`` raises is not kept."""
        with self._lock:
            if found := self._find(key):
                return found[2]
            alone = self._computing.setdefault(key, threading.Lock())
        if not alone.acquire(blocking=False):
            with parts.pause():  # who computes it may be waiting for a turn
                alone.acquire()
        try:
            with self._lock:
                if found := self._find(key):  # somebody else has computed it meanwhile
                    return found[2]
            answer = compute()
            self._add(key, seconds, answer)
        finally:
            with self._lock:
                self._computing.pop(key, None)
            alone.release()
        return answer

    def clear(self) -> None:
        """Forget all answers."""
        with self._lock:
            self._kept.clear()
            self._size = 0

    def _find(self, key: Hashable) -> tuple[float, int, Any] | None:
        found = self._kept.get(key)
        if found is None or found[0] <= time.monotonic():
            return None
        self._kept.move_to_end(key)
        return found

    def _add(self, key: Hashable, seconds: float, answer: Any) -> None:
        size = _freeze(answer)
        with self._lock:
            self._take_out(key)
            self._kept[key] = (time.monotonic() + seconds, size, answer)
            self._size += size
            self._drop()

    def _take_out(self, key: Hashable) -> None:
        if key in self._kept:
            self._size -= self._kept.pop(key)[1]

    def _drop(self) -> None:
        now = time.monotonic()
        for key in [key for key, (ends, *_) in self._kept.items() if ends <= now]:
            self._take_out(key)
        while self._size > self.most:
            self._take_out(next(iter(self._kept)))


def _freeze(answer: Any) -> int:
    """Make the arrays in ``answer`` read-only. Returns how many bytes it keeps in memory, about."""
    size = 0
    memory: dict[int, int] = {}  # where it lies -> its bytes: of arrays that look into the same one, it counts once
    rest = [answer]
    while rest:
        part = rest.pop()
        if isinstance(part, SCALARS):  # most are, and have nothing in them
            size += OBJECT
        elif isinstance(part, np.ndarray):
            part.setflags(write=False)
            where, taken = _memory(part)
            memory[where] = taken
            size += ARRAY
        elif isinstance(part, (str, bytes)):
            size += len(part)
        else:
            size += OBJECT
            if isinstance(part, dict):
                rest += [*part.keys(), *part.values()]
            elif isinstance(part, (tuple, list, set, frozenset)):
                rest += part
            else:
                kind: Any = type(part)
                rest += [getattr(part, name) for name in _fields_of(kind)]
    return size + sum(memory.values())


@cache
def _fields_of(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else ()


def _memory(array: np.ndarray) -> tuple[int, int]:
    """Where the memory lies that an array keeps, and its bytes: a part of one keeps all of it."""
    owner: Any = array
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    if isinstance(owner, torch.Tensor):
        return owner.untyped_storage().data_ptr(), owner.untyped_storage().nbytes()
    return id(owner), owner.nbytes if isinstance(owner, np.ndarray) else array.nbytes
