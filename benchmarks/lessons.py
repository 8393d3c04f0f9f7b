"""How fast the lessons answer, measured in a real browser: of each, the median and the 95th percentile, with the load.

    python benchmarks/lessons.py

In the browser alone, from the event to the frame that shows it: a step of Forge, a redraw of the layer on Temperature while
its dial is dragged, a redraw of the gates on Switches while one is dragged. With the server, from the click to the last of
the new figures: a switch, and a comparison with another picture. In seconds: the map of effects, one pass for each head of
each layer, and opening a page from another. A warm server, a window of 1366 x 768, the network that the app opens with.
Needs requirements-dev.txt and a Chromium.
"""

import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.percentiles import percentile
from tests.browser.server import Server, chromium

REPEATS = 20
CHOICES = ("typical", "mean", "uniform", "argmax")  # of which a map of effects is made
# Label of a page in the bar -> key of a figure that is drawn late on it.
PAGES = {
    "Start here": "cases",
    "Forge": "forging",
    "Temperature": "tempered",
    "Compare": "sides",
    "Switches": "by_hand",
    "Teach": "class_link",
    "Explore": "layer",
}
SWITCHED = ("learned", "mean", "uniform", "argmax", "shuffled")

ROOT = "(key) => document.querySelector(`.st-key-${key} [data-testid=stBidiComponentIsolated]`)?.shadowRoot?.querySelector('.od')"
READY = f"""([key]) => ({ROOT})(key)?.children.length
  && document.querySelector("[data-testid=stApp]").dataset.testScriptState === "notRunning" """

# Notes how long after the last event of a type each figure was redrawn for the first time: when the frame was shown.
WATCH = f"""([type, keys]) => {{
  window.began = null;
  window.waits = {{}};
  addEventListener(type, (event) => {{ window.began = event.timeStamp; window.waits = {{}}; }}, true);
  const shown = (then) => requestAnimationFrame(() => {{
    const channel = new MessageChannel(); // its message comes after the frame
    channel.port1.onmessage = () => then(performance.now());
    channel.port2.postMessage(null);
  }});
  for (const key of keys) {{
    new MutationObserver(() => {{
      const {{ began, waits }} = window;
      if (began === null || key in waits) return;
      waits[key] = null; // until it is shown
      shown((now) => {{ waits[key] = now - began; }});
    }}).observe(({ROOT})(key), {{ childList: true, subtree: true, characterData: true }});
  }}
}}"""
WAITED = "(count) => Object.values(window.waits).filter((wait) => wait !== null).length === count"


def main() -> None:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "streamlit"))
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    print(f"{machine}, Python {platform.python_version()}, {packages}")
    print(f"load before: {load()}")
    with sync_playwright() as playwright, Server() as server:
        browser = playwright.chromium.launch(**chromium())
        page = browser.new_context(viewport={"width": 1366, "height": 768}).new_page()
        page.set_default_timeout(60_000)
        for name, measure, unit, digits in (
            ("a step of Forge, in the browser", step_forge, "ms", 0),
            ("a redraw on Temperature while its dial is dragged, in the browser", drag_temperature, "ms", 0),
            ("a redraw on Switches while a gate is dragged, in the browser", drag_gate, "ms", 0),
            ("a switch, from the click to the new figures", turn_switch, "ms", 0),
            ("a comparison with another picture, from the click to the new figures", compare, "ms", 0),
            ("the map of effects", map_effects, "s", 2),
            ("a page from another", open_pages, "s", 2),
        ):
            print(describe(name, measure(page, server.url), unit, digits), flush=True)
        browser.close()
    print(f"load after: {load()}")


def load() -> str:
    """How many processes wanted a core, on average over the last 1, 5 and 15 minutes."""
    return ", ".join(f"{number:.1f}" for number in os.getloadavg())


def describe(name: str, waits: Sequence[float], unit: str, digits: int) -> str:
    middle, late = (f"{percentile(waits, percent):.{digits}f}" for percent in (50, 95))
    return f"{name}: p50 {middle} {unit}, p95 {late} {unit} (n = {len(waits)})"


def open_page(page: Page, url: str, key: str) -> None:
    page.goto(url)
    page.wait_for_function(READY, arg=[key], polling=20)
    page.wait_for_timeout(1000)


