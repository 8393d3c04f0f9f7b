"""What training does to a network: first weights, parameter groups, dropout, dropped kernels, averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from odconv.attention import Heads
from odconv.layer import AttentionBranch
from odconv.training.recipe import Recipe, RecipeError

DROPPED = -1e4  # a logit whose share is exactly 0, also at temperature 30; finite, as infinities can meet and give nan


def build(recipe: Recipe, num_classes: int, start: nn.Module | None = None) -> nn.Module:
    """The network as it is before the first step, by the recipe's seed; with the weights of ``start``, where it has them.

    Raises:
        RecipeError: ``start`` is neither the same network nor its static twin.
    """
    torch.manual_seed(recipe.seed)
    model = recipe.architecture(num_classes).build()
    if recipe.initial_logits:
        for branch in _branches(model):
            _equalise(branch, recipe.initial_logits)
    if start is not None:
        _take(model, start, recipe)
    return model


@torch.no_grad()
def _take(model: nn.Module, start: nn.Module, recipe: Recipe) -> None:
    """A static kernel becomes the K kernels of a dynamic layer, with noise, or gradients would never tell them apart.

    Attention branches that ``start`` lacks stay as they are, and so does a classifier of other classes.
    """
    given, own = start.state_dict(), model.state_dict()
    odd = [name for name in given if name not in own]
    for name, tensor in own.items():
        new = given.get(name)
        if new is not None and new.shape == tensor.shape:
            tensor.copy_(new)
        elif new is not None and new.shape == tensor.shape[1:]:
            tensor.copy_(new + recipe.apart * new.std() * torch.randn_like(tensor))
        elif not (new is None and ".attention." in name) and not name.startswith(("fc.", "classifier.")):
            odd.append(name)
    if odd:
        raise RecipeError(f"start={recipe.start!r}: weights of {recipe.arch} or its static twin are needed ({odd[0]})")


def _equalise(branch: AttentionBranch, deviation: float) -> None:
    """Initial weights with which the logits of every head have this standard deviation, however many entries it has.

    The released code's go by the number of entries: 0.09 for the 256 channels of a deep layer, 0.7 for 4 kernels. What
    the heads see is ReLU of a standard normal, whose mean square is 1/2.
    """
    for fc in (branch.spatial_fc, branch.channel_fc, branch.filter_fc, branch.kernel_fc):
        if fc is not None:
            nn.init.normal_(fc.weight, 0, deviation / math.sqrt(fc.in_channels / 2))


def _branches(model: nn.Module) -> list[AttentionBranch]:
    return [module for module in model.modules() if isinstance(module, AttentionBranch)]


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Every parameter once: attention branches apart from the rest, weights apart from BatchNorm and biases.

    ``factor``: on the learning rate.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault((".attention." in name, parameter.ndim > 1), []).append(parameter)
    decays = {(False, True): recipe.weight_decay, (True, True): recipe.attention_weight_decay}
    return [
        {
            "params": parameters,
            "weight_decay": decays.get(kind, 0.0),
            "factor": recipe.attention_lr if kind[0] else 1.0,
        }
        for kind, parameters in groups.items()
    ]


def add_dropout(model: nn.Module, share: float) -> None:
    """Dropout of the features before the classifier, in train mode; in the place of a dropout that is there already."""
    own = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    for module in own:
        module.p = share
    if share and not own:
        classifier = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        classifier.register_forward_pre_hook(lambda module, inputs: F.dropout(inputs[0], share, module.training))


@contextmanager
def untracked(model: nn.Module) -> Iterator[None]:
    """BatchNorm normalises a batch by its own statistics as ever, and leaves the running ones as they are.

    For batches with dropped kernels or a drawn temperature: a network in use has one set of statistics, and a mixture of
    all fits none of them. (To normalise such batches by the running statistics, as in use, makes training diverge.)
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


@contextmanager
def random_kernels(model: nn.Module, count: int | None, random: np.random.Generator) -> Iterator[None]:
    """In each layer only ``count`` kernels take part, drawn anew for each layer; None: all do."""
    with ExitStack() as hooks:
        for branch in _branches(model) if count is not None else ():
            if branch.kernel_fc is not None:
                dropped = random.permutation(branch.kernel_fc.out_channels)[count:]
                handle = branch.register_forward_hook(_without(torch.from_numpy(dropped)))
                hooks.callback(handle.remove)
        yield


def _without(dropped: Tensor) -> Callable[[nn.Module, Any, Heads[Tensor]], Heads[Tensor]]:
    def hook(branch: nn.Module, inputs: Any, logits: Heads[Tensor]) -> Heads[Tensor]:
        assert logits.kernel is not None
        return logits._replace(kernel=logits.kernel.index_fill(1, dropped.to(logits.kernel.device), DROPPED))

    return hook


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """average = decay · average + (1 - decay) · model, BatchNorm statistics too; counters are copied."""
    pairs = list(zip(average.state_dict().values(), model.state_dict().values(), strict=True))
    numbers = [pair for pair in pairs if pair[0].is_floating_point()]
    get_ema_multi_avg_fn(decay)([kept for kept, _ in numbers], [new for _, new in numbers], None)
    for kept, new in pairs:
        if not kept.is_floating_point():
            kept.copy_(new)
