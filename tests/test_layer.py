"""The layer is the equation: in float64 to rounding, in float32 to what rounding can do, in half precision by its route."""

import itertools
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import odconv.layer
from odconv import HEADS, Heads, ODConv2d, Settings, apply_settings, forms, probe
from odconv.attention import attend
from tests import oracle


@dataclass(frozen=True)
class Case:
    """One geometry, with an input just large enough to have an edge and an inside."""

    name: str
    c_in: int = 4
    c_out: int = 6
    k: int = 3
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    size: tuple[int, int] = (7, 6)
    batch: int = 3

    @property
    def where(self):
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}

    def layer(self, num_kernels, dtype=torch.float64):
        torch.manual_seed(num_kernels)
        return ODConv2d(self.c_in, self.c_out, self.k, num_kernels=num_kernels, **self.where).to(dtype)

    def input(self, dtype=torch.float64, batch=None):
        generator = torch.Generator().manual_seed(7)
        shape = (batch or self.batch, self.c_in, *self.size)
        return torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype)


CASES = [
    Case("3x3", padding=(1, 1)),
    Case("3x3 without padding"),
    Case("5x5", k=5, padding=(2, 2)),
    Case("1x1", k=1),
    Case("1x1 with stride 2", k=1, stride=(2, 2)),
    Case("2x2 with stride 2", k=2, stride=(2, 2)),
    Case("stride 2", stride=(2, 2), padding=(1, 1)),
    Case("dilation 2", dilation=(2, 2), padding=(2, 2)),
    Case("two of everything", stride=(1, 2), padding=(2, 1), dilation=(2, 1)),
    Case("groups", groups=2, padding=(1, 1)),
    Case("1x1 in groups", k=1, groups=2),
    Case("depth-wise", c_out=4, groups=4, padding=(1, 1)),
    Case("depth-wise, stride 2, 5x5", c_out=4, groups=4, k=5, stride=(2, 2), padding=(2, 2)),
    Case("depth-wise with multiplier", c_out=8, groups=4, padding=(1, 1)),
    Case("one position", size=(3, 3), batch=5),
    Case("one picture", batch=1, padding=(1, 1)),
    Case("one channel", c_in=1, c_out=1, padding=(1, 1)),
]
cases = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
all_k = pytest.mark.parametrize("num_kernels", [1, 4], ids=lambda k: f"K={k}")
halves = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])


@dataclass(frozen=True)
class Form:
    """One way in which ``od_conv2d`` sums over the kernels, and what it is allowed to be called with."""

    function: str  # in odconv.forms
    takes_groups: bool = True
    forges: bool = True  # takes spatial and kernel attention; else it takes neither

    def permits(self, case, num_kernels):
        return (self.takes_groups or case.groups == 1) and self.forges == (case.k > 1 or num_kernels > 1)


FORMS = [
    Form("one_kernel", forges=False),
    Form("forge"),
    Form("mix", takes_groups=False),
]


def assert_close(actual, expected, what=""):
    """Equal to what rounding in float64 leaves, relative to the largest value."""
    assert actual.shape == expected.shape, what
    assert actual.dtype == torch.float64, what
    if expected.numel():
        error, scale = (actual - expected).abs().max(), expected.abs().max()
        assert error <= 1e-10 * scale, f"{what}: off by {error:.3g} where the largest is {scale:.3g}"


FACTORS = 6  # a product in the equation has at most these: x, W and four attentions


def assert_rounded(actual, expected, terms, absolute, what=""):
    """``actual`` is a sum of ``terms`` products as any processor may round it: in any order, fused or not.

    A sum of m products, each of f factors, is off by less than (m + f) eps times the sum of the products' absolute values
    (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1), which is ``absolute``.
    """
    assert actual.shape == expected.shape, what
    bound = 2 * (terms.max() + FACTORS) * torch.finfo(actual.dtype).eps * absolute.max()  # the oracle rounds as well
    error = (actual.double() - expected).abs().max()
    assert error <= bound, f"{what}: off by {error:.3g} where rounding makes less than {bound:.3g}"


def doubles(layer):
    """A layer's state dict as float64 leaves that record gradients."""
    return {
        name: tensor.detach().double().clone().requires_grad_("running" not in name)
        for name, tensor in layer.state_dict().items()
    }


