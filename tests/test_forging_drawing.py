"""What the lesson on forging draws is what was computed, and what a layer does not have is passed with the reason."""

import base64
from dataclasses import replace

import numpy as np
import pytest
import torch

from odconv import HEADS, ODConv2d, Settings, drawings, explain
from odconv.drawings import forging as drawing
from odconv.forging_view import STEPS, forge_layer, view_forging
from odconv.words import LANGUAGES, say

OPTIONS = {"in_channels": 4, "out_channels": 4, "kernel_size": 3, "padding": 1}


@pytest.fixture
def view_of(shake):
    """The view of filter 1 and the first channel that it sees, of a layer with some options, under some settings."""

    def make(settings=None, **options):
        settings = settings or Settings()
        layer = shake(ODConv2d(**OPTIONS | options)).eval().requires_grad_(False)
        record = explain(layer, torch.randn(1, 4, 6, 5), settings, keep_input_of="")
        made = forge_layer(layer, record.layers[""].input, record.logits[0], settings)
        return view_forging(layer, made, 1, 0, (2, 3))

    return make


def data_of(view, language="en", step="pool"):
    return drawings.forging_data(language, view, "conv", step, placed=True, picked=False, compared=False)


def floats(text, *shape):
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(shape)


def test_the_browser_gets_the_maps_and_what_every_channel_adds_at_every_place(view_of):
    view = view_of(stride=2)
    data = data_of(view)
    height, width = data["output_size"]
    np.testing.assert_array_equal(floats(data["input"], *data["input_size"]), view.input)
    np.testing.assert_array_equal(floats(data["output"], height, width), view.output)
    np.testing.assert_allclose(floats(data["before_gate"], height, width), view.before_gate, rtol=1e-6)
    added = floats(data["contributions"], height, width, -1)
    np.testing.assert_allclose(added, view.contributions.transpose(1, 2, 0), rtol=1e-6)
    np.testing.assert_allclose(added.sum(-1), view.output, atol=1e-5)
    assert data["contributions_here"] is None
    assert (data["stride"], data["padding"], data["dilation"]) == ((2, 2), (1, 1), (1, 1))


def test_where_all_of_that_is_too_much_the_browser_gets_it_for_the_place_that_is_looked_at(view_of, monkeypatch):
    monkeypatch.setattr(drawing, "MOST_CONTRIBUTIONS", 4 * 4 * 6 * 5 - 1)
    view = view_of()
    data = data_of(view)
    assert data["contributions"] is None
    np.testing.assert_allclose(data["contributions_here"], view.contributions[:, 2, 3], rtol=1e-7)


def test_every_step_has_the_numbers_of_the_view(view_of):
    view = view_of(Settings(3.0, tempered=("channel",)))
    data, made, own = data_of(view), view.layer, view.kernel.own
    for name in ("pooled", "squeezed", "normalized", "hidden"):
        np.testing.assert_allclose(data[name], getattr(made, name), rtol=1e-7)
    for head in HEADS:
        np.testing.assert_allclose(data["heads"][head]["logits"], getattr(made.logits, head)[0], rtol=1e-7)
        np.testing.assert_allclose(data["heads"][head]["attention"], getattr(made.attention, head)[0], rtol=1e-7)
        assert data["heads"][head]["temperature"] == (3 if head == "channel" else 1)
    np.testing.assert_allclose(data["candidates"], view.kernel.candidates, rtol=1e-7)
    for name in ("weighted", "mixed", "tapped", "forged"):
        np.testing.assert_allclose(data[name], getattr(own, name), rtol=1e-7)
    assert data["heads"]["channel"]["attention"][data["input_channel"]] == pytest.approx(own.channel_gate, rel=1e-7)
    assert data["heads"]["filter"]["attention"][data["filter"]] == pytest.approx(own.filter_gate, rel=1e-7)
    assert float(data["difference"]) == pytest.approx(made.difference, rel=0.06)
    assert float(data["order_difference"]) == pytest.approx(made.order_difference, rel=0.06)
    assert data["numbers"] == "120"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("options", "passed"),
    [
        ({}, {}),
        ({"kernel_size": 1, "padding": 0}, {"taps": "layer.spatial_absent"}),
        ({"num_kernels": 1}, {"weigh": "layer.kernel_absent", "sum": "layer.kernel_absent"}),
        ({"groups": 4}, {"output": "forging.output_depthwise"}),
        ({"groups": 2}, {}),
    ],
    ids=["all heads", "1x1", "one kernel", "depth-wise", "two groups"],
)
def test_a_step_that_a_layer_has_no_head_for_is_passed_with_the_reason(view_of, language, options, passed):
    data = data_of(view_of(**options), language)
    assert [step["name"] for step in data["steps"]] == list(STEPS)
    for step in data["steps"]:
        reason = passed.get(step["name"])
        assert step["passed"] == (reason is not None), step["name"]
        if reason:
            assert step["text"].startswith(say(language, reason))
    for head in HEADS:
        absent = say(language, f"layer.{head}_absent")
        assert data["heads"][head].get("absent", absent) == absent
    assert ("absent" in data["heads"]["filter"]) == (options == {"groups": 4})


