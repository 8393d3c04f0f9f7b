"""The networks of the paper and their static twins: ResNet-18/34/50/101 and MobileNetV2.

Module names are the released code's (github.com/OSVAI/ODConv), which are torchvision's, so the authors' files load as
they are. ResNets: every convolution in a block is dynamic, the stem and the 1x1 shortcuts are not. MobileNetV2: all but
the first convolution are dynamic.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from odconv.layer import ODConv2d

Stem = Literal["imagenet", "small"]
Conv = Callable[..., nn.Module]

static_conv: Conv = partial(nn.Conv2d, bias=False)

RESNET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def dynamic_conv(num_kernels: int, reduction: float) -> Conv:
    """A maker of ``ODConv2d`` layers, to be used where ``nn.Conv2d`` would be."""
    return partial(ODConv2d, num_kernels=num_kernels, reduction=reduction)


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
    """(N, 3, H, W) -> logits (N, num_classes).

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
        inplanes = width
        for stage, blocks in enumerate(RESNET_BLOCKS[depth]):
            planes = width * 2**stage
            layer = nn.Sequential()
            for i in range(blocks):
                layer.append(block(conv, inplanes, planes, stride=2 if stage and not i else 1))
                inplanes = planes * block.expansion
            self.add_module(f"layer{stage + 1}", layer)
        self.fc = nn.Linear(inplanes, num_classes)
        _init_static(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))


# expansion, output channels, repeats, stride of the first (Sandler et al., 2018, table 2)
MOBILENETV2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """1x1 expansion (unless the expansion is 1), 3x3 depth-wise, 1x1 projection, and a shortcut where shapes allow."""

    def __init__(self, conv: Conv, inplanes: int, planes: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inplanes * expansion
        self.residual = stride == 1 and inplanes == planes
        self.conv = nn.Sequential(
            *([] if expansion == 1 else [_conv_bn_relu(conv, inplanes, hidden, 1)]),
            _conv_bn_relu(conv, hidden, hidden, 3, stride=stride, groups=hidden),
            conv(hidden, planes, 1),
            nn.BatchNorm2d(planes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


def _conv_bn_relu(conv: Conv, inplanes: int, planes: int, side: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        conv(inplanes, planes, side, stride=stride, padding=side // 2, groups=groups),
        nn.BatchNorm2d(planes),
        nn.ReLU6(inplace=True),
    )


def round_to_8(channels: float) -> int:
    """Nearest multiple of 8, at least 8, and not more than a tenth below: the rule of the MobileNet family."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class MobileNetV2(nn.Module):
    """(N, 3, H, W) -> logits (N, num_classes)."""

    def __init__(self, conv: Conv, num_classes: int, width_mult: float) -> None:
        super().__init__()
        inplanes = round_to_8(32 * width_mult)
        self.features = nn.Sequential(_conv_bn_relu(static_conv, 3, inplanes, 3, stride=2))
        for expansion, channels, repeats, stride in MOBILENETV2_STAGES:
            planes = round_to_8(channels * width_mult)
            for i in range(repeats):
                self.features.append(InvertedResidual(conv, inplanes, planes, 1 if i else stride, expansion))
                inplanes = planes
        last = round_to_8(1280 * max(1.0, width_mult))
        self.features.append(_conv_bn_relu(conv, inplanes, last, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, num_classes))
        _init_static(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


def _init_static(model: nn.Module) -> None:
    """The released code's initialisation of what is not dynamic; ODConv layers have initialised themselves."""
    inside = {part for layer in model.modules() if isinstance(layer, ODConv2d) for part in layer.modules()}
    for module in model.modules():
        if module in inside:
            continue
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)


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


def od_mobilenetv2(
    num_classes: int = 1000, *, num_kernels: int = 4, reduction: float = 1 / 16, width_mult: float = 1.0
) -> MobileNetV2:
    """ODConv-MobileNetV2. ``width_mult``: 1.0, 0.75 or 0.5 in the paper."""
    return MobileNetV2(dynamic_conv(num_kernels, reduction), num_classes, width_mult)


def mobilenetv2(num_classes: int = 1000, *, width_mult: float = 1.0) -> MobileNetV2:
    """The static twin of ``od_mobilenetv2``."""
    return MobileNetV2(static_conv, num_classes, width_mult)


od_resnet18 = partial(od_resnet, 18)
od_resnet34 = partial(od_resnet, 34)
od_resnet50 = partial(od_resnet, 50)
od_resnet101 = partial(od_resnet, 101)
resnet18 = partial(resnet, 18)
resnet34 = partial(resnet, 34)
resnet50 = partial(resnet, 50)
resnet101 = partial(resnet, 101)
