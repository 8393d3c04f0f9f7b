import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from odconv import HEADS, ODConv2d, Settings, explain, probe
from odconv.backbones import od_mobilenetv2, od_resnet50, resnet18
from odconv.explain import effective_kernels, entropy, layer_spread, softmax, spread, stack

SETTINGS = [
    Settings(),
    Settings(temperature=3.0, kernels=2, keep="strongest", compensate=True),
    Settings(ablate=("channel", "kernel"), tempered=("kernel",), temperature=0.5),
]


class Twice(nn.Module):
    """One layer called twice, on maps of different sizes, before one with every option."""

    def __init__(self):
        super().__init__()
        self.last = ODConv2d(4, 6, 3, stride=(2, 1), padding=(0, 2), dilation=(1, 2), groups=2)
        self.shared = ODConv2d(4, 4, 3, stride=2, padding=1, num_kernels=3)
        self.first = ODConv2d(3, 4, 5, num_kernels=1)

    def forward(self, x):
        return self.last(self.shared(self.shared(self.first(x)))).mean((2, 3))


@pytest.fixture(scope="module")
def networks(small_model, shake):
    torch.manual_seed(4)
    others = {
        "ResNet50": od_resnet50(4, width=4, num_kernels=2),
        "MobileNetV2": od_mobilenetv2(4, width_mult=0.35, num_kernels=2),
        "twice": Twice(),
    }
    return {"ResNet18": small_model} | {name: shake(model).eval() for name, model in others.items()}


names = pytest.mark.parametrize("name", ["ResNet18", "ResNet50", "MobileNetV2", "twice"])
settings_ = pytest.mark.parametrize("settings", SETTINGS, ids=["default", "tempered", "ablated"])


@names
@settings_
def test_a_record_is_what_a_probe_records_as_numpy_arrays(networks, name, settings):
    model, x = networks[name], torch.randn(2, 3, 45, 38)
    explanation = explain(model, x, settings)
    with torch.no_grad(), probe(model, settings) as trace:
        logits = model(x)
    assert explanation.settings == settings
    np.testing.assert_array_equal(explanation.logits, logits.numpy())
    assert list(explanation.layers) == list(trace)
    for layer, record in explanation.layers.items():
        for kind in ("logits", "attention"):
            for head, values in getattr(record, kind)._asdict().items():
                probed = getattr(getattr(trace[layer], kind), head)
                assert (values is None) == (probed is None)
                if values is not None:
                    assert values.dtype == np.float32
                    np.testing.assert_array_equal(values, probed.numpy())


@names
def test_the_shapes_are_what_a_forward_hook_sees(networks, name):
    hooked, seen = copy.deepcopy(networks[name]), []
    for layer, module in hooked.named_modules():
        if isinstance(module, ODConv2d):
            module.register_forward_hook(lambda m, x, y, layer=layer: seen.append((layer, x[0].shape, y.shape, m)))
    x = torch.randn(2, 3, 45, 38)
    hooked(x)
    layers = explain(networks[name], x).layers
    assert len(layers) == len(seen)
    for (called, record), (layer, x_shape, y_shape, module) in zip(layers.items(), seen, strict=True):
        assert called.partition("#")[0] == layer  # and so in execution order
        assert record.input_shape == x_shape[1:]
        assert record.output_shape == y_shape[1:]
        assert record.weight_shape == module.weight.shape
        assert (record.stride, record.groups) == (module.stride, module.groups)


@names
def test_each_head_has_the_shape_of_what_it_attends_over(networks, name):
    for record in explain(networks[name], torch.randn(2, 3, 45, 38)).layers.values():
        kernels, c_out, per_group, k, _ = record.weight_shape
        c_in = record.input_shape[0]
        shapes = {"spatial": (2, k, k), "channel": (2, c_in), "filter": (2, c_out), "kernel": (2, kernels)}
        depthwise = record.groups == c_in == c_out
        absent = {"spatial": k == 1, "channel": False, "filter": depthwise, "kernel": kernels == 1}
        assert per_group * record.groups == c_in
        for head in HEADS:
            logits, attention = getattr(record.logits, head), getattr(record.attention, head)
            assert (logits is None) == (attention is None) == absent[head]
            if not absent[head]:
                assert logits.shape == attention.shape == shapes[head]


def test_layers_come_in_execution_order_and_a_second_call_by_number(networks):
    layers = explain(networks["twice"], torch.randn(1, 3, 21, 20)).layers
    assert list(layers) == ["first", "shared", "shared#2", "last"]
    # By hand: 5x5; 3x3, padding 1, stride 2, twice; 3x3 with stride (2, 1), padding (0, 2), dilation (1, 2).
    sizes = [(17, 16), (9, 8), (5, 4), (2, 4)]
    assert [record.output_shape[1:] for record in layers.values()] == sizes


def test_a_static_model_gives_no_layers_and_its_logits(images):
    model = resnet18(5, width=4, stem="small").eval()
    explanation = explain(model, images, Settings(temperature=9.0))
    assert explanation.layers == {}
    np.testing.assert_array_equal(explanation.logits, model(images).detach().numpy())


