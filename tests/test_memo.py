"""Answers that are kept by one owner."""

import pytest

from odconv.ui import memo
from odconv.ui.memo import Memo


def test_an_answer_is_computed_once_and_whoever_changes_it_changes_nobody_elses():
    kept, asked = Memo(10_000), []
    compute = lambda: asked.append(1) or [1, 2]  # noqa: E731
    first = kept.get("key", 100, compute)
    first.append(3)
    kept.get("key", 100, compute).clear()
    assert kept.get("key", 100, compute) == [1, 2]
    assert len(asked) == 1


def test_those_asked_for_longest_ago_go_first_and_one_that_is_too_large_is_not_kept():
    kept, asked = Memo(2500), []

    def get(key, size=1000):
        return kept.get(key, 100, lambda: asked.append(key) or bytes(size))

    for key in "aba":
        get(key)
    get("c")  # b goes
    get("a")
    assert asked == ["a", "b", "c"]
    get("b")
    assert asked == ["a", "b", "c", "b"]
    get("large", 5000)
    get("large", 5000)
    assert asked.count("large") == 2


def test_an_answer_is_kept_for_its_time_and_an_error_not_at_all(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(memo.time, "monotonic", lambda: now[0])
    kept, asked = Memo(10_000), []

    def fail():
        asked.append("failed")
        raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError):
            kept.get("key", 10, fail)
    for now[0] in (0.0, 9.9, 10.1):
        kept.get("key", 10, lambda: asked.append("computed"))
    assert asked == ["failed", "failed", "computed", "computed"]
