"""The architecture of a network: recognised from the names and shapes of its tensors, and built again from that."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from odconv.backbones import FAMILIES, Family, Layout, Place, State, Stem, dynamic_conv, static_conv
from odconv.backbones.family import size_of
from odconv.layer import MIN_HIDDEN
from odconv.refusal import CheckpointError, printable

DYNAMIC = "od_"  # the prefix of an ODConv network: "od_resnet18", whose static twin is "resnet18"
STATIC_BACKBONES = tuple(name for family in FAMILIES for name in family.backbones)
BACKBONES = (*(DYNAMIC + name for name in STATIC_BACKBONES), *STATIC_BACKBONES)  # "od_resnet18", ..., "mobilenetv2"

MAX_WIDTH, MAX_CLASSES, MAX_KERNELS = 512, 100_000, 64  # of weights from a file; shapes can lie


def is_dynamic(backbone: str) -> bool:
    """Whether a network of this name has ODConv layers: true for ``od_resnet18``, false for ``resnet18``."""
    return backbone.startswith(DYNAMIC)


def family_of(backbone: str) -> Family:
    """The family that ``backbone`` belongs to, the same for ``resnet18`` and ``od_resnet18``.

    Raises:
        ValueError: there is no such network.
    """
    for family in FAMILIES:
        if backbone.removeprefix(DYNAMIC) in family.backbones:
            return family
    raise ValueError(f"backbone={backbone!r}: one of {', '.join(BACKBONES)} is needed")


@dataclass(frozen=True)
class Architecture:
    """Everything about a network of ``odconv.backbones`` except its weights.

    Attributes:
        backbone: one of ``BACKBONES``, "od_resnet18", "resnet18", "od_mobilenetv2", ...
        width: channels of a ResNet's first stage; a MobileNetV2's width multiplier.
        num_classes: number of logits.
        stem: "imagenet", or "small" for pictures of about 64 px, in ResNets only.
        num_kernels: K; None where the network is static.
        reduction: hidden width of the attention branches as a fraction of C_in; None where the network is static.

    Raises:
        ValueError: there is no such backbone, or ``num_kernels`` or ``reduction`` is None for a dynamic one or given for a
            static one.
    """

    backbone: str
    width: float
    num_classes: int
    stem: Stem
    num_kernels: int | None
    reduction: float | None

    def __post_init__(self) -> None:
        family_of(self.backbone)
        if not is_dynamic(self.backbone) == (self.num_kernels is not None) == (self.reduction is not None):
            raise ValueError(
                f"backbone={self.backbone!r}, num_kernels={self.num_kernels!r}, reduction={self.reduction!r}: "
                f"numbers for a name that begins with {DYNAMIC}, None for others are needed"
            )

    @property
    def family(self) -> Family:
        """The family that builds the network and knows where its layers stand."""
        return family_of(self.backbone)

    @property
    def dynamic(self) -> bool:
        """Whether the network has ODConv layers."""
        return self.num_kernels is not None

    def static_twin(self) -> Architecture:
        """The same network with ordinary convolutions."""
        return replace(self, backbone=self.backbone.removeprefix(DYNAMIC), num_kernels=None, reduction=None)

    def place(self, layer_name: str) -> Place:
        """Where a layer stands: ``layer2.0.conv1`` -> (``layer2``, ``0·1``), its second call ``#2`` -> ``0·1#2``."""
        return self.family.place(layer_name)

    def build(self) -> nn.Module:
        """The network in train mode, initialised with PyTorch's random generator."""
        layout = Layout(self.static_twin().backbone, self.width, self.num_classes, self.stem)
        if self.num_kernels is None or self.reduction is None:
            return self.family.build(layout, static_conv)
        return self.family.build(layout, dynamic_conv(self.num_kernels, self.reduction))

    def outline(self) -> nn.Module:
        """The network on the meta device, where tensors have names and shapes and no numbers."""
        with torch.device("meta"), SkipInit():
            return self.build()


_INITIALISERS = {Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_, nn.init.kaiming_uniform_} | {
    nn.init.normal_,
    nn.init.uniform_,
}


class SkipInit(TorchFunctionMode):
    """While it is active, weights are not initialised: for the meta device, where tensors have no numbers.

    PyTorch skips it there by itself, but imports its compiler to do so, which takes two seconds, 90 MB and a temporary
    folder that can be written to; and what it does to skip takes as long as all else that builds a network.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _INITIALISERS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def recognise(state: State) -> Architecture:
    """The architecture of the network that tensors belong to, from their names and shapes alone.

    Raises:
        CheckpointError: they belong to no network of ``odconv.backbones``, or to one beyond the bounds ``MAX_...``.
    """
    for family in FAMILIES:
        first = state.get(f"{family.first}.weight")
        if first is None:
            continue
        layout = family.recognise(state)
        kernels = len(first) if first.ndim == 5 else None  # (K, C_out, C, k, k), or (C_out, C, k, k)
        _check_credible(layout, kernels)
        if kernels is None:
            return Architecture(*layout, None, None)
        return Architecture(DYNAMIC + layout.backbone, *layout[1:], kernels, _reduction(state))
    raise CheckpointError("checkpoint.network", known=", ".join(family.name for family in FAMILIES))


def _check_credible(layout: Layout, kernels: int | None) -> None:
    """Refuse sizes beyond the bounds: a tensor can be huge in its shape and take nothing in its file."""
    for number, most in ((layout.width, MAX_WIDTH), (layout.num_classes, MAX_CLASSES), (kernels, MAX_KERNELS)):
        if number is not None and not 0 < number <= most:
            raise CheckpointError(
                "checkpoint.credible", width=layout.width, classes=layout.num_classes, kernels=kernels or 0
            )


def _reduction(state: State) -> float:
    """The fraction r with hidden = max(int(C_in · r), 16) in every branch; 1/16, the paper's, where it fits."""
    low, high = 0.0, math.inf
    for name in state:
        if name.endswith(".attention.fc.weight"):
            hidden, channels = size_of(state, name, 0), size_of(state, name, 1)
            if channels < 1:
                raise CheckpointError("checkpoint.lacking", name=printable(name))
            high = min(high, (hidden + 1) / channels)
            if hidden > MIN_HIDDEN:
                low = max(low, hidden / channels)
    if low <= 1 / 16 < high:
        return 1 / 16
    if not low < high < math.inf:
        raise CheckpointError("checkpoint.reduction")
    return (low + high) / 2
