"""From logits to attentions, as one pure function.

Paper: Li, Zhou, Yao, "Omni-Dimensional Dynamic Convolution", ICLR 2022, https://arxiv.org/abs/2209.07947.
What the released code does and the paper's figure does not show: spatial, channel and filter attention are shared by
the K kernels, and the temperature divides the logits of all four heads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeVar, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

HEADS = ("spatial", "channel", "filter", "kernel")  # the paper's order: every loop, table, colour and page follows it

Keep = Literal["strongest", "first"]
Rule = Literal["uniform", "argmax", "shuffled"]  # what a head's learned attention can be replaced by
Array = TypeVar("Array")  # torch.Tensor in a pass, numpy.ndarray in its record


class Heads(NamedTuple, Generic[Array]):
    """One array per attention head of one layer, for a batch of N pictures. ``None``: the layer has no such head."""

    spatial: Array | None  # (N, k, k), over the taps of the kernel
    channel: Array | None  # (N, C_in)
    filter: Array | None  # (N, C_out); None when depth-wise
    kernel: Array | None  # (N, K); None when K = 1


LEARNED: Heads[Rule | None] = Heads(None, None, None, None)  # no head is replaced


@dataclass(frozen=True)
class Settings:
    """The settings of one pass through a network. The default is the trained model, untouched.

    Attributes:
        temperature: finite and above 0; divides the logits of the heads in ``tempered``. One number, or one for each head:
            ``Heads(spatial=30.0, channel=1.0, filter=1.0, kernel=0.5)``.
        tempered: heads whose logits the temperature divides. The released code: all four.
        kernels: how many of the K kernels stay, at least 1; ``None`` for all. Clamped per layer to its K.
        keep: which kernels stay: the ``"strongest"`` per picture and layer, by raw logit, ties to the lower index, or the
            ``"first"`` ones.
        compensate: rescale tempered spatial, channel and filter gates, so that each picture's mean over the head is what
            it is at temperature 1. The kernel head sums to 1 at any temperature and needs none.
        ablate: heads replaced by each picture's own mean: the gain stays, the pattern goes.
        replaced: for each head the rule that makes something else of its attention, or ``None``; for a head that is not
            ablated. ``"uniform"``: what logits of 0 give, gates of 1/2 and equal shares. ``"argmax"``: the entry with the
            largest logit, ties to the lower index, takes the sum of all, the others get 0. ``"shuffled"``: the entries
            change places, none stays; the kernels that are left out take no part.
        seed: of the shuffling, at least 0. Heads of the same size are shuffled alike in all layers and pictures.
        layers: names of the layers that the settings apply to, as in ``model.named_modules()``; ``None`` for every layer.
            The others run as trained. Only under ``probe``, which knows names.

    Raises:
        ValueError: a value is not allowed; the message says what came and what is allowed.
    """

    temperature: float | Heads[float] = 1.0
    tempered: tuple[str, ...] = HEADS
    kernels: int | None = None
    keep: Keep = "strongest"
    compensate: bool = False
    ablate: tuple[str, ...] = ()
    replaced: Heads[Rule | None] = LEARNED
    seed: int = 0
    layers: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        each = self.temperature if isinstance(self.temperature, (tuple, list)) else (self.temperature,) * len(HEADS)
        if len(each) != len(HEADS) or not all(map(_is_temperature, each)):
            raise ValueError(
                f"temperature={self.temperature!r}: a finite number above 0, or one for each of {HEADS}, is needed"
            )
        # One number where they are equal, so that settings that mean the same are equal and share a cache entry.
        object.__setattr__(self, "temperature", each[0] if len(set(each)) == 1 else Heads(*each))
        if self.kernels is not None and not (type(self.kernels) is int and self.kernels >= 1):
            raise ValueError(f"kernels={self.kernels!r}: a whole number of at least 1, or None, is needed")
        if self.keep not in get_args(Keep):
            raise ValueError(f"keep={self.keep!r}: one of {get_args(Keep)} is needed")
        for field in ("tempered", "ablate"):
            named = getattr(self, field)
            if not isinstance(named, (tuple, list)) or not set(named) <= set(HEADS):
                raise ValueError(f"{field}={named!r}: a tuple of heads out of {HEADS} is needed")
            # One order, for the same reason.
            object.__setattr__(self, field, tuple(head for head in HEADS if head in named))
        if not _are_rules(self.replaced):
            raise ValueError(
                f"replaced={self.replaced!r}: for each of {HEADS}, one of {get_args(Rule)} or None is needed"
            )
        object.__setattr__(self, "replaced", Heads(*self.replaced))
        if both := [head for head in self.ablate if getattr(self.replaced, head)]:
            raise ValueError(f"ablate={self.ablate!r}, replaced={self.replaced!r}: {both} cannot be in both")
        if not (type(self.seed) is int and 0 <= self.seed < 2**63):
            raise ValueError(f"seed={self.seed!r}: a whole number of at least 0 is needed")
        if self.layers is not None:
            if not isinstance(self.layers, (tuple, list)) or not all(isinstance(name, str) for name in self.layers):
                raise ValueError(f"layers={self.layers!r}: a tuple of layer names, or None, is needed")
            object.__setattr__(self, "layers", tuple(sorted(set(self.layers))))

    def for_layer(self, name: str) -> Settings:
        """The settings that act on the layer ``name``: these, or the default where ``layers`` leaves it out."""
        return self if self.layers is None or name in self.layers else Settings()

    def divisor(self, head: str) -> float:
        """The number that the logits of ``head`` are divided by: its temperature or 1.

        Bounded so that float32 can hold it; beyond 1e30 the result no longer changes.
        """
        if head not in self.tempered:
            return 1.0
        own = self.temperature if isinstance(self.temperature, (int, float)) else getattr(self.temperature, head)
        return float(min(max(own, 1e-30), 1e30))

    @property
    def divisors(self) -> Heads[float]:
        """``divisor`` of every head."""
        return Heads(*map(self.divisor, HEADS))


def _is_temperature(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and value > 0


def _are_rules(value: object) -> bool:
    return (
        isinstance(value, (tuple, list))
        and len(value) == len(HEADS)
        and all(rule is None or rule in get_args(Rule) for rule in value)
    )


TRAINED = Settings()


def fewest_temperatures(divisors: Heads[float]) -> tuple[float | Heads[float], tuple[str, ...]]:
    """``temperature`` and ``tempered`` of the simplest ``Settings`` that divide the logits of each head by these numbers.

    Example:
        >>> fewest_temperatures(Heads(2.0, 1.0, 1.0, 2.0))
        (2.0, ('spatial', 'kernel'))
    """
    divided = {head: getattr(divisors, head) for head in HEADS if getattr(divisors, head) != 1}
    if not divided:
        return 1.0, HEADS
    if len(set(divided.values())) == 1:
        return next(iter(divided.values())), tuple(divided)
    return divisors, HEADS


def attend(logits: Heads[Tensor], settings: Settings, given: Heads[Tensor] | None = None) -> Heads[Tensor]:
    """The attentions that ``logits`` give under ``settings``. Pure.

    In this order: only the kept kernels, division by the temperature on the tempered heads, sigmoid (spatial, channel,
    filter) or softmax over the kept kernels (the others get exactly 0), compensation, ablation or the head's rule, and last
    the ``given`` attentions in place of whatever came of all that.

    Args:
        given: attentions to apply to every picture, each of its head's shape without N; ``None`` for heads that follow
            ``settings``. They are taken as they are: shares need not sum to 1.

    Raises:
        ValueError: a given attention is not of its head's shape, or the layer has no such head.

    Example:
        >>> logits = Heads(None, torch.zeros(1, 2), None, torch.tensor([[0.0, 0.0, 9.0]]))
        >>> attend(logits, Settings(kernels=2, keep="first")).kernel
        tensor([[0.5000, 0.5000, 0.0000]])
    """
    spatial, channel, filter, kernel = logits
    if given is None and settings == TRAINED:  # the same numbers, without asking what each setting does to each head
        return Heads(
            None if spatial is None else torch.sigmoid(spatial),
            None if channel is None else torch.sigmoid(channel),
            None if filter is None else torch.sigmoid(filter),
            None if kernel is None else torch.softmax(kernel, dim=1),
        )
    made: Heads[Tensor] = Heads(
        None if spatial is None else _gate("spatial", spatial, settings),
        None if channel is None else _gate("channel", channel, settings),
        None if filter is None else _gate("filter", filter, settings),
        None if kernel is None else _share(kernel, settings),
    )
    if given is None:
        return made
    return Heads(*(_put(*head) for head in zip(HEADS, made, given, strict=True)))


def _put(head: str, made: Tensor | None, given: Tensor | None) -> Tensor | None:
    """``given`` for every picture, or ``made`` where nothing is given."""
    if given is None:
        return made
    if made is None or given.shape != made.shape[1:]:
        needed = "the layer has no such head" if made is None else f"{tuple(made.shape[1:])} is needed"
        raise ValueError(f"{head} attention of shape {tuple(given.shape)} is given; {needed}")
    return given.to(made).expand_as(made)


def _gate(head: str, logits: Tensor, settings: Settings) -> Tensor:
    """Sigmoid gates of one head, the same shape as its logits."""
    entries = tuple(range(1, logits.ndim))
    rule = getattr(settings.replaced, head)
    if rule == "uniform":
        return torch.full_like(logits, 0.5)
    tempered = _divide_by_temperature(head, logits, settings)
    gate = torch.sigmoid(tempered)
    if settings.compensate and settings.divisor(head) != 1.0:
        # gate / mean(gate) as a softmax of log(gate): right even where every gate is too small for its number type.
        logs = F.logsigmoid(tempered).clamp_min(torch.finfo(logits.dtype).min / 2).flatten(1)
        shares = torch.softmax(logs, dim=1).view_as(logits)
        gate = shares * torch.sigmoid(logits).sum(entries, True)
    if head in settings.ablate:
        return gate.mean(entries, True).expand_as(gate)
    flat = gate.flatten(1)
    if rule == "argmax":
        # By logit: gates near 1 can be equal where their logits are not.
        return _one_hot(logits.flatten(1), flat.sum(1, keepdim=True)).view_as(gate)
    return flat[:, _cycle(flat.shape[1], settings.seed)].view_as(gate) if rule == "shuffled" else gate


def _share(logits: Tensor, settings: Settings) -> Tensor:
    """Softmax shares of the kept kernels, (N, K); exactly 0 for the others."""
    rule = settings.replaced.kernel
    if "kernel" in settings.ablate or rule == "uniform":
        kept = kept_kernels(logits, settings)
        return kept.to(logits.dtype) / kept.sum(1, keepdim=True)
    raw = logits
    if settings.kernels is not None:
        logits = logits.masked_fill(~kept_kernels(raw, settings), -math.inf)
    if rule == "argmax":
        return _one_hot(logits, torch.ones_like(logits[:, :1]))
    if settings.divisor("kernel") != 1.0:
        # The kept maximum is taken off first, so that a tiny temperature gives a winner and not inf - inf.
        logits = logits - logits.amax(1, keepdim=True)
    shares = torch.softmax(_divide_by_temperature("kernel", logits, settings), dim=1)
    if rule != "shuffled":
        return shares
    places = (
        kept_kernels(raw, settings).nonzero()[:, 1].view(len(raw), -1)
    )  # (N, kept kernels), rising; of each picture equally many
    moved = shares.gather(1, places)[:, _cycle(places.shape[1], settings.seed)]
    return torch.zeros_like(shares).scatter_(1, places, moved)


def _one_hot(logits: Tensor, value: Tensor) -> Tensor:
    """``value`` (N, 1) at the largest of the logits (N, entries), ties to the lower index, and 0 elsewhere."""
    largest = logits.argsort(dim=1, descending=True, stable=True)[:, :1]
    return torch.zeros_like(logits).scatter_(1, largest, value)


def _cycle(count: int, seed: int) -> Tensor:
    """Which entry comes to each of ``count`` places: all in one cycle, so that with two entries or more none stays."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return torch.empty_like(order).scatter_(0, order, order.roll(1))


def _divide_by_temperature(head: str, logits: Tensor, settings: Settings) -> Tensor:
    """``logits`` over the divisor of ``head``; the same tensor where that is 1, which saves time in most passes."""
    divisor = settings.divisor(head)
    return logits if divisor == 1.0 else logits / divisor


def kept_kernels(logits: Tensor, settings: Settings) -> Tensor:
    """Which of the K kernels stay for each picture: (N, K) of bool, from raw kernel logits (N, K)."""
    total = logits.shape[1]
    count = total if settings.kernels is None else min(settings.kernels, total)
    if count == total:
        return torch.ones_like(logits, dtype=torch.bool)
    if settings.keep == "first":
        return (torch.arange(total, device=logits.device) < count).expand_as(logits)
    order = logits.argsort(dim=1, descending=True, stable=True)  # stable: ties go to the lower index
    return torch.zeros_like(logits, dtype=torch.bool).scatter_(1, order[:, :count], True)
