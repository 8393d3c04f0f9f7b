"""Predict, then reveal: small tasks that ask first, and then let the network itself answer.

A task is a question with a few answers. A finding says which of them is true of the pictures and the network at hand, and
by which numbers. Findings are made from records of passes, by pure functions; no text is said here, phrases name texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from odconv.attention import HEADS
from odconv.words import Phrase

LIKED = ("astronaut", "dahlia", "espresso", "rocket")  # samples of which one uses W3 most
MOST_KERNELS = 8  # that can be answers; more are no choice for a visitor
LEVEL = 0.005  # of a probability or share: what cannot be told apart at two digits


@dataclass(frozen=True)
class Task:
    """A question. Its text is ``task.<id>``."""

    id: str
    answers: Mapping[str, Phrase]  # id of an answer -> its text; a network can lack what some of them name


class Row(NamedTuple):
    """One number that the network gave, drawn as a bar."""

    name: str | Phrase
    share: float | None  # length of the bar, 0 to 1; None: the number stands alone
    text: str | Phrase  # the number
    answer: str = ""  # id of the answer that it is the number of
    head: str = ""  # whose colour the bar has


@dataclass(frozen=True)
class Finding:
    """What is true of the pictures and the network at hand."""

    right: tuple[str, ...]  # ids of the answers that are; several where two digits do not tell them apart
    reasons: tuple[Phrase, ...]  # sentences
    rows: tuple[Row, ...] = ()
    note: Phrase | None = None  # what the rows' numbers are


def _task(id: str, *answers: str) -> Task:
    return Task(id, {answer: Phrase(f"task.{id}_{answer}") for answer in answers})


def _kernels() -> dict[str, Phrase]:
    return {f"w{i}": Phrase("task.kernel", {"kernel": i}) for i in range(1, MOST_KERNELS + 1)}


def _heads() -> dict[str, Phrase]:
    return {head: Phrase(f"head.{head}") for head in HEADS}


# In the order in which they are met.
TASKS = {
    task.id: task
    for task in (
        _task("kernels", "same", "two", "places"),
        _task("flat", "same", "weaker", "other"),
        _task("temperature", "low", "high", "both", "neither"),
        Task("grating", _kernels() | _heads()),
        _task("twin", "same", "apart", "two"),
        _task("taps", "photo", "map", "taps", "channels"),
        Task("shuffle", {"none": Phrase("task.shuffle_none")} | _heads() | {"all": Phrase("task.shuffle_all")}),
        _task("alone", "same", "weaker", "other"),
        Task("go", _heads()),
        Task("likes", {sample: Phrase(f"sample.{sample}") for sample in LIKED}),
        _task("class", "first", "between", "last"),
        _task("strange", "yes", "mixed", "nearer"),
        Task("suffers", _heads()),
    )
}


def percent(share: float) -> str:
    """A share as a percentage without decimals."""
    return f"{100 * share:.0f}"


def largest(numbers: Mapping[str, float]) -> tuple[str, ...]:
    """The keys of the largest number and of those that two digits do not tell from it, in their order."""
    most = max(numbers.values())
    return tuple(key for key, number in numbers.items() if most - number < LEVEL)


def smallest(numbers: Mapping[str, float]) -> tuple[str, ...]:
    """As :func:`largest`, of the smallest number."""
    return largest({key: -number for key, number in numbers.items()})


def check_answers(text: str) -> tuple[tuple[str, str], ...]:
    """The answers that a link holds: ``"kernels.two,flat.other"`` -> (("kernels", "two"), ("flat", "other")).

    Raises:
        ValueError: there is no such task or answer, or a task is answered twice.
    """
    pairs = [(task, answer) for task, _, answer in (part.partition(".") for part in text.split(","))]
    if any(task not in TASKS or answer not in TASKS[task].answers for task, answer in pairs):
        raise ValueError(text)
    if len(dict(pairs)) < len(pairs):
        raise ValueError(text)
    return tuple(pairs)


def format_answers(answers: Sequence[tuple[str, str]]) -> str:
    """``answers`` as a link writes them, see :func:`check_answers`."""
    return ",".join(f"{task}.{answer}" for task, answer in answers)


def give(answers: Sequence[tuple[str, str]], task: str, answer: str) -> tuple[tuple[str, str], ...]:
    """``answers`` with ``answer`` for ``task``, in the order of ``TASKS``."""
    every = dict(answers) | {task: answer}
    return tuple((id, every[id]) for id in TASKS if id in every)
