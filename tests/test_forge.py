"""The forged kernel is what the layer convolves with, and its steps lead to it."""

import pytest
import torch
import torch.nn.functional as F

from odconv import ODConv2d, Settings, probe
from odconv.attention import Heads
from odconv.forge import contribution_maps, convolve_in_released_order, forge, forge_steps, meet, squeeze_steps
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


def where(layer, *also):
    return {name: getattr(layer, name) for name in ("stride", "padding", "dilation", *also)}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_an_ordinary_convolution_with_the_forged_kernel_is_what_the_layer_computes(made, settings):
    layer, x, run = made
    y, attention = run(settings)
    # The record is float32: what it rounds is all that may differ.
    expected = F.conv2d(x, forge(layer.weight, attention, layer.groups), **where(layer, "groups"))
    bound = 8 * torch.finfo(torch.float32).eps * F.conv2d(x.abs(), layer.weight.abs().sum(0), **where(layer, "groups"))
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


EXACT = {"rtol": 1e-12, "atol": 1e-13}


def test_the_squeeze_leads_to_the_logits_that_the_equation_says(made):
    layer, x, _ = made
    steps, branch = squeeze_steps(layer.attention, x), layer.attention
    torch.testing.assert_close(steps.pooled, torch.stack([plane.sum() / plane.numel() for plane in x[0]]), **EXACT)
    torch.testing.assert_close(steps.squeezed, branch.fc.weight[:, :, 0, 0] @ steps.pooled, **EXACT)
    deviation = (branch.bn.running_var + branch.bn.eps).sqrt()
    expected = (steps.squeezed - branch.bn.running_mean) / deviation * branch.bn.weight + branch.bn.bias
    torch.testing.assert_close(steps.normalized, expected, **EXACT)
    assert torch.equal(steps.hidden, steps.normalized.clamp_min(0))
    expected = oracle.logits(layer.state_dict(), x)
    for name, logits in steps.logits._asdict().items():
        assert (logits is None) == (name not in expected)
        if logits is not None:
            torch.testing.assert_close(logits.flatten(1), expected[name], **EXACT)


def seen_by(layer, x, filter):
    """The input channels that a filter sees."""
    channels = layer.weight.shape[2]
    first = filter // (layer.weight.shape[1] // layer.groups) * channels
    return x[:, first : first + channels]


def test_kernel_and_patch_meet_to_the_layers_number_at_every_place(made):
    layer, x, run = made
    _, attention = run(SETTINGS["hot, two kernels, no channel"])
    whole = forge(layer.weight, attention, layer.groups)
    expected = oracle.convolve(x[0], whole, **where(layer, "groups"))
    for filter, forged in enumerate(whole):
        seen = seen_by(layer, x, filter)
        maps = contribution_maps(seen, forged, **where(layer))
        torch.testing.assert_close(maps.sum(0), expected[filter], **EXACT)
        for row in range(expected.shape[1]):
            for column in range(expected.shape[2]):
                meeting = meet(seen, forged, row, column, **where(layer))
                torch.testing.assert_close(meeting.output, expected[filter, row, column], **EXACT)
                torch.testing.assert_close(meeting.contributions, maps[:, row, column], **EXACT)
                assert torch.equal(meeting.products, forged * meeting.patch)


def test_the_patch_is_the_picture_under_the_kernel_and_0_outside_of_it():
    x = torch.arange(1.0, 13.0, dtype=torch.float64).view(1, 1, 3, 4)
    forged = torch.ones(1, 2, 2, dtype=torch.float64)
    meeting = meet(x, forged, 0, 2, stride=(2, 1), padding=(1, 2), dilation=(2, 3))
    # Rows -1 and 1, columns 0 and 3.
    assert meeting.patch[0].tolist() == [[0, 0], [5, 8]]
    assert meeting.inside.tolist() == [[False, False], [True, True]]
    assert float(meeting.output) == 13


def test_infinity_beside_the_patch_does_not_reach_into_it():
    x = torch.full((1, 1, 3, 3), float("inf"))
    meeting = meet(x, torch.ones(1, 3, 3), 0, 0, stride=(1, 1), padding=(1, 1), dilation=(1, 1))
    assert meeting.patch[0, 0].tolist() == [0, 0, 0]


def test_gates_on_the_maps_give_the_same_as_gates_in_the_kernel(made):
    layer, x, run = made
    _, attention = run(SETTINGS["hot, two kernels, no channel"])
    before, after = convolve_in_released_order(x, layer.weight, attention, **where(layer, "groups"))
    expected = oracle.convolve(x[0], forge(layer.weight, attention, layer.groups), **where(layer, "groups"))
    torch.testing.assert_close(after, expected, **EXACT)
    gates = 1.0 if attention.filter is None else attention.filter[0][:, None, None]
    assert torch.equal(after, before * gates)


@pytest.mark.parametrize(("row", "column"), [(-1, 0), (9, 0), (0, -1), (0, 8)])
def test_a_place_that_the_output_does_not_have_is_named(row, column):
    with pytest.raises(IndexError, match=r"the output map has (9|8)"):
        meet(
            torch.ones(1, 2, 9, 8),
            torch.ones(2, 3, 3),
            row,
            column,
            stride=(1, 1),
            padding=(1, 1),
            dilation=(1, 1),
        )


def test_several_pictures_are_squeezed_and_met_one_at_a_time(made):
    layer, x, _ = made
    two = torch.cat([x, x])
    with pytest.raises(ValueError, match="2 pictures"):
        squeeze_steps(layer.attention, two)
    with pytest.raises(ValueError, match="2 pictures"):
        meet(two, torch.ones(6, 3, 3), 0, 0, **where(layer))
