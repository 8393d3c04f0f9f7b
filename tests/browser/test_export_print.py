"""The HTML file as a browser shows it: in both languages, in a narrow window, on paper, and with hostile names in it."""

import re
from itertools import combinations

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from odconv import Settings, explain
from odconv.cost import LayerCost
from odconv.explain import effective_kernels
from odconv.export import Context, to_html
from odconv.words import LANGUAGES, say

CLASSES = ("tabby", "rocket", "espresso", "plane", "goldfish")
TITLES = ("Dahlia", "Rocket")
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
CHANGED = Settings(temperature=3.0, kernels=2, keep="first")


@pytest.fixture(scope="module")
def record(small_model, images):
    return explain(small_model, images[:2], CHANGED)


@pytest.fixture(scope="module")
def trained(small_model, images):
    return explain(small_model, images[:2])


@pytest.fixture
def file(record, trained, tmp_path):
    """The address of a file of two pictures under changed settings."""

    def write(language="en", name=None, classes=CLASSES, titles=TITLES, settings=CHANGED):
        """``name``: instead of every layer's, model's and picture's."""
        now, before = (record, trained) if settings == CHANGED else (trained, None)
        if name is not None:
            now, before = (renamed(explanation, name) for explanation in (record, trained))
            classes, titles = (name,) * 5, (name,) * 2
        context = Context(language, name or "model", name or "weights", classes, titles)
        path = tmp_path / "attention.html"
        path.write_bytes(
            to_html(
                context,
                now,
                before,
                photos=[PIXEL] * 2,
                costs={layer: LayerCost(layer, 1000, 2000) for layer in now.layers},
                places={
                    layer: (name or layer.partition(".")[0], name or layer.rpartition(".")[2]) for layer in now.layers
                },
                selected=next(iter(now.layers)),
            )
        )
        return path.as_uri()

    return write


def renamed(explanation, name):
    layers = {f"{i} {name}": layer for i, layer in enumerate(list(explanation.layers.values())[:2])}
    return type(explanation)(explanation.settings, explanation.logits, layers)


def bars(page):
    return page.locator(".bar").evaluate_all("(all) => all.map((bar) => bar.getBoundingClientRect().width)")


def tracks(page):
    return page.locator(".track").evaluate_all("(all) => all.map((track) => track.getBoundingClientRect().width)")


def test_bars_are_as_long_as_their_shares_however_narrow_their_column_is(file, new_page, record):
    page = new_page(viewport={"width": 820, "height": 900})
    page.goto(file())
    shares = np.concatenate([np.sort(shares)[::-1] for shares in record.probabilities])
    for column in (110, 180, 300, 379, 381, 700):
        page.add_style_tag(content=f".top .prediction {{ flex: none; width: {column}px; }}")
        assert min(tracks(page)) >= 89
        np.testing.assert_allclose(bars(page), shares * tracks(page), atol=1)


def test_on_a_tablet_and_on_a_phone_every_bar_has_room_and_nothing_is_wider_than_the_window(file, new_page):
    page = new_page()
    page.goto(file())
    for width in (820, 390, 320):
        page.set_viewport_size({"width": width, "height": 900})
        assert min(tracks(page)) >= 89
        page.wait_for_function("(width) => document.documentElement.scrollWidth <= width", arg=width)


def test_no_term_of_the_equation_reaches_another_one_or_the_line_below(file, new_page):
    page = new_page()
    page.goto(file())
    for width in (90, 130, 180, 250, 600):
        equation = page.locator(".equation").first
        equation.evaluate("(element, width) => { element.style.width = `${width}px`; }", width)
        boxes = [term.bounding_box() for term in equation.locator(".term").all()]
        assert len(boxes) == 4
        for one, other in combinations(boxes, 2):
            across = max(one["x"], other["x"]) - min(one["x"] + one["width"], other["x"] + other["width"])
            down = max(one["y"], other["y"]) - min(one["y"] + one["height"], other["y"] + other["height"])
            assert max(across, down) >= 2
        room = equation.bounding_box()  # what stands below the equation begins where it ends
        assert all(box["y"] + box["height"] <= room["y"] + room["height"] for box in boxes)