def wait_for(page: Page, act: Callable[[], object], figures: int = 1) -> float:
    """Milliseconds from the event that ``act`` causes until the last of the figures that are watched was shown."""
    page.evaluate("window.began = null, window.waits = {}")
    act()
    page.wait_for_function(WAITED, arg=figures, polling=5)
    return float(page.evaluate("Math.max(...Object.values(window.waits))"))


def step_forge(page: Page, url: str) -> list[float]:
    open_page(page, f"{url}forge", "forging")
    page.get_by_role("button", name="Next", exact=False).click()
    page.evaluate(WATCH, ["keydown", ["forging"]])
    waits = []
    for key in ("ArrowRight", "ArrowLeft"):
        for _ in range(8):  # steps 2 to 10 and back
            waits.append(wait_for(page, lambda key=key: page.keyboard.press(key)))  # type: ignore[misc]
            page.wait_for_timeout(150)
    return waits


def drag_temperature(page: Page, url: str) -> list[float]:
    open_page(page, f"{url}temperature", "tempered")
    page.evaluate(WATCH, ["input", ["tempered"]])
    box = page.get_by_label("Temperature T", exact=True).bounding_box()
    assert box
    return drag(page, box["x"], box["y"] + box["height"] / 2, box["width"], 0)


def drag_gate(page: Page, url: str) -> list[float]:
    open_page(page, f"{url}switches", "by_hand")
    gates = page.get_by_role("slider", name="Set channel attention by hand")
    gates.scroll_into_view_if_needed()
    page.evaluate(WATCH, ["pointermove", ["by_hand"]])
    box = gates.bounding_box()
    assert box
    return drag(page, box["x"] + box["width"] / 2, box["y"], 0, box["height"])


def drag(page: Page, x: float, y: float, wide: float, high: float) -> list[float]:
    """Milliseconds from each move to its frame, while a pointer is dragged to and fro, ``wide`` or ``high`` px."""

    def share(at: int) -> float:
        return 0.1 + 0.8 * abs(2 * ((at / REPEATS + 0.25) % 1) - 1)

    page.mouse.move(x + wide * share(0), y + high * share(0))
    page.mouse.down()
    waits = []
    for at in range(1, 2 * REPEATS + 1):
        waits.append(wait_for(page, lambda at=at: page.mouse.move(x + wide * share(at), y + high * share(at))))  # type: ignore[misc]
        page.wait_for_timeout(30)
    page.mouse.up()
    return waits


def turn_switch(page: Page, url: str) -> list[float]:
    open_page(page, f"{url}switches?sample=tabby-cat", "switches")
    page.evaluate(WATCH, ["input", ["switches", "prediction"]])  # a change event stays inside of the figure
    waits = []
    for at in range(REPEATS):
        head, choice = ("channel", "filter")[at % 2], SWITCHED[(at // 2 + 1) % len(SWITCHED)]
        select = page.get_by_label(f"In place of {head} attention")
        waits.append(wait_for(page, lambda s=select, c=choice: s.select_option(c), 2))  # type: ignore[misc]
        page.wait_for_timeout(400)
    return waits


def compare(page: Page, url: str) -> list[float]:
    open_page(page, f"{url}compare", "sides")
    figures = ["side_a", "differences", "sides"]
    page.evaluate(WATCH, ["click", figures])
    pictures = page.locator(".st-key-gallery button")
    waits = []
    for at in range(1, min(pictures.count(), REPEATS + 1)):
        waits.append(wait_for(page, pictures.nth(at).click, len(figures)))
        page.wait_for_timeout(600)
    return waits


def map_effects(page: Page, url: str) -> list[float]:
    """Seconds from the click to the last cell."""
    waits = []
    for choice in CHOICES:
        open_page(page, f"{url}switches?sample=rocket&map={choice}", "switches")
        began = time.perf_counter()
        page.locator(".st-key-map_start button").click()
        page.locator(".st-key-effects .sentence:not(:empty)").wait_for()  # said of a map that is complete
        waits.append(time.perf_counter() - began)
    return waits


def open_pages(page: Page, url: str) -> list[float]:
    """Seconds from the click in the bar until the page is drawn; each page twice, after it was opened once."""
    open_page(page, url, "layer")
    waits = []
    for round in range(3):
        for label, key in PAGES.items():
            link = page.get_by_role("link", name=label, exact=True)
            link.hover()
            began = time.perf_counter()
            link.click()
            page.wait_for_function(READY, arg=[key], polling=10)
            if round:
                waits.append(time.perf_counter() - began)
            page.wait_for_timeout(700)
    return waits


if __name__ == "__main__":
    main()
