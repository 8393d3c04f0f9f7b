"""The page as a whole: what is seen at once, what stays in its place, and the page for a room and for paper."""

import re
from contextlib import suppress

import pytest
from playwright.sync_api import TimeoutError as TooLate
from playwright.sync_api import expect

from odconv import Settings
from tests.browser.explore import (
    LOOKS,
    NUMBERS,
    expect_change,
    expect_numbers,
    place_on,
    query,
    record_of,
    sample,
    wait_for_server,
)

SEEN = ("photo", "prediction", "dials", "glance")

PLACES = """(keys) => Object.fromEntries(keys.map((key) => {
  const { x, y, width, height } = document.querySelector(`.st-key-${key}`).getBoundingClientRect();
  return [key, [x, y, width, height].map(Math.round)];
}))"""

# Every text that is drawn, in shadow roots and SVG, too: its height as a visitor measures it on the screen, px.
TEXTS = """() => {
  const found = [];
  const walk = (node) => {
    if (node.nodeType === Node.TEXT_NODE) {
      const element = node.parentElement ?? node.parentNode.host;
      if (!node.data.trim() || element.closest("style, script, title, desc, template, .hidden")) return;
      const range = document.createRange();
      range.selectNodeContents(node);
      const box = range.getBoundingClientRect();
      if (!box.width || !box.height || !element.checkVisibility({ visibilityProperty: true })) return;
      let size = parseFloat(getComputedStyle(element).fontSize) * (element.currentCSSZoom ?? 1);
      const drawing = element.closest("svg");
      if (drawing) size *= drawing.getScreenCTM().a / (drawing.currentCSSZoom ?? 1);
      found.push([node.data.trim().slice(0, 40), Math.round(size * 10) / 10]);
      return;
    }
    for (const child of [...(node.shadowRoot?.childNodes ?? []), ...node.childNodes]) walk(child);
  };
  walk(document.body);
  return found;
}"""


def places(page):
    return page.evaluate(PLACES, list(SEEN))


def test_on_a_laptop_all_is_seen_at_once_and_nothing_moves_while_a_dial_is_dragged(visit):
    page = visit("?sample=rocket", viewport={"width": 1366, "height": 768})
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)  # which keeps the place of what is not there yet
    expect(page.locator(".st-key-photo img").first).to_be_visible()
    expect_numbers(page, record_of(sample("rocket")))
    before = places(page)
    for part, (x, y, width, height) in before.items():
        assert x >= 0, part
        assert y >= 60, part  # the header is for the list of pages
        assert x + width <= 1366, part
        assert y + height <= 768, part
    kernels, temperature = (page.get_by_label(name, exact=True) for name in ("Kernels", "Temperature"))
    for dial in (kernels, temperature):
        page.mouse.move(*place_on(dial, 0.4))
        page.mouse.down()
        for share in (0.1, 0.9, 0.6):
            old = page.evaluate(NUMBERS)
            page.mouse.move(*place_on(dial, share))
            expect_change(page, old)
            assert places(page) == before
        page.mouse.up()
    page.wait_for_url(re.compile(r"[?&]t="))
    assert places(page) == before


def test_the_fold_and_reset_are_reached_by_keys_and_the_focus_stays(visit):
    page = visit("?sample=rocket&t=3")
    reset, fold = page.get_by_role("button", name="Reset"), page.locator(".st-key-more summary")
    reset.focus()
    reset.press("Enter")
    expect(page).not_to_have_url(re.compile(r"[?&]t="))
    expect_numbers(page, record_of(sample("rocket")))
    expect(reset).to_be_focused()
    fold.focus()
    fold.press("Enter")
    heads = page.get_by_role("toolbar", name="Make even")
    expect(heads).to_be_visible()
    wait_for_server(page)  # what the fold holds is built when it opens
    heads.get_by_role("button", name="Kernel").press("Enter")
    page.wait_for_url(re.compile("ablate=kernel"))
    expect_numbers(page, record_of(sample("rocket"), Settings(ablate=("kernel",))))
    expect(heads).to_be_visible()  # the fold stays open
    expect(page.locator(".st-key-in_force")).to_contain_text("own mean instead of kernel attention")


