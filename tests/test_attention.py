import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from odconv.attention import HEADS, LEARNED, Heads, Settings, attend, fewest_temperatures, kept_kernels
from tests import oracle

GATES = ("spatial", "channel", "filter")
SHAPES = {"spatial": (3, 3), "channel": (5,), "filter": (4,), "kernel": (4,)}

subsets = st.lists(st.sampled_from(HEADS), unique=True).map(tuple)


def rounded(low, high):
    """Numbers on a grid of 1/8: float32 holds them exactly, and ties happen."""
    return st.integers(low * 8, high * 8).map(lambda n: n / 8)


@st.composite
def many_heads(draw, reach=6):
    """Float64 logits of a few pictures; any head but the channel head may be absent, and K varies."""
    pictures = draw(st.integers(1, 3))
    shapes = SHAPES | {"kernel": (draw(st.integers(2, 6)),)}
    absent = draw(st.sets(st.sampled_from(["spatial", "filter", "kernel"])))
    return {
        head: draw(hnp.arrays(np.float64, (pictures, *shape), elements=rounded(-reach, reach)))
        for head, shape in shapes.items()
        if head not in absent
    }


one_temperature = st.sampled_from([0.25, 0.5, 1.0, 1.5, 3.0, 30.0, 1e4])


@st.composite
def many_rules(draw, free=HEADS):
    """For each of the ``free`` heads, one of the rules or none."""
    rule = st.sampled_from([None, "uniform", "argmax", "shuffled"])
    return Heads(*(draw(rule) if head in free else None for head in HEADS))


@st.composite
def many_settings(draw):
    ablate = draw(subsets)
    return Settings(
        temperature=draw(one_temperature | st.builds(Heads, *[one_temperature] * len(HEADS))),
        tempered=draw(subsets),
        kernels=draw(st.none() | st.integers(1, 8)),
        keep=draw(st.sampled_from(["first", "strongest"])),
        compensate=draw(st.booleans()),
        ablate=ablate,
        replaced=draw(many_rules([head for head in HEADS if head not in ablate])),
        seed=draw(st.integers(0, 9)),
    )


def as_heads(logits, dtype=torch.float64):
    return Heads(*(torch.tensor(logits[head], dtype=dtype) if head in logits else None for head in HEADS))


def present(heads):
    return {head: values for head, values in zip(HEADS, heads, strict=True) if values is not None}


def assert_close(heads, expected, tolerance):
    assert present(heads).keys() == expected.keys()
    for head, values in present(heads).items():
        np.testing.assert_allclose(values.numpy(), expected[head], rtol=0, atol=tolerance, err_msg=head)


# --- the order of operations ------------------------------------------------------------------------------------------


@given(many_heads(), many_settings())
def test_attend_follows_the_definition_in_float64(logits, settings):
    assert_close(attend(as_heads(logits), settings), oracle.attend(logits, **vars(settings)), 1e-12)


@given(many_heads(), many_settings())
def test_attend_follows_the_definition_in_float32(logits, settings):
    expected = oracle.attend(logits, **vars(settings))
    # Logits over temperatures reach 24, so an exponent is off by up to 24 eps, and a difference of two by twice that; nine
    # entries are summed. A gate or share is a quotient of two such sums.
    found = present(attend(as_heads(logits, torch.float32), settings))
    for head, values in found.items():
        bound = 2 * (2 * 24 + 9 + 8) * np.finfo(np.float32).eps
        np.testing.assert_allclose(values.numpy(), expected[head], rtol=bound, atol=0, err_msg=head)


def test_a_hand_worked_example_holds():
    third = math.log(0.5)  # a logit whose gate is 1/3
    logits = Heads(
        spatial=None,
        channel=torch.tensor([[0.0, 2 * third]], dtype=torch.float64),
        filter=torch.tensor([[0.0, third]], dtype=torch.float64),
        kernel=torch.tensor([[0.0, 2 * math.log(3.0), 9.0]], dtype=torch.float64),
    )
    settings = Settings(temperature=2.0, kernels=2, keep="first", compensate=True, ablate=("filter",))
    channel, filter, kernel = attend(logits, settings)[1:]
    # At T = 2 the channel gates are 1/2 and 1/3, mean 5/12; at T = 1 they are 1/2 and 1/5, mean 7/20.
    np.testing.assert_allclose(channel, [[0.5 * 0.84, 0.84 / 3]], rtol=1e-12)
    np.testing.assert_allclose(filter, [[5 / 12, 5 / 12]], rtol=1e-12)
    np.testing.assert_allclose(kernel, [[0.25, 0.75, 0.0]], rtol=1e-12)


