"""``Family``, the description of a family of networks, and the parts that all families are built with.

A file of this folder holds one family of networks and ends in its ``Family``; ``odconv.backbones.FAMILIES`` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from torch import Tensor, nn

from odconv.layer import ODConv2d
from odconv.refusal import CheckpointError, printable

Stem = Literal["imagenet", "small"]
Conv = Callable[..., nn.Module]
State = Mapping[str, Tensor]

static_conv: Conv = partial(nn.Conv2d, bias=False)


def dynamic_conv(num_kernels: int, reduction: float) -> Conv:
    """A constructor of ``ODConv2d`` layers that takes the place of ``nn.Conv2d``."""
    return partial(ODConv2d, num_kernels=num_kernels, reduction=reduction)


class Layout(NamedTuple):
    """The shape of a network, without the kind of its convolutions: the same for an ODConv network and its static twin."""

    backbone: str  # of the static network: "resnet18", "mobilenetv2", ...
    width: float  # channels of a ResNet's first stage; a MobileNetV2's width multiplier
    num_classes: int
    stem: Stem


class Place(NamedTuple):
    """Where a layer stands in its network."""

    stage: str  # "layer2"; drawings group layers by it
    label: str  # "0·1"; short, and unique within the stage


@dataclass(frozen=True)
class Family:
    """Networks that differ in depth and width alone.

    Attributes:
        name: for sentences: "ResNet-18, 34, 50, 101".
        backbones: the names of its static networks.
        stems: its possible stems, the usual one first.
        narrow: a width that makes a tiny network, for tests.
        first: name of a layer whose weight shows that a network is of this family, and whether it is dynamic.
        shown: name of the layer that is looked into where none is chosen; where a network has none of that name, its first.
        classifier: name of the linear map at the end.
        build: (layout, constructor of convolutions) -> the network, initialised.
        recognise: tensors by name -> their layout. Raises ``CheckpointError`` where they fit no network of the family.
        place: name of a layer, as ``probe`` records it -> where it stands.
    """

    name: str
    backbones: tuple[str, ...]
    stems: tuple[Stem, ...]
    narrow: float
    first: str
    shown: str
    classifier: str
    build: Callable[[Layout, Conv], nn.Module]
    recognise: Callable[[State], Layout]
    place: Callable[[str], Place]


def size_of(state: State, name: str, axis: int) -> int:
    """The size of a tensor along an axis.

    Raises:
        CheckpointError: there is no such tensor, or it has no such axis.
    """
    tensor = state.get(name)
    if tensor is None or not -tensor.ndim <= axis < tensor.ndim:
        raise CheckpointError("checkpoint.lacking", name=printable(name))
    return tensor.shape[axis]


def split_call(name: str) -> tuple[str, str]:
    """Split a recorded name into layer and call: ``layer1.0.conv1#2`` -> (``layer1.0.conv1``, ``#2``)."""
    layer, sign, call = name.partition("#")
    return layer, sign + call


def init_static(model: nn.Module) -> None:
    """Initialise ordinary convolutions and linear maps as the released code does; ODConv layers have done so themselves."""
    inside = {part for layer in model.modules() if isinstance(layer, ODConv2d) for part in layer.modules()}
    for module in model.modules():
        if module in inside:
            continue
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)
