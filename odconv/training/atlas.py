"""Find what attention is typical over the validation pictures of a data set, and keep it beside the weights.

    python -m odconv.training.atlas --weights FILE --data DIR [--cache DIR] [--pictures N] [--out FILE]

Two passes over the pictures, batch by batch: one for means and deviations, one for how far each picture is from them. Only
sums, and a number for each picture and head, are kept. What comes out, <weights' stem>.atlas.npz, holds for every layer and
head the mean and the deviation over all pictures and how far from the mean pictures are, and for kernel attention the mean of
each class.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from odconv.atlas import RANKS, Atlas, TypicalHead, TypicalLayer, atlas_path, distances, fingerprint, save_atlas
from odconv.attention import HEADS, Heads
from odconv.checkpoint import Checkpoint, CheckpointError
from odconv.explain import LayerRecord, explain
from odconv.training.compute import torch_settings
from odconv.training.data import DataError, Pictures, prepare_batch
from odconv.training.evaluate import load_inputs, options_of

# --- numbers ----------------------------------------------------------------------------------------------------------


class HeadSums:
    """Running sums of one head over pictures, in float64."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """``shape``: the head's, without N."""
        self.pictures = 0
        self.values = np.zeros(shape)
        self.squares = np.zeros(shape)

    def add(self, values: np.ndarray) -> None:
        """``values`` (N, ...) of N more pictures."""
        self.pictures += len(values)
        self.values += values.sum(0, dtype=np.float64)
        self.squares += np.square(values, dtype=np.float64).sum(0)

    def typical(self) -> TypicalHead:
        """What is known after one pass; the distances are 0 until a second one."""
        mean = self.values / self.pictures
        variance = np.maximum(self.squares / self.pictures - mean**2, 0.0)  # rounding can leave a still gate below 0
        unknown = np.zeros(RANKS + 1, np.float32)
        return TypicalHead(mean.astype(np.float32), np.sqrt(variance).astype(np.float32), unknown)


class LayerSums:
    """Running sums of one layer."""

    def __init__(self, first: LayerRecord, counts: np.ndarray) -> None:
        """``counts`` (classes,): pictures of each class that there will be."""
        kernel = first.attention.kernel
        self.counts = counts
        self.heads: Heads[HeadSums] = Heads(
            *(None if head is None else HeadSums(head.shape[1:]) for head in first.attention)
        )
        self.kernel_by_class = None if kernel is None else np.zeros((len(counts), kernel.shape[1]))

    def add(self, record: LayerRecord, labels: np.ndarray) -> None:
        """What the layer did to N more pictures, of classes ``labels`` (N,)."""
        for sums, values in zip(self.heads, record.attention, strict=True):
            if sums is not None and values is not None:
                sums.add(values)
        kernel = record.attention.kernel
        if self.kernel_by_class is not None and kernel is not None:
            np.add.at(self.kernel_by_class, labels, kernel)

    def typical(self) -> TypicalLayer:
        heads: Heads[TypicalHead] = Heads(*(None if sums is None else sums.typical() for sums in self.heads))
        if self.kernel_by_class is None:
            return TypicalLayer(heads, None)
        return TypicalLayer(heads, (self.kernel_by_class / self.counts[:, None]).astype(np.float16))


def survey(checkpoint: Checkpoint, pictures: Pictures, network: str, batch: int = 128) -> Atlas:
    """The atlas of a network, over ``pictures``. ``network``: the fingerprint of its weights file.

    Raises:
        DataError: a class has none of the pictures, and so no mean.
        CheckpointError: the network has no attention.
    """
    if not checkpoint.dynamic:
        raise CheckpointError("checkpoint.no_attention", name=checkpoint.card.name)
    counts = np.bincount(pictures.labels, minlength=len(pictures.names))
    if not counts.all():
        name = pictures.names[int(counts.argmin())]
        raise DataError(f"Class {name} has none of the {len(pictures):,} pictures; each class needs at least one.")
    sums: dict[str, LayerSums] = {}
    for layers, labels in _passes(checkpoint, pictures, batch, "Means"):
        for name, record in layers.items():
            sums.setdefault(name, LayerSums(record, counts)).add(record, labels)
    typical = {name: layer.typical() for name, layer in sums.items()}
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for layers, _ in _passes(checkpoint, pictures, batch, "Distances"):
        for name, record in layers.items():
            for head, values, known in zip(HEADS, record.attention, typical[name].heads, strict=True):
                if values is not None and known is not None:
                    found.setdefault((name, head), []).append(distances(values, known.mean, known.deviation))
    ranks = np.linspace(0, 1, RANKS + 1)
    for (name, head), some in found.items():
        quantiles = np.quantile(np.concatenate(some), ranks).astype(np.float32)
        heads = typical[name].heads
        known = replace(getattr(heads, head), distances=quantiles)
        typical[name] = replace(typical[name], heads=heads._replace(**{head: known}))
    return Atlas(network, counts, typical)


def _passes(
    checkpoint: Checkpoint, pictures: Pictures, batch: int, name: str
) -> Iterator[tuple[dict[str, LayerRecord], np.ndarray]]:
    """What every layer does to the pictures, batch by batch, with their labels."""
    card, device = checkpoint.card, next(checkpoint.model.parameters()).device
    with tqdm(total=len(pictures), desc=name, unit="img") as bar:
        for start in range(0, len(pictures), batch):
            pixels = torch.from_numpy(np.array(pictures.pixels[start : start + batch])).to(device)
            labels = pictures.labels[start : start + batch]
            x = prepare_batch(pixels, card.image_size, card.mean, card.std)
            yield explain(checkpoint.model, x).layers, labels
            bar.update(len(labels))


# --- words ------------------------------------------------------------------------------------------------------------


def report(atlas: Atlas) -> str:
    """The atlas as a table, for a terminal: a layer a line, and how far pictures differ in each of its heads."""
    lines = [
        f"{atlas.pictures:,} pictures of {atlas.classes} classes; mean over a head's entries of the standard deviation over "
        "the pictures",
        _row("layer", *HEADS),
    ]
    for name, layer in atlas.layers.items():
        lines.append(_row(name, *("" if typical is None else f"{typical.spread:.4f}" for typical in layer.heads)))
    return "\n".join(lines)


def _row(name: str, *cells: str) -> str:
    return f"  {name:<22}{''.join(f'{cell:>10}' for cell in cells)}".rstrip()


# --- the command ------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> None:
    parser = options_of("atlas", __doc__)
    parser.add_argument("--out", type=Path, help="file to write (default: beside the weights)")
    options = parser.parse_args(argv)
    out = options.out or atlas_path(options.weights)
    try:
        if not out.parent.is_dir():  # said before the minutes, not after
            raise DataError(f"There is no folder {out.parent} to write {out.name} to.")
        with torch_settings(options.threads):
            checkpoint, _, pictures = load_inputs(options)
            atlas = survey(checkpoint, pictures, fingerprint(options.weights), options.batch)
        save_atlas(atlas, out)
    except (CheckpointError, DataError) as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename} cannot be read or written: {error.strerror}.")
    print(report(atlas))
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