@given(many_heads(reach=30))
def test_the_default_is_the_trained_model_bit_for_bit(logits):
    heads = as_heads(logits, torch.float32)
    for settings in (Settings(), Settings(compensate=True), Settings(temperature=7.0, tempered=())):
        for head, values in present(attend(heads, settings)).items():
            raw = getattr(heads, head)
            assert torch.equal(values, raw.softmax(1) if head == "kernel" else raw.sigmoid())


@given(many_heads(), many_settings())
def test_attend_leaves_its_logits_alone(logits, settings):
    heads = as_heads(logits)
    attend(heads, settings)
    for head, values in present(heads).items():
        assert np.array_equal(values.numpy(), logits[head])


@given(many_heads(), many_settings())
def test_a_picture_is_attended_to_as_if_it_were_alone(logits, settings):
    together = present(attend(as_heads(logits), settings))
    for n in range(len(logits["channel"])):
        alone = present(attend(as_heads({head: values[n : n + 1] for head, values in logits.items()}), settings))
        for head in together:
            np.testing.assert_allclose(together[head][n : n + 1], alone[head], rtol=1e-13)


@given(many_heads(), many_settings())
def test_an_absent_head_stays_absent(logits, settings):
    assert [head is None for head in attend(as_heads(logits), settings)] == [head not in logits for head in HEADS]


def test_gradients_reach_the_logits_of_every_head():
    torch.manual_seed(0)
    shapes = [(2, *SHAPES[head]) for head in HEADS]
    logits = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    settings = Settings(temperature=3.0, kernels=3, compensate=True)
    assert torch.autograd.gradcheck(lambda *heads: tuple(attend(Heads(*heads), settings)), logits)


# --- kernels: which stay ----------------------------------------------------------------------------------------------


@given(many_heads(reach=30), many_settings())
def test_kernel_shares_sum_to_one_and_dropped_ones_are_exactly_zero(logits, settings):
    shares = attend(as_heads(logits), settings).kernel
    if shares is None:
        return
    np.testing.assert_allclose(shares.sum(1), 1.0, rtol=1e-12)
    total = shares.shape[1]
    dropped = total - min(settings.kernels or total, total)
    for row, raw in zip(shares, logits["kernel"], strict=True):
        if settings.keep == "first":
            assert (row[total - dropped :] == 0).all()
        assert (row == 0).sum() >= dropped
        assert (row[np.argsort(-raw, kind="stable")[0]] > 0) or settings.keep == "first"


def test_the_first_kernels_stay_whatever_their_logits():
    logits = Heads(None, None, None, torch.tensor([[1.0, 5.0, 3.0, 9.0], [9.0, 0.0, 7.0, 1.0]]))
    kept = attend(logits, Settings(kernels=2, keep="first")).kernel > 0
    assert kept.tolist() == [[True, True, False, False]] * 2


def test_the_strongest_kernels_are_chosen_for_each_picture():
    logits = Heads(None, None, None, torch.tensor([[1.0, 5.0, 3.0, 9.0], [9.0, 0.0, 7.0, 1.0]]))
    kept = attend(logits, Settings(kernels=2, keep="strongest")).kernel > 0
    assert kept.tolist() == [[False, True, False, True], [True, False, True, False]]


@pytest.mark.parametrize(
    ("raw", "count", "kept"),
    [
        ([2.0, 2.0, 2.0, 2.0], 1, [True, False, False, False]),
        ([2.0, 2.0, 2.0, 2.0], 3, [True, True, True, False]),
        ([0.0, 2.0, 1.0, 2.0], 1, [False, True, False, False]),
        ([1.0, 2.0, 1.0, 1.0], 2, [True, True, False, False]),
        ([1.0] * 20 + [2.0] * 20, 25, [True] * 5 + [False] * 15 + [True] * 20),
    ],
)
def test_a_tie_between_kernels_goes_to_the_lower_index(raw, count, kept):
    settings = Settings(kernels=count, keep="strongest")
    assert (attend(Heads(None, None, None, torch.tensor([raw])), settings).kernel > 0).tolist() == [kept]
    assert kept_kernels(torch.tensor([raw]), settings).tolist() == [kept]


def test_the_strongest_are_chosen_by_raw_logit_even_where_the_temperature_makes_them_equal():
    logits = Heads(None, None, None, torch.tensor([[1.0, 1.0001]]))
    settings = Settings(temperature=1e30, kernels=1, keep="strongest")
    assert attend(logits, settings).kernel.tolist() == [[0.0, 1.0]]


