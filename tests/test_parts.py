"""Pages are drawn in turns, and none waits for ever."""

import threading

import pytest

from odconv.ui import parts
from odconv.ui.turns import Turns


@pytest.fixture
def turns(monkeypatch):
    turns = Turns(parts.AT_ONCE)
    monkeypatch.setattr(parts, "_turns", turns)
    return turns


def everybody(turns):
    """Have all turns, and give them back: whether all were free."""
    got = [turns.acquire(0) for _ in range(parts.AT_ONCE)]
    for _ in filter(None, got):
        turns.release()
    return all(got)


def test_no_more_pages_than_so_many_are_drawn_at_once(turns):
    drawn, most, gate = [], [], threading.Lock()

    def draw():
        with parts.turn():
            with gate:
                drawn.append(1)
                most.append(len(drawn))
            threading.Event().wait(0.005)
            with gate:
                drawn.pop()

    threads = [threading.Thread(target=draw) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 12
    assert max(most) == parts.AT_ONCE
    assert everybody(turns)


def test_a_part_within_a_page_is_drawn_in_the_pages_turn_and_an_error_ends_it(turns):
    def fail():
        with parts.turn(), parts.turn():
            assert not everybody(turns)
            assert turns.acquire(0)  # one turn was taken, not two
            turns.release()
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert everybody(turns)


def test_who_has_waited_for_long_enough_is_drawn_beside_the_others(turns, monkeypatch):
    monkeypatch.setattr(parts, "LONGEST", 0.01)
    for _ in range(parts.AT_ONCE):
        turns.acquire(0)
    with parts.turn():
        pass
    assert not turns.acquire(0)  # and gives back no turn that is another's
    for _ in range(parts.AT_ONCE):
        turns.release()
    assert everybody(turns)
