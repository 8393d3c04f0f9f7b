"""What a class visits: one process of the app, or several behind HAProxy, started as ``docs/scaling.md`` tells operators to."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.browser.server import ROOT, Server

OPENING = 240.0  # seconds that all processes may take together until they serve
ENDING = 60.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Deployment:
    """A server that runs. Its processes are those of ``pid`` and of what that has started (Linux)."""

    url: str  # with a slash at its end
    log: Path  # of all processes
    pid: int

    def resident_megabytes(self) -> float:
        """Resident size of the app's processes together, MiB."""
        # One that has just ended has none.
        pages = [_read(pid, "statm").split() for pid in self._processes() if b"streamlit" in _read(pid, "cmdline")]
        return sum(int(fields[1]) for fields in pages if fields) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def processor_seconds(self) -> float:
        """What all processes, those of the proxy and of ``deploy/serve.py`` too, have taken of the processors until now."""
        own = [_fields(pid)[11:13] for pid in self._processes()]
        ended = _fields(self.pid)[13:15]  # of what it started
        return sum(int(field) for fields in (*own, ended) for field in fields) / TICKS

    def _processes(self) -> list[int]:
        others = (int(entry) for entry in os.listdir("/proc") if entry.isdecimal())
        return [self.pid, *(pid for pid in others if _fields(pid)[1:2] == [str(self.pid).encode()])]


def _read(pid: int, name: str) -> bytes:
    """What Linux says of a process; nothing of one that has ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _fields(pid: int) -> list[bytes]:
    """Those of ``/proc/.../stat`` after the name, which may have spaces in it: state, parent and so on."""
    return _read(pid, "stat").rpartition(b")")[2].split()


@contextmanager
def serve(folder: Path, processes: int, network: str, **environment: str) -> Iterator[Deployment]:
    """A server as long as the block lasts. ``network``: file name of the weights that it opens with.

    Raises:
        RuntimeError: it does not start.
    """
    log, environment = folder / "log", environment | {"ODCONV_MODEL": network}
    if processes == 1:
        with Server(log, **environment) as server:
            yield Deployment(server.url, log, server.process.pid)
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "deploy/serve.py", "--processes", str(processes), "--listen", address]
    with log.open("w") as output:
        running = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=output, stderr=output)
    try:
        _wait_for(f"{processes} processes serve", log, running)
        yield Deployment(f"http://{address}/", log, running.pid)
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(ENDING)


def _wait_for(text: str, log: Path, running: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + OPENING
    while not re.search(rf"\b{text}$", log.read_text(encoding="utf-8"), re.MULTILINE):
        if running.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the processes do not serve: {log.read_text(encoding='utf-8')[-2000:]}")
        time.sleep(0.1)
