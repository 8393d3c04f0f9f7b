"""An atlas: the typical attention of one network over a validation set, and the file beside its weights that holds it.

``python -m odconv.training.atlas`` makes the file. An atlas is made with the network as trained (``Settings()``);
``odconv.unusual`` checks that one fits a network.

A file is untrusted, as weights are: it is read without pickle, up to a size, and every name, shape and number is checked.
"""

from __future__ import annotations

import hashlib
import math
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from odconv.attention import HEADS, Heads

SUFFIX = ".atlas.npz"
MAX_BYTES = 128 * 2**20
MAX_UNPACKED = 256 * 2**20  # a small file can unpack to anything
MAX_LAYERS = 10_000

# A gate that moves by a thousandth between pictures is still for every chart and for the network: without a floor, a shift
# nobody could see would count as many deviations. 0.01 is one hundredth of a gate's range.
FLOOR = 0.01
RANKS = 1000  # the distances of all pictures are kept as this many quantiles and one

# The arrays in a file; any other is not read.
ABOUT_ALL = ("network", "counts", "layers")  # once
ABOUT_HEAD = ("mean", "deviation", "distances")  # for every head of every layer
BY_CLASS = "by_class"  # for every kernel head


class AtlasError(ValueError):
    """An atlas that cannot be used, or not for this network; the message is one clear sentence."""


@dataclass(frozen=True, eq=False)
class TypicalHead:
    """One head of one layer over all pictures."""

    mean: np.ndarray  # the head's shape without N, float32
    deviation: np.ndarray  # the same shape: standard deviation over pictures (population), float32
    distances: np.ndarray  # (RANKS + 1,) float32, rising: quantiles of the pictures' ``distances`` from the mean

    @property
    def spread(self) -> float:
        """How far pictures differ: mean over entries of the standard deviation over pictures."""
        return float(self.deviation.mean(dtype=np.float64))


@dataclass(frozen=True, eq=False)
class TypicalLayer:
    """One layer over all pictures."""

    heads: Heads[TypicalHead]  # None where the layer has no such head
    kernel_by_class: np.ndarray | None  # (classes, K) float16: kernel attention, mean over each class; None when K = 1


@dataclass(frozen=True, eq=False)
class Atlas:
    """The typical attention of one network over a validation set.

    The mean over the n pictures of a class differs from the mean over all by chance, too: by about deviation / sqrt(n).
    """

    network: str  # fingerprint of the weights it was made from
    counts: np.ndarray  # (classes,) of int64: pictures of each class, at least 1
    layers: dict[str, TypicalLayer]  # in execution order, names as in an Explanation

    @property
    def tells_classes_apart(self) -> bool:
        """Whether the means over classes say something of classes: one picture alone says how it differs from all others."""
        return bool(self.counts.min() > 1)

    @property
    def pictures(self) -> int:
        """How many pictures the atlas was made from."""
        return int(self.counts.sum())

    @property
    def classes(self) -> int:
        """How many classes they are of."""
        return len(self.counts)

    def means(self) -> dict[str, Heads[np.ndarray]]:
        """Layer -> the typical picture's attentions, each of a head's shape without N; ``None`` where there is no head."""
        return {
            name: Heads(*(None if head is None else head.mean for head in layer.heads))
            for name, layer in self.layers.items()
        }


