"""The first lesson in a browser: the numbers on the page are PyTorch's, and step and answers outlive a reload and Back."""

import itertools
import re
from functools import cache

import numpy as np
import pytest
from playwright.sync_api import TimeoutError as TooLate
from playwright.sync_api import expect

from odconv import Settings, explain, images, load_checkpoint
from odconv.attention import HEADS
from odconv.stimuli import draw
from odconv.ui import engine
from odconv.words import say
from tests.browser.explore import FIRST, LOOKS, ROOT, network, photo, query, record_of, sample, upload, wait_for_server

# Of every case: kernel shares, taps row by row, and the probabilities of three classes.
NUMBERS = f"""(key) => [...(({ROOT})(key)?.querySelectorAll("section") ?? [])].map((one) => [
  ...[...one.querySelectorAll("[data-part=kernel] .share-row span:last-child")].map((e) => Number(e.textContent)),
  ...[...one.querySelectorAll("[data-part=spatial] title")].map((e) => Number(e.textContent.split(/[:：] ?/)[1])),
  ...[...one.querySelectorAll("[data-part=says] .value")].map((e) => Number(e.textContent)),
])"""
AGREE = f"""([key, wanted]) => {{
  const shown = ({NUMBERS})(key);
  return shown.length === wanted.length && shown.every((row, i) => row.length === wanted[i].length && row.every((v, j) => Math.abs(v - wanted[i][j]) < 0.0075));
}}"""


def prediction(record):
    return [*map(float, np.sort(record.probabilities[0])[::-1][:3])]


def numbers(record):
    best = prediction(record)
    attention = record.layers[FIRST].attention
    return [*map(float, attention.kernel[0]), *map(float, attention.spatial[0].ravel()), *best]


def expect_cases(page, *records, key="cases", said=numbers):
    wanted = [said(record) for record in records]
    try:
        page.wait_for_function(AGREE, arg=[key, wanted], polling=LOOKS)
    except TooLate:
        assert page.evaluate(NUMBERS, key) == [pytest.approx(row, abs=0.005) for row in wanted]


KERNELS = f"""() => ["cases", "cases-static"].map((key) => [...({ROOT})(key).querySelectorAll("[data-part=forged] rect")].map((cell) => [
  Number(cell.querySelector("title").textContent.split(/[:：] ?/)[1].replace("−", "-")), cell.style.fill]))"""


FORMS = f"""(key) => [...(({ROOT})(key)?.querySelectorAll("[data-part=forged] svg") ?? [])].map((kernel) =>
  [...kernel.querySelectorAll("text")].map((text) => text.textContent.replace(/^[+−]/, "").replace(/\\d/g, "0")))"""


def expect_one_form(page):
    """In one kernel, .000 does not stand beside 0.00."""
    for texts in page.evaluate(FORMS, "cases"):
        assert len(texts) == 9
        assert len(set(texts)) == 1


def expect_one_scale(page):
    """A weight has the same tone in the kernels of both networks, and the larger one the darker tone."""
    dynamic, fixed = ([(value, tone) for value, tone in cells if value > 0.01] for cells in page.evaluate(KERNELS))
    every = sorted(dynamic + fixed)
    greens = [int(re.findall(r"\d+", tone)[1]) for _, tone in every]  # falls from white to brown
    assert all(darker <= lighter + 2 for lighter, darker in itertools.pairwise(greens))  # titles are rounded
    assert dynamic
    assert fixed


def answer(page, task, choice):
    wait_for_server(page)
    page.get_by_test_id("stButtonGroup").get_by_text(say("en", f"task.{task}_{choice}"), exact=True).click()


@cache
def static():
    return load_checkpoint(engine.BUNDLED / "resnet18_w32_tiny_imagenet.safetensors")


def test_the_path_asks_first_shows_pytorchs_numbers_and_outlives_reload_and_back(visit):
    page = visit("start")
    expect(page.get_by_text("Step 1 of 5")).to_be_visible()
    espresso, rocket, tabby = (record_of(sample(name)) for name in ("espresso", "rocket", "tabby-cat"))
    expect_cases(page, espresso)
    answer(page, "kernels", "same")
    expect_cases(page, espresso, rocket)
    expect_one_form(page)
    expect(page.get_by_text("No: a kernel of its own.")).to_be_visible()
    page.locator(".st-key-step-next button").click()
    expect_cases(page, tabby)
    answer(page, "flat", "other")
    expect_cases(page, tabby, record_of(sample("tabby-cat"), Settings(ablate=HEADS)))
    expect(page.get_by_text("now the first choice is abacus")).to_be_visible()
    page.reload()
    expect_cases(page, tabby, record_of(sample("tabby-cat"), Settings(ablate=HEADS)))
    assert query(page) == {"step": "2", "answers": "kernels.same,flat.other"}
    page.locator(".st-key-gallery").get_by_title("Espresso").click()  # which other pages look into by themselves
    expect_cases(page, espresso, record_of(sample("espresso"), Settings(ablate=HEADS)))
    page.locator(".st-key-own button").click()
    expect_cases(page, tabby, record_of(sample("tabby-cat"), Settings(ablate=HEADS)))
    page.locator(".st-key-step-next button").click()
    expect_cases(page, tabby)
    answer(page, "temperature", "neither")
    expect_cases(page, *(record_of(sample("tabby-cat"), Settings(temperature=t)) for t in (0.1, 1.0, 30.0)))
    page.wait_for_url(re.compile("temperature"))
    page.go_back()
    expect_cases(page, tabby)
    page.go_back()
    expect(page.get_by_text("Step 2 of 5")).to_be_visible()


def test_the_grating_is_turned_by_a_drag_and_the_twin_meets_a_photo_that_is_no_sample(visit):
    page = visit("start?step=4&answers=grating.w2")
    curve = page.locator(".st-key-response svg.response")
    expect(curve).to_be_visible()
    card = network().card
    expect_cases(page, explain(network().model, images.prepare(draw("grating", 90.0, None, card.resize), card)))
    curve.scroll_into_view_if_needed()
    box = curve.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.48, box["y"] + 40, steps=4)
    page.mouse.up()
    page.wait_for_url(re.compile("knob="))
    turned = images.prepare(draw("grating", float(query(page)["knob"]), None, card.resize), card)
    expect_cases(page, explain(network().model, turned))
    page.locator(".st-key-step-next button").click()
    page.locator(".st-key-source").get_by_text("Upload").click()
    upload(page, "unseen.jpg", photo())
    unseen, rocket = record_of(photo()), record_of(sample("rocket"))
    expect_cases(page, unseen, rocket, said=prediction)
    answer(page, "twin", "apart")
    twins = (images.prepare(images.decode(data), static().card) for data in (photo(), sample("rocket")))
    expect_cases(page, *(explain(static().model, twin) for twin in twins), key="cases-static", said=prediction)
    expect_one_scale(page)
    expect(page.get_by_text("What each attention multiplies")).to_be_visible()
    page.locator(".st-key-step-forge button").click()
    page.wait_for_url(re.compile("/forge"))
