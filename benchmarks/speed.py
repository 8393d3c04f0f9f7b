"""How long the layer takes: ours, the released formulation and the static twin, measured in one run. Prints Markdown.

    python benchmarks/speed.py [--seconds 6] [--cell od_resnet50,4,224,32,training,float32]

Each cell of the table has three contenders: a network of ODConv layers; the same network with every layer in the broadcast
form (``broadcast.py``); and its static twin. They take turns, so that what else runs on the machine hits all alike; times are
medians over n blocks of passes: 9/9/3 is static/ours/broadcast. A pass is inference in eval mode, or a training step: forward,
cross-entropy, backward, SGD with momentum. bfloat16 is autocast. "bundled" has the layout of the 4x network in
``assets/weights``.

Peak memory is the resident size of a first pass, above the model, its input and the loaded libraries; MB = 10^6 bytes.
``--cell``, which can be repeated, measures others than those in the README: network, K, side in px, batch, task and number type.
The broadcast form needs up to 7 GB. Threads are as many as ``OMP_NUM_THREADS`` says. Needs Linux.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import platform
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import update_bn
from torch.utils.benchmark import Measurement, Timer

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import broadcast
from odconv.checkpoint import Architecture, load_checkpoint

BUNDLED = Path(__file__).parents[1] / "assets/weights/od_resnet18_w32_4x_tiny_imagenet.safetensors"
CONTENDERS = ("static", "ours", "broadcast")
TASKS = ("inference", "training")
TURNS = 3  # of each contender


class Cell(NamedTuple):
    """One line of the table."""

    network: str  # of odconv.backbones, or "bundled"
    kernels: int  # K
    side: int  # of a picture, px
    batch: int
    task: str  # one of TASKS
    precision: str  # float32 or bfloat16

    def architecture(self) -> Architecture:
        """Of the dynamic network."""
        if self.network == "bundled":
            return replace(load_checkpoint(BUNDLED).architecture, num_kernels=self.kernels)
        width = 64 if "resnet" in self.network else 1.0
        return Architecture(self.network, width, 1000, "imagenet", self.kernels, 1 / 16)


CELLS = (
    Cell("od_resnet18", 1, 224, 1, "inference", "float32"),
    Cell("od_resnet18", 4, 224, 1, "inference", "float32"),
    Cell("od_resnet18", 4, 224, 8, "inference", "float32"),
    Cell("od_resnet18", 4, 224, 32, "inference", "float32"),
    Cell("od_resnet18", 4, 64, 32, "inference", "float32"),
    Cell("od_resnet18", 4, 64, 128, "inference", "float32"),
    Cell("bundled", 4, 64, 128, "training", "bfloat16"),
)


def parse_cell(text: str) -> Cell:
    """A cell from what ``--cell`` is given."""
    network, kernels, side, batch, task, precision = text.split(",")
    return Cell(network, int(kernels), int(side), int(batch), TASKS[TASKS.index(task)], precision)


def build(architecture: Architecture, contender: str) -> nn.Module:
    """The network of a contender, freshly initialised; the static one has the same layout with ordinary convolutions."""
    torch.manual_seed(0)
    return (architecture.static_twin() if contender == "static" else architecture).build()


def pictures(cell: Cell) -> torch.Tensor:
    """What the cell is measured on, and up to 16 of the same where a batch is small: the same for every contender."""
    torch.manual_seed(1)
    return torch.randn(max(16, cell.batch), 3, cell.side, cell.side)


@torch.no_grad()
def settle(model: nn.Module, cell: Cell) -> nn.Module:
    """Numbers as in a network that is in use: gates within reach of 1/2, and a normalisation that has seen the pictures.

    Else gates shrink the signal layer by layer, or logits run away and gates go to 0. Either ends in numbers so small that
    processors are slow with them (https://en.wikipedia.org/wiki/Subnormal_number).
    """
    for name, parameter in model.named_parameters():
        if name.endswith("_fc.weight"):
            parameter.mul_(0.1)
    update_bn([pictures(cell)], model)
    return model


def one_pass(cell: Cell, model: nn.Module, contender: str) -> Callable[[], object]:
    """What is timed: a function that computes the cell's task once."""
    images, labels = pictures(cell)[: cell.batch].clone(), torch.zeros(cell.batch, dtype=torch.int64)
    training = cell.task == "training"
    sgd = torch.optim.SGD(model.train(training).parameters(), lr=1e-3, momentum=0.9)

    def run() -> None:
        form = broadcast.everywhere() if contender == "broadcast" else nullcontext()
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=cell.precision == "bfloat16")
        with form, torch.inference_mode(not training), autocast:
            logits = model(images)
        if training:
            F.cross_entropy(logits.float(), labels).backward()
            sgd.step()
            sgd.zero_grad()

    return run


