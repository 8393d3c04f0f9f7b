"""How long a visitor waits, measured in a real browser. Prints medians with the machine and versions.

    python benchmarks/page.py

Start: from ``streamlit run`` to the first figure. Fresh browser: a new visitor of a warm server. Click: from a click on a dial to its
figures, and to the end of all that the page runs after it. Drag: redraws of the glance per second while the temperature is dragged.
Memory: resident size of the server with ten visitors. Needs requirements-dev.txt and a Chromium.
"""

import os
import platform
import random
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.browser.server import Server, chromium

VISITORS, REPEATS = 10, 15

READY = """() => ['glance', 'layer', 'prediction'].every((key) => document.querySelector(
  `.st-key-${key} [data-testid=stBidiComponentIsolated]`)?.shadowRoot?.querySelector('.od')?.children.length)"""

# Notes the time of every redraw of the glance, and of the prediction, in the page; and when a run of the page was at its end.
WATCH = """() => {
  const inside = (key) => document.querySelector(`.st-key-${key} [data-testid=stBidiComponentIsolated]`).shadowRoot.querySelector('.od');
  window.redraws = { glance: [], layer: [], prediction: [] };
  for (const key of Object.keys(window.redraws)) {
    new MutationObserver(() => window.redraws[key].push(performance.now())).observe(inside(key), { childList: true, subtree: true });
  }
  const app = document.querySelector("[data-testid=stApp]");
  window.ends = [];
  new MutationObserver(() => app.dataset.testScriptState === "notRunning" && window.ends.push(performance.now()))
    .observe(app, { attributeFilter: ["data-test-script-state"] });
}"""

# Whether the page has run since a click, and not again for a while: a run can ask for another one.
RESTS = """() => document.querySelector("[data-testid=stApp]").dataset.testScriptState === "notRunning"
  && performance.now() - window.ends.at(-1) > 300"""


def main() -> None:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "streamlit", "plotly", "numpy"))
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**chromium())
        print(f"{machine}, Chromium {browser.version}, Python {platform.python_version()}, {packages}")
        began = time.perf_counter()
        with Server() as server:
            page = open_page(browser, server.url)
            print(f"start to first figure: {time.perf_counter() - began:.2f} s (n = 1)")
            fresh = []
            for _ in range(5):
                began = time.perf_counter()
                visitor = open_page(browser, server.url)
                fresh.append(time.perf_counter() - began)
                visitor.context.close()
            print(f"fresh browser on the warm server: {statistics.median(fresh):.2f} s (median of {len(fresh)})")
            page.evaluate(WATCH)
            figures, ran = zip(*(click(page) for _ in range(REPEATS)), strict=True)
            for what, waits in (("new figures", figures), ("the end of the page's runs", ran)):
                middle = statistics.median(waits)
                print(f"click to {what}: {middle:.0f} ms, worst {max(waits):.0f} (median of {len(waits)})")
            rates = [drag(page) for _ in range(3)]
            print(f"redraws while dragging: {statistics.median(rates):.1f} per second (median of {len(rates)})")
            visitors = [open_page(browser, server.url) for _ in range(VISITORS - 1)]
            for visitor in visitors:
                visitor.evaluate(WATCH)
                click(visitor)
            print(f"resident with {VISITORS} visitors: {server.resident_megabytes():.0f} MB")
        browser.close()


def open_page(browser: Browser, url: str) -> Page:
    page = browser.new_context(viewport={"width": 1360, "height": 900}).new_page()
    page.goto(url)
    page.wait_for_function(READY, timeout=60_000, polling=20)
    return page


def click(page: Page) -> tuple[float, float]:
    """Milliseconds from a click on the temperature dial, at a place where it has not been, to its figures and to the end of the runs."""
    page.wait_for_timeout(400)
    dial = page.get_by_label("Temperature", exact=True)
    box = dial.bounding_box()
    assert box
    page.evaluate("Object.values(window.redraws).forEach((times) => times.length = 0)")
    at = dial.evaluate("dial => (dial.value - dial.min) / (dial.max - dial.min)")
    share = random.uniform(0.05, 0.4) if at > 0.5 else random.uniform(0.6, 0.95)  # off the thumb
    page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)
    page.evaluate("Object.assign(window, { clicked: performance.now(), ends: [] })")
    page.mouse.down()
    page.mouse.up()
    page.wait_for_function(RESTS, polling=20)
    figures = "Math.max(...Object.values(window.redraws).map((times) => times[0]))"
    return page.evaluate(f"[{figures} - window.clicked, window.ends.at(-1) - window.clicked]")


def drag(page: Page, seconds: float = 3.0) -> float:
    """Redraws of the glance per second while the temperature dial is dragged to and fro."""
    page.wait_for_timeout(400)
    box = page.get_by_label("Temperature", exact=True).bounding_box()
    assert box
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.5, y)
    page.mouse.down()
    page.evaluate("Object.values(window.redraws).forEach((times) => times.length = 0)")
    began = time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        page.mouse.move(box["x"] + box["width"] * (0.1 + 0.8 * abs((elapsed + random.random() * 0.05) % 2 - 1)), y)
        page.wait_for_timeout(16)
    times = page.evaluate("window.redraws.glance")
    page.mouse.up()
    return len([t for i, t in enumerate(times) if i == 0 or t - times[i - 1] > 3]) / elapsed


if __name__ == "__main__":
    main()
