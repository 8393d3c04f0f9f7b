"""Serve the app on this machine by several processes behind HAProxy (Debian's package ``haproxy``).

    python deploy/serve.py --processes 4 --listen 0.0.0.0:8501 --host odconv.school.example

A visitor stays with one process. A process that ends is started again; its visitors come back by their link. SIGHUP starts all
of them anew, one after the other: each first gets no new visitors for ``--grace`` seconds. SIGTERM ends everything.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

log = logging.getLogger("serve")

ROOT = Path(__file__).resolve().parents[1]
CONFIG = Path(__file__).with_name("haproxy.cfg")
FIRST_PAGE = "/_stcore/script-health-check"
HERE = ["localhost", "127.0.0.1", "::1"]
LOOK = 0.2  # seconds between two looks at the processes
OPENING = 180.0  # seconds that a process may take until its first page has run
STOPPING = 10.0  # seconds that a process may take to end, and HAProxy to begin
SHORT = 10.0  # a process that ended sooner is started again after as many seconds

Command = Callable[[int], list[str]]  # a port -> what serves the app there


# --- one process ---------------------------------------------------------------------------------------------------------


class Process:
    """One process of the app, which can be started again on the same port."""

    def __init__(self, name: str, command: Command, environment: dict[str, str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.name, self._command, self._environment = name, command, environment
        self._running: subprocess.Popen[bytes] | None = None
        self._began = 0.0

    @property
    def pid(self) -> int:
        return self._running.pid if self._running else 0

    def start(self) -> None:
        # A group of its own: Ctrl-C in a terminal is for this program alone, which ends all in order.
        self._running = subprocess.Popen(
            self._command(self.port), cwd=ROOT, env=self._environment, start_new_session=True
        )
        self._began = time.monotonic()
        log.info("%s is process %d at port %d", self.name, self.pid, self.port)

    def tend(self) -> None:
        """Start it again if it has ended, though not again and again."""
        if self._running is None or self._running.poll() is None or time.monotonic() - self._began < SHORT:
            return
        log.warning("%s ended with code %s and is started again", self.name, self._running.returncode)
        self.start()

    def stop(self) -> None:
        if self._running is None:
            return
        self._running.terminate()
        try:
            self._running.wait(STOPPING)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()
        self._running = None

    def has_run_a_page(self) -> bool:
        """Whether the first page runs without an exception. It opens the network, too, so that no visitor waits for that."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{FIRST_PAGE}", timeout=OPENING / 6) as reply:
                return bool(reply.read() == b"ok")
        except OSError:
            return False


def app_command(hosts: Sequence[str]) -> Command:
    """Streamlit with the app; it answers to the names ``hosts``."""
    names = [part for host in hosts for part in ("--server.allowedHosts", host)]
    options = {
        "address": "localhost",
        "headless": "true",
        "fileWatcherType": "none",
        "scriptHealthCheckEnabled": "true",  # for this machine itself: the app and the proxy see to that
    }
    told = [part for name, value in options.items() for part in (f"--server.{name}", value)]
    return lambda port: [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port), *told, *names]