def random_attention(case, num_kernels, dtype):
    """Attentions of which no two entries are the same: head -> (N, entries) float64, and the Heads to be applied."""
    generator = torch.Generator().manual_seed(3)
    entries = {"spatial": case.k**2, "channel": case.c_in, "filter": case.c_out, "kernel": num_kernels}
    if case.k == 1:
        del entries["spatial"]
    if num_kernels == 1:
        del entries["kernel"]
    flat = {
        head: torch.rand(case.batch, n, dtype=torch.float64, generator=generator).requires_grad_()
        for head, n in entries.items()
    }
    heads = {head: values.to(dtype) for head, values in flat.items()}
    if "spatial" in heads:
        heads["spatial"] = heads["spatial"].unflatten(1, (case.k, case.k))
    return flat, Heads(*(heads.get(head) for head in HEADS))


# --- the equation -----------------------------------------------------------------------------------------------------


def test_the_oracle_convolves_like_an_ordinary_convolution():
    for case in CASES:
        x = case.input()
        kernel = case.layer(1).weight[0].detach()
        ours = oracle.od_conv2d(x, kernel[None], {}, **case.where)
        torch.testing.assert_close(ours, F.conv2d(x, kernel, None, **case.where), msg=case.name)


MODES = [
    pytest.param(case, train, id=f"{case.name}-{'train' if train else 'eval'}")
    for case in CASES
    for train in (False, True)
    if not (train and case.batch == 1)  # one picture has no batch statistics; it has tests of its own
]


@pytest.mark.parametrize(("case", "train"), MODES)
@all_k
def test_the_layer_is_the_equation_values_and_gradients(shake, case, num_kernels, train):
    layer = shake(case.layer(num_kernels)).train(train)
    state, x = doubles(layer), case.input()
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected = oracle.layer(state, theirs, train=train, **case.where)
    y = layer(ours)
    assert_close(y, expected)
    towards = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    y.backward(towards)
    expected.backward(towards)
    assert_close(ours.grad, theirs.grad, "x")
    for name, parameter in layer.named_parameters():
        assert_close(parameter.grad, state[name].grad, name)


@cases
def test_in_float32_the_layer_is_its_branch_and_then_its_convolution_to_the_bit(shake, case):
    layer, x = shake(case.layer(4, torch.float32)).eval(), case.input(torch.float32)
    attention = attend(layer.attention(x), Settings())
    assert torch.equal(layer(x), odconv.layer.od_conv2d(x, layer.weight, attention, **case.where))


@pytest.mark.parametrize("temperature", [0.5, 30.0])
def test_the_temperature_divides_the_logits_of_all_four_heads(shake, temperature):
    case = CASES[0]
    layer, x = shake(case.layer(4)).eval(), case.input()
    with apply_settings(Settings(temperature=temperature)):
        y = layer(x)
    assert_close(y, oracle.layer(doubles(layer), x, temperature=temperature, **case.where))


@pytest.mark.parametrize(
    "settings",
    [
        Settings(kernels=2),
        Settings(kernels=3, keep="strongest", temperature=2.0),
        Settings(temperature=4.0, tempered=("spatial", "filter"), compensate=True),
        Settings(ablate=("channel", "kernel")),
        Settings(ablate=HEADS, kernels=3, temperature=0.5),
    ],
    ids=str,
)
def test_what_a_layer_is_told_is_what_it_convolves_with(shake, settings):
    case = CASES[0]
    layer, x = shake(case.layer(4)).eval(), case.input()
    state = {name: tensor.detach() for name, tensor in doubles(layer).items()}
    applied = oracle.attend({h: v.numpy() for h, v in oracle.logits(state, x).items()}, **vars(settings))
    expected = oracle.od_conv2d(x, state["weight"], {h: torch.tensor(v) for h, v in applied.items()}, **case.where)
    with probe(layer, settings):
        y = layer(x)
    assert_close(y, expected)


# --- every form of the convolution ------------------------------------------------------------------------------------


