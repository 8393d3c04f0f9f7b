"""The Explore page as a visitor meets it; the numbers are PyTorch's, computed here."""

import re
from functools import cache
from io import BytesIO
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import TimeoutError as TooLate
from playwright.sync_api import expect

from odconv import Settings, explain, images, load_checkpoint
from odconv.atlas import atlas_beside
from odconv.ui import engine
from odconv.ui.sources import FOLDER
from tests.browser.server import Server

expect.set_options(timeout=20_000)
FIRST = "layer1.0.conv1"

ROOT = """(key) => document.querySelector(`.st-key-${key} [data-testid=stBidiComponentIsolated]`)?.shadowRoot
  ?.querySelector('.od')"""
# The numbers that stand on the page: probabilities, spatial taps row by row, kernel shares.
NUMBERS = f"""() => {{
  const inside = {ROOT};
  const read = (key, selector, number) => [...(inside(key)?.querySelectorAll(selector) ?? [])].map(number);
  return [
    ...read("prediction", ".value", (element) => parseFloat(element.firstChild.textContent)),
    ...read("layer", "title", (element) => Number(element.textContent.split(": ")[1])),
  ];
}}"""
AGREE = f"""(wanted) => {{
  const shown = ({NUMBERS})();
  const close = (value, i) => Math.abs(value - wanted[i]) < (i < 5 ? 0.0075 : 0.002);
  return shown.length === wanted.length && shown.every(close);
}}"""


WEIGHTS = engine.BUNDLED / engine.FIRST


@cache
def network():
    return load_checkpoint(WEIGHTS)


def record_of(data, settings=None):
    return explain(network().model, images.prepare(images.decode(data), network().card), settings)


def sample(name):
    return (FOLDER / f"{name}.jpg").read_bytes()


def numbers(record, layer=FIRST):
    attention = record.layers[layer].attention
    best = np.sort(record.probabilities[0])[::-1][:5]
    return [*map(float, best), *map(float, attention.spatial[0].ravel()), *map(float, attention.kernel[0])]


def expect_numbers(page, record, layer=FIRST):
    wanted = numbers(record, layer)
    try:
        page.wait_for_function(AGREE, arg=wanted)
    except TooLate:
        assert page.evaluate(NUMBERS) == pytest.approx(wanted, abs=0.005)  # says which


def open_page(page, url):
    page.goto(url)
    expect(page.get_by_role("listbox", name="at a glance")).to_be_visible()
    expect(page.locator(".st-key-layer h4")).to_have_count(4)
    return page


def query(page):
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def photo():
    """A photo that nobody has seen: gradients under noise."""
    y, x = np.mgrid[:300, :420]
    pixels = np.stack([x * 0.6, y * 0.8, 255 - x * 0.5], -1) + np.random.default_rng(7).normal(0, 25, (300, 420, 3))
    buffer = BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def upload(page, name, data):
    file = {"name": name, "mimeType": "image/jpeg", "buffer": data}
    page.get_by_test_id("stFileUploader").locator("input[type=file]").set_input_files([file])


def place_on(dial, share):
    box = dial.bounding_box()
    return box["x"] + box["width"] * share, box["y"] + box["height"] / 2


def test_an_uploaded_photo_shows_the_numbers_that_pytorch_computes(server, new_page):
    page = new_page()
    page.goto(f"{server.url}?source=upload")
    upload(page, "never seen.jpg", data := photo())
    record = record_of(data)
    expect_numbers(page, record)
    best = network().card.classes[int(record.logits[0].argmax())].split(",")[0]
    expect(page.locator(".st-key-prediction .name").first).to_have_text(best)
    expect(page.get_by_text("never seen.jpg").first).to_be_visible()
    assert "upload" in page.url
    assert "never" not in page.url