def text_of(data, name):
    return next(step["text"] for step in data["steps"] if step["name"] == name)


def test_groups_stride_and_dilation_are_said(view_of):
    grouped = data_of(view_of(groups=2))
    assert "this filter sees input channels 0 to 1" in text_of(grouped, "output")
    assert text_of(data_of(view_of()), "output").endswith("one number of the output.")
    spaced = data_of(view_of(stride=2, dilation=2, padding=2))
    assert "the kernel moves 2 places" in text_of(spaced, "meet")
    assert "Dilation 2" in text_of(spaced, "meet")
    assert "Stride" not in text_of(grouped, "meet")


def test_a_depth_wise_filter_has_one_gate(view_of):
    assert "one number: the gate of input channel 1." in text_of(data_of(view_of(groups=4)), "gates")
    assert "two numbers" in text_of(data_of(view_of(groups=2)), "gates")


@pytest.mark.parametrize(
    ("settings", "head", "note"),
    [
        (Settings(), "channel", None),
        (Settings(ablate=("channel",)), "channel", "forging.note_mean"),
        (Settings(2.0, compensate=True), "spatial", "forging.note_rescaled"),
        (Settings(2.0, compensate=True, tempered=("channel",)), "spatial", None),
        (Settings(kernels=2), "kernel", "forging.note_kept"),
        (Settings(ablate=("kernel",)), "kernel", "forging.note_equal"),
    ],
)
def test_what_settings_do_beside_the_division_is_said_at_the_head(view_of, settings, head, note):
    expected = None if note is None else say("en", note)
    assert data_of(view_of(settings))["heads"][head]["note"] == expected


def test_one_scale_holds_all_kernels(view_of):
    view = view_of()
    data, own = data_of(view), view.kernel.own
    every = (view.kernel.candidates, own.weighted, own.mixed, own.tapped, own.forged)
    largest = max(np.abs(values).max() for values in every)
    assert largest <= data["spans"]["kernel"]["span"] <= 1.1 * largest
    assert np.abs(view.input).max() <= data["spans"]["input"]["span"]
    products = np.abs(own.forged).max() * np.abs(view.input).max()
    assert products <= data["spans"]["product"]["span"]
    spans = {
        name: f"−{data['spans'][name]['span']:g} to +{data['spans'][name]['span']:g}" for name in ("kernel", "product")
    }
    assert f"Kernels: {spans['kernel']}; products: {spans['product']};" in data["scale"]


def test_each_map_goes_from_its_lowest_number_to_its_highest(view_of):
    view = view_of()
    data = data_of(view)
    for name, values in (("input", view.input), ("output", view.output)):
        low, high = data["ends"][name]
        assert (low, high) == (values.min(), values.max())
        levels = np.frombuffer(base64.b64decode(data["levels"][name]), np.uint8).reshape(values.shape)
        np.testing.assert_allclose(low + (levels - 1.0) / 254 * (high - low), values, atol=(high - low) / 500)


def test_numbers_beyond_all_bounds_are_said_and_drawn(view_of):
    view = view_of()
    broken = replace(view.layer, difference=float("nan"), order_difference=float("inf"))
    unbounded = np.full_like(view.contributions, np.inf)
    data = data_of(replace(view, layer=broken, contributions=unbounded, output=np.full_like(view.output, np.nan)))
    assert not data["bounded"]
    assert np.isfinite(floats(data["contributions"], -1)).all()
    assert np.array_equal(floats(data["output"], 6, 5), np.zeros((6, 5)))
