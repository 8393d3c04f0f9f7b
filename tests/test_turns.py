"""Who has waited longest is next, and who gives up is not waited for."""

import threading
import time

from odconv.ui.turns import Turns


def wait_in(turns, number, got, seconds=10, later=0.0):
    """A thread that waits for its turn, notes it, and ends it."""

    def work():
        if turns.acquire(seconds, later):
            got.append(number)
            turns.release()

    before = len(turns._waiting)
    thread = threading.Thread(target=work)
    thread.start()
    while len(turns._waiting) == before and thread.is_alive():
        time.sleep(0.001)
    return thread


def test_turns_come_in_the_order_of_asking_and_who_has_had_one_asks_behind_the_others():
    turns, got = Turns(), []
    assert turns.acquire(0)
    threads = [wait_in(turns, number, got) for number in range(5)]
    assert turns.count_waiting() == 5
    turns.release()
    assert turns.acquire(10)  # though nobody of those who wait has woken up yet
    assert got == [0, 1, 2, 3, 4]
    turns.release()
    for thread in threads:
        thread.join()
    assert turns.count_waiting() == 0


def test_who_can_wait_takes_the_place_of_one_who_comes_later_and_who_cannot_of_one_who_came_before():
    turns, got = Turns(), []
    assert turns.acquire(0)
    asked = [(100.0, "a"), (0.0, "b"), (200.0, "c"), (-100.0, "d"), (100.0, "e"), (0.0, "f"), (-200.0, "g")]
    threads = [wait_in(turns, name, got, later=later) for later, name in asked]
    turns.release()
    for thread in threads:
        thread.join()
    assert got == ["g", "d", "b", "f", "a", "e", "c"]


def test_nobody_waits_for_ever_whoever_comes():
    turns, got = Turns(), []
    assert turns.acquire(0)
    patient = wait_in(turns, "patient", got, later=0.02)
    time.sleep(0.03)
    late = wait_in(turns, "late", got)
    turns.release()
    patient.join()
    late.join()
    assert got == ["patient", "late"]


def test_who_gives_up_is_passed_over_and_leaves_the_turn_to_others():
    turns, got = Turns(), []
    assert turns.acquire(0)
    assert not turns.acquire(0)
    assert not turns.acquire(0.01)
    impatient = wait_in(turns, 0, got, seconds=0.01)
    impatient.join()
    last = wait_in(turns, 1, got)
    turns.release()
    last.join()
    assert got == [1]
    assert turns.acquire(0)


def test_never_do_two_have_a_turn_at_once_though_many_give_up():
    turns, inside, most, done = Turns(), [], [], []

    def work(number):
        for i in range(200):
            if turns.acquire(0 if i % 3 else 0.0005 * (number % 4)):
                inside.append(number)
                most.append(len(inside))
                inside.pop()
                turns.release()
        done.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 8
    assert max(most) == 1
    assert turns.acquire(0)
