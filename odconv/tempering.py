"""What dividing the logits by a temperature does to one picture: numbers of a whole pass that change with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from odconv.attention import HEADS, Heads, Settings
from odconv.explain import effective_kernels, explain, softmax
from odconv.forge import forge
from odconv.layer import ODConv2d

GATES = ("spatial", "channel", "filter")  # the heads that are sigmoids; kernel attention is a softmax

# The authors' schedule, https://github.com/OSVAI/ODConv, utils/misc.py.
FIRST_TEMPERATURE = 30.0
FALL_EPOCHS = 10

# The temperatures of a curve: ten to a decade from 0.1 to 25, and 30.
CURVE = (*(float(f"{10 ** (step / 10):.2g}") for step in range(-10, 15)), FIRST_TEMPERATURE)


def scheduled_temperature(epochs_done: float) -> float:
    """The temperature of the authors' training: from 30 to 1, linear over the first 10 epochs, and 1 from there on."""
    return 1.0 + max(0.0, (FIRST_TEMPERATURE - 1.0) * (FALL_EPOCHS - epochs_done) / FALL_EPOCHS)


@dataclass(frozen=True, eq=False)
class Reading:
    """What one pass under some settings says of one picture. Layers that lack a head lack its numbers."""

    logits: np.ndarray  # (classes,)
    gates: Mapping[str, Mapping[str, float]]  # layer -> gate head -> mean over the head's entries
    effective: Mapping[str, float]  # layer -> effective kernels
    norms: Mapping[str, float]  # layer -> Frobenius norm of the forged kernel
    ungated: Mapping[str, float]  # layer -> the same, were all gates 1

    def probability(self, class_index: int) -> float:
        """Softmax of the logits at one class."""
        return float(softmax(self.logits)[class_index])

    @property
    def first_choice(self) -> int:
        """The most likely class."""
        return int(self.logits.argmax())

    def mean_gate(self, head: str) -> float | None:
        """Mean over the layers that have ``head``; ``None`` where none has."""
        return _mean([means[head] for means in self.gates.values() if head in means])

    @property
    def mean_effective(self) -> float | None:
        """Effective kernels, mean over the layers with several kernels; ``None`` where there are none."""
        return _mean(list(self.effective.values()))

    def passed(self, layer: str) -> float:
        """What the layer's gates leave of its kernel's norm: 1 were all gates 1, 1/8 where three gates are 1/2."""
        return self.norms[layer] / self.ungated[layer] if self.ungated[layer] else 0.0


class Alone(NamedTuple):
    """What two passes say with one head alone at a high temperature, the others as trained."""

    free: Reading  # with its gain as it comes
    kept: Reading | None  # with its gain kept; None for the kernel head, which has none


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def take_reading(model: nn.Module, image: Tensor, settings: Settings) -> Reading:
    """One pass of one picture (1, 3, H, W) through ``model`` under ``settings``.

    Raises:
        ValueError: there is more than one picture.
    """
    if len(image) != 1:
        raise ValueError(f"{len(image)} pictures: one is needed")
    record, modules = explain(model, image, settings), dict(model.named_modules())
    norms, ungated = {}, {}
    with torch.inference_mode():
        for name, layer in record.layers.items():
            module = modules[name.partition("#")[0]]
            assert isinstance(module, ODConv2d)
            norms[name] = _norm(module, layer.attention)
            ungated[name] = _norm(module, Heads(None, None, None, layer.attention.kernel))
    return Reading(
        logits=record.logits[0],
        gates={name: _mean_gates(layer.attention) for name, layer in record.layers.items()},
        effective={
            name: float(effective_kernels(layer.attention.kernel[0]))
            for name, layer in record.layers.items()
            if layer.attention.kernel is not None
        },
        norms=norms,
        ungated=ungated,
    )


def _mean_gates(attention: Heads[np.ndarray]) -> dict[str, float]:
    heads = zip(HEADS, attention, strict=True)
    return {
        head: float(values.mean(dtype=np.float64)) for head, values in heads if head in GATES and values is not None
    }


def _norm(layer: ODConv2d, attention: Heads[np.ndarray]) -> float:
    weight = layer.weight.detach().float()
    heads = Heads(*(None if head is None else torch.tensor(head).to(weight.device) for head in attention))
    return float(torch.linalg.vector_norm(forge(weight, heads, layer.groups), dtype=torch.float64))
