"""The lesson on switches as a visitor meets it: its numbers are PyTorch's, for switches, the map, the hand and the brush."""

import re

import numpy as np
import pytest
from playwright.sync_api import TimeoutError as TooLate
from playwright.sync_api import expect

from odconv import HEADS, Settings, explain, images
from odconv.atlas import atlas_beside
from odconv.attention import Heads
from odconv.edits import Dab, PictureEdit, apply_edit
from odconv.switches import (
    NOTHING,
    RELATIVES,
    Sources,
    Switches,
    attentions_of,
    cells_of,
    find_effect,
    relative,
    set_by_hand,
    switch_of,
    to_pass,
)
from tests.browser.explore import FIRST, LOOKS, ROOT, WEIGHTS, network, place_on, query, record_of, sample

# Change of the logit and the probability that is left, of each head, of all together and of the relatives.
ROWS = f"""() => [...(({ROOT})("switches")?.querySelectorAll("tr:has(.logit)") ?? [])].flatMap((row) => [
  Number(row.querySelector(".logit").textContent.replace("−", "-")), Number(row.querySelector(".probability").textContent.split("→")[1]),
])"""
CELLS = f"""() => [...(({ROOT})("effects")?.querySelectorAll("[role=gridcell]") ?? [])].map((cell) => Number(cell.dataset.value))"""
BARS = f"""() => [...(({ROOT})("prediction")?.querySelectorAll(".value") ?? [])].map((value) => parseFloat(value.firstChild.textContent))"""
CLOSE = "(shown, wanted, within) => shown.length === wanted.length && shown.every((value, i) => Math.abs(value - wanted[i]) < within)"


def wait_for(page, read, wanted, within):
    """Until the page shows these numbers."""
    wanted = [float(number) for number in wanted]
    try:
        page.wait_for_function(
            f"([wanted, within]) => ({CLOSE})(({read})(), wanted, within)", arg=[wanted, within], polling=LOOKS
        )
    except TooLate:
        assert page.evaluate(read) == pytest.approx(wanted, abs=within)  # says which


def open_lesson(visit, link):
    page = visit(link)
    expect(page.locator(".st-key-switches select")).to_have_count(4)
    return page


def logits_of(data, switches, sources, edit=None):
    picture = images.decode(data) if edit is None else apply_edit(images.decode(data), edit)
    told = to_pass(switches, sources)
    return explain(network().model, images.prepare(picture, network().card), told.settings, given=told.given).logits[0]


def rows(data, switches, sources):
    """What the table is to show."""
    trained = logits_of(data, Switches(), sources)
    passes = [*map(switches.alone, HEADS), switches, *(relative(name, "typical") for name in RELATIVES)]
    effects = [find_effect(trained, logits_of(data, one, sources)) for one in passes]
    return [number for effect in effects for number in (effect.logit, effect.probability)]


def typical():
    return atlas_beside(WEIGHTS).means()


def first_five(logits):
    shares = np.exp(logits.astype(float) - logits.max())
    return np.sort(shares / shares.sum())[::-1][:5]


def test_switches_relatives_and_the_map_are_pytorchs(visit):
    page = open_lesson(visit, "switches?sample=tabby-cat&switch=typical,mean,learned,shuffled&seed=3")
    data = sample("tabby-cat")
    donor = attentions_of(record_of(sample("rocket")))
    sources = Sources(typical(), donor, NOTHING)
    choices = Heads("typical", "mean", "learned", "shuffled")
    wait_for(page, ROWS, rows(data, Switches(choices, seed=3), sources), 0.0075)
    wait_for(page, BARS, first_five(logits_of(data, Switches(choices, seed=3), sources)), 0.0075)

    page.get_by_label("In place of filter attention").select_option("transplanted")
    page.get_by_label("In place of spatial attention").select_option("argmax")
    page.wait_for_url(re.compile(r"switch=argmax(,|%2C)mean(,|%2C)transplanted(,|%2C)shuffled"))
    page.locator(".st-key-b_picture input").fill("Rocket")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("b-picture=rocket"))
    choices = Heads("argmax", "mean", "transplanted", "shuffled")
    wait_for(page, ROWS, rows(data, Switches(choices, seed=3), sources), 0.0075)

    page.get_by_role("button", name="SE-like").click()
    choices = relative("se", "typical").choices
    wait_for(page, ROWS, rows(data, Switches(choices), sources), 0.0075)

    page.get_by_role("button", name="Compute the map").click()
    trained = record_of(data)
    cells = cells_of(trained)
    effects = [
        find_effect(trained.logits[0], logits_of(data, switch_of(cell, "typical"), sources)).logit for cell in cells
    ]
    by_row = [effects[cells.index((name, head))] for head in HEADS for name in trained.layers]
    wait_for(page, CELLS, by_row, 0.001)
    expect(page.locator(".st-key-effects .sentence")).to_contain_text("The cell that costs tabby most: ")
    grid = page.get_by_role("grid")
    grid.press("ArrowRight")
    grid.press("ArrowDown")
    grid.press("Enter")
    page.wait_for_url(re.compile("where=one"))
    assert query(page)["layer"] == "layer1.0.conv2"
    assert query(page)["switch"] == "learned,typical,learned,learned"


def test_what_is_set_by_hand_and_brushed_out_is_what_the_network_gets(visit):
    page = open_lesson(visit, "switches?sample=espresso")
    data, learned = sample("espresso"), attentions_of(record_of(sample("espresso")))[FIRST]
    taps = page.get_by_role("slider", name="Set spatial attention by hand")
    for key in ("ArrowRight", "ArrowDown", "Home"):  # the tap in the middle
        taps.press(key)
    page.wait_for_url(re.compile(r"hand=spatial(:|%3A)4(:|%3A)0(&|$)"))
    gates = page.get_by_role("slider", name="Set channel attention by hand")
    x, y = place_on(gates, 0.31)
    height = gates.bounding_box()["height"]
    page.mouse.move(x, y)
    page.mouse.down()
    expect(page.get_by_label("In place of channel attention")).to_have_value("hand")  # the network has answered
    page.mouse.move(x + 40, y - height / 4, steps=4)
    page.mouse.up()
    page.wait_for_url(re.compile(r"channel(:|%3A)9(:|%3A)0\.7"))  # of 32; the one that was pressed
    edits = [
        (head, int(entry), float(value))
        for head, entry, value in (one.split(":") for one in query(page)["hand"].split(","))
    ]
    sources = Sources(typical(), NOTHING, {FIRST: set_by_hand(learned, edits)})
    choices = Heads("hand", "hand", "learned", "learned")
    wait_for(page, ROWS, rows(data, Switches(choices), sources), 0.0075)

    page.get_by_role("button", name="All as learned").click()
    brush = page.get_by_role("application", name="Brush")
    brush.press(" ")  # in the middle
    page.wait_for_url(re.compile("brush"))
    edit = PictureEdit(brush=(Dab(500, 500, 80),))
    plain, painted = (logits_of(data, Switches(), sources, one) for one in (None, edit))
    wait_for(page, BARS, first_five(painted), 0.0075)
    best = int(plain.argmax())
    powers = np.exp(painted.astype(float) - painted.max())
    expect(page.locator(".st-key-edit_sentence")).to_contain_text(f"to {powers[best] / powers.sum():.2f}")
    assert record_of(data, Settings()).logits[0].argmax() == best
