"""All that is done for visitors is done in turns, what is soon done first, and nobody waits for ever."""

import threading
from types import SimpleNamespace

import pytest

from odconv.ui import parts
from odconv.ui.turns import Turns


@pytest.fixture
def turns(monkeypatch):
    turns = Turns()
    monkeypatch.setattr(parts, "_turns", turns)
    monkeypatch.setattr(parts, "_running", parts._Running())
    return turns


def free(turns):
    """Whether nobody has the turn."""
    if not turns.acquire(0):
        return False
    turns.release()
    return True


def begin(turns, do):
    """A thread that does something, once it waits for its turn or is done."""
    before, thread = turns.count_waiting(), threading.Thread(target=do)
    thread.start()
    while turns.count_waiting() == before and thread.is_alive():
        threading.Event().wait(0.001)
    return thread


def test_no_two_are_run_at_once(turns):
    run, most, gate = [], [], threading.Lock()

    def do():
        with parts.turn(parts.PAGE):
            with gate:
                run.append(1)
                most.append(len(run))
            threading.Event().wait(0.005)
            with gate:
                run.pop()

    threads = [threading.Thread(target=do) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 12
    assert max(most) == 1
    assert free(turns)


def test_a_step_of_a_drag_comes_first_then_what_was_begun_then_parts_and_then_whole_pages(turns):
    done = []

    def do(name):
        with parts.turn(getattr(parts, name)):
            done.append(name)

    assert turns.acquire(0)
    threads = [begin(turns, lambda name=name: do(name)) for name in ("PAGE", "PART", "GOING_ON", "STEP")]
    turns.release()
    for thread in threads:
        thread.join()
    assert done == ["STEP", "GOING_ON", "PART", "PAGE"]


def test_a_part_within_a_page_is_run_in_the_pages_turn_and_an_error_ends_it(turns):
    def fail():
        with parts.turn(parts.PAGE), parts.turn(parts.PART):
            assert not free(turns)
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert free(turns)


def test_who_has_waited_for_long_enough_is_run_beside_the_others(turns, monkeypatch):
    monkeypatch.setattr(parts, "LONGEST", 0.01)
    assert turns.acquire(0)
    with parts.turn(parts.PAGE), parts.pause():
        parts.give_way()
    assert not turns.acquire(0)  # and gives back no turn that is another's
    turns.release()
    assert free(turns)


def test_while_somebody_waits_for_something_else_it_is_the_turn_of_others(turns):
    done = []

    def do():
        with parts.turn(parts.PAGE):
            done.append("other")

    with parts.turn(parts.PAGE):
        other = begin(turns, do)
        with parts.pause():
            other.join()
            assert free(turns)
        assert done == ["other"]
        assert not free(turns)
    assert free(turns)


def test_who_has_long_to_do_lets_those_go_first_who_have_come_before(turns):
    done = []

    def do(name):
        with parts.turn(parts.PART):
            done.append(name)

    with parts.turn(parts.PAGE):
        others = [begin(turns, lambda name=name: do(name)) for name in "ab"]
        parts.give_way()
        done.append("goes on")
    for other in others:
        other.join()
    assert done == ["a", "b", "goes on"]


def test_parts_wait_for_a_piece_of_a_page_and_not_for_all_of_it(turns, monkeypatch):
    done, context = [], SimpleNamespace(fragment_ids_this_run=None)
    monkeypatch.setattr(parts, "get_script_run_ctx", lambda: context)

    def release():
        with parts.turn(parts.PART):
            done.append("part")

    with parts.page_turn():
        done.append("first piece")
        other = begin(turns, release)
        with parts.page_turn():
            done.append("second piece")
        other.join()
    assert done == ["first piece", "part", "second piece"]


def test_a_page_that_was_begun_goes_on_before_another_however_long_that_has_waited(turns, monkeypatch):
    done, context = [], SimpleNamespace(fragment_ids_this_run=None)
    monkeypatch.setattr(parts, "get_script_run_ctx", lambda: context)
    monkeypatch.setattr(parts, "PAGE", 0.01)  # seconds for which it waits for parts

    def do(name, later):
        with parts.turn(later):
            done.append(name)

    with parts.page_turn():
        others = [begin(turns, lambda: do("page", parts.PAGE))]
        threading.Event().wait(0.02)
        others.append(begin(turns, lambda: do("part", parts.PART)))  # after the page, which has waited for so long
        parts.let_parts_go_first()
        done.append("second piece")
    for other in others:
        other.join()
    assert done == ["second piece", "page", "part"]


def test_a_part_of_a_page_goes_on_to_its_end(turns, monkeypatch):
    done, context = [], SimpleNamespace(fragment_ids_this_run=["stage"])
    monkeypatch.setattr(parts, "get_script_run_ctx", lambda: context)

    def release():
        with parts.turn(parts.PART):
            done.append("another")

    with parts.page_turn():
        other = begin(turns, release)
        parts.let_parts_go_first()
        done.append("one")
    other.join()
    assert done == ["one", "another"]


def test_without_a_turn_there_is_nothing_to_give(turns):
    assert turns.acquire(0)
    parts.give_way()
    with parts.pause():
        assert not free(turns)
