"""The benchmarks measure what they say; small shapes and no clocks, so that it takes seconds and holds anywhere."""

import os
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.benchmark import Measurement
from torch.utils.benchmark.utils.common import TaskSpec

import odconv.layer
from benchmarks import broadcast, speed
from benchmarks import forms as forms_benchmark
from benchmarks.speed import CONTENDERS, INFERENCE, MEMORY, TRAINING, Cell, Row
from odconv import HEADS, Heads, explain, forms
from odconv.checkpoint import Architecture
from tests import oracle

TINY = Cell("tiny", Architecture("od_resnet18", 8, 5, "small", 4, 1 / 16), 32, 2, INFERENCE, "float32")

# --- the baseline -----------------------------------------------------------------------------------------------------

SHAPES = {  # C_in, C_out, k, groups, and where
    "3x3": (4, 6, 3, 1, {"padding": (1, 1)}),
    "1x1": (4, 6, 1, 1, {}),
    "groups and two of everything": (4, 6, 3, 2, {"stride": (1, 2), "padding": (2, 1), "dilation": (2, 1)}),
    "depth-wise": (4, 4, 3, 4, {"padding": (1, 1)}),
}


@pytest.mark.parametrize(("c_in", "c_out", "k", "groups", "where"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("num_kernels", [1, 4], ids=lambda k: f"K={k}")
def test_the_broadcast_form_is_the_equation_values_and_gradients(c_in, c_out, k, groups, where, num_kernels):
    def random(*sizes):
        return torch.rand(sizes, dtype=torch.float64).requires_grad_()

    x, weight = random(3, c_in, 7, 6), random(num_kernels, c_out, c_in // groups, k, k)
    present = {"spatial": k > 1, "channel": True, "filter": groups < c_in, "kernel": num_kernels > 1}
    entries = {"spatial": k**2, "channel": c_in, "filter": c_out, "kernel": num_kernels}
    flat = {head: random(3, entries[head]) for head in HEADS if present[head]}
    heads = Heads(*(flat.get(head) for head in HEADS))
    if heads.spatial is not None:
        heads = heads._replace(spatial=heads.spatial.unflatten(1, (k, k)))
    y = broadcast.od_conv2d(x, weight, heads, groups=groups, **where)
    expected = oracle.od_conv2d(x, weight, flat, groups=groups, **where)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    leaves, towards = (x, weight, *flat.values()), torch.rand(y.shape, dtype=torch.float64)
    ours, theirs = torch.autograd.grad(y, leaves, towards), torch.autograd.grad(expected, leaves, towards)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_the_broadcast_form_is_everywhere_in_its_context_and_nowhere_after_it(monkeypatch, small_model, images):
    calls, ours = [], odconv.layer.od_conv2d
    monkeypatch.setattr(broadcast, "od_conv2d", lambda *args, **where: (calls.append(1), ours(*args, **where))[1])
    with broadcast.everywhere():
        small_model(images)
    assert len(calls) == 16  # the dynamic layers of a ResNet-18
    assert odconv.layer.od_conv2d is ours
    small_model(images)
    assert len(calls) == 16


# --- the table --------------------------------------------------------------------------------------------------------


def test_a_run_prints_a_well_formed_table(monkeypatch, capsys):
    monkeypatch.setattr(speed, "apart", lambda device, measurement, *arguments: measurement(*arguments))
    cells = [TINY, replace(TINY, task=TRAINING, precision="bfloat16"), replace(TINY, batch=3)]
    speed.main(["--only", "tiny, K = 4, 2 x 32 px", "--seconds", "0"], cells)
    first, blank, *table = capsys.readouterr().out.splitlines()
    assert re.search(r"\d+ cores, 1 threads, Python 3\.\d+\.\d+, torch 2\.\d+.*, \d{4}-\d\d-\d\d", first)
    assert blank == ""
    heading, rules, *lines = [[text.strip() for text in line.strip("|").split("|")] for line in table]
    assert set("".join(rules)) == {"-", ":"}
    assert {len(line) for line in (heading, rules, *lines)} == {15}
    assert [line[:7] for line in lines] == [
        ["tiny", "4", "32 px", "2", "inference", "float32", "1/1/1"],
        ["tiny", "4", "32 px", "2", "training step", "bfloat16", "1/1/1"],
    ]
    assert all(float(text.replace(",", "")) > 0 for line in lines for text in line[7:12])  # times and their quotients


ROW = Row(
    TINY, {"static": (0.001, 9), "ours": (0.002, 8), "broadcast": (2, 1)}, {"static": 10, "ours": 6e7, "broadcast": 1e8}
)


def test_a_line_holds_the_medians_their_quotients_and_the_peaks():
    assert speed.line(ROW).split(" | ")[6:] == [
        *("9/8/1", "1.0", "2.0", "2,000.0", "2.00", "1000.00", "0.0", "60.0", "100.0 |"),
    ]


def test_each_floor_is_judged_by_the_medians_of_this_run(monkeypatch):
    floors = [
        *((TINY.name, "broadcast/ours", "at least", limit) for limit in (1000, 1001)),
        *((TINY.name, "ours/static", "at most", limit) for limit in (2.0, 1.9)),
        *((TINY.name, MEMORY, "at most", limit) for limit in (0.6, 0.5)),
        ("a cell that was not measured", "ours/static", "at most", 2.0),
    ]
    assert list(speed.verdicts([ROW])) == []  # nothing was promised
    monkeypatch.setattr(speed, "FLOORS", floors)
    assert [verdict.split(":")[0] for verdict in speed.verdicts([ROW])] == ["* met", "* missed"] * 3


def test_the_table_has_the_cells_of_every_floor_and_no_cell_twice():
    cells = speed.default_cells()
    names = [cell.name for cell in cells]
    promised = {cell for cell, *_ in speed.FLOORS}
    assert len(names) == len(set(names)) == 3 * 2 * 3 * 2 + 2 + 4 * 2 + 1
    assert {cell.name for cell in speed.choose(cells, "floor")} == promised
    chosen = speed.choose(cells, r"mobilenet.*K = 1, 8 x")
    assert [(cell.architecture.num_kernels, cell.task) for cell in chosen] == [(1, INFERENCE), (1, TRAINING)]


@pytest.mark.parametrize("backbone", ["od_resnet18", "od_mobilenetv2"])
def test_the_static_twin_has_the_same_layout_with_ordinary_convolutions(backbone):
    layout = replace(TINY.architecture, backbone=backbone, width=0.35 if "mobile" in backbone else 8)
    dynamic, static = speed.build(layout, "ours"), speed.build(layout, "static")
    assert type(dynamic) is type(static)
    kinds = [{type(module) for module in model.modules()} for model in (dynamic, static)]
    assert [odconv.layer.ODConv2d in kind for kind in kinds] == [True, False]
    shapes = {name: tuple(weight.shape) for name, weight in static.state_dict().items()}
    for name, weight in dynamic.state_dict().items():
        if ".attention." not in name:
            assert tuple(weight.shape) in (shapes[name], (4, *shapes[name])), name


# --- time and memory --------------------------------------------------------------------------------------------------


class Timer:
    """In place of a clock: a pass returns how long it is to have taken."""

    def __init__(self, statement, globals, num_threads):
        self.run = globals["run"]

    def blocked_autorange(self, min_run_time):
        return Measurement(1, [self.run()] * 2, TaskSpec("run()", ""))


@pytest.mark.parametrize(("slow", "turns"), [(1.0, 3), (1.1, 1)])
def test_contenders_take_turns_and_one_too_slow_for_its_share_has_one(monkeypatch, slow, turns):
    monkeypatch.setattr(speed, "Timer", Timer)
    asked, lengths = [], {"static": 0.5, "ours": 0.25, "broadcast": slow}
    passes = {name: lambda name=name: (asked.append(name), lengths[name])[1] for name in lengths}
    found = speed.take_turns(passes, seconds=9)  # three turns of three contenders: a second for each
    assert asked[:3] == list(CONTENDERS)
    assert asked[3:5] == ["static", "ours"]
    assert {name: asked.count(name) for name in lengths} == {"static": 3, "ours": 3, "broadcast": turns}
    assert {name: (one.median, len(one.times)) for name, one in found.items()} == {
        "static": (0.5, 6), "ours": (0.25, 6), "broadcast": (slow, 2 * turns),
    }  # fmt: skip


def test_each_measurement_has_a_process_of_its_own_with_as_many_threads():
    assert speed.apart("cpu", os.getpid) != os.getpid()
    assert speed.apart("cpu", torch.get_num_threads) == torch.get_num_threads()


def test_a_peak_is_above_what_there_is_before_the_pass(monkeypatch):
    monkeypatch.setattr(speed, "_resident", {"VmRSS": 300, "VmHWM": 700}.get)
    assert speed.peak_bytes(TINY, "ours", "cpu") == 400


def test_what_is_timed_has_gates_as_in_a_network_that_is_in_use():
    cell = replace(TINY, side=64, batch=16)
    model = speed.settle(speed.build(cell.architecture, "ours"), cell, "cpu").eval()
    layers = explain(model, speed.pictures(cell, "cpu")).layers.values()
    gates = np.concatenate([head.ravel() for layer in layers for head in layer.attention if head is not None])
    assert gates.min() > 0.01


# --- the rule ---------------------------------------------------------------------------------------------------------


def test_the_rule_is_measured_in_both_directions_and_left_as_it_was(monkeypatch, capsys):
    monkeypatch.setattr(forms_benchmark, "SIDES", (1, 2))
    monkeypatch.setattr(forms_benchmark, "CHANNELS", ((4, 5),))
    monkeypatch.setattr(forms_benchmark, "LAYERS", ((4, 3, 2),))
    before = dict(vars(forms))
    forms_benchmark.main(["--seconds", "0"])
    rows = [line.strip("|").split("|") for line in capsys.readouterr().out.splitlines() if re.match(r"\| \d", line)]
    assert [row[0].strip() for row in rows] == ["1", "2", "4", "8"] * 2 + ["4"]
    assert all(float(cell) >= 0 for row in rows for cell in row[3:])
    assert [int(row[-1]) for row in rows[:8]] == [60, 30, 15, 7, 128, 64, 32, 16]
    assert vars(forms) == before
