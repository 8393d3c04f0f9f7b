"""A converted network is the given one: the same numbers, a new kind of layer, and a report that says what was done."""

import copy

import pytest
import torch
from torch import nn

from odconv import HEADS, ODConv2d, convert, probe
from odconv.convert import ConvertedConv2d
from tests import oracle

# --- networks as others write them, in the names of torchvision and timm ------------------------------------------------


class BasicBlock(nn.Module):
    """torchvision.models.resnet.BasicBlock."""

    def __init__(self, c_in, c_out, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.downsample = None
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + identity)


class ResNet(nn.Module):
    """torchvision.models.ResNet, three blocks of it."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(BasicBlock(8, 8))
        self.layer2 = nn.Sequential(BasicBlock(8, 12, 2), BasicBlock(12, 12))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(12, 5)

    def forward(self, x):
        x = self.layer2(self.layer1(self.maxpool(self.bn1(self.conv1(x)).relu_())))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class SqueezeExcite(nn.Module):
    """timm.layers.SqueezeExcite."""

    def __init__(self, channels):
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, 4, 1)
        self.conv_expand = nn.Conv2d(4, channels, 1)

    def forward(self, x):
        gate = self.conv_expand(self.conv_reduce(x.mean((2, 3), keepdim=True)).relu_())
        return x * nn.functional.hardsigmoid(gate)


class InvertedResidual(nn.Module):
    """timm.models._efficientnet_blocks.InvertedResidual, of MobileNetV3 and EfficientNet."""

    def __init__(self, c_in, c_out, k, stride):
        super().__init__()
        self.conv_pw = nn.Conv2d(c_in, 3 * c_in, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(3 * c_in)
        self.conv_dw = nn.Conv2d(3 * c_in, 3 * c_in, k, stride, k // 2, groups=3 * c_in, bias=False)
        self.bn2 = nn.BatchNorm2d(3 * c_in)
        self.se = SqueezeExcite(3 * c_in)
        self.conv_pwl = nn.Conv2d(3 * c_in, c_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x):
        y = nn.functional.silu(self.bn1(self.conv_pw(x)))
        y = self.se(nn.functional.silu(self.bn2(self.conv_dw(y))))
        y = self.bn3(self.conv_pwl(y))
        return x + y if self.residual else y


class EfficientNet(nn.Module):
    """timm.models.EfficientNet: two blocks, and a head of a 1x1 convolution on pooled numbers, as in MobileNetV3."""

    def __init__(self):
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.blocks = nn.Sequential(InvertedResidual(8, 8, 3, 1), InvertedResidual(8, 12, 5, 2))
        self.conv_head = nn.Conv2d(12, 16, 1)
        self.classifier = nn.Linear(16, 5)

    def forward(self, x):
        x = self.blocks(nn.functional.silu(self.bn1(self.conv_stem(x))))
        return self.classifier(self.conv_head(x.mean((2, 3), keepdim=True)).flatten(1))


def sequential():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding="same"),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, 2, dilation=2, groups=2),
        nn.ReLU(),
        nn.ZeroPad2d((0, 1, 0, 1)),
        nn.Conv2d(6, 6, 3, 2, groups=6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    )


NETS = {"ResNet": ResNet, "EfficientNet": EfficientNet, "Sequential": sequential}
nets = pytest.mark.parametrize("net", NETS.values(), ids=NETS)


@pytest.fixture
def make(shake):
    return lambda net: shake(net()).double().eval()


@pytest.fixture
def pictures():
    return torch.randn(2, 3, 40, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def assert_same(one, other):
    torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


# --- the same function --------------------------------------------------------------------------------------------------


@nets
@pytest.mark.parametrize("num_kernels", [1, 3, 4])
def test_the_outputs_are_those_of_the_given_network(make, pictures, net, num_kernels):
    given = make(net)
    model, report = convert(given, num_kernels, example=pictures)
    with torch.no_grad():
        assert_same(model(pictures), given(pictures))
        assert report.scale == given(pictures).abs().max()
        assert report.max_difference == (model(pictures) - given(pictures)).abs().max()
    assert any(isinstance(module, ODConv2d) for module in model.modules())


@nets
def test_the_given_network_is_left_as_it_was(make, pictures, net):
    given = make(net).train()
    before = copy.deepcopy(given.state_dict())
    printed, random = repr(given), torch.get_rng_state()
    convert(given, example=pictures)
    assert repr(given) == printed
    assert all(module.training for module in given.modules())
    assert not any(module._forward_hooks for module in given.modules())
    for name, tensor in given.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert torch.equal(torch.get_rng_state(), random)


CONVS = {
    "3x3": dict(kernel_size=3),
    "bias": dict(kernel_size=3, padding=1, bias=True),
    "1x1": dict(kernel_size=1, bias=True),
    "stride, padding and dilation of their own": dict(kernel_size=3, stride=(1, 2), padding=(2, 1), dilation=(2, 1)),
    "groups": dict(kernel_size=3, groups=2),
    "depth-wise": dict(kernel_size=5, groups=4, padding=2, out_channels=4),
    "depth-wise with multiplier": dict(kernel_size=3, groups=4, out_channels=8),
    "padding same": dict(kernel_size=3, padding="same", dilation=2),
    "padding same, uneven": dict(kernel_size=4, padding="same", dilation=(1, 3)),
    "padding valid": dict(kernel_size=2, padding="valid"),
    "reflect": dict(kernel_size=3, padding=(2, 1), padding_mode="reflect"),
    "circular, uneven": dict(kernel_size=4, padding="same", padding_mode="circular", bias=True),
}


@pytest.mark.parametrize("options", CONVS.values(), ids=CONVS)
def test_every_kind_of_square_convolution_has_its_dynamic_counterpart(options):
    conv = nn.Conv2d(**{"in_channels": 4, "out_channels": 6, "bias": False, **options}).double()
    x = torch.randn(3, 4, 9, 11, dtype=torch.float64)
    layer, report = convert(conv, where=[""], example=x)
    assert isinstance(layer, ODConv2d)
    assert not report.skipped
    with torch.no_grad():
        assert_same(layer(x), conv(x))


@pytest.mark.parametrize("options", CONVS.values(), ids=CONVS)
def test_its_kernels_are_the_given_one_their_mean_times_the_gates_and_differ_by_little(options):
    conv = nn.Conv2d(**{"in_channels": 4, "out_channels": 6, **options}).double()
    x = torch.randn(3, 4, 9, 11, dtype=torch.float64)
    layer = convert(conv, num_kernels=3, where=[""], example=x).model
    state = layer.state_dict()
    heads = oracle.attentions(oracle.logits(state, x))
    assert all((values == 0.5).all() for head, values in heads.items() if head != "kernel")
    gates = 0.5 ** (len(heads) - 1)
    assert_same(torch.einsum("k,kocuv->ocuv", heads["kernel"][0], state["weight"]) * gates, conv.weight.detach())
    apart = (state["weight"] * gates - conv.weight.detach()).square().mean().sqrt() / conv.weight.square().mean().sqrt()
    assert 0.05 < apart.item() < 0.1 * 1.2


def test_with_its_attention_moved_a_layer_with_bias_and_uneven_padding_is_the_equation(shake):
    conv = nn.Conv2d(4, 6, 4, padding="same").double()
    x = torch.randn(3, 4, 7, 8, dtype=torch.float64)
    layer = shake(convert(conv, where=[""], example=x).model)
    assert isinstance(layer, ConvertedConv2d)
    padded = torch.zeros(3, 4, 10, 11, dtype=torch.float64)
    padded[:, :, 1:-2, 1:-2] = x
    state = layer.state_dict()
    with torch.no_grad():
        assert_same(layer(x), oracle.layer(state, padded) + state["bias"][:, None, None])


def test_a_probe_sees_gates_of_a_half_and_equal_shares_in_every_layer(make, pictures):
    model, report = convert(make(EfficientNet), example=pictures)
    with torch.no_grad(), probe(model) as trace:
        model(pictures)
    assert list(trace) == [layer.name for layer in report.layers]
    for layer in report.layers:
        attention = trace[layer.name].attention
        assert layer.heads == tuple(head for head in HEADS if getattr(attention, head) is not None)
        for head in layer.heads:
            assert (getattr(attention, head) == (0.25 if head == "kernel" else 0.5)).all()


# --- which layers -------------------------------------------------------------------------------------------------------


def reasons(report):
    return {layer.name: layer.reason for layer in report.skipped}


def test_the_stem_the_shortcuts_and_linear_maps_of_pooled_numbers_are_left_as_they_are(make, pictures):
    report = convert(make(ResNet), example=pictures).report
    assert reasons(report) == {
        "conv1": "the stem: the convolution that is called first",
        "layer2.0.downsample.0": "a 1x1 shortcut",
    }
    report = convert(make(EfficientNet), example=pictures).report
    squeeze = [f"blocks.{i}.se.conv_{part}" for i in (0, 1) for part in ("reduce", "expand")]
    assert reasons(report) == {
        "conv_stem": "the stem: the convolution that is called first",
        **dict.fromkeys([*squeeze, "conv_head"], "a linear map of pooled numbers"),
    }


def test_which_layers_can_be_said_by_name_or_by_a_rule(make, pictures):
    given = make(ResNet)
    named = convert(given, where=["conv1", "layer1.0.conv2"], example=pictures).report
    assert [layer.name for layer in named.layers] == ["conv1", "layer1.0.conv2"]
    assert set(reasons(named).values()) == {"left out by `where`"}
    ruled = convert(given, where=lambda name, conv: conv.kernel_size == (1, 1), example=pictures).report
    assert [layer.name for layer in ruled.layers] == ["layer2.0.downsample.0"]
