"""Recipes: schedules are right at their ends, what is drawn keeps to its bounds, and nonsense is refused."""

import dataclasses
from collections import Counter

import pytest

from odconv import Settings
from odconv.training import recipe as schedules
from odconv.training.recipe import Recipe, RecipeError, learning_rate, sentence, size, temperature, told_in


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


def told(steps=4000, **options):
    recipe = Recipe(temperature_epochs=0, **options)
    return [told_in(recipe, step, 10) for step in range(steps)]


def test_without_dropping_or_drawing_a_network_is_told_the_temperature_alone():
    recipe = Recipe(temperature_start=21, temperature_epochs=2)
    assert told_in(recipe, 0, 10) == (Settings(21), None)
    assert told_in(recipe, 10, 10) == (Settings(11), None)
    assert told_in(recipe, 20, 10) == (Settings(), None)


@pytest.mark.parametrize("drop", ["first", "strongest", "random"])
@pytest.mark.parametrize("rate", [0.5, 0.2])
def test_kernels_drop_in_their_share_of_the_batches_to_each_number_below_k_alike(drop, rate):
    kept = Counter()
    for settings, count in told(kernel_drop=drop, kernel_drop_rate=rate):
        if drop == "random":
            assert settings == Settings()
            kept[count] += 1
        else:
            assert count is None
            assert settings.kernels is None or settings.keep == drop
            kept[settings.kernels] += 1
    assert kept.keys() == {None, 1, 2, 3}
    assert kept[None] / 4000 == pytest.approx(1 - rate, abs=0.03)
    for count in (1, 2, 3):
        assert kept[count] / 4000 == pytest.approx(rate / 3, abs=0.03)


def test_temperatures_are_drawn_in_their_share_of_the_batches_between_a_half_and_4():
    drawn = [settings.temperature for settings, _ in told(temperature_draw=0.25)]
    others = [t for t in drawn if t != 1]
    assert len(others) / 4000 == pytest.approx(0.25, abs=0.03)
    assert 0.5 <= min(others) < 0.52
    assert 3.9 < max(others) <= 4
    assert sum(t < 2**0.5 for t in others) / len(others) == pytest.approx(0.5, abs=0.06)  # log-uniform: the middle


@pytest.mark.parametrize("drop", ["strongest", "random"])
def test_nothing_is_drawn_or_dropped_before_the_temperature_has_come_down_to_1(drop):
    recipe = Recipe(temperature_start=30, temperature_epochs=2, temperature_draw=1, kernel_drop=drop)
    told = [told_in(recipe, step, 10) for step in range(40)]
    assert [settings.temperature for settings, _ in told[:20]] == pytest.approx(
        [30 - 29 * step / 20 for step in range(20)]
    )
    assert all(settings.kernels is None and count is None for settings, count in told[:20])
    assert all(settings.temperature != 1 for settings, _ in told[20:])
    assert any(settings.kernels is not None or count is not None for settings, count in told[20:])


def test_what_a_step_is_told_depends_on_seed_and_step_alone():
    options = {"kernel_drop": "random", "temperature_draw": 0.5}
    assert told(100, **options) == told(100, **options)
    assert told(100, **options) != told(100, seed=1, **options)


def test_dropping_and_drawing_do_not_shift_each_others_draws():
    """So that runs that differ in one of them can be compared."""
    both = told(200, kernel_drop="first", temperature_draw=0.3)
    assert [s.kernels for s, _ in both] == [s.kernels for s, _ in told(200, kernel_drop="first")]
    assert [s.temperature for s, _ in both] == [s.temperature for s, _ in told(200, temperature_draw=0.3)]


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
        "temperature 30 to 1 over 2 epochs (linear), then log-uniform from 0.5 to 4 in 25 % of the batches",
        "in 50 % of the batches only n of the 4 kernels, n from 1 to 3: drawn at random", "deviation 0.35 in every head", "1.3", "0.999",
    ):  # fmt: skip
        assert part in said
    assert "\n" not in said


def test_the_sentence_of_a_static_network_speaks_of_no_attention():
    said = sentence(Recipe(arch="resnet18"))
    assert not any(word in said for word in ("attention", "temperature", "kernel"))


def test_an_architecture_is_what_the_recipe_says():
    dynamic = Recipe(arch="od_resnet34", width=16, kernels=2, reduction=0.125).architecture(7)
    assert (dynamic.backbone, dynamic.width, dynamic.num_classes, dynamic.num_kernels) == ("od_resnet34", 16, 7, 2)
    assert Recipe(arch="resnet18").architecture(7).num_kernels is None
    assert Recipe(arch="od_mobilenetv2", width=0.5).architecture(7).build().classifier[1].out_features == 7
