"""The numbers of the temperature lesson, against single passes and the definition in float64."""

import itertools

import numpy as np
import pytest
import torch

from odconv import HEADS, Settings, explain
from odconv.attention import Heads
from odconv.backbones import od_mobilenetv2, od_resnet18, od_resnet50
from odconv.tempering import CURVE, GATES, scheduled_temperature, take_reading
from odconv.ui.link import TEMPERATURES
from tests import oracle

LAYER = "layer2.0.conv1"

settings_ = pytest.mark.parametrize(
    "settings",
    [Settings(), Settings(30.0), Settings(0.2, compensate=True), Settings(Heads(30.0, 1.0, 2.0, 0.5))],
    ids=["trained", "hot", "cold, gain kept", "four temperatures"],
)


@settings_
def test_a_reading_has_the_numbers_of_the_pass(small_model, images, settings):
    reading, record = take_reading(small_model, images[:1], settings), explain(small_model, images[:1], settings)
    np.testing.assert_array_equal(reading.logits, record.logits[0])
    assert reading.first_choice == record.logits[0].argmax()
    best = reading.first_choice
    assert reading.probability(best) == pytest.approx(record.probabilities[0, best], abs=1e-12)
    assert list(reading.gates) == list(reading.norms) == list(reading.effective) == list(record.layers)
    shares = [layer.attention.kernel[0].astype(float) for layer in record.layers.values()]
    effective = [np.exp(-sum(share * np.log(share) for share in row if share > 0)) for row in shares]
    np.testing.assert_allclose(list(reading.effective.values()), effective, rtol=1e-6)
    assert reading.mean_effective == pytest.approx(sum(effective) / len(effective), rel=1e-6)
    for head in GATES:
        gates = [getattr(layer.attention, head).astype(float).mean() for layer in record.layers.values()]
        assert reading.mean_gate(head) == pytest.approx(sum(gates) / len(gates), rel=1e-6)


@settings_
def test_norms_of_the_kernel_and_mean_gates_follow_the_definition_in_float64(small_model, images, settings):
    x = torch.from_numpy(explain(small_model, images[:1], settings, keep_input_of=LAYER).layers[LAYER].input).double()
    module = small_model.get_submodule(LAYER)
    state = {name: tensor.double() for name, tensor in module.state_dict().items()}
    attention = oracle.attend(
        {head: values.numpy() for head, values in oracle.logits(state, x).items()}, **vars(settings)
    )
    attention = {head: torch.from_numpy(values) for head, values in attention.items()}
    reading = take_reading(small_model, images[:1], settings)
    forged = oracle.forged(state["weight"], attention, 0, 1)
    ungated = oracle.forged(state["weight"], {"kernel": attention["kernel"]}, 0, 1)
    norm, open_norm = (float((kernel**2).sum() ** 0.5) for kernel in (forged, ungated))
    assert reading.norms[LAYER] == pytest.approx(norm, rel=1e-4)
    assert reading.ungated[LAYER] == pytest.approx(open_norm, rel=1e-4)
    assert reading.passed(LAYER) == pytest.approx(norm / open_norm, rel=1e-4)
    for head in GATES:
        assert reading.gates[LAYER][head] == pytest.approx(float(attention[head].mean()), rel=1e-4)


@pytest.mark.parametrize(
    ("model", "left"),
    [
        (lambda: od_resnet18(5, width=8, stem="small"), {1 / 8}),
        (lambda: od_resnet50(5, width=8, stem="small"), {1 / 4, 1 / 8}),  # 1x1 layers have two gates
        (lambda: od_mobilenetv2(5, width_mult=0.35), {1 / 4}),  # 1x1, or depth-wise without a filter gate
    ],
    ids=["ResNet-18", "ResNet-50", "MobileNetV2"],
)
def test_at_an_endless_temperature_every_gate_is_a_half_and_the_gates_leave_a_half_each_of_the_norm(
    shake, images, model, left
):
    reading = take_reading(shake(model()).eval().requires_grad_(False), images[:1], Settings(1e9))
    passed = {name: reading.passed(name) for name in reading.norms}
    assert {round(share, 5) for share in passed.values()} == left
    for name, share in passed.items():
        assert share == pytest.approx(0.5 ** len(reading.gates[name]), rel=1e-5)
        assert all(mean == pytest.approx(0.5, abs=1e-5) for mean in reading.gates[name].values())
        assert reading.effective[name] == pytest.approx(4, rel=1e-5)


def test_what_a_network_does_not_have_is_no_number(shake, images):
    model = shake(od_resnet50(5, width=8, stem="small", num_kernels=1)).eval().requires_grad_(False)
    reading = take_reading(model, images[:1], Settings(3.0))
    assert reading.effective == {}
    assert reading.mean_effective is None
    assert set(reading.gates["layer1.0.conv1"]) == {"channel", "filter"}
    assert 0 < reading.mean_gate("spatial") < 1


def test_several_pictures_are_refused(small_model, images):
    with pytest.raises(ValueError, match="3 pictures"):
        take_reading(small_model, images, Settings())


def test_the_schedule_is_the_authors_per_iteration():
    per_epoch = 7
    for step in range(12 * per_epoch):
        # As in utils/misc.py of the released code: what is left of the fall, as a share of all its iterations.
        wanted = 1.0 + max(0, 29.0 * ((per_epoch * 10 - step) / (per_epoch * 10)))
        assert scheduled_temperature(step / per_epoch) == pytest.approx(wanted, abs=1e-12)
    assert [scheduled_temperature(epoch) for epoch in (0, 5, 10, 99)] == [30, 15.5, 1, 1]


def test_the_curve_goes_from_end_to_end_of_the_dial_in_small_steps_and_over_one():
    assert (CURVE[0], CURVE[-1]) == TEMPERATURES
    assert 1.0 in CURVE
    assert all(1.15 < after / before < 1.35 for before, after in itertools.pairwise(CURVE))


def test_gates_are_all_heads_but_the_kernel_head():
    assert (*GATES, "kernel") == HEADS
