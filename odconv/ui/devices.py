"""Who may use a device: one pass at a time, in the order of asking, and the CPU where a GPU has no memory.

A visitor who waits too long in the queue gets a ``BusyError``. Nothing here draws.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from odconv.ui import parts
from odconv.ui.engine import DEVICES, Engine, open_on
from odconv.ui.turns import Turns
from odconv.words import SayableError

log = logging.getLogger(__name__)

PATIENCE = 15.0  # seconds in the queue after which a visitor is told that the server is busy

Found = TypeVar("Found")

_queues = {name: Turns() for name in DEVICES}


class BusyError(SayableError):
    """The queue in front of a device is too long."""


def deadline() -> float:
    """Until when a visitor who asks now waits, in seconds of ``time.monotonic()``."""
    return time.monotonic() + PATIENCE


def count_waiting(device: str) -> int:
    """How many passes wait for the device."""
    return _queues[device].count_waiting()


@contextmanager
def hold(device: str, until: float) -> Iterator[None]:
    """Hold the device, one pass at a time, in the order of asking. Make no streamlit call while holding it.

    Raises:
        BusyError: it was not free by ``until``, in seconds of ``time.monotonic()``.
    """
    queue = _queues[device]
    if not queue.acquire(0):
        with parts.pause():
            came = queue.acquire(max(0.0, until - time.monotonic()))
        if not came:
            raise BusyError("busy.network")
    try:
        yield
    finally:
        queue.release()


def else_on_cpu(engine: Engine, compute: Callable[[Engine], Found]) -> tuple[Found, str]:
    """What ``compute`` gives on the engine's device, or on the CPU where that has no memory for it; and the answer's note."""
    try:
        return compute(engine), ""
    except torch.OutOfMemoryError:
        if engine.device == "cpu":
            raise
    log.warning("out of memory on %s; falling back to the CPU", engine.device)
    if engine.device == "cuda":
        torch.cuda.empty_cache()
    # An answer is kept as the CPU's: the GPU is asked again the next time.
    return compute(open_on(engine.path, "cpu")), "network.gpu_out_of_memory"
