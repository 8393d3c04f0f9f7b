"""The study kit: eight questions before and after a path, two ways of walking it, and the answers as CSV. Pure.

What is drawn at random (the way, the order of questions and of their answers) follows from the seed alone, which is in the CSV.
"""

from __future__ import annotations

import csv
import io
import random
from dataclasses import dataclass, replace
from typing import Literal

ARMS = ("interactive", "reading")  # the path as it is, or the same text and figures as pages to read
PHASES = ("before", "after")
UNKNOWN = "unknown"  # the last answer to every question: "I do not know"
COLUMNS = (
    *("seed", "version", "network", "language", "arm", "path_seconds", "predicted"),
    *("phase", "position", "question", "offered", "answer", "right"),
)


@dataclass(frozen=True)
class Question:
    """A question. Its text is ``quiz.<id>``, that of an answer ``quiz.<id>_<answer>``."""

    id: str
    right: str
    wrong: tuple[str, ...]


QUESTIONS = {
    question.id: question
    for question in (
        Question("spatial", "tap", ("pixel", "place", "channel")),
        Question("channel", "input", ("output", "tap", "candidate")),
        Question("filter", "output", ("input", "tap", "candidate")),
        Question("kernel", "candidate", ("input", "output", "tap")),
        Question("temperature", "alike", ("hard", "zero", "large")),
        Question("flat", "pattern", ("strength", "both", "nothing")),
        Question("static", "own", ("outputs", "learned", "filters")),
        Question("candidates", "sum", ("each", "largest", "places")),
    )
}

Answers = tuple[tuple[str, str], ...]  # (question, answer), in the order in which they were asked


@dataclass(frozen=True)
class Study:
    """One participant's way through the study."""

    seed: int
    before: Answers = ()
    after: Answers = ()
    marked: str | None = None  # the answer to the question at hand, before it is given
    entered: float = 0.0  # s; what a clock said when the path was entered
    path_seconds: float | None = None  # how long that was walked; None: it has not been left yet
    predicted: int = 0  # in how many of its steps something was predicted; nobody who reads is asked to

    @property
    def arm(self) -> str:
        """Which of ``ARMS`` was drawn."""
        return _draw(self.seed, "arm").choice(ARMS)

    @property
    def stage(self) -> Literal["before", "path", "after", "done"]:
        """What is at hand."""
        if len(self.before) < len(QUESTIONS):
            return "before"
        if self.path_seconds is None:
            return "path"
        return "after" if len(self.after) < len(QUESTIONS) else "done"


def _draw(seed: int, what: str) -> random.Random:
    """Random numbers of their own for each thing that is drawn; from text, they are the same in every Python."""
    return random.Random(f"{seed} {what}")


def order_questions(seed: int, phase: str) -> list[str]:
    """Ids of all questions, in the order in which they are asked in ``phase``."""
    return _draw(seed, phase).sample(list(QUESTIONS), len(QUESTIONS))


def order_answers(seed: int, phase: str, question: str) -> list[str]:
    """Ids of the answers to a question, in the order in which they are offered."""
    asked = QUESTIONS[question]
    every = (asked.right, *asked.wrong)
    return [*_draw(seed, f"{phase} {question}").sample(every, len(every)), UNKNOWN]


def ask(study: Study) -> str:
    """Id of the question at hand, in one of ``PHASES``."""
    return order_questions(study.seed, study.stage)[len(getattr(study, study.stage))]


def mark(study: Study, answer: str) -> Study:
    """``study`` with ``answer`` marked for the question at hand."""
    return replace(study, marked=answer)


def give(study: Study, now: float) -> Study:
    """``study`` with the marked answer given to the question at hand; without one, as it is. ``now``: of a clock, in s."""
    if study.marked is None:
        return study
    phase = study.stage
    answers = (*getattr(study, phase), (ask(study), study.marked))
    if phase == "before":
        return replace(study, before=answers, marked=None, entered=now)
    return replace(study, after=answers, marked=None)


def leave_path(study: Study, now: float, predicted: int) -> Study:
    """``study`` with the path walked. ``now``: as for ``give``; ``predicted``: as in ``Study``."""
    if study.stage != "path":
        return study
    return replace(study, path_seconds=now - study.entered, predicted=predicted)


def count_right(answers: Answers) -> int:
    """How many of ``answers`` are right."""
    return sum(QUESTIONS[question].right == answer for question, answer in answers)


def to_csv(study: Study, *, version: str, network: str, language: str) -> str:
    """The answers of a complete study: a row for each question before and after, under the names in ``COLUMNS``.

    ``offered`` lists the answers in the order in which they stood below each other.

    Args:
        version: of this package.
        network: name of its file.
        language: of the page at the end.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    assert study.path_seconds is not None
    of_all = (study.seed, version, network, language, study.arm, round(study.path_seconds), study.predicted)
    for phase in PHASES:
        for position, (question, answer) in enumerate(getattr(study, phase), 1):
            offered = " ".join(order_answers(study.seed, phase, question))
            right = int(QUESTIONS[question].right == answer)
            writer.writerow([*of_all, phase, position, question, offered, answer, right])
    return file.getvalue()
