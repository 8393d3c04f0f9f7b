"""EfficientNet-Lite0 and Lite2: EfficientNets without squeeze-and-excitation, with ReLU6, and stem and head of fixed width.

Dynamic are the convolutions of stages 5 to 7 and the head. Those before have large maps and few weights: there attention
would cost the most time and have the least to choose from.

Tan and Le, 2019, https://arxiv.org/abs/1905.11946; the Lite networks: Liu, 2020, github.com/tensorflow/tpu, in
models/official/efficientnet/lite.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
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
from odconv.backbones.mobilenetv2 import round_to_8
from odconv.refusal import CheckpointError

# kernel side, stride of the first block, expansion, output channels, repeats (Tan and Le, 2019, table 1)
EFFICIENTNET_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STAGES = range(1, len(EFFICIENTNET_STAGES) + 1)
FIRST_DYNAMIC = 5  # stage
MAPS = {2: "c2", 3: "c3", 5: "c4"}  # stage, the last of its size -> the map that it puts out; c5 comes from the head
STEM, HEAD = 32, 1280  # channels, in every Lite network
EPS = 1e-3  # of BatchNorm
DROPOUT = 0.2

DEPTHS = {
    "efficientnet_lite0": 1.0,
    "efficientnet_lite2": 1.2,
}  # multipliers of repeats, but in the first and last stage
PUBLISHED_WIDTHS = {"efficientnet_lite0": 1.0, "efficientnet_lite2": 1.1}
WIDTHS = (*PUBLISHED_WIDTHS.values(), 0.25)  # the last for tests


class LiteBlock(nn.Module):
    """1x1 expansion (unless it is 1), depth-wise, 1x1 projection, and a shortcut where shapes allow."""

    def __init__(self, conv: Conv, inplanes: int, planes: int, side: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inplanes * expansion
        self.residual = stride == 1 and inplanes == planes
        self.side, self.stride = side, stride
        self.expand = None if expansion == 1 else conv(inplanes, hidden, 1)
        self.expand_bn = None if expansion == 1 else nn.BatchNorm2d(hidden, EPS)
        padding = side // 2 if stride == 1 else 0
        self.depthwise = conv(hidden, hidden, side, stride=stride, padding=padding, groups=hidden)
        self.depthwise_bn = nn.BatchNorm2d(hidden, EPS)
        self.project = conv(hidden, planes, 1)
        self.project_bn = nn.BatchNorm2d(planes, EPS)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if self.expand is not None and self.expand_bn is not None:
            y = F.relu6(self.expand_bn(self.expand(y)))
        if self.stride > 1:
            y = pad_same(y, self.side, self.stride)
        y = F.relu6(self.depthwise_bn(self.depthwise(y)))
        y = self.project_bn(self.project(y))
        return x + y if self.residual else y


def pad_same(x: Tensor, side: int, stride: int) -> Tensor:
    """Pad (N, C, H, W) with zeros as TensorFlow's "SAME" does, so that the convolution makes ceil(H / stride) rows.

    Where the number of rows or columns that are missing is odd, the extra one is at the bottom or on the right.
    """
    height, width = (max((math.ceil(n / stride) - 1) * stride + side - n, 0) for n in x.shape[2:])
    return F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite: (N, 3, H, W) -> logits (N, num_classes)."""

    def __init__(self, conv: Conv, num_classes: int, width_mult: float, depth_mult: float) -> None:
        super().__init__()
        self.stem = static_conv(3, STEM, 3, stride=2)
        self.stem_bn = nn.BatchNorm2d(STEM, EPS)
        self.feature_channels: dict[str, int] = {}  # of the maps of ``feature_maps``
        inplanes = STEM
        rows = zip(STAGES, EFFICIENTNET_STAGES, repeats_of(depth_mult), strict=True)
        for stage, (side, stride, expansion, channels, _), repeats in rows:
            kind = conv if stage >= FIRST_DYNAMIC else static_conv
            planes = round_to_8(channels * width_mult)
            blocks = nn.Sequential()
            for i in range(repeats):
                blocks.append(LiteBlock(kind, inplanes, planes, side, 1 if i else stride, expansion))
                inplanes = planes
            self.add_module(f"stage{stage}", blocks)
            if stage in MAPS:
                self.feature_channels[MAPS[stage]] = planes
        self.head = conv(inplanes, HEAD, 1)
        self.head_bn = nn.BatchNorm2d(HEAD, EPS)
        self.feature_channels["c5"] = HEAD
        self.classifier = nn.Linear(HEAD, num_classes)
        init_static(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.finish(self.begin(x))

    def begin(self, x: Tensor) -> Tensor:
        """Through everything before the first dynamic convolution: (N, 3, H, W) -> (N, C, H / 16, W / 16)."""
        return self._through(self._through_stem(x), range(1, FIRST_DYNAMIC))

    def finish(self, x: Tensor) -> Tensor:
        """From what ``begin`` gives to logits (N, num_classes)."""
        x = self._through(x, range(FIRST_DYNAMIC, len(STAGES) + 1))
        x = self._through_head(x).mean((2, 3))
        return self.classifier(F.dropout(x, DROPOUT, self.training))

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """What the last block of each size puts out, c2 to c5; see ``odconv.backbones.Features``."""
        x, maps = self._through_stem(x), {}
        for stage in STAGES:
            x = self._through(x, range(stage, stage + 1))
            if stage in MAPS:
                maps[MAPS[stage]] = x
        return maps | {"c5": self._through_head(x)}

    def _through_stem(self, x: Tensor) -> Tensor:
        return F.relu6(self.stem_bn(self.stem(pad_same(x, 3, 2))))

    def _through_head(self, x: Tensor) -> Tensor:
        return F.relu6(self.head_bn(self.head(x)))

    def _through(self, x: Tensor, stages: range) -> Tensor:
        for stage in stages:
            x = self.get_submodule(f"stage{stage}")(x)
        return x


def repeats_of(depth_mult: float) -> tuple[int, ...]:
    """Blocks in each stage. The first and the last are as deep in every Lite network."""
    first, *others, last = (repeats for *_, repeats in EFFICIENTNET_STAGES)
    return (first, *(math.ceil(repeats * depth_mult) for repeats in others), last)


def od_efficientnet_lite0(
    num_classes: int = 1000, *, num_kernels: int = 4, reduction: float = 1 / 16, width_mult: float = 1.0
) -> EfficientNetLite:
    """EfficientNet-Lite0 with ODConv in stages 5 to 7 and the head."""
    return EfficientNetLite(dynamic_conv(num_kernels, reduction), num_classes, width_mult, 1.0)


def efficientnet_lite0(num_classes: int = 1000, *, width_mult: float = 1.0) -> EfficientNetLite:
    """The static twin of ``od_efficientnet_lite0``. For pictures of 224 px."""
    return EfficientNetLite(static_conv, num_classes, width_mult, 1.0)


def efficientnet_lite2(num_classes: int = 1000, *, width_mult: float = 1.1) -> EfficientNetLite:
    """EfficientNet-Lite2, wider and deeper. For pictures of 260 px."""
    return EfficientNetLite(static_conv, num_classes, width_mult, DEPTHS["efficientnet_lite2"])


def _build(layout: Layout, conv: Conv) -> EfficientNetLite:
    return EfficientNetLite(conv, layout.num_classes, layout.width, DEPTHS[layout.backbone])


def _recognise(state: State) -> Layout:
    found = tuple(len({name.split(".")[1] for name in state if name.startswith(f"stage{stage}.")}) for stage in STAGES)
    backbones = [name for name, depth in DEPTHS.items() if found == repeats_of(depth)]
    if not backbones:
        raise CheckpointError("checkpoint.lite_depth", blocks=found)
    channels = size_of(state, "stage4.0.project.weight", -4), size_of(state, "stage7.0.project.weight", -4)
    for width in WIDTHS:
        if channels == (round_to_8(80 * width), round_to_8(320 * width)):
            return Layout(backbones[0], width, size_of(state, "classifier.weight", 0), "imagenet")
    raise CheckpointError("checkpoint.lite_width", channels=channels[0])


PARTS = {"expand": "1", "depthwise": "2", "project": "3"}


def _place(name: str) -> Place:
    """``stage5.0.expand`` -> ``stage5``, ``0·1``; ``head`` -> ``head``, ``1``."""
    layer, call = split_call(name)
    stage, *parts = layer.split(".")
    return Place(stage, ("·".join(PARTS.get(part, part) for part in parts) or "1") + call)


EFFICIENTNET_LITE = Family(
    name="EfficientNet-Lite0, Lite2",
    backbones=tuple(DEPTHS),
    stems=("imagenet",),
    narrow=0.25,
    first="stage5.0.expand",
    shown="stage5.1.depthwise",  # 5x5 taps, and all its heads move in the bundled network
    classifier="classifier",
    build=_build,
    recognise=_recognise,
    place=_place,
)
