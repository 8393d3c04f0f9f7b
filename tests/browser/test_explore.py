"""The Explore page as a visitor meets it; the numbers are PyTorch's, computed here."""

import re
from io import BytesIO

import numpy as np
import pillow_heif
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from odconv import Settings
from odconv.atlas import atlas_beside
from odconv.words import say
from tests.browser.explore import (
    FIRST,
    LOOKS,
    NUMBERS,
    WEIGHTS,
    count_steps,
    expect_change,
    expect_numbers,
    network,
    open_page,
    photo,
    place_on,
    query,
    record_of,
    sample,
    upload,
    wait_for_server,
)  # fmt: skip


def test_an_uploaded_photo_shows_the_numbers_that_pytorch_computes(visit):
    page = visit("?source=upload")
    upload(page, "never seen.jpg", data := photo())
    record = record_of(data)
    expect_numbers(page, record)
    best = network().card.classes[int(record.logits[0].argmax())].split(",")[0]
    expect(page.locator(".st-key-prediction .name").first).to_have_text(best)
    expect(page.get_by_text("never seen.jpg").first).to_be_visible()
    assert "upload" in page.url
    assert "never" not in page.url


def test_figures_follow_the_temperature_while_it_is_dragged_and_agree_on_release_and_the_dials_stay(visit):
    page = visit("?sample=rocket")
    trained = record_of(sample("rocket"))
    expect_numbers(page, trained)
    dial = page.get_by_label("Temperature", exact=True)
    place = dial.bounding_box()
    page.mouse.move(*place_on(dial, 0.4))
    page.mouse.down()
    for share in (0.5, 0.6, 0.7):
        before = page.evaluate(NUMBERS)
        page.mouse.move(*place_on(dial, share))
        expect_change(page, before)
    assert "t" not in query(page) or float(query(page)["t"]) > 1  # still held
    page.mouse.up()
    shown = page.locator(".st-key-dials output").first.text_content()
    page.wait_for_url(re.compile(rf"[?&]t={re.escape(shown)}(&|$)"))
    assert float(shown) > 1
    expect_numbers(page, record_of(sample("rocket"), Settings(temperature=float(shown))))
    expect(page.locator(".st-key-prediction .note")).to_contain_text("as trained")
    assert dial.bounding_box() == place  # what stands above it when the defaults are left does not move it
    page.get_by_role("button", name="Reset").click()
    expect_numbers(page, trained)
    expect(page).not_to_have_url(re.compile(r"[?&]t="))


def test_at_a_switch_every_drawing_shows_differences_from_the_typical_picture(visit):
    page = visit("?sample=rocket,espresso")
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


def test_the_kernels_dial_is_turned_by_keyboard(visit):
    page = visit("?sample=rocket")
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


def test_a_link_restores_the_view(visit):
    settings = Settings(temperature=4.5, kernels=2, keep="first", compensate=True, ablate=("channel",))
    link = f"?model={WEIGHTS.name}&sample=raccoon&layer=layer2.1.conv2&t=4.5&kernels=2&keep=first&compensate=1&ablate=channel"
    page = visit(link)
    expect(page.get_by_role("heading", name="One layer: layer2.1.conv2", exact=True)).to_be_visible()
    expect(page.locator(".st-key-gallery [aria-pressed=true]")).to_have_attribute("title", "Raccoon")
    expect(page.locator(".st-key-dials output")).to_have_text(["4.5", "2 of 4"])
    expect_numbers(page, record_of(sample("raccoon"), settings), "layer2.1.conv2")
    assert query(page) == dict(part.split("=") for part in link[1:].split("&"))


IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15"


def test_a_phone_in_dark_theme_shows_everything_without_scrolling_sideways_and_converts_its_photos_itself(
    server, new_page
):
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "user_agent": IPHONE}
    page = new_page(color_scheme="dark", **phone)
    open_page(page, f"{server.url}?sample=rocket,raccoon")
    expect(page.locator(".st-key-side_by_side svg").first).to_be_visible()
    expect(page.get_by_role("button", name="Espresso")).to_be_in_viewport()  # nothing has to be folded out first
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
    page.get_by_role("radio", name="Upload").click()
    offered = page.get_by_test_id("stFileUploader").locator("input[type=file]")
    expect(offered).to_have_attribute("accept", re.compile("jpe?g"))
    assert "hei" not in offered.get_attribute("accept")  # an iPhone that is not offered HEIC sends JPEG


