"""Parts of an atlas that are made apart and joined: sums over the pictures of a shard, and how far each of them is from the mean.

Sums are count, mean and sum of squared differences from it, in float64; two of them are merged by Chan, Golub and LeVeque, "Updating
formulae and a pairwise algorithm for computing sample variances", 1979. Shards are merged in their order, so that the same shards give
the same bits, wherever they were made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from io import BytesIO

import numpy as np

from odconv.atlas import RANKS, Atlas, TypicalHead, TypicalLayer, distances
from odconv.attention import HEADS, Heads
from odconv.training.data import DataError

Arrays = dict[str, np.ndarray]  # by "<layer>/<head>", in execution order and that of ``HEADS``


@dataclass(frozen=True, eq=False)
class Sums:
    """What the pictures of some shards add up to."""

    counts: np.ndarray  # (classes,) int64: pictures of each class
    means: Arrays  # of each head's shape without N, float64
    squares: Arrays  # the same: sums of squared differences from the mean
    kernels: Arrays  # of kernel heads: (classes, K) float64, sums of kernel attention


def add_up(attentions: Mapping[str, Heads[np.ndarray]], labels: np.ndarray, classes: int) -> Sums:
    """The sums over the N pictures of a shard, at least one. ``labels``: (N,)."""
    counts, means, squares, kernels = np.bincount(labels, minlength=classes), {}, {}, {}
    for name, values in _heads(attentions):
        means[name] = values.mean(0, np.float64)
        squares[name] = values.var(0, np.float64) * len(values)
        if name.endswith("/kernel"):
            kernels[name] = np.zeros((classes, values.shape[1]))
            np.add.at(kernels[name], labels, values)
    return Sums(counts, means, squares, kernels)


def merge(one: Sums, other: Sums) -> Sums:
    """The sums over the pictures of both.

    Raises:
        DataError: they are of different networks or classes.
    """
    if _shapes(one) != _shapes(other):
        raise DataError("Parts of different networks or data sets cannot be joined.")
    before, more = int(one.counts.sum()), int(other.counts.sum())
    means, squares = {}, {}
    for name, mean in one.means.items():
        apart = other.means[name] - mean
        means[name] = mean + apart * (more / (before + more))
        squares[name] = one.squares[name] + other.squares[name] + apart**2 * (before * more / (before + more))
    kernels = {name: sums + other.kernels[name] for name, sums in one.kernels.items()}
    return Sums(one.counts + other.counts, means, squares, kernels)


def merge_all(parts: Sequence[Sums]) -> Sums:
    """The sums over all, merged one after the other. Raises as ``merge``."""
    return reduce(merge, parts)


def typical(sums: Sums) -> tuple[Arrays, Arrays]:
    """Mean and standard deviation (population) of every head, as an atlas has them: float32."""
    count = int(sums.counts.sum())
    means = {name: mean.astype(np.float32) for name, mean in sums.means.items()}
    deviations = {name: np.sqrt(square / count).astype(np.float32) for name, square in sums.squares.items()}
    return means, deviations


def measure_distances(attentions: Mapping[str, Heads[np.ndarray]], sums: Sums) -> Arrays:
    """How far each of a shard's N pictures is from the mean over all, (N,) float64 for every head. ``sums``: over all."""
    means, deviations = typical(sums)
    return {name: distances(values, means[name], deviations[name]) for name, values in _heads(attentions)}


def finish(network: str, sums: Sums, far: Sequence[Arrays]) -> Atlas:
    """The atlas. ``sums``: over all pictures; ``far``: of each shard, in their order."""
    means, deviations = typical(sums)
    layers = {}
    for name in dict.fromkeys(name.rpartition("/")[0] for name in means):
        heads: list[TypicalHead | None] = []
        for key in (f"{name}/{head}" for head in HEADS):
            if key not in means:
                heads.append(None)
                continue
            quantiles = np.quantile(np.concatenate([part[key] for part in far]), np.linspace(0, 1, RANKS + 1))
            heads.append(TypicalHead(means[key], deviations[key], quantiles.astype(np.float32)))
        kernels = sums.kernels.get(f"{name}/kernel")
        by_class = None if kernels is None else (kernels / sums.counts[:, None]).astype(np.float16)
        layers[name] = TypicalLayer(Heads(*heads), by_class)
    return Atlas(network, sums.counts, layers)


def pack_sums(sums: Sums) -> bytes:
    """``sums`` as an NPZ file."""
    tables = {"mean": sums.means, "squares": sums.squares, "classes": sums.kernels}
    return pack(
        {"counts": sums.counts}
        | {f"{name}/{kind}": values for kind, table in tables.items() for name, values in table.items()}
    )


def unpack_sums(data: bytes) -> Sums:
    """The sums that :func:`pack_sums` packed. Raises as ``unpack``."""
    arrays = unpack(data)
    tables: dict[str, Arrays] = {"mean": {}, "squares": {}, "classes": {}}
    for name, values in arrays.items():
        head, _, kind = name.rpartition("/")
        if kind in tables:
            tables[kind][head] = values
    if "counts" not in arrays or list(tables["mean"]) != list(tables["squares"]):
        raise DataError("A part of an atlas is damaged.")
    return Sums(arrays["counts"], tables["mean"], tables["squares"], tables["classes"])


def pack(arrays: Arrays) -> bytes:
    """``arrays`` as an NPZ file, in their order."""
    file = BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def unpack(data: bytes) -> Arrays:
    """The arrays of an NPZ file; no Python objects are read.

    Raises:
        DataError: it is damaged.
    """
    try:
        with np.load(BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged file makes the readers raise almost anything
        raise DataError("A part of an atlas is damaged.") from error


def _heads(attentions: Mapping[str, Heads[np.ndarray]]) -> Iterable[tuple[str, np.ndarray]]:
    for layer, heads in attentions.items():
        for head, values in zip(HEADS, heads, strict=True):
            if values is not None:
                yield f"{layer}/{head}", values


def _shapes(sums: Sums) -> list[tuple[object, ...]]:
    tables = (sums.means, sums.squares, sums.kernels)
    return [(sums.counts.shape,), *((name, values.shape) for table in tables for name, values in table.items())]
