"""MobileNetV2: all but the first convolution are dynamic."""

from __future__ import annotations

from torch import Tensor, nn

from odconv.backbones.family import (
    Conv,
    Family,
    Layout,
    Place,
    State,
    dynamic_conv,
    init_static,
    size_of,
    split_call,
    static_conv,
)
from odconv.refusal import CheckpointError

WIDTHS = (1.0, 0.75, 0.5, 0.35, 1.3, 1.4)  # the multipliers of published weights

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

# Position in ``MobileNetV2.features`` -> the map that it puts out: of each size, the last block's. The authors' detectors take the same
# (OSVAI/ODConv, object_detection/configs/odconv).
MAPS = {3: "c2", 6: "c3", 13: "c4", 18: "c5"}


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
    """The nearest multiple of 8, at least 8; the next one where that is more than a tenth below ``channels``.

    The rule of the MobileNet family.
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class MobileNetV2(nn.Module):
    """MobileNetV2: (N, 3, H, W) -> logits (N, num_classes)."""

    def __init__(self, conv: Conv, num_classes: int, width_mult: float) -> None:
        super().__init__()
        inplanes = round_to_8(32 * width_mult)
        self.features = nn.Sequential(_conv_bn_relu(static_conv, 3, inplanes, 3, stride=2))
        widths = [inplanes]
        for expansion, channels, repeats, stride in MOBILENETV2_STAGES:
            planes = round_to_8(channels * width_mult)
            for i in range(repeats):
                self.features.append(InvertedResidual(conv, inplanes, planes, 1 if i else stride, expansion))
                widths.append(inplanes := planes)
        last = round_to_8(1280 * max(1.0, width_mult))
        self.features.append(_conv_bn_relu(conv, inplanes, last, 1))
        widths.append(last)
        self.feature_channels = {name: widths[position] for position, name in MAPS.items()}  # of ``feature_maps``
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, num_classes))
        init_static(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """What the last block of each size puts out, c2 to c5; see ``odconv.backbones.Features``."""
        maps = {}
        for position, layer in enumerate(self.features):
            x = layer(x)
            if position in MAPS:
                maps[MAPS[position]] = x
        return maps


def od_mobilenetv2(
    num_classes: int = 1000, *, num_kernels: int = 4, reduction: float = 1 / 16, width_mult: float = 1.0
) -> MobileNetV2:
    """ODConv-MobileNetV2. ``width_mult``: 1.0, 0.75 or 0.5 in the paper."""
    return MobileNetV2(dynamic_conv(num_kernels, reduction), num_classes, width_mult)


def mobilenetv2(num_classes: int = 1000, *, width_mult: float = 1.0) -> MobileNetV2:
    """The static twin of ``od_mobilenetv2``."""
    return MobileNetV2(static_conv, num_classes, width_mult)


def _build(layout: Layout, conv: Conv) -> MobileNetV2:
    return MobileNetV2(conv, layout.num_classes, layout.width)


def _recognise(state: State) -> Layout:
    channels = size_of(state, "features.0.0.weight", 0), size_of(state, "features.17.conv.2.weight", -4)
    for width in WIDTHS:
        if channels == (round_to_8(32 * width), round_to_8(320 * width)):
            return Layout("mobilenetv2", width, size_of(state, "classifier.1.weight", 0), "imagenet")
    raise CheckpointError("checkpoint.width", channels=channels[0])


def _place(name: str) -> Place:
    """``features.3.conv.1.0`` -> ``features``, ``3·1``: all blocks are one sequence."""
    layer, call = split_call(name)
    stage, *parts = layer.split(".")
    return Place(stage, "·".join([part for part in parts if part != "conv"][:2]) + call)


MOBILENETV2 = Family(
    name="MobileNetV2",
    backbones=("mobilenetv2",),
    stems=("imagenet",),
    narrow=0.35,
    first="features.1.conv.0.0",
    shown="features.1.conv.0.0",
    classifier="classifier.1",
    build=_build,
    recognise=_recognise,
    place=_place,
)
