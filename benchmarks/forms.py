"""The measurements behind the rule in ``odconv/forms.py``, repeated on this machine. Some minutes.

    python benchmarks/forms.py [--threads 2] [--device cpu] [--seconds 0.3]

First, how many times slower forging is than mixing, by K and the positions of the output map, without and with gradients:
the rule mixes where K · positions is at most the device's limit, which should be about where the ratio passes 1. Then, how
long forging takes by how much is forged at once, as a multiple of one ordinary convolution of the same shape. Medians; 3x3
layers.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from odconv import Heads, forms
from odconv.layer import od_conv2d

SIDES = (1, 2, 3, 4, 5, 6, 8, 10)  # of the output map
CHANNELS = ((64, 64), (256, 32), (512, 16))  # with a batch each
LAYERS = (
    (64, 56, 8),
    (128, 28, 8),
    (256, 14, 8),
    (512, 7, 8),
    (512, 7, 1),
    (128, 8, 32),
    (256, 4, 32),
)  # C, side, batch


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--threads", type=int, default=os.cpu_count())
    options.add_argument("--device", default="cpu")
    options.add_argument("--seconds", type=float, default=0.3, help="for each number")
    chosen = options.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    processor = platform.processor() or platform.machine()
    print(
        f"{processor}, {chosen.threads} threads, {chosen.device}, Python {platform.python_version()}, torch {torch.__version__}"
    )
    for training in (False, True):
        forging_or_mixing(chosen.device, chosen.seconds, training)
    pieces(chosen.device, chosen.seconds)


def forging_or_mixing(device: str, seconds: float, training: bool) -> None:
    limits = forms.CPU if device == "cpu" else forms.GPU
    limit = limits.mix_in_training if training else limits.mix
    print(
        f"\nforge / mix, {'forward and backward' if training else 'forward'}; the rule mixes up to the positions in the last column\n"
    )
    print("| K | channels | batch | " + " | ".join(f"{side * side}" for side in SIDES) + " | rule |")
    print("|---" * (len(SIDES) + 4) + "|")
    for kernels in (1, 2, 4, 8):
        for channels, batch in CHANNELS:
            ratios = []
            for side in SIDES:
                layer = a_layer(kernels, channels, side, batch, device, training)
                with limited(mix=0, mix_in_training=0):
                    forge = median(layer, seconds, device)
                with limited(mix=10**9, mix_in_training=10**9):
                    mix = median(layer, seconds, device)
                ratios.append(f"{forge / mix:.1f}")
            print(
                f"| {kernels} | {channels} | {batch} | " + " | ".join(ratios) + f" | {limit // kernels} |",
                flush=True,
            )


def pieces(device: str, seconds: float) -> None:
    print(
        f"\nforge / one ordinary convolution, K = 4, forward; the rule: {forms.CPU.pictures} pictures, {forms.CPU.weights:,} weights\n"
    )
    choices = [(pictures, weights) for pictures in (4, 16, 64) for weights in (400_000, 1_600_000, 6_400_000)]
    print("| channels | side | batch | " + " | ".join(f"{p}, {w / 1e6:g} M" for p, w in choices) + " |")
    print("|---" * (len(choices) + 3) + "|")
    for channels, side, batch in LAYERS:
        layer = a_layer(4, channels, side, batch, device, training=False)
        x, weight = (
            torch.randn(shape, device=device) for shape in ((batch, channels, side, side), (channels, channels, 3, 3))
        )
        plain = median(lambda x=x, weight=weight: F.conv2d(x, weight, padding=1), seconds, device)
        ratios = []
        for pictures, weights in choices:
            with limited(pictures=pictures, weights=weights, mix=0):
                ratios.append(f"{median(layer, seconds, device) / plain:.1f}")
        print(f"| {channels} | {side} | {batch} | " + " | ".join(ratios) + " |", flush=True)


def a_layer(kernels: int, channels: int, side: int, batch: int, device: str, training: bool) -> Callable[[], None]:
    """One pass through a 3x3 layer, forward, and backward if ``training``."""

    def random(*shape: int) -> Tensor:
        return torch.rand(shape, device=device).requires_grad_(training)

    x, weight = random(batch, channels, side, side), random(kernels, channels, channels, 3, 3)
    shares = random(batch, kernels) if kernels > 1 else None
    attention = Heads(random(batch, 3, 3), random(batch, channels), random(batch, channels), shares)

    def step() -> None:
        with torch.set_grad_enabled(training):
            y = od_conv2d(x, weight, attention, padding=1)
        if training:
            y.backward(torch.ones_like(y))

    return step


@contextmanager
def limited(**limits: int) -> Iterator[None]:
    """The rule with other limits, for as long as the ``with`` block lasts."""
    with patch.multiple(forms, CPU=forms.CPU._replace(**limits), GPU=forms.GPU._replace(**limits)):
        yield


def median(step: Callable[[], object], seconds: float, device: str) -> float:
    """Median seconds of ``step`` over as many calls as fit into ``seconds``, at least three, after one to warm up."""
    step()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        began = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


if __name__ == "__main__":
    main()