def test_figures_follow_the_temperature_while_it_is_dragged_and_agree_on_release(server, new_page):
    page = open_page(new_page(), f"{server.url}?sample=rocket")
    trained = record_of(sample("rocket"))
    expect_numbers(page, trained)
    dial = page.get_by_label("Temperature", exact=True)
    page.mouse.move(*place_on(dial, 0.4))
    page.mouse.down()
    for share in (0.5, 0.6, 0.7):
        before = page.evaluate(NUMBERS)
        page.mouse.move(*place_on(dial, share))
        page.wait_for_function(f"(before) => String(({NUMBERS})()) !== String(before)", arg=before)
    assert "t" not in query(page) or float(query(page)["t"]) > 1  # still held
    page.mouse.up()
    shown = page.locator(".st-key-dials output").first.text_content()
    page.wait_for_url(re.compile(rf"[?&]t={re.escape(shown)}(&|$)"))
    assert float(shown) > 1
    expect_numbers(page, record_of(sample("rocket"), Settings(temperature=float(shown))))
    expect(page.locator(".st-key-prediction .note")).to_contain_text("as trained")
    page.get_by_role("button", name="Reset").click()
    expect_numbers(page, trained)
    expect(page).not_to_have_url(re.compile(r"[?&]t="))


def test_at_a_switch_every_drawing_shows_differences_from_the_typical_picture(server, new_page):
    page = open_page(new_page(), f"{server.url}?sample=rocket,espresso")
    page.get_by_role("radio", name="Difference from the typical picture").click()
    page.wait_for_url(re.compile(r"[?&]show=difference"))
    expect(page.get_by_role("listbox", name="Difference from typical attention")).to_be_visible()
    typical = atlas_beside(WEIGHTS).means()[FIRST]
    for title, pictures in (("layer", ["rocket"]), ("side_by_side", ["rocket", "espresso"])):
        drawing = page.locator(f".st-key-{title}")
        expect(drawing).to_contain_text(re.compile("[+−]0[.]"))
        texts = drawing.locator("title").all_text_contents()
        shown = [float(text.split(": ")[1].replace("−", "-")) for text in texts if text.startswith("tap")]
        expected = [record_of(sample(name)).layers[FIRST].attention.spatial[0] - typical.spatial for name in pictures]
        assert shown == pytest.approx([value for shift in expected for value in shift.ravel()], abs=0.002)


def test_the_kernels_dial_is_turned_by_keyboard(server, new_page):
    page = open_page(new_page(), f"{server.url}?sample=rocket")
    dial = page.get_by_label("Kernels", exact=True)
    dial.focus()
    dial.press("ArrowLeft")
    page.wait_for_url(re.compile(r"[?&]kernels=3(&|$)"))
    expect_numbers(page, record_of(sample("rocket"), Settings(kernels=3)))
    expect(dial).to_be_focused()
    dial.press("Home")
    page.wait_for_url(re.compile(r"[?&]kernels=1(&|$)"))
    expect_numbers(page, record_of(sample("rocket"), Settings(kernels=1)))
    dial.press("End")
    expect(page).not_to_have_url(re.compile(r"[?&]kernels="))
    expect_numbers(page, record_of(sample("rocket")))


def test_a_link_opened_on_a_cold_server_restores_the_view(new_page):
    settings = Settings(temperature=4.5, kernels=2, keep="first", compensate=True, ablate=("channel",))
    link = "?sample=raccoon&layer=layer2.1.conv2&t=4.5&kernels=2&keep=first&compensate=1&ablate=channel"
    with Server() as cold:
        page = open_page(new_page(), f"{cold.url}{link}")
        expect(page.get_by_role("heading", name="One layer: layer2.1.conv2", exact=True)).to_be_visible()
        expect(page.locator(".st-key-gallery [aria-pressed=true]")).to_have_attribute("title", "Raccoon")
        expect(page.locator(".st-key-dials output")).to_have_text(["4.5", "2 of 4"])
        expect_numbers(page, record_of(sample("raccoon"), settings), "layer2.1.conv2")
        assert {name: value for name, value in query(page).items() if name != "model"} == dict(
            part.split("=") for part in link[1:].split("&")
        )


