"""The networks and their static twins, a family in each file: ResNet-18/34/50/101 and MobileNetV2, which are the paper's, and
EfficientNet-Lite.

Module names of the paper's networks are the released code's (github.com/OSVAI/ODConv), which are torchvision's, so the
authors' files load as they are.
"""

from odconv.backbones.efficientnet_lite import (
    EFFICIENTNET_LITE,
    EfficientNetLite,
    efficientnet_lite0,
    efficientnet_lite2,
    od_efficientnet_lite0,
)
from odconv.backbones.family import Family, Layout, Place, State, Stem, dynamic_conv, static_conv
from odconv.backbones.features import Features
from odconv.backbones.mobilenetv2 import MOBILENETV2, MobileNetV2, mobilenetv2, od_mobilenetv2, round_to_8
from odconv.backbones.resnet import (
    RESNET,
    RESNET_BLOCKS,
    ResNet,
    od_resnet,
    od_resnet18,
    od_resnet34,
    od_resnet50,
    od_resnet101,
    resnet,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
)

FAMILIES: tuple[Family, ...] = (RESNET, MOBILENETV2, EFFICIENTNET_LITE)

__all__ = [
    "FAMILIES",
    "RESNET_BLOCKS",
    "EfficientNetLite",
    "Family",
    "Features",
    "Layout",
    "MobileNetV2",
    "Place",
    "ResNet",
    "State",
    "Stem",
    "dynamic_conv",
    "efficientnet_lite0",
    "efficientnet_lite2",
    "mobilenetv2",
    "od_efficientnet_lite0",
    "od_mobilenetv2",
    "od_resnet",
    "od_resnet18",
    "od_resnet34",
    "od_resnet50",
    "od_resnet101",
    "resnet",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "round_to_8",
    "static_conv",
]