def distances(attention: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """How far each of N pictures is from the mean in one head, in standard deviations.

    The root mean square over the head's entries. Its mean square over the atlas's own pictures is 1, or less where
    ``FLOOR`` replaces a smaller deviation.

    Args:
        attention: (N, ...), one head of one layer.
        mean: (...), over the atlas's pictures.
        deviation: (...), over the atlas's pictures.

    Returns:
        (N,) float64.
    """
    far = (attention - mean) / np.maximum(deviation, FLOOR)
    return np.sqrt(np.mean(far.reshape(len(far), -1) ** 2, axis=1, dtype=np.float64))


# --- files ----------------------------------------------------------------------------------------------------------


def fingerprint(weights: str | Path) -> str:
    """What an atlas knows its network by: the first 16 hex digits of the SHA-256 of the weights file."""
    with open(weights, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def atlas_path(weights: str | Path) -> Path:
    """Where the atlas of a weights file lies: ``net.safetensors`` -> ``net.atlas.npz``."""
    return Path(weights).with_suffix(SUFFIX)


def atlas_beside(weights: str | Path) -> Atlas | None:
    """The atlas beside a weights file; ``None`` where there is none.

    Raises:
        AtlasError: it cannot be read, or it was made from other weights.
    """
    path = atlas_path(weights)
    if not path.is_file():
        return None
    atlas = load_atlas(path)
    if atlas.network != fingerprint(weights):
        raise AtlasError(f"{path.name} was made from other weights than {Path(weights).name}; make it again.")
    return atlas


def save_atlas(atlas: Atlas, path: str | Path) -> None:
    """Write ``atlas`` as compressed NPZ, under a temporary name until it is complete.

    ``network``, ``counts``, ``layers`` (names, in execution order), and for every layer and head that exists
    ``<layer>/<head>/mean``, ``/deviation`` and ``/distances``; where there is a kernel head, ``<layer>/kernel/by_class``.
    """
    arrays: dict[str, Any] = {
        "network": np.array(atlas.network),
        "counts": atlas.counts.astype(np.int64),
        "layers": np.array(list(atlas.layers)),
    }
    for name, layer in atlas.layers.items():
        if layer.kernel_by_class is not None:
            arrays[f"{name}/kernel/{BY_CLASS}"] = layer.kernel_by_class.astype(np.float16)
        for head, typical in zip(HEADS, layer.heads, strict=True):
            if typical is not None:
                for part in ABOUT_HEAD:
                    arrays[f"{name}/{head}/{part}"] = getattr(typical, part).astype(np.float32)
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(unfinished, "wb") as file:
            np.savez_compressed(file, **arrays)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def load_atlas(path: str | Path) -> Atlas:
    """Read a file that :func:`save_atlas` wrote. Arrays of other names are not read.

    Raises:
        AtlasError: the file is too large, damaged, holds Python objects, or lacks or misshapes something, which is named.
    """
    path = Path(path)
    try:
        return _parse(_read_arrays(path))
    except AtlasError as error:
        raise AtlasError(f"The atlas {path.name} cannot be used: {error}.") from error


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise AtlasError(f"it has {size / 2**20:.0f} MiB, and up to {MAX_BYTES >> 20} are read")
        with zipfile.ZipFile(path) as archive:  # no more of an entry is ever unpacked than it declares
            entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if len({entry.filename for entry in entries}) < len(entries):  # the last of them would be unpacked for each
            raise AtlasError("an array is there twice")
        if unpacked > MAX_UNPACKED:
            raise AtlasError(f"it unpacks to {unpacked / 2**20:.0f} MiB, and up to {MAX_UNPACKED >> 20} are read")
        with np.load(path, allow_pickle=False) as archive:
            known = {*ABOUT_ALL, *ABOUT_HEAD, BY_CLASS}
            return {name: np.asarray(archive[name]) for name in archive.files if name.rpartition("/")[2] in known}
    except AtlasError:
        raise
    except Exception as error:  # a damaged file makes the readers raise almost anything
        raise AtlasError("it is damaged, or it holds something other than numbers and names") from error


def _parse(arrays: Mapping[str, np.ndarray]) -> Atlas:
    network = str(_array(arrays, "network", "U", ()))
    counts = _array(arrays, "counts", np.int64, (None,))
    names = [str(name) for name in _array(arrays, "layers", "U", (None,))[: MAX_LAYERS + 1]]
    if not (len(counts) and counts.min() >= 1 and counts.max() < 2**32):
        raise AtlasError("counts are not at least one picture of each class")
    if not 1 <= len(names) <= MAX_LAYERS or len(set(names)) < len(names) or max(map(len, names)) > 200:
        raise AtlasError("layers are not names, each there once")
    layers = {name: _parse_layer(arrays, name, len(counts)) for name in names}
    return Atlas(network, counts, layers)


def _parse_layer(arrays: Mapping[str, np.ndarray], name: str, classes: int) -> TypicalLayer:
    heads: Heads[TypicalHead] = Heads(*(_parse_head(arrays, name, head) for head in HEADS))
    if heads.kernel is None:
        return TypicalLayer(heads, None)
    shape = (classes, heads.kernel.mean.size)
    return TypicalLayer(heads, _fractions(arrays, f"{name}/kernel/{BY_CLASS}", np.float16, shape))


def _parse_head(arrays: Mapping[str, np.ndarray], layer: str, head: str) -> TypicalHead | None:
    if not any(f"{layer}/{head}/{part}" in arrays for part in ABOUT_HEAD):
        return None
    shape: tuple[int | None, ...] = (None, None) if head == "spatial" else (None,)
    mean = _fractions(arrays, f"{layer}/{head}/mean", np.float32, shape)
    if not mean.size or mean.shape[0] != mean.shape[-1]:
        raise AtlasError(f"{layer}/{head}/mean is of shape {mean.shape}")
    deviation = _fractions(arrays, f"{layer}/{head}/deviation", np.float32, mean.shape)
    quantiles = _fractions(arrays, f"{layer}/{head}/distances", np.float32, (RANKS + 1,), 1 / FLOOR)
    if (np.diff(quantiles) < 0).any():
        raise AtlasError(f"{layer}/{head}/distances do not rise")
    return TypicalHead(mean, deviation, quantiles)


def _fractions(
    arrays: Mapping[str, np.ndarray], name: str, kind: type, shape: tuple[int | None, ...], most: float = 1.0
) -> np.ndarray:
    """The array called ``name``, checked: attentions lie from 0 to 1, and so do their means and deviations.

    Raises:
        AtlasError: it is missing, of another type or shape, or a value is not from 0 to ``most``.
    """
    values = _array(arrays, name, kind, shape)
    if not ((values >= 0) & (values <= most)).all():  # false for NaN, too
        raise AtlasError(f"{name} has values that are not from 0 to {math.floor(most)}")
    return values


def _array(arrays: Mapping[str, np.ndarray], name: str, kind: str | type, shape: tuple[int | None, ...]) -> np.ndarray:
    """The array called ``name``, checked. ``kind``: its dtype, or "U" for text; ``None`` in ``shape``: any length.

    Raises:
        AtlasError: it is missing, or of another type or shape.
    """
    if name not in arrays:
        raise AtlasError(f"{name[:80]} is missing")
    values = arrays[name]
    fits = values.ndim == len(shape) and all(w in (None, n) for n, w in zip(values.shape, shape, strict=True))
    typed = values.dtype.kind == kind if isinstance(kind, str) else values.dtype == kind
    if not (fits and typed):
        raise AtlasError(f"{name[:80]} is {values.dtype} of shape {values.shape}")
    return values
