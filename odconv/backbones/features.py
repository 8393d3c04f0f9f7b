"""What a detector takes of a backbone: a map of each size, and no classifier."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from odconv.backbones.efficientnet_lite import EfficientNetLite
from odconv.backbones.mobilenetv2 import MobileNetV2
from odconv.backbones.resnet import ResNet

CLASSIFIERS = ("fc", "classifier")


class Features(nn.Module):
    """The maps C2 to C5 of a backbone: (N, 3, H, W) -> {"c2": (N, C2, H / 4, W / 4), "c3": ... / 8, "c4": ... / 16, "c5": ... / 32}.

    Each is what the last block of its size puts out, c5 what the classifier would pool. Sides are rounded up; with a ResNet's small
    stem they are H / 2 to H / 16.
    What ``timm`` calls ``features_only`` and torchvision ``IntermediateLayerGetter``.

    It has the backbone's own layers, which are neither copied nor changed: load weights into the backbone, before or after. Only
    the classifier is not among them, so that every parameter gets a gradient, and ``DistributedDataParallel`` needs no
    ``find_unused_parameters``.

    Args:
        backbone: a network of ``odconv.backbones``, static, dynamic, or converted.

    Attributes:
        channels: {"c2": C2, ..., "c5": C5}, for what takes the maps: ``FeaturePyramidNetwork(list(features.channels.values()), 256)``.
        backbone: the layers under the backbone's names, which ``probe(features.backbone)`` records.

    Raises:
        TypeError: it is another network.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        if not isinstance(backbone, ResNet | MobileNetV2 | EfficientNetLite):
            raise TypeError(f"{type(backbone).__name__} given; a ResNet, MobileNetV2 or EfficientNetLite is needed")
        self.channels = dict(backbone.feature_channels)
        self.backbone = copy.copy(backbone)  # shares all layers
        self.backbone._modules = {name: part for name, part in backbone.named_children() if name not in CLASSIFIERS}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.backbone.feature_maps(x)
