"""A converted network is the given one: the same numbers, a new kind of layer, and a report that says what was done."""

import copy
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from odconv import HEADS, ODConv2d, Settings, apply_settings, convert, probe
from odconv.convert import ConvertedConv2d
from odconv.cost import cost
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


class DenseNet(nn.Module):
    """torchvision.models.DenseNet: BatchNorm first, and every layer takes what all before it made."""

    def __init__(self):
        super().__init__()
        self.conv0 = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(8 + 4 * i), nn.ReLU(), nn.Conv2d(8 + 4 * i, 6, 1, bias=False),
                nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1, bias=False),
            )
            for i in range(3)
        )  # fmt: skip
        self.classifier = nn.Linear(20, 5)

    def forward(self, x):
        features = [self.conv0(x)]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return self.classifier(torch.cat(features, 1).relu().mean((2, 3)))


class Inception(nn.Module):
    """torchvision.models.Inception3: parallel branches, some with kernels that are not square, and a second head."""

    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3 = nn.Conv2d(3, 8, 3, 2)
        self.branch1x1 = nn.Conv2d(8, 4, 1)
        self.branch7x7 = nn.Sequential(nn.Conv2d(8, 6, (1, 7), padding=(0, 3)), nn.Conv2d(6, 4, (7, 1), padding=(3, 0)))
        self.branch_pool = nn.Conv2d(8, 4, 1)
        self.aux, self.fc = nn.Linear(8, 5), nn.Linear(12, 5)

    def forward(self, x):
        x = self.Conv2d_1a_3x3(x).relu()
        pooled = self.branch_pool(nn.functional.avg_pool2d(x, 3, 1, 1))
        branches = torch.cat([self.branch1x1(x), self.branch7x7(x), pooled], 1)
        return {"out": self.fc(branches.relu().mean((2, 3))), "aux": self.aux(x.mean((2, 3)))}


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


NETS = {
    "ResNet": ResNet,
    "EfficientNet": EfficientNet,
    "DenseNet": DenseNet,
    "Inception": Inception,
    "Sequential": sequential,
}
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
        ours, theirs = (some(pictures) for some in (model, given))
    assert_same(ours, theirs)
    if torch.is_tensor(ours):
        assert report.scale == theirs.abs().max()
        assert report.max_difference == (ours - theirs).abs().max()
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


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
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
    report = convert(make(Inception), example=pictures).report
    assert reasons(report) == {
        "Conv2d_1a_3x3": "the stem: the convolution that is called first",
        **dict.fromkeys(["branch7x7.0", "branch7x7.1"], "its kernel is not square"),
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


def test_names_that_are_no_convolutions_are_refused_and_named(make, pictures):
    given = make(ResNet)
    for where in (["layer9.conv1", "conv1"], ["bn1"], "conv1"):
        with pytest.raises(ValueError, match=r"where=.*(layer9.conv1|bn1|conv1).*in a list"):
            convert(given, where=where, example=pictures)


class Standardised(nn.Conv2d):
    """As timm's StdConv2d, and its Conv2dSame: a subclass with a way of its own."""

    def forward(self, x):
        return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)


def hooked(conv):
    conv.register_forward_hook(lambda module, inputs, output: 2 * output)
    return conv


def complex_sum(x, conv):
    return conv(x.to(torch.complex128)).real


def with_weight(x, conv):
    return nn.functional.conv2d(x, conv.weight)


def by_picture(x, conv):
    return torch.stack([conv(picture) for picture in x])


STATIC = {  # what it is, how it is called, why it stays
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 3), None, "ConvTranspose2d: only nn.Conv2d"),
    "1 dimension": (lambda: nn.Conv1d(3, 4, 3), lambda x, conv: conv(x.flatten(2)), "Conv1d: only nn.Conv2d"),
    "3 dimensions": (lambda: nn.Conv3d(3, 4, 1), lambda x, conv: conv(x[:, :, None]), "Conv3d: only nn.Conv2d"),
    "a subclass": (lambda: Standardised(3, 4, 3), None, "Standardised computes something of its own"),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), None, "parametrized"),
    "spectral norm": (lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)), None, "parametrized"),
    "a hook": (lambda: hooked(nn.Conv2d(3, 4, 3)), None, "it has hooks"),
    "complex": (lambda: nn.Conv2d(3, 4, 3, dtype=torch.complex128), complex_sum, "its weight is torch.complex128"),
    "not square": (lambda: nn.Conv2d(3, 4, (1, 7)), None, "its kernel is not square"),
    "only its weight": (lambda: nn.Conv2d(3, 4, 3), with_weight, "not called with an input"),
    "by keyword": (lambda: nn.Conv2d(3, 4, 3), lambda x, conv: conv(input=x), "not called with an input"),
    "without a batch": (lambda: nn.Conv2d(3, 4, 3), by_picture, r"its input is of shape \(3, 40, 48\)"),
}


