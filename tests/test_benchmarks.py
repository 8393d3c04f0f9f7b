"""The benchmarks measure what they say; small shapes, so that it takes seconds."""

import os
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import odconv.layer
from benchmarks import broadcast, speed
from benchmarks import forms as forms_benchmark
from benchmarks.speed import INFERENCE, TRAINING, Cell, Floor, Row, Run
from odconv import HEADS, Heads, explain, forms
from odconv.backbones import od_mobilenetv2, od_resnet50
from odconv.checkpoint import Architecture
from tests import oracle

# --- the baseline -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    c_in: int = 4
    c_out: int = 6
    k: int = 3
    groups: int = 1
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    @property
    def where(self):
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}


SHAPES = {
    "3x3": Shape(padding=(1, 1)),
    "1x1": Shape(k=1),
    "groups and two of everything": Shape(groups=2, stride=(1, 2), padding=(2, 1), dilation=(2, 1)),
    "depth-wise": Shape(c_out=4, groups=4, padding=(1, 1)),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("num_kernels", [1, 4], ids=lambda k: f"K={k}")
def test_the_broadcast_form_is_the_equation_values_and_gradients(shape, num_kernels):
    def random(*sizes):
        return torch.rand(sizes, dtype=torch.float64, generator=generator).requires_grad_()

    generator = torch.Generator().manual_seed(0)
    x, weight = (
        random(3, shape.c_in, 7, 6),
        random(num_kernels, shape.c_out, shape.c_in // shape.groups, *2 * [shape.k]),
    )
    entries = {"channel": shape.c_in}
    entries |= {"spatial": shape.k**2} if shape.k > 1 else {}
    entries |= {"filter": shape.c_out} if shape.groups < shape.c_in else {}
    entries |= {"kernel": num_kernels} if num_kernels > 1 else {}
    flat = {head: random(3, n) for head, n in entries.items()}
    heads = Heads(*(flat.get(head) for head in HEADS))
    if heads.spatial is not None:
        heads = heads._replace(spatial=heads.spatial.unflatten(1, (shape.k, shape.k)))

    y = broadcast.od_conv2d(x, weight, heads, **shape.where)
    expected = oracle.od_conv2d(x, weight, flat, **shape.where)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    leaves, towards = (x, weight, *flat.values()), torch.rand(y.shape, dtype=torch.float64, generator=generator)
    ours, theirs = torch.autograd.grad(y, leaves, towards), torch.autograd.grad(expected, leaves, towards)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("num_kernels", [1, 4], ids=lambda k: f"K={k}")
@pytest.mark.parametrize(
    "build",
    [
        lambda k: od_resnet50(5, num_kernels=k, width=8, stem="small"),
        lambda k: od_mobilenetv2(5, num_kernels=k, width_mult=0.35),
    ],
    ids=["od_resnet50", "od_mobilenetv2"],
)
def test_a_network_in_the_broadcast_form_gives_what_it_gives_in_ours(shake, images, build, num_kernels):
    torch.manual_seed(0)
    model, images = shake(build(num_kernels)).double().eval(), images.double()
    ours, gradients = scores_and_gradients(model, images)
    with broadcast.everywhere():
        theirs, their_gradients = scores_and_gradients(model, images)
    torch.testing.assert_close(theirs, ours, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(their_gradients, gradients, rtol=1e-8, atol=1e-10)


def scores_and_gradients(model, images):
    scores = model(images)
    loss = F.cross_entropy(scores, torch.arange(len(images)))
    return scores, torch.autograd.grad(loss, list(model.parameters()))


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


TINY = Cell("tiny", Architecture("od_resnet18", 8, 5, "small", 4, 1 / 16), 32, 2, INFERENCE, "float32")
RUN = Run("cpu", threads=1, repeats=2, seconds=5.0)


def test_a_run_prints_a_well_formed_table(capsys):
    cells = [TINY, replace(TINY, task=TRAINING, precision="bfloat16"), replace(TINY, batch=3)]
    speed.main(["--only", "tiny, K = 4, 2 x 32 px", "--repeats", "2", "--threads", "1"], cells)
    first, blank, *table = capsys.readouterr().out.splitlines()
    assert re.search(r"\d+ cores, 1 threads, Python 3\.\d+\.\d+, torch 2\.\d+.*, \d{4}-\d\d-\d\d", first)
    assert blank == ""
    heading, rules, *lines = [[text.strip() for text in line.strip("|").split("|")] for line in table]
    assert heading == list(speed.HEADINGS)
    assert set("".join(rules)) == {"-", ":"}
    assert {len(line) for line in (heading, rules, *lines)} == {len(speed.HEADINGS)}
    assert [line[:7] for line in lines] == [
        ["tiny", "4", "32 px", "2", "inference", "float32", "2"],
        ["tiny", "4", "32 px", "2", "training step", "bfloat16", "2"],
    ]
    for line in lines:
        numbers = [float(text.replace(",", "")) for text in line[7:]]
        assert all(number > 0 for number in numbers[:5])  # times and their quotients
        static, ours, _, ours_static, _ = numbers[:5]
        assert ours_static == pytest.approx(ours / static, rel=0.1)


def test_the_table_has_the_cells_of_every_floor_and_no_cell_twice():
    names = [cell.name for cell in speed.default_cells()]
    assert {floor.cell for floor in speed.FLOORS} <= set(names)
    assert len(names) == len(set(names)) == 3 * 2 * 3 * 2 + 2 + 4 * 2 + 1


def test_only_chooses_by_name_and_floor_chooses_the_promised():
    cells = speed.default_cells()
    assert {cell.name for cell in speed.choose(cells, "floor", None)} == {floor.cell for floor in speed.FLOORS}
    chosen = speed.choose(cells, r"mobilenet.*K = 1, 8 x", None)
    assert [(cell.architecture.num_kernels, cell.batch, cell.task) for cell in chosen] == [
        (1, 8, INFERENCE),
        (1, 8, TRAINING),
    ]
    halves = speed.choose(cells, "bundled, K = 4, 128 x 64 px, training", "bfloat16")
    assert [cell.precision for cell in halves] == ["bfloat16"]  # once, though float32 is in the table as well


@pytest.mark.parametrize("backbone", ["od_resnet18", "od_mobilenetv2"])
def test_the_static_twin_has_the_same_layout_with_ordinary_convolutions(backbone):
    layout = replace(TINY.architecture, backbone=backbone, width=0.35 if "mobile" in backbone else 8)
    dynamic, static = speed.build(layout, "ours"), speed.build(layout, "static")
    assert type(dynamic) is type(static)
    kinds = [{type(module) for module in model.modules()} for model in (dynamic, static)]
    assert odconv.layer.ODConv2d in kinds[0]
    assert odconv.layer.ODConv2d not in kinds[1]
    shapes = {name: tuple(weight.shape) for name, weight in static.state_dict().items()}
    for name, weight in dynamic.state_dict().items():
        if ".attention." not in name:
            assert tuple(weight.shape) in (shapes[name], (4, *shapes[name])), name


# --- times ------------------------------------------------------------------------------------------------------------


class Clock:
    """A clock on which a pass of each contender takes as long as it is told."""

    def __init__(self, **lengths):
        self.now, self.turns, self.lengths = 0.0, [], lengths

    def passes(self):
        return {contender: lambda contender=contender: self.tick(contender) for contender in self.lengths}

    def tick(self, contender):
        self.turns.append(contender)
        self.now += self.lengths[contender]

    def __call__(self):
        return self.now


def test_contenders_warm_up_and_then_take_turns():
    clock = Clock(static=1.0, ours=2.0, broadcast=4.0)
    times = speed.take_turns(clock.passes(), repeats=3, seconds=100, clock=clock)
    assert times == {"static": (1.0,) * 3, "ours": (2.0,) * 3, "broadcast": (4.0,) * 3}
    assert clock.turns == ["static", "ours", "broadcast"] * 4


@pytest.mark.parametrize(("seconds", "turns"), [(4, 1), (7, 1), (7.5, 2), (14, 2), (1000, 5)])
def test_turns_end_when_the_time_is_over_but_not_before_the_first(seconds, turns):
    clock = Clock(static=1.0, ours=2.0, broadcast=4.0)
    times = speed.take_turns(clock.passes(), repeats=5, seconds=seconds, clock=clock)
    assert {len(turn) for turn in times.values()} == {turns}


def test_a_contender_slower_than_the_time_for_all_is_asked_once():
    clock = Clock(static=1.0, ours=2.0, broadcast=50.0)
    times = speed.take_turns(clock.passes(), repeats=5, seconds=6, clock=clock)
    assert times == {"static": (1.0, 1.0), "ours": (2.0, 2.0), "broadcast": (50.0,)}
    assert clock.turns.count("broadcast") == 1


# --- memory -----------------------------------------------------------------------------------------------------------


def test_each_measurement_has_a_process_of_its_own():
    assert len({speed.apart(RUN, os.getpid), speed.apart(RUN, os.getpid), os.getpid()}) == 3


def test_what_is_timed_has_gates_as_in_a_network_that_is_in_use():
    cell = replace(TINY, side=64, batch=16)
    model = speed.settle(speed.build(cell.architecture, "ours"), cell, "cpu").eval()
    layers = explain(model, speed.pictures(cell, "cpu")).layers.values()
    gates = np.concatenate([head.ravel() for layer in layers for head in layer.attention if head is not None])
    assert gates.min() > 0.01


def test_the_peak_of_the_broadcast_form_is_about_what_the_formula_says():
    cell = replace(TINY, architecture=replace(TINY.architecture, width=32), batch=16)
    largest = 256 * 256 * 9  # numbers in a kernel of the last layers
    assert speed.forged_bytes(cell) == 4 * 16 * (4 + 1) * largest
    peak = speed.measured_peak(cell, "broadcast", RUN)
    assert 0.9 * speed.forged_bytes(cell) < peak < 1.4 * speed.forged_bytes(cell)  # an allocator keeps what was freed
    assert 0 < speed.measured_peak(cell, "static", RUN) < 0.2 * peak


def test_without_the_memory_for_it_the_broadcast_form_is_not_run_and_the_table_says_why(monkeypatch, capsys):
    monkeypatch.setattr(speed, "free_bytes", lambda device: 1_000_000)
    monkeypatch.setattr(
        speed, "measured_peak", lambda cell, contender, run: {"static": 2_000_000, "ours": 3_000_000}[contender]
    )
    speed.main(["--repeats", "1", "--threads", "1"], [TINY])
    _, _, _, _, line, *notes = capsys.readouterr().out.splitlines()
    cells = [text.strip() for text in line.strip("|").split("|")]
    assert [h for h, text in zip(speed.HEADINGS, cells, strict=True) if text == "-"] == [
        "broadcast ms",
        "broadcast/ours",
        "broadcast MB",
    ]
    assert any(TINY.name in note and re.search("would need [34] MB, and 1 MB are free", note) for note in notes)


# --- floors -----------------------------------------------------------------------------------------------------------


def test_each_floor_is_judged_by_the_medians_of_this_run(monkeypatch):
    floors = [
        Floor(TINY.name, "broadcast/ours", at_least=3.0),
        Floor(TINY.name, "broadcast/ours", at_least=3.1),
        Floor(TINY.name, "ours/static", at_most=2.0),
        Floor(TINY.name, "ours/static", at_most=1.9),
        Floor(TINY.name, "ours/broadcast, peak memory", at_most=0.5),
        Floor("a cell that was not measured", "ours/static", at_most=2.0),
    ]
    monkeypatch.setattr(speed, "FLOORS", floors)
    times = {"static": (1.0, 1.0, 9.0), "ours": (2.0, 2.0, 0.1), "broadcast": (6.0,)}
    row = Row(TINY, times, {"static": 10, "ours": 60, "broadcast": 100})
    assert [verdict.split(":")[0] for verdict in speed.verdicts([row])] == ["* met", "* missed"] * 2 + ["* missed"]
    without = Row(TINY, {"static": (1.0,), "ours": (2.0,)}, {"static": 10, "ours": 60}, "no memory")
    assert [verdict.split(":")[0] for verdict in speed.verdicts([without])][:3] == ["* not measured"] * 2 + ["* met"]


def test_no_verdict_is_given_on_what_was_not_promised():
    assert list(speed.verdicts([Row(TINY, {"static": (1.0,), "ours": (2.0,)}, {"static": 1, "ours": 1})])) == []


# --- the rule ---------------------------------------------------------------------------------------------------------


def test_the_rule_is_measured_in_both_directions_and_left_as_it_was(monkeypatch, capsys):
    monkeypatch.setattr(forms_benchmark, "SIDES", (1, 2))
    monkeypatch.setattr(forms_benchmark, "CHANNELS", ((4, 5),))
    monkeypatch.setattr(forms_benchmark, "LAYERS", ((4, 3, 2),))
    before, threads = dict(vars(forms)), torch.get_num_threads()
    forms_benchmark.main(["--seconds", "0", "--threads", "1"])
    torch.set_num_threads(threads)
    rows = [line.strip("|").split("|") for line in capsys.readouterr().out.splitlines() if re.match(r"\| \d", line)]
    assert [row[0].strip() for row in rows] == ["1", "2", "4", "8"] * 2 + ["4"]
    assert all(float(cell) > 0 for row in rows for cell in row[3:])
    assert [int(row[-1]) for row in rows[:8]] == [60, 30, 15, 7, 128, 64, 32, 16]
    assert vars(forms) == before