def count_cores() -> int:
    """Cores that this process may use; all of the machine's where the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def app_environment(processes: int, embedded: bool) -> dict[str, str]:
    """What all processes of the app are told: one secret, and each its part of the cores."""
    ours = {
        "STREAMLIT_SERVER_COOKIE_SECRET": secrets.token_hex(32),
        "OMP_NUM_THREADS": str(max(1, count_cores() // (2 * processes))),
    }
    if embedded:  # in a frame of another site, browsers send only cookies that say so
        ours["STREAMLIT_SERVER_XSRF_COOKIE_SAME_SITE"] = "none"
    return ours | dict(os.environ)


# --- the proxy -------------------------------------------------------------------------------------------------------------


def proxy_config(listen: str, ports: Sequence[int], certificate: str | None, embedded: bool) -> str:
    """``haproxy.cfg`` for processes at ``ports`` of this machine.

    Args:
        listen: ``address:port``.
        certificate: path of a PEM file with certificate and key; None: without https.
        embedded: whether other sites show the app in a frame.
    """
    tls = f" ssl crt {certificate} alpn http/1.1" if certificate else ""
    sent_to = 'attr "SameSite=None" attr Partitioned' if embedded else 'attr "SameSite=Lax"'
    cookie = f"cookie odconv-process insert indirect nocache httponly dynamic {sent_to}"
    lines = {
        "bind": [f"bind {listen}{tls}"],
        "cookie": [cookie + (" secure" if certificate else "")],
        "servers": [f"server {server_name(i)} 127.0.0.1:{port}" for i, port in enumerate(ports)],
    }
    text = CONFIG.read_text(encoding="utf-8")
    for mark, instead in lines.items():
        before, _, after = re.split(rf"^(.*# <- {mark})$", text, flags=re.MULTILINE)
        text = before + "\n".join(f"  {line}" for line in instead) + after
    return text


def server_name(index: int) -> str:
    """What the proxy calls a process."""
    return f"app{index + 1}"


def find_haproxy() -> str:
    """The program.

    Raises:
        FileNotFoundError: it is not installed.
    """
    found = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise FileNotFoundError("haproxy is not installed: apt-get install haproxy")
    return found


class Proxy:
    """HAProxy, and what it is told while it runs."""

    def __init__(self, config: str, folder: Path) -> None:
        self._config, self._socket = folder / "haproxy.cfg", folder / "haproxy.sock"
        self._config.write_text(config, encoding="utf-8")
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = os.environ | {"PROXY_SOCKET": str(self._socket), "PROXY_KEY": secrets.token_hex(16)}
        command = [find_haproxy(), "-db", "-f", str(self._config)]
        self._running = subprocess.Popen(command, env=environment, start_new_session=True)

    def answers(self) -> bool:
        """Whether it takes visitors: it listens to them before it answers here."""
        try:
            return bool(self._ask("show info"))
        except OSError:
            return False

    def tend(self) -> None:
        if self._running is not None and self._running.poll() is not None:
            raise RuntimeError(f"HAProxy ended with code {self._running.returncode}")

    def stop(self) -> None:
        if self._running is not None:
            self._running.terminate()
            self._running.wait()

    def set_state(self, server: str, state: str) -> None:
        """``ready``; ``drain``: only who is there already; ``maint``: nobody."""
        self._ask(f"set server app/{server} state {state}")

    def set_checks(self, server: str, state: str) -> None:
        """``enable`` or ``disable``: whether the proxy asks a process for its health."""
        self._ask(f"{state} health app/{server}")

    def visitors(self, server: str) -> int:
        """How many connections a process has now."""
        names, *rows = [row.split(",") for row in self._ask("show stat").lstrip("# ").splitlines() if row]
        found = (dict(zip(names, row, strict=False)) for row in rows)
        return next(int(row["scur"]) for row in found if (row["pxname"], row["svname"]) == ("app", server))

    def _ask(self, question: str) -> str:
        with socket.socket(socket.AF_UNIX) as there:
            there.connect(str(self._socket))
            there.sendall(f"{question}\n".encode())
            return b"".join(iter(lambda: there.recv(65536), b"")).decode()


# --- all of them -----------------------------------------------------------------------------------------------------------


class Fleet:
    """The processes and the proxy in front of them."""

    def __init__(self, processes: Sequence[Process], proxy: Proxy, grace: float) -> None:
        self.processes, self.proxy, self.grace = list(processes), proxy, grace
        self._ending = self._renewing = False

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT comes.

        Raises:
            RuntimeError: the app or HAProxy does not start.
        """
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_ending", True))
        signal.signal(signal.SIGINT, lambda *_: setattr(self, "_ending", True))
        signal.signal(signal.SIGHUP, lambda *_: setattr(self, "_renewing", True))
        try:
            for process in self.processes:
                process.start()
            for process in self.processes:
                self._open(f"the first page of {process.name}", process.has_run_a_page, OPENING)
            self.proxy.start()
            self._open("HAProxy", self.proxy.answers, STOPPING)
            if not self._ending:
                log.info("%d processes serve", len(self.processes))
            while not self._ending:
                self._wait(lambda: self._renewing, 60.0)
                if self._renewing:
                    self._renewing = False
                    self._renew()
        finally:
            self.proxy.stop()
            for process in self.processes:
                process.stop()

    def _open(self, what: str, until: Callable[[], bool], seconds: float) -> None:
        if not self._wait(until, seconds) and not self._ending:
            raise RuntimeError(f"{what} did not come within {seconds:g} s")

    def _renew(self) -> None:
        """Start all processes anew, one after the other, while the others serve."""
        for process in self.processes:
            self.proxy.set_state(process.name, "drain")
            self._wait(partial(self._is_left, process), self.grace)
            if self._ending:
                return
            # The proxy cuts off whoever is being answered by a process that it takes out, or that fails a check: so it takes it out when
            # that has ended, and does not check it meanwhile. Who comes then is sent to another one.
            self.proxy.set_checks(process.name, "disable")
            process.stop()
            self.proxy.set_state(process.name, "maint")
            self.proxy.set_checks(process.name, "enable")
            process.start()
            if not self._wait(process.has_run_a_page, OPENING):
                log.error("%s: its first page did not run; the others stay as they are", process.name)
                return
            self.proxy.set_state(process.name, "ready")
        log.info("all processes are new")

    def _is_left(self, process: Process) -> bool:
        return self.proxy.visitors(process.name) == 0

    def _wait(self, until: Callable[[], bool], seconds: float) -> bool:
        """Whether ``until`` came true in time; meanwhile the processes are tended. False where everything is to end."""
        deadline = time.monotonic() + seconds
        while not self._ending:
            self.proxy.tend()
            for process in self.processes:
                process.tend()
            if until():
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOOK)
        return False


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2, help="of the app (default: 2); each takes 500 MB to 1.1 GB")
    parser.add_argument("--listen", default="127.0.0.1:8501", help="address:port (default: this machine alone)")
    parser.add_argument("--host", action="append", default=[], help="a name that visitors use; can be repeated")
    parser.add_argument("--certificate", help="PEM file with certificate and key, for https")
    parser.add_argument("--grace", type=float, default=600.0, help="seconds for visitors to leave before a restart")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    embedded = bool(os.environ.get("ODCONV_EMBED"))
    if embedded and not given.certificate:
        parser.error(
            "ODCONV_EMBED needs --certificate: in a frame of another site, browsers send cookies by https alone"
        )
    alone = given.listen.rpartition(":")[0] in (*HERE, "[::1]")
    hosts = [*given.host, *HERE] if given.host or alone else ["*"]
    environment = app_environment(given.processes, embedded)
    processes = [Process(server_name(i), app_command(hosts), environment) for i in range(given.processes)]
    config = proxy_config(given.listen, [process.port for process in processes], given.certificate, embedded)
    with tempfile.TemporaryDirectory(prefix="odconv-") as folder:
        Fleet(processes, Proxy(config, Path(folder)), given.grace).run()


if __name__ == "__main__":
    main()