class Calling(nn.Module):
    """A network that calls its convolution in a given way, after an ordinary one."""

    def __init__(self, conv, call):
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 3)
        self.conv = conv
        self.call = call or (lambda x, conv: conv(x))

    def forward(self, x):
        return self.stem(x), {"other": self.call(x, self.conv)}


@pytest.mark.parametrize(("build", "call", "why"), STATIC.values(), ids=STATIC)
def test_what_has_no_dynamic_counterpart_stays_and_the_report_says_why(pictures, build, call, why):
    given = Calling(build(), call)
    given = given if why.endswith("complex128") else given.double()
    given.stem.double()
    model, report = convert(given, where=["stem", "conv"], example=pictures)
    assert [layer.name for layer in report.layers] == ["stem"]
    ((name, reason),) = reasons(report).items()
    assert name == "conv"
    assert re.search(why, reason)
    assert type(model.conv) is type(given.conv)
    with torch.no_grad():
        assert_same(model.eval()(pictures)[1]["other"], given.eval()(pictures)[1]["other"])


def test_a_shared_weight_is_named_and_a_shared_module_stays_shared(pictures):
    given = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)).double()
    given[1].weight = given[0].weight
    given.append(given[2])
    model, report = convert(given, where=lambda name, conv: True, example=pictures)
    assert reasons(report) == dict.fromkeys(["0", "1"], "its weight is shared: 0, 1")
    assert isinstance(model[2], ODConv2d)
    assert model[3] is model[2]
    assert report.layers[0].multiply_adds[0] == 2 * 9 * 40 * 48  # two calls
    with torch.no_grad():
        assert_same(model(pictures), given(pictures))


def test_a_use_besides_calling_is_found_out(pictures):
    with pytest.raises(ValueError, match="does not run: something uses the convolutions besides calling them"):
        convert(Calling(nn.Conv2d(3, 4, 3), lambda x, conv: conv(x) + with_weight(x, conv)), where=["conv"])
    penalised = Calling(nn.Conv2d(3, 4, 3), lambda x, conv: conv(x) + conv.weight.square().sum()).double()
    with pytest.raises(ValueError, match=r"outputs change by up to .*: something uses the convolutions besides"):
        convert(penalised, where=["conv"], example=pictures)
    assert convert(penalised, where=["stem"], example=pictures).report.max_difference < 1e-12


class Careless(nn.Module):
    """A network that writes into its input, draws numbers in eval mode and returns some that are none."""

    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))

    def forward(self, x):
        y = nn.functional.dropout(self.convs(x.mul_(0.5)), training=True)
        return y, y.sign() / 0


def test_a_network_that_is_careless_with_its_input_and_draws_numbers_is_compared_with_itself(pictures):
    before = pictures.clone()
    report = convert(Careless().double(), example=pictures).report
    assert torch.equal(pictures, before)
    assert 0 < report.max_difference < 1e-12 < report.scale < 100


def test_an_odconv_network_is_left_as_it_is(small_model, images):
    model, report = convert(small_model, where=lambda name, conv: True, example=images)
    stem_and_shortcuts = {name for name, module in small_model.named_modules() if type(module) is nn.Conv2d}
    stem_and_shortcuts = {name for name in stem_and_shortcuts if "attention" not in name}
    assert {layer.name for layer in report.layers} == stem_and_shortcuts
    with torch.no_grad():
        torch.testing.assert_close(model(images), small_model(images))


# --- arguments ----------------------------------------------------------------------------------------------------------


