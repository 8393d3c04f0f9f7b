"""The kernel that one picture is convolved with, and every step on the way to it.

    forged[o, c] = a_f[o] · a_c[c] · a_s · Σ_i a_w,i W_i[o, c]        o: filter (output channel), c: input channel

The layer itself never builds this kernel where a faster form gives the same result; here it is built, to be looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from odconv.attention import Heads


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


def _check_one_picture(attention: Heads[Tensor]) -> None:
    pictures = {len(head) for head in attention if head is not None}
    if pictures - {1}:
        raise ValueError(f"attention of {max(pictures)} pictures: one picture is needed, each has a kernel of its own")
