"""The kernel itself, as a visitor meets it: the forged numbers are PyTorch's, for each picture and each temperature."""

import re

import pytest
import torch
from playwright.sync_api import TimeoutError as TooLate
from playwright.sync_api import expect

from odconv import Settings
from odconv.atlas import atlas_beside
from odconv.attention import Heads
from odconv.forge import forge_steps
from tests.browser.explore import FIRST, LOOKS, ROOT, WEIGHTS, network, place_on, query, record_of, sample

LINK = "&filter=5&channel=7"
FORGED = f"""() => [...(({ROOT})("kernel")?.querySelectorAll('[data-step=forged] title') ?? [])]
  .map((title) => Number(title.textContent.split(": ")[1].replace("−", "-")))"""
AGREE = f"""(wanted) => {{
  const shown = ({FORGED})();
  return shown.length === wanted.length && shown.every((value, i) => Math.abs(value - wanted[i]) < 2e-4);
}}"""


def forged(attention, layer=FIRST):
    heads = Heads(*(None if head is None else torch.from_numpy(head) for head in attention))
    return forge_steps(network().model.get_submodule(layer).weight, heads, 5, 7).forged


def attention_of(name, settings=None):
    return record_of(sample(name), settings).layers[FIRST].attention


def typical():
    return Heads(*(head[None] for head in atlas_beside(WEIGHTS).means()[FIRST]))


def expect_kernels(page, own, other):
    """Own, other, difference."""
    wanted = torch.stack([forged(own), forged(other), forged(own) - forged(other)]).flatten().tolist()
    try:
        page.wait_for_function(AGREE, arg=wanted, polling=LOOKS)
    except TooLate:
        assert page.evaluate(FORGED) == pytest.approx(wanted, abs=2e-4)  # says which


def expect_classes_of_kernels(page, first):
    """A line for each class and one mark on a strip; at either end, the classes with the highest and lowest mean shares."""
    shares = atlas_beside(WEIGHTS).layers[FIRST].kernel_by_class.astype(float)
    names = [name.partition(",")[0] for name in network().card.classes]
    rows = page.locator(".st-key-kernel .use li")
    expect(rows).to_have_count(4)
    for i, text in enumerate(rows.all_inner_texts()[:3]):
        falling = shares[:, i].argsort(kind="stable")[::-1]
        ends = [f"{names[label]} {shares[label, i]:.2f}" for label in (falling[0], falling[-1])]
        assert re.search(rf"most: {ends[0]}.*least: {ends[1]}", text, re.DOTALL)
        assert f"▼ {first} {shares[names.index(first), i]:.2f}, place " in text
        assert rows.nth(i).locator(".use-classes").get_attribute("d").count("M") == len(names)
        assert rows.nth(i).locator(".use-first").count() == 1


def test_the_forged_kernel_is_pytorchs_for_each_picture_and_at_each_temperature(visit, server):
    page = visit(f"?sample=rocket{LINK}")
    expect_kernels(page, attention_of("rocket"), typical())
    visit(f"?sample=espresso{LINK}")
    expect_kernels(page, attention_of("espresso"), typical())
    expect_classes_of_kernels(page, "espresso")
    visit(f"?sample=espresso,rocket&t=4.5{LINK}")
    expect_kernels(page, attention_of("espresso", Settings(4.5)), attention_of("rocket", Settings(4.5)))
    assert page.locator(".st-key-kernel canvas").count() == 3


def test_the_kernel_follows_the_temperature_when_the_dial_is_released_and_is_marked_before(visit):
    page = visit(f"?sample=rocket{LINK}")
    expect_kernels(page, attention_of("rocket"), typical())
    dial = page.get_by_label("Temperature", exact=True)
    page.mouse.move(*place_on(dial, 0.4))
    page.mouse.down()
    page.mouse.move(*place_on(dial, 0.7))
    expect(page.locator(".st-key-kernel")).to_have_attribute("aria-busy", "true")
    page.mouse.up()
    page.wait_for_url(re.compile(r"[?&]t="))
    expect_kernels(page, attention_of("rocket", Settings(float(query(page)["t"]))), typical())
    expect(page.locator(".st-key-kernel")).not_to_have_attribute("aria-busy", "true")


def test_filter_and_channel_are_chosen_and_go_into_the_link(visit):
    page = visit("?sample=rocket")
    expect(page.locator(".st-key-kernel .slice")).to_contain_text("differs most")
    assert "filter" not in query(page)
    field = page.get_by_label("Filter", exact=True)
    field.fill("5")
    field.press("Enter")
    page.wait_for_url(re.compile(r"[?&]filter=5(&|$)"))
    field = page.get_by_label("Input channel", exact=True)
    field.fill("7")
    field.press("Enter")
    page.wait_for_url(re.compile(r"[?&]channel=7(&|$)"))
    expect_kernels(page, attention_of("rocket"), typical())
    page.get_by_role("button", name="The slice that differs most").click()
    expect(page).not_to_have_url(re.compile(r"[?&]filter="))
    expect(page.locator(".st-key-kernel .slice")).to_contain_text("differs most")
