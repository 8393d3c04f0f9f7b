"""What the temperature lesson's dials take from a browser, and what they show."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odconv.attention import HEADS, Heads, Settings
from odconv.tempering import FALL_EPOCHS, scheduled_temperature
from odconv.ui.dials import STOPS
from odconv.ui.link import TEMPERATURES, View, from_query, to_query
from odconv.ui.live import Turn
from odconv.ui.temperatures import SCHEDULE, parse_temperatures, temperature_clauses
from tests.test_dials import anything
from tests.test_link import OFFER

on_dial = st.sampled_from([*STOPS, *SCHEDULE])


@given(on_dial, st.booleans())
def test_one_temperature_for_all_heads_is_one_number(one, released):
    sent = json.loads(json.dumps({"changes": {"temperatures": [one] * 4}, "released": released, "seq": 3}))
    assert parse_temperatures(sent) == Turn({"temperature": one, "tempered": HEADS}, released)


@given(st.lists(on_dial, min_size=4, max_size=4))
def test_each_head_gets_its_temperature_and_a_link_gives_it_back(four):
    turn = parse_temperatures(json.loads(json.dumps({"changes": {"temperatures": four}, "released": True})))
    settings = Settings(**turn.changes)
    assert settings.divisors == Heads(*four)
    view = View(settings=settings)
    assert from_query(to_query(view), OFFER) == (view, [])


@pytest.mark.parametrize(
    "changes", [None, [], {}, {"temperature": 3}, {"temperatures": [1] * 4, "kernels": 2}], ids=str
)
def test_another_widgets_changes_are_refused(changes):
    with pytest.raises(ValueError):
        parse_temperatures({"changes": changes, "released": True})


@pytest.mark.parametrize(
    "one",
    [None, True, "3", [3], {}, 0, -1, 0.09, 30.1, 1e308, float("nan"), float("inf"), 10**4000],
    ids=lambda one: str(one)[:20],
)
def test_what_is_on_no_dial_is_refused(one):
    for position in range(4):
        four = [2.0] * 4
        four[position] = one
        with pytest.raises(ValueError):
            parse_temperatures({"changes": {"temperatures": four}, "released": True})


@given(anything, anything)
def test_nothing_that_a_browser_sends_gets_out_of_range(sent, four):
    for message in (sent, {"changes": sent, "released": True}, {"changes": {"temperatures": four}, "released": True}):
        try:
            turn = parse_temperatures(message)
        except ValueError:
            continue
        assert all(TEMPERATURES[0] <= one <= TEMPERATURES[1] for one in Settings(**turn.changes).divisors)


def test_the_epochs_fall_as_the_authors_temperature_does_to_three_digits():
    assert SCHEDULE[0] == 30
    assert set(SCHEDULE[10 * FALL_EPOCHS :]) == {1.0}
    for tenth, temperature in enumerate(SCHEDULE):
        assert temperature == pytest.approx(scheduled_temperature(tenth / 10), rel=5e-3)
        assert f"{temperature:g}" == f"{temperature:.3g}"
    falling = SCHEDULE[: 10 * FALL_EPOCHS + 1]
    assert list(falling) == sorted(set(falling), reverse=True)  # every tenth of an epoch has a temperature of its own


def test_of_a_recipe_what_is_about_temperature_is_found():
    recipe = (
        "od_resnet18 for 24 epochs, batch 256; SGD with momentum 0.9; temperature 30 to 1 over 6 epochs (geometric), then "
        "log-uniform from 0.5 to 4 for 25 % of the pictures; all logits divided by 0.9 when training was over; dropout 0.2"
    )
    assert temperature_clauses(recipe) == [
        "temperature 30 to 1 over 6 epochs (geometric), then log-uniform from 0.5 to 4 for 25 % of the pictures",
        "all logits divided by 0.9 when training was over",
    ]
    assert temperature_clauses("") == temperature_clauses("SGD; room temperature is not meant") == []
