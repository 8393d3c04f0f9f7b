"""The published networks, row by row, on the meta device: shapes and counts, no memory."""

import functools
import math

import pytest
import torch
from torch import nn

from odconv import ODConv2d, probe
from odconv import backbones as nets
from odconv.architecture import SkipInit

# README of OSVAI/ODConv, ImageNet: millions of parameters, to two decimals
PUBLISHED = {
    "ResNet18": (nets.resnet18, {}, 11.69),
    "ResNet18 +1x": (nets.od_resnet18, {"num_kernels": 1}, 11.94),
    "ResNet18 +4x": (nets.od_resnet18, {"num_kernels": 4}, 44.90),
    "ResNet50": (nets.resnet50, {}, 25.56),
    "ResNet50 +1x": (nets.od_resnet50, {"num_kernels": 1}, 28.64),
    "ResNet50 +4x": (nets.od_resnet50, {"num_kernels": 4}, 90.67),
    "ResNet101": (nets.resnet101, {}, 44.55),
    "ResNet101 +1x": (nets.od_resnet101, {"num_kernels": 1}, 50.82),
    "ResNet101 +2x": (nets.od_resnet101, {"num_kernels": 2}, 90.44),
    "MobileNetV2 1.0": (nets.mobilenetv2, {}, 3.50),
    "MobileNetV2 1.0 +1x": (nets.od_mobilenetv2, {"num_kernels": 1}, 4.94),
    "MobileNetV2 1.0 +4x": (nets.od_mobilenetv2, {"num_kernels": 4}, 11.51),
    "MobileNetV2 0.75": (nets.mobilenetv2, {"width_mult": 0.75}, 2.64),
    "MobileNetV2 0.75 +1x": (nets.od_mobilenetv2, {"width_mult": 0.75, "num_kernels": 1}, 3.51),
    "MobileNetV2 0.75 +4x": (nets.od_mobilenetv2, {"width_mult": 0.75, "num_kernels": 4}, 7.50),
    "MobileNetV2 0.5": (nets.mobilenetv2, {"width_mult": 0.5}, 1.97),
    "MobileNetV2 0.5 +1x": (nets.od_mobilenetv2, {"width_mult": 0.5, "num_kernels": 1}, 2.43),
    "MobileNetV2 0.5 +4x": (nets.od_mobilenetv2, {"width_mult": 0.5, "num_kernels": 4}, 4.44),
}
# The released code itself, to three decimals
RELEASED = {
    "ResNet18 +1x": 11.944,
    "ResNet18 +4x": 44.902,
    "ResNet50 +1x": 28.635,
    "ResNet50 +4x": 90.671,
    "ResNet101 +1x": 50.819,
    "ResNet101 +2x": 90.442,
    "MobileNetV2 1.0 +1x": 4.940,
    "MobileNetV2 1.0 +4x": 11.512,
    "MobileNetV2 0.75 +1x": 3.507,
    "MobileNetV2 0.75 +4x": 7.496,
    "MobileNetV2 0.5 +1x": 2.426,
    "MobileNetV2 0.5 +4x": 4.436,
}
ENTRIES = {
    "ResNet18 +1x": 314,
    "ResNet18 +4x": 346,
    "ResNet50 +1x": 832,
    "ResNet50 +4x": 928,
    "MobileNetV2 1.0 +1x": 824,
    "MobileNetV2 1.0 +4x": 926,
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@functools.cache
def on_meta(maker, **options):
    with torch.device("meta"), SkipInit():
        return maker(**options)


def millions(model):
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6


def dynamic(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, ODConv2d)}


def static(model):
    """Names of the ordinary convolutions, those inside attention branches aside."""
    convolutions = {name for name, module in model.named_modules() if type(module) is nn.Conv2d}
    return {name for name in convolutions if ".attention." not in name}


@pytest.mark.parametrize("row", PUBLISHED)
def test_a_network_has_the_published_number_of_parameters(row):
    maker, options, published = PUBLISHED[row]
    model = on_meta(maker, **options)
    assert f"{millions(model):.2f}" == f"{published:.2f}"
    if row in RELEASED:
        assert f"{millions(model):.3f}" == f"{RELEASED[row]:.3f}"
    if row in ENTRIES:
        assert len(model.state_dict()) == ENTRIES[row]


@pytest.mark.parametrize(
    ("maker", "count"),
    [(nets.od_resnet18, 16), (nets.od_resnet34, 32), (nets.od_resnet50, 48), (nets.od_mobilenetv2, 51)],
)
def test_a_network_is_dynamic_where_the_paper_says(maker, count):
    assert len(dynamic(on_meta(maker))) == count


def test_every_block_convolution_of_a_resnet_is_dynamic_and_the_stem_and_shortcuts_are_not():
    for maker in (nets.od_resnet18, nets.od_resnet34, nets.od_resnet50):
        model = on_meta(maker)
        first = 2 if maker is not nets.od_resnet50 else 1  # a bottleneck widens already in the first stage
        assert static(model) == {"conv1"} | {f"layer{stage}.0.downsample.0" for stage in range(first, 5)}


def test_every_convolution_of_a_mobilenet_but_the_first_is_dynamic():
    model = on_meta(nets.od_mobilenetv2)
    assert static(model) == {"features.0.0"}
    assert "features.18.0" in dynamic(model)
    assert type(model.classifier[1]) is nn.Linear


