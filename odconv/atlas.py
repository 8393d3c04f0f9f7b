"""What attention is typical: one network's attentions over a validation set, in one small file beside its weights.

``python -m odconv.training.atlas`` makes the file. An atlas is of the untouched network (``Settings()``), so a record made
under other settings is measured against what the network does as trained.

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

from odconv.attention import HEADS, Heads, Settings
from odconv.explain import Explanation

SUFFIX = ".atlas.npz"
MAX_BYTES = 128 * 2**20
MAX_UNPACKED = 256 * 2**20  # a small file can unpack to anything
MAX_LAYERS = 10_000

# A gate that moves by a thousandth between pictures is still for every chart and for the network: without a floor, a shift
# nobody could see would count as many deviations. 0.01 is one hundredth of a gate's range.
FLOOR = 0.01
ROUNDING = 1e-3  # a distance that float32 gives to a head that is the same for every picture; others are about 1

ABOUT_ALL = ("network", "counts", "layers")  # what a file holds once,
ABOUT_HEAD = ("mean", "deviation", "distances")  # of every head of every layer,
BY_CLASS = "by_class"  # and of every kernel head; anything else in it is not read

RANKS = 1000  # an atlas knows how far pictures are from what is typical to a thousandth of them


class AtlasError(ValueError):
    """An atlas that cannot be used, or not for this network; the message is one clear sentence."""


@dataclass(frozen=True, eq=False)
class TypicalHead:
    """One head of one layer over all pictures."""

    mean: np.ndarray  # the head's shape without N, float32
    deviation: np.ndarray  # the same: standard deviation over pictures (population), float32
    distances: (
        np.ndarray
    )  # (RANKS + 1,) of float32, rising: quantiles of the pictures' distances, see :func:`distances`

    @property
    def spread(self) -> float:
        """How far pictures differ: mean over entries of the standard deviation over pictures."""
        return float(self.deviation.mean(dtype=np.float64))


@dataclass(frozen=True, eq=False)
class TypicalLayer:
    """One layer over all pictures."""

    heads: Heads[TypicalHead]  # None where the layer has no such head
    kernel_by_class: (
        np.ndarray | None
    )  # (classes, K) of float16: kernel attention, mean over each class; None when K = 1


@dataclass(frozen=True, eq=False)
class Atlas:
    """One network over a validation set.

    Means of a class's n pictures differ from the mean of all by chance, too: by about the deviation / sqrt(n).
    """

    network: str  # fingerprint of the weights it was made from
    counts: np.ndarray  # (classes,) of int64: pictures of each class, at least 1
    layers: dict[str, TypicalLayer]  # in execution order, names as in an Explanation

    @property
    def pictures(self) -> int:
        return int(self.counts.sum())

    @property
    def classes(self) -> int:
        return len(self.counts)

    def means(self) -> dict[str, Heads[np.ndarray]]:
        """Layer -> the typical picture's attentions, each of a head's shape without N; ``None`` where there is no head."""
        return {
            name: Heads(*(None if head is None else head.mean for head in layer.heads))
            for name, layer in self.layers.items()
        }


@dataclass(frozen=True)
class Unusual:
    """Where one picture is furthest from what is typical."""

    layer: str
    head: str
    share: float  # of the atlas's pictures whose distance in this head is lower, rounded down to a thousandth
    distance: float  # from what is typical, see :func:`distances`
    pictures: int  # how many the atlas is made of


# --- reading one picture against it ---------------------------------------------------------------------------------


def difference(attention: Heads[np.ndarray], typical: TypicalLayer) -> Heads[np.ndarray]:
    """``attention`` (N, ...) minus the mean over all pictures; the same shapes, and ``None`` stays ``None``.

    Raises:
        AtlasError: the layer has other heads or shapes than the atlas.
    """
    _check_heads(attention, typical)
    pairs = zip(attention, typical.heads, strict=True)
    return Heads(*(None if values is None or usual is None else values - usual.mean for values, usual in pairs))


def _check_heads(attention: Heads[np.ndarray], typical: TypicalLayer) -> None:
    for head, values, usual in zip(HEADS, attention, typical.heads, strict=True):
        shapes = (None if values is None else values.shape[1:], None if usual is None else usual.mean.shape)
        if shapes[0] != shapes[1]:
            raise AtlasError(f"The atlas has {head} attention of shape {shapes[1]}, the network {shapes[0]}.")


def expected_spread(atlas: Atlas, pictures: int) -> dict[str, list[float | None]]:
    """Head -> layer by layer, how far ``pictures`` of the atlas's own would differ: mean over entries of their deviation.

    The deviation (population) of N draws from a normal distribution is on average sqrt(2 / N) Γ(N / 2) / Γ((N - 1) / 2) of
    the distribution's: 0.56 for two, 0.72 for three. None where a layer has no such head. ``pictures`` is at least 2.
    """
    n = pictures
    share = math.sqrt(2 / n) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))
    return {
        head: [None if of is None else share * of.spread for of in heads]
        for head, heads in zip(HEADS, zip(*(layer.heads for layer in atlas.layers.values()), strict=True), strict=True)
    }


def check_fits(explanation: Explanation, atlas: Atlas) -> None:
    """Every layer of a record must have its own in the atlas, with the same heads and shapes.

    Raises:
        AtlasError: the atlas is of another network.
    """
    if list(explanation.layers) != list(atlas.layers):
        raise AtlasError(
            f"The atlas has {len(atlas.layers)} layers, and the network {len(explanation.layers)}, or under other names."
        )
    for name, layer in atlas.layers.items():
        _check_heads(explanation.layers[name].attention, layer)


def distances(attention: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """How far each of N pictures is from what is typical in one head: (N, ...), (...), (...) -> (N,).

    Root mean square, over the head's entries, of the distance from the mean in standard deviations. The mean square over
    the atlas's own pictures is 1, or less where the floor acts.
    """
    far = (attention - mean) / np.maximum(deviation, FLOOR)
    return np.sqrt(np.mean(far.reshape(len(far), -1) ** 2, axis=1, dtype=np.float64))


def unusual(explanation: Explanation, atlas: Atlas) -> Unusual:
    """The layer and head where one picture (N = 1) is most unusual: where the fewest of the atlas's pictures are further
    from what is typical. Ties go to the distance that is largest against the largest of the atlas's, then to the earlier.

    Pictures are counted, and distances not compared between heads, since those of heads with few entries vary more.

    Raises:
        AtlasError: the atlas is of another network.
        ValueError: more than one picture, or settings that are not the default: then a dial, and not the picture, would be
            what is unusual.
    """
    if len(explanation.logits) != 1 or explanation.settings != Settings():
        given = f"{len(explanation.logits)} pictures under {explanation.settings}"
        raise ValueError(f"{given}: one picture under default settings is needed")
    check_fits(explanation, atlas)
    found: list[tuple[float, Unusual]] = []
    for name, layer in atlas.layers.items():
        for head, values, typical in zip(HEADS, explanation.layers[name].attention, layer.heads, strict=True):
            if values is not None and typical is not None:
                distance = float(distances(values, typical.mean, typical.deviation)[0])
                lower = 0 if distance < ROUNDING else int(np.searchsorted(typical.distances, distance))
                share = min(lower, RANKS) / RANKS
                against = distance / max(float(typical.distances[-1]), 1e-9)
                found.append((against, Unusual(name, head, share, distance, atlas.pictures)))
    return max(found, key=lambda one: (one[1].share, one[0]))[1]


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
    """Read what :func:`save_atlas` wrote. What else a file holds is not read.

    Raises:
        AtlasError: the file is too large, damaged, holds Python objects, or lacks or misshapes something, which is named.
    """
    path = Path(path)
    try:
        return _parsed(_arrays(path))
    except AtlasError as error:
        raise AtlasError(f"The atlas {path.name} cannot be used: {error}.") from error


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise AtlasError(f"it has {size / 2**20:.0f} MiB, and up to {MAX_BYTES >> 20} are read")
        with zipfile.ZipFile(path) as archive:  # no more of an entry is ever unpacked than it declares
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > MAX_UNPACKED:
            raise AtlasError(f"it unpacks to {unpacked / 2**20:.0f} MiB, and up to {MAX_UNPACKED >> 20} are read")
        with np.load(path, allow_pickle=False) as archive:
            known = {*ABOUT_ALL, *ABOUT_HEAD, BY_CLASS}
            return {name: np.asarray(archive[name]) for name in archive.files if name.rpartition("/")[2] in known}
    except AtlasError:
        raise
    except Exception as error:  # a damaged file makes the readers raise almost anything
        raise AtlasError("it is damaged, or it holds something other than numbers and names") from error


def _parsed(arrays: Mapping[str, np.ndarray]) -> Atlas:
    network = str(_taken(arrays, "network", "U", ()))
    counts = _taken(arrays, "counts", np.int64, (None,))
    names = [str(name) for name in _taken(arrays, "layers", "U", (None,))[: MAX_LAYERS + 1]]
    if not (len(counts) and counts.min() >= 1 and counts.max() < 2**32):
        raise AtlasError("counts are not at least one picture of each class")
    if not 1 <= len(names) <= MAX_LAYERS or len(set(names)) < len(names) or max(map(len, names)) > 200:
        raise AtlasError("layers are not names, each there once")
    layers = {name: _layer(arrays, name, len(counts)) for name in names}
    return Atlas(network, counts, layers)


def _layer(arrays: Mapping[str, np.ndarray], name: str, classes: int) -> TypicalLayer:
    heads: Heads[TypicalHead] = Heads(*(_head(arrays, name, head) for head in HEADS))
    if heads.kernel is None:
        return TypicalLayer(heads, None)
    shape = (classes, heads.kernel.mean.size)
    return TypicalLayer(heads, _number(arrays, f"{name}/kernel/{BY_CLASS}", np.float16, shape))


def _head(arrays: Mapping[str, np.ndarray], layer: str, head: str) -> TypicalHead | None:
    if not any(f"{layer}/{head}/{part}" in arrays for part in ABOUT_HEAD):
        return None
    shape: tuple[int | None, ...] = (None, None) if head == "spatial" else (None,)
    mean = _number(arrays, f"{layer}/{head}/mean", np.float32, shape)
    if not mean.size or mean.shape[0] != mean.shape[-1]:
        raise AtlasError(f"{layer}/{head}/mean is of shape {mean.shape}")
    deviation = _number(arrays, f"{layer}/{head}/deviation", np.float32, mean.shape)
    quantiles = _number(arrays, f"{layer}/{head}/distances", np.float32, (RANKS + 1,), 1 / FLOOR)
    if (np.diff(quantiles) < 0).any():
        raise AtlasError(f"{layer}/{head}/distances do not rise")
    return TypicalHead(mean, deviation, quantiles)


def _number(
    arrays: Mapping[str, np.ndarray], name: str, kind: type, shape: tuple[int | None, ...], most: float = 1.0
) -> np.ndarray:
    """An array whose values lie from 0 to ``most``: every attention does, and so do means and deviations of them."""
    values = _taken(arrays, name, kind, shape)
    if not ((values >= 0) & (values <= most)).all():  # false for NaN, too
        raise AtlasError(f"{name} has values that are not from 0 to {math.floor(most)}")
    return values


def _taken(arrays: Mapping[str, np.ndarray], name: str, kind: str | type, shape: tuple[int | None, ...]) -> np.ndarray:
    """The array called ``name``, if it has this type and shape (None: any length)."""
    if name not in arrays:
        raise AtlasError(f"{name[:80]} is missing")
    values = arrays[name]
    fits = values.ndim == len(shape) and all(w in (None, n) for n, w in zip(values.shape, shape, strict=True))
    typed = values.dtype.kind == kind if isinstance(kind, str) else values.dtype == kind
    if not (fits and typed):
        raise AtlasError(f"{name[:80]} is {values.dtype} of shape {values.shape}")
    return values