PERMITTED = [
    pytest.param(form, case, num_kernels, id=f"{form.function}-{case.name}-K={num_kernels}")
    for form, case, num_kernels in itertools.product(FORMS, CASES, (1, 4))
    if form.permits(case, num_kernels)
]


def value_and_gradients(function, x, weight, towards, **heads):
    """What ``function`` makes of x, weight and heads (head -> (N, entries)), and the gradient of each, by name."""
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in {"x": x, "weight": weight, **heads}.items()}
    y = function(leaves["x"], leaves["weight"], {head: leaves[head] for head in heads})
    return {"y": y, **dict(zip(leaves, torch.autograd.grad(y, list(leaves.values()), towards), strict=True))}


@pytest.mark.parametrize(("form", "case", "num_kernels"), PERMITTED)
def test_every_form_is_the_equation_in_float64_and_float32(form, case, num_kernels):
    flat, _ = random_attention(case, num_kernels, torch.float32)
    here = ["spatial", "kernel"] if case.groups > 1 or case.k == 1 else ["spatial", "channel", "kernel"]
    heads = {head: flat[head].detach().float() for head in here if head in flat}

    def ours(x, weight, heads):
        taps = heads["spatial"][:, None] if "spatial" in heads else None
        if "channel" in heads:
            taps = taps * heads["channel"][:, :, None]
        return getattr(forms, form.function)(x, weight, taps, heads.get("kernel"), **case.where)

    def theirs(x, weight, heads):
        return oracle.od_conv2d(x, weight, heads, **case.where)

    x, weight = case.input(torch.float32), case.layer(num_kernels, torch.float32).weight.detach()
    towards = torch.randn(ours(x, weight, heads).shape, generator=torch.Generator().manual_seed(5))
    singles = {"x": x, "weight": weight, **heads, "towards": towards}  # float64 holds them exactly
    doubles = {name: values.double() for name, values in singles.items()}
    expected = value_and_gradients(theirs, **doubles)
    sizes = value_and_gradients(theirs, **{name: values.abs() for name, values in doubles.items()})
    terms = value_and_gradients(theirs, **{name: torch.ones_like(values) for name, values in doubles.items()})
    for inputs in (singles, doubles):
        for what, value in value_and_gradients(ours, **inputs).items():
            assert value.dtype == inputs["x"].dtype, what
            assert_rounded(value, expected[what], terms[what], sizes[what], what)


@cases
@all_k
def test_od_conv2d_applies_all_four_attentions(case, num_kernels):
    flat, heads = random_attention(case, num_kernels, torch.float64)
    weight = case.layer(num_kernels).weight.detach()
    x = case.input()
    y = odconv.layer.od_conv2d(x, weight, heads, **case.where)
    assert_close(y, oracle.od_conv2d(x, weight, flat, **case.where))


@pytest.mark.parametrize("absent", [heads for n in (1, 2, 3, 4) for heads in itertools.combinations(HEADS, n)])
def test_od_conv2d_does_without_any_heads(absent):
    case = CASES[0]
    flat, heads = random_attention(case, 1 if "kernel" in absent else 4, torch.float64)
    flat = {head: values for head, values in flat.items() if head not in absent}
    weight = case.layer(1 if "kernel" in absent else 4).weight.detach()
    y = odconv.layer.od_conv2d(case.input(), weight, heads._replace(**dict.fromkeys(absent)), **case.where)
    assert_close(y, oracle.od_conv2d(case.input(), weight, flat, **case.where))


@cases
@all_k
def test_what_is_forged_at_once_changes_nothing(monkeypatch, case, num_kernels):
    flat, heads = random_attention(case, num_kernels, torch.float64)
    weight = case.layer(num_kernels).weight.detach()
    tiny = forms.Limits(pictures=2, weights=40, outputs=2_000_000, mix=0, mix_in_training=0)
    monkeypatch.setattr(forms, "CPU", tiny)
    monkeypatch.setattr(forms, "FILTERS", 4)
    y = odconv.layer.od_conv2d(case.input(), weight, heads, **case.where)
    assert_close(y, oracle.od_conv2d(case.input(), weight, flat, **case.where))