def test_resnet18_and_34_have_all_four_heads_in_each_layer_and_resnet50_no_spatial_head_on_1x1():
    for maker in (nets.od_resnet18, nets.od_resnet34, nets.od_resnet50):
        for layer in dynamic(on_meta(maker)).values():
            branch = layer.attention
            assert (branch.spatial_fc is None) == (layer.kernel_size == 1)
            assert None not in (branch.channel_fc, branch.filter_fc, branch.kernel_fc)
            assert layer.kernel_size == 3 or maker is nets.od_resnet50


def test_the_parameters_are_named_as_in_the_released_code():
    resnet = on_meta(nets.od_resnet18).state_dict()
    for name, shape in {
        "conv1.weight": (64, 3, 7, 7),
        "layer1.0.conv1.weight": (4, 64, 64, 3, 3),
        "layer1.0.conv1.attention.fc.weight": (16, 64, 1, 1),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer4.1.conv2.attention.kernel_fc.bias": (4,),
        "fc.weight": (1000, 512),
    }.items():
        assert tuple(resnet[name].shape) == shape
    mobilenet = on_meta(nets.od_mobilenetv2).state_dict()
    for name, shape in {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.1.conv.0.0.weight": (4, 32, 1, 3, 3),
        "features.1.conv.1.weight": (4, 16, 32, 1, 1),
        "features.17.conv.2.weight": (4, 320, 960, 1, 1),
        "features.18.0.weight": (4, 1280, 320, 1, 1),
        "classifier.1.weight": (1000, 1280),
    }.items():
        assert tuple(mobilenet[name].shape) == shape


PAIRS = [
    (nets.od_resnet18, nets.resnet18, {"width": 8}),
    (nets.od_resnet34, nets.resnet34, {"width": 8}),
    (nets.od_resnet50, nets.resnet50, {"width": 8, "stem": "small"}),
    (nets.od_resnet101, nets.resnet101, {"width": 8}),
    (nets.od_mobilenetv2, nets.mobilenetv2, {"width_mult": 0.5}),
]


@pytest.mark.parametrize(("maker", "twin", "options"), PAIRS)
def test_the_static_twin_is_the_same_network_with_ordinary_convolutions(maker, twin, options):
    model, plain = on_meta(maker, num_kernels=3, **options), on_meta(twin, **options)
    assert not dynamic(plain)
    for name, layer in dynamic(model).items():
        conv = plain.get_submodule(name)
        assert type(conv) is nn.Conv2d
        assert conv.bias is None
        assert (conv.stride, conv.padding, conv.groups) == (layer.stride, layer.padding, layer.groups)
        assert layer.weight.shape == (3, *conv.weight.shape)
    kept = {name: t.shape for name, t in model.state_dict().items() if ".attention." not in name}
    assert kept.keys() == plain.state_dict().keys()


@pytest.mark.parametrize(
    ("stem", "size", "first"), [("imagenet", 224, 56), ("imagenet", 64, 16), ("small", 64, 32), ("small", 32, 16)]
)
def test_the_stem_halves_once_or_twice_and_each_later_stage_once(stem, size, first):
    model = nets.od_resnet18(3, width=2, stem=stem, num_kernels=1).eval()
    with torch.no_grad(), probe(model) as trace:
        assert model(torch.randn(1, 3, size, size)).shape == (1, 3)
    sides = [trace[f"layer{stage}.1.conv1"].input_shape[2:] for stage in (1, 2, 3, 4)]
    assert sides == [(math.ceil(first / 2**i),) * 2 for i in range(4)]


def test_a_bottleneck_has_its_stride_on_the_3x3_convolution():
    block = on_meta(nets.od_resnet50).layer2[0]
    assert (block.conv1.stride, block.conv2.stride, block.conv3.stride) == ((1, 1), (2, 2), (1, 1))


def test_mobilenet_channels_are_the_published_ones():
    """Sandler et al., 2018, table 2, and the widths that the family's rounding makes of it."""
    for width_mult, stem, stages, last in [
        (1.0, 32, [16, 24, 32, 64, 96, 160, 320], 1280),
        (0.75, 24, [16, 24, 24, 48, 72, 120, 240], 1280),
        (0.5, 16, [8, 16, 16, 32, 48, 80, 160], 1280),
        (1.4, 48, [24, 32, 48, 88, 136, 224, 448], 1792),
    ]:
        features = on_meta(nets.mobilenetv2, width_mult=width_mult).features
        assert features[0][0].out_channels == stem
        assert [features[i].conv[-2].out_channels for i in (1, 2, 4, 7, 11, 14, 17)] == stages
        assert features[18][0].out_channels == last


def test_a_mobilenet_adds_its_shortcut_only_where_shapes_allow():
    features = on_meta(nets.od_mobilenetv2).features
    assert [i for i in range(1, 18) if features[i].residual] == [3, 5, 6, 8, 9, 10, 12, 13, 15, 16]


def test_a_whole_network_trains_on_one_picture():
    model = nets.od_resnet18(3, width=4, stem="small").train()
    loss = model(torch.randn(1, 3, 32, 32)).square().sum()
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_new_network_is_initialised_as_the_released_code_does():
    torch.manual_seed(0)
    model = nets.od_resnet18(100, width=16)
    assert model.fc.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not model.fc.bias.any()
    assert model.conv1.weight.std().item() == pytest.approx((2 / (16 * 49)) ** 0.5, rel=0.05)


@pytest.mark.parametrize("maker", [nets.od_resnet18, nets.resnet50])
def test_an_unknown_stem_is_refused(maker):
    with pytest.raises(ValueError, match=r"stem='big'.*imagenet.*small"):
        maker(10, width=8, stem="big")
