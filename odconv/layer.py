"""Omni-dimensional dynamic convolution: a drop-in for ``nn.Conv2d``.

    z = ReLU(BN(A · GAP(x)))                                     the squeeze, hidden width max(C_in · r, 16)
    a_s, a_c, a_f = σ(S z + b), σ(C z + b), σ(F z + b)           a_w = softmax(K z + b)
    y = a_f · [ (a_s · Σ_i a_w,i W_i) * (a_c · x) ]              * is the convolution

Equation of the released code (github.com/OSVAI/ODConv), https://arxiv.org/abs/2209.07947. Parameter names are the
released code's, so the authors' checkpoints load as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odconv import forms
from odconv.attention import Heads
from odconv.probe import current_attention

MIN_HIDDEN = 16  # the released code's floor for the branch's hidden width

Pair = int | tuple[int, int]


def od_conv2d(
    x: Tensor,  # (N, C_in, H, W)
    weight: Tensor,  # (K, C_out, C_in / groups, k, k)
    attention: Heads[Tensor],
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:  # (N, C_out, H', W')
    """Convolve each picture with its own forged kernel. Pure, and exact.

    Spatial and channel attention together weight each tap of each input channel, and the filter gate each filter. Where the
    input has fewer numbers than the kernel, or no kernel is forged, the channel gate may multiply the input instead, and the
    filter gate the output, which gives the same. All is done in the form that is fastest for these shapes, see
    ``odconv.forms``.
    """
    spatial, channel, filter, kernel = attention
    where: Any = {"stride": _pair(stride), "padding": _pair(padding), "dilation": _pair(dilation)}
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        weight = weight.to(torch.get_autocast_dtype(kind))  # once, and not for every piece of the weights
    height, width = forms.output_size(x.shape[2:], weight.shape[-1], **where)
    form, at_once = forms.choose(x, weight, spatial, kernel, groups, height * width)
    if x.shape[0] > at_once:
        pieces = zip(x.split(at_once), *(_pieces(head, x, at_once) for head in attention), strict=True)
        return torch.cat([od_conv2d(piece, weight, Heads(*heads), groups=groups, **where) for piece, *heads in pieces])
    gate_inputs, gate_outputs = forms.gates_outside(x, weight, height * width) if form is forms.forge else (True, True)
    taps = None if spatial is None else spatial.flatten(1).unsqueeze(1)  # (N, 1, k*k)
    if channel is not None:
        gate = channel.unsqueeze(2)  # (N, C_in, 1)
        if gate_inputs and (taps is None or groups > 1):
            x = x * gate.unsqueeze(3)
        else:
            taps = gate if taps is None else taps * gate  # (N, C_in, k*k)
    if filter is None:
        return form(x, weight, taps, kernel, groups=groups, **where)
    if gate_outputs:
        return form(x, weight, taps, kernel, groups=groups, **where) * filter.unsqueeze(2).unsqueeze(3)
    return form(x, weight, taps, kernel, filter, groups=groups, **where)


def _pieces(head: Tensor | None, x: Tensor, at_once: int) -> Sequence[Tensor | None]:
    return [None] * math.ceil(len(x) / at_once) if head is None else head.split(at_once)


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


class AttentionBranch(nn.Module):
    """From the input of a layer to the logits of its four heads. Absent heads have no parameters."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, groups: int, reduction: float, num_kernels: int
    ) -> None:
        super().__init__()
        hidden = max(int(in_channels * reduction), MIN_HIDDEN)
        depthwise = groups == in_channels == out_channels
        self.kernel_size = kernel_size
        self.fc = nn.Conv2d(in_channels, hidden, 1, bias=False)
        self.bn = nn.BatchNorm2d(hidden)  # in the released code, not in the paper's figure
        self.channel_fc = nn.Conv2d(hidden, in_channels, 1)
        self.filter_fc = None if depthwise else nn.Conv2d(hidden, out_channels, 1)
        self.spatial_fc = None if kernel_size == 1 else nn.Conv2d(hidden, kernel_size**2, 1)
        self.kernel_fc = None if num_kernels == 1 else nn.Conv2d(hidden, num_kernels, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Heads[Tensor]:  # x (N, C_in, H, W)
        return self.logits(F.relu(self.normalize(self.squeeze(x.mean((2, 3))))))

    def squeeze(self, pooled: Tensor) -> Tensor:
        """From the mean of every input channel, (N, C_in), to (N, hidden): a 1x1 convolution of a 1x1 map is a linear map."""
        return F.linear(pooled, self.fc.weight.flatten(1))

    def logits(self, hidden: Tensor) -> Heads[Tensor]:
        """What every head makes of (N, hidden), the numbers after BatchNorm and ReLU."""
        spatial = _head(self.spatial_fc, hidden)
        return Heads(
            None if spatial is None else spatial.unflatten(1, (self.kernel_size, self.kernel_size)),
            _head(self.channel_fc, hidden),
            _head(self.filter_fc, hidden),
            _head(self.kernel_fc, hidden),
        )

    def normalize(self, squeezed: Tensor) -> Tensor:
        """BatchNorm of (N, hidden).

        A single picture in train mode has no batch statistics: it uses the running ones and does not update them.
        """
        bn = self.bn
        if self.training and squeezed.shape[0] == 1 and bn.running_mean is not None:
            return F.batch_norm(squeezed, bn.running_mean, bn.running_var, bn.weight, bn.bias, False, eps=bn.eps)
        return bn(squeezed.unsqueeze(2).unsqueeze(3)).flatten(1)


def _head(fc: nn.Conv2d | None, hidden: Tensor) -> Tensor | None:
    """(N, hidden) -> (N, entries)."""
    return None if fc is None else F.linear(hidden, fc.weight.flatten(1), fc.bias)


class ODConv2d(nn.Module):
    """Drop-in for ``nn.Conv2d`` with a square kernel and no bias.

    Args:
        reduction: hidden width of the attention branch as a fraction of ``in_channels``, floor 16.
        num_kernels: K, the number of candidate kernels.

    Which heads exist: spatial unless 1x1, channel always, filter unless depth-wise, kernel unless K = 1.

    Raises:
        ValueError: an argument is not allowed; the message says what came and what is allowed.

    Example:
        >>> ODConv2d(256, 256, 7, padding=3)(torch.randn(2, 256, 40, 40)).shape
        torch.Size([2, 256, 40, 40])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        *,
        reduction: float = 1 / 16,
        num_kernels: int = 4,
    ) -> None:
        super().__init__()
        self.in_channels = _at_least(1, "in_channels", in_channels)
        self.out_channels = _at_least(1, "out_channels", out_channels)
        self.kernel_size = _square(kernel_size)
        self.stride = _checked_pair("stride", stride, at_least=1)
        self.padding = _checked_pair("padding", padding, at_least=0)
        self.dilation = _checked_pair("dilation", dilation, at_least=1)
        self.groups = _at_least(1, "groups", groups)
        self.num_kernels = _at_least(1, "num_kernels", num_kernels)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}")
        if not (math.isfinite(reduction) and reduction > 0):
            raise ValueError(f"reduction={reduction!r}: a fraction above 0, such as 1/16, is needed")
        self.attention = AttentionBranch(
            in_channels, out_channels, self.kernel_size, groups, reduction, self.num_kernels
        )
        shape = (self.num_kernels, out_channels, in_channels // groups, self.kernel_size, self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape))
        for kernel in self.weight.detach():  # each kernel as a static convolution would be
            nn.init.kaiming_normal_(kernel, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"input of shape {tuple(x.shape)}: (N, {self.in_channels}, H, W) is needed")
        return od_conv2d(
            x,
            self.weight,
            current_attention(self, self.attention(x), x),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, dilation={self.dilation}, groups={self.groups}, num_kernels={self.num_kernels}"
        )


def _at_least(low: int, name: str, value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ValueError(f"{name}={value!r}: a whole number of at least {low} is needed")
    return value


def _checked_pair(name: str, value: Pair, *, at_least: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else value
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise ValueError(f"{name}={value!r}: a whole number or a pair of them is needed")
    return _at_least(at_least, name, pair[0]), _at_least(at_least, name, pair[1])


def _square(kernel_size: Pair) -> int:
    height, width = _checked_pair("kernel_size", kernel_size, at_least=1)
    if height != width:
        raise ValueError(f"kernel_size={kernel_size!r}: ODConv2d needs a square kernel")
    return height