def test_arrow_keys_and_clicks_choose_a_layer(visit):
    page = visit("?sample=rocket")
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
    column = page.locator(f".st-key-glance [data-name='{names[2]}']")
    column.click()
    expect_numbers(page, record, names[2])
    attention = record.layers[names[2]].attention
    column.locator("[data-head=kernel]").hover(position={"x": 1, "y": 1})
    readout = page.locator(".st-key-glance .readout")
    expect(readout).to_have_text(f"{names[2]}, kernel: W1: {attention.kernel[0, 0]:.2f}")
    column.locator("[data-head=spatial]").hover(position={"x": 1, "y": 1})
    expect(readout).to_have_text(f"{names[2]}, spatial: tap row 1, column 1: {attention.spatial[0, 0, 0]:.2f}")
    column.locator("[data-head=channel]").hover(position={"x": 1, "y": 1})
    expect(readout).to_contain_text(f"{names[2]}, channel: channel 0: about ")
    assert float(readout.inner_text().split()[-1]) == pytest.approx(attention.channel[0, 0], abs=0.0075)
    page.mouse.move(0, 0)
    for key in ("Down", "Right", "Right", "Down", "Right"):  # into the first head, along it, to the next one
        glance.press(f"Shift+Arrow{key}")
    expect(readout).to_contain_text(f"{names[2]}, channel: channel 1: about ")
    assert float(readout.inner_text().split()[-1]) == pytest.approx(attention.channel[0, 1], abs=0.0075)
    glance.press("Shift+ArrowUp")
    expect(readout).to_have_text(f"{names[2]}, spatial: tap row 1, column 1: {attention.spatial[0, 0, 0]:.2f}")
    expect(page.locator(".st-key-glance .cell-here")).to_have_count(1)
    expect(page.get_by_role("heading", name=f"One layer: {names[2]}", exact=True)).to_be_visible()  # it stays
    for _ in range(5):  # in a hurry, no step is lost
        glance.press("ArrowRight", delay=0)
    expect(page.get_by_role("heading", name=f"One layer: {names[7]}", exact=True)).to_be_visible()
    expect(page.locator(".st-key-glance [aria-selected=true]")).to_have_attribute("data-name", names[7])


def test_the_address_says_what_is_shown_without_a_step_in_the_history(server, new_page):
    page = new_page()
    page.goto("about:blank")
    open_page(page, f"{server.url}?sample=rocket&t=2.3456&kernels=2&keep=last&embed=true")
    page.wait_for_function("() => !location.search.includes('2.3456')")
    assert query(page) == {"sample": "rocket", "t": "2.35", "kernels": "2", "embed": "true"}
    expect_numbers(page, record_of(sample("rocket"), Settings(temperature=2.35, kernels=2)))
    page.go_back()
    assert page.url == "about:blank"


# Streamlit's header, and plotly's own SVG: the project does not draw them.
NOT_OURS = ("[data-testid=stHeader]", ".js-plotly-plot")


@pytest.mark.parametrize(("theme", "width"), [("light", 1366), ("dark", 1920)])
def test_the_chart_across_layers_is_whole_and_axe_finds_nothing_serious(visit, theme, width):
    page = visit("?sample=rocket,raccoon&t=3&kernels=2", viewport={"width": width, "height": 900}, color_scheme=theme)
    expect(page.locator(".st-key-side_by_side svg").first).to_be_visible()
    expect(page.locator(".js-plotly-plot .xtick")).to_have_count(16)
    chart, last = page.get_by_test_id("stPlotlyChart").bounding_box(), page.locator(".js-plotly-plot .xtick").last
    assert page.locator(".js-plotly-plot .main-svg").first.bounding_box()["width"] <= chart["width"] + 1
    assert last.bounding_box()["x"] < chart["x"] + chart["width"]
    violations = Axe().run(page, context={"exclude": [[selector] for selector in NOT_OURS]}).response["violations"]
    found = [
        f"{violation['id']}: {node['html'][:150]}"
        for violation in violations
        for node in violation["nodes"]
        if violation["impact"] in ("serious", "critical")
    ]
    assert found == []


