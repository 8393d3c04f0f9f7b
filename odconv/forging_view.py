"""One layer at work on one picture, from its input to its output, step by step: numbers to be drawn.

``odconv.forge`` does the steps, here in float64, and what the layer itself put out stands beside them. So every number that
is shown was computed anew, and how far that is from the layer is known. Pure.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from odconv.attention import Heads, Settings, attend, kept_kernels
from odconv.forge import Meeting, contribution_maps, convolve_in_released_order, forge, meet, squeeze_steps
from odconv.kernel_view import KernelView, attention_of_filter, view_kernel
from odconv.layer import ODConv2d

# In this order: pool the input, squeeze it, logits of the heads, attention; weigh the candidates, sum them, weigh the taps,
# gate; meet the picture, put out a number.
STEPS = ("pool", "squeeze", "logits", "attention", "weigh", "sum", "taps", "gates", "meet", "output")


@dataclass(frozen=True, eq=False)
class LayerForging:
    """What one layer made of one picture, as far as no filter need be chosen."""

    settings: Settings  # that acted on this layer
    input: np.ndarray  # (1, C_in, H, W), float32
    output: np.ndarray  # (C_out, H', W'), float32: the layer's own
    pooled: np.ndarray  # (C_in,); from here on float64
    squeezed: np.ndarray  # (hidden,)
    normalized: np.ndarray  # (hidden,)
    hidden: np.ndarray  # (hidden,)
    logits: Heads[np.ndarray]  # N = 1
    attention: Heads[np.ndarray]  # N = 1
    kept: np.ndarray | None  # (K,) of bool: which kernels stayed; None when K = 1
    difference: float  # the largest between ``output`` and the input convolved with the forged kernel, over all numbers
    order_difference: float  # the largest between that and gates on the maps, as in the released code


@dataclass(frozen=True, eq=False)
class ForgingView:
    """One slice of that layer's kernel, and how it meets the picture."""

    layer: LayerForging
    kernel: KernelView  # in float64
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    input: np.ndarray  # (H, W), float32: what came in on the slice's channel
    output: np.ndarray  # (H', W'), float32: the layer's own map of the slice's filter
    before_gate: np.ndarray  # (H', W'): that map in the released code's order, before the filter gate
    contributions: np.ndarray  # (C, H', W'): what each input channel that the filter sees adds to the map
    row: int  # of the output map, the place that is looked at
    column: int
    meeting: Meeting  # there


def forge_layer(layer: ODConv2d, x: np.ndarray, output: np.ndarray, settings: Settings) -> LayerForging:
    """Every step of ``layer`` for one picture, computed anew in float64 and compared with what the layer put out.

    Args:
        layer: in eval mode; it is not changed.
        x: its input, (1, C_in, H, W), float32.
        output: what it made of ``x`` under ``settings``, (C_out, H', W'), float32.
        settings: that act on this layer.
    """
    where = _where(layer)
    branch = copy.deepcopy(layer.attention).cpu().double()
    taken = torch.tensor(x, dtype=torch.float64)
    with torch.inference_mode():
        weight = layer.weight.detach().cpu().double()
        steps = squeeze_steps(branch, taken)
        attention = attend(steps.logits, settings)
        kernel = forge(weight, attention, layer.groups)
        made = F.conv2d(taken, kernel, groups=layer.groups, **where)[0]
        _, gated = convolve_in_released_order(taken, weight, attention, groups=layer.groups, **where)
        kernels = steps.logits.kernel
        return LayerForging(
            settings=settings,
            input=x,
            output=output,
            pooled=steps.pooled.numpy(),
            squeezed=steps.squeezed.numpy(),
            normalized=steps.normalized.numpy(),
            hidden=steps.hidden.numpy(),
            logits=_arrays(steps.logits),
            attention=_arrays(attention),
            kept=None if kernels is None else kept_kernels(kernels, settings)[0].numpy(),
            difference=float((made - torch.tensor(output)).abs().max()),
            order_difference=float((made - gated).abs().max()),
        )


def view_forging(
    layer: ODConv2d, made: LayerForging, filter: int, channel: int, place: tuple[int, int] | None = None
) -> ForgingView:
    """One slice of the kernel, and how it meets the picture at one place.

    Args:
        layer, made: the layer and what it made of the picture.
        filter: from 0.
        channel: among the input channels that the filter sees, from 0.
        place: row and column of the output map, from 0. Where it is ``None`` or not there, the place where the filter's map
            is largest, above or below 0; the first of several.

    Raises:
        IndexError: there is no such filter or channel.
    """
    where = _where(layer)
    x = made.input.astype(np.float64)
    kernel = view_kernel(layer, x, made.attention, None, filter, channel)
    first = kernel.input_channel - channel
    with torch.inference_mode():
        seen = torch.tensor(x[:, first : first + kernel.channels])
        weight = layer.weight[:, [filter]].detach().cpu().double()
        heads = attention_of_filter(made.attention, filter, slice(first, first + kernel.channels), seen.dtype)
        forged = forge(weight, heads)[0]
        output = made.output[filter]
        height, width = output.shape
        if place is None or not (0 <= place[0] < height and 0 <= place[1] < width):
            strongest = int(np.abs(np.nan_to_num(output)).argmax())
            place = divmod(strongest, width)
        return ForgingView(
            layer=made,
            kernel=kernel,
            **where,
            input=made.input[0, kernel.input_channel],
            output=output,
            before_gate=convolve_in_released_order(seen, weight, heads, **where)[0][0].numpy(),
            contributions=contribution_maps(seen, forged, **where).numpy(),
            row=place[0],
            column=place[1],
            meeting=meet(seen, forged, *place, **where),
        )


def _where(layer: ODConv2d) -> dict[str, Any]:
    return {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}


def _arrays(heads: Heads[Tensor]) -> Heads[np.ndarray]:
    return Heads(*(None if head is None else head.numpy() for head in heads))
