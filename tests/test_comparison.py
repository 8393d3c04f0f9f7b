"""How two passes differ, held against loops over single entries in float64."""

import math

import numpy as np
import pytest
import torch

from odconv import Settings, explain
from odconv.attention import HEADS, Heads
from odconv.backbones import od_mobilenetv2, od_resnet18, resnet18
from odconv.comparison import find_largest, mean_sizes, subtract, subtract_all, why_not


def network(**options):
    torch.manual_seed(0)
    return od_resnet18(5, width=8, stem="small", **options).eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def pair(images):
    model = network()
    return explain(model, images[:1]), explain(model, images[1:], Settings(3.0))


def by_loop(ours, theirs):
    """Mean absolute difference, one entry at a time."""
    sizes = [abs(float(b) - float(a)) for a, b in zip(ours.ravel(), theirs.ravel(), strict=True)]
    return math.fsum(sizes) / len(sizes)


def test_every_head_of_every_layer_is_subtracted_entry_by_entry(pair):
    a, b = pair
    found = subtract_all(a, b)
    assert list(found) == list(a.layers)
    for name, heads in found.items():
        for head, size in zip(HEADS, mean_sizes(heads), strict=True):
            ours, theirs = (getattr(side.layers[name].attention, head) for side in pair)
            assert size == pytest.approx(by_loop(ours, theirs), rel=1e-12)


def test_the_largest_is_the_largest_of_all_and_names_its_entry(pair):
    a, b = pair
    found = find_largest(a, b)
    sizes = {
        (name, head): by_loop(getattr(layer.attention, head), getattr(b.layers[name].attention, head))
        for name, layer in a.layers.items()
        for head in HEADS
    }
    assert (found.layer, found.head) == max(sizes, key=sizes.get)
    assert found.size == pytest.approx(max(sizes.values()), rel=1e-12)
    ours, theirs = (getattr(side.layers[found.layer].attention, found.head)[0] for side in pair)
    entries = {entry: abs(float(theirs[entry]) - float(ours[entry])) for entry in np.ndindex(ours.shape)}
    assert found.entry == max(entries, key=entries.get)
    assert (found.left, found.right) == (float(ours[found.entry]), float(theirs[found.entry]))


def test_right_minus_left_turns_its_sign_when_the_sides_change_places(pair):
    there, back = subtract_all(*pair), subtract_all(*reversed(pair))
    for name in there:
        for one, other in zip(there[name], back[name], strict=True):
            assert np.array_equal(one, -other)
    ours, theirs = find_largest(*pair), find_largest(*reversed(pair))
    assert (ours.size, ours.left, ours.right) == (theirs.size, theirs.right, theirs.left)


def test_a_pass_does_not_differ_from_itself(pair):
    found = find_largest(pair[0], pair[0])
    assert (found.size, found.left) == (0.0, found.right)


@pytest.mark.parametrize(
    ("left", "right", "why"),
    [
        (None, None, "neither"),
        (None, np.zeros((1, 4)), "left"),
        (np.zeros((1, 4)), None, "right"),
        (np.zeros((1, 4)), np.zeros((1, 2)), "shapes"),
        (np.zeros((1, 4)), np.ones((1, 4)), None),
    ],
)
def test_a_head_is_compared_where_both_have_it_in_one_shape_and_else_it_is_known_why_not(left, right, why):
    ours, theirs = Heads(None, None, None, left), Heads(None, None, None, right)
    assert why_not(ours, theirs, "kernel") == why
    assert (subtract(ours, theirs).kernel is None) == (why is not None)
    assert (mean_sizes(subtract(ours, theirs)).kernel is None) == (why is not None)


def test_networks_are_compared_in_the_layers_and_heads_that_both_have(pair, images):
    one_kernel = explain(network(num_kernels=1), images[:1])
    found = subtract_all(pair[0], one_kernel)
    assert list(found) == list(pair[0].layers)
    assert all(heads.kernel is None and heads.spatial is not None for heads in found.values())
    assert find_largest(pair[0], one_kernel).head != "kernel"


@pytest.mark.parametrize(
    "model", [lambda: resnet18(5, width=8, stem="small"), lambda: od_mobilenetv2(5, width_mult=0.35, num_kernels=2)]
)
def test_networks_without_a_layer_in_common_have_no_largest_difference(pair, images, model):
    assert find_largest(pair[0], explain(model().eval(), images[:1])) is None


def test_what_is_beyond_all_bounds_is_not_the_largest(pair):
    a, b = pair
    name = next(iter(a.layers))
    differences = subtract_all(a, b)
    differences[name] = Heads(np.full((1, 3, 3), np.nan), *differences[name][1:])
    assert mean_sizes(differences[name]).spatial is None
    found = find_largest(a, b, differences)
    assert (found.layer, found.head) != (name, "spatial")
    assert math.isfinite(found.size)
