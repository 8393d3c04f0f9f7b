"""Answers that are kept by one owner."""

import threading
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from odconv.ui import memo
from odconv.ui.memo import Memo


@dataclass(frozen=True)
class Answer:
    number: int
    arrays: dict[str, tuple[np.ndarray, ...]]


def test_an_answer_is_computed_once_and_nobody_can_change_the_arrays_in_it():
    kept, asked = Memo(10_000), []
    compute = lambda: asked.append(1) or Answer(1, {"a": (np.zeros(3), torch.zeros(3).numpy())})  # noqa: E731
    for _ in range(2):
        for array in kept.get("key", 100, compute).arrays["a"]:
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1
    assert len(asked) == 1


def test_of_an_array_that_is_a_part_of_another_all_counts_that_it_keeps_in_memory_and_once():
    whole, tensor = np.zeros(1000), torch.zeros(10, 100)
    one, two = memo._freeze(whole[:1]), memo._freeze((whole[:1], whole[1:]))
    assert one == 8000 + memo.ARRAY
    assert two == 8000 + 2 * memo.ARRAY + memo.OBJECT
    assert memo._freeze(tensor[3].numpy()) == 4000 + memo.ARRAY
    assert memo._freeze({"ab": b"cde"}) == 5 + memo.OBJECT


def test_what_is_being_computed_is_waited_for_and_others_are_not():
    kept, begun, go_on, got = Memo(10_000), threading.Event(), threading.Event(), []

    def compute():
        begun.set()
        assert go_on.wait(10)
        return "slow"

    threads = [threading.Thread(target=lambda: got.append(kept.get("key", 100, compute))) for _ in range(3)]
    threads[0].start()
    assert begun.wait(10)
    begun.clear()
    for thread in threads[1:]:
        thread.start()
    assert kept.get("other", 100, lambda: "quick") == "quick"
    assert got == []
    go_on.set()
    for thread in threads:
        thread.join()
    assert got == ["slow"] * 3
    assert not begun.is_set()
    assert kept._computing == {}


def test_where_computing_fails_who_waited_computes_it_anew():
    kept, begun, go_on, got = Memo(10_000), threading.Event(), threading.Event(), []

    def fail():
        begun.set()
        assert go_on.wait(10)
        raise ValueError

    def ask_in_vain():
        with pytest.raises(ValueError):
            kept.get("key", 100, fail)

    first = threading.Thread(target=ask_in_vain)
    first.start()
    assert begun.wait(10)
    second = threading.Thread(target=lambda: got.append(kept.get("key", 100, lambda: "anew")))
    second.start()
    go_on.set()
    first.join()
    second.join()
    assert got == ["anew"]


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