def test_print_keeps_bars_photos_and_the_whole_glance(file, new_page):
    page = new_page(viewport={"width": 1366, "height": 900}, color_scheme="dark")
    page.goto(file())
    page.emulate_media(media="print", color_scheme="dark")
    assert min(bars(page)[:5]) > 0
    for element in (".bar", ".track", ".equation .term", "figcaption i", "img"):
        for exact in page.locator(element).evaluate_all(
            "(all) => all.map((e) => getComputedStyle(e).printColorAdjust)"
        ):
            assert exact == "exact"
    assert page.locator(".bar").first.evaluate("(e) => getComputedStyle(e).backgroundColor") != "rgba(0, 0, 0, 0)"
    assert page.locator("img").first.is_visible()
    # Dark on white, whatever the theme of the screen is.
    assert page.locator("body").evaluate("(e) => getComputedStyle(e).backgroundColor") == "rgb(255, 255, 255)"
    ink = page.locator("main").evaluate("(e) => getComputedStyle(e).color")
    assert max(map(int, re.findall(r"\d+", ink)[:3])) < 100
    for control in (".choices", ".hold", ".readout"):
        assert not page.locator(control).first.is_visible()


def test_drawings_are_redrawn_at_the_width_of_paper_and_then_at_the_screens(file, new_page, record):
    page = new_page(viewport={"width": 1366, "height": 900})
    page.goto(file())
    widths = "() => [...document.querySelectorAll('.glance svg')].map((svg) => Number(svg.getAttribute('width')))"
    on_screen = page.evaluate(widths)
    assert min(on_screen) > 1000
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(widths) == [680, 680]
    assert page.locator(".glance").first.get_by_role("option").count() == len(record.layers)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(widths) == on_screen


def test_a_drawing_shrinks_as_a_whole_where_paper_is_narrower_than_it(file, new_page):
    page = new_page(viewport={"width": 1366, "height": 900})
    page.goto(file())
    glance = page.locator(".glance svg").first
    before = glance.bounding_box()
    # What it was drawn for stays; the room is half of it, before anything could be redrawn.
    half = glance.evaluate(
        """(svg) => { svg.parentElement.style.width = "50%"; const box = svg.getBoundingClientRect(); return [box.width, box.height]; }"""
    )
    assert half == pytest.approx([before["width"] / 2, before["height"] / 2], rel=0.01)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_choice_in_one_picture_chooses_the_layer_of_all_and_of_the_comparison(file, new_page, record, language):
    page = new_page()
    page.goto(file(language))
    second = list(record.layers)[1]
    first, other = page.get_by_role("listbox").all()
    first.press("ArrowRight")
    expect(page.get_by_role("heading", name=say(language, "layer.heading", layer=second), exact=True)).to_have_count(2)
    heading = say(language, "compare.heading", layer=second, count=2)
    expect(page.get_by_role("heading", name=heading, exact=True)).to_have_count(1)
    expect(first).to_be_focused()
    for listbox in (first, other):
        chosen = listbox.locator("[aria-selected=true]")
        expect(chosen).to_have_attribute("data-name", second)
        assert listbox.get_attribute("aria-activedescendant") == chosen.get_attribute("id")
    kernel = record.layers[second].attention.kernel
    titles = page.locator(".side-by-side title").all_text_contents()
    shown = [float(re.split("[:：]", text)[1]) for text in titles if not re.search("row|行", text)]
    assert shown == pytest.approx(kernel.ravel(), abs=0.002)


def test_a_button_shows_the_network_as_trained_while_it_is_held(file, new_page, record, trained):
    page = new_page(viewport={"width": 1100, "height": 900})
    page.goto(file())

    def layer_shares(drawing):
        texts = drawing.locator("title").all_text_contents()
        return [float(text.split(": ")[1]) for text in texts if text.startswith("W")]

    def effective(drawing):
        texts = drawing.locator("[role=option] > text.middle:not(.faint)").all_text_contents()
        return [float(text) for text in texts]

    def of_first_layer(explanation, pictures):
        return next(iter(explanation.layers.values())).attention.kernel[:pictures].ravel()

    def counts(explanation):
        return np.ravel([effective_kernels(layer.attention.kernel[:1]) for layer in explanation.layers.values()])

    for name, read, expected, digits in (
        (".glance", effective, counts, 0.0501),
        (".layer", layer_shares, lambda one: of_first_layer(one, 1), 0.002),
        (".side-by-side", layer_shares, lambda one: of_first_layer(one, 2), 0.002),
    ):
        drawing = page.locator(name).first
        button, height = drawing.locator(".hold"), drawing.bounding_box()["height"]
        for press, release in (
            (lambda button: (button.hover(), page.mouse.down()), page.mouse.up),
            (lambda button: (button.focus(), page.keyboard.down("Space")), lambda: page.keyboard.up("Space")),
            (lambda button: (button.focus(), page.keyboard.down("Enter")), lambda: page.keyboard.up("Enter")),
        ):
            assert read(drawing) == pytest.approx(expected(record), abs=digits)
            press(button)
            assert button.get_attribute("aria-pressed") == "true"
            assert read(drawing) == pytest.approx(expected(trained), abs=digits)
            assert drawing.bounding_box()["height"] == height
            release()
            assert button.get_attribute("aria-pressed") == "false"
        assert read(drawing) == pytest.approx(expected(record), abs=digits)


