"""Several pictures, stimuli among them, and the knob of a stimulus, as a visitor meets them; the numbers are PyTorch's."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
import torch
from playwright.sync_api import expect

from odconv import Settings, explain, images
from odconv.stimuli import draw, sweep
from tests.browser.explore import (
    FIRST,
    NUMBERS,
    count_steps,
    expect_change,
    expect_numbers,
    network,
    photo,
    place_on,
    query,
    record_of,
    sample,
    upload,
)  # fmt: skip

PLACES = """() => ["photo", "prediction", "knob", "dials", "glance", "layer", "response"].map((key) => {
  const { x, y, width, height } = document.querySelector(`.st-key-${key}`).getBoundingClientRect();
  return [key, x, y, width, height].join(" ");
})"""


def record_at(*values, stimulus="plain", settings=None):
    card = network().card
    drawn = [images.prepare(draw(stimulus, value, None, card.resize), card) for value in values]
    return explain(network().model, torch.cat(drawn), settings)


def expect_curve(page, settings=None):
    """The curve has a line for each kernel, through the shares that a pass of its own gives for each picture."""
    values = sweep("plain")
    alone = [record_at(value, settings=settings).layers[FIRST].attention.kernel[0] for value in values]
    shown = """(svg) => {
      const [high, , low] = [...svg.querySelectorAll(".grid")].map((line) => Number(line.getAttribute("y1"))).sort((a, b) => a - b);
      const points = (line) => line.getAttribute("points").split(" ").map((point) => Number(point.split(",")[1]));
      return [...svg.querySelectorAll("polyline")].map((line) => points(line).map((y) => (low - y) / (low - high)));
    }"""
    lines = page.locator(".st-key-response svg.response").evaluate(shown)
    assert len(lines) == 4
    for n, line in enumerate(lines):
        assert line == pytest.approx([float(shares[n]) for shares in alone], abs=0.003)


def test_what_is_seen_follows_the_knob_while_it_is_dragged_and_nothing_moves(visit):
    page = visit("?source=stimuli&stimulus=plain")
    expect_numbers(page, record_at(0))
    expect_curve(page)
    steps, places, knob = count_steps(page), page.evaluate(PLACES), page.get_by_label("Hue", exact=False)
    response = page.locator(".st-key-response")
    page.mouse.move(*place_on(knob, 0.02))
    page.mouse.down()
    for share in (0.2, 0.35, 0.5):
        before = page.evaluate(NUMBERS)
        page.mouse.move(*place_on(knob, share))
        expect_change(page, before)
        assert page.evaluate(PLACES) == places
        assert query(page) == {"source": "stimuli", "stimulus": "plain"}
    hue = page.locator(".st-key-knob output").text_content()
    expect_numbers(page, record_at(float(hue[:-1])))
    shares = record_at(float(hue[:-1])).layers[FIRST].attention.kernel[0]
    expect(response.locator(".reading span")).to_have_text([f"W{n} {share:.2f}" for n, share in enumerate(shares, 1)])
    expect(page.locator(".st-key-photo figcaption").first).to_have_text(f"One colour, {hue}")
    expect(page.locator(".st-key-kernel")).to_have_attribute("aria-busy", "true")
    expect(response).not_to_have_attribute("aria-busy", "true")
    page.mouse.up()
    page.wait_for_url(re.compile(rf"[?&]knob={hue[:-1]}(&|$)"))
    kernel = page.locator(".st-key-kernel")
    expect(kernel).not_to_have_attribute("aria-busy", "true")
    expect(kernel).to_contain_text(f"One colour, {hue}")
    assert page.evaluate("history.length") == steps + 1

    knob.press("ArrowRight")
    page.wait_for_url(re.compile(rf"[?&]knob={float(hue[:-1]) + 5:g}(&|$)"))
    curve = response.locator("svg.response")
    curve.scroll_into_view_if_needed()
    curve.click(position={"x": curve.bounding_box()["width"] / 3, "y": 60})
    expect(page.locator(".st-key-knob output")).not_to_have_text(f"{float(hue[:-1]) + 5:g}°")
    page.wait_for_function("(hue) => !location.search.includes(`knob=${hue}`)", arg=f"{float(hue[:-1]) + 5:g}")
    expect_numbers(page, record_at(float(query(page)["knob"])))
    page.go_back()
    page.go_back()
    page.go_back()
    expect_numbers(page, record_at(0))

    page.get_by_label("Temperature", exact=True).press("PageUp")
    page.wait_for_url(re.compile("[?&]t="))
    settings = Settings(temperature=float(query(page)["t"]))
    expect_numbers(page, record_at(0, settings=settings))
    expect(response).not_to_have_attribute("aria-busy", "true")
    expect_curve(page, settings)


def test_pictures_of_every_source_are_compared_chosen_by_thumbnail_and_taken_out(visit):
    page = visit(f"?sample=rocket&layer={FIRST}")
    page.locator(".st-key-compare").get_by_text("Several", exact=True).click()
    page.get_by_role("radio", name="Stimuli").click()
    page.wait_for_url(re.compile("source=stimuli"))
    expect_numbers(page, record_of(sample("rocket")))  # another source only shows another choice
    page.get_by_role("button", name="One colour").click()
    expect(page.get_by_role("heading", name="2 pictures in")).to_be_visible()
    expect_numbers(page, record_at(0))
    page.get_by_role("radio", name="Upload").click()
    page.wait_for_url(re.compile("source=upload"))
    upload(page, "mine.jpg", data := photo())
    expect(page.get_by_role("heading", name="3 pictures in")).to_be_visible()
    expect_numbers(page, record_of(data))
    strip, rows = page.locator(".st-key-strip"), page.locator(".st-key-side_by_side .compared-title")
    names = ["Rocket", "mine.jpg", "One colour, 0°"]
    expect(strip.locator(".name")).to_have_text(names)
    expect(rows).to_have_text(names)
    thumbnails = [row.locator("img").get_attribute("src") for row in rows.all()]
    assert thumbnails == [one.get_attribute("src") for one in strip.locator("img").all()]
    assert len(set(thumbnails)) == 3
    assert parse_qs(urlsplit(page.url).query)["compared"] == ["samples,upload,stimuli"]

    strip.get_by_role("button", name="Rocket: ").press("Enter")
    expect_numbers(page, record_of(sample("rocket")))
    expect(strip.locator("[aria-pressed=true]")).to_have_attribute("title", "Rocket")
    expect(strip.get_by_role("button", name="Rocket: ")).to_be_focused()
    expect(page.locator(".st-key-knob")).to_have_count(0)
    strip.get_by_role("button", name="Take out mine.jpg").click()
    expect(page.get_by_role("heading", name="2 pictures in")).to_be_visible()
    expect_numbers(page, record_of(sample("rocket")))
    strip.get_by_role("button", name="Take out Rocket").click()
    expect_numbers(page, record_at(0))
    expect(strip).to_have_count(0)
    page.locator(".st-key-compare").get_by_text("Several", exact=True).click()
    expect(page.get_by_role("radio", name="Stimuli")).to_be_checked()
    expect_numbers(page, record_at(0))
