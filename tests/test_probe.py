import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import nn

import odconv.layer
from odconv import HEADS, ODConv2d, Settings, apply_settings, probe
from odconv.attention import Heads, attend
from odconv.backbones import od_mobilenetv2
from odconv.layer import od_conv2d

HOT = Settings(temperature=5.0)
ONE = Settings(kernels=1)


def layers(model):
    return [name for name, module in model.named_modules() if isinstance(module, ODConv2d)]


def run(model, images, settings=None):
    """Logits and trace of one probed pass."""
    with torch.no_grad(), probe(model, settings) as trace:
        return model(images), trace


def same(one, other):
    """Whether two traces hold the same layers, in the same order, with the same numbers to the bit."""
    return list(one) == list(other) and all(
        (a is None and b is None) or torch.equal(a, b)
        for name in one
        for kind in ("logits", "attention")
        for a, b in zip(getattr(one[name], kind), getattr(other[name], kind), strict=True)
    )


@pytest.fixture(scope="module")
def pair(shake):
    """Two layers in a row."""
    torch.manual_seed(2)
    return shake(nn.Sequential(ODConv2d(3, 4, 3, padding=1), ODConv2d(4, 4, 1))).eval()


@pytest.fixture(scope="module")
def shared(shake):
    """One layer of each kind, one of them called twice, and few enough for hundreds of passes."""
    torch.manual_seed(3)
    again = ODConv2d(8, 8, 3, padding=1)
    return shake(
        nn.Sequential(
            ODConv2d(3, 8, 5, stride=2, num_kernels=1), again, nn.BatchNorm2d(8), nn.ReLU(), again,
            ODConv2d(8, 8, 3, groups=8), ODConv2d(8, 16, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
        )
    ).eval().requires_grad_(False)  # fmt: skip


@pytest.fixture(scope="module")
def hot_and_plain(small_model, images):
    hot, plain = run(small_model, images, HOT)[0], small_model(images)
    assert not torch.allclose(hot, plain, rtol=1e-2)  # otherwise nothing below could fail
    return hot, plain


# --- what is recorded -------------------------------------------------------------------------------------------------


def test_every_dynamic_layer_is_recorded_by_name_in_execution_order(small_model, images):
    trace = run(small_model, images)[1]
    assert list(trace) == [f"layer{s}.{b}.conv{c}" for s in (1, 2, 3, 4) for b in (0, 1) for c in (1, 2)]
    assert list(trace) == layers(small_model)


def test_a_mobilenet_records_which_heads_its_layers_have(shake):
    model = shake(od_mobilenetv2(4, width_mult=0.35)).eval()
    trace = run(model, torch.randn(1, 3, 32, 32))[1]
    assert list(trace) == layers(model)
    for name, record in trace.items():
        layer = model.get_submodule(name)
        depthwise = layer.groups == layer.in_channels == layer.out_channels
        present = [head is not None for head in record.attention]
        assert present == [layer.kernel_size > 1, True, not depthwise, True]
        assert not all(present)  # no MobileNetV2 layer has all four


def test_a_record_holds_raw_logits_of_all_kernels_and_what_was_applied(pair):
    x, settings = torch.randn(2, 3, 6, 6), Settings(temperature=2.0, kernels=3, keep="first")
    record = run(pair, x, settings)[1]["0"]
    raw = pair[0].attention(x)
    for head in HEADS:
        assert torch.equal(getattr(record.logits, head), getattr(raw, head))
        assert torch.equal(getattr(record.attention, head), getattr(attend(raw, settings), head))
    assert torch.equal(record.attention.spatial, torch.sigmoid(raw.spatial / 2))
    assert (record.attention.kernel[:, 3] == 0).all()
    assert record.input_shape == (2, 3, 6, 6)


def test_given_attentions_are_applied_in_their_layer_and_nowhere_else(pair):
    x, shares = torch.randn(2, 3, 6, 6), torch.tensor([0.0, 1.0, 0.0, 0.0])
    plain = run(pair, x)[1]
    with torch.no_grad(), probe(pair, HOT, given={"1": Heads(None, None, None, shares)}) as trace:
        found = pair(x)
    assert torch.equal(trace["1"].attention.kernel, shares.expand(2, 4))
    assert torch.equal(trace["1"].attention.channel, attend(trace["1"].logits, HOT).channel)
    assert torch.equal(trace["0"].attention.kernel, attend(plain["0"].logits, HOT).kernel)
    with torch.no_grad():
        by_hand = od_conv2d(
            run(pair[0], x, HOT)[0], pair[1].weight, trace["1"].attention._replace(kernel=shares.expand(2, 4))
        )
    torch.testing.assert_close(found, by_hand)


def test_given_attention_for_an_unknown_layer_is_refused_and_names_it(pair):
    with (
        pytest.raises(ValueError, match=r"given=\['7'\]"),
        probe(pair, given={"7": Heads(None, None, None, None)}),
    ):
        pass


def test_a_layer_called_three_times_is_recorded_three_times(shake):
    torch.manual_seed(0)
    layer = shake(ODConv2d(4, 4, 3, padding=1)).eval()
    model = nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), layer)
    x = torch.randn(2, 4, 5, 5)
    trace = run(model, x)[1]
    assert list(trace) == ["0", "0#2", "0#3"]
    with torch.no_grad():
        second = layer(x).relu()
        third = layer(second).relu()
        for name, seen in (("0", x), ("0#2", second), ("0#3", third)):
            assert torch.equal(trace[name].logits.channel, layer.attention(seen).channel)


