"""A page whose server is lost and comes back: what is shown belongs to what the controls say, or says that it does not."""

import re
import time
import urllib.error
import urllib.request

import pytest
from playwright.sync_api import expect

from odconv import Settings
from odconv.ui import upload_bounds
from odconv.ui.dials import STOPS
from odconv.words import say
from tests.browser.conftest import KEPT
from tests.browser.explore import COLD, expect_numbers, open_page, photo, query, record_of, sample, upload

OUTAGE = ("Failed to load resource", "Client Error in reaching server", "server is not responding", "WebSocket")
EXPLORE, COMPARE = ("prediction", "glance", "layer"), ("side_a", "side_b", "sides")
LOST, BACK = say("en", "connection.lost"), say("en", "connection.back")


def one_step_up(temperature):
    return STOPS[STOPS.index(temperature) + 1]


def expect_marked(page, marked, figures=EXPLORE):
    for figure in figures:
        busy = expect(page.locator(f".st-key-{figure}").first)
        (busy.to_have_attribute if marked else busy.not_to_have_attribute)("aria-busy", "true")


def test_after_a_restart_the_first_thing_that_is_done_counts_and_uploads_are_asked_for_again(frail, new_page):
    new_page.expect_errors(*OUTAGE, "Image source error")
    page = open_page(new_page(), f"{frail.url}?sample=rocket&t=3&kernels=2")
    names = list(record_of(sample("rocket")).layers)
    other = new_page()
    other.goto(f"{frail.url}?source=upload&t=3")
    upload(other, "mine.jpg", data := photo())
    expect_numbers(other, record_of(data, Settings(temperature=3)))
    lesson = new_page()
    lesson.goto(f"{frail.url}compare?sample=rocket&t=5")
    expect(lesson.locator(".st-key-sides h4")).to_have_count(3, timeout=COLD)
    address = page.url

    frail.stop()
    for one, figures in ((page, EXPLORE), (other, EXPLORE), (lesson, COMPARE)):
        expect(one.get_by_text(LOST)).to_be_visible()
        expect_marked(one, True, figures)
    frail.start()
    expect(page.get_by_text(BACK)).to_be_visible()
    assert page.url == address
    page.locator(f".st-key-glance [data-name='{names[4]}']").click()  # nothing has been computed yet
    page.get_by_label("Temperature", exact=True).press("ArrowRight")
    reset = lesson.get_by_role("button", name="Reset").first
    reset.click(timeout=COLD)  # a widget of Streamlit's own, which takes nothing before it can be heard
    expect(page.get_by_text(BACK)).to_be_hidden(timeout=COLD)
    expect(page.get_by_role("heading", name=f"One layer: {names[4]}", exact=True)).to_be_visible()
    warmer = one_step_up(3.0)
    page.wait_for_url(re.compile(rf"[?&]t={warmer:g}(&|$)"))
    expect_numbers(page, record_of(sample("rocket"), Settings(temperature=warmer, kernels=2)), names[4])
    expect(page.locator(".st-key-dials output")).to_have_text([f"{warmer:g}", "2 of 4"])
    expect_marked(page, False)
    assert query(page)["layer"] == names[4]
    expect(lesson).not_to_have_url(re.compile(r"[?&]t="))
    expect(lesson.get_by_role("link", name=say("en", "page.forge"))).to_be_visible()  # the bar, and the foot
    expect(lesson.locator(".st-key-foot")).to_be_visible()
    expect_marked(lesson, False, COMPARE)
    page.locator(".st-key-gallery").get_by_title("Espresso").click()
    page.wait_for_url(re.compile("espresso"))
    assert "does not exist anymore" not in frail.log.read_text()

    asked = other.get_by_test_id("stMain").get_by_test_id("stAlert")
    expect(asked).to_have_count(1, timeout=COLD)
    expect(asked).to_contain_text("Upload a photo")
    upload(other, "mine.jpg", data)
    expect_numbers(other, record_of(data, Settings(temperature=3)))
    assert query(other)["t"] == "3"


