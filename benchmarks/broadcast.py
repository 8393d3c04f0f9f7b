"""The released formulation of ODConv, the baseline of ``speed.py``. Nothing in the package uses it.

Plainly from the equation: the weighted kernels of every picture are laid out in memory, N x K x C_out x C_in / groups x
k x k of them, then summed over K.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import torch.nn.functional as F
from torch import Tensor

import odconv.layer
from odconv.attention import Heads
from odconv.layer import Pair


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
    """What ``odconv.layer.od_conv2d`` computes, for at least one picture, with one grouped convolution over all pictures.

    As in the released code the channel gate is on the input and the filter gate on the output, and a layer without
    spatial and kernel attention has nothing to forge.
    """
    spatial, channel, filter, kernel = attention
    where: Any = {"stride": stride, "padding": padding, "dilation": dilation}
    if channel is not None:
        x = x * channel[:, :, None, None]
    if spatial is None and kernel is None:
        y = F.conv2d(x, weight[0], groups=groups, **where)
    else:
        gates: Any = 1.0  # (N, K or 1, 1, 1, k or 1, k or 1)
        if spatial is not None:
            gates = spatial[:, None, None, None]
        if kernel is not None:
            gates = gates * kernel[:, :, None, None, None, None]
        forged = (gates * weight).sum(1)  # (N, K, C_out, C_in / groups, k, k) -> (N, C_out, C_in / groups, k, k)
        side_by_side = x.reshape(1, -1, *x.shape[2:])  # (1, N * C_in, H, W)
        y = F.conv2d(side_by_side, forged.flatten(0, 1), groups=len(x) * groups, **where)
        y = y.reshape(len(x), -1, *y.shape[2:])  # (N, C_out, H', W')
    return y if filter is None else y * filter[:, :, None, None]


def everywhere() -> Any:
    """A context in which every ``ODConv2d`` of this process computes in the broadcast form."""
    return patch.object(odconv.layer, "od_conv2d", od_conv2d)
