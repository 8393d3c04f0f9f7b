"""A folder of pictures -> one memory-mapped array -> batches, each picture a little different in every epoch.

Pictures are decoded once, through the checks of ``odconv.images``; later runs open the array at once. Everything random
comes from :func:`stream`, which is seeded by what it is for and when, so a resumed run draws what it would have drawn.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from odconv import images

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
ANNOTATIONS = "val_annotations.txt"  # of Tiny-ImageNet
LAYOUT = "train/<class>/ and val/<class>/ with pictures, or Tiny-ImageNet's own layout, are needed"

Split = Literal["train", "val"]
Examples = tuple[tuple[Path, int], ...]


class DataError(ValueError):
    """A data set that cannot be used; the message is one clear sentence."""


@dataclass(frozen=True)
class Dataset:
    """What a folder of pictures holds; nothing is decoded yet."""

    folder: Path
    ids: tuple[str, ...]  # names of the class folders, sorted; the place is the label
    names: tuple[str, ...]  # the same classes in words, from words.txt where there is one
    train: Examples  # (path, label)
    val: Examples

    def digest(self, split: Split) -> str:
        """A short name for the list of files, their sizes in bytes and their labels."""
        known = hashlib.sha256()
        for path, label in getattr(self, split):
            known.update(f"{path.relative_to(self.folder).as_posix()}\t{path.stat().st_size}\t{label}\n".encode())
        return known.hexdigest()[:16]


@dataclass(frozen=True)
class Pictures:
    """Decoded pictures of one split."""

    pixels: np.ndarray  # (N, S, S, 3) of uint8, memory-mapped and read-only
    labels: np.ndarray  # (N,) of int64
    names: tuple[str, ...]  # of the classes

    def __len__(self) -> int:
        return len(self.labels)

    def evenly_spaced(self, most: int) -> Pictures:
        """At most ``most`` of the pictures, from the first to the last, since a split may be sorted by class."""
        chosen = np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(np.int64)
        return Pictures(self.pixels[chosen], self.labels[chosen], self.names)


# --- finding ----------------------------------------------------------------------------------------------------------


def find_dataset(folder: Path) -> Dataset:
    """The data set in ``folder``: ``train/<class>/*`` and ``val/<class>/*``, or Tiny-ImageNet-200 as it is unpacked.

    Raises:
        DataError: something is missing or does not fit; it is named.
    """
    train, val = folder / "train", folder / "val"
    for needed in (folder, train, val):
        if not needed.is_dir():
            raise DataError(f"There is no folder {needed}: {LAYOUT}.")
    ids = _list_classes(train)
    if len(ids) < 2:
        raise DataError(f"{train} holds {len(ids)} class folders; at least 2 are needed: {LAYOUT}.")
    annotated = (val / ANNOTATIONS).is_file()
    found = {train: _by_class(train, ids), val: _annotated(val, ids) if annotated else _by_class(val, ids)}
    for split, examples in found.items():
        if empty := set(range(len(ids))) - {label for _, label in examples}:
            raise DataError(f"Class {ids[min(empty)]} has no {', '.join(ENDINGS)} files in {split}.")
    words = {row[0]: row[1].strip() for row in _read_table(folder / "words.txt")}
    return Dataset(folder, ids, tuple(words.get(name) or name for name in ids), *found.values())


def find_pictures(folder: Path, most: int, without: Collection[str] = ()) -> Dataset:
    """The pictures in ``folder/<class>/``, all for validation: of each class at most ``most``, from the first to the last.

    ``without``: classes that are left out.

    Raises:
        DataError: there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.")
    ids = tuple(name for name in _list_classes(folder) if name not in without)
    examples: list[tuple[Path, int]] = []
    for label, name in enumerate(ids):
        files = _list_pictures(folder / name)
        chosen = np.linspace(0, len(files) - 1, min(most, len(files))).round().astype(np.int64)
        examples += [(files[index], label) for index in chosen]
    if not examples:
        raise DataError(f"{folder} holds no folders with {', '.join(ENDINGS)} files, one for each class.")
    return Dataset(folder, ids, ids, (), tuple(examples))


def _list_classes(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))


def _list_pictures(folder: Path) -> list[Path]:
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if path.suffix.lower() in ENDINGS and not path.name.startswith("."))


def _by_class(split: Path, ids: Sequence[str]) -> Examples:
    """Pictures in a folder for each class; Tiny-ImageNet has a folder ``images`` in it."""
    if unknown := sorted(set(_list_classes(split)) - set(ids)):
        raise DataError(f"Class {unknown[0]} in {split} is unknown: train has no folder of that name.")
    folders = [split / name / "images" if (split / name / "images").is_dir() else split / name for name in ids]
    return tuple((path, label) for label, folder in enumerate(folders) for path in _list_pictures(folder))


def _annotated(val: Path, ids: Sequence[str]) -> Examples:
    """Tiny-ImageNet's validation pictures: one folder, and a table of file name, class and bounding box."""
    table, pictures = val / ANNOTATIONS, {path.name: path for path in _list_pictures(val / "images")}
    examples = []
    for name, wanted, *_ in _read_table(table):
        if wanted not in ids or name not in pictures:
            raise DataError(f"{table} lists {name!r} of class {wanted!r}; the picture or the class is not there.")
        examples.append((pictures[name], ids.index(wanted)))
    return tuple(examples)


def _read_table(path: Path) -> list[list[str]]:
    """Lines of text with a tab or more, in cells; none where there is no file."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return [line.split("\t") for line in text.splitlines() if "\t" in line]


# --- decoding ---------------------------------------------------------------------------------------------------------


def load_pictures(dataset: Dataset, split: Split, size: int, cache: Path, resize: int | None = None) -> Pictures:
    """The pictures of one split as an array of bytes in a file of the folder ``cache``, made there at the first call.

    ``size``: side of the centre crop, px; ``resize``: what the shorter side becomes before it, px; None: ``size``.

    Raises:
        DataError: a picture that cannot be read, which is named; no room or no permission for the file.
    """
    examples: Examples = getattr(dataset, split)
    path = cache / f"{split}_{size}px_of_{resize or size}px_{dataset.digest(split)}.npy"
    if not path.is_file():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            write_whole(path, lambda new: _decode(examples, size, resize or size, new))
        except OSError as error:
            raise DataError(f"Decoded pictures cannot be written to {cache}: {error.strerror}.") from error
    return Pictures(np.load(path, mmap_mode="r"), np.array([label for _, label in examples]), dataset.names)


def _decode(examples: Examples, size: int, resize: int, path: Path) -> None:
    with path.open("wb") as file:  # not through a memory map: there, a full disk ends the process without a word
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(examples), size, size, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        for picture, _ in tqdm(examples, "Decoding", mininterval=1):
            try:
                pixels = np.asarray(images.crop(images.decode(picture.read_bytes()), size, resize))
            except (images.PictureError, OSError) as error:
                raise DataError(f"The picture {picture} cannot be used. {error}") from error
            file.write(pixels.tobytes())


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """``write`` a file under another name first, so that it is there whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(unfinished)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


# --- batches ----------------------------------------------------------------------------------------------------------


class Purpose(IntEnum):
    """What randomness is for. The numbers make a run repeatable: never change one."""

    ORDER, AUGMENTATION, SETTINGS, DROPPING = range(4)


def stream(seed: int, *purpose: int) -> np.random.Generator:
    """A source of randomness of its own for each seed and purpose, such as (order, epoch) or (augmentation, step)."""
    return np.random.default_rng((seed, *purpose))


def batches(pictures: Pictures, order: np.ndarray, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pixels (size, S, S, 3) of uint8 and labels (size,), in ``order``; whole batches only."""
    for chosen in order[: len(order) // size * size].reshape(-1, size):
        yield torch.from_numpy(pictures.pixels[chosen]), torch.from_numpy(pictures.labels[chosen])


def prepare_batch(pixels: Tensor, size: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pixels (N, S, S, 3) of uint8 -> model input (N, 3, size, size): scaled with antialiasing, minus mean, over std."""
    x = pixels.permute(0, 3, 1, 2).float() / 255  # (N, 3, S, S)
    x = (x - x.new_tensor(mean)[:, None, None]) / x.new_tensor(std)[:, None, None]
    if size == x.shape[-1]:
        return x
    return F.interpolate(x, (size, size), mode="bilinear", antialias=True)  # (N, 3, size, size)


def augment(x: Tensor, random: np.random.Generator, shift: float, zoom: float = 1.0) -> Tensor:
    """Each picture of (N, C, S, S) mirrored or not, moved and enlarged, as ``random`` says; same shape.

    ``shift``: the most it moves, as a fraction of the side, in whole pixels. ``zoom``: the most it is enlarged, about any
    point; 1 for not at all. What would lie beyond an edge is mirrored there.
    """
    count, side = len(x), x.shape[-1]
    scale = 1 / random.uniform(1, zoom, count)
    reach = int(side * shift)
    moves = random.integers(-reach, reach + 1, (count, 2)) * (2 / side)  # the grid runs from -1 to 1
    moves = moves + random.uniform(-1, 1, (count, 2)) * (1 - scale)[:, None]
    theta = np.zeros((count, 2, 3), np.float32)
    theta[:, 0, 0] = scale * random.choice((-1, 1), count)
    theta[:, 1, 1] = scale
    theta[:, :, 2] = moves
    grid = F.affine_grid(torch.from_numpy(theta).to(x.device), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
