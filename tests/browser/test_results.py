"""Results as a visitor meets them: charts are drawn on every screen and on paper, and nothing is wider than a phone."""

import re

from playwright.sync_api import expect

from odconv.ui import published
from odconv.words import say
from tests.browser.explore import query

CHARTS = {"results_chart": 0, "results_parent": 4, "results_controls": 6, "results_scratch": 2}  # rows of pairs


def test_charts_follow_the_switch_and_fit_a_phone_and_paper(visit):
    page = visit("results", viewport={"width": 1366, "height": 768})
    chart = page.locator(".st-key-results_chart")
    expect(chart).to_contain_text(say("en", "results.axis_parameters"))
    expect(chart.locator(".scatterlayer .point")).to_have_count(len(published.imagenet()))
    for key, rows in list(CHARTS.items())[1:]:  # of six pairs each, and their means
        expect(page.locator(f".st-key-{key} .scatterlayer .point")).to_have_count(rows * 6 + rows)
    page.get_by_text(say("en", "results.against_multiply_adds"), exact=True).click()
    page.wait_for_url(re.compile("against=multiply_adds"))
    assert query(page) == {"against": "multiply_adds"}
    expect(chart).to_contain_text(say("en", "results.axis_multiply_adds"))
    left, right = (page.locator(f".st-key-{key}").bounding_box() for key in list(CHARTS)[:2])
    assert left["x"] + left["width"] <= right["x"]  # beside each other, and apart

    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.get_by_role("link", name="README").first).to_be_visible()
    assert page.get_by_test_id("stMain").evaluate("(main) => main.scrollWidth <= main.clientWidth")
    for key in ("results_published", "results_bundled"):
        tables = page.locator(f".st-key-{key} table")
        assert tables.evaluate_all(
            "(tables) => tables.every((table) => table.scrollWidth <= table.parentElement.clientWidth + 1)"
        ), key
    page.emulate_media(media="print")
    for key in CHARTS:
        expect(page.locator(f".st-key-{key} .main-svg").first).to_be_visible()
    expect(page.locator(".st-key-results_against")).to_be_hidden()