def test_the_drawings_keep_the_room_for_ghosts_where_there_are_none(file, new_page):
    page = new_page(viewport={"width": 1100, "height": 900})
    heights = []
    for settings in (Settings(), CHANGED):
        page.goto(file(settings=settings))
        heights.append([page.locator(part).first.bounding_box()["height"] for part in (".glance", ".layer")])
        expect(page.locator(".glance .hold").first).to_be_visible(visible=settings == CHANGED)
    assert heights[0] == heights[1]


# What a visitor reads or hears of a page.
READ = """() => [
  ...document.body.querySelectorAll("*:not(script)")].flatMap((element) => [
    ...[...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data),
    ...["aria-label", "title", "alt"].map((name) => element.getAttribute(name) ?? ""),
  ]).concat(document.title).map((text) => text.trim()).filter(Boolean)"""


def test_a_chinese_file_reads_chinese_throughout(file, new_page, record):
    page = new_page()
    page.goto(file("zh"))
    assert page.locator("html").get_attribute("lang") == "zh-Hans"
    profile = page.locator("[data-profile=channel]").first
    for button in ("sort", "fit"):
        page.get_by_role("button", name=say("zh", f"layer.{button}")).first.click()
    profile.hover()
    texts = page.evaluate(READ)
    assert any("原模型" in text and "通道" in text and "·" not in text for text in texts)  # under the pointer
    names = [*CLASSES, *TITLES, "model", "weights", "Omni-Dimensional Dynamic Convolution", "ODConv Explorer", "ODConv"]
    names += [r"[\w.]*(layer|conv)[\w.]*", "nat", "Shift"]
    for text in texts:
        assert not re.findall("[A-Za-z]{2,}", re.sub("|".join(names), "", text)), text


HOSTILE = """<img src=x onerror=alert(1)>"'`${1}</script><script>alert(2)</script>&amp;<b>x</b>{row}"""


def test_a_hostile_name_stays_text_everywhere(file, new_page):
    page = new_page()
    page.on("dialog", lambda dialog: pytest.fail("a name ran as code"))
    page.goto(file(name=HOSTILE))
    expect(page.locator("img[src=x], .od b, script[src]")).to_have_count(0)
    expect(page.locator("img")).to_have_count(2)
    expect(page.get_by_role("heading", name=HOSTILE, exact=True)).to_have_count(2)
    assert page.locator("img").first.get_attribute("alt") == HOSTILE
    assert page.locator(".bars .name").all_text_contents() == [HOSTILE] * 10
    option = page.get_by_role("option").nth(1)
    assert option.get_attribute("data-name") == f"1 {HOSTILE}"
    assert HOSTILE in option.get_attribute("aria-label")
    option.locator("[data-head=channel]").hover()
    expect(page.get_by_text(re.compile(re.escape(f"1 {HOSTILE}, channel: channel ")))).to_have_count(1)
    option.click()
    expect(page.get_by_role("heading", name=f"One layer: 1 {HOSTILE}", exact=True)).to_have_count(2)


@pytest.mark.parametrize(("language", "theme"), [("en", "light"), ("zh", "dark")])
def test_axe_finds_nothing_serious_in_the_file(file, new_page, language, theme):
    page = new_page(color_scheme=theme)
    page.goto(file(language))
    violations = Axe().run(page).response["violations"]
    found = [
        f"{violation['id']}: {node['html'][:150]}"
        for violation in violations
        for node in violation["nodes"]
        if violation["impact"] in ("serious", "critical")
    ]
    assert found == []
