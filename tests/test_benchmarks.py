"""The benchmarks measure what they say; small shapes and no clocks, so that it takes seconds and holds anywhere."""

import os
import re

import numpy as np
import pytest
import torch
from torch.utils.benchmark import Measurement
from torch.utils.benchmark.utils.common import TaskSpec

import odconv.layer
from benchmarks import broadcast, lessons, speed
from benchmarks import convert as convert_benchmark
from benchmarks import forms as forms_benchmark
from benchmarks.percentiles import percentile
from benchmarks.speed import Cell
from odconv import HEADS, Heads, explain, forms
from tests import oracle

SHAPES = {  # C_in, C_out, k, groups, and where
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


SMALL = Cell("bundled", 4, 32, 2, "inference", "float32")


def test_a_run_prints_a_well_formed_table_of_the_cells_that_are_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(speed, "apart", lambda measurement, *arguments: measurement(*arguments))
    monkeypatch.setattr(speed, "peak_bytes", lambda cell, contender: 10**6)  # has a test of its own
    speed.main(["--seconds=0", "--cell=bundled,4,32,2,inference,float32", "--cell=bundled,1,32,2,training,float32"])
    first, _, *table = capsys.readouterr().out.strip().splitlines()
    assert re.search(r"\d+ cores, 1 threads, Python 3\.\d+\.\d+, torch 2\.\d+.*, \d{4}-\d\d-\d\d", first)
    heading, rules, *lines = [line.strip("| ").split(" | ") for line in table]
    assert {len(heading), len(rules)} == {15}
    expected = [["bundled", "4", "32 px", "2", "inference"], ["bundled", "1", "32 px", "2", "training"]]
    assert [line[:7] for line in lines] == [[*cell, "float32", "3/3/3"] for cell in expected]  # three turns each
    assert all(float(text.replace(",", "")) > 0 for line in lines for text in line[7:12])  # times and their quotients


def test_a_line_holds_the_medians_their_quotients_and_the_peaks():
    times = {"static": [0.001] * 9, "ours": [0.002] * 8, "broadcast": [2]}
    times = {contender: Measurement(1, some, TaskSpec("run()", "")) for contender, some in times.items()}
    shown = ["9/8/1", "1.0", "2.0", "2,000.0", "2.00", "1000.00", "0.0", "60.0", "100.0"]
    line = speed.line(SMALL, times, {"static": 10, "ours": 6e7, "broadcast": 1e8})
    assert line.strip(" |").split(" | ")[6:] == shown


def test_each_measurement_has_a_process_of_its_own_and_a_peak_is_above_what_there_is_before_the_pass(monkeypatch):
    assert speed.apart(os.getpid) != os.getpid()
    assert speed.apart(torch.get_num_threads) == torch.get_num_threads()
    monkeypatch.setattr(speed, "_resident", {"VmRSS": 300, "VmHWM": 700}.get)
    assert speed.peak_bytes(SMALL, "ours") == 400


def test_what_is_timed_has_gates_as_in_a_network_that_is_in_use_and_an_ordinary_twin():
    models = {contender: speed.build(SMALL.architecture(), contender) for contender in ("ours", "static")}
    layers = explain(speed.settle(models["ours"], SMALL).eval(), speed.pictures(SMALL)).layers.values()
    gates = np.concatenate([head.ravel() for layer in layers for head in layer.attention if head is not None])
    assert gates.min() > 0.01
    assert not any(isinstance(module, odconv.ODConv2d) for module in models["static"].modules())


def test_the_rule_is_measured_in_both_directions_and_left_as_it_was(monkeypatch, capsys):
    monkeypatch.setattr(forms_benchmark, "SIDES", (1, 2))
    monkeypatch.setattr(forms_benchmark, "CHANNELS", ((4, 5),))
    before = dict(vars(forms))
    forms_benchmark.main(["--seconds", "0"])
    rows = [line.strip("|").split("|") for line in capsys.readouterr().out.splitlines() if re.match(r"\| \d", line)]
    assert [int(row[0]) for row in rows] == [1, 2, 4, 8] * 2
    assert all(float(cell) >= 0 for row in rows for cell in row[3:])
    assert [int(row[-1]) for row in rows] == [60, 30, 15, 7, 128, 64, 32, 16]
    assert vars(forms) == before


def test_a_converted_network_is_timed_in_turn_with_the_given_one_and_the_quotients_are_of_turns(capsys):
    convert_benchmark.main(["--network=resnet18", "--side=32", "--turns=3"])
    first, _, heading, rules, row = [line for line in capsys.readouterr().out.strip().splitlines()]
    assert " cores, 1 threads, Python 3." in first
    cells = row.strip("| ").split(" | ")
    assert len(cells) == len(heading.strip("| ").split(" | ")) == len(rules.strip("| ").split(" | "))
    assert cells[:4] == ["resnet18", "32 px", "1", "3"]
    assert cells[-1] == "11.69 M -> 44.90 M"  # the released code's count of both
    times = [(0.001, 0.002), (0.002, 0.002), (0.004, 0.012), (0.1, 0.4), (0.001, 0.005)]
    line = convert_benchmark.line("net", SMALL, times, (1_500_000, 4_000_000))
    assert line == "| net | 32 px | 2 | 5 | 2.0 | 5.0 | 3.00 | 1.50 to 4.50 | 1.50 M -> 4.00 M |"


def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed():
    waits = [*range(20, 0, -1)]  # 20 to 1
    assert [percentile(waits, percent) for percent in (0, 50, 95, 100)] == [1, 10, 19, 20]
    assert lessons.describe("a step", waits, "ms", 0) == "a step: p50 10 ms, p95 19 ms (n = 20)"
