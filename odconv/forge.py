"""The kernel that one picture is convolved with, and every step on the way to it and on to the layer's output.

    forged[o, c] = a_f[o] · a_c[c] · a_s · Σ_i a_w,i W_i[o, c]        o: filter (output channel), c: input channel
    y[o] = Σ_c forged[o, c] * x[c]                                    * is the convolution

The layer itself never builds this kernel where a faster form gives the same result; here it is built, to be looked at.
Everything is of one picture, and computed in the number type that it is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from odconv.attention import Heads
from odconv.layer import AttentionBranch

Pair = tuple[int, int]  # of a convolution: along rows, along columns


@dataclass(frozen=True)
class Squeeze:
    """How a layer's attention branch comes from the layer's input to the logits of its heads."""

    pooled: Tensor  # (C_in,): each input channel's mean over all places
    squeezed: Tensor  # (hidden,): those, mixed by the 1x1 convolution
    normalized: Tensor  # (hidden,): after BatchNorm
    hidden: Tensor  # (hidden,): after ReLU
    logits: Heads[Tensor]  # N = 1, as ``odconv.attention.attend`` takes them


@dataclass(frozen=True)
class Steps:
    """How one k x k slice of a forged kernel is made: of one picture, one filter and one input channel.

    What a layer has no head for is ``None``, and leaves the step before it as it is.
    """

    candidates: Tensor  # (K, k, k): W_1 ... W_K
    shares: Tensor | None  # (K,): kernel attention
    weighted: Tensor  # (K, k, k): each candidate times its share
    mixed: Tensor  # (k, k): their sum
    taps: Tensor | None  # (k, k): spatial attention
    tapped: Tensor  # (k, k): the sum times the taps
    channel_gate: float | None
    filter_gate: float | None
    forged: Tensor  # (k, k): times both gates: what this picture is convolved with


@dataclass(frozen=True)
class Meeting:
    """How one filter's forged kernel meets the input at one place of the output map. C: input channels that the filter sees."""

    patch: Tensor  # (C, k, k): what lies under the kernel; 0 outside the picture
    inside: Tensor  # (k, k) of bool: which of it lies inside the picture
    products: Tensor  # (C, k, k): each weight times what lies under it
    contributions: Tensor  # (C,): the products' sum in each input channel
    output: Tensor  # (): their sum, the number that the layer puts out there


def squeeze_steps(branch: AttentionBranch, x: Tensor) -> Squeeze:
    """Every step from a layer's input (1, C_in, H, W) to the logits of its heads. ``branch``: in eval mode.

    Raises:
        ValueError: ``x`` is of more than one picture.
    """
    _check_one(len(x))
    pooled = x.mean((2, 3))
    squeezed = branch.squeeze(pooled)
    normalized = branch.normalize(squeezed)
    hidden = F.relu(normalized)
    return Squeeze(pooled[0], squeezed[0], normalized[0], hidden[0], branch.logits(hidden))


