"""What is drawn of a kernel is what was forged, on one scale, and what is missing is said."""

import base64
from dataclasses import replace

import numpy as np
import pytest
import torch

from odconv import ODConv2d, Settings, drawings, explain
from odconv.attention import Heads
from odconv.drawings import kernel
from odconv.forge import forge_steps
from odconv.kernel_view import view_kernel
from odconv.words import LANGUAGES, say
from tests.test_kernel_view import Alone


@pytest.fixture
def view_of(shake):
    """A view of one slice of a layer that is made with some options, its weights, and the attention of both pictures."""

    def make(**options):
        options = {"in_channels": 4, "out_channels": 4, "kernel_size": 3, "padding": 1} | options
        model = shake(Alone(ODConv2d(**options))).eval().requires_grad_(False)
        record = explain(model, torch.randn(2, 4, 6, 5), Settings(), keep_input_of="layer").layers["layer"]
        own, other = record.picture(0), record.picture(1)
        return view_kernel(model.layer, own.input, own.attention, other.attention, 1, 0), model.layer, own, other

    return make


def data_of(view, language="en", other="Rocket", picked=False):
    return drawings.kernel_data(language, view, "Cat", other, picked)


def test_the_drawing_has_the_numbers_of_the_forging(view_of):
    view, layer, own, other = view_of()
    data = data_of(view)
    close = {"rtol": 0, "atol": 1e-8}
    np.testing.assert_allclose(data["candidates"], layer.weight[:, 1, 0].double().numpy(), **close)
    forged = []
    for row, record in zip(data["rows"], (own, other), strict=True):
        steps = forge_steps(layer.weight, Heads(*map(torch.from_numpy, record.attention)), 1, 0)
        for name in ("mixed", "tapped", "forged"):
            np.testing.assert_allclose(row[name], getattr(steps, name).double().numpy(), **close, err_msg=name)
        np.testing.assert_allclose(row["shares"]["values"], steps.shares.double().numpy(), atol=1e-5)
        np.testing.assert_allclose(row["taps"]["values"], steps.taps.double().numpy(), atol=1e-5)
        assert row["gates"]["channel"]["values"] == pytest.approx(steps.channel_gate, abs=1e-5)
        assert row["gates"]["filter"]["values"] == pytest.approx(steps.filter_gate, abs=1e-5)
        forged.append(steps.forged)
    np.testing.assert_allclose(data["difference"]["forged"], (forged[0] - forged[1]).double().numpy(), **close)


def test_one_scale_holds_every_weight_and_one_every_map(view_of):
    view, *_ = view_of()
    data = data_of(view)
    weights = [data["candidates"], data["difference"]["forged"]]
    weights += [row[name] for row in data["rows"] for name in ("mixed", "tapped", "forged")]
    largest = max(np.abs(values).max() for values in weights)
    assert largest <= data["span"] <= 1.1 * largest
    assert f"−{data['span']:g} to +{data['span']:g}" in data["scale"]


def levels_of(image):
    return np.frombuffer(base64.b64decode(image["levels"]), np.uint8).reshape(image["height"], image["width"])


def test_each_map_goes_from_its_lowest_number_to_its_highest_and_their_difference_to_either_side_of_zero(view_of):
    view, *_ = view_of()
    data, sides = data_of(view), np.stack([view.own.map, view.other.map]).astype(float)
    for row, values in zip(data["rows"], sides, strict=True):
        low, high = values.min(), values.max()
        assert row["map_caption"].endswith(f", {low:.3g} to {high:.3g}".replace("-", "−"))
        assert row["map"]["tones"] == [[0, 0, 0], [255, 255, 255]]
        read = low + (levels_of(row["map"]) - 1.0) / 254 * (high - low)
        np.testing.assert_allclose(read, values, atol=(high - low) / 500)
    difference = sides[0] - sides[1]
    end = float(data["scale"].rsplit("+", 1)[1].rstrip("."))
    assert np.abs(difference).max() <= end <= 1.1 * np.abs(difference).max()
    roots = (levels_of(data["difference"]["map"]) - 128.0) / 127
    np.testing.assert_allclose(roots, np.sign(difference) * np.sqrt(np.abs(difference) / end), atol=1 / 250)


def test_a_map_that_is_the_same_everywhere_is_drawn_all_black():
    flat = np.full((2, 3), 7.0)
    assert (kernel.grey_levels(flat) == 1).all()


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_a_layer_does_not_have_is_missing_with_the_reason(view_of, language):
    row = data_of(view_of(kernel_size=1, padding=0, num_kernels=1)[0], language)["rows"][0]
    assert row["taps"] == {"absent": say(language, "layer.spatial_absent")}
    assert row["shares"] == {"absent": say(language, "layer.kernel_absent")}
    row = data_of(view_of(groups=4)[0], language)["rows"][0]
    assert row["gates"]["filter"] == {"absent": say(language, "layer.filter_absent")}
    assert "values" in row["gates"]["channel"]


def test_the_sentence_says_what_the_numbers_say(view_of):
    view, *_ = view_of()
    still = np.zeros((3, 3), np.float32)
    moved = still.copy()
    moved[1, 2] = -0.12
    shares = np.array([0.1, 0.2, 0.61, 0.09], np.float32)
    own = replace(view.own, forged=moved, shares=shares)
    view = replace(view, own=own, other=replace(view.other, forged=still, shares=shares[::-1].copy()))
    data = data_of(view)
    assert data["sentence"] == (
        "In this slice, this picture's kernel differs from that of Rocket by up to "
        f"{0.12:.{data['digits']}f} (row 2, column 3). "
        "W3 has the largest share: 61\u00a0%; for Rocket it is 20\u00a0%."
    )
    same = replace(view, other=own)
    assert "is the same as that of the typical picture" in data_of(same, other=None)["sentence"]
    alone = data_of(replace(view, other=None), other=None)
    assert alone["sentence"] == "W3 has the largest share: 61\u00a0%."
    assert alone["difference"] is None
    assert "difference" not in alone["scale"]
    assert len(alone["rows"]) == 1


def test_equal_shares_are_not_said_to_have_a_largest(view_of):
    view, *_ = view_of()
    for shares, sentence in (
        ([0.25, 0.25, 0.25, 0.25], "No kernel leads: the 4 shares are equal, 25\u00a0%."),
        ([0.26, 0.24, 0.27, 0.23], "No kernel leads: the 4 shares are nearly equal, 23 to 27\u00a0%."),
    ):
        alone = replace(view, own=replace(view.own, shares=np.array(shares, np.float32)), other=None)
        assert data_of(alone, other=None)["sentence"] == sentence


def test_who_chose_the_slice_is_said(view_of):
    view, *_ = view_of()
    assert data_of(view)["slice"] == "Filter 1, input channel 0."
    assert "differs most" in data_of(view, picked=True)["slice"]
    assert "largest weight" in data_of(replace(view, other=None), other=None, picked=True)["slice"]


def test_numbers_beyond_all_bounds_are_drawn_as_zero(view_of):
    view, *_ = view_of()
    broken = replace(view.own, forged=np.full((3, 3), np.nan, np.float32), map=np.full((6, 5), np.inf, np.float32))
    data = data_of(replace(view, own=broken))
    assert np.array_equal(data["rows"][0]["forged"], np.zeros((3, 3)))
    assert np.isfinite(data["span"])
