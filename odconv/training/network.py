"""What training does to a network: first weights, the loss of a step, averaged weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from odconv.attention import Heads
from odconv.layer import AttentionBranch
from odconv.training.compute import autocast
from odconv.training.recipe import APART, AVERAGE, DROPOUT, LABEL_SMOOTHING, WEIGHT_DECAY, Drawn, Recipe, RecipeError


def build(recipe: Recipe, num_classes: int, twin: nn.Module | None = None) -> nn.Module:
    """The network as it is before the first step, by the recipe's seed; with the weights of its static ``twin``, if given.

    The attention branches' BatchNorm has scale 1 and shift 0 for good, so that half of what goes into the ReLU behind it is
    above 0. A shift that is learnt can turn a unit off for every picture, and as no gradient passes, it stays so.

    Raises:
        RecipeError: ``twin`` is not the static network of the same layout and classes.
    """
    torch.manual_seed(recipe.seed)
    model = recipe.architecture(num_classes).build()
    for branch in branches(model):
        branch.bn.requires_grad_(False)  # a new BatchNorm's scale is 1, and its shift 0
        # First logits of one deviation in every head, however many entries it has; the released code's go by that number:
        # 0.09 for 256 channels, 0.7 for 4 kernels. Heads see ReLU of a standard normal, whose mean square is 1/2.
        for fc in head_outputs(branch) if recipe.initial_logits else ():
            nn.init.normal_(fc.weight, 0, recipe.initial_logits / math.sqrt(fc.in_channels / 2))
    if twin is not None:
        _copy_weights(twin, model, recipe)
    return model


@torch.no_grad()
def _copy_weights(twin: nn.Module, model: nn.Module, recipe: Recipe) -> None:
    """A layer's one kernel becomes K kernels, with noise, or gradients would never tell them apart."""
    given = twin.state_dict()
    own = {name: tensor for name, tensor in model.state_dict().items() if ".attention." not in name}
    shapes = {name: (tensor.shape, tensor.shape[1:]) for name, tensor in own.items()}
    if given.keys() != own.keys() or any(tensor.shape not in shapes[name] for name, tensor in given.items()):
        raise RecipeError(f"start={recipe.start!r}: weights of the static twin of {recipe.arch} are needed")
    apart = APART if recipe.kernels > 1 else 0.0
    for name, kernel in given.items():
        if kernel.shape == own[name].shape:
            own[name].copy_(kernel)
        else:
            own[name].copy_(kernel + apart * kernel.std() * torch.randn_like(own[name]))


def branches(model: nn.Module) -> list[AttentionBranch]:
    """The attention branches of all ODConv layers."""
    return [module for module in model.modules() if isinstance(module, AttentionBranch)]


def head_outputs(branch: AttentionBranch) -> list[nn.Conv2d]:
    """The last layer of each head that is there."""
    each = (branch.spatial_fc, branch.channel_fc, branch.filter_fc, branch.kernel_fc)
    return [fc for fc in each if fc is not None]


def add_dropout(model: nn.Module) -> None:
    """Dropout of the features before the classifier, in train mode; a hook, so that no weight changes its name."""
    classifier = model.get_submodule("fc")
    classifier.register_forward_pre_hook(lambda fc, inputs: F.dropout(inputs[0], DROPOUT, fc.training))


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Every parameter that learns, once, in groups of one weight decay and one ``factor`` on the learning rate."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        attends = ".attention." in name
        decay = WEIGHT_DECAY if parameter.ndim > 1 and not attends else 0.0
        if parameter.requires_grad:
            groups.setdefault((decay, recipe.attention_lr if attends else 1.0), []).append(parameter)
    kinds = groups.items()
    return [{"params": some, "weight_decay": decay, "factor": factor} for (decay, factor), some in kinds]


def training_loss(
    model: nn.Module, x: Tensor, labels: Tensor, drawn: Drawn[Tensor], recipe: Recipe
) -> tuple[Tensor, Tensor]:
    """What a step descends, for inputs (N, 3, S, S) and labels (N,); and the cross-entropy in it alone, detached.

    Each picture has the temperature and the number of kernels that are drawn for it. Added to the cross-entropy is
    ``balance`` times the sum over layers of :func:`imbalance`.
    """
    unequal: list[Tensor] = []

    def hook(branch: nn.Module, inputs: Any, logits: Heads[Tensor]) -> Heads[Tensor]:
        if recipe.balance and logits.kernel is not None:
            unequal.append(imbalance(logits.kernel))
        return apply_drawn(logits, drawn)

    with ExitStack() as inside:
        for branch in branches(model):
            inside.callback(branch.register_forward_hook(hook).remove)
        inside.enter_context(autocast(x.device, recipe.precision))
        logits = model(x)
    cross_entropy = F.cross_entropy(_at_least_float32(logits), labels, label_smoothing=LABEL_SMOOTHING)
    return cross_entropy + recipe.balance * sum(unequal), cross_entropy.detach()


def apply_drawn(logits: Heads[Tensor], drawn: Drawn[Tensor]) -> Heads[Tensor]:
    """Logits with which each picture has its own temperature, and its own number of kernels: the strongest.

    The others' logits become minus infinity, so that a softmax gives them exactly 0.
    """
    kernel = logits.kernel
    if kernel is not None:
        ranks = kernel.argsort(dim=1, descending=True, stable=True).argsort(1)  # (N, K); ties go to the lower index
        kernel = kernel.masked_fill(ranks >= drawn.kernels[:, None], -math.inf)
    heads = [  # each (N, ...), and its N last while it is divided
        None if head is None else (head.transpose(0, -1) / drawn.temperatures.to(head.dtype)).transpose(0, -1)
        for head in logits._replace(kernel=kernel)
    ]
    return Heads(*heads)


def imbalance(kernel: Tensor) -> Tensor:
    """How unequal the mean shares of K kernels are in a batch, from 0 to K - 1, by their logits (N, K).

    K times the sum of the squared mean shares, minus 1, as in the load balancing of mixtures of experts (Shazeer et al.,
    2017, https://arxiv.org/abs/1701.06538): a kernel that no picture takes learns nothing, and is never taken again.
    """
    shares = _at_least_float32(kernel).softmax(1).mean(0)  # (K,)
    return len(shares) * shares.square().sum() - 1


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def average_weights(model: nn.Module) -> AveragedModel:
    """The running average of the model's weights and of its BatchNorm statistics, in eval mode, before the first step.

    Each ``update_parameters(model)`` is a step: average = decay · average + (1 - decay) · model.
    """
    average = AveragedModel(model, multi_avg_fn=_average, use_buffers=True)
    average.update_parameters(model)  # the first only copies; the first step has to be the second
    return average.eval().requires_grad_(False)


@torch.no_grad()
def _average(kept: Sequence[Tensor], new: Sequence[Tensor], updates: Tensor | int) -> None:
    """The decay is less in the first steps, whose weights are to be forgotten. Counters are copied."""
    count = float(updates)
    if kept[0].is_floating_point():
        get_ema_multi_avg_fn(min(AVERAGE, count / (9 + count)))(kept, new, updates)
    else:
        for counter, now in zip(kept, new, strict=True):
            counter.copy_(now)


@torch.no_grad()
def divide_logits(model: nn.Module, temperature: float) -> None:
    """Change the weights so that temperature 1 is from now on what ``temperature`` was."""
    for branch in branches(model):
        for fc in head_outputs(branch):
            for parameter in fc.parameters():
                parameter.div_(temperature)
