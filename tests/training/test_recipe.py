"""Recipes: schedules are right at their ends, what is drawn keeps to its bounds, and nonsense is refused."""

import dataclasses

import numpy as np
import pytest

from odconv.training import recipe as schedules
from odconv.training.recipe import Recipe, RecipeError, drawn, learning_rate, sentence, size, temperature


def test_sizes_take_their_share_of_the_epochs_in_order():
    recipe = Recipe(epochs=8, sizes="32:0.5,48:0.25,64:0.25")
    assert [size(recipe, epoch) for epoch in range(8)] == [32] * 4 + [48] * 2 + [64] * 2


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 10, 30])
def test_the_last_epoch_has_the_last_size(epochs):
    assert size(Recipe(epochs=epochs, sizes="32:0.7,48:0.2,64:0.1"), epochs - 1) == 64
    assert size(Recipe(epochs=epochs, sizes="32:0.7,48:0.2,64:0.1"), epochs) == 64


def test_equal_thirds_are_equal_in_spite_of_rounding():
    recipe = Recipe(epochs=3, sizes="16:0.3333333,24:0.3333333,32:0.3333334")
    assert [size(recipe, epoch) for epoch in range(3)] == [16, 24, 32]


@pytest.mark.parametrize("decay", ["cosine", "linear"])
def test_the_learning_rate_goes_from_0_to_its_peak_to_0(decay):
    recipe = Recipe(lr=0.3, warm_up=0.25, decay=decay)
    assert learning_rate(recipe, 0) == 0
    assert learning_rate(recipe, 0.125) == pytest.approx(0.15)
    assert learning_rate(recipe, 0.25) == pytest.approx(0.3)
    assert learning_rate(recipe, 0.625) == pytest.approx(0.15)  # half way down, along either
    assert learning_rate(recipe, 1) == pytest.approx(0)
    rates = [learning_rate(recipe, i / 100) for i in range(101)]
    assert rates[:26] == sorted(rates[:26])
    assert rates[25:] == sorted(rates[25:], reverse=True)
    quarter = {"cosine": 0.3 * (1 + 0.5**0.5) / 2, "linear": 0.225}[decay]
    assert learning_rate(recipe, 0.4375) == pytest.approx(quarter)


@pytest.mark.parametrize("warm_up", [0, 1])
def test_a_cycle_may_lack_either_side(warm_up):
    rates = [learning_rate(Recipe(lr=1, warm_up=warm_up), progress) for progress in (0, 1)]
    assert rates == ([1, 0] if warm_up == 0 else [0, 1])


def test_the_temperature_falls_to_1_in_a_line_and_stays():
    recipe = Recipe(temperature_start=30, temperature_epochs=2)
    assert [temperature(recipe, done) for done in (0, 1, 2, 2.5, 30)] == [30, 15.5, 1, 1, 1]
    assert temperature(Recipe(temperature_epochs=0), 0) == 1


def test_a_geometric_fall_divides_the_temperature_by_the_same_factor_in_equal_times():
    recipe = Recipe(temperature_start=16, temperature_epochs=4, temperature_fall="geometric")
    assert [temperature(recipe, done) for done in (0, 1, 2, 3, 4, 9)] == pytest.approx([16, 8, 4, 2, 1, 1])


def test_the_average_forgets_the_first_steps_and_then_keeps_its_decay():
    recipe = Recipe(average=0.99)
    assert schedules.average_decay(recipe, 0) == pytest.approx(0.1)
    assert schedules.average_decay(recipe, 90) == pytest.approx(0.91)
    assert schedules.average_decay(recipe, 10**6) == 0.99


def all_drawn(steps=40, **options):
    """What 100 pictures in each of ``steps`` steps have: temperatures and numbers of kernels."""
    recipe = Recipe(temperature_epochs=0, **options)
    return [np.concatenate(some) for some in zip(*(drawn(recipe, step, 10, 100) for step in range(steps)), strict=True)]


def test_without_dropping_or_drawing_no_picture_has_anything_for_itself():
    temperatures, kernels = drawn(Recipe(temperature_epochs=0), 0, 10, 100)
    assert set(temperatures) == {1}
    assert set(kernels) == {4}


@pytest.mark.parametrize("drop", ["first", "strongest", "random"])
@pytest.mark.parametrize("rate", [0.5, 0.2])
def test_kernels_drop_for_their_share_of_the_pictures_to_each_number_below_k_alike(drop, rate):
    temperatures, kernels = all_drawn(kernel_drop=drop, kernel_drop_rate=rate)
    assert (temperatures == 1).all()
    shares = {count: (kernels == count).mean() for count in set(kernels.tolist())}
    assert shares == pytest.approx({4: 1 - rate, 1: rate / 3, 2: rate / 3, 3: rate / 3}, abs=0.03)


def test_temperatures_are_drawn_for_their_share_of_the_pictures_between_a_half_and_4():
    temperatures, kernels = all_drawn(temperature_draw=0.25)
    assert (kernels == 4).all()
    others = temperatures[temperatures != 1]
    assert len(others) / 4000 == pytest.approx(0.25, abs=0.03)
    assert 0.5 <= others.min() < 0.52
    assert 3.9 < others.max() <= 4
    assert (others < 2**0.5).mean() == pytest.approx(0.5, abs=0.06)  # log-uniform: the middle