REACHED = [  # the calls of a form that K and a size are meant to reach, K, and that size
    (["forge"], 4, Case("shallow", c_in=8, c_out=8, padding=(1, 1), size=(9, 9), batch=4)),
    (["forge"], 4, Case("fewer pictures than kernels", c_in=8, c_out=8, padding=(1, 1), size=(2, 2), batch=3)),
    (["forge"], 4, Case("depth-wise", c_in=8, c_out=8, groups=8, padding=(1, 1), size=(2, 2), batch=8)),
    (["forge"] * 2, 4, Case("more pictures than at once", c_in=8, c_out=8, padding=(1, 1), size=(9, 9), batch=17)),
    (["forge"], 4, Case("deep", c_in=512, c_out=512, padding=(1, 1), size=(6, 6), batch=2)),
    (["forge"] * 4, 2, Case("deep, groups", c_in=512, c_out=512, groups=2, padding=(1, 1), size=(1, 1), batch=4)),
    (["mix"], 4, Case("few positions", c_in=64, c_out=32, padding=(1, 1), size=(2, 2), batch=16)),
    (["mix"], 4, Case("few, 1x1, stride 2", c_in=64, c_out=32, k=1, stride=(2, 2), size=(4, 4), batch=16)),
    (["mix"], 1, Case("one picture, one kernel", c_in=64, c_out=32, padding=(1, 1), size=(7, 7), batch=1)),
]


@pytest.fixture
def used(monkeypatch):
    """Names of the forms that are called, one after the other."""
    calls = []

    def spied(name, function):
        return lambda *args, **where: (calls.append(name), function(*args, **where))[1]

    for known in FORMS:
        monkeypatch.setattr(forms, known.function, spied(known.function, getattr(forms, known.function)))
    return calls


@pytest.mark.parametrize(("calls", "num_kernels", "case"), REACHED, ids=lambda value: getattr(value, "name", value))
def test_a_layer_is_the_equation_at_a_size_that_reaches_each_form(used, shake, calls, num_kernels, case):
    layer, x = shake(case.layer(num_kernels)).eval().requires_grad_(False), case.input()
    y = layer(x)
    assert used == calls
    assert_close(y, oracle.layer(layer.state_dict(), x, **case.where))


def test_every_form_that_forges_is_reached_by_some_size():
    assert {form for calls, *_ in REACHED for form in calls} == {form.function for form in FORMS if form.forges}


@pytest.mark.parametrize(("kernels", "most"), [(1, 60), (2, 30), (4, 15), (8, 7)])
def test_mixing_is_chosen_up_to_fewer_positions_the_more_kernels_there_are(kernels, most):
    x, weight, taps = torch.zeros(8, 3, 1, 1), torch.zeros(kernels, 5, 3, 3, 3), torch.zeros(8, 1, 9)
    with torch.no_grad():
        assert forms.choose(x, weight, taps, None, 1, most) == (forms.mix, 8)
        assert forms.choose(x, weight, taps, None, 1, most + 1)[0] is forms.forge
    assert forms.choose(x, weight, taps, None, 1, most + 1)[0] is forms.mix  # where gradients are recorded
    assert forms.choose(x[:kernels], weight, taps[:kernels], None, 1, 1)[0] is forms.mix


def test_mixing_is_for_as_many_pictures_as_kernels():
    x, weight, taps = torch.zeros(3, 3, 1, 1), torch.zeros(4, 5, 3, 3, 3), torch.zeros(3, 1, 9)
    assert forms.choose(x, weight, taps, None, 1, 1)[0] is forms.forge


def test_a_transposed_or_strided_input_gives_the_same(shake):
    layer = shake(ODConv2d(4, 6, 3, padding=1)).double().eval()
    for batch in (1, 3, 6):
        x = torch.randn(batch, 4, 4, 5, dtype=torch.float64)
        y = layer(x)
        torch.testing.assert_close(layer(x.to(memory_format=torch.channels_last)), y)
        torch.testing.assert_close(layer(x.transpose(2, 3).contiguous().transpose(2, 3)), y)
        torch.testing.assert_close(layer(torch.cat([x, x], 1)[:, :4]), y)


