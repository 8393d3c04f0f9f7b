"""What is said of plugging ODConv into a network is what ``convert`` does, and the lines that are offered do the same."""

import ast
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from odconv import ODConv2d, plugging
from odconv.attention import HEADS
from odconv.drawings import layers_data, totals_data
from odconv.plugging import (
    KERNELS,
    MOST_MEGABYTES,
    NETWORKS,
    REASONS,
    TRAINED,
    WHERE,
    Conversion,
    Layer,
    Plan,
    PluggingError,
    Row,
    Timing,
)
from odconv.words import LANGUAGES, say

WEIGHTS = Path(__file__).parents[1] / "assets" / "weights" / TRAINED
OWN = Plan("own", rows=(Row(8, stride=2), Row(8, 5, depthwise=True), Row(12, 1), Row(12, dilation=2)), side=32)
PLANS = {
    "own": replace(OWN, num_kernels=2),
    "own, later half": replace(OWN, where="late", reduction=4),
    "own, every one, K = 1": replace(OWN, where="all", num_kernels=1),
    "trained": Plan("trained", where="three", num_kernels=2),
    "trained, later stages": Plan("trained", where="late", num_kernels=1),
    "block": Plan("block", num_kernels=1, reduction=8),
    "mobilenetv2": Plan("mobilenetv2", where="depthwise"),
    "efficientnet_lite0": Plan("efficientnet_lite0", where="late", num_kernels=1, reduction=32),
}
plans = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


@cache
def plugged(plan):
    return plugging.plug_in(plan, WEIGHTS)


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


# --- the lines ----------------------------------------------------------------------------------------------------------


@plans
def test_the_lines_make_the_network_that_is_described(plan, monkeypatch, capsys):
    monkeypatch.chdir(WEIGHTS.parents[2])  # they name the bundled weights as a checkout has them
    found, made = plugged(plan), {}
    exec(plugging.pytorch_lines("en", plan), made)  # our own text, of numbers and names that are checked
    assert (size(made["network"]), size(made["model"])) == found.parameters
    dynamic = [name for name, module in made["model"].named_modules() if isinstance(module, ODConv2d)]
    assert sorted(dynamic) == sorted(layer.name for layer in found.layers if layer.heads)
    assert made["report"].multiply_adds == found.multiply_adds
    assert made["report"].scale == pytest.approx(found.scale)
    assert tuple(made["x"].shape) == found.shape
    assert capsys.readouterr().out.count("dynamic") >= 1
    with torch.no_grad():
        apart = (made["model"](made["x"]) - made["network"](made["x"])).abs().max()
    assert apart <= 1e-4 * found.scale
    if plan.network == "block":
        assert size(made["layer"]) == found.parameters[1]


@plans
def test_the_lines_are_the_same_program_in_every_language(plan):
    programs = [plugging.pytorch_lines(language, plan) for language in LANGUAGES]
    assert len({ast.dump(ast.parse(program)) for program in programs}) == 1
    assert len(set(programs)) == len(LANGUAGES)  # but for the comments


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("where", WHERE)
def test_a_rule_and_its_source_choose_the_same_convolutions(network, where):
    plan = Plan(network, where=where)
    rule, convs = plugging.rule_of(plan), plugging.outline(plan).convs
    if not rule.source:
        assert rule.where is None
        return
    written = eval(rule.source)
    if not callable(rule.where):
        assert written == rule.where == list(convs)
        return
    chosen = [name for name, conv in convs.items() if rule.where(name, conv)]
    assert chosen == [name for name, conv in convs.items() if written(name, conv)]
    if where == "late":
        assert 0 < len(chosen) < len(convs)
        assert chosen[-1] == list(convs)[-1]


# --- what it does -------------------------------------------------------------------------------------------------------


@plans
def test_layers_add_up_to_the_totals_and_each_says_what_it_is_or_why_not(plan):
    found = plugged(plan)
    for before_or_after in (0, 1):
        assert (
            sum(layer.multiply_adds[before_or_after] for layer in found.layers) == found.multiply_adds[before_or_after]
        )
    grown = sum(layer.parameters[1] - layer.parameters[0] for layer in found.layers)
    assert grown == found.parameters[1] - found.parameters[0]
    for layer in found.layers:
        assert bool(layer.heads) != bool(layer.reason)
        assert layer.reason in ("", "linear", *REASONS.values())
    assert found.max_difference <= 1e-4 * found.scale