def test_a_layer_by_itself_can_be_probed(pair):
    x = torch.randn(1, 3, 5, 5)
    with probe(pair[0]) as trace:
        pair[0](x)
        pair[0](x)
    assert list(trace) == ["", "#2"]


def test_records_are_detached_and_float32_while_training(shake):
    model = shake(ODConv2d(3, 4, 3, padding=1)).train()
    with probe(model) as trace:
        y = model(torch.randn(2, 3, 6, 6, requires_grad=True))
    assert y.requires_grad
    for heads in (trace[""].logits, trace[""].attention):
        assert all(head.dtype == torch.float32 and not head.requires_grad for head in heads)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_records_are_float32_in_other_precisions(shake, dtype):
    model = shake(ODConv2d(3, 4, 3, padding=1)).eval().to(dtype)
    with probe(model) as trace:
        model(torch.randn(2, 3, 6, 6, dtype=dtype))
    for heads in (trace[""].logits, trace[""].attention):
        assert all(head.dtype == torch.float32 for head in heads)


def test_under_bfloat16_autocast_a_record_is_in_float32_what_was_applied(monkeypatch, small_model, images):
    applied, ours = [], odconv.layer.od_conv2d

    def spied(x, weight, attention, **where):
        applied.append(attention)
        return ours(x, weight, attention, **where)

    monkeypatch.setattr(odconv.layer, "od_conv2d", spied)
    with torch.no_grad(), probe(small_model) as trace, torch.autocast("cpu", torch.bfloat16):
        small_model(images)
    assert applied[0].channel.dtype == torch.bfloat16
    for record, heads in zip(trace.values(), applied, strict=True):
        assert all(head.dtype == torch.float32 for head in (*record.logits, *record.attention))
        assert all(torch.equal(one, other.float()) for one, other in zip(record.attention, heads, strict=True))


def test_two_probes_one_after_the_other_record_for_themselves(pair):
    x = torch.randn(1, 3, 5, 5)
    first, second = run(pair, x)[1], run(pair, x, HOT)[1]
    assert list(first) == list(second) == ["0", "1"]
    assert not same(first, second)


def test_asking_for_a_layer_that_was_not_run_names_those_that_were(pair):
    trace = run(pair, torch.randn(1, 3, 5, 5))[1]
    with pytest.raises(KeyError, match=r"layer9.*0, 1"):
        trace["layer9"]


# --- whom settings reach ------------------------------------------------------------------------------------------------------


def test_a_probe_acts_inside_its_block_and_not_after(small_model, images, hot_and_plain):
    hot, plain = hot_and_plain
    with torch.no_grad(), probe(small_model, HOT):
        assert torch.equal(small_model(images), hot)
    assert torch.equal(small_model(images), plain)


def test_a_probe_without_settings_changes_nothing(small_model, images, hot_and_plain):
    assert torch.equal(run(small_model, images)[0], hot_and_plain[1])


def test_the_innermost_probe_alone_acts_and_records_and_the_outer_is_back_after_it(small_model, images, hot_and_plain):
    hot, plain = hot_and_plain
    with probe(small_model, HOT) as outer:
        with probe(small_model) as inner:
            assert torch.equal(small_model(images), plain)
        assert len(inner) == 16
        assert len(outer) == 0
        assert torch.equal(small_model(images), hot)
    assert list(outer) == list(inner)  # no "#2": the inner pass was not counted


def test_the_outer_probe_is_back_after_an_exception(small_model, images, hot_and_plain):
    hot, plain = hot_and_plain
    with probe(small_model, HOT) as outer:
        with pytest.raises(ZeroDivisionError), probe(small_model, ONE):
            raise ZeroDivisionError
        assert torch.equal(small_model(images), hot)
    assert len(outer) == 16
    with pytest.raises(RuntimeError), probe(small_model, HOT):
        small_model(torch.zeros(1, 7, 32, 32))  # fails inside the network
    assert torch.equal(small_model(images), plain)


def test_layers_outside_the_probed_model_run_plainly_and_unrecorded(pair):
    x = torch.randn(2, 3, 5, 5)
    plain = pair(x)
    with probe(pair[1], HOT) as trace:
        y = pair[0](x)
        pair[1](y)
    assert torch.equal(y, pair[0](x))
    assert list(trace) == [""]
    with probe(pair[1], HOT), probe(nn.Identity(), HOT) as nothing:
        assert torch.equal(pair(x), plain)  # the outer probe knows pair[1], but the innermost alone acts
    assert len(nothing) == 0


