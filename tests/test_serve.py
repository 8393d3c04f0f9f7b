"""Several processes behind HAProxy: who stays with which, and what happens when one ends. The processes here are small ones."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from deploy import serve

# Answers as the app does to what the proxy and deploy/serve.py ask, and to the rest with its own number and what it was sent. Told to
# end, it finishes what it has begun to answer, as the app does.
SMALL = """
import os, signal, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 0.5  # a connection in which nobody asks any more
    def do_GET(self):
        body = str(os.getpid()) + "\\n" + str(self.headers)
        if self.path.startswith("/_stcore/"):
            body = "ok"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *_):
        pass
class Server(ThreadingHTTPServer):
    daemon_threads = False
server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(0.02)
server.server_close()
"""
RUN = """
import sys, logging
from pathlib import Path
from deploy import serve
logging.basicConfig(level=logging.INFO)
serve.SHORT = 0
serve.find_haproxy = lambda: {slow!r}
command = lambda port: [sys.executable, "-S", "-c", {small!r}, str(port)]
processes = [serve.Process(serve.server_name(i), command, {{}}) for i in range(3)]
config = serve.proxy_config("127.0.0.1:{port}", [process.port for process in processes], None, False)
serve.Fleet(processes, serve.Proxy(config, Path({folder!r})), grace=0.5).run()
"""


class Visitor:
    """A browser, as far as cookies go."""

    def __init__(self, port):
        self.port, self.cookie = port, ""

    def get(self, path="/", **headers):
        """(status, number of the process, headers that it got)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers=sent | ({"Cookie": self.cookie} if self.cookie else {}))
        reply = connection.getresponse()
        self.cookie = (reply.getheader("Set-Cookie") or self.cookie).partition(";")[0]
        process, _, got = reply.read().decode().partition("\n")
        connection.close()
        return reply.status, process, got


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Three small processes behind an HAProxy that is slow to begin, as deploy/serve.py runs them: its own process, and the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("proxy")
    slow = folder / "slow"
    slow.write_text(f'#!/bin/sh\nsleep 1\nexec {serve.find_haproxy()} "$@"\n')
    slow.chmod(0o700)
    code = RUN.format(small=SMALL, port=port, folder=str(folder), slow=str(slow))
    log = tmp_path_factory.mktemp("serve") / "log"
    with log.open("w") as output:
        running = subprocess.Popen([sys.executable, "-c", code], cwd=serve.ROOT, stdout=output, stderr=output)
    running.port, running.log = port, log
    wait_until(lambda: "3 processes serve" in log.read_text())
    running.answered_at_once = answers(port)
    yield running
    running.send_signal(signal.SIGTERM)
    assert running.wait(20) == 0
    assert not answers(port)


def wait_until(reached, seconds=30):
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def answers(port):
    try:
        return Visitor(port).get()[0] == 200
    except OSError:
        return False


def everybody(fleet):
    """The numbers of the processes that serve now."""
    return {Visitor(fleet.port).get()[1] for _ in range(12)}


def test_who_comes_as_soon_as_it_is_said_that_all_serve_is_served(fleet):
    assert fleet.answered_at_once


def test_visitors_of_one_address_are_spread_and_each_stays_with_a_process(fleet):
    wait_until(lambda: len(everybody(fleet)) == 3)
    visitors = [Visitor(fleet.port) for _ in range(9)]
    first = [visitor.get()[1] for visitor in visitors]
    assert len(set(first)) == 3
    for _ in range(3):
        assert [visitor.get()[1] for visitor in visitors] == first


def test_the_app_is_told_who_asks_and_under_which_name_and_does_not_get_the_proxys_cookie(fleet):
    visitor = Visitor(fleet.port)
    visitor.get()
    assert visitor.cookie.startswith("odconv-process=")
    got = visitor.get(Host="school.example", X_Forwarded_For="8.8.8.8", Forwarded="for=8.8.8.8", X_Real_IP="8.8.8.8")[2]
    assert "host: school.example" in got.lower()
    assert "x-forwarded-for: 127.0.0.1" in got.lower()
    assert "8.8.8.8" not in got
    assert "odconv-process" not in got