class Made(TorchDispatchMode):
    """Notes the shape and number type of every tensor that is made while it is on, and of what is converted; not of views."""

    def __init__(self):
        super().__init__()
        self.tensors, self.converted = [], []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if not function.is_view:
            results = result if isinstance(result, (tuple, list)) else (result,)
            made = [(some.shape, some.dtype) for some in results if isinstance(some, torch.Tensor)]
            self.tensors += made
            self.converted += made if function is torch.ops.aten._to_copy.default else []
        return result


@pytest.mark.parametrize(
    ("case", "kernels", "maps"),
    [
        (Case("depth-wise", c_in=8, c_out=8, groups=8, padding=(1, 1), size=(20, 20), batch=1), 3, 1),
        (Case("1x1, large map", c_in=8, c_out=8, k=1, size=(20, 20), batch=1), 3, 1),
        (Case("1x1, small map", c_in=64, c_out=64, k=1, size=(4, 4), batch=1), 1, 3),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_gates_multiply_the_kernel_or_the_maps_whichever_has_fewer_numbers(case, kernels, maps):
    """Made are the forged kernel and the output, again by each gate that multiplies them; a depth-wise layer's gate is as large."""
    _, heads = random_attention(case, 4, torch.float32)
    if case.groups > 1:
        heads = heads._replace(filter=None)
    x, weight = case.input(torch.float32), case.layer(4, torch.float32).weight.detach()
    with torch.no_grad(), Made() as made:
        odconv.layer.od_conv2d(
            x, weight, Heads(*(head if head is None else head.detach() for head in heads)), **case.where
        )
    sizes = [shape.numel() for shape, _ in made.tensors]
    assert (sizes.count(weight[0].numel()), sizes.count(x.numel())) == (kernels, maps)


SMALL = [(calls, num_kernels, case) for calls, num_kernels, case in REACHED if case.c_in < 512]
small = pytest.mark.parametrize(
    ("calls", "num_kernels", "case"), SMALL, ids=lambda value: getattr(value, "name", value)
)


@halves
@small
def test_a_layer_of_half_precision_takes_the_same_way_and_makes_no_copy_in_float32(
    used, shake, calls, num_kernels, case, dtype
):
    layer, x = shake(case.layer(num_kernels, dtype)).eval().requires_grad_(False), case.input(dtype)
    with Made() as made:
        y = layer(x)
    assert used == calls
    assert y.dtype == dtype
    assert y.shape == (case.batch, case.c_out, *forms.output_size(case.size, case.k, *list(case.where.values())[:3]))
    assert y.isfinite().all()
    assert {kind for shape, kind in made.tensors if shape.numel() >= layer.weight[0].numel()} == {dtype}


@small
def test_under_autocast_the_weights_are_converted_once_and_nothing_is_forged_in_float32(
    used, shake, calls, num_kernels, case
):
    layer, x = shake(case.layer(num_kernels, torch.float32)).eval().requires_grad_(False), case.input(torch.float32)
    with torch.autocast("cpu", torch.bfloat16), Made() as made:
        y = layer(x)
    assert used == calls
    assert y.dtype == torch.bfloat16
    assert made.converted.count((layer.weight.shape, torch.bfloat16)) == 1
    kernels = {(case.batch, *shape) for shape in (layer.weight[0].shape, layer.weight[0].flatten(1).shape)}
    assert not [kind for shape, kind in made.tensors if tuple(shape) in kernels and kind == torch.float32]


# --- as a drop-in -----------------------------------------------------------------------------------------------------


def test_the_docstring_example_keeps_the_shape():
    assert ODConv2d(256, 256, 7, padding=3).to("meta")(torch.empty(2, 256, 40, 40, device="meta")).shape == (
        2,
        256,
        40,
        40,
    )


@cases
def test_the_output_has_the_shape_of_an_ordinary_convolution(case):
    static = nn.Conv2d(case.c_in, case.c_out, case.k, bias=False, **case.where).double()
    assert case.layer(2).eval()(case.input()).shape == static(case.input()).shape


def test_with_its_gates_open_and_one_kernel_a_layer_is_an_ordinary_convolution():
    layer = ODConv2d(4, 6, 1, num_kernels=1).double().eval()
    with torch.no_grad():
        for fc in (layer.attention.channel_fc, layer.attention.filter_fc):
            fc.weight.zero_()
            fc.bias.fill_(100.0)  # a gate of 1
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight[0]))


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("case", [CASES[0], CASES[3], CASES[9]], ids=lambda case: case.name)
def test_an_empty_batch_gives_an_empty_batch_and_changes_no_statistics(shake, case, train):
    layer = shake(case.layer(4)).train(train)
    mean, variance = layer.attention.bn.running_mean.clone(), layer.attention.bn.running_var.clone()
    y = layer(case.input()[:0])
    assert y.shape == (0, *F.conv2d(case.input(), layer.weight[0], None, **case.where).shape[1:])
    assert torch.equal(layer.attention.bn.running_mean, mean)
    assert torch.equal(layer.attention.bn.running_var, variance)