@given(st.integers(2, 6), st.sampled_from(["first", "strongest"]))
def test_kernels_are_clamped_to_what_a_layer_has(total, keep):
    logits = Heads(None, None, None, torch.arange(float(total))[None])
    assert torch.equal(attend(logits, Settings(kernels=total + 3, keep=keep)).kernel, logits.kernel.softmax(1))


def test_an_untempered_kernel_head_ignores_the_temperature():
    logits = Heads(None, None, None, torch.tensor([[0.0, 1.0, 2.0]]))
    settings = Settings(temperature=5.0, tempered=GATES)
    assert torch.equal(attend(logits, settings).kernel, logits.kernel.softmax(1))


# --- compensation and ablation ----------------------------------------------------------------------------------------


@given(many_heads(), st.sampled_from([0.2, 0.5, 2.0, 30.0, 1e6]), st.integers(1, 4))
def test_compensation_keeps_the_mean_that_a_head_has_at_temperature_one(logits, temperature, kernels):
    settings = Settings(temperature=temperature, kernels=kernels, compensate=True)
    attention = attend(as_heads(logits), settings)
    for head in set(GATES) & logits.keys():
        entries = tuple(range(1, logits[head].ndim))
        wanted = (1 / (1 + np.exp(-logits[head]))).mean(entries)
        np.testing.assert_allclose(getattr(attention, head).numpy().mean(entries), wanted, rtol=1e-12)


@pytest.mark.parametrize("temperature", [0.1, 0.03, 0.01, 1e-3])
def test_compensation_keeps_the_mean_even_where_every_tempered_gate_closes(temperature):
    # Each picture is closed on all entries: at a low temperature its gates are far below what float32 holds.
    logits = Heads(None, torch.tensor([[-5.0, -4.0], [-3.0, -3.0]]), None, None)
    channel = attend(logits, Settings(temperature=temperature, compensate=True)).channel
    torch.testing.assert_close(channel.mean(1), logits.channel.sigmoid().mean(1))


def test_compensation_keeps_the_ratios_between_gates():
    logits = Heads(None, torch.tensor([[-1.0, 0.5, 2.0]], dtype=torch.float64), None, None)
    plain, compensated = (attend(logits, Settings(temperature=4.0, compensate=c)).channel for c in (False, True))
    ratios = compensated / plain
    torch.testing.assert_close(ratios, ratios[:, :1].expand_as(ratios))
    assert not torch.allclose(ratios, torch.ones(3, dtype=torch.float64))


@given(many_heads(), many_settings())
def test_ablation_makes_a_head_constant_and_keeps_its_mean(logits, settings):
    settings = dataclasses.replace(settings, replaced=LEARNED)
    ablated = attend(as_heads(logits), dataclasses.replace(settings, ablate=HEADS))
    kept = attend(as_heads(logits), dataclasses.replace(settings, ablate=()))
    for head in set(GATES) & logits.keys():
        values, means = getattr(ablated, head).flatten(1), getattr(kept, head).flatten(1).mean(1)
        assert (values == values[:, :1]).all()
        np.testing.assert_allclose(values[:, 0], means, rtol=1e-12)
    if "kernel" in logits:
        total = logits["kernel"].shape[1]
        count = min(settings.kernels or total, total)
        assert ((ablated.kernel > 0).sum(1) == count).all()
        np.testing.assert_allclose(ablated.kernel[ablated.kernel > 0], 1 / count)


@given(many_heads(), many_settings(), st.sampled_from(HEADS))
def test_ablating_one_head_leaves_the_others_alone(logits, settings, ablated):
    settings = dataclasses.replace(settings, replaced=LEARNED)
    plain = present(attend(as_heads(logits), dataclasses.replace(settings, ablate=())))
    one = present(attend(as_heads(logits), dataclasses.replace(settings, ablate=(ablated,))))
    for head in plain.keys() - {ablated}:
        assert torch.equal(plain[head], one[head])


# --- rules and given attentions ---------------------------------------------------------------------------------------


def four(rule):
    return Heads(*[rule] * len(HEADS))