@pytest.mark.parametrize(
    "path",
    [
        "/_stcore/metrics",
        "/_stcore/metrics?families=x",
        "/_stcore/%6Detrics",
        "/_stcore%2Fmetrics",
        "//_stcore/metrics/",
        "/_STCORE/metrics",
        "/_stcore/script-health-check",
        "/base/_stcore/script-health-check/",
    ],
)
def test_metrics_and_the_check_that_runs_a_page_are_not_outside(fleet, path):
    assert Visitor(fleet.port).get(path)[0] == 404
    assert Visitor(fleet.port).get("/_stcore/health")[0] == 200


def test_visitors_of_a_killed_process_go_to_another_and_the_others_stay_where_they_are(fleet):
    visitors = [Visitor(fleet.port) for _ in range(9)]
    first = [visitor.get()[1] for visitor in visitors]
    killed = first[0]
    os.kill(int(killed), signal.SIGKILL)
    after = [visitor.get() for visitor in visitors]
    assert [status for status, *_ in after] == [200] * 9
    assert [now == before for (_, now, _), before in zip(after, first, strict=True)] == [one != killed for one in first]
    wait_until(lambda: len(everybody(fleet) - {killed}) == 3)  # it was started again
    assert "is started again" in fleet.log.read_text()


def test_a_restart_renews_every_process_and_nobody_meets_an_error(fleet):
    wait_until(lambda: len(everybody(fleet)) == 3)
    before, stop, met = everybody(fleet), threading.Event(), []

    def visit():
        visitor = Visitor(fleet.port)
        while not stop.is_set():
            try:
                met.append(visitor.get()[0])
            except (OSError, http.client.HTTPException) as error:
                met.append(repr(error))
            time.sleep(0.001)

    visitors = [threading.Thread(target=visit) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    fleet.send_signal(signal.SIGHUP)
    wait_until(lambda: "all processes are new" in fleet.log.read_text())
    stop.set()
    for visitor in visitors:
        visitor.join()
    assert set(met) == {200}
    wait_until(lambda: len(everybody(fleet)) == 3)
    assert not everybody(fleet) & before


# --- what is told to whom -----------------------------------------------------------------------------------------------


def test_https_and_frames_of_other_sites_change_the_cookie():
    plain = serve.proxy_config("127.0.0.1:80", [1, 2], None, False)
    assert "bind 127.0.0.1:80\n" in plain
    assert 'attr "SameSite=Lax"\n' in plain
    framed = serve.proxy_config(":443", [1], "/etc/odconv.pem", True)
    assert "bind :443 ssl crt /etc/odconv.pem alpn http/1.1\n" in framed
    assert 'attr "SameSite=None" attr Partitioned secure\n' in framed
    assert "server app1 127.0.0.1:1\n" in framed
    assert "<-" not in plain + framed


def test_what_stands_in_the_repository_is_what_haproxy_reads():
    program = serve.find_haproxy()
    subprocess.run([program, "-c", "-q", "-f", serve.CONFIG], check=True)


def test_processes_share_the_cores_and_a_secret_and_an_operator_can_say_otherwise(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    told = serve.app_environment(4, False)
    assert told["OMP_NUM_THREADS"] == "2"
    assert len(told["STREAMLIT_SERVER_COOKIE_SECRET"]) == 64
    assert "STREAMLIT_SERVER_XSRF_COOKIE_SAME_SITE" not in told
    assert serve.app_environment(99, True)["STREAMLIT_SERVER_XSRF_COOKIE_SAME_SITE"] == "none"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert serve.app_environment(4, False)["OMP_NUM_THREADS"] == "5"


def test_frames_of_other_sites_without_https_are_refused_at_the_start(monkeypatch, capsys):
    monkeypatch.setenv("ODCONV_EMBED", "https://school.example")
    with pytest.raises(SystemExit):
        serve.main([])
    assert "--certificate" in capsys.readouterr().err


def test_the_app_is_started_for_this_machine_under_the_names_that_visitors_use():
    command = " ".join(serve.app_command(["school.example", "localhost"])(8601))
    assert "streamlit run app.py --server.port 8601 --server.address localhost" in command
    assert command.endswith("--server.allowedHosts school.example --server.allowedHosts localhost")
    assert Path(serve.ROOT / "app.py").is_file()
