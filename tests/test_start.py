"""What the first lesson's steps find, held against passes of its own; and what it leads to on the shipped weights."""

import itertools

import numpy as np
import pytest
import torch

from odconv import Settings, explain, images, load_checkpoint, start
from odconv.attention import HEADS, Heads
from odconv.response import draw_sweep, respond
from odconv.start import CLUE, LAYER, STEPS, TEMPERATURES, TURN, Case
from odconv.tasks import TASKS
from odconv.ui import engine
from odconv.ui.pictures import FOLDER, samples
from odconv.ui.steps import OWN
from odconv.words import LANGUAGES, to_text
from tests import oracle

NAMES = ["ant", "bee", "cat"]
NOTHING = Heads(None, None, None, None)
MEANS = (np.array([0.3, 0.7]), np.array([0.48, 0.52]))  # of the gates as trained, and at T = 30


def case(probabilities, forged=0.0, attention=NOTHING, title="a"):
    return Case(title, attention, np.full((3, 3), float(forged)), np.array(probabilities))


def gates(value, shares=(0.5, 0.5)):
    return Heads(np.full((3, 3), value), np.full(4, value), np.full(5, value), np.array(shares))


def texts(finding, language="en"):
    return " ".join(reason.say(language) for reason in finding.reasons)


# --- any network ------------------------------------------------------------------------------------------------------


def test_every_step_is_a_task_of_its_own():
    assert set(STEPS) <= set(TASKS)


def test_a_slice_is_that_of_the_whole_kernel_in_float64(small_model, images):
    name = "layer2.0.conv1"
    layer, attention = small_model.get_submodule(name), explain(small_model, images[:1]).layers[name].attention
    heads = {head: torch.from_numpy(values).double() for head, values in zip(HEADS, attention, strict=True)}
    whole = oracle.forged(layer.weight.detach().double(), heads, 0, 1)
    for filter, channel in ((0, 0), (3, 7), (15, 2)):
        found = start.forge_slice(layer, attention, filter, channel)
        np.testing.assert_allclose(found, whole[filter, channel], atol=1e-7)


def test_an_ordinary_convolution_has_its_own_weight_for_every_picture():
    layer = torch.nn.Conv2d(2, 3, 3)
    np.testing.assert_array_equal(start.forge_slice(layer, NOTHING, 2, 1), layer.weight[2, 1].detach())


def test_two_kernels_are_told_from_one():
    a, b = case([1, 0, 0], 0.5, gates(0.2, (0.9, 0.1))), case([0, 1, 0], 0.25, gates(0.4, (0.3, 0.7)), "b")
    found = start.find_kernels([a, b], "conv", (7, 9))
    assert found.right == ("two",)
    assert "a gives W1 the largest share, 0.90; b gives it to W2, 0.70" in texts(found)
    assert "by up to 0.25" in texts(found)
    assert "7\u00a0×\u00a09 places" in texts(found)
    assert start.find_kernels([a, a], "conv", (7, 9)).right == ("same",)


@pytest.mark.parametrize(
    ("after", "right"), [([0.5, 0.3, 0.2], "same"), ([0.34, 0.33, 0.33], "weaker"), ([0.2, 0.7, 0.1], "other")]
)
def test_what_flat_heads_do_to_a_prediction_is_one_of_three(after, right):
    found = start.find_flat(case([0.8, 0.1, 0.1]), case(after), NAMES, "conv", [2, 2, 1])
    assert found.right == (right,)
    assert "0.80" in texts(found)
    assert f"{after[0]:.2f}" in texts(found)
    assert "of the 3 sample pictures, it takes 2 for cat" in texts(found)


def test_flat_heads_open_what_was_shut_and_the_head_with_the_widest_gates_is_told():
    attention = Heads(np.array([[0.4, 0.6]]), np.array([0.0, 0.3, 0.9]), None, np.array([0.5, 0.5]))
    found = start.find_flat(case([1, 0, 0], attention=attention), case([0, 1, 0]), NAMES, "conv", [1])
    assert "in conv, channel gates of 0.00 to 0.90 are now all 0.40" in texts(found)