@pytest.mark.parametrize("width", [820, 390])
def test_on_a_tablet_and_a_phone_the_parts_stand_one_below_the_other_and_nothing_scrolls_sideways(visit, width):
    page = visit("?sample=rocket", viewport={"width": width, "height": 900})
    tops = page.evaluate(PLACES, ["beginning", "gallery", *SEEN, "layer"])
    assert [top for _, top, _, _ in tops.values()] == sorted({top for _, top, _, _ in tops.values()})
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.get_by_test_id("stMain").evaluate("(main) => main.scrollWidth <= main.clientWidth")


def test_a_page_for_a_room_has_no_sidebar_and_no_text_below_20_px_and_everything_works(visit):
    page = visit("?sample=rocket,espresso&t=3&present=1", viewport={"width": 1366, "height": 768})
    expect(page.get_by_test_id("stSidebar")).to_be_hidden()
    expect(page.locator(".js-plotly-plot .xtick").first).to_be_visible()
    page.locator(".st-key-more summary").click()
    expect(page.get_by_role("toolbar", name="Make even")).to_be_visible()
    for width, height in ((1366, 768), (1920, 1080)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_function("(width) => innerWidth === width", arg=width)
        with suppress(TooLate):  # drawings follow the window in their own time
            page.wait_for_function(f"() => ({TEXTS})().every(([, size]) => size >= 20)", polling=LOOKS, timeout=5000)
        texts = page.evaluate(TEXTS)
        assert len(texts) > 250
        assert [text for text in texts if text[1] < 20] == []
        assert page.get_by_test_id("stMain").evaluate("(main) => main.scrollWidth <= main.clientWidth")
    seen = places(page)  # on a projector, photo, dials and glance are on one screen
    assert all(y + height <= 1080 for part, (_, y, _, height) in seen.items()), seen
    dial = page.get_by_label("Temperature", exact=True)
    dial.scroll_into_view_if_needed()
    page.mouse.move(*place_on(dial, 0.5))
    page.mouse.down()
    page.mouse.move(*place_on(dial, 0.8))
    page.mouse.up()
    page.wait_for_function("() => new URLSearchParams(location.search).get('t') > 8")
    second = list(record_of(sample("rocket")).layers)[1]
    page.locator(f".st-key-glance [data-name='{second}']").click()
    expect_numbers(page, record_of(sample("rocket"), Settings(temperature=float(query(page)["t"]))), second)
    page.get_by_role("button", name="End presentation").click()
    expect(page.get_by_test_id("stSidebar")).to_be_visible()
    expect(page).not_to_have_url(re.compile("present"))


def test_a_dark_page_is_printed_as_dark_ink_on_white_paper(visit):
    page = visit("?sample=rocket,espresso&present=1", color_scheme="dark")
    expect(page.locator(".js-plotly-plot .xtick").first).to_be_visible()
    page.emulate_media(media="print", color_scheme="dark")
    channels = """(element) => {
      const { color, fill, backgroundColor } = getComputedStyle(element);
      return [element instanceof SVGElement ? fill : color, backgroundColor].map((text) => text.match(/[\\d.]+/g).map(Number));
    }"""
    for paper in ("html", "body", "[data-testid=stApp]"):
        assert page.locator(paper).first.evaluate(channels)[1] == [255, 255, 255], paper
    for ink in (
        ".st-key-beginning h2",
        ".st-key-prediction .name",
        ".st-key-in_force p",
        ".st-key-glance svg text",
        ".st-key-layer h4",
        ".st-key-kernel .sentence",
        ".js-plotly-plot .xtick text",
    ):
        assert max(page.locator(ink).first.evaluate(channels)[0][:3]) < 110, ink
    assert page.locator(".st-key-beginning h2").evaluate("(title) => parseFloat(getComputedStyle(title).fontSize)") < 24