def forge(weight: Tensor, attention: Heads[Tensor], groups: int = 1) -> Tensor:
    """The whole kernel that one picture is convolved with: (C_out, C_in / groups, k, k).

    ``conv2d(x, forge(weight, attention, groups), groups=groups, ...)`` is what the layer computes for that picture.

    Args:
        weight: (K, C_out, C_in / groups, k, k), the candidates.
        attention: of one picture (N = 1), as it was applied.
        groups: of the convolution.

    Raises:
        ValueError: ``attention`` is of more than one picture.
    """
    _check_one_picture(attention)
    spatial, channel, filter, kernel = (None if head is None else head[0] for head in attention)
    forged = weight[0] if kernel is None else torch.einsum("i,iocyx->ocyx", kernel, weight)
    if spatial is not None:
        forged = forged * spatial
    if channel is not None:
        per_group = channel.view(groups, -1)  # (groups, C_in / groups)
        forged = forged * per_group.repeat_interleave(len(forged) // groups, 0)[:, :, None, None]
    return forged if filter is None else forged * filter[:, None, None, None]


def forge_steps(weight: Tensor, attention: Heads[Tensor], filter: int, channel: int, groups: int = 1) -> Steps:
    """Every step to the slice of the forged kernel for one filter and one of the input channels that it sees.

    Args:
        weight, attention, groups: as in :func:`forge`.
        filter: which output channel, from 0.
        channel: which of the input channels that this filter sees, from 0; with groups, those of the filter's own group.

    Raises:
        ValueError: ``attention`` is of more than one picture.
        IndexError: there is no such filter or channel; the message says how many there are.
    """
    _check_one_picture(attention)
    filters, channels = weight.shape[1:3]
    for name, index, count in (("filter", filter, filters), ("channel", channel, channels)):
        if not 0 <= index < count:
            raise IndexError(f"{name}={index}: the layer has {count}, counted from 0")
    spatial, gates, filter_gates, kernel = (None if head is None else head[0] for head in attention)
    candidates = weight[:, filter, channel]
    weighted = candidates if kernel is None else candidates * kernel[:, None, None]
    mixed = weighted.sum(0)
    tapped = mixed if spatial is None else mixed * spatial
    group = filter // (filters // groups)
    channel_gate = None if gates is None else float(gates[group * channels + channel])
    filter_gate = None if filter_gates is None else float(filter_gates[filter])
    forged = tapped * (1.0 if channel_gate is None else channel_gate) * (1.0 if filter_gate is None else filter_gate)
    return Steps(candidates, kernel, weighted, mixed, spatial, tapped, channel_gate, filter_gate, forged)


def meet(x: Tensor, forged: Tensor, row: int, column: int, *, stride: Pair, padding: Pair, dilation: Pair) -> Meeting:
    """What one filter's kernel makes of the input at one place of its output map.

    Args:
        x: (1, C, H, W), the input channels that the filter sees.
        forged: (C, k, k), the filter's part of :func:`forge`.
        row, column: of the output map, from 0.
        stride, padding, dilation: of the convolution.

    Raises:
        ValueError: ``x`` is of more than one picture.
        IndexError: the output map has no such place; the message says how large it is.
    """
    _check_one(len(x))
    taps = torch.arange(forged.shape[-1])
    under, inside = [], []  # for rows and columns: which of the input each tap lies on, and whether that is there
    for name, index, size, axis in (("row", row, x.shape[2], 0), ("column", column, x.shape[3], 1)):
        count = (size + 2 * padding[axis] - dilation[axis] * (len(taps) - 1) - 1) // stride[axis] + 1
        if not 0 <= index < count:
            raise IndexError(f"{name}={index}: the output map has {count}, counted from 0")
        places = index * stride[axis] - padding[axis] + dilation[axis] * taps
        inside.append((places >= 0) & (places < size))
        under.append(places.clamp(0, size - 1))
    there = inside[0][:, None] & inside[1]  # (k, k)
    patch = torch.where(there, x[0][:, under[0]][:, :, under[1]], torch.zeros((), dtype=x.dtype))
    products = forged * patch
    contributions = products.sum((1, 2))
    return Meeting(patch, there, products, contributions, contributions.sum())


def contribution_maps(x: Tensor, forged: Tensor, *, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """The contributions of :func:`meet` at every place: (C, H', W'); their sum over C is the filter's output map."""
    return F.conv2d(x, forged[:, None], None, stride, padding, dilation, groups=len(forged))[0]


def convolve_in_released_order(
    x: Tensor,
    weight: Tensor,
    attention: Heads[Tensor],
    *,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int = 1,
) -> tuple[Tensor, Tensor]:
    """``a_f · [(a_s · Σ_i a_w,i W_i) * (a_c · x)]``: channel and filter gates multiply maps and not the kernel.

    That is how the released code computes the layer; the result is the same.

    Args:
        x: (1, C_in, H, W).
        weight, attention, groups: as in :func:`forge`.

    Returns:
        The output maps before and after the filter gates, each (C_out, H', W').
    """
    kernel = forge(weight, Heads(attention.spatial, None, None, attention.kernel), groups)
    gated = x if attention.channel is None else x * attention.channel[:, :, None, None]
    before = F.conv2d(gated, kernel, None, stride, padding, dilation, groups)[0]
    return before, before if attention.filter is None else before * attention.filter[0][:, None, None]


def _check_one_picture(attention: Heads[Tensor]) -> None:
    for head in attention:
        if head is not None:
            _check_one(len(head))


def _check_one(pictures: int) -> None:
    if pictures != 1:
        raise ValueError(f"{pictures} pictures: one is needed, each has a kernel of its own")
