"""The normal form of settings: the same pass to the last bit, and one form for all that give it."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from odconv import HEADS, ODConv2d, Settings, explain
from odconv.attention import Heads, attend, kept_kernels
from odconv.backbones import resnet18
from odconv.normalize import heads_of, most_kernels, normalize


class Odd(nn.Module):
    """Layers that differ in what they have: K of 4, 1 and 3, no taps, one channel in, depth-wise, called twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 1, 3)
        self.one_in = ODConv2d(1, 4, 3, padding=1, num_kernels=4)
        self.pointwise = ODConv2d(4, 4, 1, num_kernels=3)
        self.depthwise = ODConv2d(4, 4, 3, padding=1, groups=4, num_kernels=1)

    def forward(self, x):
        return self.depthwise(self.pointwise(self.pointwise(self.one_in(self.stem(x))))).mean((2, 3))


class Single(nn.Module):
    """One channel in, one out, one kernel, no taps: hardly a pattern anywhere."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 1, 3)
        self.layer = ODConv2d(1, 2, 1, num_kernels=2)
        self.last = ODConv2d(2, 1, 1, num_kernels=1)

    def forward(self, x):
        return self.last(self.layer(self.stem(x))).mean((2, 3))


@pytest.fixture(scope="module")
def networks(shake):
    torch.manual_seed(3)
    models = {"odd": Odd(), "single": Single(), "layer": ODConv2d(3, 4, 3, num_kernels=2)}
    return {name: shake(model).eval().requires_grad_(False) for name, model in models.items()}


heads = st.lists(st.sampled_from(HEADS), unique=True).map(tuple)
one_temperature = st.sampled_from([1, 1.0, 0.5, 2, 30.0, 1e-35, 1e35])
rules = st.sampled_from([None, "uniform", "argmax", "shuffled"])


def free_rules(ablate, chosen):
    """The rules of heads that are not ablated."""
    return Heads(*(None if head in ablate else rule for head, rule in zip(HEADS, chosen, strict=True)))


some_settings = st.builds(
    lambda ablate, chosen, **others: Settings(ablate=ablate, replaced=free_rules(ablate, chosen), **others),
    temperature=one_temperature | st.builds(Heads, *[one_temperature] * len(HEADS)),
    tempered=st.one_of(st.just(HEADS), heads),
    kernels=st.sampled_from([None, 1, 2, 3, 4, 64]),
    keep=st.sampled_from(["strongest", "first"]),
    compensate=st.booleans(),
    ablate=heads,
    chosen=st.tuples(*[rules] * len(HEADS)),
    seed=st.integers(0, 2),
)
subsets = st.one_of(st.none(), st.lists(st.integers(0, 9), max_size=4))  # of a network's modules, by number


def arrays(explanation):
    """Every number of a record that a pass makes, by name."""
    found = {"logits": explanation.logits}
    for name, layer in explanation.layers.items():
        found |= {f"{name} {head} logits": values for head, values in layer.logits._asdict().items()}
        found |= {f"{name} {head}": values for head, values in layer.attention._asdict().items()}
        found[f"{name} kept"] = layer.kept
    return {name: values for name, values in found.items() if values is not None}


@pytest.mark.parametrize("name", ["odd", "single", "layer"])
@given(settings=some_settings, numbers=subsets)
def test_the_pass_under_the_normal_form_is_the_same_to_the_last_bit(networks, name, settings, numbers):
    model = networks[name]
    modules = [module for module, _ in model.named_modules()]
    if numbers is not None:
        settings = replace(settings, layers=tuple(modules[n % len(modules)] for n in numbers))
    x = torch.randn(3, 3, 9, 9, generator=torch.Generator().manual_seed(5))
    normal = normalize(settings, model)
    one, other = arrays(explain(model, x, settings)), arrays(explain(model, x, normal))
    assert list(one) == list(other)
    for what, values in one.items():
        np.testing.assert_array_equal(values, other[what], err_msg=f"{what} under {settings} and {normal}")
    assert normalize(normal, model) == normal
    several = normal.temperature if isinstance(normal.temperature, tuple) else [normal.temperature]
    assert all(type(temperature) is float for temperature in several)


def attentions(logits, settings):
    """What every layer would apply, and which kernels stay, as bytes: two settings are the same pass where these are the same."""
    told = {name: settings if settings.layers is None or name in settings.layers else Settings() for name in logits}
    kept = [kept_kernels(values.kernel, told[name]) for name, values in logits.items() if values.kernel is not None]
    return tuple(
        None if head is None else head.contiguous().numpy().tobytes()
        for head in [head for name, values in logits.items() for head in attend(values, told[name])] + kept
    )


@pytest.mark.parametrize("name", ["odd", "single", "layer"])
def test_settings_have_the_same_normal_form_exactly_where_they_give_the_same_attentions(networks, name):
    """Out of a thousand settings. Those that ablate what they compensate are left out, or give its sum to one entry: their
    attentions are the same but for rounding, and so now and then to the last bit. And one seed alone: two can shuffle alike."""
    model, draw, generator = networks[name], random.Random(1), torch.Generator().manual_seed(2)
    logits = {}
    for module_name, module in model.named_modules():
        if isinstance(module, ODConv2d):
            shapes = [
                None if head is None else head.shape
                for head in module.attention(torch.ones(6, module.in_channels, 2, 2))
            ]
            logits[module_name] = Heads(
                *(
                    None if shape is None else torch.randn(shape, generator=generator, dtype=torch.float64)
                    for shape in shapes
                )
            )
    forms, passes = {}, {}
    for _ in range(1200):
        tempered, ablate = (tuple(head for head in HEADS if draw.random() < share) for share in (0.6, 0.25))
        replaced = free_rules(
            ablate, draw.choices([None, "uniform", "argmax", "shuffled"], weights=[6, 1, 1, 1], k=len(HEADS))
        )
        settings = Settings(
            temperature=draw.choice([1.0, 2.0, Heads(*(draw.choice([1.0, 2.0, 3.0]) for _ in HEADS))]),
            tempered=tempered,
            kernels=draw.choice([None, 1, 2, 3, 4, 5]),
            keep=draw.choice(["strongest", "first"]),
            compensate=not set(ablate) & {"spatial", "channel", "filter"}
            and "argmax" not in replaced[:3]
            and draw.random() < 0.5,
            ablate=ablate,
            replaced=replaced,
            seed=7 if "shuffled" in replaced else draw.choice([0, 7]),
            layers=None if draw.random() < 0.4 else tuple(layer for layer in logits if draw.random() < 0.6),
        )
        normal, applied = normalize(settings, model), attentions(logits, settings)
        assert forms.setdefault(applied, normal) == normal, settings
        assert passes.setdefault(normal, applied) == applied, settings
    assert len(forms) > 10  # and so there was something to tell apart


@pytest.mark.parametrize(
    "settings",
    [
        Settings(keep="first"),
        Settings(compensate=True),
        Settings(kernels=64, keep="first"),
        Settings(kernels=4),
        Settings(tempered=("kernel",)),
        Settings(temperature=9, tempered=()),
        Settings(temperature=9, layers=()),
        Settings(seed=5),
        Settings(replaced=Heads("argmax", "shuffled", "uniform", "argmax"), layers=()),
        Settings(temperature=9, layers=("conv1", "fc", "layer1.0")),
        Settings(temperature=9, layers=("no such layer", "__class__", "")),
    ],
)
def test_settings_that_change_nothing_are_the_default(small_model, settings):
    assert normalize(settings, small_model) == Settings()


def test_every_setting_of_a_network_without_odconv_layers_is_the_default():
    model = resnet18(5, width=4, stem="small")
    for settings in (Settings(3.0, ("kernel",), 2, "first", True, ("spatial",)), Settings(0.1, layers=("fc",))):
        assert normalize(settings, model) == Settings()
    assert heads_of(model) == ()
    assert most_kernels(model) == 1


def test_what_changes_a_network_stays_as_it_is(small_model):
    for settings in (
        Settings(2.0),
        Settings(2.0, ("kernel",)),
        Settings(2.0, ("spatial", "filter"), compensate=True),
        Settings(kernels=1),
        Settings(kernels=3, keep="first"),
        Settings(ablate=("channel", "kernel")),
        Settings(2.0, ablate=("channel",), compensate=True),
        Settings(2.0, layers=("layer1.0.conv1",)),
        Settings(Heads(2.0, 1.0, 3.0, 1.0)),
    ):
        assert normalize(settings, small_model) == settings


def test_a_rule_makes_what_it_overrules_meaningless(small_model):
    for rule, settings in (
        ("uniform", Settings(ablate=("kernel",))),
        ("argmax", Settings(replaced=Heads(None, None, None, "argmax"))),
    ):
        assert normalize(Settings(5.0, ("kernel",), replaced=Heads(None, None, None, rule)), small_model) == settings
    first = Settings(kernels=2, keep="first", replaced=Heads(None, None, None, "argmax"))
    assert normalize(first, small_model) == first
    shuffled = Settings(replaced=Heads("uniform", "argmax", None, "shuffled"), seed=3)
    assert normalize(shuffled, small_model) == shuffled
    assert normalize(replace(shuffled, kernels=1), small_model) == Settings(
        kernels=1, replaced=Heads("uniform", "argmax", None, None)
    )


def test_four_temperatures_are_one_where_they_divide_alike(small_model, networks):
    assert normalize(Settings(Heads(2.0, 1.0, 1.0, 2.0)), small_model) == Settings(2.0, ("spatial", "kernel"))
    assert normalize(Settings(Heads(2.0, 1.0, 3.0, 4.0), ("spatial",)), small_model) == Settings(2.0, ("spatial",))
    assert normalize(Settings(Heads(9.0, 2.0, 2.0, 2.0)), networks["single"]) == Settings(2.0)  # has no taps


def test_all_layers_by_name_are_all_layers(small_model):
    names = tuple(name for name, module in small_model.named_modules() if isinstance(module, ODConv2d))
    assert normalize(Settings(2.0, layers=(*names, "gone")), small_model) == Settings(2.0)
    assert normalize(Settings(2.0, layers=(*names[1:], "gone")), small_model) == Settings(2.0, layers=names[1:])


def test_one_kernel_that_stays_has_all_whatever_its_logit(small_model):
    for settings in (Settings(5.0, ("kernel",), 1), Settings(kernels=1, ablate=("kernel",))):
        assert normalize(settings, small_model) == Settings(kernels=1)
    assert normalize(Settings(5.0, ("kernel",), ablate=("kernel",)), small_model) == Settings(ablate=("kernel",))


def test_tempering_all_heads_that_a_network_has_is_tempering_all(networks):
    odd = networks["odd"]
    assert normalize(Settings(2.0, ("channel",), layers=("depthwise",)), odd) != Settings(2.0, layers=("depthwise",))
    assert normalize(Settings(2.0, ("channel", "spatial"), layers=("depthwise",)), odd) == Settings(
        2.0, layers=("depthwise",)
    )


def test_a_network_says_which_heads_and_how_many_kernels_it_has(networks):
    assert heads_of(networks["odd"]) == HEADS
    assert heads_of(networks["single"]) == ("channel", "filter", "kernel")
    assert [most_kernels(networks[name]) for name in ("odd", "single", "layer")] == [4, 2, 2]