def test_gradients_flow_through_an_empty_batch(shake):
    layer = shake(CASES[0].layer(4)).eval()
    layer(CASES[0].input()[:0]).sum().backward()
    assert not layer.weight.grad.any()


@pytest.mark.parametrize("shape", [(1, 5, 8, 8), (4, 8, 8), (4,), (1, 4, 8, 8, 8)])
def test_an_input_of_another_shape_is_refused_by_name(shape):
    with pytest.raises(ValueError, match=r"input of shape .*: \(N, 4, H, W\) is needed"):
        ODConv2d(4, 4, 3)(torch.zeros(shape))


# --- one picture ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_picture_alone_gives_what_it_gives_in_a_batch(shake, case):
    layer, x = shake(case.layer(4)).eval(), case.input(batch=6)
    together = layer(x)
    for n in range(6):
        torch.testing.assert_close(layer(x[n : n + 1]), together[n : n + 1], rtol=1e-10, atol=1e-10)


def test_one_picture_in_train_mode_uses_the_running_statistics_and_does_not_update_them(shake):
    layer, x = shake(CASES[0].layer(4)), CASES[0].input(batch=1)
    expected = layer.eval()(x)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    y = layer.train()(x)
    assert torch.equal(y, expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())
    y.sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_two_pictures_in_train_mode_update_the_running_statistics(shake):
    layer, x = shake(CASES[0].layer(4)).train(), CASES[0].input(batch=2)
    bn = layer.attention.bn
    mean, variance = bn.running_mean.clone(), bn.running_var.clone()
    layer(x)
    pooled = torch.einsum("nchw,dc->nd", x, layer.attention.fc.weight[:, :, 0, 0]) / (x.shape[2] * x.shape[3])
    torch.testing.assert_close(bn.running_mean, 0.9 * mean + 0.1 * pooled.mean(0))
    torch.testing.assert_close(bn.running_var, 0.9 * variance + 0.1 * pooled.var(0, unbiased=True))


# --- the attention branch ---------------------------------------------------------------------------------------------


@cases
@all_k
def test_the_branch_gives_the_logits_of_the_equation(shake, case, num_kernels):
    layer, x = shake(case.layer(num_kernels)).eval(), case.input()
    expected = oracle.logits(doubles(layer), x)
    heads = layer.attention(x)
    assert {head for head in HEADS if getattr(heads, head) is not None} == expected.keys()
    for head, values in expected.items():
        assert_close(getattr(heads, head).flatten(1), values, head)


@cases
@all_k
def test_the_branch_in_float32_is_off_by_no_more_than_rounding_makes(shake, case, num_kernels):
    layer, x = shake(case.layer(num_kernels, torch.float32)).eval(), case.input(torch.float32)
    state = {name: tensor.double() for name, tensor in layer.state_dict().items()}
    absolute = {name: tensor.abs() for name, tensor in state.items()}
    absolute["attention.bn.running_mean"] *= -1  # it is subtracted: without it, absolute values would cancel
    expected, sizes = oracle.logits(state, x.double()), oracle.logits(absolute, x.double().abs())
    heads = layer.attention(x)
    # a mean over positions, a sum over channels, a few for the normalisation, a sum over the hidden width
    roundings = torch.tensor(case.size[0] * case.size[1] + case.c_in + 8 + len(layer.attention.fc.weight))
    for head, values in expected.items():
        assert_rounded(getattr(heads, head).flatten(1), values, roundings, sizes[head], head)


