"""One slice of the kernel that a picture is convolved with, and what its filter makes of the picture: numbers to be drawn.

A slice is what one filter (output channel) does to one of its input channels: k x k weights. Everything here is of one
picture, and pure; ``odconv.forge`` does the forging.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from odconv.attention import Heads
from odconv.forge import forge, forge_steps
from odconv.layer import ODConv2d


@dataclass(frozen=True, eq=False)
class ForgedSlice:
    """How the slice is made for one picture; ``None``: the layer has no such head."""

    shares: np.ndarray | None  # (K,)
    weighted: np.ndarray  # (K, k, k): each candidate times its share
    mixed: np.ndarray  # (k, k): the candidates times their shares, summed
    taps: np.ndarray | None  # (k, k)
    tapped: np.ndarray  # (k, k): times the taps
    channel_gate: float | None
    filter_gate: float | None
    forged: np.ndarray  # (k, k): times both gates
    map: np.ndarray  # (H', W'): the looked-at picture's output of this filter, if convolved with this picture's kernel


@dataclass(frozen=True, eq=False)
class KernelView:
    """One slice for the picture that is looked at, and for another one where there is one to compare with."""

    filter: int
    channel: int  # among those that the filter sees
    filters: int  # how many there are
    channels: int  # how many each filter sees
    input_channel: int  # ``channel`` as the layer counts its input channels; differs from it with groups
    candidates: np.ndarray  # (K, k, k): the same for every picture
    own: ForgedSlice
    other: ForgedSlice | None


def view_kernel(
    layer: ODConv2d,
    x: np.ndarray,
    own: Heads[np.ndarray],
    other: Heads[np.ndarray] | None,
    filter: int,
    channel: int,
) -> KernelView:
    """One slice of a layer's kernel for one picture, and for another.

    Args:
        layer: whose kernel it is.
        x: the layer's input for the picture that is looked at, (1, C_in, H, W). Both maps are made of it. Everything is
            computed in its number type.
        own: that picture's attention in this layer, as it was applied (N = 1).
        other: another picture's (N = 1), or ``None``.
        filter: from 0.
        channel: among the input channels that the filter sees, from 0.

    Raises:
        IndexError: there is no such filter or channel.
    """
    _, filters, channels, _, _ = layer.weight.shape
    if not 0 <= filter < filters:
        raise IndexError(f"filter={filter}: the layer has {filters}, counted from 0")
    first = filter // (filters // layer.groups) * channels
    seen = torch.tensor(x[:, first : first + channels])
    weight = layer.weight[:, [filter]].detach().cpu().to(seen.dtype)  # (K, 1, C_in / groups, k, k)

    def forged_slice(attention: Heads[np.ndarray]) -> ForgedSlice:
        heads = attention_of_filter(attention, filter, slice(first, first + channels), seen.dtype)
        steps = forge_steps(weight, heads, 0, channel)
        made = F.conv2d(seen, forge(weight, heads), None, layer.stride, layer.padding, layer.dilation)
        return ForgedSlice(
            shares=None if steps.shares is None else steps.shares.numpy(),
            weighted=steps.weighted.numpy(),
            mixed=steps.mixed.numpy(),
            taps=None if steps.taps is None else steps.taps.numpy(),
            tapped=steps.tapped.numpy(),
            channel_gate=steps.channel_gate,
            filter_gate=steps.filter_gate,
            forged=steps.forged.numpy(),
            map=made[0, 0].numpy(),
        )

    with torch.inference_mode():
        made_of_own = forged_slice(own)
        return KernelView(
            filter,
            channel,
            filters,
            channels,
            first + channel,
            weight[:, 0, channel].numpy(),
            made_of_own,
            None if other is None else forged_slice(other),
        )


def pick_slice(
    layer: ODConv2d,
    own: Heads[np.ndarray],
    other: Heads[np.ndarray] | None,
    filter: int | None = None,
    channel: int | None = None,
) -> tuple[int, int]:
    """The filter and channel in whose slice one weight differs most between two pictures' kernels; the largest weight's
    where there is no other picture. What is given stays as it is. Ties go to the lower filter, then to the lower channel.

    ``own``, ``other``, ``filter``, ``channel``: as in :func:`view_kernel`.
    """
    weight = layer.weight.detach().float().cpu()
    with torch.inference_mode():
        kernel = forge(weight, _tensors(own, weight.dtype), layer.groups)
        if other is not None:
            kernel = kernel - forge(weight, _tensors(other, weight.dtype), layer.groups)
        largest = np.nan_to_num(kernel.abs().amax((2, 3)).numpy())  # (C_out, C_in / groups)
    filters = range(len(largest)) if filter is None else [filter]
    channels = range(largest.shape[1]) if channel is None else [channel]
    best = int(largest[np.ix_(filters, channels)].argmax())
    return filters[best // len(channels)], channels[best % len(channels)]


def attention_of_filter(attention: Heads[np.ndarray], filter: int, seen: slice, dtype: torch.dtype) -> Heads[Tensor]:
    """The attention of a layer with this filter alone, and with the input channels that it sees."""
    spatial, channel, gate, kernel = _tensors(attention, dtype)
    return Heads(
        spatial,
        None if channel is None else channel[:, seen],
        None if gate is None else gate[:, [filter]],
        kernel,
    )


def _tensors(attention: Heads[np.ndarray], dtype: torch.dtype) -> Heads[Tensor]:
    return Heads(*(None if head is None else torch.tensor(head).to(dtype) for head in attention))