def test_a_hostile_upload_gives_one_sentence_and_the_page_keeps_working(visit):
    page = visit("?source=upload")
    upload(page, "<img src=x onerror=alert(1)>**x**.jpg", b"This is no picture at all.")
    alert = page.get_by_test_id("stAlert").filter(has_text=".jpg")
    expect(alert).to_have_count(1)
    expect(alert).to_contain_text("<img src=x onerror=alert(1)>**x**.jpg:")
    expect(page.locator("img[src=x]")).to_have_count(0)
    page.get_by_role("radio", name="Samples").click()
    expect_numbers(page, record_of(sample("espresso")))


def test_a_heic_photo_is_shown_like_any_other(visit):
    pixels = Image.open(BytesIO(photo()))
    buffer = BytesIO()
    pillow_heif.from_pillow(pixels).save(buffer, quality=90)
    page = visit("?source=upload")
    upload(page, "IMG_0001.HEIC", buffer.getvalue())
    expect(page.locator(".st-key-photo figcaption").first).to_have_text("IMG_0001.HEIC")
    expect_numbers(page, record_of(buffer.getvalue()))


def test_uploads_survive_a_look_at_the_samples_and_go_when_they_are_told_to(visit):
    page = visit("?source=upload")
    upload(page, "mine.jpg", photo())
    expect_numbers(page, record_of(photo()))
    page.get_by_role("radio", name="Samples").click()
    expect_numbers(page, record_of(sample("espresso")))
    page.get_by_role("radio", name="Upload").click()
    expect_numbers(page, record_of(photo()))
    page.get_by_role("button", name="Delete my pictures").click()
    expect(page.get_by_text("Upload a photo above")).to_be_visible()
    expect(page.locator(".st-key-photo")).to_have_count(0)


def differ_most(*records):
    """The layer in which pictures differ most: deviation between them, mean over entries, then over heads."""

    def spread(layer):
        heads = zip(*(record.layers[layer].attention for record in records), strict=True)
        return np.mean([np.std(np.concatenate(pictures), axis=0).mean() for pictures in heads])

    return max(records[0].layers, key=spread)


def test_a_click_replaces_and_with_compare_adds(visit):
    page = visit("")
    page.get_by_role("button", name="Rocket").click()
    expect_numbers(page, record_of(sample("rocket")))
    assert query(page) == {"sample": "rocket"}
    page.locator(".st-key-compare").get_by_text("Several", exact=True).click()
    page.get_by_role("button", name="Raccoon").click()
    layer = differ_most(record_of(sample("rocket")), record_of(sample("raccoon")))
    expect(page.get_by_role("heading", name=f"2 pictures in {layer}")).to_be_visible()
    expect_numbers(page, record_of(sample("raccoon")), layer)
    page.wait_for_url(re.compile(r"shown=2"))
    page.locator(".st-key-compare").get_by_text("Several", exact=True).click()
    expect(page.get_by_role("heading", name="2 pictures in")).to_have_count(0)
    expect_numbers(page, record_of(sample("raccoon")))


def test_back_and_forward_go_through_what_was_chosen_and_a_drag_is_one_step(visit):
    page = visit("?sample=rocket")
    trained, steps = record_of(sample("rocket")), count_steps(page)
    dial = page.get_by_label("Temperature", exact=True)
    page.mouse.move(*place_on(dial, 0.5))
    page.mouse.down()
    for share in (0.55, 0.6, 0.65, 0.7):
        before = page.evaluate(NUMBERS)
        page.mouse.move(*place_on(dial, share))
        expect_change(page, before)
    page.mouse.up()
    page.wait_for_url(re.compile(r"[?&]t="))
    hot = record_of(sample("rocket"), Settings(temperature=float(query(page)["t"])))
    expect_numbers(page, hot)
    assert page.evaluate("history.length") == steps + 1
    page.get_by_role("button", name="Espresso").click()
    page.wait_for_url(re.compile("sample=espresso"))
    expect_numbers(page, record_of(sample("espresso"), hot.settings))
    page.go_back()
    expect_numbers(page, hot)
    page.go_back()
    expect_numbers(page, trained)
    assert query(page) == {"sample": "rocket"}
    page.go_forward()
    expect_numbers(page, hot)
    assert float(query(page)["t"]) == hot.settings.temperature


