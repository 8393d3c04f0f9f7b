"""How much longer a converted network takes than the given one, on this machine. A minute or two.

    python benchmarks/convert.py [--network mobilenetv2] [--side 224] [--batch 1] [--turns 30] [--compile]

Both networks run in turn, so that whatever else the machine does slows both. Each turn gives a quotient of the two times; the
table has the median and the quartiles of the quotients, and the medians of the times. Inference in float32, as many threads as
PyTorch takes by itself. ``--compile`` compiles the converted network first, which takes minutes and a C++ compiler, and compares it with
the given one as it is.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.speed import Cell, describe_machine, pictures, settle
from odconv.architecture import STATIC_BACKBONES, Architecture
from odconv.convert import convert

NETWORKS = ("mobilenetv2", "resnet18", "resnet50")
WARM_UP = 3  # turns that are not counted


def given(network: str, cell: Cell) -> nn.Module:
    """A static network in eval mode, freshly initialised, its normalisation settled."""
    torch.manual_seed(0)
    width = 64 if network.startswith("resnet") else 1.0
    return settle(Architecture(network, width, 1000, "imagenet", None, None).build(), cell).eval()


@torch.inference_mode()
def take_turns(models: Sequence[nn.Module], images: torch.Tensor, turns: int) -> list[tuple[float, ...]]:
    """Seconds of a pass of each model, turn by turn."""
    times = []
    for _ in range(WARM_UP + turns):
        marks = [time.perf_counter()]
        for model in models:
            model(images)
            marks.append(time.perf_counter())
        times.append(tuple(end - start for start, end in pairwise(marks)))
    return times[WARM_UP:]


HEAD = """\
| network | input | batch | n | given ms | converted ms | converted/given | quartiles | parameters |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""


def line(network: str, cell: Cell, times: Sequence[tuple[float, ...]], parameters: tuple[int, int]) -> str:
    """One line of the table, from the times of both networks."""
    before, after = (statistics.median(some) for some in zip(*times, strict=True))
    low, middle, high = statistics.quantiles([converted / static for static, converted in times], n=4)
    sizes = " -> ".join(f"{count / 1e6:.2f} M" for count in parameters)
    numbers = f"{1e3 * before:,.1f} | {1e3 * after:,.1f} | {middle:.2f} | {low:.2f} to {high:.2f}"
    return f"| {network} | {cell.side} px | {cell.batch} | {len(times)} | {numbers} | {sizes} |"


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--network", choices=STATIC_BACKBONES, action="append", help=f"default: {', '.join(NETWORKS)}")
    options.add_argument("--side", type=int, default=224, help="of a picture, px")
    options.add_argument("--batch", type=int, default=1)
    options.add_argument("--kernels", type=int, default=4, help="K")
    options.add_argument("--turns", type=int, default=30)
    options.add_argument("--compile", action="store_true", help="the converted network, by torch.compile")
    chosen = options.parse_args(arguments)
    print(describe_machine(), "", HEAD, sep="\n", flush=True)
    for network in chosen.network or NETWORKS:
        cell = Cell(network, chosen.kernels, chosen.side, chosen.batch, "inference", "float32")
        static, images = given(network, cell), pictures(cell)[: cell.batch].clone()
        model, report = convert(static, chosen.kernels, example=images)
        other = torch.compile(model, fullgraph=True) if chosen.compile else model
        print(line(network, cell, take_turns((static, other), images, chosen.turns), report.parameters), flush=True)


if __name__ == "__main__":
    main()
