"""The forms of the convolution: exact ways to convolve N pictures, each with its own kernel, and the choice among them.

    y_n = ( f_n · t_n · Σ_i a_w,n,i W_i ) * x_n       * is the convolution; t: a weight for each input channel and tap, f: for
                                                      each filter

* ``one_kernel``: nothing is weighted; an ordinary convolution.
* ``forge``: make each picture's kernel, a few filters of a few pictures at a time, and convolve while it is in the cache.
* ``mix``: convolve with all K kernels, then mix the outputs. K times the multiply-adds, and no kernel per picture.

All are differentiable and right for any shape. ``choose`` takes the fastest, as measured with ``benchmarks/forms.py``.

The released formulation makes N x K weighted kernels at once: up to gigabytes (``benchmarks/README.md``), written once and
read once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Limits(NamedTuple):
    """How much is forged at once on a device, and up to what size mixing is faster there."""

    pictures: int
    weights: int  # numbers in kernels; up to three times as many where 16 filters of 16 pictures have more
    outputs: int  # numbers in output maps
    mix: int  # the largest K times positions in an output map at which mixing is faster
    mix_in_training: int  # the same with gradients


# On a CPU a piece is small enough to be still in the cache when the convolution reads it (6.4 MB in float32), and to get the
# same memory from the system every time; it is large enough for an efficient convolution. A GPU wants large pieces.
#
# Mixing costs K products for each position and reads K kernels. Forging writes a kernel for each picture, which costs the
# same for a map of any size and about twice as much in training; on a GPU it also lays out the same columns as mixing.
CPU = Limits(16, 1_600_000, 2_000_000, mix=60, mix_in_training=128)
GPU = Limits(10_000, 250_000_000, 32_000_000, mix=180, mix_in_training=360)
FILTERS = 16  # at least; 16 numbers fill a vector register

Form = Callable[..., Tensor]


def choose(
    x: Tensor, weight: Tensor, taps: Tensor | None, kernel: Tensor | None, groups: int, positions: int
) -> tuple[Form, int]:
    """The fastest form for these shapes on this device, and how many pictures to give it at once, at least 1.

    Args:
        x: (N, C_in, H, W).
        weight: (K, C_out, C_in / groups, k, k).
        taps: what weights the taps of the kernels; only whether it is None matters.
        kernel: what weights the K kernels; only whether it is None matters.
        groups: as of ``torch.nn.functional.conv2d``.
        positions: height times width of the output.
    """
    pictures, (kernels, c_out, *sizes) = x.shape[0], weight.shape
    if not pictures or (taps is None and kernel is None):
        return one_kernel, max(1, pictures)
    limits = _limits(x)
    few = kernels * positions <= (limits.mix_in_training if torch.is_grad_enabled() else limits.mix)
    if groups == 1 and few and pictures >= kernels:  # K kernels are not read for fewer pictures than K
        return mix, pictures
    row = math.prod(sizes)  # numbers in a filter
    # Filters of a grouped convolution are not forged in parts, so there the pictures alone keep the piece small.
    by_kernels = limits.pictures if groups == 1 else limits.weights // (c_out * row)
    by_filters = 3 * limits.weights // (FILTERS * row)
    by_outputs = limits.outputs // max(1, c_out * positions)
    return forge, max(1, min(by_kernels, by_filters, by_outputs))


def _limits(x: Tensor) -> Limits:
    return CPU if x.device.type == "cpu" else GPU


def one_kernel(
    x: Tensor, weight: Tensor, taps: Tensor | None, kernel: Tensor | None, *, groups: int, **where: Any
) -> Tensor:
    """An ordinary convolution with the first kernel: where nothing is weighted, or there is no picture."""
    return F.conv2d(x, weight[0], groups=groups, **where)


def gates_outside(x: Tensor, weight: Tensor, positions: int) -> tuple[bool, bool]:
    """Whether to multiply the input of ``forge`` with the channel gate, and its output with the filter gate, instead of the
    kernel of each picture: where they have fewer numbers. Arguments as of ``choose``; there is at least one picture.
    """
    numbers = weight.numel() // weight.shape[0]
    return x.numel() // x.shape[0] < numbers, weight.shape[1] * positions < numbers


def forge(
    x: Tensor,  # (N, C_in, H, W)
    weight: Tensor,  # (K, C_out, C_in / groups, k, k)
    taps: Tensor | None,  # (N, C_in or 1, k*k)
    kernel: Tensor | None,  # (N, K)
    filter: Tensor | None = None,  # (N, C_out)
    *,
    groups: int,
    **where: Any,
) -> Tensor:  # (N, C_out, H', W')
    """Make the kernels of the N pictures and convolve with them, one block of filters after the other."""
    at_once = _limits(x).weights // (x.shape[0] * math.prod(weight.shape[2:])) // FILTERS * FILTERS
    filters = max(FILTERS, at_once)
    if groups > 1 or filters >= weight.shape[1]:
        return _convolve_each(x, forged(weight, taps, kernel, filter, groups), groups=groups, **where)
    pieces = weight.split(filters, 1)
    gates = [None] * len(pieces) if filter is None else filter.split(filters, 1)
    blocks = (forged(some, taps, kernel, gate) for some, gate in zip(pieces, gates, strict=True))
    return torch.cat([_convolve_each(x, kernels, groups=1, **where) for kernels in blocks], 1)


def forged(
    weight: Tensor, taps: Tensor | None, kernel: Tensor | None, filter: Tensor | None = None, groups: int = 1
) -> Tensor:
    """The kernels that N pictures are convolved with.

    Args:
        weight: (K, C_out, C, k, k); without ``kernel``, K is 1.
        taps: (N, groups * C or 1, k*k), or None.
        kernel: (N, K), or None.
        filter: (N, C_out), or None.
        groups: as of ``torch.nn.functional.conv2d``.

    Returns:
        (N, C_out, C, k, k); N is 1 where ``taps``, ``kernel`` and ``filter`` are None.
    """
    kind, (_, c_out, *sizes) = weight.dtype, weight.shape
    row = math.prod(sizes)  # long rows multiply several times faster than rows of nine
    if kernel is None:
        rows = weight.reshape(1, groups, -1, row)
    else:
        rows = torch.mm(kernel.to(kind), weight.flatten(1)).view(-1, groups, c_out // groups, row)
    if taps is not None:
        if taps.shape[1] == 1:
            taps = taps.expand(-1, groups * sizes[0], -1)
        gate = taps.to(kind).reshape(-1, groups, 1, row)
        rows = rows * gate if kernel is None else rows.mul_(gate)
    if filter is not None:
        gate = filter.to(kind).view(-1, groups, c_out // groups, 1)
        rows = rows * gate if kernel is None and taps is None else rows.mul_(gate)
    return rows.view(-1, c_out, *sizes)


def _convolve_each(x: Tensor, kernels: Tensor, *, groups: int, **where: Any) -> Tensor:
    """Convolve each picture with its own kernel: (N, C_in, H, W), (N, C_out, C, k, k) -> (N, C_out, H', W')."""
    pictures, k = x.shape[0], kernels.shape[-1]
    pointwise = k == 1 and where == {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
    if groups == 1 and pointwise:
        return torch.bmm(kernels.flatten(2), x.flatten(2)).view(pictures, -1, *x.shape[2:])
    if groups == 1 and x.is_cuda and pictures > 1:  # cuDNN is slow where there are as many groups as pictures
        rows = columns(x.to(kernels.dtype), k, **where).flatten(1, 2)
        return torch.bmm(kernels.flatten(2), rows).unflatten(2, output_size(x.shape[2:], k, **where))
    y = F.conv2d(x.reshape(1, -1, *x.shape[2:]), kernels.flatten(0, 1), groups=pictures * groups, **where)
    return y.reshape(pictures, -1, *y.shape[2:])


def mix(x: Tensor, weight: Tensor, taps: Tensor | None, kernel: Tensor | None, *, groups: int, **where: Any) -> Tensor:
    """Convolve with all K kernels by one matrix product, then mix the K outputs. ``groups`` must be 1."""
    k = weight.shape[-1]
    patches = columns(x, k, **where)  # (N, C_in, k*k, L)
    if taps is not None:
        patches = patches * taps[..., None]
    patches = patches.flatten(1, 2).transpose(0, 1).flatten(1)  # (C_in*k*k, N*L)
    outputs = weight.flatten(0, 1).flatten(1) @ patches.to(weight.dtype)  # (K*C_out, N*L)
    outputs = outputs.view(*weight.shape[:2], len(x), -1)  # (K, C_out, N, L)
    if kernel is None:
        mixed = outputs[0].transpose(0, 1)  # (N, C_out, L)
    else:
        mixed = torch.einsum("nk,konl->nol", kernel.to(outputs.dtype), outputs)
    return mixed.unflatten(2, output_size(x.shape[2:], k, **where))


def columns(
    x: Tensor, k: int, stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]
) -> Tensor:  # (N, C_in, H, W) -> (N, C_in, k*k, L)
    """The input number under each of the k x k taps at each of the L positions of the output."""
    if x.is_cuda:  # where PyTorch's unfold takes one picture after the other
        return windows(x, k, stride, padding, dilation).flatten(4).flatten(2, 3)
    return F.unfold(x, k, dilation, padding, stride).unflatten(1, (x.shape[1], k * k))


def windows(
    x: Tensor, k: int, stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]
) -> Tensor:  # (N, C_in, H, W) -> (N, C_in, k, k, H', W')
    """The same, as a view of the padded input that copies nothing."""
    x = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    for side in (0, 1):
        x = x.unfold(2 + side, dilation[side] * (k - 1) + 1, stride[side])
    return x[..., :: dilation[0], :: dilation[1]].permute(0, 1, 4, 5, 2, 3)


def output_size(
    size: Any, k: int, stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int]:
    """Height and width that a k x k convolution makes of an input of ``size`` (height, width)."""
    sizes = [
        (side + 2 * p - d * (k - 1) - 1) // s + 1 for side, s, p, d in zip(size, stride, padding, dilation, strict=True)
    ]
    return sizes[0], sizes[1]
