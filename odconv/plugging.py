"""What plugging ODConv into a CNN does to it: a choice of network, kernels and layers, and every layer before and after.

Networks are those of ``odconv.backbones``, a small ``nn.Sequential`` that is described row by row, or one layer by itself. What
a choice takes is known from shapes alone, before anything is built. ``pytorch_lines`` writes the choice as a program.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from odconv.architecture import Architecture, SkipInit
from odconv.checkpoint import load_checkpoint
from odconv.convert import LEFT_OUT, POOLED, SHORTCUT, STEM, Report, convert
from odconv.cost import LayerCost, cost
from odconv.words import SayableError, say

MOST_KERNELS = 8
KERNELS = (1, 2, 4, MOST_KERNELS)
REDUCTIONS = (4, 8, 16, 32)  # 1/4 to 1/32
SIDES = (16, 224)  # px of a picture for the network that is described row by row
MOST_ROWS = 8
MOST_CHANNELS = 512
ROW_CHOICES = {"kernel_size": (1, 3, 5, 7), "stride": (1, 2), "depthwise": (False, True), "dilation": (1, 2, 3, 4)}
CLASSES = 10  # of that network

# Beyond these a server that others use, too, would be slow or out of memory: ResNet-50 with K = 4 is within them.
MOST_MEGABYTES = 1000
MOST_MULTIPLY_ADDS = 12_000_000_000  # of one pass of the given network
# How many ordinary multiply-adds take the time of a depth-wise one: with few taps, or with many that are dilated, as many.
DEPTHWISE = 40

TRAINED = "resnet18_w32_tiny_imagenet.safetensors"  # the bundled static network
SEED = 0  # of weights and example


class PluggingError(SayableError):
    """A choice takes more than this page computes."""


# --- the choice ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A convolution, followed by BatchNorm and ReLU. It is padded so that with stride 1 maps keep their size.

    Raises:
        ValueError: a number is not allowed.
    """

    channels: int  # that it puts out, 1 to ``MOST_CHANNELS``; depth-wise, it puts out as many as it gets
    kernel_size: int = 3
    stride: int = 1
    depthwise: bool = False
    dilation: int = 1

    def __post_init__(self) -> None:
        allowed = ROW_CHOICES | {"channels": range(1, MOST_CHANNELS + 1)}
        for name, values in allowed.items():
            if (value := getattr(self, name)) not in values:
                raise ValueError(f"{name}={value!r}: one of {values} is needed")


ROWS = (Row(32, stride=2), Row(32, depthwise=True), Row(64, 1), Row(128, stride=2), Row(128, dilation=2))


@dataclass(frozen=True)
class Plan:
    """What is plugged in where."""

    network: str = "resnet18"  # one of ``NETWORKS``
    num_kernels: int = 4  # one of ``KERNELS``
    reduction: int = 16  # the hidden width of attention branches is C_in divided by this, at least 16
    where: str = "default"  # one of ``WHERE``
    rows: tuple[Row, ...] = ROWS  # of the network "own", 1 to ``MOST_ROWS``
    side: int = 64  # px of a picture for it

    @property
    def simplest(self) -> Plan:
        """The same without what this network does not ask for."""
        plan = self if self.network == "own" else replace(self, rows=ROWS, side=Plan.side)
        return replace(plan, where=Plan.where) if plan.network == "block" else plan


ARCHITECTURES = {
    "resnet18": Architecture("resnet18", 64, 1000, "imagenet", None, None),
    "resnet50": Architecture("resnet50", 64, 1000, "imagenet", None, None),
    "mobilenetv2": Architecture("mobilenetv2", 1.0, 1000, "imagenet", None, None),
    "efficientnet_lite0": Architecture("efficientnet_lite0", 1.0, 1000, "imagenet", None, None),
    "trained": Architecture("resnet18", 32, 200, "small", None, None),
}
NETWORKS = ("block", *ARCHITECTURES, "own")
BLOCK: dict[str, Any] = {"in_channels": 256, "out_channels": 256, "kernel_size": 7, "padding": 3}


class Rule(NamedTuple):
    """Which convolutions become dynamic, as ``convert`` takes it."""

    where: Callable[[str, nn.Conv2d], bool] | list[str] | None
    source: str  # the same in Python; empty: the default


