"""Parameters and multiply-adds, layer by layer, by formula.

A multiply-add is one product of a weight, a gate or a kernel share with a number, whether or not it is then added: a
convolution has C_out · H' · W' · C_in/groups · k · k of them. Counted as in the released formulation, the one that the
authors' README counts: spatial attention multiplies each of the K kernels, kernel attention each of them again, the channel
gate each input number and the filter gate each output number, and the branch's linear maps. BatchNorm, activations, pooling
and additions are not counted. ``od_conv2d`` needs fewer: it sums the kernels before it weights their taps.

The README's multiply-adds of ResNet-50 and 101 (3.858 G static) are of the layout with the stride on the first 1x1
convolution; the released code, and this package, has it on the 3x3 convolution (4.089 G). Of MobileNetV2 4x the README says
327.1 M and this formula 321.8 M; what else was counted there is not known.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from odconv.layer import ODConv2d


@dataclass(frozen=True)
class LayerCost:
    """One convolution or linear map, for one picture."""

    name: str
    parameters: int  # with those of the attention branch and without those of a BatchNorm that follows
    multiply_adds: int


def cost(model: nn.Module, image_size: int) -> list[LayerCost]:
    """The cost of every convolution and linear map of ``model`` for a picture of ``image_size`` px, in execution order.

    Shapes are followed on a private copy without data, so nothing is computed and ``model`` is not touched.
    """
    shadow = copy.deepcopy(model).to("meta").eval()
    inside = {part for layer in shadow.modules() if isinstance(layer, ODConv2d) for part in layer.attention.modules()}
    costs: list[LayerCost] = []
    for name, module in shadow.named_modules():
        if isinstance(module, (ODConv2d, nn.Conv2d, nn.Linear)) and module not in inside:
            module.register_forward_hook(_note(costs, name))
    with torch.inference_mode():
        shadow(torch.empty(1, 3, image_size, image_size, device="meta"))
    return costs


def _note(costs: list[LayerCost], name: str):  # type: ignore[no-untyped-def]
    def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        parameters = sum(parameter.numel() for parameter in module.parameters())
        costs.append(LayerCost(name, parameters, _multiply_adds(module, inputs[0], output)))

    return hook


def _multiply_adds(module: nn.Module, x: Tensor, y: Tensor) -> int:
    if isinstance(module, nn.Linear):
        return module.weight.numel()
    positions = y.shape[2] * y.shape[3]
    if not isinstance(module, ODConv2d):
        return module.weight.numel() * positions  # type: ignore[operator]
    branch = module.attention
    heads = [branch.fc, branch.channel_fc, branch.filter_fc, branch.spatial_fc, branch.kernel_fc]
    return (
        module.weight[0].numel() * positions
        + (module.weight.numel() if branch.spatial_fc is not None else 0)
        + (module.weight.numel() if branch.kernel_fc is not None else 0)
        + x.numel()  # the channel gate
        + (y.numel() if branch.filter_fc is not None else 0)
        + sum(head.weight.numel() for head in heads if head is not None)
    )
