"""The pictures of all arms: one array of bytes on the device, and crops of it that are made there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from odconv.training.data import DataError, find_dataset, load_pictures
from odconv.training.recipe import MEAN, STD

TUNED_ON = 5000  # pictures at the end of a shuffled train split: what a recipe is tuned on


@dataclass(frozen=True)
class Split:
    """Pixels (N, S, S, 3) of uint8 and labels (N,) of int64, on one device."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Split:
        return Split(self.pixels.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Data:
    """What is trained on, and what is measured on."""

    train: Split
    measured: Split
    classes: int
    digest: str  # of all its bytes

    def to(self, device: torch.device) -> Data:
        return Data(self.train.to(device), self.measured.to(device), self.classes, self.digest)


def load(source: Path, side: int, classes: int, tune: bool, cache: Path | None = None) -> Data:
    """The first ``classes`` classes of a data set, pictures of ``side`` px.

    Args:
        source: a folder of pictures as ``odconv.training.data.find_dataset`` takes it, or an ``.npz`` file with the arrays
            train_pixels, train_labels, val_pixels and val_labels.
        tune: measure on the last ``TUNED_ON`` pictures of train, in an order of their own, and do not look at val.
        cache: folder for decoded pictures; None: ``source``/decoded.

    Raises:
        DataError: the data set cannot be used.
    """
    arrays = _from_file(source) if source.is_file() else _from_folder(source, side, cache or source / "decoded")
    if (found := arrays["train_pixels"].shape[1]) != side:
        raise DataError(f"{source} holds pictures of {found} px, not of {side}.")
    train, val = (
        _first_classes(arrays[f"{name}_pixels"], arrays[f"{name}_labels"], classes) for name in ("train", "val")
    )
    if tune:
        order = np.random.default_rng(0).permutation(len(train[1]))
        held = min(TUNED_ON, len(order) // 5)
        train, val = (
            (train[0][order[:-held]], train[1][order[:-held]]),
            (train[0][order[-held:]], train[1][order[-held:]]),
        )
    known = hashlib.sha256()
    for array in (*train, *val):
        known.update(np.ascontiguousarray(array))
    if len(found_labels := np.unique(train[1])) != classes:
        raise DataError(f"{source} holds {len(found_labels)} classes, not {classes}.")
    splits = (Split(torch.from_numpy(pixels), torch.from_numpy(labels)) for pixels, labels in (train, val))
    return Data(*splits, classes, known.hexdigest()[:16])


def _from_file(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def _from_folder(folder: Path, side: int, cache: Path) -> dict[str, np.ndarray]:
    dataset, arrays = find_dataset(folder), {}
    for split in ("train", "val"):
        pictures = load_pictures(dataset, split, side, cache)  # type: ignore[arg-type]
        arrays |= {f"{split}_pixels": pictures.pixels, f"{split}_labels": pictures.labels}
    return arrays


def _first_classes(pixels: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    chosen = np.flatnonzero(labels < classes)
    return pixels[chosen], labels[chosen].astype(np.int64)


def crop(pixels: Tensor, chosen: Tensor, moves: Tensor, mirrored: Tensor) -> Tensor:
    """Pictures of (M, S, S, 3), moved and mirrored, in one operation on their device; what lies beyond an edge is mirrored there.

    Args:
        chosen: (N,) which pictures.
        moves: (N, 2) down and right, by how many pixels, from -(S - 1) to S - 1.
        mirrored: (N,) of bool.
    """
    side = pixels.shape[1]
    each = torch.arange(side, device=pixels.device)
    rows, columns = (_reflect(each + moves[:, axis, None], side) for axis in (0, 1))  # (N, S)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    return pixels[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]  # (N, S, S, 3)


def _reflect(places: Tensor, side: int) -> Tensor:
    return (side - 1) - ((side - 1) - places.abs()).abs()


class Normalize:
    """Pixels (N, S, S, 3) of uint8 -> model input (N, 3, S, S): scaled to 0..1, minus mean, over std.

    Its numbers are on the device already: to bring them there in each step would make the step wait.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.mean, self.std = (torch.tensor(three, dtype=dtype, device=device) * 255 for three in (MEAN, STD))

    def __call__(self, pixels: Tensor) -> Tensor:
        return ((pixels.to(self.mean.dtype) - self.mean) / self.std).permute(0, 3, 1, 2).contiguous()