@pytest.mark.parametrize(("low", "high"), [*itertools.product([0, 1], repeat=2)])
def test_the_temperatures_that_keep_the_first_choice_are_told(low, high):
    shares = np.eye(3)
    cases = dict(
        zip(
            TEMPERATURES,
            (case(shares[low], 0, gates(0.999)), case(shares[0]), case(shares[high], 0, gates(0.5))),
            strict=True,
        )
    )
    found = start.find_temperature(cases, cases[30.0], cases[30.0], MEANS, NAMES, "conv")
    assert found.right == ({(0, 0): "both", (0, 1): "low", (1, 0): "high", (1, 1): "neither"}[low, high],)
    assert "100 % of the gates" in texts(found)
    assert "between 0.50 and 0.50" in texts(found)


def test_the_largest_kernel_share_is_told_at_each_temperature():
    shares = (case([1, 0, 0], 0, gates(0.5, (0.1, 0.9))), case([1, 0, 0], 0, gates(0.5, (0.4, 0.6))), case([1, 0, 0]))
    hot = case([1, 0, 0], 0, gates(0.5, (0.52, 0.48)))
    found = start.find_temperature(
        dict(zip(TEMPERATURES, (*shares[:2], hot), strict=True)), hot, hot, MEANS, NAMES, "c"
    )
    assert "0.90 at T\u00a0=\u00a00.1, 0.60 at 1, 0.52 at 30" in texts(found)


@pytest.mark.parametrize(
    ("hot", "held", "flat", "told"),
    [
        (0, 1, 1, "says bee (1.00); all heads flat, which keeps that mean too, say the same"),
        (0, 1, 2, "says bee (1.00); all heads flat, which keeps that mean too, say cat"),
        (2, 0, 2, "say cat for this picture, too"),
    ],
)
def test_why_a_high_temperature_differs_from_flat_heads_is_told_by_holding_the_gain(hot, held, flat, told):
    shares = np.eye(3)
    cases = {0.1: case(shares[0], 0, gates(0.9)), 1.0: case(shares[0]), 30.0: case(shares[hot], 0, gates(0.5))}
    found = texts(start.find_temperature(cases, case(shares[held]), case(shares[flat]), MEANS, NAMES, "conv"))
    assert "0.30 to 0.70 over all layers; at T\u00a0=\u00a030, 0.48 to 0.52" in found
    assert told in found


def test_mean_gates_are_of_every_sigmoid_head_of_every_layer(small_model, images):
    record = explain(small_model, images[:1])
    expected = [
        float(np.float64(getattr(layer.attention, head)).mean())
        for layer in record.layers.values()
        for head in ("spatial", "channel", "filter")
        if getattr(layer.attention, head) is not None
    ]
    np.testing.assert_allclose(start.mean_gates(record), expected, rtol=1e-9)


def test_the_kernel_with_the_largest_share_at_a_right_angle_is_told():
    shares = dict(zip(TURN, np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.8, 0.2, 0.0]]), strict=True))
    found = start.find_grating(shares, {}, "conv")
    assert found.right == ("w3",)
    assert "W3 goes from 0.00 at 0° to 0.50 at 90°; W1 from 0.90 to 0.20" in texts(found)


def test_a_kernel_that_stays_ahead_is_said_to():
    shares = dict(zip(TURN, np.array([[0.9, 0.1], [0.6, 0.4], [0.9, 0.1]]), strict=True))
    found = start.find_grating(shares, {}, "conv")
    assert found.right == ("w1",)
    assert "W1 stays ahead: 0.90 at 0° and 0.60 at 90°" in texts(found)


def test_with_one_kernel_the_head_that_moves_most_is_told():
    found = start.find_grating(None, {"spatial": 0.02, "channel": 0.1, "filter": 0.098}, "conv")
    assert found.right == ("channel", "filter")
    assert [row.answer for row in found.rows] == ["spatial", "channel", "filter"]