def test_a_link_carries_the_chosen_model(server, new_page):
    name = WEIGHTS.name
    page = open_page(new_page(), f"{server.url}?model={name}&sample=rocket")
    assert query(page)["model"] == name


def test_a_phone_in_dark_theme_shows_everything_without_scrolling_sideways(server, new_page):
    page = new_page(viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True, is_mobile=True)
    open_page(page, f"{server.url}?sample=rocket,raccoon")
    expect(page.locator(".st-key-side_by_side svg").first).to_be_visible()
    wide = """() => [document.scrollingElement, ...document.querySelectorAll('[data-testid=stMain], [data-testid=stApp]')]
      .filter((element) => element.scrollWidth > element.clientWidth + 1).map((element) => element.outerHTML.slice(0, 80))"""
    assert page.evaluate(wide) == []
    background = page.get_by_test_id("stApp").evaluate("(element) => getComputedStyle(element).backgroundColor")
    assert max(map(int, re.findall(r"\d+", background)[:3])) < 64
    number = page.locator(".st-key-prediction .value").first
    expect(number).to_be_visible()
    ink = number.evaluate("(element) => getComputedStyle(element).color")
    assert min(map(int, re.findall(r"\d+", ink)[:3])) > 180
    tap = page.locator(".st-key-layer svg text").first
    assert min(map(int, re.findall(r"\d+", tap.evaluate("(e) => getComputedStyle(e).fill"))[:3])) > 180
    assert page.locator(".st-key-glance svg").first.bounding_box()["width"] <= 390


def test_arrow_keys_and_clicks_choose_a_layer(server, new_page):
    page = open_page(new_page(), f"{server.url}?sample=rocket")
    record, glance = record_of(sample("rocket")), page.get_by_role("listbox", name="at a glance")
    names = list(record.layers)
    glance.focus()
    glance.press("ArrowRight")
    expect(page.get_by_role("heading", name=f"One layer: {names[1]}", exact=True)).to_be_visible()
    expect_numbers(page, record, names[1])
    expect(glance).to_be_focused()
    expect(page).to_have_url(re.compile(re.escape(f"layer={names[1]}")))
    glance.press("End")
    expect(page.get_by_role("heading", name=f"One layer: {names[-1]}", exact=True)).to_be_visible()
    page.locator(f".st-key-glance [data-name='{names[2]}']").click()
    expect_numbers(page, record, names[2])


# Streamlit's header and the faded grey of its image captions, and plotly's own SVG: the project does not draw them.
NOT_OURS = ("[data-testid=stHeader]", "[data-testid=stImageCaption]", ".js-plotly-plot")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(server, new_page, theme):
    page = open_page(new_page(color_scheme=theme), f"{server.url}?sample=rocket,raccoon&t=3&kernels=2")
    expect(page.locator(".st-key-side_by_side svg").first).to_be_visible()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    violations = Axe().run(page, context={"exclude": [[selector] for selector in NOT_OURS]}).response["violations"]
    found = [
        f"{violation['id']}: {node['html'][:150]}"
        for violation in violations
        for node in violation["nodes"]
        if violation["impact"] in ("serious", "critical")
    ]
    assert found == []


def test_a_hostile_upload_gives_one_sentence_and_the_page_keeps_working(server, new_page):
    page = new_page()
    page.goto(f"{server.url}?source=upload")
    upload(page, "<img src=x onerror=alert(1)>**x**.jpg", b"This is no picture at all.")
    alert = page.get_by_test_id("stAlert").filter(has_text=".jpg")
    expect(alert).to_have_count(1)
    expect(alert).to_contain_text("<img src=x onerror=alert(1)>**x**.jpg:")
    expect(page.locator("img[src=x]")).to_have_count(0)
    page.get_by_role("radio", name="Samples").or_(page.get_by_role("button", name="Samples")).first.click()
    expect_numbers(page, record_of(sample("espresso")))


