"""Plugging in as a visitor meets it: totals and layers are those of the network that the page's own lines make."""

import re

from playwright.sync_api import expect

from odconv import ODConv2d
from odconv.attention import HEADS
from odconv.words import say
from tests.browser.explore import LOOKS, ROOT, query

BARS = f"""() => [...(({ROOT})("totals")?.querySelectorAll("[data-total] li .value") ?? [])].map((value) => value.textContent)"""
# For each dynamic layer, the heads whose colour its cells have.
CELLS = f"""(heads) => [...(({ROOT})("plugged")?.querySelectorAll("tbody tr:not(.static)") ?? [])].map((row) => [
  row.querySelector("th").textContent, heads.filter((head) => row.querySelector(`[style*="--${{head}})"]`)),
])"""
PARTS = ("plug_network", "plug_kernels", "plug_where", "totals", "plug_measure")


def run_lines(page):
    """What the lines on the page make."""
    made = {}
    exec(page.get_by_test_id("stCode").inner_text(), made)
    return made


def test_the_page_shows_what_its_lines_make_and_measures_it_on_a_click(visit):
    page = visit("plug_in?plug-network=own&plug-side=32", viewport={"width": 1366, "height": 768})
    kernels = page.locator(".st-key-plug_kernels")
    expect(kernels.get_by_role("radio", name="4")).to_be_checked()
    kernels.get_by_text("2", exact=True).click()
    page.wait_for_url(re.compile("plug-kernels=2"))
    expect(page.get_by_test_id("stCode")).to_contain_text("num_kernels=2")
    page.get_by_role("button", name=say("en", "plug.add")).click()
    page.wait_for_url(re.compile("plug-rows="))
    assert query(page)["plug-rows"].endswith(",128:3:1:none:2,128:3:1:none:2")
    expect(page.get_by_test_id("stCode")).to_contain_text(re.compile(r"(dilation=2[\s\S]*){2}"))
    made = run_lines(page)
    wanted = [f"{sum(some.numel() for some in made[name].parameters()):,}" for name in ("network", "model")]
    page.wait_for_function(f"(wanted) => String(({BARS})().slice(0, 2)) === String(wanted)", arg=wanted, polling=LOOKS)
    dynamic = {name: some for name, some in made["model"].named_modules() if isinstance(some, ODConv2d)}
    heads = [
        [name, [head for head in HEADS if getattr(layer.attention, f"{head}_fc") is not None]]
        for name, layer in dynamic.items()
    ]
    assert page.evaluate(CELLS, list(HEADS)) == heads

    for part in PARTS:  # on a laptop, choice and totals are seen at once
        box = page.locator(f".st-key-{part}").bounding_box()
        assert box["y"] + box["height"] <= 768, part
    page.get_by_role("button", name=say("en", "plug.measure")).click()
    expect(page.get_by_role("button", name=say("en", "plug.again"))).to_be_visible()
    page.wait_for_function(f"() => ({BARS})().length > 4", polling=LOOKS)  # a figure is drawn a moment after a button
    times = page.evaluate(BARS)[4:]
    assert len(times) == 2
    assert all(re.fullmatch(r"[\d.]+ ms", text) for text in times)

    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.locator(".st-key-plugged tbody tr").first).to_have_css("display", "grid")
    assert page.get_by_test_id("stMain").evaluate("(main) => main.scrollWidth <= main.clientWidth")
    page.emulate_media(media="print")
    expect(page.locator(".st-key-plug_rows")).to_be_hidden()
    expect(page.locator(".st-key-plug_network")).to_be_visible()