def test_after_back_the_address_is_that_of_what_is_shown_though_an_earlier_one_comes_late(server, new_page):
    page, sockets, late = new_page(), [], ForwardMsg()
    late.page_info_changed.query_string = "sample=rocket&t=9"  # of a choice that was made just before Back

    def route(socket):
        there = socket.connect_to_server()
        sockets.append((socket, there))

        def pass_on(message):
            if BackMsg.FromString(message).rerun_script.is_history_navigation:
                socket.send(late.SerializeToString())
            there.send(message)

        socket.on_message(pass_on)

    page.route_web_socket(re.compile("/_stcore/stream"), route)
    open_page(page, f"{server.url}?sample=rocket")
    page.get_by_role("button", name="Espresso").click()
    page.wait_for_url(re.compile("sample=espresso"))
    expect_numbers(page, record_of(sample("espresso")))
    page.go_back()
    expect_numbers(page, record_of(sample("rocket")))
    wait_for_server(page)
    assert query(page) == {"sample": "rocket"}

    before = page.evaluate("odconvConnection.run")
    for ours, theirs in list(
        sockets
    ):  # the browser soon adds another one; on its return the browser says where it is, and the whole page is run
        theirs.close()
        ours.close()
    page.wait_for_function(
        "(before) => odconvConnection.open && odconvConnection.run !== before", arg=before, polling=LOOKS
    )
    wait_for_server(page)
    expect_numbers(page, record_of(sample("rocket")))
    assert query(page) == {"sample": "rocket"}


def test_a_link_cannot_write_markdown_into_the_page(visit):
    hostile = "![x](https://example.org/x.png)<img src=y>:red[z] www.example.org"
    names = ("layer", "model", "sample", "stimulus", "t")
    page = visit(f"?{'&'.join(f'{name}={hostile}' for name in names)}")
    expect(page.get_by_test_id("stAlert")).to_have_count(2)  # of what is not understood, and of the layer
    expect(page.locator("img[src*=example], img[src=y]")).to_have_count(0)
    expect(page.get_by_test_id("stAlert").locator("a, img, span[style*=color]")).to_have_count(0)


