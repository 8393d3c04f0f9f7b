"""What the browser tests of Explore share: how to open it, read its numbers, and compute them with PyTorch."""

from functools import cache
from io import BytesIO
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import TimeoutError as TooLate
from playwright.sync_api import expect

from odconv import explain, images, load_checkpoint
from odconv.ui import engine
from odconv.ui.pictures import FOLDER

expect.set_options(timeout=20_000)
LOOKS = 50  # ms between looks at a page's numbers; at every frame, looking would be most of the work
COLD = 120_000  # ms that a server which was just started may take for its first page
FIRST = "layer1.0.conv1"

ROOT = """(key) => document.querySelector(`.st-key-${key} [data-testid=stBidiComponentIsolated]`)?.shadowRoot
  ?.querySelector('.od')"""
# The numbers that stand on the page: probabilities, spatial taps row by row, kernel shares.
NUMBERS = f"""() => {{
  const inside = {ROOT};
  const read = (key, selector, number) => [...(inside(key)?.querySelectorAll(selector) ?? [])].map(number);
  return [
    ...read("prediction", ".value", (element) => parseFloat(element.firstChild.textContent)),
    ...read("layer", "title", (element) => Number(element.textContent.split(/[:：] ?/)[1])),
  ];
}}"""
AGREE = f"""(wanted) => {{
  const shown = ({NUMBERS})();
  const close = (value, i) => Math.abs(value - wanted[i]) < (i < 5 ? 0.0075 : 0.002);
  return shown.length === wanted.length && shown.every(close);
}}"""

WEIGHTS = engine.BUNDLED / engine.LESSONS


@cache
def network():
    return load_checkpoint(WEIGHTS)


@cache
def record_of(data, settings=None):
    return explain(network().model, images.prepare(images.decode(data), network().card), settings)


def sample(name):
    return (FOLDER / f"{name}.jpg").read_bytes()


def numbers(record, layer=FIRST):
    attention = record.layers[layer].attention
    best = np.sort(record.probabilities[0])[::-1][:5]
    return [*map(float, best), *map(float, attention.spatial[0].ravel()), *map(float, attention.kernel[0])]


def expect_numbers(page, record, layer=FIRST):
    wanted = numbers(record, layer)
    try:
        page.wait_for_function(AGREE, arg=wanted, polling=LOOKS)
    except TooLate:
        assert page.evaluate(NUMBERS) == pytest.approx(wanted, abs=0.005)  # says which


def expect_change(page, before):
    """Until other numbers than ``before`` stand on the page."""
    page.wait_for_function(f"(before) => String(({NUMBERS})()) !== String(before)", arg=before, polling=LOOKS)


def open_page(page, url):
    page.goto(url)
    expect(page.get_by_role("listbox", name="at a glance")).to_be_visible(timeout=COLD)
    expect(page.locator(".st-key-layer h4")).to_have_count(4)
    return page


def wait_for_server(page):
    """Until the server has sent all of the page: a file to download is of the settings only then."""
    expect(page.locator("[data-testid=stApp][data-test-script-state=notRunning]")).to_be_visible()


def query(page):
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def count_steps(page):
    """How long the page's history is, when nothing lies ahead: an earlier test may have gone back."""
    page.evaluate("history.pushState(null, '', location.href)")
    return page.evaluate("history.length")


def photo():
    """A photo that nobody has seen: gradients under noise."""
    y, x = np.mgrid[:300, :420]
    pixels = np.stack([x * 0.6, y * 0.8, 255 - x * 0.5], -1) + np.random.default_rng(7).normal(0, 25, (300, 420, 3))
    buffer = BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def upload(page, name, data):
    file = {"name": name, "mimeType": "image/jpeg", "buffer": data}
    page.get_by_test_id("stFileUploader").locator("input[type=file]").set_input_files([file], timeout=COLD)


def place_on(dial, share):
    box = dial.bounding_box()
    return box["x"] + box["width"] * share, box["y"] + box["height"] / 2
