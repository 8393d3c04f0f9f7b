"""How long the layer takes: ours, the released formulation and the static twin, measured in one run. Prints Markdown.

    python benchmarks/speed.py [--only PATTERN] [--repeats 15] [--seconds 6] [--device cpu] [--dtype float32] [--threads 2]

Each cell of the table has three contenders: a network of ODConv layers; the same network with every layer in the broadcast
form (``broadcast.py``); and its static twin. All warm up once and then take turns, so that what else runs on the machine
hits all alike; times are medians over n turns. A contender whose first pass alone outlasts ``--seconds`` has no second, and
n says so: 9/9/1 is static/ours/broadcast. On the CPU each cell has a process of its own.

Inference is one forward pass in eval mode; a training step is forward, cross-entropy, backward and SGD with momentum. Other
precisions than float32 are autocast; TF32 is off. Weights are random; gates stay within reach of 1/2 and the normalisation
has seen the pictures that are timed, so that nothing vanishes. "bundled" has the layout of the 4x network in
``assets/weights``.

Peak memory is that of a first pass, above the model, its input and the loaded libraries; a training step's has gradients
and momentum in it. On the CPU it is the resident size, in a fresh process per contender. MB = 10^6 bytes. Below the table
stand the floors that were set for two CPU cores, and whether this run met them.

``--only`` takes a regular expression, searched for in names such as "od_resnet18, K = 4, 8 x 224 px, inference, float32";
cells that a floor is about also answer to "floor". All cells take about 20 minutes on two CPU cores, ``--only floor`` about
three. Needs Linux or macOS.
"""

from __future__ import annotations

import argparse
import gc
import math
import multiprocessing
import os
import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import broadcast
from odconv.checkpoint import Architecture, load_checkpoint
from odconv.layer import AttentionBranch, ODConv2d

BUNDLED = Path(__file__).parents[1] / "assets/weights/od_resnet18_w32_4x_tiny_imagenet.safetensors"
CONTENDERS = ("static", "ours", "broadcast")
INFERENCE, TRAINING = TASKS = ("inference", "training step")
SETTLING = 16  # pictures, at least
PRECISIONS = ("float32", "bfloat16", "float16")
MEGA = 1e6

Pass = Callable[[], None]
Result = TypeVar("Result")


# --- what is measured -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One line of the table."""

    network: str  # as the table calls it
    architecture: Architecture  # of the dynamic network
    side: int  # of a picture, px
    batch: int
    task: str  # one of TASKS
    precision: str  # one of PRECISIONS

    @property
    def name(self) -> str:
        where = f"K = {self.architecture.num_kernels}, {self.batch} x {self.side} px"
        return f"{self.network}, {where}, {self.task}, {self.precision}"


@dataclass(frozen=True)
class Run:
    """How all cells are measured."""

    device: str
    threads: int
    repeats: int  # turns of a contender, at most
    seconds: float  # for the turns of a cell


@dataclass(frozen=True)
class Floor:
    """A ratio that was promised for a cell."""

    cell: str  # its name
    quantity: str  # a key of Row.ratios
    at_least: float = 0.0
    at_most: float = math.inf


FLOORS = (
    Floor("od_resnet18, K = 4, 1 x 224 px, inference, float32", "broadcast/ours", at_least=2.0),
    Floor("od_resnet18, K = 4, 1 x 224 px, inference, float32", "ours/static", at_most=2.0),
    Floor("od_resnet18, K = 4, 8 x 224 px, inference, float32", "broadcast/ours", at_least=3.0),
    Floor("od_resnet18, K = 4, 8 x 224 px, inference, float32", "ours/static", at_most=1.8),
    Floor("od_resnet18, K = 4, 32 x 64 px, inference, float32", "broadcast/ours", at_least=12.0),
    Floor("od_resnet18, K = 4, 32 x 64 px, inference, float32", "ours/static", at_most=5.0),
    Floor("od_resnet18, K = 4, 128 x 64 px, inference, float32", "broadcast/ours", at_least=15.0),
    Floor("od_resnet18, K = 4, 128 x 64 px, inference, float32", "ours/static", at_most=5.0),
    Floor("od_resnet18, K = 1, 1 x 224 px, inference, float32", "ours/static", at_most=1.4),
    Floor("bundled, K = 4, 128 x 64 px, training step, bfloat16", "broadcast/ours", at_least=3.0),
    Floor("od_resnet18, K = 4, 32 x 224 px, inference, float32", "ours/broadcast, peak memory", at_most=0.5),
)


