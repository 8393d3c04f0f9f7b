"""ResNet-18, 34, 50 and 101: every convolution in a block is dynamic, the stem and the 1x1 shortcuts are not."""

from __future__ import annotations

from functools import partial
from typing import get_args

import torch.nn.functional as F
from torch import Tensor, nn

from odconv.backbones.family import (
    Conv,
    Family,
    Layout,
    Place,
    State,
    Stem,
    dynamic_conv,
    init_static,
    size_of,
    split_call,
    static_conv,
)
from odconv.refusal import CheckpointError

RESNET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: ResNet-18 and 34."""

    expansion = 1

    def __init__(self, conv: Conv, inplanes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(inplanes, planes, 3, stride=stride, padding=1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv(planes, planes, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _shortcut(inplanes, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 and a shortcut: ResNet-50 and 101. The stride is on the 3x3 convolution, as in the released code."""

    expansion = 4

    def __init__(self, conv: Conv, inplanes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(inplanes, planes, 1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv(planes, planes, 3, stride=stride, padding=1)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = conv(planes, planes * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.downsample = _shortcut(inplanes, planes * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + shortcut)


def _shortcut(inplanes: int, outplanes: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inplanes == outplanes:
        return None
    return nn.Sequential(static_conv(inplanes, outplanes, 1, stride=stride), nn.BatchNorm2d(outplanes))


class ResNet(nn.Module):
    """A ResNet: (N, 3, H, W) -> logits (N, num_classes).

    ``stem="imagenet"``: 7x7 with stride 2, then max pooling with stride 2. ``"small"``, for pictures of about 64 px: 3x3
    with stride 2, no pooling.
    """

    def __init__(self, depth: int, conv: Conv, num_classes: int, width: int, stem: Stem) -> None:
        super().__init__()
        if stem not in get_args(Stem):
            raise ValueError(f"stem={stem!r}: one of {get_args(Stem)} is needed")
        block = BasicBlock if depth < 50 else Bottleneck
        side = 7 if stem == "imagenet" else 3
        self.conv1 = static_conv(3, width, side, stride=2, padding=side // 2)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem == "imagenet" else nn.Identity()
        self.feature_channels: dict[str, int] = {}  # of the maps of ``feature_maps``
        inplanes = width
        for stage, blocks in enumerate(RESNET_BLOCKS[depth]):
            planes = width * 2**stage
            layer = nn.Sequential()
            for i in range(blocks):
                layer.append(block(conv, inplanes, planes, stride=2 if stage and not i else 1))
                inplanes = planes * block.expansion
            self.add_module(f"layer{stage + 1}", layer)
            self.feature_channels[f"c{stage + 2}"] = inplanes
        self.fc = nn.Linear(inplanes, num_classes)
        init_static(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self._begin(x)
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """What the four stages put out, c2 to c5; see ``odconv.backbones.Features``."""
        x, maps = self._begin(x), {}
        for stage in range(1, 5):
            x = maps[f"c{stage + 1}"] = self.get_submodule(f"layer{stage}")(x)
        return maps

    def _begin(self, x: Tensor) -> Tensor:
        return self.maxpool(F.relu(self.bn1(self.conv1(x))))


def od_resnet(
    depth: int,
    num_classes: int = 1000,
    *,
    num_kernels: int = 4,
    reduction: float = 1 / 16,
    width: int = 64,
    stem: Stem = "imagenet",
) -> ResNet:
    """ODConv-ResNet of depth 18, 34, 50 or 101. ``width``: channels of the first stage, 64 in the paper."""
    return ResNet(depth, dynamic_conv(num_kernels, reduction), num_classes, width, stem)


def resnet(depth: int, num_classes: int = 1000, *, width: int = 64, stem: Stem = "imagenet") -> ResNet:
    """The static twin of ``od_resnet``: the same network with ordinary convolutions."""
    return ResNet(depth, static_conv, num_classes, width, stem)


od_resnet18 = partial(od_resnet, 18)
od_resnet34 = partial(od_resnet, 34)
od_resnet50 = partial(od_resnet, 50)
od_resnet101 = partial(od_resnet, 101)
resnet18 = partial(resnet, 18)
resnet34 = partial(resnet, 34)
resnet50 = partial(resnet, 50)
resnet101 = partial(resnet, 101)


def _build(layout: Layout, conv: Conv) -> ResNet:
    depth = int(layout.backbone.removeprefix("resnet"))
    return ResNet(depth, conv, layout.num_classes, int(layout.width), layout.stem)


def _recognise(state: State) -> Layout:
    blocks = tuple(
        len({name.split(".")[1] for name in state if name.startswith(f"layer{stage}.")}) for stage in range(1, 5)
    )
    bottleneck = "layer1.0.conv3.weight" in state
    depths = [depth for depth, known in RESNET_BLOCKS.items() if known == blocks and (depth >= 50) == bottleneck]
    if not depths:
        raise CheckpointError("checkpoint.depth", blocks=blocks)
    stem: Stem = "imagenet" if size_of(state, "conv1.weight", -1) == 7 else "small"
    width = size_of(state, "layer1.0.conv1.weight", -4)  # C_out of (C_out, C, k, k) and of (K, C_out, C, k, k)
    return Layout(f"resnet{depths[0]}", width, size_of(state, "fc.weight", 0), stem)


def _place(name: str) -> Place:
    """``layer2.0.conv1`` -> ``layer2``, ``0·1``."""
    layer, call = split_call(name)
    stage, *parts = layer.split(".")
    return Place(stage, "·".join(part.removeprefix("conv") for part in parts) + call)


RESNET = Family(
    name="ResNet-18, 34, 50, 101",
    backbones=tuple(f"resnet{depth}" for depth in RESNET_BLOCKS),
    stems=("imagenet", "small"),
    narrow=8,
    first="layer1.0.conv1",
    shown="layer1.0.conv1",
    classifier="fc",
    build=_build,
    recognise=_recognise,
    place=_place,
)
