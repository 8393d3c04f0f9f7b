"""The first weights of an EfficientNet-Lite with ODConv: the function of its static twin, and attention that already moves.

``odconv.convert`` gives the same function with gates that stand still. A gate that moves changes the function, and how much
depends on the gate: for the same spread between pictures, moving each in inverse proportion to how much the outputs depend on it
changes them several times less than moving all alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odconv.architecture import Architecture
from odconv.attention import Heads
from odconv.backbones import EfficientNetLite
from odconv.convert import convert
from odconv.layer import AttentionBranch, ODConv2d
from odconv.training.network import branches

APART = 0.03  # noise that sets the K kernels apart; with 0.1, one kernel alone is far from the mean of all
SLOPE = 0.25  # of a sigmoid at 0
MOST = 0.15  # the most that one gate moves, as standard deviation between pictures
AT_ONCE = 16


def add_attention(static: EfficientNetLite, architecture: Architecture, seed: int) -> EfficientNetLite:
    """``static`` as a network with ODConv, with the same outputs: all logits are 0."""
    torch.manual_seed(seed)
    model = architecture.build()
    assert isinstance(model, EfficientNetLite)
    assert architecture.num_kernels
    assert architecture.reduction
    where = [name for name, module in model.named_modules() if isinstance(module, ODConv2d)]
    grown = convert(static, architecture.num_kernels, architecture.reduction, where, noise=APART, seed=seed).model
    model.load_state_dict(grown.state_dict())
    return model.eval()


@torch.no_grad()
def settle(model: EfficientNetLite, features: Tensor, batch: int = 32) -> None:
    """Set the statistics of the branches' BatchNorm to those of ``features`` (N, C, H, W), where they stay.

    With the statistics of each small batch instead, gates would be noisy in training, and others in use.
    """
    model.eval()
    for branch in branches(model):
        branch.train()
        branch.bn.reset_running_stats()
        branch.bn.momentum = None  # the mean over all batches
    for some in features.split(batch):
        model.finish(some.to(model.classifier.weight.device).float())
    model.eval()


def name_branches(model: nn.Module) -> dict[nn.Module, str]:
    """Attention branch -> name of its layer."""
    found = {module: name for name, module in model.named_modules() if isinstance(module, AttentionBranch)}
    return {branch: name.removesuffix(".attention") for branch, name in found.items()}


def sensitivities(model: EfficientNetLite, features: Tensor) -> dict[str, Tensor]:
    """How much the probabilities depend on each gate: "layer.head" -> (entries,), the diagonal of the Fisher information.

    A gate that moves by d changes them by a divergence of about d² / 2 times this. All logits of ``model`` are to be 0. Classes
    are drawn as the network says, by PyTorch's generator.
    """
    names, gates, squares = name_branches(model), dict[str, Tensor](), dict[str, Tensor]()

    def hook(branch: nn.Module, inputs: Any, logits: Heads[Tensor]) -> Heads[Tensor]:
        for head in ("spatial", "channel", "filter"):
            values = getattr(logits, head)
            if values is not None:
                gates[f"{names[branch]}.{head}"] = values = values.detach().requires_grad_(True)
                logits = logits._replace(**{head: values})
        return logits

    with ExitStack() as inside:
        for branch in names:
            inside.callback(branch.register_forward_hook(hook).remove)
        for some in features.split(AT_ONCE):
            log = model.finish(some.to(model.classifier.weight)).log_softmax(1)
            log.gather(1, torch.multinomial(log.detach().exp(), 1)).sum().backward()
            for name, gate in gates.items():
                assert gate.grad is not None
                square = (gate.grad.flatten(1) / SLOPE).square().sum(0) / len(features)
                squares[name] = squares[name] + square if name in squares else square
    model.zero_grad()
    return squares


def choose_moves(sensitivity: Tensor, spread: float, harm: float) -> Tensor:
    """How far each gate of a head is to move, (entries,), as standard deviation between pictures.

    In inverse proportion to ``sensitivity``, which changes the outputs least for a given mean, and at most ``MOST``. The mean is
    ``spread``, or less where the outputs would change by more than a divergence of ``harm``.
    """
    shape = 1 / sensitivity.double().clamp_min(1e-12)
    low, high = 0.0, float(MOST / shape.min())
    for _ in range(100):
        middle = (low + high) / 2
        moves = (middle * shape).clamp_max(MOST)
        little = moves.mean() < spread and (sensitivity * moves.square()).sum() / 2 < harm
        low, high = (middle, high) if little else (low, middle)
    return (low * shape).clamp_max(MOST).to(sensitivity.dtype)


def plan_moves(found: Mapping[str, Tensor], spread: float, harm: float, share: float) -> dict[str, Tensor]:
    """``choose_moves`` for every head in ``found``, of :func:`sensitivities`.

    Of each kind of head, the ``share`` of the layers in which ``spread`` changes the outputs least have it in full, and those
    where it changes them most have what ``harm`` allows.
    """
    full = {name: choose_moves(each, spread, math.inf) for name, each in found.items()}
    costs = {name: float((found[name] * moves.square()).sum()) for name, moves in full.items()}
    moves: dict[str, Tensor] = {}
    for head in ("spatial", "channel", "filter"):
        names = sorted((name for name in costs if name.endswith(f".{head}")), key=costs.__getitem__)
        count = math.ceil(share * len(names))
        moves |= {name: full[name] for name in names[:count]}
        moves |= {name: choose_moves(found[name], spread, harm) for name in names[count:]}
    return moves


@torch.no_grad()
def set_heads(model: EfficientNetLite, features: Tensor, moves: Mapping[str, Tensor], kernel_spread: float) -> None:
    """Let the gates move between pictures as ``moves`` says, each about 1/2 and in a direction of its own; and the shares.

    ``moves``: "layer.head" -> (entries,). A layer is set on what the layers before it, which are set already, make of
    ``features`` (N, C, H, W). Directions come from PyTorch's generator.
    """
    names = name_branches(model)

    def hook(branch: AttentionBranch, inputs: tuple[Tensor], logits: Heads[Tensor]) -> Heads[Tensor]:
        hidden = F.relu(branch.normalize(branch.squeeze(inputs[0].mean((2, 3)))))
        for head in ("spatial", "channel", "filter"):
            fc = getattr(branch, f"{head}_fc")
            if fc is not None:
                _aim(fc, hidden, moves[f"{names[branch]}.{head}"] / SLOPE)
        if branch.kernel_fc is not None:
            count = branch.kernel_fc.out_channels  # a share moves by 1/K · sqrt(1 - 1/K) for logits that move by 1
            deviation = kernel_spread * count / (1 - 1 / count) ** 0.5
            _aim(branch.kernel_fc, hidden, hidden.new_full((count,), deviation))
        return branch.logits(hidden)

    with ExitStack() as inside:
        for branch in names:
            inside.callback(branch.register_forward_hook(hook).remove)
        model.finish(features.to(model.classifier.weight.device).float())


def _aim(fc: nn.Conv2d, hidden: Tensor, deviation: Tensor) -> None:
    """Random rows for which the outputs of ``hidden`` (N, inputs) have mean 0 and this standard deviation, (outputs,)."""
    rows = torch.randn(fc.out_channels, fc.in_channels, dtype=hidden.dtype).to(hidden)
    outputs = hidden @ rows.T  # (N, outputs)
    rows = rows * (deviation / outputs.std(0).clamp_min(1e-6))[:, None]
    fc.weight.copy_(rows[:, :, None, None])
    assert fc.bias is not None
    fc.bias.copy_(-(rows @ hidden.mean(0)))