def default_cells() -> list[Cell]:
    """The whole table."""
    cells = [
        Cell(backbone, Architecture(backbone, width, 1000, "imagenet", kernels, 1 / 16), 224, batch, task, "float32")
        for backbone, width in (("od_resnet18", 64), ("od_resnet50", 64), ("od_mobilenetv2", 1.0))
        for kernels, batch, task in product((1, 4), (1, 8, 32), TASKS)
    ]
    resnet18 = Architecture("od_resnet18", 64, 1000, "imagenet", 4, 1 / 16)
    cells += [Cell("od_resnet18", resnet18, 64, batch, INFERENCE, "float32") for batch in (32, 128)]
    checkpoint = load_checkpoint(BUNDLED)
    bundled = Cell("bundled", checkpoint.architecture, checkpoint.card.image_size, 128, TRAINING, "bfloat16")
    cells += [
        replace(bundled, batch=batch, task=task, precision="float32") for batch, task in product((1, 8, 64, 128), TASKS)
    ]
    return [*cells, bundled]


def choose(cells: Iterable[Cell], pattern: str, precision: str | None) -> list[Cell]:
    """The cells whose names, with "floor" behind those that a floor is about, ``pattern`` is found in; once each."""
    promised = {floor.cell for floor in FLOORS}
    chosen = [cell if precision is None else replace(cell, precision=precision) for cell in cells]
    named = {cell: cell.name + ", floor" * (cell.name in promised) for cell in chosen}
    return [cell for cell, name in named.items() if re.search(pattern, name)]


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
    task = training_step(cell, model, device) if cell.task == TRAINING else inference(cell, model, device)

    def run() -> None:
        with broadcast.everywhere() if contender == "broadcast" else nullcontext():
            task()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def inference(cell: Cell, model: nn.Module, device: str) -> Pass:
    images = pictures(cell, device)[: cell.batch].clone()
    model.eval()

    def infer() -> None:
        with torch.inference_mode(), autocast(cell, device):
            model(images)

    return infer


def training_step(cell: Cell, model: nn.Module, device: str) -> Pass:
    images = pictures(cell, device)[: cell.batch].clone()
    labels = torch.randint(cell.architecture.num_classes, (cell.batch,), device=device)
    sgd = torch.optim.SGD(model.train().parameters(), lr=1e-3, momentum=0.9)

    def train() -> None:
        with autocast(cell, device):
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        sgd.step()
        sgd.zero_grad()

    return train


def autocast(cell: Cell, device: str) -> torch.autocast:
    return torch.autocast(device, getattr(torch, cell.precision), enabled=cell.precision != "float32")


# --- time -------------------------------------------------------------------------------------------------------------


