"""What the lesson on forging shows is the layer's own work, step by step, and the badge tells how far apart they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from odconv import ODConv2d, Settings, explain
from odconv.forging_view import forge_layer, view_forging
from tests import oracle
from tests.test_forge import LAYERS

SETTINGS = Settings(2.0, kernels=3, ablate=("filter",), compensate=True)


@pytest.fixture(params=LAYERS)
def made(request, shake):
    """A layer, its input and output in float32, and its forging."""
    layer = shake(ODConv2d(**LAYERS[request.param])).eval().requires_grad_(False)
    record = explain(layer, torch.randn(1, 6, 9, 8), SETTINGS, keep_input_of="")
    x, output = record.layers[""].input, record.logits[0]
    return layer, x, output, forge_layer(layer, x, output, SETTINGS), record.layers[""]


def expected_of(layer, x):
    """Head -> attention by the definition, and the output, in float64."""
    state = {name: tensor.double() for name, tensor in layer.state_dict().items()}
    logits = oracle.logits(state, torch.from_numpy(x).double())
    attention = oracle.attend(
        {head: values.numpy() for head, values in logits.items()},
        temperature=2.0,
        tempered=("spatial", "channel", "filter", "kernel"),
        kernels=3,
        keep="strongest",
        compensate=True,
        ablate=("filter",),
    )
    attention = {head: torch.from_numpy(values) for head, values in attention.items()}
    where = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}
    return attention, oracle.od_conv2d(torch.from_numpy(x).double(), state["weight"], attention, **where)[0].numpy()


def test_every_step_is_computed_anew_by_the_definition_and_compared_with_the_layer(made):
    layer, x, output, forging, record = made
    attention, expected = expected_of(layer, x)
    for head, values in forging.attention._asdict().items():
        assert (values is None) == (head not in attention)
        if values is not None:
            np.testing.assert_allclose(values.reshape(1, -1), attention[head].reshape(1, -1), rtol=1e-12)
            np.testing.assert_allclose(values, getattr(record.attention, head), atol=1e-5)
    assert forging.difference == pytest.approx(np.abs(expected - output).max(), abs=1e-12)
    assert forging.order_difference < 1e-12
    assert (forging.kept is None) == (record.kept is None)
    if record.kept is not None:
        np.testing.assert_array_equal(forging.kept, record.kept[0])


def test_the_difference_from_the_layer_is_rounding_and_would_tell_of_a_wrong_number(made):
    layer, x, output, forging, _ = made
    assert 0 <= forging.difference < 1e-5
    wrong = output.copy()
    wrong[1, 2, 1] += 0.5
    assert forge_layer(layer, x, wrong, SETTINGS).difference == pytest.approx(0.5, abs=1e-5)


def test_what_a_filter_is_given_by_its_channels_adds_up_to_the_layers_map(made):
    layer, x, _, forging, _ = made
    _, expected = expected_of(layer, x)
    for filter in range(layer.out_channels):
        view = view_forging(layer, forging, filter, 0)
        np.testing.assert_allclose(view.contributions.sum(0), expected[filter], rtol=1e-11, atol=1e-12)
        gate = view.kernel.own.filter_gate
        np.testing.assert_allclose(view.before_gate * (1 if gate is None else gate), expected[filter], atol=1e-12)
        np.testing.assert_array_equal(view.output, forging.output[filter])
        np.testing.assert_array_equal(view.input, x[0, view.kernel.input_channel])


def test_the_slice_meets_the_picture_at_the_place_that_is_asked_for(made):
    layer, x, _, forging, _ = made
    view = view_forging(layer, forging, 3, 0, (2, 1))
    assert (view.row, view.column) == (2, 1)
    _, expected = expected_of(layer, x)
    assert float(view.meeting.output) == pytest.approx(expected[3, 2, 1], abs=1e-12)
    forged = view.kernel.own.forged
    assert float((torch.from_numpy(forged) * view.meeting.patch[0]).sum()) == pytest.approx(
        view.contributions[0, 2, 1], abs=1e-12
    )


@pytest.mark.parametrize("place", [None, (99, 0), (0, 99), (-1, 0)])
def test_without_a_place_that_is_there_the_maps_largest_number_is_shown(made, place):
    layer, _, output, forging, _ = made
    view = view_forging(layer, forging, 2, 0, place)
    assert abs(output[2, view.row, view.column]) == np.abs(output[2]).max()


def test_numbers_beyond_all_bounds_pass_through(made):
    layer, x, output, _, _ = made
    broken = np.full_like(output, np.nan)
    forging = forge_layer(layer, np.full_like(x, np.inf), broken, SETTINGS)
    assert not np.isfinite(forging.difference)
    view = view_forging(layer, replace(forging, output=broken), 0, 0)
    assert (view.row, view.column) == (0, 0)


def test_the_layer_stays_as_it_is(made):
    layer, x, output, _, _ = made
    assert layer.weight.dtype == layer.attention.fc.weight.dtype == torch.float32
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    forge_layer(layer, x, output, SETTINGS)
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())
