"""Maps for a detector: against hooks on all that a whole network computes."""

from copy import deepcopy
from functools import cache

import pytest
import torch
from torch import nn

from odconv import ODConv2d, Settings, convert, probe
from odconv import backbones as nets
from odconv.architecture import SkipInit
from odconv.backbones import Features

MAPS = ("c2", "c3", "c4", "c5")
NARROW = {
    "od_resnet18": lambda: nets.od_resnet18(5, width=8, num_kernels=2),
    "od_resnet50": lambda: nets.od_resnet50(5, width=8, num_kernels=1),
    "resnet34": lambda: nets.resnet34(5, width=8),
    "od_mobilenetv2": lambda: nets.od_mobilenetv2(5, num_kernels=2, width_mult=0.35),
    "mobilenetv2": lambda: nets.mobilenetv2(5, width_mult=0.35),
    "od_efficientnet_lite0": lambda: nets.od_efficientnet_lite0(5, num_kernels=2, width_mult=0.25),
    "efficientnet_lite0": lambda: nets.efficientnet_lite0(5, width_mult=0.25),
}
each = pytest.mark.parametrize("name", NARROW)


@cache
def made(name):
    torch.manual_seed(0)
    model = NARROW[name]().double()
    with torch.no_grad():
        model(torch.randn(8, 3, 64, 64, dtype=torch.float64))
    return model.eval()


def make(name):
    """In eval mode, with BatchNorm that has seen something, in double precision; a copy for each test."""
    return deepcopy(made(name))


def pictures(side=64, count=2):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


BLOCKS = ("BasicBlock", "Bottleneck", "InvertedResidual", "LiteBlock")
LAST = ("features.18", "head_bn")  # what follows the blocks


def last_of_each_size(model, x):
    """Side -> what the last block of that side puts out in the whole network, by hooks; and the logits."""
    found = {}
    hooks = [
        part.register_forward_hook(lambda _, inputs, output: found.update({output.shape[-1]: output.clone()}))
        for name, part in model.named_modules()
        if type(part).__name__ in BLOCKS or name in LAST
    ]
    with torch.no_grad():
        logits = model(x)
    for hook in hooks:
        hook.remove()
    return found, logits


@each
def test_the_maps_are_the_last_of_each_size_that_the_whole_network_computes(name):
    model, x = make(name), pictures()
    found, logits = last_of_each_size(model, x)
    with torch.no_grad():
        maps = Features(model)(x)
        pooled = maps["c5"].mean((2, 3))
        head = model.fc if hasattr(model, "fc") else model.classifier
        torch.testing.assert_close(head(pooled), logits, rtol=1e-12, atol=1e-12)
    assert tuple(maps) == MAPS
    for map, side in zip(maps.values(), (16, 8, 4, 2), strict=True):
        expected = found[side]
        if name.endswith("lite0") and side == 2:
            expected = expected.clamp(0, 6)  # the head's activation is no module
        torch.testing.assert_close(map, expected, rtol=0, atol=0)


@each
def test_the_channels_are_those_of_the_maps(name):
    model = make(name)
    features = Features(model)
    with torch.no_grad():
        assert {key: map.shape[1] for key, map in features(pictures()).items()} == features.channels


@pytest.mark.parametrize(
    ("maker", "channels"),
    [
        (nets.od_resnet18, (64, 128, 256, 512)),
        (nets.od_resnet50, (256, 512, 1024, 2048)),
        (nets.od_mobilenetv2, (24, 32, 96, 1280)),  # as in the authors' configurations of detectors
        (nets.od_efficientnet_lite0, (24, 40, 112, 1280)),
    ],
)
def test_a_picture_of_224_px_makes_maps_of_56_28_14_and_7(maker, channels):
    with torch.device("meta"), SkipInit():
        maps = Features(maker(num_kernels=1).eval())(torch.empty(1, 3, 224, 224))
    assert [tuple(map.shape) for map in maps.values()] == [
        (1, count, side, side) for count, side in zip(channels, (56, 28, 14, 7), strict=True)
    ]


def test_the_small_stem_halves_once_and_odd_sides_are_rounded_up():
    with torch.no_grad():
        small = Features(nets.od_resnet18(5, width=8, num_kernels=1, stem="small").eval())(torch.randn(1, 3, 64, 64))
        odd = Features(nets.od_mobilenetv2(5, num_kernels=1, width_mult=0.35).eval())(torch.randn(1, 3, 65, 97))
    assert [map.shape[-1] for map in small.values()] == [32, 16, 8, 4]
    assert [tuple(map.shape[2:]) for map in odd.values()] == [(17, 25), (9, 13), (5, 7), (3, 4)]


def test_attention_works_inside_and_takes_settings_and_tells_pictures_apart():
    model, x = make("od_resnet18"), pictures()
    features = Features(model)
    with torch.no_grad(), probe(features.backbone, Settings(temperature=3.0)) as trace:
        maps = features(x)
    with torch.no_grad(), probe(model, Settings(temperature=3.0)) as whole:
        model(x)
    assert list(trace) == list(whole) != []
    for layer in trace:
        for ours, theirs in zip(trace[layer].attention, whole[layer].attention, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    channel = trace["layer4.1.conv2"].attention.channel
    assert not torch.equal(channel[0], channel[1])
    with torch.no_grad():
        assert not torch.equal(features(x)["c5"], maps["c5"])


@each
def test_the_backbone_stays_as_it_is_and_shares_its_layers(name):
    model = make(name)
    before, children = {key: tensor.clone() for key, tensor in model.state_dict().items()}, dict(model.named_children())
    features = Features(model)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(tensor, before[key]) for key, tensor in after.items())
    assert dict(model.named_children()) == children
    own = features.backbone.state_dict()
    assert own.keys() == {key for key in before if not key.startswith(("fc.", "classifier."))}
    with torch.no_grad():
        next(iter(model.parameters())).add_(1)
    assert all(own[key].data_ptr() == after[key].data_ptr() for key in own)


@each
def test_every_parameter_of_the_features_gets_a_gradient(name):
    features = Features(make(name)).train()
    maps = features(pictures())
    sum(map.square().mean() for map in maps.values()).backward()
    assert [key for key, parameter in features.named_parameters() if parameter.grad is None] == []


def test_a_converted_backbone_has_the_maps_of_the_one_before():
    static = make("mobilenetv2")
    model = convert(static, num_kernels=2, example=pictures()).model.eval()
    assert any(isinstance(part, ODConv2d) for part in model.modules())
    with torch.no_grad():
        torch.testing.assert_close(Features(model)(pictures()), Features(static)(pictures()), rtol=1e-5, atol=1e-5)


def test_another_network_is_refused_by_its_name():
    with pytest.raises(TypeError, match="Sequential given; a ResNet, MobileNetV2 or EfficientNetLite"):
        Features(nn.Sequential())
