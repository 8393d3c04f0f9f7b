"""The app as it is served to a school: two processes behind HAProxy, by https, and in a frame of another site."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import expect

from odconv import Settings
from odconv.ui.dials import STOPS
from odconv.words import say
from tests.browser.explore import COLD, expect_numbers, photo, record_of, upload
from tests.browser.server import ROOT

LOST = say("en", "connection.lost")


class Site:
    """Another site, ``http://localhost:...``, with one page, which shows ``link`` in a frame."""

    def __init__(self):
        self.link = ""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._answer)
        self.url = f"http://localhost:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _answer(self, *request):
        site = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(f'<iframe src="{site.link}" width="1200" height="800"></iframe>'.encode())

            def log_message(self, *_):
                pass

        return Page(*request)

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


class Deployment:
    """``deploy/serve.py`` with two processes, for a site that shows the app in a frame."""

    def __init__(self, folder, site):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url, self.log = f"https://127.0.0.1:{self.port}/", folder / "log"
        key = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
        subprocess.run(
            [*key, "-keyout", folder / "key", "-out", folder / "certificate"], check=True, capture_output=True
        )
        pem = folder / "both.pem"
        pem.write_bytes((folder / "certificate").read_bytes() + (folder / "key").read_bytes())
        command = [sys.executable, "deploy/serve.py", "--listen", f"127.0.0.1:{self.port}", "--certificate", str(pem)]
        with self.log.open("w") as output:
            environment = os.environ | {"ODCONV_EMBED": site}
            self.running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)

    def wait_for(self, text, count=1):
        deadline = time.monotonic() + COLD / 1000
        while self.log.read_text().count(text) < count:
            assert time.monotonic() < deadline, self.log.read_text()
            assert self.running.poll() is None, self.log.read_text()
            time.sleep(0.1)

    def sessions(self):
        """Number of each process that serves -> how many sessions it has; only from this machine can it be asked."""
        now = dict(re.findall(r"app(\d) is process (\d+ at port \d+)", self.log.read_text()))
        found = {}
        for process, port in (line.split(" at port ") for line in now.values()):
            text = urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/metrics?families=active_sessions").read()
            found[int(process)] = int(float(re.search(rb"^active_sessions (\S+)", text, re.MULTILINE)[1]))
        return found


@pytest.fixture(scope="module")
def sites():
    """One that may show the app in a frame, and one that may not."""
    both = Site(), Site()
    yield both
    for site in both:
        site.stop()


@pytest.fixture(scope="module")
def deployment(tmp_path_factory, sites):
    deployment = Deployment(tmp_path_factory.mktemp("deployment"), sites[0].url)
    try:
        deployment.wait_for("2 processes serve")
        yield deployment
    finally:
        deployment.running.send_signal(signal.SIGTERM)
        deployment.running.wait(30)


@pytest.fixture
def stranger(new_page, deployment):
    """stranger(): a page of a browser that has no cookie yet."""
    local = f"(https|wss)://127.0.0.1:{deployment.port}/"
    new_page.expect_errors(*(f"request to {kind}://127.0.0.1:{deployment.port}/" for kind in ("https", "wss")), local)
    return lambda: new_page(ignore_https_errors=True)


def bring_photo(page, url, temperature):
    page.goto(f"{url}?source=upload&t={temperature}")
    upload(page, "mine.jpg", photo())
    expect_numbers(page, record_of(photo(), Settings(temperature=temperature)))


def test_who_was_with_a_killed_process_comes_back_by_the_link_and_the_others_notice_nothing(
    deployment, stranger, new_page
):
    new_page.expect_errors("Failed to load resource", "server is not responding", "WebSocket", "Client Error")
    mine, others = stranger(), stranger()
    bring_photo(mine, deployment.url, 3)
    own = next(process for process, sessions in deployment.sessions().items() if sessions)
    bring_photo(others, deployment.url, 2)
    assert sorted(deployment.sessions().values()) == [1, 1]
    seen = []
    others.on("websocket", lambda _: seen.append("connected anew"))

    os.kill(own, signal.SIGKILL)
    asked = mine.get_by_test_id("stMain").get_by_test_id("stAlert").filter(has_text="Upload a photo")
    expect(asked).to_be_visible(timeout=COLD)
    assert "t=3" in mine.url
    upload(mine, "mine.jpg", photo())
    expect_numbers(mine, record_of(photo(), Settings(temperature=3)))

    others.get_by_label("Temperature", exact=True).press("ArrowRight")
    warmer = STOPS[STOPS.index(2.0) + 1]
    expect_numbers(
        others, record_of(photo(), Settings(temperature=warmer))
    )  # the photo is there: it is the same session
    expect(others.get_by_text(LOST)).to_have_count(0)
    assert seen == []
    deployment.wait_for("is started again")


def test_an_allowed_site_shows_the_app_in_a_frame_with_uploads_and_another_one_does_not(
    deployment, sites, stranger, new_page
):
    new_page.expect_errors(*(f"request to {site.url}" for site in sites), "frame-ancestors", "favicon")
    page = stranger()
    for site in sites:
        site.link = f"{deployment.url}?embed=true&source=upload"
    allowed, other = sites
    page.goto(allowed.url)
    frame = page.frames[1]
    frame.get_by_test_id("stFileUploader").wait_for(timeout=COLD)
    upload(frame, "mine.jpg", photo())
    expect_numbers(frame, record_of(photo()))
    page.goto(other.url)
    expect(page.frame_locator("iframe").get_by_test_id("stApp")).to_have_count(0)
    assert page.frames[1].url.startswith("chrome-error:")
