"""A whole study in a browser: questions in the order that was drawn, the path, the questions again, and the file of it."""

import csv

from playwright.sync_api import expect

from odconv import study
from odconv.start import STEPS
from odconv.study import PHASES, QUESTIONS, UNKNOWN
from odconv.ui import engine
from odconv.words import say
from tests.browser.explore import COLD, wait_for_server

TEXTS = {say("en", f"quiz.{id}"): id for id in QUESTIONS}


def answers_of(id):
    """Text of each answer -> its id."""
    asked = QUESTIONS[id]
    return {say("en", f"quiz.{id}_{one}"): one for one in (asked.right, *asked.wrong)} | {
        say("en", "quiz.unknown"): UNKNOWN
    }


def answer_all(page, phase, choose):
    """Answer every question with the id that ``choose`` picks; what was asked, offered and said, as it stood there."""
    found = []
    for at in range(1, len(QUESTIONS) + 1):
        expect(
            page.get_by_role("heading", name=say("en", f"study.{phase}", at=at, count=len(QUESTIONS)))
        ).to_be_visible()
        wait_for_server(page)
        radio = page.locator(f"[class*=st-key-quiz-{phase}-]")
        expect(radio).to_have_count(1)
        id = TEXTS[page.locator(".st-key-study [data-testid=stMarkdown] strong").inner_text()]
        expect(page.locator(f".st-key-quiz-{phase}-{id}")).to_be_visible()
        expect(radio.locator("label p")).to_have_count(len(answers_of(id)) + 1)  # they are drawn one by one
        texts = radio.locator("label p").all_inner_texts()
        texts = [text for text in texts if text != say("en", f"quiz.{id}")]  # the label of all, which is hidden
        offered = [answers_of(id)[text] for text in texts]
        said = choose(id, at)
        expect(page.get_by_role("link", name=say("en", "page.compare"))).to_have_count(0)  # nothing leads away
        expect(page.locator(".st-key-foot")).to_have_count(0)  # nor tells terms
        give = page.locator(".st-key-study-give button[kind=primary]")
        if phase == "before":  # by keyboard
            radio.locator("input").first.focus()
            page.keyboard.press("Space")
            for _ in range(offered.index(said)):
                page.keyboard.press("ArrowDown")
            expect(give).to_be_visible()
            page.keyboard.press("Tab")
            page.keyboard.press("Enter")
        else:
            radio.locator("label").filter(has_text=texts[offered.index(said)]).last.click()
            give.click()
        found.append((id, " ".join(offered), said))
    return found


def test_a_whole_study_ends_in_a_file_of_what_was_asked_offered_and_said(server, new_page, tmp_path):
    page = new_page()
    page.goto(f"{server.url}study")
    expect(page.get_by_role("link", name=say("en", "page.compare"))).to_be_visible(timeout=COLD)
    page.locator(".st-key-study-begin button").click()
    said = {"before": answer_all(page, "before", lambda id, at: UNKNOWN if at % 2 else QUESTIONS[id].wrong[0])}
    for at, step in enumerate(STEPS, 1):
        title = say("en", "start.of", step=at, count=len(STEPS), name=say("en", f"start.{step}"))
        expect(page.get_by_role("heading", name=title)).to_be_visible()
        wait_for_server(page)
        page.locator(".st-key-step-next button" if at < len(STEPS) else ".st-key-study-on button").click()
    said["after"] = answer_all(page, "after", lambda id, at: QUESTIONS[id].right if at > 2 else UNKNOWN)
    counts = say("en", "study.counts", before=0, after=len(QUESTIONS) - 2, count=len(QUESTIONS))
    expect(page.get_by_text(counts)).to_be_visible()
    with page.expect_download() as download:
        page.locator(".st-key-study-csv button").click()
    file = tmp_path / "study.csv"
    download.value.save_as(file)
    rows = list(csv.DictReader(file.open(encoding="utf-8", newline="")))
    seed = int(rows[0]["seed"])
    assert download.value.suggested_filename == f"study-{seed}.csv"
    for phase in PHASES:
        written = [row for row in rows if row["phase"] == phase]
        assert [(row["question"], row["offered"], row["answer"]) for row in written] == said[phase]
        assert [id for id, *_ in said[phase]] == study.order_questions(seed, phase)
        assert [offered.split() for _, offered, _ in said[phase]] == [
            study.order_answers(seed, phase, id) for id, *_ in said[phase]
        ]
        assert [int(row["right"]) for row in written] == [
            answer == QUESTIONS[id].right for id, _, answer in said[phase]
        ]
    assert {(row["arm"], row["language"], row["network"], row["predicted"]) for row in rows} == {
        (study.Study(seed).arm, "en", engine.LESSONS, "0")
    }