def take_turns(
    passes: Mapping[str, Pass], repeats: int, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> dict[str, tuple[float, ...]]:
    """Seconds of each turn of each contender, after one pass each to warm up.

    Turns end after ``repeats`` or, but not before the first, when ``seconds`` are over. A contender that warms up for longer
    than that is not asked again: its warm-up is its measurement.
    """

    def timed(contender: str) -> float:
        began = clock()
        passes[contender]()
        return clock() - began

    times = {contender: [timed(contender)] for contender in passes}
    quick = [contender for contender in passes if times[contender][0] <= seconds]
    for contender in quick:
        times[contender].clear()
    began = clock()
    for _ in range(repeats if quick else 0):
        for contender in quick:
            times[contender].append(timed(contender))
        if clock() - began >= seconds:
            break
    return {contender: tuple(turns) for contender, turns in times.items()}


def time_cell(cell: Cell, contenders: Sequence[str], run: Run) -> dict[str, tuple[float, ...]]:
    torch.set_num_threads(run.threads)
    dynamic = settle(build(cell.architecture, "ours").to(run.device), cell, run.device)
    static = settle(build(cell.architecture, "static").to(run.device), cell, run.device)
    models = {"static": static, "ours": dynamic, "broadcast": dynamic}
    passes = {contender: one_pass(cell, models[contender], contender, run.device) for contender in contenders}
    return take_turns(passes, run.repeats, run.seconds)


# --- processes --------------------------------------------------------------------------------------------------------


def apart(run: Run, measurement: Callable[..., Result], *arguments: Any) -> Result:
    """What ``measurement`` returns; on the CPU from a fresh process.

    How fast memory is got from the system depends on what a process has done before: with other cells before it, the broadcast
    form at 1 x 224 px was faster by three tenths.
    """
    if run.device == "cuda":
        return measurement(*arguments)
    context = multiprocessing.get_context("forkserver")  # loads torch once, and what an optimiser loads late
    context.set_forkserver_preload(["__main__", "torch", "torch._dynamo"])
    with ProcessPoolExecutor(1, context) as child:
        return child.submit(measurement, *arguments).result()


# --- memory -----------------------------------------------------------------------------------------------------------


def peak_bytes(cell: Cell, contender: str, device: str, threads: int) -> int:
    """Memory that a first pass takes at its peak, above what there is before it."""
    torch.set_num_threads(threads)
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
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = resident_bytes("VmRSS")
    run()
    return resident_bytes("VmHWM") - before


def resident_bytes(field: str) -> int:
    """Resident size of this process, now ("VmRSS") or at its peak ("VmHWM"); the peak for both where there is no /proc."""
    with suppress(OSError):
        found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return 1024 * int(found[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def measured_peak(cell: Cell, contender: str, run: Run) -> int:
    return apart(run, peak_bytes, cell, contender, run.device, run.threads)


def forged_bytes(cell: Cell) -> int:
    """What the broadcast form's kernels take at the peak, in float32.

    Inference: the weighted kernels of the largest layer and their sum. A training step keeps every layer's sum, and going
    back through a layer makes its weighted kernels twice.
    """
    with torch.device("meta"):
        model = cell.architecture.build()
    layers = [layer for layer in model.modules() if isinstance(layer, ODConv2d)]
    forging = [layer.weight for layer in layers if layer.kernel_size > 1 or layer.num_kernels > 1]
    weighted = max(weight.numel() for weight in forging)
    summed = [weight[0].numel() for weight in forging]
    numbers = 2 * weighted + sum(summed) if cell.task == TRAINING else weighted + max(summed)
    return 4 * cell.batch * numbers


def free_bytes(device: str) -> float:
    """Memory that is free for use; infinite where that cannot be told."""
    if device == "cuda":
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info()[0]
    with suppress(OSError):
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
        if found:
            return 1024 * int(found[1])
    return math.inf


# --- one cell and the whole run -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """What was measured for a cell; contenders that were not run are missing."""

    cell: Cell
    seconds: Mapping[str, tuple[float, ...]]  # contender -> of every turn
    peaks: Mapping[str, int]  # contender -> bytes
    why: str = ""  # why the broadcast form was not run

    @property
    def ratios(self) -> dict[str, float]:
        """The quotients of medians and peaks that the table and the floors speak of, as far as they were measured."""
        medians = {contender: statistics.median(turns) for contender, turns in self.seconds.items()}
        quotients = {"ours/static": medians["ours"] / medians["static"]}
        if "broadcast" in medians:
            quotients["broadcast/ours"] = medians["broadcast"] / medians["ours"]
            quotients["ours/broadcast, peak memory"] = self.peaks["ours"] / max(self.peaks["broadcast"], 1)
        return quotients


def measure(cell: Cell, run: Run) -> Row:
    """Everything about one cell; the broadcast form only where there is memory for it."""
    peaks = {contender: measured_peak(cell, contender, run) for contender in ("static", "ours")}
    needed, free = max(peaks["ours"], peaks["static"] + forged_bytes(cell)), free_bytes(run.device)
    if needed > free:
        why = f"the broadcast form would need {needed / MEGA:,.0f} MB, and {free / MEGA:,.0f} MB are free"
        return Row(cell, apart(run, time_cell, cell, ("static", "ours"), run), peaks, why)
    peaks["broadcast"] = measured_peak(cell, "broadcast", run)
    return Row(cell, apart(run, time_cell, cell, CONTENDERS, run), peaks)


HEADINGS = (
    *("network", "K", "input", "batch", "task", "precision", "n", "static ms", "ours ms", "broadcast ms"),
    *("ours/static", "broadcast/ours", "static MB", "ours MB", "broadcast MB"),
)


def head() -> str:
    """The first two lines of the table; the numbers to the right."""
    rules = ["---" if heading in ("network", "task", "precision") else "---:" for heading in HEADINGS]
    return "\n".join([_line(HEADINGS), _line(rules)])


def line(row: Row) -> str:
    """One line of the table; "-" for what was not run."""
    cell = row.cell
    turns = [str(len(row.seconds[contender])) for contender in CONTENDERS if contender in row.seconds]
    milliseconds = {contender: 1000 * statistics.median(turns) for contender, turns in row.seconds.items()}
    peaks = {contender: size / MEGA for contender, size in row.peaks.items()}
    return _line(
        [
            *(cell.network, str(cell.architecture.num_kernels), f"{cell.side} px", str(cell.batch)),
            *(cell.task, cell.precision, turns[0] if len(set(turns)) == 1 else "/".join(turns)),
            *(_number(milliseconds.get(contender), below=100) for contender in CONTENDERS),
            *(_number(row.ratios.get(quantity), below=10, digits=2) for quantity in ("ours/static", "broadcast/ours")),
            *(_number(peaks.get(contender), below=100) for contender in CONTENDERS),
        ]
    )


def _line(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _number(value: float | None, below: float, digits: int = 1) -> str:
    """With ``digits`` decimals where it is smaller than ``below``, else with one less."""
    if value is None:
        return "-"
    return f"{value:,.{digits if value < below else digits - 1}f}"


def legend(rows: Sequence[Row]) -> Iterator[str]:
    """What "bundled" is, and why a broadcast form was not run."""
    for layout in {row.cell.architecture: None for row in rows if row.cell.network == "bundled"}:
        yield (
            f"* bundled: {layout.backbone}, width {layout.width:g}, {layout.stem} stem, K = {layout.num_kernels}, "
            f"{layout.num_classes} classes"
        )
    for row in rows:
        if row.why:
            yield f"* -: {row.cell.name}: {row.why}"


def verdicts(rows: Sequence[Row]) -> Iterator[str]:
    """A line for each floor whose cell was measured."""
    measured = {row.cell.name: row for row in rows}
    for floor in FLOORS:
        if floor.cell not in measured:
            continue
        bound = f"at least {floor.at_least}" if floor.at_least else f"at most {floor.at_most}"
        value = measured[floor.cell].ratios.get(floor.quantity)
        if value is None:
            yield f"* not measured: {floor.cell}: {floor.quantity} {bound}"
        else:
            verdict = "met" if floor.at_least <= value <= floor.at_most else "missed"
            yield f"* {verdict}: {floor.cell}: {floor.quantity} {value:.2f}, {bound}"


def conditions(run: Run) -> str:
    """Machine, versions and date."""
    processor = platform.processor() or platform.machine()
    with suppress(OSError):
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        processor = found[1] if found else processor
    gpu = f"{torch.cuda.get_device_name()} (CUDA {torch.version.cuda}), " if run.device == "cuda" else ""
    return (
        f"{gpu}{processor}, {os.cpu_count()} cores, {run.threads} threads, Python {platform.python_version()}, "
        f"torch {torch.__version__}, {date.today()}; medians of n turns, peak memory of a first pass"
    )


def main(arguments: Sequence[str] | None = None, cells: Sequence[Cell] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", metavar="PATTERN", default="", help="cells whose names match; default: all")
    options.add_argument("--repeats", type=int, default=15, help="turns of a cell, at most")
    options.add_argument("--seconds", type=float, default=6.0, help="for the turns of a cell")
    options.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options.add_argument("--dtype", choices=PRECISIONS, help="of all cells; default: what the table names")
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    chosen = options.parse_args(arguments)
    run = Run(chosen.device, chosen.threads, max(chosen.repeats, 1), chosen.seconds)
    torch.set_num_threads(run.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    print(f"{conditions(run)}\n\n{head()}", flush=True)
    rows: list[Row] = []
    for cell in choose(default_cells() if cells is None else cells, chosen.only, chosen.dtype):
        rows.append(measure(cell, run))
        print(line(rows[-1]), flush=True)
        gc.collect()
    for heading, lines in (("Notes", [*legend(rows)]), ("Floors, set for two CPU cores", [*verdicts(rows)])):
        if lines:
            print(f"\n{heading}:", *lines, sep="\n")


if __name__ == "__main__":
    main()
