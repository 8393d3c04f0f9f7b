"""The dials as a visitor meets them: what they show is what is applied and what the link holds."""

import re

import pytest
from playwright.sync_api import expect

from odconv import Settings
from odconv.ui.dials import STOPS
from tests.browser.explore import (
    NUMBERS,
    expect_change,
    expect_numbers,
    place_on,
    query,
    record_of,
    sample,
    wait_for_server,
)


def shown(page):
    return page.locator(".st-key-dials output").all_text_contents()


def expect_shown(page, *texts):
    expect(page.locator(".st-key-dials output")).to_have_text(list(texts))


def thumb(dial):
    return int(dial.evaluate("(input) => input.value"))


@pytest.mark.parametrize("temperature", ["30", "15", "1.02"])
def test_the_dial_shows_the_temperature_of_a_link_as_it_is(visit, temperature):
    page = visit(f"?sample=rocket&t={temperature}")
    expect_shown(page, temperature, "4, all")
    dial = page.get_by_label("Temperature", exact=True)
    expect(dial).to_have_attribute("aria-valuetext", temperature)
    away = [abs(stop - float(temperature)) for stop in STOPS]
    assert thumb(dial) == away.index(min(away))
    assert query(page)["t"] == temperature


def test_turning_one_dial_leaves_the_other_one_as_it_is(visit):
    page = visit("?sample=rocket&t=1.02")
    kernels = page.get_by_label("Kernels", exact=True)
    kernels.press("ArrowLeft")
    page.wait_for_url(re.compile(r"[?&]kernels=3(&|$)"))
    assert query(page)["t"] == "1.02"
    expect_shown(page, "1.02", "3 of 4")
    expect_numbers(page, record_of(sample("rocket"), Settings(temperature=1.02, kernels=3)))


def test_keys_reach_both_ends_and_every_stop_between(visit):
    page = visit("?sample=rocket&t=29.6")
    dial = page.get_by_label("Temperature", exact=True)
    for key, text in (
        ("End", "30"),
        ("Home", "0.1"),
        ("ArrowRight", f"{STOPS[1]:g}"),
        ("PageUp", None),
        ("PageDown", f"{STOPS[1]:g}"),
    ):
        dial.press(key)
        if text:
            expect_shown(page, text, "4, all")
        expect(dial).to_have_attribute("aria-valuetext", shown(page)[0])
    page.wait_for_url(re.compile(rf"[?&]t={STOPS[1]:g}(&|$)"))
    expect_numbers(page, record_of(sample("rocket"), Settings(temperature=STOPS[1])))


def test_from_between_two_stops_an_arrow_goes_to_the_next_one(visit):
    page = visit("?sample=rocket&t=29.6")
    page.get_by_label("Temperature", exact=True).press("ArrowRight")
    expect_shown(page, "30", "4, all")
    page.wait_for_url(re.compile(r"[?&]t=30(&|$)"))


def test_back_at_1_the_dial_says_as_trained_and_the_link_says_nothing(visit):
    page = visit("?sample=rocket&t=1.02")
    dial = page.get_by_label("Temperature", exact=True)
    dial.press("ArrowLeft")
    expect_shown(page, "1, as trained", "4, all")
    expect(page).not_to_have_url(re.compile(r"[?&]t="))
    expect_numbers(page, record_of(sample("rocket")))


def test_nothing_in_the_dials_moves_while_one_is_dragged(visit, server):
    page = visit("?sample=rocket")
    dial = page.get_by_label("Temperature", exact=True)
    places = """() => {
      const root = document.querySelector(".st-key-dials [data-testid=stBidiComponentIsolated]").shadowRoot;
      const top = root.querySelector(".dials").getBoundingClientRect();
      return [top.height, ...[...root.querySelectorAll("input")].flatMap((input) => {
        const box = input.getBoundingClientRect();
        return [box.x - top.x, box.y - top.y, box.width, box.height];
      })];
    }"""
    wait_for_server(page)
    expect(page.locator(".st-key-controls")).to_have_css("flex-wrap", "nowrap")  # the page's style is there, too
    before = page.evaluate(places)
    page.mouse.move(*place_on(dial, 0.4))
    page.mouse.down()
    for share in (0.5, 0.9):
        old = page.evaluate(NUMBERS)
        page.mouse.move(*place_on(dial, share))
        expect_change(page, old)
        assert page.evaluate(places) == before
    page.mouse.up()


def test_a_drag_that_ends_where_it_began_shows_what_was_shown_then(visit, server):
    page = visit("?sample=rocket")
    dial, at_first = page.get_by_label("Temperature", exact=True), record_of(sample("rocket"))
    wide, half = dial.bounding_box()["width"], 8  # px: the thumb's middle goes no nearer to an end
    one = (half + STOPS.index(1) / (len(STOPS) - 1) * (wide - 2 * half)) / wide
    wait_for_server(page)
    page.mouse.move(*place_on(dial, one))
    page.mouse.down()
    before = page.evaluate(NUMBERS)
    page.mouse.move(*place_on(dial, 0.9))
    expect_change(page, before)
    page.mouse.move(*place_on(dial, one))
    page.mouse.up()
    expect_shown(page, "1, as trained", "4, all")
    expect_numbers(page, at_first)
    expect(page.locator(".st-key-glance .tick")).to_have_count(0)  # no ghost marks


def test_a_network_with_one_kernel_has_no_dial_for_kernels(visit):
    page = visit("?sample=rocket&model=od_resnet18_w32_1x_tiny_imagenet.safetensors")
    expect(page.get_by_label("Temperature", exact=True)).to_be_visible()
    expect(page.get_by_label("Kernels", exact=True)).to_be_hidden()
