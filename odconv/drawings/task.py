"""What the network answers to a task, as data for ``task.js``: whether the visitor's guess holds, numbers, and why."""

from __future__ import annotations

from typing import Any

from odconv.drawings.describe import join_list
from odconv.drawings.names import clean_name
from odconv.drawings.numbers import json_number
from odconv.tasks import Finding, Row, Task
from odconv.words import say, to_text


def task_data(language: str, task: Task, finding: Finding, guess: str | None) -> dict[str, Any]:
    """The data of ``task.js``.

    Args:
        language: one of ``odconv.words.LANGUAGES``; all texts in the data are in it.
        task: what was asked.
        finding: what is true.
        guess: id of the answer that the visitor gave; None where nobody was asked.
    """
    rows = [_row(language, row) | {"guess": bool(row.answer) and row.answer == guess} for row in finding.rows]
    listed = join_list(language, (f"{row['name']} {row['text']}" for row in rows))
    note = "" if finding.note is None else finding.note.say(language)
    return {
        "holds": None if guess is None else guess in finding.right,
        "verdict": describe_verdict(language, task, finding, guess),
        "rows": rows,
        "note": note,
        "why": [reason.say(language) for reason in finding.reasons],
        "alt": listed,
    }


def describe_verdict(language: str, task: Task, finding: Finding, guess: str | None) -> str:
    """Whether ``guess`` is among the answers that are true, and else which are; without a guess, which are."""
    if guess is not None and guess in finding.right:
        return say(language, "task.yes", answer=task.answers[guess].say(language))
    answers = [task.answers[answer].say(language) for answer in finding.right if answer in task.answers]
    if not answers:
        return say(language, "task.none")
    return say(language, "task.told" if guess is None else "task.no", answer=join_list(language, answers))


def _row(language: str, row: Row) -> dict[str, Any]:
    return {
        "name": clean_name(to_text(language, row.name)),
        "share": None if row.share is None else json_number(min(max(row.share, 0.0), 1.0)),
        "text": to_text(language, row.text),
        "head": row.head,
    }
