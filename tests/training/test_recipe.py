"""Recipes: schedules are right at their ends, what is drawn keeps to its bounds, and the commands mean what cards say."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from odconv.training.recipe import Recipe, RecipeError, draw, sentence
from odconv.training.train import make_parser

WEIGHTS = Path(__file__).parents[2] / "assets" / "weights"


def test_sizes_take_their_share_of_the_epochs_in_order_and_the_last_epoch_has_the_last():
    recipe = Recipe(epochs=8, sizes="32:0.5,48:0.25,64:0.25")
    assert [recipe.picture_size(epoch) for epoch in range(8)] == [32] * 4 + [48] * 2 + [64] * 2
    thirds = Recipe(epochs=3, sizes="16:0.3333333,24:0.3333333,32:0.3333334")
    assert [thirds.picture_size(epoch) for epoch in range(3)] == [16, 24, 32]  # in spite of rounding
    for epochs in (1, 2, 3, 7, 10, 30):
        assert Recipe(epochs=epochs, sizes="32:0.7,48:0.2,64:0.1").picture_size(epochs - 1) == 64


def test_the_learning_rate_rises_in_a_line_to_its_peak_and_falls_along_a_cosine():
    expected = {0: 0, 0.125: 0.15, 0.25: 0.3, 0.4375: 0.15 + 0.15 * 0.5**0.5, 0.625: 0.15, 1: 0}
    for progress, rate in expected.items():
        assert Recipe(lr=0.3, warm_up=0.25).learning_rate(progress) == pytest.approx(rate, abs=1e-15)
    for warm_up, ends in ((0, [1, 0]), (1, [0, 1])):  # a cycle may lack either side
        assert [Recipe(lr=1, warm_up=warm_up).learning_rate(progress) for progress in (0, 1)] == ends


def test_the_temperature_falls_from_30_to_1_by_the_same_factor_in_equal_times_and_stays():
    expected = [30, 30**0.75, 30**0.5, 30**0.25, 1, 1]
    found = [Recipe(temperature_epochs=4).temperature(done) for done in (0, 1, 2, 3, 4, 9)]
    assert found == pytest.approx(expected, rel=1e-12)
    assert Recipe(temperature_epochs=0).temperature(0) == 1


def draw_often(steps=40, **options):
    """What 100 pictures in each of ``steps`` steps have: temperatures and numbers of kernels."""
    recipe = Recipe(temperature_epochs=0, **options)
    return [np.concatenate(some) for some in zip(*(draw(recipe, step, 10, 100) for step in range(steps)), strict=True)]


def test_half_of_the_pictures_have_fewer_kernels_each_number_below_k_alike():
    assert [set(some) for some in draw_often(1)] == [{1}, {4}]  # neither is dropped nor drawn
    temperatures, kernels = draw_often(kernel_drop="strongest")
    assert (temperatures == 1).all()
    assert np.bincount(kernels)[1:] / 4000 == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2], abs=0.03)


def test_temperatures_are_drawn_for_their_share_of_the_pictures_log_uniformly_between_a_half_and_4():
    temperatures, kernels = draw_often(temperature_draw=0.25)
    others = temperatures[temperatures != 1]
    assert (kernels == 4).all()
    assert len(others) / 4000 == pytest.approx(0.25, abs=0.03)
    assert 0.5 <= others.min() < 0.52 < 3.9 < others.max() <= 4
    assert (others < 2**0.5).mean() == pytest.approx(0.5, abs=0.06)


def test_what_is_drawn_depends_on_seed_and_step_alone_and_nothing_is_before_the_temperature_is_1():
    both = {"kernel_drop": "strongest", "temperature_draw": 0.3}
    temperatures, kernels = draw_often(**both)
    np.testing.assert_array_equal(temperatures, draw_often(temperature_draw=0.3)[0])
    np.testing.assert_array_equal(kernels, draw_often(kernel_drop="strongest")[1])
    assert not np.array_equal(temperatures, draw_often(seed=1, **both)[0])
    recipe = Recipe(temperature_epochs=2, **both)
    for step in range(20):
        assert [set(some) for some in draw(recipe, step, 10, 8)] == [{recipe.temperature(step / 10)}, {4}]


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"arch": "vgg"}, "od_resnet18"),
        ({"kernel_drop": "last"}, "none, strongest"),
        ({"kernels": 65}, "to 64"),
        ({"zoom": 0.9}, "from 1"),
        ({"lr": 0.0}, "from 1e-09"),
        ({"lr": float("nan")}, "to 100"),
        ({"balance": float("inf")}, "from 0"),
        ({"temperature_draw": 1.5}, "from 0 to 1"),
        ({"arch": "resnet18", "kernel_drop": "strongest"}, "dynamic"),
        ({"kernels": 1, "kernel_drop": "strongest"}, "K > 1"),
        ({"sizes": "32:0.5,64:0.4"}, "add up to 1"),
        ({"sizes": "32"}, "32:0.5,48:0.25,64:0.25"),
        ({"sizes": "8:1"}, "16 to 1024"),
        ({"sizes": "32:1.5,64:-0.5"}, "above 0"),
    ],
)
def test_what_no_run_can_have_is_refused_with_what_is_allowed(options, allowed):
    with pytest.raises(RecipeError) as refused:
        Recipe(**options)
    assert allowed in str(refused.value)
    assert list(options)[-1] in str(refused.value)


def published():
    """Name of a run -> its recipe, from the commands in the weights' README, on a GPU."""
    text = (WEIGHTS / "README.md").read_text(encoding="utf-8").replace("\\\n", "")
    recipes = {}
    for command in re.findall(r"^python -m odconv.training.train (.*)$", text, re.MULTILINE):
        options = vars(make_parser().parse_args(shlex.split(command)))
        given = {name: value for name, value in options.items() if name in Recipe.__dataclass_fields__}
        recipes[options["out"].name] = Recipe(**(given | {"precision": "bfloat16"}))
    return recipes


@pytest.mark.parametrize("name", ["resnet18_w32", "od_resnet18_w32_1x", "od_resnet18_w32_4x"])
def test_the_published_commands_mean_what_the_cards_say_was_done(name):
    name, recipes = f"{name}_tiny_imagenet", published()
    first, own = recipes["resnet18_w32_start"], recipes[name]
    copied = ", each of its kernels 4 times, with noise of 0.5 of their deviation" if "4x" in name else ""
    expected = f"First resnet18_w32_start ({sentence(first)}){copied}. Then {sentence(own)}"
    assert json.loads((WEIGHTS / f"{name}.json").read_text(encoding="utf-8"))["recipe"] == expected
    assert Path(own.start).stem == "resnet18_w32_start"
