"""``convert``: from any CNN to an ODConv network that computes the same function, ready to be trained further.

The last layers of the heads start at zero, so that each gate is 1/2 and each kernel's share 1/K whatever the picture is. Each
of the K kernels is the given one, times 2 for each gate that multiplies it, plus noise that sums to zero over the K:

    Π gates · Σ_i 1/K · ( 2^gates · W + noise_i )  =  W

So nothing is lost at the start, and all that is learned is learned from there. The noise makes the K kernels differ, without
which they would all get the same gradient and stay the same for ever.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from odconv.attention import HEADS
from odconv.cost import counted_modules, multiply_adds
from odconv.layer import ODConv2d

Where = Callable[[str, nn.Conv2d], bool] | Collection[str]

# How networks name the path that a block is added to: torchvision and timm, many CIFAR ResNets, Xception.
SHORTCUTS = ("downsample", "shortcut", "skip")
# Reasons to leave a convolution as it is, where nothing hinders.
STEM = "the stem: the convolution that is called first"
SHORTCUT = "a 1x1 shortcut"
POOLED = "a linear map of pooled numbers"
LEFT_OUT = "left out by `where`"

OTHER_USE = "something uses the convolutions besides calling them; leave those out with `where`"
EXAMPLE_SIDE = 224  # of a picture that is drawn where no example is given


class ConvertedConv2d(ODConv2d):
    """An ``ODConv2d`` in the place of a convolution with a bias, or with a padding that ``ODConv2d`` does not have.

    Args:
        pad: what is put around the input before anything else: left, right, top, bottom. Attention sees the padded input.
        pad_mode: as of ``torch.nn.functional.pad``.
        bias: whether a number is added to each output channel, after the filter gate.

    The others are those of ``ODConv2d``.
    """

    def __init__(
        self,
        *arguments: Any,
        pad: tuple[int, int, int, int] = (0, 0, 0, 0),
        pad_mode: str = "constant",
        bias: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.pad, self.pad_mode = pad, pad_mode
        self.bias = nn.Parameter(torch.zeros(self.out_channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(F.pad(x, self.pad, self.pad_mode) if any(self.pad) else x)
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]

    def extra_repr(self) -> str:
        padded = f", pad={self.pad}, pad_mode={self.pad_mode!r}" if any(self.pad) else ""
        return f"{super().extra_repr()}{padded}, bias={self.bias is not None}"


@dataclass(frozen=True)
class ConvertedLayer:
    """A convolution that became dynamic."""

    name: str  # as in ``model.named_modules()``
    kind: str  # "3x3", "3x3 depth-wise", "1x1, 4 groups"
    heads: tuple[str, ...]  # of ``odconv.HEADS``, those that the layer has
    parameters: tuple[int, int]  # before, after
    multiply_adds: tuple[int, int]  # before, after; for one picture of the example, all calls


@dataclass(frozen=True)
class SkippedLayer:
    """A convolution that stayed as it was."""

    name: str
    kind: str
    reason: str


@dataclass(frozen=True)
class Report:
    """What ``convert`` did. ``str(report)`` is a table."""

    num_kernels: int
    layers: tuple[ConvertedLayer, ...]  # in the order in which they are called
    skipped: tuple[SkippedLayer, ...]  # in the order of ``model.named_modules()``
    parameters: tuple[int, int]  # of the whole network, before and after
    multiply_adds: tuple[int, int]  # of all 2-D convolutions and linear maps, for one picture of the example
    example: str  # what both networks were run with: "(1, 3, 224, 224)"
    max_difference: float  # between the outputs of both, in eval mode
    scale: float  # the largest finite absolute value of an output

    def __str__(self) -> str:
        rows = [(layer.name, layer.kind, " ".join(layer.heads), *_counts(layer)) for layer in self.layers]
        rows.append(("whole network", "", "", *_counts(self)))
        head = ("layer", "kind", "heads", "parameters", "multiply-adds")
        total = len(self.layers) + len(self.skipped)
        lines = [
            f"{len(self.layers)} of {total} convolutions are dynamic, K = {self.num_kernels}",
            f"max|Δ| {self.max_difference:.2g} where the largest output is {self.scale:.2g}, input {self.example}",
            *_table([head, *rows]),
        ]
        if self.skipped:
            lines += ["left as they are:", *_table([(layer.name, layer.kind, layer.reason) for layer in self.skipped])]
        return "\n".join(lines)


class Converted(NamedTuple):
    """``model, report = convert(...)``."""

    model: nn.Module
    report: Report


def convert(
    model: nn.Module,
    num_kernels: int = 4,
    reduction: float = 1 / 16,
    where: Where | None = None,
    *,
    example: Tensor | tuple[Any, ...] | None = None,
    noise: float = 0.1,
    seed: int = 0,
) -> Converted:
    """Make an ODConv network of a copy of ``model``, with the same outputs; ``model`` itself is not changed.

    The copy runs twice with an example: with its own convolutions, which tells their order and sizes, and with ODConv layers,
    which tells how far the outputs are apart. Modes (train, eval) and places (device, number type) are those of ``model``.
    Kernels and biases need gradients where they did; the new attention branches always do.

    Args:
        model: any module with ``nn.Conv2d`` layers, such as torchvision's and timm's.
        num_kernels: K of every new layer.
        reduction: hidden width of the attention branches as a fraction of C_in, floor 16.
        where: which convolutions become dynamic: their names, or ``(name, convolution) -> bool``. None: the choice of the
            released code, which leaves out the stem and the 1x1 shortcuts. Here: the convolution that is called first; 1x1
            convolutions with a part in their name that is one of ``SHORTCUTS``; and the linear maps of pooled numbers in
            squeeze-and-excitation and the like, 1x1 convolutions whose input is one number per channel where the output of
            the one called before is a larger map.
        example: the input, or a tuple of inputs, that the copy runs with. None: one picture of random numbers, of
            ``EXAMPLE_SIDE`` px and with as many channels as the first convolution takes. Multiply-adds and the largest
            difference are for this input.
        noise: root mean square of the noise, at most, as a fraction of that of the kernels.
        seed: of noise, branches and random picture. PyTorch's own generator is left as it is.

    Raises:
        ValueError: an argument is not allowed; ``where`` names something that is no convolution of ``model``; ``model`` has
            parameters without a shape, cannot be copied, or does not take the random picture; or the new network does not run
            or has other outputs, since something uses the convolutions besides calling them.

    Example:
        >>> model, report = convert(torchvision.models.resnet50(weights="DEFAULT"))
        >>> print(report)
    """
    if not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise={noise!r}: a fraction of at least 0, such as 0.1, is needed")
    if any(map(is_lazy, model.parameters())):
        raise ValueError("the network has parameters whose shape its first pass decides: run it once, then convert it")
    copied = _copy(model)
    convs = _convolutions(copied)
    if where is not None and not callable(where):
        _check_names(where, convs)
    obstacles = {name: _obstacle(conv, copied) for name, conv in convs.items()}
    modes = [(module, module.training) for module in copied.modules()]
    copied.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inputs = _inputs(copied, convs.values(), example)
        shapes = ", ".join(str(tuple(some.shape)) for some in _tensors(inputs))
        untaken = f"the network does not take random numbers of shape {shapes}: give an example"
        calls, outputs = _run(copied, inputs, seed, refusal=untaken if example is None else None)
        reasons = _reasons(convs, obstacles, calls, where)
        layers: dict[str, ODConv2d] = {}
        for name, conv in convs.items():
            if isinstance(conv, nn.Conv2d) and name not in reasons:
                layers[name] = dynamic_layer(conv, num_kernels, reduction, noise).eval()
                copied = _replace(copied, conv, layers[name])
        new_calls, new_outputs = _run(copied, inputs, seed, refusal=f"the new network does not run: {OTHER_USE}")
    for module, mode in modes:
        module.training = mode
    for name, layer in layers.items():
        layer.train(convs[name].training)
    order = {call.name: None for call in calls if call.name in layers}
    report = Report(
        num_kernels=num_kernels,
        layers=tuple(_converted(name, convs[name], layers[name], calls, new_calls) for name in order),
        skipped=tuple(SkippedLayer(name, _kind(convs[name]), reason) for name, reason in reasons.items()),
        parameters=(_size(model), _size(copied)),
        multiply_adds=(sum(call.multiply_adds for call in calls), sum(call.multiply_adds for call in new_calls)),
        example=shapes,
        max_difference=max(map(_difference, outputs, new_outputs), default=0.0),
        scale=max(map(_scale, outputs), default=0.0),
    )
    rounding = max((torch.finfo(some.dtype).eps for some in outputs if some.is_floating_point()), default=0.0)
    if not report.max_difference <= math.sqrt(rounding) * report.scale:
        raise ValueError(
            f"the outputs change by up to {report.max_difference:.2g} where the largest is {report.scale:.2g}: {OTHER_USE}"
        )
    return Converted(copied, report)


@torch.no_grad()
def dynamic_layer(conv: nn.Conv2d, num_kernels: int, reduction: float, noise: float) -> ODConv2d:
    """An ODConv layer with the same outputs as ``conv``; see this module. Its branch and noise come from PyTorch's generator.

    Raises:
        ValueError: the kernel is not square, or an argument of ``ODConv2d`` is not allowed.
    """
    left, right, top, bottom = _sides(conv)
    uneven = conv.padding_mode != "zeros" or (left, top) != (right, bottom)
    options: Any = {
        "stride": conv.stride,
        "padding": (0, 0) if uneven else (top, left),
        "dilation": conv.dilation,
        "groups": conv.groups,
        "reduction": reduction,
        "num_kernels": num_kernels,
    }
    sizes: Any = (conv.in_channels, conv.out_channels, conv.kernel_size)
    if uneven or conv.bias is not None:
        mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
        pad = (left, right, top, bottom) if uneven else (0, 0, 0, 0)
        options |= {"pad": pad, "pad_mode": mode, "bias": conv.bias is not None}
    number_type = torch.promote_types(conv.weight.dtype, torch.float32)  # whose sum over K is 0 to its rounding
    with torch.device("cpu"):  # the same random numbers on every device
        layer: ODConv2d = (ConvertedConv2d if "pad" in options else ODConv2d)(*sizes, **options)
        kernels = torch.randn(layer.weight.shape, dtype=number_type)
    layer = layer.to(conv.weight.device, conv.weight.dtype)
    branch = layer.attention
    gates = [head for head in (branch.spatial_fc, branch.channel_fc, branch.filter_fc) if head is not None]
    for head in (*gates, branch.kernel_fc):
        for parameter in () if head is None else head.parameters():
            nn.init.zeros_(parameter)
    kernel = conv.weight.to("cpu", number_type) * 2 ** len(gates)
    kernels -= kernels.mean(0)
    kernels *= noise * kernel.square().mean().sqrt()
    layer.weight.copy_(kernels.add_(kernel))
    layer.weight.requires_grad_(conv.weight.requires_grad)
    if isinstance(layer, ConvertedConv2d) and layer.bias is not None and conv.bias is not None:
        layer.bias.copy_(conv.bias)
        layer.bias.requires_grad_(conv.bias.requires_grad)
    return layer


# --- one pass ---------------------------------------------------------------------------------------------------------


class _Call(NamedTuple):
    """What a convolution or linear map did when it was called."""

    name: str
    input: torch.Size
    output: torch.Size
    multiply_adds: int  # for one picture


def _run(model: nn.Module, inputs: tuple[Any, ...], seed: int, refusal: str | None) -> tuple[list[_Call], list[Tensor]]:
    """Run ``model``: its calls in order, and all tensors that it returns. ``refusal``: what an exception in it means."""
    calls: list[_Call] = []
    torch.manual_seed(seed)  # some networks draw numbers in eval mode, too
    inputs = tuple(some.clone() if isinstance(some, Tensor) else some for some in inputs)  # some write into their input

    def note(name: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
        def hook(module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
            if arguments:  # else it is called by keyword, which ODConv2d is not
                x = arguments[0]
                calls.append(_Call(name, x.shape, output.shape, multiply_adds(module, x, output)))

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in counted_modules(model)]
    try:
        with torch.no_grad():  # not inference mode: a network may keep what it makes, and be trained later
            outputs = model(*inputs)
    except Exception as error:
        if refusal is None:
            raise
        raise ValueError(refusal) from error
    finally:
        for hook in hooks:
            hook.remove()
    return calls, list(_tensors(outputs))


def _inputs(model: nn.Module, convs: Iterable[nn.Module], example: Tensor | tuple[Any, ...] | None) -> tuple[Any, ...]:
    if example is not None:
        return example if isinstance(example, tuple) else (example,)
    channels = next((conv.in_channels for conv in convs if isinstance(conv, nn.Conv2d)), 3)
    some = next(model.parameters(), torch.empty(0))
    return (torch.randn(1, channels, EXAMPLE_SIDE, EXAMPLE_SIDE, device="cpu").to(some),)


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in what a network takes or returns."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for some in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(some)


def _scale(output: Tensor) -> float:
    """The largest finite absolute value."""
    finite = output[output.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def _difference(one: Tensor, other: Tensor) -> float:
    """The largest absolute difference; numbers that are no numbers in both do not differ."""
    if not one.numel():
        return 0.0
    a, b = one.double(), other.double()
    return float(torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, (a - b).abs()).max())


# --- which convolutions -----------------------------------------------------------------------------------------------


def _convolutions(model: nn.Module) -> dict[str, nn.Module]:
    """Every kind of convolution in ``model``, quantised ones and those of 1 or 3 dimensions included, by name."""
    inside = {part for layer in model.modules() if isinstance(layer, ODConv2d) for part in layer.modules()}
    return {
        name: module
        for name, module in model.named_modules()
        if module not in inside and any(base.__name__ == "_ConvNd" for base in type(module).__mro__)
    }


def _check_names(names: Collection[str], convs: Mapping[str, nn.Module]) -> None:
    if isinstance(names, str) or not set(names) <= set(convs):
        unknown = [names] if isinstance(names, str) else sorted(set(names) - set(convs))
        raise ValueError(f"where={unknown!r}: names of convolutions of the network are needed, in a list")


def _obstacle(conv: nn.Module, model: nn.Module) -> str | None:
    """Why a convolution cannot be replaced by an ODConv layer, whatever is done with it; None if it can."""
    if not isinstance(conv, nn.Conv2d):
        return f"{type(conv).__name__}: only nn.Conv2d has a dynamic counterpart"
    if conv._forward_hooks or conv._forward_pre_hooks:
        return "it has hooks, which may change its weight, input or output"
    if parametrize.is_parametrized(conv):
        return "its weight is parametrized"
    ways = type(conv).forward, type(conv)._conv_forward
    if ways != (nn.Conv2d.forward, nn.Conv2d._conv_forward) or {"forward", "_conv_forward"} & set(vars(conv)):
        return f"{type(conv).__name__} computes something of its own"
    if not conv.weight.is_floating_point():
        return f"its weight is {conv.weight.dtype}"
    holders = [
        name for name, other in model.named_modules() if any(w is conv.weight for w in other._parameters.values())
    ]
    if len(holders) > 1:
        return f"its weight is shared: {', '.join(holders)}"
    if conv.kernel_size[0] != conv.kernel_size[1]:
        return "its kernel is not square"
    return None


def _reasons(
    convs: Mapping[str, nn.Module], obstacles: Mapping[str, str | None], calls: list[_Call], where: Where | None
) -> dict[str, str]:
    """Name -> why the convolution stays as it is; not those that become dynamic."""
    called = {call.name: call for call in reversed(calls) if call.name in convs}  # the first call of each
    left_out = _left_out_by_default(convs, calls) if where is None else {}
    reasons: dict[str, str] = {}
    for name, conv in convs.items():
        if obstacle := obstacles[name]:
            reasons[name] = obstacle
        elif name not in called:
            reasons[name] = "it is not called with an input in a pass; its weight may be used in another way"
        elif len(called[name].input) != 4:
            reasons[name] = f"its input is of shape {tuple(called[name].input)}, without a batch"
        elif name in left_out:
            reasons[name] = left_out[name]
        elif where is not None and not (where(name, conv) if callable(where) else name in where):  # type: ignore[arg-type]
            reasons[name] = LEFT_OUT
    return reasons


def _left_out_by_default(convs: Mapping[str, nn.Module], calls: list[_Call]) -> dict[str, str]:
    """What the choice of the released code leaves out, and why."""
    left_out: dict[str, str] = {}
    size: torch.Size | None = None  # of the map that the call before made
    pooled = False  # whether that was one number per channel, made from pooled ones
    for call in calls:
        conv = convs.get(call.name)
        if not isinstance(conv, nn.Conv2d):
            continue
        one_number = call.input[2:].numel() == 1 and conv.kernel_size == (1, 1)
        pooled = one_number and size is not None and (pooled or size.numel() > 1)
        if size is None:
            left_out[call.name] = STEM
        elif conv.kernel_size == (1, 1) and set(SHORTCUTS) & set(call.name.split(".")):
            left_out[call.name] = SHORTCUT
        elif pooled:
            left_out[call.name] = POOLED
        size = call.output[2:]
    return left_out


# --- the copy ---------------------------------------------------------------------------------------------------------


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except RuntimeError as error:  # torch.nn.utils.weight_norm and prune keep tensors that cannot be copied
        raise ValueError(f"the network cannot be copied: {error}") from error


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """``model`` with ``new`` wherever it has ``old``."""
    if model is old:
        return new
    for name in [name for name, module in model.named_modules(remove_duplicate=False) if module is old]:
        model.set_submodule(name, new)
    return model


# --- the report -------------------------------------------------------------------------------------------------------


def _converted(
    name: str, conv: nn.Module, layer: ODConv2d, calls: list[_Call], new_calls: list[_Call]
) -> ConvertedLayer:
    branch = layer.attention
    heads = (branch.spatial_fc, branch.channel_fc, branch.filter_fc, branch.kernel_fc)
    return ConvertedLayer(
        name=name,
        kind=_kind(conv),
        heads=tuple(head for head, fc in zip(HEADS, heads, strict=True) if fc is not None),
        parameters=(_size(conv), _size(layer)),
        multiply_adds=(
            sum(call.multiply_adds for call in calls if call.name == name),
            sum(call.multiply_adds for call in new_calls if call.name == name),
        ),
    )


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _kind(conv: nn.Module) -> str:
    """``3x3``, ``3x3 depth-wise``, ``1x1, 4 groups``."""
    sides = "x".join(map(str, conv.kernel_size))  # type: ignore[arg-type]
    if conv.groups == conv.in_channels and conv.groups != 1:
        return f"{sides} depth-wise"
    return sides if conv.groups == 1 else f"{sides}, {conv.groups} groups"


def _sides(conv: nn.Conv2d) -> tuple[int, int, int, int]:
    """How many rows and columns a convolution pads its input with: left, right, top, bottom."""
    if not isinstance(conv.padding, str):
        rows, columns = conv.padding
        return columns, columns, rows, rows
    if conv.padding == "valid":
        return 0, 0, 0, 0
    # "same": where the sides cannot be equal, the right and the lower one get more.
    rows, columns = (d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
    return columns // 2, columns - columns // 2, rows // 2, rows - rows // 2


def _counts(some: ConvertedLayer | Report) -> tuple[str, str]:
    """Parameters and multiply-adds, before -> after."""
    before, after = some.parameters
    was, now = some.multiply_adds
    return f"{before:,} -> {after:,}", f"{was / 1e6:,.2f} M -> {now / 1e6:,.2f} M"


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