def test_networks_that_cannot_be_converted_are_refused_in_one_sentence(pictures):
    with pytest.raises(ValueError, match="run it once, then convert it"):
        convert(nn.Sequential(nn.LazyConv2d(4, 3)))
    with pytest.warns(FutureWarning), pytest.raises(ValueError, match="the network cannot be copied"):
        convert(nn.utils.weight_norm(nn.Conv2d(3, 4, 3)))
    with pytest.raises(ValueError, match=r"does not take random numbers of shape \(1, 3, 224, 224\): give an example"):
        convert(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(7, 5)))
    for noise in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="noise="):
            convert(nn.Conv2d(3, 4, 3), noise=noise)
    with pytest.raises(ValueError, match="num_kernels=0"):
        convert(nn.Conv2d(3, 4, 3), 0, where=[""])


def test_without_an_example_a_picture_of_as_many_channels_as_the_stem_takes_is_drawn():
    report = convert(nn.Sequential(nn.Conv2d(1, 2, 3, 32), nn.Conv2d(2, 2, 3))).report
    assert report.example == "(1, 1, 224, 224)"
    assert [layer.name for layer in report.layers] == ["1"]


def test_an_example_can_be_of_several_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Conv2d(3, 4, 3), nn.Conv2d(2, 4, 3)

        def forward(self, x, y, sign):
            return self.one(x) + sign * self.other(y)

    report = convert(Two(), example=(torch.randn(1, 3, 8, 8), torch.randn(1, 2, 8, 8), -1)).report
    assert report.example == "(1, 3, 8, 8), (1, 2, 8, 8)"
    assert [layer.name for layer in report.layers] == ["other"]


def test_the_same_seed_gives_the_same_network_and_no_noise_gives_equal_kernels(make, pictures):
    given = make(ResNet)
    one, same, other = (convert(given, seed=seed, example=pictures).model.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(tensor, same[name]) for name, tensor in one.items())
    assert not torch.equal(one["layer1.0.conv1.weight"], other["layer1.0.conv1.weight"])
    weight = convert(given, noise=0, example=pictures).model.layer1[0].conv1.weight
    assert all(torch.equal(kernel, 8 * given.layer1[0].conv1.weight) for kernel in weight)


def test_mode_number_type_and_frozen_weights_are_those_of_the_given_network():
    given = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)).bfloat16()
    given[1].eval()
    given[2].requires_grad_(False)
    model = convert(given, where=["1", "2"], example=torch.randn(1, 3, 9, 9).bfloat16()).model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert [layer.training for layer in model] == [True, False, True]
    assert not any(module.training for module in model[1].modules())
    assert all(module.training for module in model[2].modules())
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"2.weight", "2.bias"}


# --- the report ---------------------------------------------------------------------------------------------------------


def test_the_report_counts_what_the_cost_of_both_networks_says(make):
    given = make(EfficientNet).float()
    model, report = convert(given, example=torch.randn(1, 3, 64, 64))
    before, after = ({layer.name: layer for layer in cost(some, 64)} for some in (given, model))
    for layer in report.layers:
        assert layer.parameters == (before[layer.name].parameters, after[layer.name].parameters)
        assert layer.multiply_adds == (before[layer.name].multiply_adds, after[layer.name].multiply_adds)
    assert report.multiply_adds == tuple(sum(c.multiply_adds for c in costs.values()) for costs in (before, after))
    assert report.parameters == tuple(sum(p.numel() for p in some.parameters()) for some in (given, model))


def test_printed_it_is_a_table_with_a_line_for_every_convolution(make, pictures):
    report = convert(make(EfficientNet), num_kernels=2, example=pictures).report
    first, second, *lines = str(report).splitlines()
    assert first == "6 of 12 convolutions are dynamic, K = 2"
    assert second.endswith("input (2, 3, 40, 48)")
    cells = [line.split("  ") for line in lines]
    rows = {row[0]: [cell.strip() for cell in row[1:] if cell.strip()] for row in cells}
    branch = 16 * 24 + 2 * 16 + 16 * (9 + 24 + 2) + 9 + 24 + 2  # squeeze, BatchNorm, three heads and their biases
    parameters = f"{24 * 9} -> {2 * 24 * 9 + branch:,}"
    assert rows["blocks.0.conv_dw"][:-1] == ["3x3 depth-wise", "spatial channel kernel", parameters]
    assert rows["blocks.0.conv_dw"][-1].startswith(f"{24 * 9 * 20 * 24 / 1e6:.2f} M -> ")
    assert rows["blocks.1.se.conv_expand"] == ["1x1", "a linear map of pooled numbers"]
    assert len(lines) == 1 + 6 + 1 + 1 + 6  # head, dynamic ones, total, heading, the others