def test_each_rule_does_to_a_hand_worked_layer_what_it_says():
    third = math.log(0.5)  # a logit whose gate is 1/3
    logits = Heads(
        spatial=None,
        channel=torch.tensor([[0.0, third, 0.0]], dtype=torch.float64),
        filter=torch.tensor([[third, 0.0]], dtype=torch.float64),
        kernel=torch.tensor([[0.0, math.log(3.0)]], dtype=torch.float64),
    )
    uniform, argmax, shuffled = (
        attend(logits, Settings(replaced=four(rule))) for rule in ("uniform", "argmax", "shuffled")
    )
    np.testing.assert_allclose(uniform.channel, [[0.5, 0.5, 0.5]], rtol=1e-12)
    np.testing.assert_allclose(uniform.kernel, [[0.5, 0.5]], rtol=1e-12)
    np.testing.assert_allclose(argmax.channel, [[4 / 3, 0, 0]], rtol=1e-12)  # a tie: the first
    np.testing.assert_allclose(argmax.filter, [[0, 5 / 6]], rtol=1e-12)
    np.testing.assert_allclose(argmax.kernel, [[0, 1]], rtol=1e-12)
    np.testing.assert_allclose(shuffled.filter, [[0.5, 1 / 3]], rtol=1e-12)
    np.testing.assert_allclose(shuffled.kernel, [[0.75, 0.25]], rtol=1e-12)


@given(many_heads(), st.integers(0, 99))
def test_shuffled_entries_all_move_and_are_the_same_ones(logits, seed):
    numbered = {head: np.arange(values.size, dtype=float).reshape(values.shape) / 64 for head, values in logits.items()}
    plain = present(attend(as_heads(numbered), Settings()))
    for head, values in present(attend(as_heads(numbered), Settings(replaced=four("shuffled"), seed=seed))).items():
        assert (values != plain[head]).all()
        assert torch.equal(values.flatten(1).sort(1)[0], plain[head].flatten(1).sort(1)[0])


def test_a_rule_on_one_head_leaves_the_others_alone():
    torch.manual_seed(0)
    logits = Heads(*(torch.randn(2, *SHAPES[head], dtype=torch.float64) for head in HEADS))
    for i, head in enumerate(HEADS):
        one = attend(logits, Settings(replaced=Heads(*("argmax" if n == i else None for n in range(4)))))
        for other in set(HEADS) - {head}:
            assert torch.equal(getattr(one, other), getattr(attend(logits, Settings()), other))
        assert not torch.equal(getattr(one, head), getattr(attend(logits, Settings()), head))


def test_what_is_given_is_applied_to_every_picture_whatever_the_settings():
    torch.manual_seed(0)
    logits = Heads(*(torch.randn(3, *SHAPES[head], dtype=torch.float64) for head in HEADS))
    taps, shares = torch.rand(3, 3, dtype=torch.float64), torch.tensor([0.7, 0.0, 0.3, 0.0], dtype=torch.float32)
    settings = Settings(replaced=four("uniform"))
    applied = attend(logits, settings, Heads(taps, None, None, shares))
    assert torch.equal(applied.spatial, taps.expand(3, 3, 3))
    assert applied.kernel.dtype == torch.float64
    assert torch.equal(applied.kernel, shares.double().expand(3, 4))
    assert torch.equal(applied.channel, attend(logits, settings).channel)


def test_attention_of_another_shape_or_for_a_head_that_is_not_there_is_refused():
    logits = Heads(None, torch.zeros(2, 5), None, torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"channel attention of shape \(4,\) is given; \(5,\) is needed"):
        attend(logits, Settings(), Heads(None, torch.zeros(4), None, None))
    with pytest.raises(ValueError, match="the layer has no such head"):
        attend(logits, Settings(), Heads(torch.zeros(3, 3), None, None, None))


