"""Tasks: what a link holds of them, and what is drawn of an answer."""

import json

import pytest

from odconv import drawings
from odconv.tasks import TASKS, Finding, Row, check_answers, format_answers, give, largest, smallest
from odconv.words import LANGUAGES, Phrase, texts

TASK = TASKS["flat"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_task_and_answer_has_its_text(language):
    for task in TASKS.values():
        assert f"task.{task.id}" in texts(language)
        said = [answer.say(language) for answer in task.answers.values()]
        assert len(set(said)) == len(said) >= 3


def test_answers_go_into_a_link_and_back_in_the_order_of_the_tasks():
    answers = give(give((), "flat", "other"), "kernels", "two")
    assert answers == (("kernels", "two"), ("flat", "other"))
    assert check_answers(format_answers(answers)) == answers
    assert dict(give(answers, "flat", "same"))["flat"] == "same"


@pytest.mark.parametrize(
    "text", ["", "flat", "flat.", ".other", "flat.many", "map.two", "flat.other,flat.same", "flat.other,"]
)
def test_answers_that_are_none_are_refused(text):
    with pytest.raises(ValueError):
        check_answers(text)


def test_what_two_digits_do_not_tell_apart_is_level():
    assert largest({"a": 0.501, "b": 0.498, "c": 0.4}) == ("a", "b")
    assert smallest({"a": 0.501, "b": 0.498, "c": 0.4}) == ("c",)


FINDING = Finding(
    ("other",),
    (Phrase("start.grating_heads_note"),),
    (Row("<b>x</b>", 0.5, "0.50", "other", "filter"), Row(Phrase("head.kernel"), None, "4")),
    Phrase("start.grating_heads_note"),
)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_guess_that_holds_and_one_that_does_not_are_told_apart(language):
    right, wrong = (
        json.loads(json.dumps(drawings.task_data(language, TASK, FINDING, guess))) for guess in ("other", "same")
    )
    assert (right["holds"], wrong["holds"]) == (True, False)
    answer = TASK.answers["other"].say(language)
    assert answer in right["verdict"]
    assert answer in wrong["verdict"]
    assert right["verdict"] != wrong["verdict"]
    assert [row["guess"] for row in right["rows"]] == [True, False]
    assert [row["guess"] for row in wrong["rows"]] == [False, False]
    assert right["rows"][0]["name"] == "<b>x</b>"  # task.js escapes it


def test_where_no_answer_is_true_that_is_said():
    found = Finding((), ())
    assert drawings.task_data("en", TASK, found, "same")["verdict"] == "None of these."