def test_the_pictures_of_a_batch_differ_in_what_is_drawn():
    first = drawn(Recipe(temperature_epochs=0, temperature_draw=1, kernel_drop="first"), 0, 10, 100)
    assert len(set(first.temperatures.tolist())) == 100
    assert set(first.kernels.tolist()) == {1, 2, 3, 4}


@pytest.mark.parametrize("drop", ["strongest", "random"])
def test_nothing_is_drawn_or_dropped_before_the_temperature_has_come_down_to_1(drop):
    recipe = Recipe(temperature_start=30, temperature_epochs=2, temperature_draw=1, kernel_drop=drop)
    for step in range(20):
        temperatures, kernels = drawn(recipe, step, 10, 8)
        assert set(temperatures) == {schedules.temperature(recipe, step / 10)}
        assert set(kernels) == {4}
    assert all(len(set(drawn(recipe, step, 10, 8).temperatures)) == 8 for step in range(20, 40))


def test_what_is_drawn_depends_on_seed_and_step_alone():
    options = {"kernel_drop": "random", "temperature_draw": 0.5}
    once, again, other = all_drawn(**options), all_drawn(**options), all_drawn(seed=1, **options)
    for these, same, different in zip(once, again, other, strict=True):
        np.testing.assert_array_equal(these, same)
        assert not np.array_equal(these, different)


def test_dropping_and_drawing_do_not_shift_each_others_draws():
    """So that runs that differ in one of them can be compared."""
    temperatures, kernels = all_drawn(kernel_drop="first", temperature_draw=0.3)
    np.testing.assert_array_equal(kernels, all_drawn(kernel_drop="first")[1])
    np.testing.assert_array_equal(temperatures, all_drawn(temperature_draw=0.3)[0])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"arch": "vgg"}, "od_resnet18"),
        ({"stem": "large"}, "imagenet, small"),
        ({"decay": "step"}, "cosine, linear"),
        ({"kernel_drop": "last"}, "none, first, random, strongest"),
        ({"epochs": 0}, "at least 1"),
        ({"kernels": 0}, "at least 1"),
        ({"zoom": 0.9}, "at least 1"),
        ({"lr": 0.0}, "above 0"),
        ({"lr": float("nan")}, "finite"),
        ({"weight_decay": -1e-4}, "at least 0"),
        ({"dropout": 1.5}, "from 0 to 1"),
        ({"kernel_drop_rate": 0.6}, "from 0 to 0.5"),
        ({"arch": "resnet18", "kernel_drop": "first"}, "dynamic"),
        ({"kernels": 1, "kernel_drop": "first"}, "K > 1"),
        ({"std": (0.1, 0.0, 0.1)}, "above 0"),
        ({"sizes": "32:0.5,64:0.4"}, "add up to 1"),
        ({"sizes": "32"}, "32:0.5,48:0.25,64:0.25"),
        ({"sizes": "8:1"}, "16 to 1024"),
        ({"sizes": "32:1.5,64:-0.5"}, "above 0"),
    ],
)
def test_what_no_run_can_have_is_refused_with_what_is_allowed(options, named):
    with pytest.raises(RecipeError) as refused:
        Recipe(**options)
    assert named in str(refused.value)
    assert next(iter(options)) in str(refused.value) or "kernel_drop" in str(refused.value)


def test_every_hyperparameter_says_what_it_is():
    known = schedules.hyperparameters()
    assert list(known) == [field.name for field in dataclasses.fields(Recipe)]
    assert all(said for _, said in known.values())


def test_the_sentence_of_a_card_says_what_was_done():
    recipe = Recipe(epochs=8, lr=0.21, kernel_drop="random", temperature_draw=0.25, initial_logits=0.35, zoom=1.3)
    said = sentence(recipe)
    for part in (
        "8 epochs (4 at 32 px, 2 at 48 px, 2 at 64 px)", "0.21", "0.0005", "2 times the learning rate",
        "temperature 30 to 1 over 2 epochs (linear), then log-uniform from 0.5 to 4 for 25 % of the pictures",
        "for 50 % of the pictures only n of the 4 kernels, n from 1 to 3: drawn at random", "deviation 0.35 in every head", "1.3", "0.999",
    ):  # fmt: skip
        assert part in said
    assert "\n" not in said
    assert "fixed" not in said
    assert "shift of their BatchNorm fixed at 1 and 0" in sentence(Recipe(attention_affine="fixed"))
    assert "all logits divided by 0.9" in sentence(Recipe(final_temperature=0.9))
    assert "; temperature 1; " in sentence(Recipe(temperature_epochs=0))


def test_the_sentence_of_a_static_network_speaks_of_no_attention():
    said = sentence(Recipe(arch="resnet18"))
    assert not any(word in said for word in ("attention", "temperature", "kernel"))


def test_an_architecture_is_what_the_recipe_says():
    dynamic = Recipe(arch="od_resnet34", width=16, kernels=2, reduction=0.125).architecture(7)
    assert (dynamic.backbone, dynamic.width, dynamic.num_classes, dynamic.num_kernels) == ("od_resnet34", 16, 7, 2)
    assert Recipe(arch="resnet18").architecture(7).num_kernels is None
    assert Recipe(arch="od_mobilenetv2", width=0.5).architecture(7).build().classifier[1].out_features == 7
