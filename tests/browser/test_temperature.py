"""The temperature lesson as a visitor meets it: what it draws in the browser and what the network says are PyTorch's."""

import re

import numpy as np
import pytest
import torch
from playwright.sync_api import TimeoutError as TooLate
from playwright.sync_api import expect

from odconv import HEADS, Settings
from odconv.attention import Heads, attend
from odconv.ui.temperatures import SCHEDULE
from tests.browser.explore import FIRST, LOOKS, ROOT, place_on, query, record_of, sample

# What stands in the layer's figure: gates of the taps, row by row, and the shares of the kernels.
ATTENTION = f"""() => {{
  const inside = ({ROOT})("tempered");
  const gate = (title) => Number(title.textContent.split("= ").at(-1));
  const share = (row) => Number(row.querySelector("b").textContent);
  return [...(inside?.querySelectorAll("[data-square=gates] title") ?? [])].map(gate)
    .concat([...(inside?.querySelectorAll(".softmax tbody tr") ?? [])].map(share));
}}"""
BARS = f"""(key) => [...(({ROOT})(key)?.querySelectorAll(".value") ?? [])].map((value) => parseFloat(value.firstChild.textContent))"""
CLOSE = "(shown, wanted, within) => shown.length === wanted.length && shown.every((value, i) => Math.abs(value - wanted[i]) < within)"


def open_lesson(visit, link):
    page = visit(link)
    expect(page.locator(".st-key-tempered h4")).to_have_count(4)
    return page


def wait_for(page, read, wanted, within, *arguments):
    """Until the page shows these numbers."""
    wanted = [float(number) for number in wanted]
    try:
        page.wait_for_function(
            f"([wanted, within, ...rest]) => ({CLOSE})(({read})(...rest), wanted, within)",
            arg=[wanted, within, *arguments],
            polling=LOOKS,
        )
    except TooLate:
        assert page.evaluate(read, *arguments) == pytest.approx(wanted, abs=within)  # says which


def expect_attention(page, heads):
    wait_for(page, ATTENTION, [*np.ravel(heads.spatial[0]), *heads.kernel[0]], 0.002)


def expect_bars(page, key, probabilities):
    wait_for(page, BARS, probabilities, 0.0075, key)


def first_five(record):
    return np.sort(record.probabilities[0])[::-1][:5]


def test_the_layer_the_prediction_and_the_output_are_pytorchs_while_the_dial_is_dragged_and_after(visit):
    page = open_lesson(visit, "temperature?sample=rocket&t=4.5&compensate=1")
    trained, record = record_of(sample("rocket")), record_of(sample("rocket"), Settings(4.5, compensate=True))
    expect_attention(page, record.layers[FIRST].attention)
    expect_bars(page, "prediction", first_five(record))
    logits = trained.logits[0].astype(float)
    output = lambda temperature: np.sort(np.exp(logits / temperature) / np.exp(logits / temperature).sum())[::-1][:5]  # noqa: E731
    expect_bars(page, "output", output(4.5))
    badge = page.locator(".st-key-tempered .badge")
    expect(badge).to_contain_text("T = 4.5")
    assert float(re.search(r"by at most (\S+)", badge.inner_text())[1]) < 1e-6

    dial = page.get_by_label("Temperature T", exact=True)
    page.mouse.move(*place_on(dial, 0.6))
    page.mouse.down()
    page.mouse.move(*place_on(dial, 0.9), steps=4)
    held = float(page.locator("#t-all-value").inner_text())
    raw = Heads(*(torch.from_numpy(head) for head in record.layers[FIRST].logits))  # of the first layer: as trained
    expect_attention(page, attend(raw, Settings(held, compensate=True)))
    expect_bars(page, "output", output(held))
    assert query(page)["t"] == "4.5"
    page.mouse.up()
    page.wait_for_url(lambda url: f"t={held:g}" in url)
    expect(badge).to_contain_text(f"T = {held:g}")
    expect_bars(page, "prediction", first_five(record_of(sample("rocket"), Settings(held, compensate=True))))


def test_each_head_has_a_dial_and_the_epoch_sets_all(visit):
    page = open_lesson(visit, "temperature?sample=espresso&t=30,1,1,2")
    record = record_of(sample("espresso"), Settings(Heads(30.0, 1.0, 1.0, 2.0)))
    expect_attention(page, record.layers[FIRST].attention)
    expect_bars(page, "prediction", first_five(record))
    expect(page.locator(".st-key-temperatures input")).to_have_count(5)
    page.get_by_label("T, kernel", exact=True).press("End")
    page.wait_for_url(re.compile(r"[?&]t=30&tempered=spatial(,|%2C)kernel"))
    expect_bars(page, "prediction", first_five(record_of(sample("espresso"), Settings(30.0, ("spatial", "kernel")))))
    epoch = page.get_by_label("Epoch", exact=True)
    epoch.press("Home")
    for _ in range(3):
        epoch.press("ArrowRight")
    page.wait_for_url(re.compile(rf"[?&]t={SCHEDULE[3]:g}(&|$)"))
    expect(page.locator("#t-epoch-value")).to_have_text("0.3")
    expect_bars(page, "prediction", first_five(record_of(sample("espresso"), Settings(SCHEDULE[3]))))


def test_the_guess_is_answered_by_the_network_and_the_curves_follow_the_dial(visit):
    page = open_lesson(visit, "temperature?sample=raccoon")
    trained = record_of(sample("raccoon"))
    best = int(trained.logits[0].argmax())
    page.get_by_role("radio", name="filter", exact=True).click()
    alone, bars = [], []
    for head in HEADS:
        every = [Settings(30.0, (head,)), Settings(30.0, (head,), compensate=True)]
        shares = [record_of(sample("raccoon"), one).probabilities[0, best] for one in every]
        alone.append(shares[0])
        bars += shares[:1] if head == "kernel" else shares
    expect_bars(page, "answer-suffers", bars)
    worst = HEADS[int(np.argmin(alone))]
    expect(page.locator(".st-key-answer-suffers .reasons")).to_contain_text(f"With T = 30 on {worst} attention alone")
    expect(page).to_have_url(re.compile(r"answers=suffers\.filter(&|$)"))

    legend = page.locator(".st-key-curves .curve-legend").first
    expect(legend).to_contain_text("T = 1")
    page.get_by_label("Temperature T", exact=True).press("End")
    expect(legend).to_contain_text("T = 30")
    both = [
        record_of(sample("raccoon"), Settings(30.0, compensate=kept)).probabilities[0, best] for kept in (False, True)
    ]
    shown = [float(number) for number in legend.locator("b").all_inner_texts()]
    assert shown == pytest.approx(both, abs=0.0075)
