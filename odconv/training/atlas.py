"""Find what attention is typical over the validation pictures of a data set, and keep it beside the weights.

    python -m odconv.training.atlas --weights FILE --data DIR [--cache DIR]

What comes out, <weights' stem>.atlas.npz, holds for every layer and head the mean and the deviation over all pictures and how
far from the mean pictures are, and for kernel attention the mean of each class. All attentions are in memory at once: about
300 MB for 10,000 pictures and a ResNet-18 of width 32.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from odconv.atlas import RANKS, Atlas, TypicalHead, TypicalLayer, atlas_path, distances, fingerprint, save_atlas
from odconv.attention import Heads, Settings
from odconv.checkpoint import Checkpoint, CheckpointError
from odconv.training.compute import full_float32
from odconv.training.data import DataError, Pictures
from odconv.training.evaluate import load_inputs, make_parser
from odconv.training.measure import Preparation, attentions


def survey(checkpoint: Checkpoint, pictures: Pictures, network: str) -> Atlas:
    """The atlas of a network, over ``pictures`` of every class. ``network``: the fingerprint of its weights file.

    Raises:
        CheckpointError: the network has no attention.
        DataError: there are classes without pictures.
    """
    card, counts = checkpoint.card, np.bincount(pictures.labels, minlength=len(pictures.names))
    if not checkpoint.dynamic:
        raise CheckpointError("checkpoint.no_attention", name=card.name)
    if not counts.all():
        raise DataError(
            f"There are no pictures of {pictures.names[counts.argmin()]}: an atlas needs some of every class."
        )
    how = Preparation(card.image_size, card.mean, card.std)
    layers = {}
    for name, attention in attentions(checkpoint.model, pictures, how, Settings()).items():
        heads: Heads[TypicalHead] = Heads(*(None if values is None else typical_head(values) for values in attention))
        kernel = attention.kernel
        layers[name] = TypicalLayer(heads, None if kernel is None else _mean_by_class(kernel, pictures.labels, counts))
    return Atlas(network, counts, layers)


def typical_head(values: np.ndarray) -> TypicalHead:
    """What is typical of one head's attention (N, ...) to N pictures."""
    mean, deviation = (found.astype(np.float32) for found in (values.mean(0, np.float64), values.std(0, np.float64)))
    quantiles = np.quantile(distances(values, mean, deviation), np.linspace(0, 1, RANKS + 1))
    return TypicalHead(mean, deviation, quantiles.astype(np.float32))


def _mean_by_class(kernel: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    sums = np.zeros((len(counts), kernel.shape[1]))
    np.add.at(sums, labels, kernel)
    return (sums / counts[:, None]).astype(np.float16)


def main(argv: Sequence[str] | None = None) -> None:
    options = make_parser("atlas", __doc__).parse_args(argv)
    try:
        with full_float32():
            checkpoint, _, pictures = load_inputs(options)
            atlas = survey(checkpoint, pictures, fingerprint(options.weights))
        path = atlas_path(options.weights)
        save_atlas(atlas, path)
    except (CheckpointError, DataError) as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename} cannot be read or written: {error.strerror}.")
    print(f"{path}: {atlas.pictures:,} pictures of {atlas.classes} classes, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
