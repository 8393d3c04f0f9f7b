"""The forged kernel is what the layer convolves with, and its steps lead to it."""

import pytest
import torch
import torch.nn.functional as F

from odconv import ODConv2d, Settings, probe
from odconv.attention import Heads
from odconv.forge import forge, forge_steps
from tests import oracle

LAYERS = {
    "all heads": {"in_channels": 6, "out_channels": 8, "kernel_size": 3, "padding": 1},
    "5x5, two groups, stride": {"in_channels": 6, "out_channels": 8, "kernel_size": 5, "stride": 2, "groups": 2},
    "depth-wise": {"in_channels": 6, "out_channels": 6, "kernel_size": 3, "groups": 6},
    "1x1": {"in_channels": 6, "out_channels": 8, "kernel_size": 1},
    "one kernel": {"in_channels": 6, "out_channels": 8, "kernel_size": 3, "num_kernels": 1, "dilation": 2},
    "one kernel, 1x1": {"in_channels": 6, "out_channels": 8, "kernel_size": 1, "num_kernels": 1},
}
SETTINGS = {"as trained": Settings(), "hot, two kernels, no channel": Settings(3.0, kernels=2, ablate=("channel",))}


@pytest.fixture(params=LAYERS)
def made(request, shake):
    """A layer in float64, a picture for it, and what the layer makes of the picture under some settings."""
    layer = shake(ODConv2d(**LAYERS[request.param])).double().eval().requires_grad_(False)
    x = torch.randn(1, 6, 9, 9, dtype=torch.float64)

    def run(settings):
        with probe(layer, settings) as trace:
            y = layer(x)
        attention = Heads(*(None if head is None else head.double() for head in trace[""].attention))
        return y, attention

    return layer, x, run


def where(layer):
    return {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_an_ordinary_convolution_with_the_forged_kernel_is_what_the_layer_computes(made, settings):
    layer, x, run = made
    y, attention = run(settings)
    # The record is float32: what it rounds is all that may differ.
    expected = F.conv2d(x, forge(layer.weight, attention, layer.groups), **where(layer))
    bound = 8 * torch.finfo(torch.float32).eps * F.conv2d(x.abs(), layer.weight.abs().sum(0), **where(layer))
    assert ((y - expected).abs() <= bound).all()


def test_the_forged_kernel_is_the_sum_that_the_equation_says(made):
    layer, _, run = made
    _, attention = run(SETTINGS["hot, two kernels, no channel"])
    present = {name: head for name, head in attention._asdict().items() if head is not None}
    expected = oracle.forged(layer.weight, present, 0, layer.groups)
    torch.testing.assert_close(forge(layer.weight, attention, layer.groups), expected, rtol=1e-12, atol=1e-15)


def test_the_steps_of_every_slice_lead_to_the_forged_kernel(made):
    layer, _, run = made
    _, attention = run(SETTINGS["as trained"])
    whole = forge(layer.weight, attention, layer.groups)
    for filter in range(whole.shape[0]):
        for channel in range(whole.shape[1]):
            steps = forge_steps(layer.weight, attention, filter, channel, layer.groups)
            torch.testing.assert_close(steps.forged, whole[filter, channel], rtol=1e-12, atol=1e-15)
            assert torch.equal(steps.candidates, layer.weight[:, filter, channel])
            assert torch.equal(steps.weighted.sum(0), steps.mixed)
            assert (steps.shares is None) == (attention.kernel is None)
            assert (steps.taps is None) == (attention.spatial is None)
            assert (steps.filter_gate is None) == (attention.filter is None)


def test_several_pictures_have_no_one_kernel(made):
    layer, _, run = made
    _, attention = run(Settings())
    two = Heads(*(None if head is None else torch.cat([head, head]) for head in attention))
    with pytest.raises(ValueError, match="2 pictures"):
        forge(layer.weight, two, layer.groups)
    with pytest.raises(ValueError, match="2 pictures"):
        forge_steps(layer.weight, two, 0, 0, layer.groups)


@pytest.mark.parametrize(("filter", "channel"), [(-1, 0), (8, 0), (0, -1), (0, 6)])
def test_a_filter_or_channel_that_is_not_there_is_named(filter, channel):
    layer = ODConv2d(6, 8, 3)
    attention = Heads(torch.ones(1, 3, 3), torch.ones(1, 6), torch.ones(1, 8), torch.ones(1, 4) / 4)
    with pytest.raises(IndexError, match=r"the layer has (6|8)"):
        forge_steps(layer.weight, attention, filter, channel)