@pytest.fixture
def cut():
    """cut(page): the page's connection goes through here; the result cuts it, and mends it again."""

    def through(page):
        sockets, broken = [], []

        def route(socket):
            if broken:
                socket.close()
            else:
                sockets.append((socket, socket.connect_to_server()))

        def cut():
            broken.append(True)
            page.context.set_offline(True)
            for browser, server in sockets:
                server.close()
                browser.close()
            sockets.clear()

        def mend():
            broken.clear()
            page.context.set_offline(False)

        page.route_web_socket(re.compile("/_stcore/stream"), route)
        return cut, mend

    return through


def test_what_is_turned_while_offline_says_that_it_is_not_computed_and_is_computed_on_return(frail, new_page, cut):
    new_page.expect_errors(*OUTAGE)
    page = new_page(offline=False)  # a browser of its own, which is cut off as a whole
    break_off, mend = cut(page)
    open_page(page, f"{frail.url}?sample=rocket&t=2&kernels=3")
    expect_numbers(page, record_of(sample("rocket"), Settings(temperature=2, kernels=3)))
    temperature = 2.0
    for away in (0, KEPT + 1):  # s: the server remembers the session, and has forgotten it
        break_off()
        dial = page.get_by_label("Temperature", exact=True)
        dial.press("ArrowRight")
        dial.press("ArrowRight")
        before, temperature = temperature, one_step_up(one_step_up(temperature))
        expect(page.locator(".st-key-dials .dial-wait").first).to_have_text(say("en", "dial.waiting"))
        expect(page.locator(".st-key-dials output")).to_have_text([f"{temperature:g}", "3 of 4"])
        expect_marked(page, True)
        assert query(page)["t"] == f"{before:g}"
        time.sleep(away)
        mend()
        page.wait_for_url(re.compile(rf"[?&]t={temperature:g}(&|$)"))
        expect_numbers(page, record_of(sample("rocket"), Settings(temperature=temperature, kernels=3)))
        expect(page.locator(".st-key-dials output")).to_have_text([f"{temperature:g}", "3 of 4"])
        expect(page.locator(".st-key-dials .dial-wait").first).to_be_empty()
        expect_marked(page, False)


def test_a_photo_is_freed_when_its_visitor_has_gone_though_nobody_else_comes(frail, new_page):
    def held():
        text = urllib.request.urlopen(f"{frail.url}_stcore/metrics").read().decode()
        kinds = ("UploadedFileManager", "st_memory_media_file_storage", "st_session_state")
        return [line for line in text.splitlines() if any(f'"{kind}"' in line for kind in kinds)]

    page = new_page()
    page.goto(f"{frail.url}?source=upload")
    upload(page, "mine.jpg", data := photo() + bytes(2 * 2**20))
    expect_numbers(page, record_of(data))
    assert held()
    page.close()
    deadline = time.monotonic() + 30
    while held() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert held() == []


def test_photos_that_nobody_reads_fill_no_more_than_their_senders_room_and_the_page_says_so(frail, new_page):
    new_page.expect_errors("413", "Client Error: File uploader")
    page = new_page()
    page.goto(f"{frail.url}?source=upload")
    with page.expect_request(re.compile("/_stcore/upload_file/")) as sent:
        upload(page, "mine.jpg", data := photo())
    expect_numbers(page, record_of(data))
    own, before = sent.value, frail.resident_megabytes()
    body = (
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="f.jpg"\r\n\r\n'
        + bytes(9 * 10**6)
        + b"\r\n--x--\r\n"
    )
    headers = {name: own.all_headers()[name] for name in ("cookie", "x-xsrftoken")}
    headers["content-type"] = "multipart/form-data; boundary=x"
    answers = []
    for i in range(60):
        put = urllib.request.Request(re.sub("[^/]+$", f"more{i}", own.url), body, headers, method="PUT")
        try:
            answers.append(urllib.request.urlopen(put).status)
        except urllib.error.HTTPError as error:
            answers.append(error.code)
        except OSError:  # the connection went before the answer was read: no byte of the file was
            answers.append(413)
    assert answers == [204] * answers.count(204) + [413] * answers.count(413)
    assert upload_bounds.OF_ONE <= answers.count(204) < 20
    assert frail.resident_megabytes() - before < 1.5 * upload_bounds.OF_ONE * 10
    expect(page.get_by_text(say("en", "source.no_room"))).to_be_visible()
    expect_numbers(page, record_of(data))