# --- extremes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compensate", [False, True])
@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-45, 1e-38, 1e-8, 1e8, 1e38, 1e300])
def test_tiny_and_huge_temperatures_give_finite_attentions(temperature, compensate):
    torch.manual_seed(0)
    channel = torch.randn(2, 5)
    channel[0, 0] = 0.0  # 0 / tiny must not become 0 / 0
    logits = Heads(
        torch.randn(2, 3, 3), channel, -3 - torch.rand(2, 4), torch.tensor([[1.0, 1.0, 0.0], [3.0, 2.0, 1.0]])
    )
    for kernels in (None, 2):
        settings = Settings(temperature=temperature, compensate=compensate, kernels=kernels)
        for head, values in present(attend(logits, settings)).items():
            assert values.isfinite().all(), (head, kernels)
    shares = attend(logits, Settings(temperature=temperature)).kernel
    wanted = [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]] if temperature < 1 else [[1 / 3] * 3] * 2
    np.testing.assert_allclose(shares, wanted, atol=1e-6)


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_huge_logits_give_finite_attentions(size):
    logits = Heads(None, torch.tensor([[-size, size]]), None, torch.tensor([[-size, 0.0, size]]))
    for settings in (Settings(), Settings(temperature=1e-9), Settings(kernels=2), Settings(ablate=HEADS)):
        for head, values in present(attend(logits, settings)).items():
            assert values.isfinite().all(), (head, settings)


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0.0),
        ("temperature", -1.0),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", "2"),
        ("temperature", None),
        ("temperature", ()),
        ("temperature", (1.0, 2.0, 3.0)),
        ("temperature", Heads(1.0, 2.0, 3.0, None)),
        ("temperature", Heads(1.0, 2.0, 3.0, 0.0)),
        ("temperature", [1.0, 2.0, 3.0, math.inf]),
        ("temperature", {"spatial": 2.0}),
        ("kernels", 0),
        ("kernels", -1),
        ("kernels", 2.5),
        ("kernels", math.nan),
        ("kernels", math.inf),
        ("kernels", "2"),
        ("keep", "last"),
        ("keep", None),
        ("tempered", ("spatial", "taps")),
        ("tempered", "spatial"),
        ("tempered", None),
        ("ablate", ("output",)),
        ("ablate", "kernel"),
        ("replaced", ("uniform", None, None)),
        ("replaced", ("uniform", None, None, "mean")),
        ("replaced", "uniform"),
        ("replaced", None),
        ("seed", -1),
        ("seed", 1.0),
        ("seed", True),
    ],
)
def test_a_setting_out_of_range_is_refused_and_the_message_says_what_came(field, value):
    with pytest.raises(ValueError) as refused:
        Settings(**{field: value})
    message = str(refused.value)
    assert f"{field}={value!r}" in message
    allowed = {"temperature": "above 0", "kernels": "at least 1", "keep": "strongest", "seed": "at least 0"}
    assert allowed.get(field, "'filter'") in message


def test_a_head_cannot_be_both_ablated_and_replaced():
    with pytest.raises(ValueError, match=r"\['kernel'\] cannot be in both"):
        Settings(ablate=("kernel", "channel"), replaced=Heads("argmax", None, None, "argmax"))


@pytest.mark.parametrize("keep", ["first", "strongest"])
def test_a_whole_number_of_kernels_may_be_a_float_or_is_refused_but_never_fails_later(keep):
    logits = Heads(None, None, None, torch.tensor([[3.0, 2.0, 1.0]]))
    try:
        settings = Settings(kernels=2.0, keep=keep)
    except ValueError:
        return
    assert (attend(logits, settings).kernel > 0).tolist() == [[True, True, False]]


def test_settings_that_mean_the_same_are_equal_and_hash_alike():
    one = Settings(tempered=("kernel", "spatial"), ablate=["filter", "channel", "filter"])
    other = Settings(tempered=("spatial", "kernel"), ablate=("channel", "filter"))
    assert one == other
    assert hash(one) == hash(other)
    assert one.tempered == ("spatial", "kernel")
    assert one.ablate == ("channel", "filter")
    assert Settings(replaced=["argmax", None, None, None]) == Settings(replaced=Heads("argmax", None, None, None))
    assert Settings(layers=["b", "a", "b"]) == Settings(layers=("a", "b"))


def test_four_temperatures_are_one_where_they_are_equal_and_each_is_its_heads():
    assert Settings(temperature=Heads(2.0, 2.0, 2.0, 2.0)) == Settings(2.0)
    assert Settings(temperature=[1.0, 1, 1.0, 1]) == Settings()
    four = Settings(temperature=[30, 1, 2, 0.5], tempered=("spatial", "kernel"))
    assert four == Settings(temperature=Heads(30.0, 1.0, 2.0, 0.5), tempered=("kernel", "spatial"))
    assert hash(four) == hash(Settings(temperature=Heads(30.0, 1.0, 2.0, 0.5), tempered=("kernel", "spatial")))
    assert four.divisors == Heads(30.0, 1.0, 1.0, 0.5)


@given(st.builds(Heads, *[one_temperature] * len(HEADS)))
def test_the_fewest_temperatures_divide_as_the_four_do(divisors):
    temperature, tempered = fewest_temperatures(divisors)
    assert Settings(temperature=temperature, tempered=tempered).divisors == divisors
    assert isinstance(temperature, tuple) == (len(set(divisors) - {1.0}) > 1)


def test_settings_default_to_the_trained_model_and_are_frozen():
    assert vars(Settings()) == {
        "temperature": 1.0,
        "tempered": ("spatial", "channel", "filter", "kernel"),
        "kernels": None,
        "keep": "strongest",
        "compensate": False,
        "ablate": (),
        "replaced": (None, None, None, None),
        "seed": 0,
        "layers": None,
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().temperature = 2.0


def test_the_heads_come_in_the_order_of_the_paper():
    assert HEADS == Heads._fields == ("spatial", "channel", "filter", "kernel")