def test_a_heic_photo_is_refused_by_name_and_logged(server, new_page):
    page = new_page()
    page.goto(f"{server.url}?source=upload")
    upload(page, "IMG_0001.HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
    expect(page.get_by_test_id("stSidebar").get_by_test_id("stAlert")).to_contain_text(
        "IMG_0001.HEIC: This is a HEIC picture; JPEG, PNG and WebP"
    )
    assert "picture refused: IMG_0001.HEIC" in server.log.read_text()


def test_an_iphone_is_not_offered_heic_so_that_it_converts_its_photos_itself(server, new_page):
    page = new_page(user_agent="Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15")
    page.goto(f"{server.url}?source=upload")
    offered = page.get_by_test_id("stFileUploader").locator("input[type=file]")
    expect(offered).to_have_attribute("accept", re.compile("jpe?g"))
    assert "hei" not in offered.get_attribute("accept")


def test_a_hostile_name_of_a_good_photo_stays_text(server, new_page):
    name = "<img src=x onerror=alert(1)> **x** $x$ :red[x].jpg"
    page = new_page()
    page.goto(f"{server.url}?source=upload")
    upload(page, name, photo())
    expect_numbers(page, record_of(photo()))
    expect(page.locator("img[src=x]")).to_have_count(0)
    expect(page.get_by_test_id("stImageCaption").first).to_have_text(name, timeout=3000)


def opened_offline(page, new_page, path):
    """The page's HTML file, downloaded to ``path`` and opened without a network."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Figures as HTML").click()
    download.value.save_as(path)
    offline = new_page(offline=True)
    offline.goto(path.as_uri())
    return offline


def test_the_html_file_opens_offline_and_answers_a_key(server, new_page, tmp_path):
    page = open_page(new_page(), f"{server.url}?sample=rocket&t=3")
    offline = opened_offline(page, new_page, tmp_path / "attention.html")
    expect(offline.get_by_role("heading", name="Rocket")).to_be_visible()
    glance = offline.get_by_role("listbox", name="at a glance")
    expect(glance.get_by_role("option").first).to_be_visible()
    expect(offline.get_by_role("heading", name=f"One layer: {FIRST}")).to_be_visible()
    glance.focus()
    glance.press("ArrowRight")
    expect(offline.get_by_role("heading", name="One layer: layer1.0.conv2")).to_be_visible()
    kernel = record_of(sample("rocket"), Settings(temperature=3.0)).layers["layer1.0.conv2"].attention.kernel[0]
    shown = [float(text.split(": ")[1]) for text in offline.locator(".layer title").all_text_contents()][-4:]
    assert shown == pytest.approx(kernel, abs=0.002)


def test_the_html_file_shows_differences_where_the_page_does(server, new_page, tmp_path):
    page = open_page(new_page(), f"{server.url}?sample=rocket&show=difference")
    offline = opened_offline(page, new_page, tmp_path / "attention.html")
    expect(offline.get_by_text("difference from 10,000 validation pictures' mean")).to_be_visible()
    texts = offline.locator(".layer title").all_text_contents()
    shift = (
        record_of(sample("rocket")).layers[FIRST].attention.spatial[0] - atlas_beside(WEIGHTS).means()[FIRST].spatial
    )
    shown = [float(text.split(": ")[1].replace("−", "-")) for text in texts if text.startswith("tap")]
    assert shown == pytest.approx(shift.ravel(), abs=0.002)


def test_the_comparison_and_the_download_follow_every_setting_and_the_layer(server, new_page):
    page = open_page(new_page(), f"{server.url}?sample=espresso,rocket")
    page.get_by_role("listbox", name="at a glance").press("ArrowRight")
    expect(page.get_by_role("heading", name="2 pictures in layer1.0.conv2")).to_be_visible()
    page.get_by_role("button", name="Kernel", exact=True).click()
    expect(page).to_have_url(re.compile("ablate=kernel"))
    expect(page.locator(".st-key-side_by_side")).to_contain_text("0.25")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    rows = download.value.path().read_text().splitlines()
    shares = [float(row.split(",")[-1]) for row in rows[1:] if ',"kernel",' in row]
    assert shares
    assert set(shares) == {0.25}
