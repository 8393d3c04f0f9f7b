"""How long the layer takes: ours, the released formulation and the static twin, measured in one run. Prints Markdown.

    python benchmarks/speed.py [--only PATTERN] [--seconds 6] [--device cpu]

Each cell of the table has three contenders: a network of ODConv layers; the same network with every layer in the broadcast
form (``broadcast.py``); and its static twin. They take turns, so that what else runs on the machine hits all alike; times are
medians over n blocks of passes: 9/9/1 is static/ours/broadcast. A contender too slow for its share of ``--seconds`` has one
turn of two passes, the first of which warms up. A pass is inference in eval mode, or a training step: forward, cross-entropy,
backward, SGD with momentum. bfloat16 is autocast; TF32 is off. "bundled" has the layout of the 4x network in
``assets/weights``: od_resnet18 of width 32 with the small stem, K = 4, 200 classes.

Peak memory is that of a first pass, above the model, its input and the loaded libraries; a training step's has gradients
and momentum in it. On the CPU it is the resident size. MB = 10^6 bytes. Below the table stand the floors that were set for
two CPU cores, and whether this run met them.

``--only`` takes a regular expression, searched for in names such as "od_resnet18, K = 4, 8 x 224 px, inference, float32";
cells that a floor is about also answer to "floor". The broadcast form needs up to 7 GB for those, and 11 GB for all. Threads
are as many as ``OMP_NUM_THREADS`` says. Needs Linux.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.benchmark import Measurement, Timer

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import broadcast
from odconv.checkpoint import Architecture, load_checkpoint
from odconv.layer import AttentionBranch

BUNDLED = Path(__file__).parents[1] / "assets/weights/od_resnet18_w32_4x_tiny_imagenet.safetensors"
CONTENDERS = ("static", "ours", "broadcast")
INFERENCE, TRAINING = TASKS = ("inference", "training step")
TURNS = 3  # of each contender
SETTLING = 16  # pictures, at least
MEMORY = "ours/broadcast, peak memory"

FLOORS = (  # what was promised: a cell, a key of Row.ratios, and its bound
    ("od_resnet18, K = 4, 1 x 224 px, inference, float32", "broadcast/ours", "at least", 2.0),
    ("od_resnet18, K = 4, 1 x 224 px, inference, float32", "ours/static", "at most", 2.0),
    ("od_resnet18, K = 4, 8 x 224 px, inference, float32", "broadcast/ours", "at least", 3.0),
    ("od_resnet18, K = 4, 8 x 224 px, inference, float32", "ours/static", "at most", 1.8),
    ("od_resnet18, K = 4, 32 x 64 px, inference, float32", "broadcast/ours", "at least", 12.0),
    ("od_resnet18, K = 4, 32 x 64 px, inference, float32", "ours/static", "at most", 5.0),
    ("od_resnet18, K = 4, 128 x 64 px, inference, float32", "broadcast/ours", "at least", 15.0),
    ("od_resnet18, K = 4, 128 x 64 px, inference, float32", "ours/static", "at most", 5.0),
    ("od_resnet18, K = 1, 1 x 224 px, inference, float32", "ours/static", "at most", 1.4),
    ("bundled, K = 4, 128 x 64 px, training step, bfloat16", "broadcast/ours", "at least", 3.0),
    ("od_resnet18, K = 4, 32 x 224 px, inference, float32", MEMORY, "at most", 0.5),
)

Pass = Callable[[], None]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Cell:
    """One line of the table."""

    network: str  # as the table calls it
    architecture: Architecture  # of the dynamic network
    side: int  # of a picture, px
    batch: int
    task: str  # one of TASKS
    precision: str  # float32 or bfloat16

    @property
    def name(self) -> str:
        where = f"K = {self.architecture.num_kernels}, {self.batch} x {self.side} px"
        return f"{self.network}, {where}, {self.task}, {self.precision}"


def default_cells() -> list[Cell]:
    """The whole table."""
    cells = [
        Cell(backbone, Architecture(backbone, width, 1000, "imagenet", kernels, 1 / 16), 224, batch, task, "float32")
        for backbone, width in (("od_resnet18", 64), ("od_resnet50", 64), ("od_mobilenetv2", 1.0))
        for kernels, batch, task in product((1, 4), (1, 8, 32), TASKS)
    ]
    resnet18 = Architecture("od_resnet18", 64, 1000, "imagenet", 4, 1 / 16)
    cells += [Cell("od_resnet18", resnet18, 64, batch, INFERENCE, "float32") for batch in (32, 128)]
    bundled = load_checkpoint(BUNDLED).architecture
    cells += [Cell("bundled", bundled, 64, batch, task, "float32") for batch, task in product((1, 8, 64, 128), TASKS)]
    return [*cells, Cell("bundled", bundled, 64, 128, TRAINING, "bfloat16")]


def choose(cells: Iterable[Cell], pattern: str) -> list[Cell]:
    """The cells whose names, with "floor" behind those that a floor is about, ``pattern`` is found in."""
    promised = {cell for cell, *_ in FLOORS}
    return [cell for cell in cells if re.search(pattern, cell.name + ", floor" * (cell.name in promised))]


# --- one pass ---------------------------------------------------------------------------------------------------------


def build(architecture: Architecture, contender: str) -> nn.Module:
    """The network of a contender, freshly initialised; the static one has the same layout with ordinary convolutions."""
    torch.manual_seed(0)
    return (architecture.static_twin() if contender == "static" else architecture).build()


def pictures(cell: Cell, device: str) -> torch.Tensor:
    """What the cell is measured on, and more of the same where a batch is small: the same for every contender."""
    torch.manual_seed(1)
    return torch.randn(max(SETTLING, cell.batch), 3, cell.side, cell.side, device=device)


@torch.no_grad()
def settle(model: nn.Module, cell: Cell, device: str) -> nn.Module:
    """Numbers as in a network that is in use: gates within reach of 1/2, and a normalisation that has seen the pictures.

    Else gates shrink the signal layer by layer, or logits run away and gates go to 0. Either ends in numbers so small that
    processors are slow with them (https://en.wikipedia.org/wiki/Subnormal_number).
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for branch in (module for module in model.modules() if isinstance(module, AttentionBranch)):
        for fc in (branch.spatial_fc, branch.channel_fc, branch.filter_fc, branch.kernel_fc):
            if fc is not None:
                fc.weight.mul_(0.1)
    for norm in norms:
        norm.momentum = 1.0
    model.train()(pictures(cell, device))
    for norm in norms:
        norm.momentum = 0.1
    return model


def one_pass(cell: Cell, model: nn.Module, contender: str, device: str) -> Pass:
    """What is timed: a function that computes the cell's task once, and returns when the device has done it."""
    images = pictures(cell, device)[: cell.batch].clone()
    task = training_step(model.train(), images) if cell.task == TRAINING else partial(infer, model.eval(), images)

    def run() -> None:
        autocast = torch.autocast(device, getattr(torch, cell.precision), enabled=cell.precision != "float32")
        with broadcast.everywhere() if contender == "broadcast" else nullcontext(), autocast:
            task()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


@torch.inference_mode()
def infer(model: nn.Module, images: torch.Tensor) -> None:
    model(images)


def training_step(model: nn.Module, images: torch.Tensor) -> Pass:
    labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    sgd = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def train() -> None:
        loss = F.cross_entropy(model(images), labels)
        with torch.autocast(images.device.type, enabled=False):
            loss.backward()
        sgd.step()
        sgd.zero_grad()

    return train


# --- time and memory --------------------------------------------------------------------------------------------------


def take_turns(passes: Mapping[str, Pass], seconds: float) -> dict[str, Measurement]:
    """Measure each contender in ``TURNS`` turns that end after about ``seconds``; a slow one in the first turn only."""
    share = seconds / TURNS / len(passes)
    measured: dict[str, list[Measurement]] = {contender: [] for contender in passes}
    for _ in range(TURNS):
        for contender, run in passes.items():
            if not measured[contender] or measured[contender][0].median <= share:
                timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
                measured[contender].append(timer.blocked_autorange(min_run_time=share))
    return {contender: Measurement.merge(turns)[0] for contender, turns in measured.items()}


def time_cell(cell: Cell, device: str, seconds: float) -> dict[str, tuple[float, int]]:
    """Contender -> the median time of a pass in seconds, and of how many blocks."""
    dynamic = settle(build(cell.architecture, "ours").to(device), cell, device)
    static = settle(build(cell.architecture, "static").to(device), cell, device)
    models = {"static": static, "ours": dynamic, "broadcast": dynamic}
    measured = take_turns({name: one_pass(cell, model, name, device) for name, model in models.items()}, seconds)
    return {contender: (measurement.median, len(measurement.times)) for contender, measurement in measured.items()}


def peak_bytes(cell: Cell, contender: str, device: str) -> int:
    """Memory that a first pass takes at its peak, above what there is before it."""
    narrow = replace(cell.architecture, width=cell.architecture.family.narrow)
    tiny = replace(cell, architecture=narrow, side=32, batch=2)
    one_pass(tiny, build(tiny.architecture, contender).to(device), contender, device)()  # loads what is loaded lazily
    run = one_pass(cell, build(cell.architecture, contender).to(device), contender, device)
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _resident("VmRSS")
    run()
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    """Resident bytes of this process, now ("VmRSS") or at its peak ("VmHWM")."""
    (kilobytes,) = re.findall(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(kilobytes)


def apart(device: str, measurement: Callable[..., Result], *arguments: Any) -> Result:
    """What ``measurement`` returns; on the CPU from a fresh process.

    How fast memory is got from the system depends on what a process has done before: with other cells before it, the broadcast
    form at 1 x 224 px was faster by three tenths.
    """
    if device == "cuda":
        return measurement(*arguments)
    context = multiprocessing.get_context("forkserver")  # loads torch once
    context.set_forkserver_preload(["__main__", "torch"])
    with ProcessPoolExecutor(1, context, torch.set_num_threads, (torch.get_num_threads(),)) as child:
        return child.submit(measurement, *arguments).result()


# --- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """What was measured for a cell, by contender."""

    cell: Cell
    times: Mapping[str, tuple[float, int]]  # median seconds of a pass, and of how many blocks
    peaks: Mapping[str, int]  # bytes

    @property
    def ratios(self) -> dict[str, float]:
        static, ours, slow = (self.times[contender][0] for contender in CONTENDERS)
        memory = self.peaks["ours"] / max(self.peaks["broadcast"], 1)
        return {"ours/static": ours / static, "broadcast/ours": slow / ours, MEMORY: memory}


def measure(cell: Cell, device: str, seconds: float) -> Row:
    peaks = {contender: apart(device, peak_bytes, cell, contender, device) for contender in CONTENDERS}
    return Row(cell, apart(device, time_cell, cell, device, seconds), peaks)


HEAD = """\
| network | K | input | batch | task | precision | n | static ms | ours ms | broadcast ms | ours/static | broadcast/ours \
| static MB | ours MB | broadcast MB |
| --- | ---: | ---: | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""


def line(row: Row) -> str:
    """One line of the table."""
    cell, ratios = row.cell, [row.ratios[quantity] for quantity in ("ours/static", "broadcast/ours")]
    what = (cell.network, cell.architecture.num_kernels, f"{cell.side} px", cell.batch, cell.task, cell.precision)
    blocks = "/".join(str(row.times[contender][1]) for contender in CONTENDERS)
    times = [f"{1e3 * row.times[contender][0]:,.1f}" for contender in CONTENDERS]
    peaks = [f"{row.peaks[contender] / 1e6:,.1f}" for contender in CONTENDERS]
    return f"| {' | '.join(map(str, (*what, blocks, *times, *(f'{ratio:.2f}' for ratio in ratios), *peaks)))} |"


def verdicts(rows: Sequence[Row]) -> Iterator[str]:
    """A line for each floor whose cell was measured."""
    measured = {row.cell.name: row for row in rows}
    for cell, quantity, bound, limit in FLOORS:
        if cell in measured:
            value = measured[cell].ratios[quantity]
            met = value >= limit if bound == "at least" else value <= limit
            yield f"* {'met' if met else 'missed'}: {cell}: {quantity} {value:.2f}, {bound} {limit}"


def conditions(device: str) -> str:
    """Machine, versions and date."""
    processor = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    machine = [torch.cuda.get_device_name()] if device == "cuda" else []
    machine += [processor[1] if processor else platform.machine(), f"{os.cpu_count()} cores"]
    versions = [f"Python {platform.python_version()}", f"torch {torch.__version__}", str(date.today())]
    return ", ".join([*machine, f"{torch.get_num_threads()} threads", *versions])


def main(arguments: Sequence[str] | None = None, cells: Sequence[Cell] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", metavar="PATTERN", default="", help="cells whose names match; default: all")
    options.add_argument("--seconds", type=float, default=6.0, help="for the turns of a cell")
    options.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    chosen = options.parse_args(arguments)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    print(conditions(chosen.device), "", HEAD, sep="\n", flush=True)
    rows: list[Row] = []
    for cell in choose(default_cells() if cells is None else cells, chosen.only):
        rows.append(measure(cell, chosen.device, chosen.seconds))
        print(line(rows[-1]), flush=True)
    if judged := [*verdicts(rows)]:
        print("\nFloors, set for two CPU cores:", *judged, sep="\n")


if __name__ == "__main__":
    main()