@pytest.mark.parametrize(("network", "left"), [("resnet50", 5), ("mobilenetv2", 1)])
def test_by_default_the_stem_and_shortcuts_stay_and_later_convolutions_have_the_heads_that_their_shape_allows(
    network, left
):
    found = plugging.plug_in(Plan(network, 1), WEIGHTS)
    convs = [layer for layer in found.layers if layer.conv]
    assert found.layers[0].reason == "stem"
    assert sum(bool(layer.reason) for layer in convs) == left
    assert found.layers[-1].reason == "linear"
    for layer in convs:
        side, _, _, depthwise = layer.conv
        wanted = {"spatial": side > 1, "channel": True, "filter": not depthwise, "kernel": False}
        assert layer.heads in ((), tuple(head for head in HEADS if wanted[head]))


def test_the_seed_block_is_odconvs_own_layer():
    found = plugging.plug_in(Plan("block"), WEIGHTS)
    (layer,) = found.layers
    assert layer.parameters == (256 * 256 * 49, size(ODConv2d(256, 256, 7, padding=3))) == found.parameters
    assert layer.multiply_adds[0] == 256 * 256 * 49 * 40 * 40
    assert layer.heads == HEADS
    assert found.shape == (2, 256, 40, 40)


def test_a_network_is_built_from_its_rows_and_keeps_the_size_of_its_maps_at_stride_1():
    network, x = plugging.build(OWN, WEIGHTS)
    convs = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert [(conv.in_channels, conv.out_channels, conv.groups) for conv in convs] == [
        (3, 8, 1), (8, 8, 8), (8, 12, 1), (12, 12, 1),
    ]  # fmt: skip
    for row, conv, block in zip(OWN.rows, convs, network, strict=False):
        x = block(x)
        assert conv.kernel_size == (row.kernel_size, row.kernel_size)
        assert conv.dilation == (row.dilation, row.dilation)
        assert x.shape[-1] == 16  # only the first one has stride 2
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("network", NETWORKS)
def test_what_shapes_alone_say_is_so(network):
    plan = Plan(network)
    known, built = plugging.outline(plan), plugging.build(plan, WEIGHTS)[0]
    assert known.parameters == size(built)
    assert {name: conv.weight.shape for name, conv in known.convs.items()} == {
        name: conv.weight.shape for name, conv in built.named_modules() if isinstance(conv, nn.Conv2d)
    }


