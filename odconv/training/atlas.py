"""Find what attention is typical over the validation pictures of a data set, and keep it beside the weights.

    python -m odconv.training.atlas --weights FILE --data DIR [--cache DIR] [--pictures N] [--out FILE]

Two passes over the pictures, batch by batch: one for means and deviations, one for how far each picture is from them. Only
sums, and a number for each picture and head, are kept. What comes out, <weights' stem>.atlas.npz, holds for every layer and
head the mean and the deviation over all pictures, the mean of each class, how far pictures differ within a class and classes
from each other, how far from the mean pictures are, and how many kernels are in effect.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from odconv.atlas import RANKS, Atlas, TypicalHead, TypicalLayer, atlas_path, fingerprint, save_atlas, scores
from odconv.attention import HEADS, Heads
from odconv.checkpoint import Checkpoint, CheckpointError
from odconv.explain import LayerRecord, effective_kernels, explain
from odconv.training.compute import torch_settings
from odconv.training.data import DataError, Pictures, prepare_batch
from odconv.training.evaluate import load_inputs, options_of

# --- numbers ----------------------------------------------------------------------------------------------------------


class HeadSums:
    """Running sums of one head over pictures, in float64."""

    def __init__(self, shape: tuple[int, ...], counts: np.ndarray) -> None:
        """``shape``: the head's, without N; ``counts`` (classes,): pictures of each class that there will be."""
        entries = int(np.prod(shape))
        self.shape, self.counts = shape, counts
        self.by_class = np.zeros((len(counts), entries))
        self.squares = np.zeros(entries)
        self.fair_squares = np.zeros(entries)  # weighted so that each class counts the same

    def add(self, values: np.ndarray, labels: np.ndarray) -> None:
        """``values`` (N, ...) of pictures with ``labels`` (N,)."""
        flat = values.reshape(len(values), -1).astype(np.float64)  # (N, entries)
        member = labels[None] == np.arange(len(self.counts))[:, None]  # (classes, N)
        self.by_class += member.astype(np.float64) @ flat
        self.squares += (flat**2).sum(0)
        self.fair_squares += (1 / (len(self.counts) * self.counts[labels])) @ flat**2

    def typical(self) -> TypicalHead:
        n = self.counts.sum()
        mean, classes = self.by_class.sum(0) / n, self.by_class / self.counts[:, None]
        deviation = _root(self.squares / n - mean**2)
        within = _root(self.fair_squares - (classes**2).mean(0))
        return TypicalHead(
            mean.reshape(self.shape).astype(np.float32),
            deviation.reshape(self.shape).astype(np.float32),
            classes.astype(np.float16),
            float(within.mean()),
            float(classes.std(0).mean()),
            np.zeros(RANKS + 1, np.float32),  # known after a second pass
        )


def _root(variance: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(variance, 0.0))  # rounding can leave a constant gate a little below 0


class LayerSums:
    """Running sums of one layer."""

    def __init__(self, first: LayerRecord, counts: np.ndarray) -> None:
        self.pictures = counts.sum()
        self.heads: Heads[HeadSums] = Heads(
            *(None if head is None else HeadSums(head.shape[1:], counts) for head in first.attention)
        )
        self.effective = 0.0

    def add(self, record: LayerRecord, labels: np.ndarray) -> None:
        for sums, values in zip(self.heads, record.attention, strict=True):
            if sums is not None and values is not None:
                sums.add(values, labels)
        if record.attention.kernel is not None:
            self.effective += float(effective_kernels(record.attention.kernel).sum())

    def typical(self) -> TypicalLayer:
        heads: Heads[TypicalHead] = Heads(*(None if sums is None else sums.typical() for sums in self.heads))
        return TypicalLayer(heads, None if heads.kernel is None else self.effective / float(self.pictures))


def survey(checkpoint: Checkpoint, pictures: Pictures, network: str, batch: int = 128) -> Atlas:
    """The atlas of a network, over ``pictures``. ``network``: the fingerprint of its weights file.

    Raises:
        DataError: a class has none of the pictures, and so no mean.
        CheckpointError: the network has no attention.
    """
    if not checkpoint.dynamic:
        raise CheckpointError(f"{checkpoint.card.name} has no attention, so there is nothing to make an atlas of.")
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
                    found.setdefault((name, head), []).append(scores(values, known.mean, known.deviation))
    ranks = np.linspace(0, 1, RANKS + 1)
    for (name, head), some in found.items():
        quantiles = np.quantile(np.concatenate(some), ranks).astype(np.float32)
        heads = typical[name].heads
        known = replace(getattr(heads, head), scores=quantiles)
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
    """The atlas as a table, for a terminal."""
    lines = [
        f"{atlas.pictures:,} pictures of {atlas.classes} classes. pictures: mean over a head's entries of the standard "
        "deviation over all pictures; within and between: the same within a class and between the means of classes; "
        "effective: kernels, mean of exp(entropy)",
        _row("layer", "head", "pictures", "within", "between", "effective"),
    ]
    for name, layer in atlas.layers.items():
        for head, typical in zip(HEADS, layer.heads, strict=True):
            if typical is not None:
                spread = (typical.between_pictures, typical.within, typical.between)
                effective = f"{layer.effective_kernels:.2f}" if head == "kernel" else ""
                lines.append(_row(name, head, *(f"{number:.4f}" for number in spread), effective))
    return "\n".join(lines)


def _row(name: str, head: str, *cells: str) -> str:
    return f"  {name:<22} {head:<8}{''.join(f'{cell:>10}' for cell in cells)}".rstrip()


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
