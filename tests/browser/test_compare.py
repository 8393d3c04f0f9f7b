"""Compare as a visitor meets it: what stands on the page for either side, and their difference, are PyTorch's."""

import numpy as np
import pytest
from playwright.sync_api import TimeoutError as TooLate
from playwright.sync_api import expect

from odconv import Settings, explain, images, load_checkpoint
from odconv.attention import HEADS
from odconv.comparison import find_largest
from odconv.ui import engine
from tests.browser.explore import FIRST, LOOKS, ROOT, photo, place_on, query, record_of, sample, upload

ONE_KERNEL = "od_resnet18_w32_1x_tiny_imagenet.safetensors"

# What stands in the drawing of one layer: taps and shares of A, of B, and of B minus A.
CELLS = f"""() => {{
  const inside = ({ROOT})("sides");
  const number = (title) => Number(title.textContent.split(/[:：] ?/)[1].replace("−", "-"));
  return [0, 1, 2].map((side) => [...(inside?.querySelectorAll(`[data-side="${{side}}"] title`) ?? [])].map(number));
}}"""
SIZES = f"""() => [...(({ROOT})("differences")?.querySelectorAll("[data-size]") ?? [])].map((cell) => Number(cell.dataset.size))"""
BARS = f"""() => ["side_a", "side_b"].map((key) => [...(({ROOT})(key)?.querySelectorAll(".value") ?? [])].map((value) => parseFloat(value.firstChild.textContent)))"""
CLOSE = """([shown, wanted, within]) => shown.flat().length === wanted.flat().length
  && shown.flat().every((value, i) => Math.abs(value - wanted.flat()[i]) < within)"""


def wait_for(page, read, wanted, within):
    """Until the page shows these numbers."""
    wanted = [[float(number) for number in some] for some in wanted]
    try:
        page.wait_for_function(
            f"([wanted, within]) => ({CLOSE})([({read})(), wanted, within])", arg=[wanted, within], polling=LOOKS
        )
    except TooLate:
        shown = page.evaluate(read)
        assert np.concatenate([np.ravel(some) for some in shown]) == pytest.approx(np.concatenate(wanted), abs=within)


def drawn(attention):
    """The heads whose single numbers stand on the page, in its order."""
    return np.concatenate([np.ravel(head[0]) for head in (attention.spatial, attention.kernel) if head is not None])


def first_three(record):
    return np.sort(record.probabilities[0])[::-1][:3]


def expect_sides(page, a, b, layer=FIRST):
    ours, theirs = (drawn(record.layers[layer].attention).astype(float) for record in (a, b))
    wait_for(page, CELLS, [ours, theirs, theirs - ours], 0.0011)
    wait_for(page, BARS, [first_three(a), first_three(b)], 0.0051)
    sizes = [
        [
            np.abs(
                getattr(b.layers[name].attention, head).astype(float) - getattr(a.layers[name].attention, head)
            ).mean()
            for name in a.layers
            for head in HEADS
        ]
    ]
    wait_for(page, SIZES, sizes, 6e-5)


def test_either_side_and_the_difference_are_pytorchs_and_follow_dial_swap_and_click(visit):
    page = visit("compare?sample=espresso&b-t=3&layer=layer1.0.conv1", viewport={"width": 1366, "height": 768})
    expect(page.locator(".st-key-sides h4")).to_have_count(3)
    a, b = record_of(sample("espresso")), record_of(sample("rocket"), Settings(3.0))
    expect_sides(page, a, b)
    found = find_largest(a, b)
    expect(page.locator(".st-key-sides_sentence")).to_contain_text(
        f"Most different: {found.head} attention in {found.layer}"
    )
    expect(page.locator(".st-key-sides_sentence")).to_contain_text(f"by {found.size:.2f} on average")
    # The essentials are on one screen.
    for element in (".st-key-side_a", ".st-key-side_b", ".st-key-differences", ".st-key-sides .sides"):
        box = page.locator(element).first.bounding_box()
        assert box["y"] + box["height"] <= 768, element

    dial = page.locator(".st-key-b_temperature input")
    page.mouse.move(*place_on(dial, 0.6))
    page.mouse.down()
    page.mouse.move(*place_on(dial, 0.9), steps=3)
    page.mouse.up()
    page.wait_for_url(lambda url: "b-t=3&" not in url and not url.endswith("b-t=3"))
    hot = float(query(page)["b-t"])
    assert hot > 3
    b = record_of(sample("rocket"), Settings(hot))
    expect_sides(page, a, b)

    page.get_by_role("button", name="Swap").click()
    expect_sides(page, b, a)
    assert query(page)["t"] == f"{hot:g}"
    assert query(page)["b-t"] == "1"

    page.locator(".st-key-differences [role=option]").nth(6).click()
    name = list(a.layers)[6]
    expect_sides(page, b, a, name)
    page.locator(".st-key-differences [role=listbox]").press("ArrowRight")
    expect_sides(page, b, a, list(a.layers)[7])
    page.go_back()
    expect_sides(page, b, a, name)


def test_a_photo_that_is_no_sample_meets_another_network_on_a_phone(visit):
    link = f"compare?source=upload&b-picture=same&b-model={ONE_KERNEL}&layer=layer1.0.conv1&lang=zh"
    page = visit(link, viewport={"width": 390, "height": 844})
    data = photo()
    upload(page, "mine.jpg", data)
    single = load_checkpoint(engine.BUNDLED / ONE_KERNEL)
    other = explain(single.model, images.prepare(images.decode(data), single.card))
    a, b = (record.layers[FIRST].attention for record in (record_of(data), other))
    wanted = [
        drawn(a),
        drawn(b),
        np.ravel(b.spatial.astype(float) - a.spatial),
    ]  # one kernel: no shares, so no difference
    wait_for(page, CELLS, wanted, 0.0011)
    wait_for(page, BARS, [first_three(record_of(data)), first_three(other)], 0.0051)
    expect(page.locator(".st-key-sides [data-head=kernel] .why")).to_have_count(2)
    expect(page.locator(".st-key-sides_sentence")).to_contain_text("差异最大")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert "mine" not in page.url
