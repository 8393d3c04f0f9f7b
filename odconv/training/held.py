"""Pictures that are held out, as the frozen beginning of a network sees them, and the floors that a trained one has to hold.

    python -m odconv.training.held --network FILE --weights FILE --views FILE [--pictures NAME=FOLDER ...] [--most 1000]

prints, for the static ``--network`` and for ``--weights`` that came from it, top-1 at every number of kernels and temperature
that has a floor, and how far attention differs between pictures. ``--views`` is made from ``--pictures`` if it is not there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from odconv.attention import HEADS, Heads, Settings
from odconv.backbones import EfficientNetLite
from odconv.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from odconv.images import PictureError, decode, prepare
from odconv.probe import apply_settings, probe
from odconv.training.data import DataError, write_whole
from odconv.training.evaluate import read_ids
from odconv.training.measure import summarise_layer
from odconv.training.views import find_files

AT_ONCE = 32
UNKNOWN = -1  # label of a picture whose class the network does not have
FLOORS: dict[str, float] = {"spatial": 0.03, "channel": 0.03, "filter": 0.03, "kernel": 0.05}  # of attention's spread
ASKED = {
    "n = 4, T = 1": Settings(),
    "n = 2": Settings(kernels=2),
    "n = 1": Settings(kernels=1),
    "T = 0.5": Settings(0.5),
    "T = 2": Settings(2.0),
}


class Held(NamedTuple):
    """Pictures from one folder, from the first to the last of its classes."""

    features: Tensor  # (N, C, H, W) of float16, from ``EfficientNetLite.begin``
    labels: Tensor  # (N,) of int64; ``UNKNOWN`` where the network has no such class

    def evenly_spaced(self, most: int) -> Held:
        """At most ``most`` of them, from the first to the last."""
        chosen = np.linspace(0, len(self.labels) - 1, min(most, len(self.labels))).round().astype(np.int64)
        return Held(self.features[chosen], self.labels[chosen])


@torch.inference_mode()
def make_held(network: Checkpoint, ids: Sequence[str], folder: Path, most: int) -> Held:
    """The held-out pictures of a folder, each its centre as the card says."""
    files = sorted(find_files(folder)[1])
    chosen = np.linspace(0, len(files) - 1, min(most, len(files))).round().astype(np.int64)
    names = _class_names(folder)
    assert isinstance(network.model, EfficientNetLite)
    features, labels = [], []
    for i in chosen:
        path = files[i]
        try:
            x = prepare(decode(path.read_bytes()), network.card)
        except (PictureError, OSError) as error:
            raise DataError(f"The picture {path} cannot be used. {error}") from error
        features.append(network.model.begin(x.to(network.model.classifier.weight.device)).half().cpu())
        name = names.get(path.name, path.parent.name)
        labels.append(ids.index(name) if name in ids else UNKNOWN)
    return Held(torch.cat(features), torch.tensor(labels))


def _class_names(folder: Path) -> Mapping[str, str]:
    """File name -> class, of Tiny-ImageNet's validation pictures, which are in one folder."""
    table = folder / "val" / "val_annotations.txt"
    lines = table.read_text().splitlines() if table.is_file() else []
    return {row[0]: row[1] for row in (line.split("\t") for line in lines)}


def load_held(path: Path) -> dict[str, Held]:
    """Name of a folder -> its pictures."""
    state = load_file(path)
    names = sorted({key.partition(".")[0] for key in state})
    return {name: Held(state[f"{name}.features"], state[f"{name}.labels"]) for name in names}


def save_held(held: Mapping[str, Held], path: Path) -> None:
    """Write them, whole or not at all."""
    state = {f"{name}.{part}": tensor for name, one in held.items() for part, tensor in one._asdict().items()}
    write_whole(path, lambda new: save_file(state, new))


def _batches(model: EfficientNetLite, features: Tensor) -> Iterator[Tensor]:
    return (some.to(model.classifier.weight.device).float() for some in features.split(AT_ONCE))


@torch.inference_mode()
def log_probabilities(model: nn.Module, features: Tensor, settings: Settings) -> Tensor:
    """Of the classes, by an EfficientNet-Lite: (N, C, H, W) -> (N, classes)."""
    assert isinstance(model, EfficientNetLite)
    with apply_settings(settings):
        return torch.cat([model.finish(x).log_softmax(1) for x in _batches(model, features)]).cpu()