def test_applied_settings_act_on_every_layer_and_record_nothing(small_model, images, hot_and_plain):
    hot, plain = hot_and_plain
    with apply_settings(HOT):
        assert torch.equal(small_model(images), hot)
    assert torch.equal(small_model(images), plain)
    with probe(small_model) as outer, apply_settings(HOT):
        assert torch.equal(small_model(images), hot)
    assert len(outer) == 0


def test_a_probe_inside_applied_settings_acts_instead_of_them(small_model, images, hot_and_plain):
    with apply_settings(HOT), probe(small_model) as trace:
        assert torch.equal(small_model(images), hot_and_plain[1])
    assert len(trace) == 16


def test_settings_for_some_layers_leave_the_others_as_trained(small_model, images):
    some = ("layer1.0.conv2", "layer3.1.conv1")
    trained = run(small_model, images)[1]
    with torch.no_grad(), probe(small_model, replace(HOT, layers=some)) as trace:
        small_model(images)
    first = "layer1.0.conv1"  # before the first chosen layer, everything is as trained
    assert all(torch.equal(a, b) for a, b in zip(trace[first].attention, trained[first].attention, strict=True))
    for name, record in trace.items():
        expected = attend(record.logits, HOT if name in some else Settings())
        assert all(torch.equal(a, b) for a, b in zip(record.attention, expected, strict=True))
    assert not torch.equal(trace[some[0]].attention.kernel, trained[some[0]].attention.kernel)


def test_layers_that_the_model_does_not_have_are_named(small_model):
    with pytest.raises(ValueError, match="layer9"), probe(small_model, Settings(layers=("layer9", "layer1.0.conv1"))):
        pytest.fail("the block was entered")


def test_layers_have_no_names_outside_a_probe():
    with pytest.raises(ValueError, match="probe"), apply_settings(Settings(layers=("layer1.0.conv1",))):
        pytest.fail("the block was entered")


def test_a_new_thread_sees_the_defaults(small_model, images, hot_and_plain):
    seen = []
    with probe(small_model, HOT) as trace:
        thread = threading.Thread(target=lambda: seen.append(small_model(images)))
        thread.start()
        thread.join()
    assert torch.equal(seen[0], hot_and_plain[1])
    assert len(trace) == 0


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: nn.Sequential(nn.DataParallel(model))])
def test_data_parallel_under_a_probe_is_refused_and_leaves_no_trace(pair, wrap):
    x = torch.randn(1, 3, 5, 5)
    with pytest.raises(ValueError, match=r"DataParallel.*\.module"), probe(wrap(pair), HOT):
        pytest.fail("the block was entered")
    with apply_settings(Settings()):
        plain = pair(x)
    assert torch.equal(pair(x), plain)


# --- no trace on the model --------------------------------------------------------------------------------------------


def snapshot(model):
    """Every module's __dict__, and the identity, version and bytes of every tensor in it."""
    attributes = {
        name: {key: dict(value) if isinstance(value, dict) else value for key, value in vars(module).items()}
        for name, module in model.named_modules()
    }
    tensors = {name: (id(t), t._version) for name, t in (*model.named_parameters(), *model.named_buffers())}
    return attributes, tensors, {name: t.numpy().tobytes() for name, t in model.state_dict().items()}


def thirty_settings():
    chooser = random.Random(0)
    settings = [
        Settings(
            temperature=chooser.choice([0.5, 1.0, 2.0, 30.0]),
            tempered=chooser.choice([HEADS, ("kernel",), ("channel", "filter")]),
            kernels=chooser.choice([None, 1, 2, 3]),
            keep=chooser.choice(["first", "strongest"]),
            compensate=chooser.choice([False, True]),
            ablate=chooser.choice([(), ("spatial",), ("kernel", "filter"), HEADS]),
        )
        for _ in range(60)
    ]
    distinct = list(dict.fromkeys(settings))[:30]
    assert len(distinct) == 30
    return distinct


def test_eight_threads_on_one_model_give_bitwise_what_they_give_one_after_another(shared):
    settings = thirty_settings()
    x = torch.randn(4, 3, 14, 14)
    before = snapshot(shared)
    serial = [run(shared, x, some) for some in settings]
    assert len({logits.numpy().tobytes() for logits, _ in serial}) > 20  # the settings do differ in effect
    start = threading.Barrier(8)

    def visitor(seed):
        order = random.Random(seed).sample(range(30), 30)
        start.wait(timeout=30)
        return {i: run(shared, x, settings[i]) for i in order}

    with ThreadPoolExecutor(8) as pool:
        visits = list(pool.map(visitor, range(8)))
    for visit in visits:
        for i, (logits, trace) in visit.items():
            assert torch.equal(logits, serial[i][0]), settings[i]
            assert same(trace, serial[i][1]), settings[i]
    assert snapshot(shared) == before


def test_a_failed_pass_leaves_no_trace_on_the_model(small_model):
    before = snapshot(small_model)
    with pytest.raises(RuntimeError), probe(small_model, HOT):
        small_model(torch.zeros(1, 7, 32, 32))
    assert snapshot(small_model) == before
