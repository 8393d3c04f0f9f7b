"""The measurements behind the rule in ``odconv/forms.py``, repeated on this machine. Some minutes.

    python benchmarks/forms.py [--device cpu] [--seconds 0.3]

How many times slower forging is than mixing, by K and the positions of the output map, without and with gradients: the rule
mixes where K · positions is at most the device's limit, which should be about where the ratio passes 1. Medians; 3x3 layers; as
many threads as ``OMP_NUM_THREADS`` says.
"""

import argparse
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils.benchmark import Timer

sys.path.insert(0, str(Path(__file__).parents[1]))
from odconv import Heads, forms
from odconv.layer import od_conv2d

SIDES = (1, 2, 3, 4, 5, 6, 8, 10)  # of the output map
CHANNELS = ((64, 64), (256, 32), (512, 16))  # with a batch each


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--device", default="cpu")
    options.add_argument("--seconds", type=float, default=0.3, help="for each number")
    chosen = options.parse_args(arguments)
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, {chosen.device}, {versions}")
    for training in (False, True):
        forging_or_mixing(chosen.device, chosen.seconds, training)


def forging_or_mixing(device: str, seconds: float, training: bool) -> None:
    limits = forms.CPU if device == "cpu" else forms.GPU
    limit, what = (limits.mix_in_training, "forward and backward") if training else (limits.mix, "forward")
    print(f"\nforge / mix, {what}; the rule mixes up to the positions in the last column\n")
    header("K", "channels", "batch", *(side * side for side in SIDES), "rule")
    for kernels in (1, 2, 4, 8):
        for channels, batch in CHANNELS:
            ratios = []
            for side in SIDES:
                layer = a_layer(kernels, channels, side, batch, device, training)
                forge, mix = (median(layer, seconds, mix=most, mix_in_training=most) for most in (0, 10**9))
                ratios.append(f"{forge / mix:.1f}")
            row(kernels, channels, batch, *ratios, limit // kernels)


def header(*cells: object) -> None:
    row(*cells)
    row(*["---"] * len(cells))


def row(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


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


def median(step: Callable[[], object], seconds: float, **limits: int) -> float:
    """Median seconds of ``step``, under the rule with other limits."""
    timer = Timer("step()", globals={"step": step}, num_threads=torch.get_num_threads())
    with patch.multiple(forms, CPU=forms.CPU._replace(**limits), GPU=forms.GPU._replace(**limits)):
        return timer.blocked_autorange(min_run_time=seconds).median


if __name__ == "__main__":
    main()