@pytest.mark.parametrize(
    ("arguments", "present"),
    [
        (dict(c_in=8, c_out=8, k=3), "spatial channel filter kernel"),
        (dict(c_in=8, c_out=8, k=3, num_kernels=1), "spatial channel filter"),
        (dict(c_in=8, c_out=8, k=1), "channel filter kernel"),
        (dict(c_in=8, c_out=8, k=1, num_kernels=1), "channel filter"),
        (dict(c_in=8, c_out=8, k=3, groups=8), "spatial channel kernel"),
        (dict(c_in=8, c_out=8, k=3, groups=8, num_kernels=1), "spatial channel"),
        (dict(c_in=8, c_out=8, k=1, groups=8, num_kernels=1), "channel"),
        (dict(c_in=8, c_out=8, k=3, groups=4), "spatial channel filter kernel"),
        (dict(c_in=8, c_out=16, k=3, groups=8), "spatial channel filter kernel"),
    ],
)
def test_a_layer_has_the_heads_that_it_has_something_to_attend_over_for(arguments, present):
    options = {"num_kernels": 4, "groups": 1, **arguments}
    c_in, c_out, k = (options.pop(name) for name in ("c_in", "c_out", "k"))
    layer = ODConv2d(c_in, c_out, k, **options).eval()
    heads = layer.attention(torch.randn(3, c_in, 5, 5))
    assert [head for head in HEADS if getattr(heads, head) is not None] == present.split()
    assert [head for head in HEADS if f"attention.{head}_fc.weight" in layer.state_dict()] == present.split()
    shapes = {"spatial": (3, k, k), "channel": (3, c_in), "filter": (3, c_out), "kernel": (3, 4)}
    assert all(getattr(heads, head).shape == shapes[head] for head in present.split())


def test_shuffling_the_pixels_of_the_input_leaves_the_logits_unchanged(shake):
    layer = shake(ODConv2d(4, 6, 3, padding=1)).double().eval()
    x = torch.randn(2, 4, 7, 6, dtype=torch.float64)
    shuffled = x.flatten(2)[:, :, torch.randperm(42, generator=torch.Generator().manual_seed(0))].unflatten(2, (7, 6))
    for one, other in zip(layer.attention(x), layer.attention(shuffled), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(layer(x), layer(shuffled))


@pytest.mark.parametrize(
    ("channels", "reduction", "hidden"), [(64, 1 / 16, 16), (512, 1 / 16, 32), (376, 1 / 16, 23), (100, 0.25, 25)]
)
def test_the_hidden_width_is_a_fraction_of_the_input_channels_but_at_least_16(channels, reduction, hidden):
    assert len(ODConv2d(channels, 8, 1, reduction=reduction).attention.fc.weight) == hidden


def test_the_parameters_have_the_names_and_shapes_of_the_released_code():
    state = ODConv2d(32, 48, 3, groups=2, num_kernels=4).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == {
        "weight": (4, 48, 16, 3, 3),
        "attention.fc.weight": (16, 32, 1, 1),
        "attention.bn.weight": (16,),
        "attention.bn.bias": (16,),
        "attention.bn.running_mean": (16,),
        "attention.bn.running_var": (16,),
        "attention.bn.num_batches_tracked": (),
        "attention.channel_fc.weight": (32, 16, 1, 1),
        "attention.channel_fc.bias": (32,),
        "attention.filter_fc.weight": (48, 16, 1, 1),
        "attention.filter_fc.bias": (48,),
        "attention.spatial_fc.weight": (9, 16, 1, 1),
        "attention.spatial_fc.bias": (9,),
        "attention.kernel_fc.weight": (4, 16, 1, 1),
        "attention.kernel_fc.bias": (4,),
    }


def test_each_kernel_starts_as_a_static_convolution_would():
    torch.manual_seed(0)
    weight = ODConv2d(64, 64, 3, num_kernels=4).weight
    for kernel in weight:  # He initialisation, fan out
        assert kernel.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)
    assert not torch.equal(weight[0], weight[1])


