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

from odconv.attention import Heads
from odconv.probe import heed

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
    """Convolve each picture with its own forged kernel. Pure; exact in every form.

    The channel gate multiplies the input and the filter gate the output, which equals weighting the kernel and needs no
    memory for it. What is left, the sum over K kernels weighted by taps, is done in the form that is cheapest for the
    shapes at hand; ``benchmarks/forms.py`` prints the measurements behind the choice.
    """
    spatial, channel, filter, kernel = attention
    where: Any = {"stride": _pair(stride), "padding": _pair(padding), "dilation": _pair(dilation)}
    if channel is not None:
        x = x * channel[:, :, None, None]
    if (spatial is None and kernel is None) or not len(x):  # nothing to forge
        y = F.conv2d(x, weight[0], groups=groups, **where)
    elif _few_positions(x, weight, groups, **where):
        y = _mix_outputs(x, weight, spatial, kernel, **where)
    elif len(x) * weight[0].numel() <= SMALL_FORGE:
        y = _forge_all(x, weight, spatial, kernel, groups=groups, **where)
    else:
        y = _forge_each(x, weight, spatial, kernel, groups=groups, **where)
    return y if filter is None else y * filter[:, :, None, None]


SMALL_FORGE = (
    8_000_000  # weights that may be forged at once: beyond it they fall out of the cache between forge and use
)
FEW_POSITIONS = 20  # output positions per picture up to which K products cost less than forging a kernel


def forge(weight: Tensor, spatial: Tensor | None, kernel: Tensor | None) -> Tensor:
    """The kernels that N pictures are convolved with, but for the channel and filter gates.

    ``weight`` (K, C_out, C, k, k), ``spatial`` (N, k, k), ``kernel`` (N, K) -> (N, C_out, C, k, k).
    """
    if kernel is None:
        forged = weight
    else:
        forged = (kernel.to(weight.dtype) @ weight.flatten(1)).unflatten(1, weight.shape[1:])  # (N, C_out, C, k, k)
    return forged if spatial is None else forged * spatial[:, None, None]


def _forge_all(
    x: Tensor, weight: Tensor, spatial: Tensor | None, kernel: Tensor | None, *, groups: int, **where: Any
) -> Tensor:
    """Forge N kernels, then one grouped convolution. One picture needs no grouping and takes the same way."""
    forged = forge(weight, spatial, kernel)
    y = F.conv2d(x.reshape(1, -1, *x.shape[2:]), forged.flatten(0, 1), groups=len(x) * groups, **where)
    return y.reshape(len(x), -1, *y.shape[2:])


def _forge_each(
    x: Tensor, weight: Tensor, spatial: Tensor | None, kernel: Tensor | None, *, groups: int, **where: Any
) -> Tensor:
    """Forge and convolve one picture after the other: the kernel is still in the cache when it is used."""
    taps = [None] * len(x) if spatial is None else spatial.split(1)
    shares = [None] * len(x) if kernel is None else kernel.split(1)
    return torch.cat(
        [
            F.conv2d(picture, forge(weight, tap, share)[0], groups=groups, **where)
            for picture, tap, share in zip(x.split(1), taps, shares, strict=True)
        ]
    )


def _few_positions(x: Tensor, weight: Tensor, groups: int, **where: Any) -> bool:
    if groups > 1 or len(x) < 4:
        return False
    height, width = output_size(x.shape[2:], weight.shape[-1], **where)
    return height * width <= FEW_POSITIONS


def _mix_outputs(x: Tensor, weight: Tensor, spatial: Tensor | None, kernel: Tensor | None, **where: Any) -> Tensor:
    """Convolve with all K kernels by one matrix product, then mix the K outputs: no per-picture weights at all."""
    k = weight.shape[-1]
    columns = F.unfold(x, k, **where).unflatten(1, (x.shape[1], k * k))  # (N, C_in, k*k, L)
    if spatial is not None:
        columns = columns * spatial.flatten(1)[:, None, :, None]
    columns = columns.flatten(1, 2).transpose(0, 1).flatten(1)  # (C_in*k*k, N*L)
    outputs = weight.flatten(0, 1).flatten(1) @ columns.to(weight.dtype)  # (K*C_out, N*L)
    outputs = outputs.view(*weight.shape[:2], len(x), -1)  # (K, C_out, N, L)
    if kernel is None:
        mixed = outputs[0].transpose(0, 1)  # (N, C_out, L)
    else:
        mixed = torch.einsum("nk,konl->nol", kernel.to(outputs.dtype), outputs)
    return mixed.unflatten(2, output_size(x.shape[2:], k, **where))


def output_size(
    size: Sequence[int], k: int, stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int]:
    """Height and width that a k x k convolution makes of an input of ``size`` (height, width)."""
    sizes = [
        (side + 2 * p - d * (k - 1) - 1) // s + 1 for side, s, p, d in zip(size, stride, padding, dilation, strict=True)
    ]
    return sizes[0], sizes[1]


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


class AttentionBranch(nn.Module):
    """Input picture features -> the logits of the four heads. Absent heads have no parameters."""

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
        squeezed = F.linear(x.mean((2, 3)), self.fc.weight.flatten(1))  # (N, hidden)
        hidden = F.relu(self._normalised(squeezed[:, :, None, None])).flatten(1)
        spatial = _head(self.spatial_fc, hidden)
        return Heads(
            None if spatial is None else spatial.unflatten(1, (self.kernel_size, self.kernel_size)),
            _head(self.channel_fc, hidden),
            _head(self.filter_fc, hidden),
            _head(self.kernel_fc, hidden),
        )

    def _normalised(self, squeezed: Tensor) -> Tensor:
        """BatchNorm; a single picture in train mode has no batch statistics and takes the running ones, unchanged."""
        bn = self.bn
        if self.training and len(squeezed) == 1 and bn.running_mean is not None:
            return F.batch_norm(squeezed, bn.running_mean, bn.running_var, bn.weight, bn.bias, False, eps=bn.eps)
        return bn(squeezed)


def _head(fc: nn.Conv2d | None, hidden: Tensor) -> Tensor | None:
    """A 1x1 convolution of a 1x1 map is a linear map: (N, hidden) -> (N, entries)."""
    return None if fc is None else F.linear(hidden, fc.weight.flatten(1), fc.bias)


class ODConv2d(nn.Module):
    """Drop-in for ``nn.Conv2d`` with a square kernel and no bias.

    Args:
        reduction: hidden width of the attention branch as a fraction of ``in_channels``, floor 16.
        num_kernels: K, the number of candidate kernels.

    Which heads exist: spatial unless 1x1, channel always, filter unless depth-wise, kernel unless K = 1.

    Raises:
        ValueError: an argument that no such layer has; the message says what came and what is allowed.

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
        self.stride = _two("stride", stride, at_least=1)
        self.padding = _two("padding", padding, at_least=0)
        self.dilation = _two("dilation", dilation, at_least=1)
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
            heed(self, self.attention(x), x),
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


def _two(name: str, value: Pair, *, at_least: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else value
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise ValueError(f"{name}={value!r}: a whole number or a pair of them is needed")
    return _at_least(at_least, name, pair[0]), _at_least(at_least, name, pair[1])


def _square(kernel_size: Pair) -> int:
    height, width = _two("kernel_size", kernel_size, at_least=1)
    if height != width:
        raise ValueError(f"kernel_size={kernel_size!r}: ODConv2d needs a square kernel")
    return height