def test_a_static_network_can_tell_pictures_apart_with_one_kernel_or_not():
    dynamic = [case([1, 0, 0], 0.5), case([1, 0, 0], 0.1, title="b")]
    one, other = case([0.8, 0.1, 0.1], 0.3), case([0.1, 0.8, 0.1], 0.3)
    apart = start.find_twin([one, other], dynamic, NAMES, "conv", (54.8, 52.6, 10_000))
    assert apart.right == ("apart",)
    assert "has the same kernel for both pictures" in texts(apart)
    assert "54.8 %, ODConv here in 52.6 %" in texts(apart)
    assert start.find_twin([one, one], dynamic, NAMES, "conv", None).right == ("same",)
    better = texts(start.find_twin([one, other], dynamic, NAMES, "conv", (50.0, 60.0, 9)))
    assert "no end in itself" not in better


# --- the shipped weights ----------------------------------------------------------------------------------------------

K4, K1, STATIC = (
    f"{name}_tiny_imagenet.safetensors" for name in ("od_resnet18_w32_4x", "od_resnet18_w32_1x", "resnet18_w32")
)


@pytest.fixture(scope="module")
def ask():
    networks = {}

    def ask(id, settings=None, name=K4):
        checkpoint = networks.setdefault(name, load_checkpoint(engine.BUNDLED / name))
        picture = images.decode((FOLDER / samples()[id].file).read_bytes())
        record = explain(checkpoint.model, images.prepare(picture, checkpoint.card), settings)
        return record, checkpoint

    return ask


def first(record, checkpoint):
    return checkpoint.card.classes[int(record.logits[0].argmax())].partition(",")[0]


def test_espresso_and_the_rocket_have_kernels_of_their_own(ask):
    leaders = [int(ask(id)[0].layers[LAYER].attention.kernel[0].argmax()) + 1 for id in OWN["kernels"]]
    assert leaders == [3, 1]


def test_with_flat_heads_the_tabby_becomes_an_abacus_and_most_samples_do(ask):
    [id] = OWN["flat"]
    assert first(*ask(id)) == "tabby"
    record, checkpoint = ask(id, Settings(ablate=HEADS))
    assert first(record, checkpoint) == "abacus"
    assert record.probabilities[0].max() > 0.5
    classes = [name.partition(",")[0] for name in checkpoint.card.classes]
    every = explain(checkpoint.model, batch_of_samples(checkpoint), Settings(ablate=HEADS)).logits.argmax(axis=1)
    assert (every == classes.index("abacus")).mean() > 0.5


@pytest.mark.parametrize("name", [K4, K1])
def test_with_flat_heads_every_layer_uses_the_plain_mean_of_its_kernels_times_one_number(ask, name):
    """A number for each photo; so the kernels of two photos have one and the same pattern."""
    records = [ask(id, Settings(ablate=HEADS), name)[0] for id in ("tabby-cat", "rocket")]
    model = ask("rocket", name=name)[1].model
    for layer in records[0].layers:
        weight = model.get_submodule(layer).weight.detach().double()
        plain = weight.mean(0).flatten()
        for record in records:
            heads = zip(HEADS, record.layers[layer].attention, strict=True)
            attention = {head: torch.from_numpy(one).double() for head, one in heads if one is not None}
            made = oracle.forged(weight, attention, 0, 1).flatten()
            number = (made @ plain) / (plain @ plain)
            torch.testing.assert_close(made, number * plain, rtol=0, atol=1e-6)


def test_at_both_temperatures_the_tabby_is_taken_for_something_else(ask):
    [id] = OWN["temperature"]
    assert [first(*ask(id, Settings(temperature=t))) for t in TEMPERATURES] == [
        "centipede",
        "tabby",
        "golden retriever",
    ]


def batch_of_samples(checkpoint):
    pictures = (images.decode((FOLDER / one.file).read_bytes()) for one in samples().values())
    return torch.cat([images.prepare(picture, checkpoint.card) for picture in pictures])