# --- the constructor --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (dict(kernel_size=(3, 5)), r"kernel_size=\(3, 5\).*square"),
        (dict(kernel_size=0), r"kernel_size=0.*at least 1"),
        (dict(kernel_size=3.0), r"kernel_size=3\.0.*whole number"),
        (dict(kernel_size=(3, 3, 3)), r"kernel_size=\(3, 3, 3\).*pair"),
        (dict(in_channels=0), r"in_channels=0.*at least 1"),
        (dict(out_channels=-4), r"out_channels=-4.*at least 1"),
        (dict(out_channels=4.0), r"out_channels=4\.0.*whole number"),
        (dict(groups=3), r"groups=3.*in_channels=8.*out_channels=12"),
        (dict(groups=8), r"groups=8.*in_channels=8.*out_channels=12"),
        (dict(groups=0), r"groups=0.*at least 1"),
        (dict(stride=0), r"stride=0.*at least 1"),
        (dict(stride=(1, 0)), r"stride=.*0.*at least 1"),
        (dict(padding=-1), r"padding=-1.*at least 0"),
        (dict(padding="same"), r"padding='same'.*pair"),
        (dict(dilation=0), r"dilation=0.*at least 1"),
        (dict(num_kernels=0), r"num_kernels=0.*at least 1"),
        (dict(num_kernels=2.5), r"num_kernels=2\.5.*whole number"),
        (dict(num_kernels=True), r"num_kernels=True.*whole number"),
        (dict(reduction=0), r"reduction=0.*fraction"),
        (dict(reduction=-0.1), r"reduction=-0\.1.*fraction"),
        (dict(reduction=float("nan")), r"reduction=nan.*fraction"),
        (dict(reduction=float("inf")), r"reduction=inf.*fraction"),
    ],
)
def test_an_argument_that_no_such_layer_has_is_refused_by_name(arguments, says):
    with pytest.raises(ValueError, match=says):
        ODConv2d(**{"in_channels": 8, "out_channels": 12, "kernel_size": 3, **arguments})


def test_there_is_no_bias_and_no_padding_mode():
    for option in ({"bias": True}, {"padding_mode": "reflect"}):
        with pytest.raises((TypeError, ValueError), match=next(iter(option))):
            ODConv2d(8, 8, 3, **option)


def test_pairs_are_taken_as_by_an_ordinary_convolution():
    layer = ODConv2d(8, 8, (3, 3), (2, 1), (0, 1), (1, 2))
    assert (layer.stride, layer.padding, layer.dilation) == ((2, 1), (0, 1), (1, 2))


def test_the_printed_layer_says_what_it_is():
    printed = repr(ODConv2d(8, 12, 3, stride=2, num_kernels=2))
    assert "8, 12, kernel_size=3, stride=(2, 2)" in printed
    assert "num_kernels=2" in printed


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation"), [((1, 1), (0, 0), (1, 1)), ((2, 3), (2, 1), (1, 2)), ((1, 2), (4, 3), (2, 1))]
)
def test_windows_are_what_unfold_copies(k, stride, padding, dilation):
    x = torch.randn(2, 3, 9, 11)
    expected = torch.nn.functional.unfold(x, k, dilation, padding, stride)
    assert torch.equal(forms.windows(x, k, stride, padding, dilation).flatten(4).flatten(1, 3), expected)


def test_a_gpu_mixes_larger_maps_than_a_cpu():
    def chosen(device, positions):
        x, weight = torch.empty(8, 64, 1, 1, device=device), torch.empty(4, 64, 64, 3, 3, device=device)
        with torch.no_grad():
            return forms.choose(x, weight, torch.empty(8, 1, 9), torch.empty(8, 4), 1, positions)[0]

    assert [chosen("cpu", positions) for positions in (15, 16, 45)] == [forms.mix, forms.forge, forms.forge]
    assert [chosen("meta", positions) for positions in (16, 45, 46)] == [forms.mix, forms.mix, forms.forge]


def test_a_gpu_gets_larger_pieces_than_a_cpu():
    def pieces(device):
        x, weight = torch.empty(1000, 64, 16, 16, device=device), torch.empty(4, 64, 64, 3, 3, device=device)
        return forms.choose(x, weight, torch.empty(1000, 3, 3), torch.empty(1000, 4), 1, 256)

    assert pieces("cpu") == (forms.forge, 16)
    assert pieces("meta") == (forms.forge, 1953)
