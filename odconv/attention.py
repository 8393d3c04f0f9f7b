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
Array = TypeVar("Array")  # torch.Tensor in a pass, numpy.ndarray in its record


class Heads(NamedTuple, Generic[Array]):
    """One array per attention head of one layer, for a batch of N pictures. ``None``: the layer has no such head."""

    spatial: Array | None  # (N, k, k), over the taps of the kernel
    channel: Array | None  # (N, C_in)
    filter: Array | None  # (N, C_out); None when depth-wise
    kernel: Array | None  # (N, K); None when K = 1


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


def attend(logits: Heads[Tensor], settings: Settings) -> Heads[Tensor]:
    """The attentions that ``logits`` give under ``settings``. Pure.

    In this order: only the kept kernels, division by the temperature on the tempered heads, sigmoid (spatial, channel,
    filter) or softmax over the kept kernels (the others get exactly 0), compensation, ablation.

    Example:
        >>> logits = Heads(None, torch.zeros(1, 2), None, torch.tensor([[0.0, 0.0, 9.0]]))
        >>> attend(logits, Settings(kernels=2, keep="first")).kernel
        tensor([[0.5000, 0.5000, 0.0000]])
    """
    spatial, channel, filter, kernel = logits
    return Heads(
        None if spatial is None else _gate("spatial", spatial, settings),
        None if channel is None else _gate("channel", channel, settings),
        None if filter is None else _gate("filter", filter, settings),
        None if kernel is None else _share(kernel, settings),
    )


def _gate(head: str, logits: Tensor, settings: Settings) -> Tensor:
    """Sigmoid gates of one head, the same shape as its logits."""
    entries = tuple(range(1, logits.ndim))
    tempered = _divide_by_temperature(head, logits, settings)
    gate = torch.sigmoid(tempered)
    if settings.compensate and settings.divisor(head) != 1.0:
        # gate / mean(gate) as a softmax of log(gate): right even where every gate is too small for its number type.
        logs = F.logsigmoid(tempered).clamp_min(torch.finfo(logits.dtype).min / 2).flatten(1)
        shares = torch.softmax(logs, dim=1).view_as(logits)
        gate = shares * torch.sigmoid(logits).sum(entries, True)
    return gate.mean(entries, True).expand_as(gate) if head in settings.ablate else gate


def _share(logits: Tensor, settings: Settings) -> Tensor:
    """Softmax shares of the kept kernels, (N, K); exactly 0 for the others."""
    if "kernel" in settings.ablate:
        kept = kept_kernels(logits, settings)
        return kept.to(logits.dtype) / kept.sum(1, keepdim=True)
    if settings.kernels is not None:
        logits = logits.masked_fill(~kept_kernels(logits, settings), -math.inf)
    if settings.divisor("kernel") != 1.0:
        # The kept maximum is taken off first, so that a tiny temperature gives a winner and not inf - inf.
        logits = logits - logits.amax(1, keepdim=True)
    return torch.softmax(_divide_by_temperature("kernel", logits, settings), dim=1)


def _divide_by_temperature(head: str, logits: Tensor, settings: Settings) -> Tensor:
    """``logits`` over the divisor of ``head``; the same tensor where that is 1, which saves time in most passes."""
    divisor = settings.divisor(head)
    return logits if divisor == 1.0 else logits / divisor


def kept_kernels(logits: Tensor, settings: Settings) -> Tensor:
    """Which of the K kernels stay for each picture: (N, K) of bool, from raw kernel logits (N, K)."""
    total = logits.shape[1]
    count = total if settings.kernels is None else min(settings.kernels, total)
    if settings.keep == "first":
        return (torch.arange(total, device=logits.device) < count).expand_as(logits)
    order = logits.argsort(dim=1, descending=True, stable=True)  # stable: ties go to the lower index
    return torch.zeros_like(logits, dtype=torch.bool).scatter_(1, order[:, :count], True)
