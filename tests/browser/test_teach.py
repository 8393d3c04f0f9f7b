"""A class's link in a browser: what a teacher chose is what a class gets."""

import re

from playwright.sync_api import expect

from odconv import Settings
from odconv.attention import HEADS
from odconv.words import say
from tests.browser.explore import COLD, query, record_of, sample, wait_for_server
from tests.browser.test_start import answer, expect_cases

CHOICES = [f".st-key-{key}" for key in ("model", "device", "source", "compare", "gallery", "own", "step-explore")]


def choose(page, key, text):
    page.locator(f".st-key-{key}").get_by_role("radio", name=text).or_(
        page.locator(f".st-key-{key}").get_by_role("button", name=text)
    ).click()


def test_a_class_gets_what_its_teacher_chose_without_choices_and_answers(server, visit):
    page = visit("teach?class-steps=flat,twin")
    link = page.locator(".st-key-class_link .class-link a")
    expect(link).to_have_text(f"{server.url}start?steps=flat,twin")
    choose(page, "lesson_fixed", say("en", "teach.fixed_fixed"))
    choose(page, "lesson_reveal", say("en", "teach.reveal_never"))
    address = f"{server.url}start?steps=flat,twin&controls=hidden&reveal=never"
    expect(link).to_have_text(address)
    page.get_by_role("button", name=say("en", "teach.copy")).click()
    # Whether a page may write to the clipboard, the browser decides; where it may not, the link stands there to be copied.
    said = f"{say('en', 'teach.by_hand')} {address}"
    expect(page.locator(".st-key-class_link [role=status]")).to_have_text(
        re.compile(f"^({re.escape(said)}|{say('en', 'teach.copied')})$")
    )
    expect(page.get_by_role("link", name=say("en", "page.compare"))).to_be_visible()
    with page.expect_popup() as opened:
        page.get_by_role("link", name=say("en", "teach.preview")).click()
    shown = opened.value
    expect(shown.get_by_text("Step 1 of 2")).to_be_visible(timeout=COLD)
    assert shown.url == address
    tabby = record_of(sample("tabby-cat"))
    expect_cases(shown, tabby)
    answer(shown, "flat", "other")
    expect(shown.get_by_text(say("en", "task.held_back"))).to_be_visible()
    wait_for_server(shown)
    expect_cases(shown, tabby)
    assert query(shown)["answers"] == "flat.other"
    # What is not there cannot be reached by keyboard either.
    for choice in CHOICES:
        expect(shown.locator(choice)).to_have_count(0)
    expect(shown.get_by_role("link", name=say("en", "page.compare"))).to_have_count(0)
    shown.goto(address.replace("never", "always"))
    expect_cases(shown, tabby, record_of(sample("tabby-cat"), Settings(ablate=HEADS)))
    expect(shown.get_by_text(say("en", "task.told", answer=say("en", "task.flat_other")))).to_be_visible()
    expect(shown.locator(".st-key-task-flat")).to_have_count(0)
    shown.close()
