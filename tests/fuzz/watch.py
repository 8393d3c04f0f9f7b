"""Watches what a case does beside its result: memory, time, files, processes, the network, and settings that all share."""

from __future__ import annotations

import faulthandler
import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageFile

HANG = 120  # seconds after which a case is taken for endless; one takes milliseconds, and a large picture a second
SLACK = 48 * 2**20  # bytes by which the resident size may move without anybody's doing
MEBIBYTE = 2**20

_HARMFUL = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.Popen",
    "os.kill",
)
_NETWORK = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto")
_PATHS = (
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.chmod",
    "os.link",
    "os.symlink",
    "os.truncate",
    "shutil.rmtree",
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class ForbiddenActError(BaseException):
    """A case did what no input may make the app do. Not an Exception, which the app would take for damage."""


class Watch:
    """Runs cases one by one; for one process, which it does not leave as it was.

    Attributes:
        slowest: seconds that one case took.
        largest: bytes that one case took.
    """

    def __init__(self) -> None:
        self.slowest = self.largest = 0.0
        self._thread = 0  # the one that runs a case
        self._seen: list[str] = []
        sys.addaudithook(self._hear)

    def run(self, check: Callable[[bytes], str], data: bytes, most: int) -> str:
        """What ``check`` returns.

        Raises:
            AssertionError: the case took more than ``most`` bytes, or changed something.
            ForbiddenActError: it did what no input may make the app do.
        """
        before, began = _settings(), time.perf_counter()
        outcome, taken = self._measure(check, data)
        if taken > most + SLACK:  # what is loaded or grown once does not come again
            gc.collect()
            outcome, again = self._measure(check, data)
            taken = min(taken, again)
        self.slowest = max(self.slowest, time.perf_counter() - began)
        self.largest = max(self.largest, taken)
        assert taken <= most + SLACK, f"it took {taken / MEBIBYTE:.0f} MiB, and {most / MEBIBYTE:.0f} are allowed"
        after = _settings()
        assert after == before, f"{before} became {after}"
        return outcome

    def _measure(self, check: Callable[[bytes], str], data: bytes) -> tuple[str, int]:
        self._seen.clear()
        faulthandler.dump_traceback_later(HANG, exit=True)
        before = _reset_peak()
        self._thread = threading.get_ident()
        try:
            outcome = check(data)
        finally:
            self._thread = 0
            faulthandler.cancel_dump_traceback_later()
        if self._seen:
            raise ForbiddenActError(*self._seen)
        return outcome, _peak() - before

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._thread != threading.get_ident():
            return
        if event == "open":
            path, _, flags = arguments
            harmful = bool(flags & _WRITES) and not _is_temporary(path)
        else:
            in_folder = arguments[1] if event in ("os.remove", "os.rmdir") else -1
            harmful = event in (*_HARMFUL, *_NETWORK) or (
                event in _PATHS and not _is_temporary(arguments[0], in_folder)
            )
        if harmful:
            self._seen.append(f"{event} {arguments!r:.200}")
            raise ForbiddenActError(self._seen[-1])


def _is_temporary(path: object, in_folder: int = -1) -> bool:
    """``in_folder``: descriptor of the folder that ``path`` begins in; -1: where the process is."""
    try:
        there = Path(f"/proc/self/fd/{in_folder}" if in_folder >= 0 else "", os.fsdecode(path)).resolve()  # type: ignore[arg-type]
    except TypeError:  # a file that is open already
        return True
    return there.is_relative_to(Path(tempfile.gettempdir()).resolve()) or there == Path(os.devnull)


def _settings() -> dict[str, object]:
    """What all visitors share, and no case may change."""
    return {
        "folder": os.getcwd(),
        "temporary files": sorted(os.listdir(tempfile.gettempdir())),
        "largest picture": Image.MAX_IMAGE_PIXELS,
        "cut pictures": ImageFile.LOAD_TRUNCATED_IMAGES,
        "threads of torch": torch.get_num_threads(),
        "type of numbers": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "recursion": sys.getrecursionlimit(),
        "environment": hash(frozenset(os.environ.items())),
    }


def _reset_peak() -> int:
    """Begin to measure the peak of the resident size anew. Returns the size now, bytes; 0 where that is not to be known."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not Linux
        return 0
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM") if os.access("/proc/self/clear_refs", os.W_OK) else 0


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
