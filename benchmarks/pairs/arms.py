"""The arms of a pair: the networks, what each starts from, and the step of each of its parameters."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.pairs.plan import Plan
from odconv import ODConv2d, convert
from odconv.architecture import Architecture
from odconv.cost import cost
from odconv.training.network import head_outputs

STAGES = ("layer1", "layer2", "layer3", "layer4")
Gates = Literal["own", "frozen", "shuffled"]  # those of the picture, the mean over pictures, those of another picture
REDUCTION = 1 / 16
SE_HIDDEN = 16  # at least, as in ODConv's attention branches


@dataclass(frozen=True)
class Arm:
    """What an arm differs in from the static twin."""

    kernels: int = 0  # K of its dynamic layers; 0: it has none
    stages: tuple[str, ...] = STAGES  # those whose blocks have dynamic layers
    as_many: str = ""  # "multiply_adds" or "parameters" as od4 has: static, and wider
    squeezes: bool = False  # squeeze-and-excitation in every block
    gates: Gates = "own"  # what attention it is trained and measured with
    learns_from_teacher: bool = False
    twin: str = "static"  # what it is compared with


ARMS = {
    "static": Arm(),
    "od1": Arm(1),
    "od4": Arm(4),
    "od4_late": Arm(4, STAGES[2:]),
    "wider": Arm(as_many="multiply_adds"),
    "more": Arm(as_many="parameters"),
    "se": Arm(squeezes=True),
    "od4_fixed": Arm(4, gates="frozen"),
    "od4_shuffled": Arm(4, gates="shuffled"),
    "static_distilled": Arm(learns_from_teacher=True),
    "od4_distilled": Arm(4, learns_from_teacher=True, twin="static_distilled"),
}
# Static networks that are no arms, and that the arms of their seed need:
PARENT = "parent"  # what they start from; a wider arm starts from a parent as wide, "wider_parent"
TEACHER = "teacher"  # what they learn from; wider, and trained as the parent is
TEACHER_WIDTH = 2  # times that of the parent


def find(name: str) -> Arm:
    """The arm, or for a network that arms need one that is as wide."""
    return ARMS.get(name.removesuffix(f"_{PARENT}"), ARMS["static"])


def parent_of(name: str) -> str:
    """What an arm starts from."""
    return f"{name}_{PARENT}" if ARMS[name].as_many else PARENT


def build(name: str, plan: Plan, classes: int, seed: int, parent: dict[str, Tensor] | None = None) -> nn.Module:
    """The network of an arm before its first step, on the CPU.

    ``parent``: weights of the static network; the arm computes the same function. Without, it starts from random weights, of which
    all that the twin has, too, are the twin's.
    """
    arm = find(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == TEACHER:
            return _static(plan, classes, TEACHER_WIDTH * plan.width)
        static = _static(plan, classes, _width_of_equal(arm.as_many, plan, classes) if arm.as_many else plan.width)
        if parent is not None:
            static.load_state_dict(parent)
        if arm.squeezes:
            return add_squeezes(static)
        if not arm.kernels:
            return static
        dynamic = Architecture(f"od_{plan.backbone}", plan.width, classes, "small", arm.kernels, REDUCTION).build()
        where = [n for n, m in dynamic.named_modules() if isinstance(m, ODConv2d) and n.startswith(arm.stages)]
        if parent is None:
            for layer in where:
                static.set_submodule(layer, dynamic.get_submodule(layer))
            return static
        example = torch.randn(2, 3, plan.side, plan.side)
        return convert(static, arm.kernels, REDUCTION, where, example=example, noise=plan.noise, seed=seed).model


def _static(plan: Plan, classes: int, width: int) -> nn.Module:
    return Architecture(plan.backbone, width, classes, "small", None, None).build()


def size(model: nn.Module, side: int) -> dict[str, int]:
    """Its parameters, and its multiply-adds for one picture; of squeeze-and-excitation and ODConv the branches, too."""
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "multiply_adds": sum(layer.multiply_adds for layer in cost(model, side)),
    }


def _width_of_equal(what: str, plan: Plan, classes: int) -> int:
    """The width at which a static network is nearest to the ODConv network with K = 4."""
    wanted = size(build("od4", plan, classes, 0), plan.side)[what]
    width, apart = plan.width, abs(size(_static(plan, classes, plan.width), plan.side)[what] - wanted)
    while (now := abs(size(_static(plan, classes, width + 1), plan.side)[what] - wanted)) <= apart:
        width, apart = width + 1, now
    return width


class Squeeze(nn.Module):
    """Squeeze-and-excitation (Hu et al., 2018, https://arxiv.org/abs/1709.01507) that lets all through before its first step."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = nn.Linear(channels, max(channels // 16, SE_HIDDEN))
        self.up = nn.Linear(self.down.out_features, channels)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        gates = 2 * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3))))))
        return x * gates[:, :, None, None]


def add_squeezes(static: nn.Module) -> nn.Module:
    """``static`` with squeeze-and-excitation at the end of each block's own path."""
    model = copy.deepcopy(static)
    ends = [name for name, _ in model.named_modules() if name.startswith("layer") and name.endswith(".bn2")]
    for name in ends:
        bn = model.get_submodule(name)
        assert isinstance(bn, nn.BatchNorm2d)
        model.set_submodule(name, nn.Sequential(bn, Squeeze(bn.num_features)))
    return model


def kernel_step(layer: ODConv2d) -> int:
    """By how much the steps of the K kernels of a converted layer are smaller than those of the convolution before it.

    With heads at 0 a picture's kernel is Π gates · Σ W_i / K, and each of the g gates is 1/2: it sees the gradient G of that kernel
    as 2^-g / K · G in each of the W_i, whose steps come back with the same factor, K times. So it moves by 4^-g / K of what the twin's
    kernel does: 1/256 for K = 4 in a 3x3 layer. The K comes from the shares, the 4^g from kernels that are 2^g times larger.
    """
    branch = layer.attention
    gates = len(head_outputs(branch)) - (branch.kernel_fc is not None)
    return 4**gates * layer.num_kernels


def parameter_groups(model: nn.Module, plan: Plan) -> Iterator[dict[str, Any]]:
    """Every parameter once, in groups of one ``factor`` on the learning rate.

    From a parent, kernels take steps that are ``plan.kernel_step`` times those of the twin's, see :func:`kernel_step`; weight decay
    takes the same share of them in a step as of the twin's.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    kernels = {layer.weight: kernel_step(layer) for layer in model.modules() if isinstance(layer, ODConv2d)}
    for name, parameter in model.named_parameters():
        factor, decay = 1.0, plan.weight_decay
        if ".attention." in name:
            factor = plan.attention_lr
        elif parameter in kernels and plan.start == "parent":
            factor = kernels[parameter] * plan.kernel_step
            decay = plan.weight_decay / factor
        groups.setdefault((factor, decay), []).append(parameter)
    for (factor, decay), some in groups.items():
        yield {"params": some, "factor": factor, "weight_decay": decay}