def test_it_is_the_size_of_the_gates_by_which_a_high_temperature_differs_from_flat_heads(ask):
    """With the means of the gates held, T = 30 says of the tabby what flat heads say; and the limit is flat heads exactly."""
    [id] = OWN["temperature"]
    assert first(*ask(id, Settings(temperature=30.0, compensate=True))) == first(*ask(id, Settings(ablate=HEADS)))
    checkpoint = ask(id)[1]
    batch = batch_of_samples(checkpoint)

    def logits(**settings):
        return explain(checkpoint.model, batch, Settings(**settings)).logits

    flat = logits(ablate=HEADS)
    np.testing.assert_allclose(logits(temperature=1e9, compensate=True), flat, atol=1e-3)
    abacus = [name.partition(",")[0] for name in checkpoint.card.classes].index("abacus")
    free, held = (logits(temperature=30.0, compensate=kept).argmax(axis=1) for kept in (False, True))
    counts = [int((one == abacus).sum()) for one in (free, held, flat.argmax(axis=1))]
    assert counts[0] == 0 < counts[1] < counts[2]


def test_at_60_degrees_w1_still_leads_and_of_the_others_w2_has_most(ask):
    """What the visitor is told before answering leads the right way."""
    checkpoint = ask("espresso")[1]
    values, batch = draw_sweep("grating", checkpoint.card)
    shares = respond(checkpoint.model, batch)[LAYER].shares[list(values).index(CLUE)]
    assert list(shares.argsort()[::-1][:2]) == [0, 1]


def test_w2_follows_the_grating(ask):
    checkpoint = ask("espresso")[1]
    values, batch = draw_sweep("grating", checkpoint.card)
    shares = respond(checkpoint.model, batch)[LAYER].shares
    by_angle = {angle: shares[list(values).index(angle)] for angle in TURN}
    assert start.find_grating(by_angle, {}, LAYER).right == ("w2",)
    assert by_angle[90.0][1] > 0.7
    assert by_angle[180.0][0] > 0.99


def test_means_of_channels_notice_the_direction_of_stripes_and_nothing_else(ask):
    checkpoint = ask("espresso")[1]
    angles, batch = draw_sweep("grating", checkpoint.card)
    record = explain(checkpoint.model, batch[[list(angles).index(angle) for angle in TURN]], keep_input_of=LAYER)
    start, turned, back = record.layers[LAYER].input.mean(axis=(2, 3))
    assert abs(turned - start).max() > 0.5 * abs(start).max()
    assert abs(back - start).max() < 1e-3 * abs(start).max()


def test_the_static_twin_tells_espresso_from_the_rocket_and_is_right_more_often(ask):
    assert len({first(*ask(id, name=STATIC)) for id in OWN["twin"]}) == 2
    assert ask("espresso", name=STATIC)[1].card.measured["top1"] > ask("espresso")[1].card.measured["top1"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_reason_can_be_said_in_every_language(language):
    a, b = case([1, 0, 0], 0.5, gates(0.2, (0.9, 0.1))), case([0, 1, 0], 0.25, gates(0.4, (0.3, 0.7)), "b")
    for found in (
        start.find_kernels([a, b], "conv", (7, 9)),
        start.find_kernels([a, a], "conv", (7, 9)),
        start.find_flat(a, a, NAMES, "conv", [0]),
        start.find_flat(a, b, NAMES, "conv", [0]),
        start.find_temperature(dict(zip(TEMPERATURES, (a, a, b), strict=True)), a, a, MEANS, NAMES, "conv"),
        start.find_temperature(dict(zip(TEMPERATURES, (a, a, b), strict=True)), b, b, MEANS, NAMES, "conv"),
        start.find_grating(dict(zip(TURN, np.eye(3), strict=True)), {}, "conv"),
        start.find_grating(dict.fromkeys(TURN, np.array([0.9, 0.1])), {}, "conv"),
        start.find_grating(None, {"spatial": 0.02}, "conv"),
        start.find_twin([a, b], [a, b], NAMES, "conv", (1.0, 2.0, 3)),
        start.find_twin([a, a], [a, b], NAMES, "conv", (2.0, 1.0, 3)),
    ):
        assert texts(found, language)
        assert all(to_text(language, row.name) for row in found.rows)