@names
@settings_
def test_one_picture_of_a_record_is_the_record_of_that_picture_alone(networks, name, settings):
    model, x = networks[name], torch.randn(3, 3, 37, 37, generator=torch.Generator().manual_seed(0))
    together = explain(model, x, settings)
    for n in range(3):
        taken, alone = together.picture(n), explain(model, x[n : n + 1], settings)
        assert taken.settings == alone.settings
        np.testing.assert_allclose(taken.logits, alone.logits, rtol=1e-5, atol=1e-5)
        assert list(taken.layers) == list(alone.layers)
        for layer, record in taken.layers.items():
            other = alone.layers[layer]
            for kind in ("logits", "attention"):
                for one, wanted in zip(getattr(record, kind), getattr(other, kind), strict=True):
                    assert (one is None) == (wanted is None)
                    if one is not None:
                        np.testing.assert_allclose(one, wanted, rtol=1e-5, atol=1e-5)
            for field in ("weight_shape", "stride", "groups", "input_shape", "output_shape"):
                assert getattr(record, field) == getattr(other, field)


def test_explaining_changes_neither_the_model_nor_the_pictures(small_model, images):
    before = {name: t.clone() for name, t in small_model.state_dict().items()}
    pictures, logits = images.clone(), small_model(images)
    explain(small_model, images, Settings(temperature=4.0))
    assert torch.equal(images, pictures)
    assert all(torch.equal(t, before[name]) for name, t in small_model.state_dict().items())
    assert torch.equal(small_model(images), logits)


def test_pictures_are_cast_to_the_precision_of_the_model(small_model, images):
    double = copy.deepcopy(small_model).double()
    one, other = explain(double, images), explain(small_model, images.double())
    assert other.logits.dtype == one.logits.dtype == np.float32
    np.testing.assert_allclose(one.logits, other.logits, rtol=1e-3, atol=1e-4)


def test_a_record_cannot_be_changed_by_accident(small_model, images):
    explanation = explain(small_model, images)
    for frozen in (explanation, next(iter(explanation.layers.values()))):
        with pytest.raises(dataclasses.FrozenInstanceError):
            frozen.logits = None


# --- what is made of a record -----------------------------------------------------------------------------------------

SHARES = [
    ([0.25, 0.25, 0.25, 0.25], math.log(4), 4.0),
    ([1.0, 0.0, 0.0, 0.0], 0.0, 1.0),
    ([0.5, 0.5, 0.0, 0.0], math.log(2), 2.0),
    ([0.5, 0.25, 0.25, 0.0], 1.5 * math.log(2), 2**1.5),
    ([0.75, 0.25, 0.0, 0.0], 2 * math.log(2) - 0.75 * math.log(3), 4 / 3**0.75),
]


@pytest.mark.parametrize(("shares", "nats", "kernels"), SHARES)
def test_entropy_and_effective_kernels_have_their_hand_worked_values(shares, nats, kernels):
    shares = np.array(shares, dtype=np.float32)
    assert entropy(shares) == pytest.approx(nats, abs=1e-12)
    assert effective_kernels(shares) == pytest.approx(kernels, abs=1e-12)


def test_entropy_is_taken_over_the_last_axis():
    shares = np.array([row for row, _, _ in SHARES]).reshape(1, 5, 4)
    np.testing.assert_allclose(entropy(shares), [[nats for _, nats, _ in SHARES]], atol=1e-12)
    np.testing.assert_allclose(effective_kernels(shares), [[kernels for _, _, kernels in SHARES]])


def test_effective_kernels_lie_between_one_and_the_kept_ones(small_model, images):
    for kernels in (1, 2, 3, 4):
        for record in explain(small_model, images, Settings(kernels=kernels)).layers.values():
            effective = effective_kernels(record.attention.kernel)
            assert effective.shape == (3,)
            assert (effective >= 1 - 1e-6).all()
            assert (effective <= kernels + 1e-5).all()


def test_probabilities_are_the_softmax_of_the_logits():
    logits = np.array([[0.0, math.log(3)], [1e4, -1e4], [-1e30, -1e30]], dtype=np.float32)
    np.testing.assert_allclose(softmax(logits), [[0.25, 0.75], [1, 0], [0.5, 0.5]], atol=1e-7)
    assert softmax(logits).dtype == np.float64


def test_an_explanation_gives_probabilities_of_its_logits(small_model, images):
    explanation = explain(small_model, images)
    powers = np.exp(explanation.logits.astype(np.float64))
    np.testing.assert_allclose(explanation.probabilities, powers / powers.sum(1, keepdims=True), rtol=1e-9)


def test_the_difference_between_pictures_is_the_mean_of_the_standard_deviations():
    head = np.array([[0.0, 1.0, 5.0], [2.0, 1.0, 11.0]])
    assert spread(head) == pytest.approx((1 + 0 + 3) / 3)
    assert spread(head[:1]) == 0
    assert spread(head.reshape(2, 3, 1)) == pytest.approx(4 / 3)


