"""The forms of the convolution: exact ways to convolve N pictures, each with its own kernel, and the choice among them.

    y_n = ( t_n · Σ_i a_w,n,i W_i ) * x_n             * is the convolution; t: a weight for each input channel and tap

* ``one_kernel``: nothing is weighted; an ordinary convolution.
* ``forge``: make each picture's kernel, a few filters of a few pictures at a time, and convolve while it is in the cache.
* ``mix``: convolve with all K kernels, then mix the outputs. K times the multiply-adds, and no kernel per picture.

All are differentiable and right for any shape. ``choose`` takes the fastest, as measured with ``benchmarks/forms.py``.

The released formulation makes N x K weighted kernels at once: up to gigabytes (``benchmarks/README.md``), written once and
read once.
"""

from __future__ import annotations

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
    if not len(x) or (taps is None and kernel is None):
        return one_kernel, max(1, len(x))
    limits = _limits(x)
    few = len(weight) * positions <= (limits.mix_in_training if torch.is_grad_enabled() else limits.mix)
    if groups == 1 and few and len(x) >= len(weight):  # K kernels are not read for fewer pictures than K
        return mix, len(x)
    # Filters of a grouped convolution are not forged in parts, so there the pictures alone keep the piece small.
    pictures = limits.pictures if groups == 1 else limits.weights // weight[0].numel()
    by_weights = 3 * limits.weights // (FILTERS * weight[0, 0].numel())
    by_outputs = limits.outputs // max(1, weight.shape[1] * positions)
    return forge, max(1, min(pictures, by_weights, by_outputs))


def _limits(x: Tensor) -> Limits:
    return CPU if x.device.type == "cpu" else GPU


def one_kernel(
    x: Tensor, weight: Tensor, taps: Tensor | None, kernel: Tensor | None, *, groups: int, **where: Any
) -> Tensor:
    """An ordinary convolution with the first kernel: where nothing is weighted, or there is no picture."""
    return F.conv2d(x, weight[0], groups=groups, **where)


def forge(
    x: Tensor,  # (N, C_in, H, W)
    weight: Tensor,  # (K, C_out, C_in / groups, k, k)
    taps: Tensor | None,  # (N, C_in / groups or 1, k*k)
    kernel: Tensor | None,  # (N, K)
    *,
    groups: int,
    **where: Any,
) -> Tensor:  # (N, C_out, H', W')
    """Make the kernels of the N pictures and convolve with them, one block of filters after the other."""
    at_once = _limits(x).weights // (len(x) * weight[0, 0].numel()) // FILTERS * FILTERS
    filters = weight.shape[1] if groups > 1 else max(FILTERS, at_once)
    blocks = [
        _convolve_each(x, forged(some, taps, kernel), groups=groups, **where) for some in weight.split(filters, 1)
    ]
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, 1)


def forged(weight: Tensor, taps: Tensor | None, kernel: Tensor | None) -> Tensor:
    """The kernels that N pictures are convolved with.

    Args:
        weight: (K, C_out, C, k, k); without ``kernel``, K is 1.
        taps: (N, C or 1, k*k), or None.
        kernel: (N, K), or None.

    Returns:
        (N, C_out, C, k, k); N is 1 where ``taps`` and ``kernel`` are None.
    """
    if kernel is None:
        rows = weight.flatten(2)  # (1, C_out, C*k*k)
    else:
        rows = (kernel.to(weight.dtype) @ weight.flatten(1)).unflatten(1, (weight.shape[1], -1))  # (N, C_out, C*k*k)
    if taps is not None:
        # As rows for all input channels: long rows multiply several times faster than rows of nine.
        row = taps.to(weight.dtype).expand(-1, weight.shape[2], -1).flatten(1)[:, None]  # (N, 1, C*k*k)
        rows = rows * row if kernel is None else rows.mul_(row)
    return rows.unflatten(2, weight.shape[2:])


def _convolve_each(x: Tensor, kernels: Tensor, *, groups: int, **where: Any) -> Tensor:
    """Convolve each picture with its own kernel: (N, C_in, H, W), (N, C_out, C, k, k) -> (N, C_out, H', W')."""
    k = kernels.shape[-1]
    pointwise = k == 1 and where == {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
    grouped_is_slow = x.is_cuda and len(x) > 1  # cuDNN is slow where there are as many groups as pictures
    if groups == 1 and (pointwise or grouped_is_slow):
        rows = x.flatten(2) if pointwise else columns(x.to(kernels.dtype), k, **where).flatten(1, 2)
        return (kernels.flatten(2) @ rows).unflatten(2, output_size(x.shape[2:], k, **where))
    y = F.conv2d(x.reshape(1, -1, *x.shape[2:]), kernels.flatten(0, 1), groups=len(x) * groups, **where)
    return y.reshape(len(x), -1, *y.shape[2:])


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
