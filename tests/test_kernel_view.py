"""The slice that is drawn is the slice that the layer convolves with, and its map is what the layer puts out."""

import numpy as np
import pytest
import torch

from odconv import ODConv2d, Settings, explain
from odconv.attention import Heads
from odconv.forge import forge, forge_steps
from odconv.kernel_view import pick_slice, view_kernel
from tests.test_forge import LAYERS


class Alone(torch.nn.Module):
    """A network of one layer."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x).flatten(1)


@pytest.fixture(params=LAYERS)
def made(request, shake):
    """A layer, and its records of two pictures with the first one's input kept."""
    model = shake(Alone(ODConv2d(**LAYERS[request.param]))).eval().requires_grad_(False)
    x = torch.randn(2, 6, 9, 8) + torch.arange(2.0)[:, None, None, None]
    record = explain(model, x, Settings(2.0), keep_input_of="layer").layers["layer"]
    return model, x, record.picture(0), record.picture(1)


def tensors(heads):
    return Heads(*(None if head is None else torch.from_numpy(head) for head in heads))


def test_every_slice_is_made_by_the_steps_of_the_whole_layer(made):
    model, _, own, other = made
    layer = model.layer
    for filter in range(layer.weight.shape[1]):
        for channel in range(layer.weight.shape[2]):
            view = view_kernel(layer, own.input, own.attention, other.attention, filter, channel)
            for side, record in ((view.own, own), (view.other, other)):
                steps = forge_steps(layer.weight, tensors(record.attention), filter, channel, layer.groups)
                np.testing.assert_array_equal(view.candidates, steps.candidates)
                for name in ("shares", "weighted", "mixed", "taps", "tapped", "channel_gate", "filter_gate", "forged"):
                    np.testing.assert_array_equal(getattr(side, name), getattr(steps, name), name)
            group = filter // (layer.weight.shape[1] // layer.groups)
            assert view.input_channel == group * layer.weight.shape[2] + channel


def test_the_map_with_a_pictures_own_kernel_is_what_the_layer_puts_out(made):
    model, x, own, other = made
    with torch.inference_mode():
        taken = torch.stack([explained(model, one) for one in x])
    for filter in range(model.layer.out_channels):
        view = view_kernel(model.layer, own.input, own.attention, other.attention, filter, 0)
        np.testing.assert_allclose(view.own.map, taken[0, filter], atol=1e-4)
        swapped = view_kernel(model.layer, other.input, other.attention, own.attention, filter, 0)
        np.testing.assert_allclose(swapped.own.map, taken[1, filter], atol=1e-4)
        assert not np.allclose(view.other.map, view.own.map, atol=1e-4)


def explained(model, picture):
    """The layer's output under the settings of ``made``: (C_out, H', W')."""
    explanation = explain(model, picture[None], Settings(2.0))
    return torch.from_numpy(explanation.logits).view(explanation.layers["layer"].output_shape)


def test_without_another_picture_there_is_one_kernel(made):
    model, _, own, _ = made
    assert view_kernel(model.layer, own.input, own.attention, None, 0, 0).other is None


def test_the_slice_that_is_picked_has_the_largest_difference_in_one_weight(made):
    model, _, own, other = made
    layer = model.layer
    whole = [forge(layer.weight, tensors(one.attention), layer.groups).double() for one in (own, other)]
    for others, kernel in ((other.attention, whole[0] - whole[1]), (None, whole[0])):
        filter, channel = pick_slice(layer, own.attention, others)
        assert kernel[filter, channel].abs().max() == pytest.approx(float(kernel.abs().max()), rel=1e-5)
        assert pick_slice(layer, own.attention, others, filter=1)[0] == 1
        kept = pick_slice(layer, own.attention, others, channel=0)
        assert kept[1] == 0
        assert kernel[kept].abs().max() == pytest.approx(float(kernel[:, 0].abs().max()), rel=1e-5)


def test_a_filter_or_channel_that_is_not_there_is_named(made):
    model, _, own, _ = made
    with pytest.raises(IndexError, match="filter=99"):
        view_kernel(model.layer, own.input, own.attention, None, 99, 0)
    with pytest.raises(IndexError, match="channel=99"):
        view_kernel(model.layer, own.input, own.attention, None, 0, 99)
