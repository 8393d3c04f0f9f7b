"""The networks of the paper and their static twins: ResNet-18/34/50/101 and MobileNetV2, a family in each file.

Module names are the released code's (github.com/OSVAI/ODConv), which are torchvision's, so the authors' files load as
they are.
"""

from odconv.backbones.family import Family, Layout, Place, State, Stem, dynamic_conv, static_conv
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

FAMILIES: tuple[Family, ...] = (RESNET, MOBILENETV2)

__all__ = [
    "FAMILIES",
    "RESNET_BLOCKS",
    "Family",
    "Layout",
    "MobileNetV2",
    "Place",
    "ResNet",
    "State",
    "Stem",
    "dynamic_conv",
    "mobilenetv2",
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