@pytest.mark.parametrize(
    "wrong", [{"channels": 0}, {"channels": 513}, {"kernel_size": 2}, {"stride": 3}, {"dilation": 0}, {"channels": 1.5}]
)
def test_a_row_beyond_its_bounds_is_refused_and_says_which(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.*is needed"):
        Row(**{"channels": 8, **wrong})


def test_what_a_network_does_not_ask_for_makes_no_other_plan():
    assert Plan("resnet18", rows=OWN.rows, side=32).simplest == Plan("resnet18")
    assert Plan("block", where="late").simplest == Plan("block")
    assert OWN.simplest == OWN


# --- bounds -------------------------------------------------------------------------------------------------------------

LARGE = tuple([Row(512, 7)] * 8)
SLOW = (Row(512, 1), *[Row(512, 7, depthwise=True, dilation=2)] * 7)  # few multiply-adds, at a fortieth of the speed


@pytest.mark.parametrize(
    "plan",
    [
        Plan("resnet50", 8),
        Plan("own", 8, rows=LARGE, side=16),
        Plan("own", 1, rows=LARGE, side=224),
        Plan("own", 1, rows=SLOW, side=128),
    ],
)
def test_what_takes_too_much_is_refused_before_anything_is_built(monkeypatch, plan):
    monkeypatch.setattr(plugging, "convert", None)
    monkeypatch.setattr(torch, "randn", None)
    with pytest.raises(PluggingError) as refused:
        plugging.check_size(plan)
    for language in LANGUAGES:
        assert f"{MOST_MEGABYTES:,}" in refused.value.say(language)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_is_within_the_bounds_as_it_is_offered(network):
    plugging.check_size(Plan(network))
    plugging.check_size(Plan(network, max(KERNELS), where="depthwise" if network != "block" else "default"))


def test_fewer_layers_can_bring_a_network_within_the_bounds():
    with pytest.raises(PluggingError):
        plugging.check_size(Plan("resnet50", 8))
    plugging.check_size(Plan("resnet50", 8, where="depthwise"))  # it has none


# --- time ---------------------------------------------------------------------------------------------------------------


def test_both_networks_run_in_turn_and_the_first_pair_is_not_counted(monkeypatch):
    ran, clock = [], iter(range(10_000))
    takes = {"given": 3, "converted": 6}  # of the clock's ticks, beside the one of reading it

    def network(name):
        def run(x):
            ran.append(name)
            for _ in range(takes[name] - 1):
                next(clock)

        return run

    monkeypatch.setattr(plugging, "build", lambda plan, weights: (network("given"), None))
    monkeypatch.setattr(plugging, "_convert", lambda plan, given, x: (network("converted"), None))
    monkeypatch.setattr(plugging.time, "perf_counter", lambda: next(clock) / 1e3)
    timing = plugging.time_passes(OWN, WEIGHTS)
    pairs = [tuple(ran[i : i + 2]) for i in range(0, len(ran), 2)]
    assert pairs[:4] == [("given", "converted"), ("given", "converted"), ("converted", "given"), ("given", "converted")]
    assert timing == Timing((pytest.approx(3), pytest.approx(6)), pytest.approx(2), len(pairs) - 1, 1)


# --- what is drawn ------------------------------------------------------------------------------------------------------

FOUND = Conversion(
    (1, 3, 64, 64),
    (
        Layer("0.0", (3, 2, 1, False), (), "stem", (864, 864), (900_000, 900_000)),
        Layer("1.0", (5, 1, 2, True), ("spatial", "channel", "kernel"), "", (800, 4000), (1_000, 2_000)),
        Layer("2.0", (1, 1, 1, False), ("channel", "filter", "kernel"), "", (100, 500), (5_000, 5_001)),
        Layer("6", None, (), "linear", (90, 90), (80, 80)),
    ),
    (2_000, 6_000),
    (906_080, 907_081),
    2.5e-7,
    1.234,
)


def test_totals_say_before_after_and_how_many_times():
    drawn = totals_data("en", FOUND, None)
    parameters, multiply_adds, time = drawn["rows"]
    assert [bar["share"] for bar in parameters["bars"]] == [pytest.approx(1 / 3), 1]
    assert [bar["text"] for bar in parameters["bars"]] == ["2,000", "6,000"]
    assert (parameters["factor"], multiply_adds["factor"]) == ("×3.00", "×1.00")
    assert time["absent"] == say("en", "plug.unmeasured")
    assert drawn["sentence"] == "Dynamic: 2 of 3 convolutions."
    assert "2.5e-07" in drawn["same"]
    assert "(1, 3, 64, 64)" in drawn["same"]
    measured = totals_data("en", FOUND, Timing((200.0, 150.0), 0.77, 3, 1))["rows"][2]
    assert [bar["text"] for bar in measured["bars"]] == ["200 ms", "150 ms"]
    assert [bar["share"] for bar in measured["bars"]] == [1, 0.75]
    assert measured["factor"] == "×0.77"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_head_that_a_layer_lacks_says_why_and_a_static_layer_too(language):
    drawn = layers_data(language, FOUND)
    stem, depthwise, pointwise, linear = drawn["rows"]
    assert depthwise["reasons"] == {"filter": say(language, "layer.filter_absent")}
    assert pointwise["reasons"] == {"spatial": say(language, "layer.spatial_absent")}
    assert stem["static"] == say(language, "plug.stays", reason=say(language, "plug.reason_stem"))
    assert linear["kind"] == say(language, "plug.kind_linear")
    assert depthwise["kind"].startswith("5×5")
    assert [head["id"] for head in drawn["heads"]] == list(HEADS)
    assert [bool(head["absent"]) for head in drawn["heads"]] == [True, False, True, False]
    assert stem["parameters"] == ["864"]
    assert depthwise["parameters"] == ["800", "4,000"]
