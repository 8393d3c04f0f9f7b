import subprocess
import sys

import pytest

from tests.browser.server import Server, chromium


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    options = chromium()
    if "executable_path" not in options:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True)
    return browser_type_launch_args | options


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with Server(log=tmp_path_factory.mktemp("server") / "log") as running:
        yield running


@pytest.fixture
def new_page(new_context):
    """A page in a fresh browser; its test fails on a console error and on a request that leaves the machine.

    ``new_page.expect_errors(...)``: console errors that have one of these texts in them are part of the test.
    """
    problems, expected = [], []

    def check(request):
        if not request.url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:", "file:")):
            problems.append(f"request to {request.url}")

    def listen(message):
        if message.type == "error":
            problems.append(f"console: {message.text}")

    def make(**options):
        context = new_context(**{"viewport": {"width": 1360, "height": 900}} | options)
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.on("console", listen)
        page.on("pageerror", lambda error: problems.append(f"uncaught: {error}"))
        page.on("request", check)
        return page

    make.expect_errors = lambda *texts: expected.extend(texts)
    yield make
    assert not [problem for problem in problems if not any(text in problem for text in expected)]