def time_cell(cell: Cell, seconds: float) -> dict[str, Measurement]:
    """The time of a pass of each contender; all take turns, as long as each other."""
    static, ours = (settle(build(cell.architecture(), contender), cell) for contender in ("static", "ours"))
    models = dict(zip(CONTENDERS, (static, ours, ours), strict=True))
    passes = [(contender, one_pass(cell, model, contender)) for contender, model in models.items()]
    turns: dict[str, list[Measurement]] = {contender: [] for contender in CONTENDERS}
    for contender, run in TURNS * passes:
        timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
        turns[contender].append(timer.blocked_autorange(min_run_time=seconds / TURNS / len(passes)))
    return {contender: Measurement.merge(some)[0] for contender, some in turns.items()}


def peak_bytes(cell: Cell, contender: str) -> int:
    """Memory that a first pass takes at its peak, above what there is before it."""
    architecture = cell.architecture()
    narrow = build(replace(architecture, width=architecture.family.narrow), contender)
    one_pass(cell._replace(side=32, batch=2), narrow, contender)()  # loads what is loaded lazily
    run = one_pass(cell, build(architecture, contender), contender)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _resident("VmRSS")
    run()
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    """Resident bytes of this process, now ("VmRSS") or at its peak ("VmHWM")."""
    (kilobytes,) = re.findall(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(kilobytes)


def apart(measurement: Callable[..., Any], *arguments: Any) -> Any:
    """What ``measurement`` returns, from a fresh process.

    How fast memory is got from the system depends on what a process has done before: with other cells before it, the broadcast
    form at 1 x 224 px was faster by three tenths.
    """
    context = multiprocessing.get_context("forkserver")  # loads torch once
    context.set_forkserver_preload(["__main__", "torch"])
    with ProcessPoolExecutor(1, context, torch.set_num_threads, (torch.get_num_threads(),)) as child:
        return child.submit(measurement, *arguments).result()


HEAD = """\
| network | K | input | batch | task | precision | n | static ms | ours ms | broadcast ms | ours/static | broadcast/ours \
| static MB | ours MB | broadcast MB |
| --- | ---: | ---: | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""


def line(cell: Cell, times: Mapping[str, Measurement], peaks: Mapping[str, int]) -> str:
    """One line of the table, from what was measured of each contender."""
    static, ours, slow = (times[contender].median for contender in CONTENDERS)
    what = (cell.network, cell.kernels, f"{cell.side} px", cell.batch, cell.task, cell.precision)
    blocks = "/".join(str(len(times[contender].times)) for contender in CONTENDERS)
    ratios = [f"{ours / static:.2f}", f"{slow / ours:.2f}"]
    numbers = [f"{1e3 * time:,.1f}" for time in (static, ours, slow)] + ratios
    memory = [f"{peaks[contender] / 1e6:,.1f}" for contender in CONTENDERS]
    return f"| {' | '.join(map(str, (*what, blocks, *numbers, *memory)))} |"


def describe_machine() -> str:
    """What the numbers were measured on: processor, threads, versions and the day."""
    processor = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    machine = f"{processor[1] if processor else platform.machine()}, {os.cpu_count()} cores"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, {date.today()}"
    return f"{machine}, {torch.get_num_threads()} threads, {versions}"


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--cell", type=parse_cell, action="append", help="to measure; default: those in the README")
    options.add_argument("--seconds", type=float, default=6.0, help="for the turns of a cell")
    chosen = options.parse_args(arguments)
    print(describe_machine(), "", HEAD, sep="\n", flush=True)
    for cell in chosen.cell or CELLS:
        peaks = {contender: apart(peak_bytes, cell, contender) for contender in CONTENDERS}
        print(line(cell, apart(time_cell, cell, chosen.seconds), peaks), flush=True)


if __name__ == "__main__":
    main()
