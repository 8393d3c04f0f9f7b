import re
import subprocess
import sys
import time
import urllib.request
from collections import deque

import pytest
from google.protobuf import text_format
from playwright.sync_api import expect
from streamlit.proto.BackMsg_pb2 import BackMsg

from tests.browser.explore import open_page
from tests.browser.server import Server, chromium

# To a link, as the browser's Back does, when the page is at rest; until it has been run and drawn.
GO_TO = """(link) => new Promise((done, fail) => {
  const app = document.querySelector("[data-testid=stApp]"), deadline = performance.now() + 20000;
  let before = null;
  const look = () => {
    const atRest = app.dataset.testScriptState === "notRunning", { run } = window.odconvConnection;
    if (performance.now() > deadline) fail(new Error("the page was not run"));
    else if (atRest && before && run !== before) return done();
    else if (atRest && !before) {
      before = run;
      document.querySelector("[data-testid=stMain]").scrollTo(0, 0);
      history.replaceState(null, "", "/" + link);
      dispatchEvent(new PopStateEvent("popstate"));
    }
    setTimeout(look, 5);
  };
  look();
})"""
SENT = deque(maxlen=12)  # (time, message) of pages to the server, the last ones
KEPT = 2  # seconds for which the server remembers a browser that is gone
VIEWPORT = {"width": 1360, "height": 900}


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    options = chromium("chromium-headless-shell", "chromium")  # the first draws no window of a browser around the page
    if "executable_path" not in options:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True)
    return browser_type_launch_args | options


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One for all tests, which has opened the page before. It soon forgets browsers that are gone."""
    forgets = ["--server.disconnectedSessionTTL", str(KEPT)]
    with Server(log=tmp_path_factory.mktemp("server") / "log", options=forgets) as running:
        urllib.request.urlopen(f"{running.url}_stcore/script-health-check")  # runs the page once
        yield running


@pytest.fixture(scope="session")
def profile(browser_type, browser_type_launch_args, tmp_path_factory):
    """One browser with a profile on disk. Only there does Chromium keep the pages' JavaScript in its compiled form."""
    folder = tmp_path_factory.mktemp("profile")
    with browser_type.launch_persistent_context(folder, **browser_type_launch_args) as context:
        context.set_default_timeout(20_000)
        yield context


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Say with a failure what its pages sent: it tells a choice that never reached the server from one that it undid."""
    report = yield
    if report.failed and call.when == "call":
        report.sections.append(("sent by pages", "\n".join(_describe(*sent, call.start) for sent in SENT)))
    return report


def _describe(sent_at, frame, start):
    message = text_format.MessageToString(BackMsg.FromString(frame), as_one_line=True)
    return f"{sent_at - start:+.2f} s {message[:4000]}"


class Problems(list):
    """Console errors of pages that are watched, and requests of theirs that leave the machine."""

    def watch(self, page):
        page.on("console", self.hear)
        page.on("pageerror", lambda error: self.append(f"uncaught: {error}"))
        page.on("request", self.check)
        page.on("websocket", lambda socket: socket.on("framesent", lambda frame: SENT.append((time.time(), frame))))
        return page

    def hear(self, message):
        # Where a page is opened by its path, Streamlit looks for its server under that path first.
        missed = re.search(r"/[a-z]+/_stcore/(health|host-config)$", message.location["url"])
        if message.type == "error" and not missed:
            self.append(f"console: {message.text}")

    def check(self, request):
        if not request.url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:", "file:")):
            self.append(f"request to {request.url}")


class KeptPage:
    """The page of ``visit``, and its problems. A browser counts no more than 50 steps of a page's history: it is renewed before."""

    def __init__(self, profile):
        self.profile, self.problems, self.page, self.uploaded = profile, Problems(), None, False

    def close(self):
        if self.page:
            self.page.close()
        self.page = None

    def get(self):
        if self.page and self.page.evaluate("history.length") > 35:
            self.close()
        if self.page is None:
            self.page, self.uploaded = self.problems.watch(self.profile.new_page()), False
            self.page.on("request", self._note_upload)
        return self.page

    def _note_upload(self, request):
        self.uploaded |= "/upload_file/" in request.url


@pytest.fixture(scope="session")
def kept_page(profile):
    return KeptPage(profile)


@pytest.fixture
def frail(server, kept_page):
    """The server for a test that stops it, or that looks at what it holds: no other page is open. For the next test it is there again, at the same address."""
    kept_page.close()
    yield server
    if not server.answers():
        server.start()


@pytest.fixture
def visit(server, kept_page):
    """visit(link) -> the app at a link, ``forge?sample=rocket``, in one page for many tests: to load it anew takes seconds each time.

    It goes to the link as Back does, so the session is an old one; its window and media are as at first,
    folds are closed, and there are no uploads.
    """
    kept_page.problems.clear()

    def go(link, viewport=VIEWPORT, color_scheme="light"):
        page = kept_page.get()
        page.mouse.up()
        page.set_viewport_size(viewport)
        page.emulate_media(media="screen", color_scheme=color_scheme)
        if not page.locator("[data-test-connection-state=CONNECTED]").count():  # the first time, or the server was gone
            open_page(page, server.url)
        for fold in page.locator("[data-testid=stExpander] details[open] > summary").all():
            fold.click()  # it would stay open in this session
        if kept_page.uploaded:
            page.evaluate(GO_TO, "?source=upload")
            forget = page.locator(".st-key-forget button")
            if forget.is_visible():  # not all of them were refused
                forget.click()
                expect(forget).to_have_count(0)
            kept_page.uploaded = False
        page.evaluate(GO_TO, link)
        return page

    yield go
    assert kept_page.problems == []


@pytest.fixture
def new_page(new_context, profile):
    """A page that knows nothing of earlier ones; its test fails on a console error and on a request that leaves the machine.

    ``viewport`` and ``color_scheme`` are set for the page alone; for any other option it has a browser of its own.
    ``new_page.expect_errors(...)``: console errors that have one of these texts in them are part of the test.
    """
    problems, expected, pages = Problems(), [], []

    def make(viewport=VIEWPORT, color_scheme="light", **options):
        if options:
            context = new_context(viewport=viewport, color_scheme=color_scheme, **options)
            context.set_default_timeout(20_000)
            page = context.new_page()
        else:
            page = profile.new_page()
            pages.append(page)
            page.set_viewport_size(viewport)
            page.emulate_media(color_scheme=color_scheme)
        return problems.watch(page)

    make.expect_errors = lambda *texts: expected.extend(texts)
    yield make
    for page in pages:
        if page.url.startswith("http") and not page.is_closed():
            page.evaluate("localStorage.clear()")
        page.close()
    profile.clear_cookies(
        name=re.compile("^(?!_streamlit_xsrf$)")
    )  # without that one, the page of ``visit`` cannot upload
    assert not [problem for problem in problems if not any(text in problem for text in expected)]
