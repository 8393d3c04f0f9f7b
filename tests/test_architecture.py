"""What a network is, in one record; each family says how to build it, how to recognise it and where its layers stand."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from odconv.architecture import BACKBONES, Architecture, family_of, is_dynamic, recognise
from odconv.backbones import FAMILIES
from odconv.layer import ODConv2d
from odconv.probe import probe

ROOT = Path(__file__).parents[1]


def architecture(backbone, classes=7):
    family = family_of(backbone)
    options = (2, 1 / 16) if is_dynamic(backbone) else (None, None)
    return Architecture(backbone, family.narrow, classes, family.stems[-1], *options)


@cache
def outline(architecture):
    """Shared by the tests, which only look at it."""
    return architecture.outline()


def shapes(model):
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def test_each_network_is_of_one_family():
    assert len(BACKBONES) == len(set(BACKBONES)) == 2 * sum(len(family.backbones) for family in FAMILIES)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_what_is_built_is_recognised(backbone):
    wanted = architecture(backbone)
    found = recognise(outline(wanted).state_dict())
    assert found == wanted
    assert any(isinstance(module, ODConv2d) for module in outline(found).modules()) == found.dynamic


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_family_names_the_first_dynamic_layer_and_the_classifier(backbone):
    model = outline(architecture(backbone))
    family = family_of(backbone)
    assert type(model.get_submodule(family.first)) is (ODConv2d if is_dynamic(backbone) else nn.Conv2d)
    assert model.get_submodule(family.classifier).out_features == 7


@pytest.mark.parametrize("backbone", BACKBONES)
def test_an_outline_has_the_shapes_of_the_network_and_no_numbers(backbone):
    found = outline(architecture(backbone))
    assert all(tensor.is_meta for tensor in found.state_dict().values())
    assert shapes(found) == shapes(architecture(backbone).build())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_static_twin_differs_in_the_kind_of_its_convolutions_alone(backbone):
    twin = architecture(backbone).static_twin()
    assert twin == architecture(backbone.removeprefix("od_"))
    assert twin.static_twin() == twin
    kept = {name: shape for name, shape in shapes(outline(architecture(backbone))).items() if ".attention." not in name}
    assert kept.keys() == shapes(outline(twin)).keys()


@pytest.mark.parametrize(
    ("backbone", "kernels", "reduction"),
    [
        ("vgg", None, None),
        ("od_", None, None),
        ("od_resnet18", None, None),
        ("od_resnet18", 4, None),
        ("od_resnet18", None, 1 / 16),
        ("resnet18", 4, 1 / 16),
        ("resnet18", None, 1 / 16),
        ("resnet18", 4, None),
    ],
)
def test_an_architecture_that_contradicts_itself_is_refused(backbone, kernels, reduction):
    with pytest.raises(ValueError, match=f"backbone='{backbone}'"):
        Architecture(backbone, 8, 10, "small", kernels, reduction)


@pytest.mark.parametrize(
    ("backbone", "layer", "stage", "label"),
    [
        ("od_resnet18", "layer2.0.conv1", "layer2", "0·1"),
        ("od_resnet18", "layer2.0.conv1#2", "layer2", "0·1#2"),
        ("resnet101", "layer3.22.conv3", "layer3", "22·3"),
        ("od_mobilenetv2", "features.3.conv.1.0", "features", "3·1"),
        ("od_mobilenetv2", "features.3.conv.2", "features", "3·2"),
        ("od_mobilenetv2", "features.18.0#3", "features", "18·0#3"),
        ("od_efficientnet_lite0", "stage5.2.expand", "stage5", "2·1"),
        ("od_efficientnet_lite0", "stage6.0.depthwise#2", "stage6", "0·2#2"),
        ("od_efficientnet_lite0", "head", "head", "1"),
    ],
)
def test_a_layer_has_a_stage_and_a_short_label(backbone, layer, stage, label):
    assert architecture(backbone).place(layer) == (stage, label)


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if is_dynamic(name)])
def test_no_two_layers_of_a_network_have_the_same_place(backbone):
    network = architecture(backbone)
    model = network.build().eval()
    with torch.inference_mode(), probe(model) as trace:
        model(torch.zeros(1, 3, 32, 32))
    assert len({network.place(name) for name in trace}) == len(trace) > 10


WITHOUT_A_TEMPORARY_FOLDER = """
import sys, tempfile
def none():
    raise FileNotFoundError("No usable temporary directory found")
tempfile._get_default_tempdir = none
import torch
from odconv import explain, load_checkpoint
from odconv.cost import cost
checkpoint = load_checkpoint(sys.argv[1])
explain(checkpoint.model, torch.zeros(1, 3, 64, 64))
cost(checkpoint.model, 64)
assert "torch._dynamo" not in sys.modules
"""


def test_loading_explaining_and_costs_need_neither_the_compiler_nor_a_temporary_folder():
    path = ROOT / "assets" / "weights" / "od_resnet18_w32_4x_tiny_imagenet.safetensors"
    command = [sys.executable, "-c", WITHOUT_A_TEMPORARY_FOLDER, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