# --- what is done with networks -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def converted():
    """In eval mode. Shared, so no test may change it."""
    torch.manual_seed(0)
    return convert(EfficientNet().eval(), example=torch.randn(2, 3, 32, 32)).model


def test_its_weights_go_into_another_conversion_of_the_same_network(converted):
    other = convert(EfficientNet().eval(), example=torch.randn(2, 3, 32, 32), seed=1).model
    other.load_state_dict(converted.state_dict())
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(other(x), converted(x))


@pytest.fixture(scope="module")
def small(converted):
    """A part of it that is soon compiled: 1x1 convolution, BatchNorm, depth-wise one. Shared, so no test may change it."""
    block = converted.blocks[0]
    return nn.Sequential(block.conv_pw, block.bn1, block.conv_dw)


def test_it_can_be_exported_for_any_number_of_pictures(small):
    sizes = ({0: torch.export.Dim("pictures", min=2, max=16)},)
    exported = torch.export.export(small, (torch.randn(2, 8, 16, 16),), dynamic_shapes=sizes).module()
    x = torch.randn(5, 8, 16, 16)
    torch.testing.assert_close(exported(x), small(x))


def test_it_compiles_into_one_graph(small):
    x = torch.randn(2, 8, 16, 16)
    with torch.no_grad():
        compiled = torch.compile(small, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), small(x))
    torch._dynamo.reset()


def test_compiled_it_still_follows_settings_and_is_recorded(converted):
    layer = copy.deepcopy(converted.blocks[0].conv_pw)
    nn.init.normal_(layer.attention.channel_fc.weight)
    compiled, x = torch.compile(layer, backend="eager"), torch.randn(2, 8, 9, 9)
    with torch.no_grad():
        plain = layer(x)
        with apply_settings(Settings(temperature=9.0)):
            tempered = layer(x)
        torch.testing.assert_close(compiled(x), plain)
        with probe(compiled, Settings(temperature=9.0)) as trace:
            torch.testing.assert_close(compiled(x), tempered)
        assert len(trace) == 1
        torch.testing.assert_close(compiled(x), plain)
    assert not torch.allclose(plain, tempered)
    torch._dynamo.reset()


def test_under_autocast_it_is_close_to_the_given_network_and_of_the_same_number_type():
    given, x = EfficientNet().eval(), torch.randn(2, 3, 32, 32)
    model = convert(given, example=x).model
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        ours, theirs = model(x), given(x)
    assert ours.dtype == theirs.dtype
    assert (ours - theirs).abs().max() <= 0.1 * theirs.abs().max()  # bfloat16 has 8 bits


def test_every_parameter_gets_a_gradient_and_a_trained_head_moves(converted, tmp_path):
    """``DistributedDataParallel`` raises at the second step where a parameter has none at the first."""
    model = copy.deepcopy(converted).train()
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        parallel = nn.parallel.DistributedDataParallel(model, find_unused_parameters=False)
        sgd = torch.optim.SGD(parallel.parameters(), lr=0.1)
        for _ in range(2):
            sgd.zero_grad()
            parallel(torch.randn(4, 3, 32, 32)).square().sum().backward()
            assert all(parameter.grad is not None for parameter in model.parameters())
            sgd.step()
    finally:
        torch.distributed.destroy_process_group()
    for layer in (module for module in model.modules() if isinstance(module, ODConv2d)):
        assert layer.attention.channel_fc.weight.any()
        assert layer.attention.kernel_fc.weight.any()


def test_the_lines_of_the_readme_run(capsys):
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Plug it into your own network")[2].partition("\n## ")[0]
    (lines,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names = {}
    exec(lines, names)
    assert "51 of 52 convolutions are dynamic" in capsys.readouterr().out
    for branch in (part for name, part in names["model"].named_modules() if name.endswith(".attention")):
        assert branch.channel_fc.weight.any()
