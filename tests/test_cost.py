"""Costs by formula against published numbers and against PyTorch's own counter."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from odconv import ODConv2d, backbones
from odconv.architecture import SkipInit
from odconv.cost import cost

# Multiply-adds in millions at 224 px (README of OSVAI/ODConv).
PUBLISHED = [
    ("resnet18", {}, 1814),
    ("od_resnet18", {"num_kernels": 1}, 1838),
    ("od_resnet18", {"num_kernels": 4}, 1916),
    ("resnet50", {}, 3858),
    ("od_resnet50", {"num_kernels": 1}, 3916),
    ("od_resnet50", {"num_kernels": 4}, 4080),
    ("resnet101", {}, 7570),
    ("od_resnet101", {"num_kernels": 1}, 7675),
    ("od_resnet101", {"num_kernels": 2}, 7802),
    ("mobilenetv2", {}, 300.8),
    ("od_mobilenetv2", {"num_kernels": 1}, 311.8),
    ("od_mobilenetv2", {"num_kernels": 4}, 327.1),
    ("mobilenetv2", {"width_mult": 0.75}, 209.1),
    ("od_mobilenetv2", {"num_kernels": 1, "width_mult": 0.75}, 217.1),
    ("od_mobilenetv2", {"num_kernels": 4, "width_mult": 0.75}, 226.3),
    ("mobilenetv2", {"width_mult": 0.5}, 97.1),
    ("od_mobilenetv2", {"num_kernels": 1, "width_mult": 0.5}, 101.8),
    ("od_mobilenetv2", {"num_kernels": 4, "width_mult": 0.5}, 106.4),
]


def on_meta(name, **options):
    with torch.device("meta"), SkipInit():
        return getattr(backbones, name)(**options).eval()


@pytest.mark.parametrize(("name", "options", "millions"), PUBLISHED)
def test_multiply_adds_are_the_published_ones_within_one_percent(name, options, millions):
    model = on_meta(name, **options)
    for block in model.modules():
        if hasattr(block, "conv3"):  # the published bottlenecks have their stride on the first convolution
            block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
    total = sum(layer.multiply_adds for layer in cost(model, 224)) / 1e6
    assert total == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenetv2"])
def test_a_static_network_costs_half_of_what_pytorch_counts_as_flops(name):
    model = on_meta(name)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.empty(1, 3, 224, 224, device="meta"))
    assert 2 * sum(layer.multiply_adds for layer in cost(model, 224)) == counter.get_total_flops()


@pytest.mark.parametrize(("side", "products"), [(8, lambda forged, c_out: 4 * forged + forged * 64),
                                                (2, lambda forged, c_out: 4 * forged * 4 + 4 * c_out * 4)])  # fmt: skip
def test_pytorch_counts_two_operations_for_each_product_that_a_form_really_does(side, products):
    layer, x = ODConv2d(8, 12, 3, padding=1).eval(), torch.randn(5, 8, side, side)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        layer(x)
    branch = 16 * (8 + 8 + 12 + 9 + 4)
    assert counter.get_total_flops() == 2 * 5 * (branch + products(8 * 12 * 9, 12))


def test_the_cost_of_one_layer_by_hand():
    forged = 8 * 12 * 9
    by_hand = forged * 6 * 6 + 2 * 4 * forged + forged + 8 * 6 * 6 + 16 * (8 + 8 + 12 + 9 + 4)
    [layer] = cost(torch.nn.Sequential(ODConv2d(3, 8, 1), ODConv2d(8, 12, 3, padding=1)), 6)[1:]
    assert layer.multiply_adds == by_hand


def test_parameters_of_all_layers_and_of_the_batch_norms_between_them_are_all_parameters():
    model = on_meta("od_resnet18")
    between = sum(
        parameter.numel() for name, parameter in model.named_parameters() if "bn" in name and "attention" not in name
    ) + sum(parameter.numel() for name, parameter in model.named_parameters() if "downsample.1" in name)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert sum(layer.parameters for layer in cost(model, 224)) + between == total


def test_counting_leaves_the_model_without_hooks_and_with_its_data():
    model = backbones.od_resnet18(10, width=8, stem="small")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    names = [layer.name for layer in cost(model, 64)]
    assert names[0] == "conv1"
    assert names[-1] == "fc"
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class _Storages(TorchDispatchMode):
    """Takes down the memory of every tensor that anything is done with."""

    def __init__(self):
        super().__init__()
        self.used = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, torch.Tensor):
                self.used.add(tensor.untyped_storage().data_ptr())
        return func(*args, **(kwargs or {}))


def test_counting_does_nothing_with_the_weights_of_a_model():
    model = backbones.od_resnet18(10, width=8, stem="small")
    weights = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    with _Storages() as storages:
        cost(model, 64)
        assert len(storages.used) > 10
        assert not storages.used & weights
        model.fc.weight.sum()
        assert len(storages.used & weights) == 1


def test_the_cost_does_not_depend_on_number_types_nor_on_where_the_weights_are():
    model = backbones.od_resnet18(10, width=8, stem="small")
    expected = cost(model, 64)
    assert cost(model.half(), 64) == cost(model.to("meta"), 64) == expected


def test_a_picture_can_have_any_number_of_channels():
    [layer] = cost(torch.nn.Conv2d(8, 12, 3, padding=1, bias=False), 6, channels=8)
    assert (layer.parameters, layer.multiply_adds) == (8 * 12 * 9, 8 * 12 * 9 * 6 * 6)