def distance(before: Tensor, after: Tensor) -> float:
    """Mean Kullback-Leibler divergence of the second of two networks from the first, from log-probabilities (N, classes)."""
    return float((before.exp() * (before - after)).sum(1).mean())


@torch.inference_mode()
def watch(model: nn.Module, features: Tensor) -> dict[str, dict[str, Any]]:
    """Layer -> what ``summarise_layer`` says of its attention."""
    assert isinstance(model, EfficientNetLite)
    parts: dict[str, list[Heads[Tensor]]] = {}
    for x in _batches(model, features):
        with probe(model) as trace:
            model.finish(x)
        for name, record in trace.items():
            parts.setdefault(name, []).append(record.attention)
    return {name: summarise_layer(Heads(*map(_join, zip(*some, strict=True)))) for name, some in parts.items()}


def _join(parts: Sequence[Tensor | None]) -> np.ndarray | None:
    return None if parts[0] is None else torch.cat(parts).cpu().numpy()  # type: ignore[arg-type]


def percent_right(choices: Tensor, labels: Tensor) -> float | None:
    """How many of the pictures with a label are named rightly; None: there are none."""
    known = labels != UNKNOWN
    return 100 * float((choices == labels)[known].float().mean()) if known.any() else None


def percent_same(one: Tensor, other: Tensor) -> float:
    """How often both have the same first choice, (N, classes) each."""
    return 100 * float((one.argmax(1) == other.argmax(1)).float().mean())


def heads_above(layers: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """Head -> in how many layers its spread is at least its floor, and how many layers have it."""
    spreads = {head: [layer[head] for layer in layers.values() if head in layer] for head in HEADS}
    return {head: (sum(s >= FLOORS[head] for s in some), len(some)) for head, some in spreads.items() if some}


def report(static: nn.Module, model: nn.Module, held: Mapping[str, Held]) -> Iterator[str]:
    """The table, line by line."""
    for name, one in held.items():
        before = log_probabilities(static, one.features, Settings())
        yield f"{name}, n = {len(one.labels):,}: static {_number(percent_right(before.argmax(1), one.labels))}"
        for words, settings in ASKED.items():
            after = log_probabilities(model, one.features, settings)
            right, same = percent_right(after.argmax(1), one.labels), percent_same(before, after)
            yield (
                f"  {words:14} top-1 {_number(right)}; first choice as static {same:.2f} %, "
                f"divergence {distance(before, after):.3f}"
            )
    features = torch.cat([one.features for one in held.values()])
    layers = watch(model, features)
    yield f"spread between {len(features):,} pictures"
    for layer, entry in layers.items():
        yield f"  {layer:22} " + "  ".join(f"{key} {value:.4f}" for key, value in entry.items())
    for head, (above, total) in heads_above(layers).items():
        yield f"  {head}: at least {FLOORS[head]} in {above} of {total} layers"


def _number(percent: float | None) -> str:
    return "no labels" if percent is None else f"{percent:.2f} %"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", type=Path, required=True, help="the static network, with a card")
    parser.add_argument("--weights", type=Path, help="the network that came from it; none: only make --views")
    parser.add_argument("--views", type=Path, required=True, help="file of the held-out pictures")
    parser.add_argument("--pictures", nargs="*", default=[], help="NAME=FOLDER ..., to make --views from")
    parser.add_argument("--most", type=int, default=1000, help="pictures of each folder")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(argv)
    try:
        static = load_checkpoint(options.network)
        static.model.to(options.device)
        if not options.views.is_file():
            ids, pairs = read_ids(options.network), [text.partition("=") for text in options.pictures]
            save_held({name: make_held(static, ids, Path(of), options.most) for name, _, of in pairs}, options.views)
        held = {name: one.evenly_spaced(options.most) for name, one in load_held(options.views).items()}
        if options.weights:
            for line in report(static.model, load_checkpoint(options.weights).model.to(options.device), held):
                print(line, flush=True)
    except (CheckpointError, DataError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
