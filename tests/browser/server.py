"""The app as a visitor meets it: a server process of its own, and a Chromium to open it with."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def chromium(*programs: str) -> dict[str, Any]:
    """Launch options: the first of the system's ``programs`` that there is, else Playwright's own Chromium."""
    options: dict[str, Any] = {"args": ["--no-sandbox", "--disable-background-networking"]}
    found = (path for name in programs or ("chromium",) if (path := Path("/usr/bin", name)).exists())
    path = next(found, None)
    return options | ({"executable_path": str(path)} if path else {})


class Server:
    """``streamlit run app.py`` on a free port, for as long as the ``with`` block lasts.

    ``options``: further options of ``streamlit run``, as they are written there.
    """

    def __init__(self, log: Path | None = None, options: Sequence[str] = (), **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.log = log
        self.options = list(options)
        self.environment = os.environ | environment

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until it answers; after ``stop``, on the same port again."""
        output = self.log.open("a") if self.log else subprocess.DEVNULL
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(self.port)]
        command += ["--server.headless", "true", "--server.fileWatcherType", "none"]
        command += ["--server.scriptHealthCheckEnabled", "true", *self.options]
        self.process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=output, stderr=output)
        for _ in range(300):
            if self.answers():
                return
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with code {self.process.returncode}")
            time.sleep(0.1)
        raise RuntimeError("the server did not answer within 30 s")

    def answers(self) -> bool:
        """Whether the server is there."""
        try:
            urllib.request.urlopen(self.url + "_stcore/health", timeout=1)
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """End the server, as an operator does; its visitors' pages stay open."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def resident_megabytes(self) -> float:
        """Resident size of the server process (Linux)."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
