"""Measure weights on the validation pictures of a data set and write what was found into their card.

    python -m odconv.training.evaluate --weights FILE --data DIR [--temperatures 0.3,0.5,1,2,3,4,30]

Top-1 and top-5 for every number of kernels (the first and the strongest n), for every temperature and per class, each with n
and a 95 % Wilson interval; and, for every layer and head, how far attention differs between pictures. The card keeps it
under ``measured``, with its conditions. The data set has the network's classes, or some of them by their WordNet identifiers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from odconv.attention import Settings
from odconv.card import Card, card_path
from odconv.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from odconv.training.compute import full_float32
from odconv.training.data import DataError, Dataset, Pictures, find_dataset, load_pictures, write_whole
from odconv.training.measure import measure


def make_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The options that every command has that looks at finished weights."""
    parser = argparse.ArgumentParser(
        prog=f"python -m odconv.training.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weights", type=Path, required=True, help="weights with a card beside them")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--cache", type=Path, help="folder for decoded pictures (default: DATA/decoded)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser


def load_inputs(options: argparse.Namespace) -> tuple[Checkpoint, tuple[str, ...], Pictures]:
    """The weights that are asked for, on their device; identifiers of their classes; and the data set's validation pictures.

    Raises:
        CheckpointError: the weights cannot be used, or have no card.
        DataError: the data set cannot be used, or has other classes than the weights.
    """
    checkpoint, ids, dataset = find_inputs(options)
    return checkpoint, ids, load_validation(options, checkpoint.card, ids, dataset)


def find_inputs(options: argparse.Namespace) -> tuple[Checkpoint, tuple[str, ...], Dataset]:
    """As ``load_inputs``, with the data set as it lies there, nothing decoded."""
    checkpoint, path = load_checkpoint(options.weights), options.weights.with_suffix(".json")
    if not path.is_file():  # nobody knows how pictures are to be prepared, and what the classes are
        raise CheckpointError("checkpoint.no_card", file=options.weights.name, card=path.name)
    checkpoint.model.to(options.device)
    dataset, card = find_dataset(options.data), checkpoint.card
    ids = dataset.ids if dataset.names == card.classes else read_ids(options.weights)
    if not set(dataset.ids) <= set(ids):
        raise DataError(f"{options.data} has other classes than those in {path.name}.")
    return checkpoint, ids, dataset


def load_validation(options: argparse.Namespace, card: Card, ids: Sequence[str], dataset: Dataset) -> Pictures:
    """The data set's validation pictures as the network wants them, labelled with its classes, whose identifiers are ``ids``.

    Raises:
        DataError: a picture cannot be read, or there is no room for what it decodes to.
    """
    cache = options.cache or options.data / "decoded"
    pictures = load_pictures(dataset, "val", card.image_size, cache, card.resize)
    labels = np.array([ids.index(name) for name in dataset.ids])[pictures.labels]
    return Pictures(pictures.pixels, labels, card.classes)


def read_ids(weights: Path) -> tuple[str, ...]:
    """WordNet identifiers of the classes, from the card beside ``weights``; none where it does not have them."""
    classes = json.loads(card_path(weights).read_text(encoding="utf-8"))["classes"]
    return tuple(entry["id"] for entry in classes if isinstance(entry, dict) and "id" in entry)


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser("evaluate", __doc__)
    parser.add_argument("--temperatures", type=_temperatures, default="0.3,0.5,1,2,3,4,30")
    options = parser.parse_args(argv)
    try:
        with full_float32():
            checkpoint, ids, pictures = load_inputs(options)
            measured = measure(checkpoint, pictures, ids, options.temperatures)
    except (CheckpointError, DataError) as error:
        sys.exit(str(error))
    path = options.weights.with_suffix(".json")
    card = json.loads(path.read_text(encoding="utf-8")) | {"measured": measured}
    write_whole(path, lambda new: new.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf-8"))
    print(
        measured["what"], f"top-1 {measured['top1']:.2f}, top-5 {measured['top5']:.2f}; the rest is in {path}", sep="\n"
    )


def _temperatures(text: str) -> tuple[float, ...]:
    temperatures = tuple(map(float, text.split(",")))
    for temperature in temperatures:
        Settings(temperature)  # refuses what is none
    return temperatures


if __name__ == "__main__":
    main()
