"""What training does to a network: first weights, parameter groups, dropout, dropped kernels, averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from odconv.architecture import family_of
from odconv.attention import Heads
from odconv.layer import AttentionBranch
from odconv.training.recipe import Drawn, Drop, Recipe, RecipeError

DROPPED = -1e4  # a logit whose share is exactly 0, also at temperature 30; finite, as infinities can meet and give nan


def build(recipe: Recipe, num_classes: int, start: nn.Module | None = None) -> nn.Module:
    """The network as it is before the first step, by the recipe's seed; with the weights of ``start``, where it has them.

    Raises:
        RecipeError: ``start`` is neither the same network, nor that with K = 1, nor its static twin.
    """
    torch.manual_seed(recipe.seed)
    model = recipe.architecture(num_classes).build()
    if recipe.initial_logits:
        for branch in _branches(model):
            _equalise(branch, recipe.initial_logits)
    if start is not None:
        _take(model, start, recipe)
    if recipe.attention_affine == "fixed":
        for branch in _branches(model):
            _fix(branch.bn)
    return model


@torch.no_grad()
def _take(model: nn.Module, start: nn.Module, recipe: Recipe) -> None:
    """The one kernel of a layer becomes K kernels, with noise, or gradients would never tell them apart.

    What ``start`` lacks of the attention branches stays as it is, and so does a classifier of another number of classes.
    """
    given, own = start.state_dict(), model.state_dict()
    odd = [name for name in given if name not in own]
    classifier = family_of(recipe.arch).classifier
    for name, tensor in own.items():
        new = given.get(name)
        if new is not None and new.shape == tensor.shape:
            tensor.copy_(new)
        elif new is not None and new.shape in (tensor.shape[1:], (1, *tensor.shape[1:])):
            apart = recipe.apart if len(tensor) > 1 else 0.0
            tensor.copy_(new + apart * new.std() * torch.randn_like(tensor))
        elif not (new is None and ".attention." in name) and name.rpartition(".")[0] != classifier:
            odd.append(name)
    if odd:
        needed = f"weights of {recipe.arch} or its static twin are needed, of the same K or K = 1"
        raise RecipeError(f"start={recipe.start!r}: {needed} ({odd[0]})")


def _equalise(branch: AttentionBranch, deviation: float) -> None:
    """Initial weights with which the logits of every head have this standard deviation, however many entries it has.

    The released code's go by the number of entries: 0.09 for the 256 channels of a deep layer, 0.7 for 4 kernels. What
    the heads see is ReLU of a standard normal, whose mean square is 1/2.
    """
    for fc in _outputs(branch):
        nn.init.normal_(fc.weight, 0, deviation / math.sqrt(fc.in_channels / 2))


def _fix(bn: nn.BatchNorm2d) -> None:
    """Scale 1 and shift 0 for good.

    Then half of what goes into the ReLU behind it is above 0, whatever is learnt. A shift that is learnt at a high rate can
    turn a unit off for every picture, and as no gradient passes a ReLU that is off, it stays so.
    """
    nn.init.ones_(bn.weight)
    nn.init.zeros_(bn.bias)
    bn.requires_grad_(False)


def _branches(model: nn.Module) -> list[AttentionBranch]:
    return [module for module in model.modules() if isinstance(module, AttentionBranch)]


def _outputs(branch: AttentionBranch) -> list[nn.Conv2d]:
    """The last layer of each head that is there."""
    each = (branch.spatial_fc, branch.channel_fc, branch.filter_fc, branch.kernel_fc)
    return [fc for fc in each if fc is not None]


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Every parameter that learns, once: attention branches apart from the rest, weights apart from BatchNorm and biases.

    ``factor``: on the learning rate.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
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
def as_drawn(model: nn.Module, drawn: Drawn[Tensor], drop: Drop) -> Iterator[None]:
    """Inside, each picture of a batch has the temperature and the number of kernels that are drawn for it.

    ``drop``: which kernels stay; where it says random, PyTorch's generator draws them anew for each picture and layer.
    """
    with ExitStack() as hooks:
        for branch in _branches(model):
            hooks.callback(branch.register_forward_hook(_each_its_own(drawn, drop)).remove)
        yield


def _each_its_own(drawn: Drawn[Tensor], drop: Drop) -> Callable[[nn.Module, Any, Heads[Tensor]], Heads[Tensor]]:
    def hook(branch: nn.Module, inputs: Any, logits: Heads[Tensor]) -> Heads[Tensor]:
        if logits.kernel is not None and drop != "none":
            goes = _ranks(logits.kernel, drop) >= drawn.kernels[:, None]
            logits = logits._replace(kernel=logits.kernel.masked_fill(goes, DROPPED))
        return Heads(*(None if head is None else head / _like(head, drawn.temperatures) for head in logits))

    return hook


def _ranks(kernel: Tensor, drop: Drop) -> Tensor:
    """(N, K) logits -> the place of each kernel among those that are to stay, from 0; ties go to the lower index."""
    if drop == "strongest":
        return kernel.argsort(dim=1, descending=True, stable=True).argsort(1)
    if drop == "first":
        return torch.arange(kernel.shape[1], device=kernel.device).expand_as(kernel)
    return torch.rand(kernel.shape, device=kernel.device).argsort(1)


def _like(head: Tensor, each: Tensor) -> Tensor:
    """(N,) numbers, shaped to go with a head's (N, ...) logits."""
    return each.to(head.dtype).view(-1, *[1] * (head.ndim - 1))


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """average = decay · average + (1 - decay) · model, BatchNorm statistics too; counters are copied."""
    pairs = list(zip(average.state_dict().values(), model.state_dict().values(), strict=True))
    numbers = [pair for pair in pairs if pair[0].is_floating_point()]
    get_ema_multi_avg_fn(decay)([kept for kept, _ in numbers], [new for _, new in numbers], None)
    for kept, new in pairs:
        if not kept.is_floating_point():
            kept.copy_(new)


@torch.no_grad()
def divide_logits(model: nn.Module, temperature: float) -> None:
    """Change the weights so that temperature 1 is from now on what ``temperature`` was."""
    for branch in _branches(model):
        for fc in _outputs(branch):
            for parameter in fc.parameters():
                parameter.div_(temperature)


@contextmanager
def imbalance(model: nn.Module) -> Iterator[list[Tensor]]:
    """Inside, each layer with K kernels adds how unequal their shares are in the batch, at temperature 1: from 0 to K - 1.

    K times the sum of the squared mean shares, minus 1, as in the load balancing of mixtures of experts (Shazeer et al.,
    2017, https://arxiv.org/abs/1701.06538): a kernel that no picture takes learns nothing, and is never taken again.
    """
    found: list[Tensor] = []

    def hook(branch: nn.Module, inputs: Any, logits: Heads[Tensor]) -> None:
        if logits.kernel is not None:
            shares = logits.kernel.float().softmax(1).mean(0)
            found.append(len(shares) * shares.square().sum() - 1)

    with ExitStack() as hooks:
        for branch in _branches(model):
            hooks.callback(branch.register_forward_hook(hook).remove)
        yield found