RULES = {
    "default": Rule(None, ""),
    "three": Rule(lambda name, conv: conv.kernel_size == (3, 3), "lambda name, conv: conv.kernel_size == (3, 3)"),
    "one": Rule(lambda name, conv: conv.kernel_size == (1, 1), "lambda name, conv: conv.kernel_size == (1, 1)"),
    "depthwise": Rule(
        lambda name, conv: conv.groups == conv.in_channels > 1, "lambda name, conv: conv.groups == conv.in_channels > 1"
    ),
    "all": Rule(lambda name, conv: True, "lambda name, conv: True"),
}
WHERE = ("default", "late", "three", "one", "depthwise", "all")
ITSELF = Rule([""], '[""]')  # a convolution that is the whole network is called first, and the default leaves it out

LATE_IN_RESNETS = Rule(
    lambda name, conv: name.startswith(("layer3", "layer4")) and "downsample" not in name,
    'lambda name, conv: name.startswith(("layer3", "layer4")) and "downsample" not in name',
)
LATE = {  # network -> its later stages
    **dict.fromkeys(("resnet18", "resnet50", "trained"), LATE_IN_RESNETS),
    "mobilenetv2": Rule(
        lambda name, conv: int(name.split(".")[1]) >= 11, 'lambda name, conv: int(name.split(".")[1]) >= 11'
    ),
    "efficientnet_lite0": Rule(
        lambda name, conv: name.startswith(("stage5", "stage6", "stage7", "head")),
        'lambda name, conv: name.startswith(("stage5", "stage6", "stage7", "head"))',
    ),
}


def rule_of(plan: Plan) -> Rule:
    """Which convolutions ``plan`` means."""
    if plan.network == "block":
        return ITSELF
    if plan.where != "late":
        return RULES[plan.where]
    if plan.network != "own":
        return LATE[plan.network]
    half = len(plan.rows) // 2
    return Rule(
        lambda name, conv: int(name.split(".")[0]) >= half, f'lambda name, conv: int(name.split(".")[0]) >= {half}'
    )


# --- the network --------------------------------------------------------------------------------------------------------


def shape_of(plan: Plan) -> tuple[int, int, int, int]:
    """The shape (N, C, H, W) of the example that the network runs with."""
    if plan.network == "block":
        return (2, 256, 40, 40)
    side = {"own": plan.side, "trained": 64}.get(plan.network, 224)
    return (1, 3, side, side)


