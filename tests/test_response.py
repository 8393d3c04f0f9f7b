"""The response of attention to a knob: one batch gives what single passes give."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from odconv import HEADS, Settings, explain, images
from odconv.attention import Heads
from odconv.backbones import od_mobilenetv2
from odconv.response import distance_from, draw_sweep, respond
from odconv.stimuli import STIMULI, draw, noise, sweep

CARD = SimpleNamespace(image_size=32, resize=36, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.3))
PHOTO = Image.fromarray(noise(5, size=50))


@pytest.mark.parametrize("name", STIMULI)
def test_a_sweep_is_the_stimulus_at_each_value_as_it_would_be_seen_alone(name):
    values, batch = draw_sweep(name, CARD, PHOTO)
    assert list(values) == sweep(name)
    assert batch.shape == (len(values), 3, 32, 32)
    for n in (0, len(values) // 2, -1):
        alone = images.prepare(draw(name, sweep(name)[n], PHOTO, CARD.resize), CARD)[0]
        assert torch.equal(batch[n], alone)


@pytest.mark.parametrize("settings", [None, Settings(3.0, kernels=2), Settings(0.3, ablate=("channel",))])
def test_one_batch_gives_what_single_passes_give(small_model, settings):
    model = copy.deepcopy(small_model).double()
    _, batch = draw_sweep("plain", CARD)
    found = respond(model, batch.double(), settings)
    alone = [explain(model, image[None].double(), settings).layers for image in batch]
    assert list(found) == list(alone[0])
    for name, layer in found.items():
        heads = Heads(*(np.concatenate([getattr(one[name].attention, head) for one in alone]) for head in HEADS))
        np.testing.assert_allclose(layer.shares, heads.kernel, rtol=1e-6, atol=1e-9)
        for head in HEADS:
            values = getattr(heads, head).astype(np.float64)
            centre = sum(values) / len(values)
            expected = [np.mean([abs(entry) for entry in (one - centre).ravel()]) for one in values]
            np.testing.assert_allclose(getattr(layer.centre, head), centre, rtol=1e-6)
            np.testing.assert_allclose(getattr(layer.distance, head), expected, rtol=1e-5, atol=1e-7)


def test_where_there_is_one_kernel_the_other_heads_still_move():
    model = od_mobilenetv2(4, width_mult=0.35, num_kernels=1).eval()
    found = respond(model, draw_sweep("checkerboard", CARD)[1])
    depthwise = next(layer for layer in found.values() if layer.distance.filter is None)
    assert depthwise.shares is None
    assert depthwise.distance.kernel is None
    assert depthwise.distance.channel.shape == (len(sweep("checkerboard")),)
    assert depthwise.distance.channel.max() > 0


def test_the_distance_from_a_centre_is_the_mean_absolute_difference():
    centre = Heads(np.zeros((2, 2)), None, np.array([0.5, 0.5]), None)
    attention = Heads(np.array([[[1.0, 1], [0, 2]]]), None, np.array([[0.25, 0.5]]), None)
    assert distance_from(centre, attention) == Heads([1.0], None, [0.125], None)