def test_the_likely_classes_have_bars_at_every_width(visit):
    page = visit("?sample=espresso")
    share = float(record_of(sample("espresso")).probabilities.max())
    bar, track = (page.locator(f".st-key-prediction .{part}").first for part in ("bar", "track"))
    for width in (1366, 900, 860, 820, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function("(width) => innerWidth === width", arg=width)
        assert track.bounding_box()["width"] > 60, width
        assert bar.bounding_box()["width"] == pytest.approx(share * track.bounding_box()["width"], abs=1.5), width


def test_a_printed_page_has_the_photo_the_bars_and_every_layer_and_no_controls_beside_it(visit):
    page = visit("?sample=espresso,rocket")
    expect(page.locator(".st-key-side_by_side svg").first).to_be_visible()
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 less its margins
    expect(page.get_by_test_id("stSidebar")).to_be_hidden()
    for part in (".st-key-photo img", ".st-key-prediction .bar", ".st-key-glance svg", ".st-key-layer svg", ".st-key-side_by_side svg"):  # fmt: skip
        for box in [one.bounding_box() for one in page.locator(part).all()]:
            assert box["width"] > 0, part
            assert box["x"] >= 0, part
            assert box["x"] + box["width"] <= 719, part
    last = page.locator(".st-key-glance [role=option]").last.bounding_box()
    assert last["x"] + last["width"] <= 719
    bar = page.locator(".st-key-prediction .bar").first
    assert bar.evaluate("(element) => getComputedStyle(element).printColorAdjust") == "exact"
    assert page.get_by_test_id("stMain").evaluate("(e) => getComputedStyle(e).overflowY") == "visible"
    # In flex boxes a figure that goes to the next page is drawn over what follows it.
    display = "(all) => [...new Set(all.map((one) => getComputedStyle(one).display))]"
    blocks = page.locator(".st-key-screen, .st-key-screen > *, .st-key-screen [data-testid=stColumn] > *")
    assert set(blocks.evaluate_all(display)) <= {"block", "none"}
    for shut in (".st-key-takeaway", ".st-key-pictures", ".st-key-slice"):
        expect(page.locator(shut)).to_be_hidden()
    assert not any(mark.is_visible() for mark in page.locator(".st-key-beginning p button").all())


def test_a_chinese_browser_is_spoken_to_in_chinese_and_can_choose_english(server, new_page):
    page = new_page(locale="zh-CN")
    page.goto(f"{server.url}?sample=rocket&t=3")
    expect(page.get_by_role("heading", name=say("zh", "page.glance"))).to_be_visible()
    expect_numbers(page, record_of(sample("rocket"), Settings(temperature=3)))
    expect(page.get_by_label("温度", exact=True)).to_have_attribute("aria-valuetext", "3")
    expect(page.get_by_label("卷积核个数", exact=True)).to_have_attribute("aria-valuetext", "4 个，全部")
    latin = re.compile(r"[A-Za-z]{4,}")
    legend = page.locator(".st-key-glance svg .faint").all_text_contents()
    assert [text for text in legend if latin.search(text) and not text.startswith("layer")] == []
    page.get_by_role("radio", name="English").click()
    expect(page.get_by_role("heading", name="The network at a glance")).to_be_visible()
    page.wait_for_url(re.compile("lang=en"))


def test_a_hostile_name_of_a_good_photo_stays_text(visit):
    name = "<img src=x onerror=alert(1)> **x** $x$ :red[x].jpg"
    page = visit("?source=upload", viewport={"width": 1366, "height": 768})
    upload(page, name, photo())
    expect_numbers(page, record_of(photo()))
    expect(page.locator("img[src=x]")).to_have_count(0)
    expect(page.locator(".st-key-photo figcaption").first).to_have_text(name)
    glance = page.locator(".st-key-glance svg").first.bounding_box()  # the file picker leaves room for all of it
    assert glance["y"] + glance["height"] <= 768


def downloaded(page, path):
    """The address of the page's HTML file."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Figures as HTML").click()
    download.value.save_as(path)
    return path.as_uri()


def test_the_html_file_opens_offline_and_answers_a_key(visit, new_page, tmp_path):
    page = visit("?sample=rocket&t=3")
    offline = new_page(offline=True)
    offline.goto(downloaded(page, tmp_path / "attention.html"))
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


def test_the_html_file_shows_differences_where_the_page_does(visit, new_page, tmp_path):
    page = visit("?sample=rocket&show=difference")
    file = new_page()
    file.goto(downloaded(page, tmp_path / "attention.html"))
    expect(file.get_by_text("difference from 10,000 pictures' mean")).to_be_visible()
    texts = file.locator(".layer title").all_text_contents()
    shift = (
        record_of(sample("rocket")).layers[FIRST].attention.spatial[0] - atlas_beside(WEIGHTS).means()[FIRST].spatial
    )
    shown = [float(text.split(": ")[1].replace("−", "-")) for text in texts if text.startswith("tap")]
    assert shown == pytest.approx(shift.ravel(), abs=0.002)


def test_the_comparison_and_the_download_follow_every_setting_and_the_layer(visit, server):
    page = visit("?sample=espresso,rocket")
    page.get_by_role("listbox", name="at a glance").press("ArrowRight")
    expect(page.get_by_role("heading", name="2 pictures in layer1.0.conv2")).to_be_visible()
    page.locator(".st-key-more summary").click()
    page.get_by_role("toolbar", name="Make even").get_by_role("button", name="Kernel").click()
    expect(page).to_have_url(re.compile("ablate=kernel"))
    expect(page.locator(".st-key-side_by_side")).to_contain_text("0.25")
    wait_for_server(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    rows = download.value.path().read_text().splitlines()
    shares = [float(row.split(",")[-1]) for row in rows[1:] if ',"kernel",' in row]
    assert shares
    assert set(shares) == {0.25}
