"""Parameters and multiply-adds, layer by layer, by formula.

A multiply-add is one product of a weight with a number, whether or not it is then added. A convolution has
C_out · H' · W' · C_in/groups · k · k of them. An ODConv layer has more, for each picture:

* for each weight of a kernel, K products with spatial attention, and where K > 1, K products with kernel attention,
* for each weight of a kernel, one operation, the sum over the K kernels,
* for each number of its input, one product with the channel gate,
* the linear maps of its attention branch.

BatchNorm, activations, pooling and additions are not counted, nor is the filter gate: one factor per output channel, like
the BatchNorm that follows. The authors' README does not say what it counts. This is the simplest count we found that comes
within 1 % of all its rows; with the filter gate the largest difference is 2 %. Its ResNet-50 and 101 (3.858 G and
7.570 G static) have the stride on the first 1x1 convolution of a block; the released code, and this package, have it on
the 3x3 one, which makes 4.089 G and 7.801 G.

This is the cost of the released formulation. ``od_conv2d`` computes the same in other ways, whichever is faster: ``forge``
takes fewer operations (it sums over the kernels before it weights the taps), ``mix`` more (K products for each output).
``torch.utils.flop_counter`` counts what is really done, in convolutions and matrix products only, two operations for each
multiply-add.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from odconv.layer import ODConv2d


@dataclass(frozen=True)
class LayerCost:
    """One convolution or linear map, for one picture."""

    name: str
    parameters: int  # including the attention branch, without a BatchNorm that follows
    multiply_adds: int


def cost(model: nn.Module, image_size: int, channels: int = 3) -> list[LayerCost]:
    """The cost of every convolution and linear map of ``model`` for a picture of ``image_size`` px, in execution order.

    ``channels``: of the picture.

    An empty batch runs through a copy of the modules on the CPU, so nothing is computed. No weights are copied, whatever
    device they are on, and ``model`` is not changed.
    """
    shadow = _copy_without_weights(model).eval()
    costs: list[LayerCost] = []
    for name, module in counted_modules(shadow):
        module.register_forward_hook(_cost_hook(costs, name))
    with torch.inference_mode():
        shadow(torch.empty(0, channels, image_size, image_size))
    return costs


def counted_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Names and modules of the convolutions and linear maps of ``model``; an ODConv layer with its branch is one."""
    inside = {part for layer in model.modules() if isinstance(layer, ODConv2d) for part in layer.attention.modules()}
    kinds = (ODConv2d, nn.Conv2d, nn.Linear)
    return [(name, some) for name, some in model.named_modules() if isinstance(some, kinds) and some not in inside]


def _copy_without_weights(model: nn.Module) -> nn.Module:
    """A copy of ``model`` on the CPU. Its parameters and buffers are never touched, so they take no memory.

    On the meta device it would need no memory at all, but PyTorch would import its compiler to follow shapes there, which
    takes two seconds, 90 MB and a temporary folder that can be written to.
    """
    copies: dict[int, Tensor] = {
        id(parameter): nn.Parameter(_empty_like(parameter), requires_grad=False) for parameter in model.parameters()
    }
    copies |= {id(buffer): _empty_like(buffer) for buffer in model.buffers()}
    return copy.deepcopy(model, copies)  # deepcopy takes what is in there as copied already


def _empty_like(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=torch.float32 if tensor.is_floating_point() else tensor.dtype)


def _cost_hook(costs: list[LayerCost], name: str):  # type: ignore[no-untyped-def]
    def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        parameters = sum(parameter.numel() for parameter in module.parameters())
        costs.append(LayerCost(name, parameters, multiply_adds(module, inputs[0], output)))

    return hook


def multiply_adds(module: nn.Module, x: Tensor, y: Tensor) -> int:
    """Of a module of ``counted_modules`` that made ``y`` (N, C_out, H', W') or (N, ..., C_out) of ``x``, for one picture."""
    if isinstance(module, nn.Linear):
        return module.weight.numel() * math.prod(y.shape[1:-1])
    positions = y.shape[-2] * y.shape[-1]
    if not isinstance(module, ODConv2d):
        return module.weight.numel() * positions  # type: ignore[operator]
    branch = module.attention
    heads = [branch.fc, branch.channel_fc, branch.filter_fc, branch.spatial_fc, branch.kernel_fc]
    candidates, forged = module.weight.numel(), module.weight[0].numel()
    return (
        forged * positions
        + candidates * (1 if branch.kernel_fc is None else 2)
        + forged
        + math.prod(x.shape[1:])
        + sum(head.weight.numel() for head in heads if head is not None)
    )
