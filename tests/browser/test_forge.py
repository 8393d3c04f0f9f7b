"""The lesson on forging, as a visitor meets it: every number of every step is PyTorch's, at each place."""

import re
from io import BytesIO

import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from playwright.sync_api import expect

from odconv import images
from tests import oracle
from tests.browser.explore import FIRST, LOOKS, ROOT, network, query, sample, upload, wait_for_server

LAYER, FILTER, CHANNEL = "layer2.0.conv1", 20, 13  # 3x3, stride 2, padding 1, 32 -> 64 channels
STRIDES = {LAYER: 2, FIRST: 1}

# Step -> its numbers: of squares row by row, of gates and sums as they stand there.
NUMBERS = f"""() => {{
  const root = ({ROOT})("forging"), minus = (text) => Number(text.replace("−", "-"));
  const titles = (selector) => [...(root?.querySelectorAll(`${{selector}} title`) ?? [])].map((title) => minus(title.textContent.split(": ")[1]));
  const texts = (selector) => [...(root?.querySelectorAll(selector) ?? [])].map((element) => minus(element.textContent.match(/[−-]?[\\d.]+(e[−-]?\\d+)?\\s*$/)?.[0] ?? "NaN"));
  return {{
    pooled: texts("[data-bars=pooled] .readout"),
    logits: titles("[data-step=logits-spatial]"), attention: titles("[data-step=attention-spatial]"),
    candidates: titles("[data-stage=weigh] [data-step=candidate]"), weighted: titles("[data-stage=weigh] [data-step=weighted]"),
    mixed: titles("[data-stage=sum] [data-step=mixed]"), taps: titles("[data-stage=taps] [data-step=taps]"),
    tapped: titles("[data-stage=taps] [data-step=tapped]"), gates: texts("[data-gate]"), forged: titles("[data-stage=gates] [data-step=forged]"),
    patch: titles("[data-step=patch]"), products: titles("[data-step=products]"), added: texts("[data-number=added]"),
    total: texts("[data-number=total]"), mapsFirst: texts("[data-number=maps-first]"),
  }};
}}"""
READY = f"""(total) => {{
  const shown = ({NUMBERS})().total[0];
  return Math.abs(shown - total) <= 1e-3 * Math.max(1, Math.abs(total));
}}"""


def in_layer(page):
    return page.locator(".st-key-forging")


def taken_of(data, layer=LAYER):
    """The layer's input and output in a pass that nothing but a hook looks at."""
    taken, model = {}, network().model
    hook = model.get_submodule(layer).register_forward_hook(lambda _, inputs, y: taken.update(x=inputs[0], y=y))
    with torch.inference_mode():
        model(images.prepare(images.decode(data), network().card))
    hook.remove()
    return taken["x"].double(), taken["y"][0].double()


def expected_of(x, row, column, layer=LAYER):
    """Every number of the page by the definition, in float64."""
    state = {name: t.double() for name, t in network().model.get_submodule(layer).state_dict().items()}
    row, column = STRIDES[layer] * row, STRIDES[layer] * column  # of the padded input
    logits = oracle.logits(state, x)
    attention = {head: values[0] for head, values in oracle.attentions(logits).items()}
    candidates = state["weight"][:, FILTER, CHANNEL]
    weighted = candidates * attention["kernel"][:, None, None]
    taps = attention["spatial"].view(3, 3)
    gates = torch.stack([attention["channel"][CHANNEL], attention["filter"][FILTER]])
    forged = weighted.sum(0) * taps * gates.prod()
    patches = F.pad(x[0], (1, 1, 1, 1))[:, row : row + 3, column : column + 3]
    every = oracle.forged(state["weight"], {head: values[None] for head, values in attention.items()}, 0, 1)[FILTER]
    numbers = {
        "pooled": x[0, CHANNEL].mean(),
        "logits": logits["spatial"],
        "attention": taps,
        "candidates": candidates,
        "weighted": weighted,
        "mixed": weighted.sum(0),
        "taps": taps,
        "tapped": weighted.sum(0) * taps,
        "gates": gates,
        "forged": forged,
        "patch": patches[CHANNEL],
        "products": forged * patches[CHANNEL],
        "added": (forged * patches[CHANNEL]).sum(),
        "total": (every * patches).sum(),
    }
    numbers["mapsFirst"] = numbers["total"]
    return {name: values.flatten().tolist() for name, values in numbers.items()}


def expect_numbers(page, x, y, row, column):
    page.wait_for_function(READY, arg=float(y[FILTER, row, column]), polling=LOOKS)
    shown, wanted = page.evaluate(NUMBERS), expected_of(x, row, column)
    assert set(shown) == set(wanted)
    for name, values in wanted.items():
        assert shown[name] == pytest.approx(values, rel=1e-3, abs=6e-3 if name in ("patch", "logits") else 6e-4), name
    assert wanted["total"][0] == pytest.approx(float(y[FILTER, row, column]), abs=1e-4)