def build(plan: Plan, weights: Path) -> tuple[nn.Module, Tensor]:
    """The network in eval mode, and the example (N, C, H, W), both by the same seed as in ``pytorch_lines``.

    ``weights``: of the network "trained"; the others have drawn ones.

    Raises:
        CheckpointError: these weights cannot be read.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = load_checkpoint(weights).model if plan.network == "trained" else _construct(plan)
        return network.eval(), torch.randn(shape_of(plan))


def _construct(plan: Plan) -> nn.Module:
    if plan.network == "block":
        return nn.Conv2d(**BLOCK, bias=False)
    if plan.network == "own":
        each = _conv_options(plan.rows)
        blocks = [nn.Sequential(nn.Conv2d(**one), nn.BatchNorm2d(one["out_channels"]), nn.ReLU()) for one in each]
        last = each[-1]["out_channels"]
        return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, CLASSES))
    return ARCHITECTURES[plan.network].build()


def _conv_options(rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    """Arguments of each row's ``nn.Conv2d``."""
    channels, each = 3, []
    for row in rows:
        options: dict[str, Any] = {
            "in_channels": channels,
            "out_channels": channels if row.depthwise else row.channels,
            "kernel_size": row.kernel_size,
            "stride": row.stride,
            "padding": row.dilation * (row.kernel_size // 2),
            "dilation": row.dilation,
            "groups": channels if row.depthwise else 1,
            "bias": False,
        }
        each.append(options)
        channels = options["out_channels"]
    return each


def channels_into(rows: tuple[Row, ...]) -> list[int]:
    """How many channels each row gets."""
    return [options["in_channels"] for options in _conv_options(rows)]


# --- what it takes, from shapes alone -----------------------------------------------------------------------------------


class Outline(NamedTuple):
    """A network without its numbers."""

    convs: dict[str, nn.Conv2d]
    costs: list[LayerCost]  # of the given network's convolutions and linear maps, in execution order
    parameters: int


def outline(plan: Plan) -> Outline:
    """What is known of the given network before it is built."""
    with torch.device("meta"), SkipInit():
        network = _construct(plan)
    _, channels, side, _ = shape_of(plan)
    convs = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    return Outline(convs, cost(network, side, channels), sum(some.numel() for some in network.parameters()))


def check_size(plan: Plan) -> None:
    """Refuse what would take too much memory or too long.

    Memory: floats of four bytes, for the given network, its copy, K kernels for each convolution that may become dynamic, as
    many again for the largest of them, whose noise is drawn, and the largest map, which a layer gets and makes and a norm makes
    anew; and half as much on top for what is needed in between. A process that converted ResNet-50 with K = 4 grew by 784 MB,
    where this says 941, and ResNet-18 with K = 8 made it grow by 732 MB, where this says 804.

    Raises:
        PluggingError: it would.
    """
    known, batch = outline(plan), shape_of(plan)[0]
    where = rule_of(plan).where
    kernels = [
        plan.num_kernels * conv.weight.numel()
        for name, conv in known.convs.items()
        if not callable(where) or where(name, conv)
    ]
    maps = [
        batch * conv.out_channels * one.multiply_adds // conv.weight.numel()
        for one in known.costs
        if (conv := known.convs.get(one.name))
    ]
    floats = 2 * known.parameters + sum(kernels) + max(kernels, default=0) + 3 * max(maps)
    megabytes = 1.5 * 4 * floats / 1e6
    multiply_adds = batch * sum(_time_of(one, known.convs.get(one.name)) for one in known.costs)
    if megabytes > MOST_MEGABYTES or multiply_adds > MOST_MULTIPLY_ADDS:
        raise PluggingError(
            "plug.too_large",
            megabytes=f"{megabytes:,.0f}",
            billions=f"{multiply_adds / 1e9:,.1f}",
            most_megabytes=f"{MOST_MEGABYTES:,}",
            most_billions=f"{MOST_MULTIPLY_ADDS / 1e9:g}",
        )


def _time_of(one: LayerCost, conv: nn.Conv2d | None) -> int:
    """Of a layer's pass, in ordinary multiply-adds."""
    return one.multiply_adds * (DEPTHWISE if conv is not None and is_depthwise(conv) else 1)


def is_depthwise(conv: nn.Conv2d) -> bool:
    """Whether each output channel has one input channel."""
    return conv.groups == conv.in_channels > 1


# --- what it does -------------------------------------------------------------------------------------------------------

REASONS = {
    STEM: "stem",
    SHORTCUT: "shortcut",
    POOLED: "pooled",
    LEFT_OUT: "where",
}  # as ``convert`` gives them -> short


@dataclass(frozen=True)
class Layer:
    """A convolution or linear map before and after."""

    name: str  # as in ``network.named_modules()``
    conv: tuple[int, int, int, bool] | None  # kernel side, stride, dilation, whether depth-wise; None: a linear map
    heads: tuple[str, ...]  # of ``odconv.HEADS``; empty: it stays static
    reason: str  # why it stays static: one of ``REASONS``, "linear", or what ``convert`` says; empty: it does not
    parameters: tuple[int, int]  # before, after
    multiply_adds: tuple[int, int]  # before, after; for one picture


@dataclass(frozen=True)
class Conversion:
    """What a plan does to its network."""

    shape: tuple[int, int, int, int]  # of the example
    layers: tuple[Layer, ...]  # in execution order
    parameters: tuple[int, int]  # of the whole network, before and after
    multiply_adds: tuple[int, int]  # for one picture
    max_difference: float  # between the outputs of both
    scale: float  # the largest absolute value of an output


def plug_in(plan: Plan, weights: Path) -> Conversion:
    """Build the network of ``plan`` and convert it; ``weights`` as in ``build``.

    Raises:
        CheckpointError: these weights cannot be read.
    """
    return describe(plan, _convert(plan, *build(plan, weights))[1])


def _convert(plan: Plan, network: nn.Module, example: Tensor) -> tuple[nn.Module, Report]:
    return convert(network, plan.num_kernels, 1 / plan.reduction, rule_of(plan).where, example=example)


def describe(plan: Plan, report: Report) -> Conversion:
    """Every layer of the plan's network before and after, from the report on its conversion."""
    known = outline(plan)
    converted = {layer.name: layer for layer in report.layers}
    skipped = {layer.name: REASONS.get(layer.reason, layer.reason) for layer in report.skipped}
    layers = []
    for one in known.costs:
        conv, after = known.convs.get(one.name), converted.get(one.name)
        layer = Layer(
            one.name,
            None if conv is None else _kind(conv),
            heads=after.heads if after else (),
            reason="" if after else skipped.get(one.name, "linear"),
            parameters=after.parameters if after else (one.parameters, one.parameters),
            multiply_adds=after.multiply_adds if after else (one.multiply_adds, one.multiply_adds),
        )
        layers.append(layer)
    return Conversion(
        shape_of(plan), tuple(layers), report.parameters, report.multiply_adds, report.max_difference, report.scale
    )


def _kind(conv: nn.Conv2d) -> tuple[int, int, int, bool]:
    return conv.kernel_size[0], conv.stride[0], conv.dilation[0], is_depthwise(conv)


# --- how long it takes --------------------------------------------------------------------------------------------------

SECONDS = 1.5  # of measuring, after which no further pair of passes begins
PAIRS = (3, 15)  # of passes, at least and at most


@dataclass(frozen=True)
class Timing:
    """What one pass of the example takes in the given network and in the converted one."""

    milliseconds: tuple[float, float]  # medians, before and after
    factor: float  # median of the pairs' quotients
    pairs: int
    threads: int


def time_passes(plan: Plan, weights: Path) -> Timing:
    """Build and convert the network of ``plan``, and run both in turn, so that whatever else the machine does slows both.

    Which of the two begins changes from pair to pair, and the first pair is not counted.

    Raises:
        CheckpointError: these weights cannot be read.
    """
    network, example = build(plan, weights)
    both = (network, _convert(plan, network, example)[0])
    least, most = PAIRS
    pairs: list[tuple[float, float]] = []
    with torch.inference_mode():
        for model in both:
            model(example)
        end = time.perf_counter() + SECONDS
        while len(pairs) < least or (len(pairs) < most and time.perf_counter() < end):
            turn = -1 if len(pairs) % 2 else 1
            marks = [time.perf_counter()]
            for model in both[::turn]:
                model(example)
                marks.append(time.perf_counter())
            first, second = [1e3 * (after - before) for before, after in pairwise(marks)][::turn]
            pairs.append((first, second))
    before, after = (statistics.median(some) for some in zip(*pairs, strict=True))
    factor = statistics.median(converted / given for given, converted in pairs)
    return Timing((before, after), factor, len(pairs), torch.get_num_threads())


# --- the lines that do it -----------------------------------------------------------------------------------------------


def pytorch_lines(language: str, plan: Plan) -> str:
    """``plan`` as a program, with comments in ``language``; it runs in a checkout of this project."""
    words, rule = partial(say, language), rule_of(plan)
    shape = ", ".join(map(str, shape_of(plan)))
    options = [f"num_kernels={plan.num_kernels}", f"reduction=1 / {plan.reduction}"]
    arguments = ["network", *options, *([f"where={rule.source}"] if rule.source else []), "example=x"]
    call = ", ".join(arguments)
    if len(call) > 80:
        call = "".join(f"\n    {argument}," for argument in arguments) + "\n"
    lines = [
        *_imports(plan),
        "",
        f"torch.manual_seed({SEED})  # {words('plug.line_seed')}",
        f"# {words('plug.line_yours')}",
        *_network_lines(plan),
        f"x = torch.randn({shape})",
        f"model, report = convert({call})",
        f"print(report)  # {words('plug.line_report')}",
        f"model(x)  # {words('plug.line_same')}",
    ]
    if plan.network == "block":
        layer = ", ".join(["256", "256", "7", "padding=3", *options])
        lines += ["", f"layer = ODConv2d({layer})  # {words('plug.line_layer')}", f"layer(x).shape  # ({shape})"]
    return "\n".join(lines)


def _imports(plan: Plan) -> list[str]:
    torch_lines = ["import torch", *(["from torch import nn"] if plan.network in ("block", "own") else [])]
    match plan.network:
        case "block":
            return [*torch_lines, "from odconv import ODConv2d, convert"]
        case "own":
            return [*torch_lines, "from odconv import convert"]
        case "trained":
            return [*torch_lines, "from odconv import convert, load_checkpoint"]
        case _:
            return [*torch_lines, "from odconv import convert", f"from odconv.backbones import {plan.network}"]


def _network_lines(plan: Plan) -> list[str]:
    match plan.network:
        case "block":
            return ["network = nn.Conv2d(256, 256, 7, padding=3, bias=False).eval()"]
        case "trained":
            return [f'network = load_checkpoint("assets/weights/{TRAINED}").model']
        case "own":
            each = _conv_options(plan.rows)
            blocks = [
                f"    nn.Sequential({_conv_text(one)}, nn.BatchNorm2d({one['out_channels']}), nn.ReLU()),"
                for one in each
            ]
            end = f"    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear({each[-1]['out_channels']}, {CLASSES}),"
            return ["network = nn.Sequential(", *blocks, end, ").eval()"]
        case _:
            return [f"network = {plan.network}().eval()"]


def _conv_text(options: dict[str, Any]) -> str:
    """The convolution as a program constructs it, without arguments that have PyTorch's default."""
    usual = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    named = [f"{name}={options[name]}" for name, value in usual.items() if options[name] != value]
    sizes = [str(options[name]) for name in ("in_channels", "out_channels", "kernel_size")]
    return f"nn.Conv2d({', '.join([*sizes, *named])}, bias=False)"