# --- several records as one -------------------------------------------------------------------------------------------


@names
@settings_
def test_records_of_pictures_stacked_are_the_record_of_them_all(networks, name, settings):
    model, x = networks[name], torch.randn(4, 3, 37, 37, generator=torch.Generator().manual_seed(0))
    whole = stack([explain(model, part, settings) for part in (x[:1], x[1:3], x[3:])])
    together = explain(model, x, settings)
    assert whole.settings == settings
    np.testing.assert_allclose(whole.logits, together.logits, rtol=1e-5, atol=1e-5)
    assert list(whole.layers) == list(together.layers)
    for layer, record in whole.layers.items():
        other = together.layers[layer]
        for one, wanted in zip((*record.logits, *record.attention), (*other.logits, *other.attention), strict=True):
            assert (one is None) == (wanted is None)
            if one is not None:
                np.testing.assert_allclose(one, wanted, rtol=1e-5, atol=1e-5)
        for field in ("weight_shape", "stride", "groups", "input_shape", "output_shape"):
            assert getattr(record, field) == getattr(other, field)
        assert (record.kept is None) == (record.weight_shape[0] == 1)
        assert record.kept is None or record.kept.shape == (4, record.weight_shape[0])


def test_the_pictures_of_a_stack_are_the_records_it_was_made_of(networks):
    model, x = networks["twice"], torch.randn(3, 3, 37, 37, generator=torch.Generator().manual_seed(0))
    alone = [explain(model, picture[None], Settings(kernels=2)) for picture in x]
    whole = stack(alone)
    for n, one in enumerate(alone):
        np.testing.assert_array_equal(whole.picture(n).logits, one.logits)
        for layer, record in one.layers.items():
            taken = whole.layers[layer].picture(n)
            np.testing.assert_equal(tuple(taken.attention), tuple(record.attention))
            np.testing.assert_equal(tuple(taken.logits), tuple(record.logits))
            np.testing.assert_equal(taken.kept, record.kept)


def test_only_records_of_one_network_size_and_settings_can_be_stacked(networks):
    x = torch.zeros(1, 3, 37, 37)
    one = explain(networks["twice"], x)
    for others, message in (
        ([], "at least one"),
        ([one, explain(networks["twice"], x, Settings(2.0))], "different settings"),
        ([one, explain(networks["ResNet18"], x)], "different layers"),
        ([one, explain(networks["twice"], torch.zeros(1, 3, 41, 41))], "different layers"),
    ):
        with pytest.raises(ValueError, match=message):
            stack(others)


def test_a_picture_that_a_record_does_not_hold_is_an_index_error(networks):
    together = explain(networks["ResNet18"], torch.zeros(2, 3, 32, 32))
    with pytest.raises(IndexError):
        together.picture(2)


@names
@settings_
def test_the_input_that_is_kept_is_what_a_hook_sees_in_a_copy(networks, name, settings):
    model, x = networks[name], torch.randn(2, 3, 45, 38)
    last = list(explain(model, x, settings).layers)[-2]
    private, seen = copy.deepcopy(model), []
    private.get_submodule(last.partition("#")[0]).register_forward_hook(
        lambda _, given, __: seen.append(given[0].clone())
    )
    record = explain(model, x, settings, keep_input_of=last)
    explain(private, x, settings)
    np.testing.assert_array_equal(record.layers[last].input, seen[-1].numpy())
    assert [layer for layer, one in record.layers.items() if one.input is not None] == [last]
    np.testing.assert_array_equal(record.picture(1).layers[last].input, seen[-1][[1]].numpy())
    both = stack([record, record]).layers[last].input
    np.testing.assert_array_equal(both, torch.cat([seen[-1], seen[-1]]).numpy())
    assert stack([record, explain(model, x, settings)]).layers[last].input is None


def test_the_input_that_is_kept_is_of_before_later_layers_wrote_into_it():
    class Writing(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = ODConv2d(3, 3, 1)

        def forward(self, x):
            x = x + 0
            y = self.layer(x)
            x.zero_()
            return (y + x).mean((2, 3))

    x = torch.randn(1, 3, 4, 4)
    record = explain(Writing().eval(), x, keep_input_of="layer")
    np.testing.assert_array_equal(record.layers["layer"].input, x.numpy())


def test_a_layer_that_is_not_there_has_no_input_to_keep(small_model, images):
    with pytest.raises(ValueError, match="layer9"):
        explain(small_model, images, keep_input_of="layer9")


def test_a_layers_spread_is_the_mean_over_the_heads_that_it_has(small_model, images):
    layer = explain(small_model, images).layers["layer2.0.conv1"]
    heads = [head.reshape(len(images), -1) for head in layer.attention]
    by_head = [np.mean([entries.std() for entries in head.T]) for head in heads]
    assert layer_spread(layer) == pytest.approx(np.mean(by_head), rel=1e-5)
    without = dataclasses.replace(layer, attention=layer.attention._replace(kernel=None))
    assert layer_spread(without) == pytest.approx(np.mean(by_head[:3]), rel=1e-5)