def test_every_number_of_every_step_is_pytorchs_and_the_place_is_moved_by_keys_and_pointer(visit):
    link = f"forge?sample=rocket&layer={LAYER}&filter={FILTER}&channel={CHANNEL}&forge=all&place=1,1"
    page = visit(link, viewport={"width": 1360, "height": 1000})
    x, y = taken_of(sample("rocket"))
    expect(in_layer(page).locator("[data-badge]")).to_be_visible()
    expect_numbers(page, x, y, 0, 0)
    expect(page.get_by_role("button", name="One at a time")).to_be_visible()
    expect(page.get_by_role("button", name="Next", exact=False)).to_have_count(0)  # of steps that are all there
    expect(in_layer(page).locator("[data-stage=meet]")).to_contain_text("5 of 9 numbers lie outside")
    badge = in_layer(page).locator("[data-badge]").inner_text()
    [difference] = re.findall(r"\d\.\de-\d+", badge)
    assert float(difference) < 1e-4
    output = page.get_by_role("application", name=re.compile("^Output of filter 20"))
    output.focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        output.press(key)
    expect_numbers(page, x, y, 1, 2)
    page.wait_for_url(re.compile(r"place=2(,|%2C)3(&|$)"))
    output.scroll_into_view_if_needed()
    box = output.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 4.5 / 16, box["y"] + box["height"] * 6.5 / 16)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 9.5 / 16, box["y"] + box["height"] * 12.5 / 16, steps=3)
    page.mouse.up()
    expect_numbers(page, x, y, 12, 9)
    page.wait_for_url(re.compile(r"place=13(,|%2C)10(&|$)"))


def mirrored(name):
    """A photo that nobody has seen, with larger logits than most."""
    buffer = BytesIO()
    ImageOps.mirror(Image.open(BytesIO(sample(name)))).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def current_step(page):
    return in_layer(page).locator("[aria-current=step]")


def test_the_steps_are_walked_by_buttons_and_keys_on_a_photo_that_is_no_sample(visit):
    page = visit(f"forge?source=upload&layer={FIRST}&filter={FILTER}&channel={CHANNEL}")
    expect(page.get_by_test_id("stFileUploader")).to_be_visible()
    upload(page, "unseen.jpg", mirrored("rocket"))
    expect(current_step(page)).to_have_text("1 pool")
    next_step = page.get_by_role("button", name="Next", exact=False)
    next_step.click()
    next_step.press("ArrowRight")
    x, y = taken_of(mirrored("rocket"), FIRST)
    row, column = divmod(int(y[FILTER].abs().argmax()), y.shape[2])
    expected = expected_of(x, row, column, FIRST)
    assert max(expected["logits"]) > 10  # a cell has no room for all digits, and must not leave out the first ones
    texts = in_layer(page).locator("[data-step=logits-spatial] text")
    expect(texts).to_have_count(9)
    shown = [float(text.replace("−", "-")) for text in texts.all_text_contents()]
    assert shown == pytest.approx(expected["logits"], abs=0.051)
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    expect(current_step(page)).to_have_text("8 gates")
    page.wait_for_url(re.compile(r"forge=gates(&|$)"))
    lit = in_layer(page).locator(".forge-main .lit")
    expect(lit).to_have_text(["af", "ac"])
    in_layer(page).locator(".forge-main [data-go=taps]").hover()
    expect(lit).to_have_text(["as"])
    in_layer(page).locator(".forge-main [data-go=output]").last.click()
    expect(current_step(page)).to_have_text("10 output")
    page.keyboard.press("ArrowRight")
    page.wait_for_url(re.compile(r"forge=output(&|$)"))
    page.wait_for_function(READY, arg=float(y[FILTER, row, column]), polling=LOOKS)
    assert "place" not in query(page)
    page.keyboard.press("ArrowLeft")
    square = page.get_by_role("group", name=re.compile("^products"))
    square.focus()
    square.press("ArrowUp")
    square.press("ArrowLeft")
    line = in_layer(page).locator("[data-tap-line=meet]")
    expect(line).to_contain_text(re.compile("^Row 1, column 1: "))
    product = float(line.inner_text().rpartition("= ")[2].replace("−", "-"))
    assert product == pytest.approx(expected["products"][0], rel=1e-3, abs=1e-6)
    page.wait_for_url(re.compile(r"forge=meet(&|$)"))
    wait_for_server(page)
    page.go_back()
    expect(current_step(page)).to_have_text("10 output")
