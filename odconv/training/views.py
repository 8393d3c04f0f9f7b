"""Views for distillation: random crops of pictures, how the frozen part of a network sees them, and what teachers say.

    python -m odconv.training.views --network FILE [--teachers FILE ...] --out DIR --sets 100 \\
        --pictures 0.4=../imagenette 0.35=../caltech101 0.25=../tiny-imagenet-200

The beginning of an EfficientNet-Lite has no dynamic convolutions and is not trained, and neither are the teachers, so both run
once for each view. A set is one file with some thousand views; training makes several passes over each. Sets can be made while
training runs, and a command that was stopped goes on with the first set that is missing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from enum import IntEnum
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageEnhance
from safetensors.torch import load_file, save_file
from torch import Tensor

from odconv import images
from odconv.backbones import EfficientNetLite
from odconv.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from odconv.training.data import DataError, find_dataset, find_pictures, prepare_batch, stream, write_whole

SIDE = 260  # px, of a view; each network gets it in its own size
AREA = (0.25, 1.0)  # of the picture, in a crop
RATIO = 4 / 3  # the most that a crop is wider than high, or higher than wide
COLOUR = 0.4  # the most that brightness, contrast and saturation change, as a fraction
GREY = 0.05  # share of the views without colour
MIXED = 0.2  # share of the views that are a blend of two
MOST = 60  # pictures of one class, of folders that have no split
HELD_OUT = 10  # of those, every so many-th picture of a class is held out
AT_ONCE = 32


class Purpose(IntEnum):
    """What randomness is for, beside ``odconv.training.data.Purpose``."""

    CHOICE, VIEW = range(100, 102)


class Views(NamedTuple):
    """One set, in no order."""

    features: Tensor  # (N, C, H, W) of float16, from ``EfficientNetLite.begin``
    logits: Tensor  # (N, teachers, classes) of float16; the first teacher is the network itself


def find_files(folder: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Pictures to train with, and pictures that are held out: ``train`` and ``val``, or every tenth of each class.

    Raises:
        DataError: there are none.
    """
    if (folder / "train").is_dir():
        dataset = find_dataset(folder)
        return tuple(path for path, _ in dataset.train), tuple(path for path, _ in dataset.val)
    examples = find_pictures(folder, MOST).val
    place = {path: i for i, (path, _) in enumerate(examples)}
    held = {path for path, i in place.items() if i % HELD_OUT == HELD_OUT - 1}
    return tuple(path for path in place if path not in held), tuple(held)


def choose(pools: Sequence[Sequence[Path]], shares: Sequence[float], count: int, seed: int, number: int) -> list[Path]:
    """The ``count`` pictures of set ``number``, from each pool its share, none twice as long as the pool has enough."""
    random = stream(seed, Purpose.CHOICE, number)
    ends = np.round(np.cumsum(shares) / sum(shares) * count).astype(int)
    counts = np.diff(ends, prepend=0)
    chosen = [random.choice(len(pool), n, replace=n > len(pool)) for pool, n in zip(pools, counts, strict=True)]
    return [pool[i] for pool, some in zip(pools, chosen, strict=True) for i in some]


def make_view(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """A crop of an RGB picture, of any place, size and shape, mirrored or not, with other colours; ``SIDE`` px."""
    width, height = picture.size
    area = width * height * random.uniform(*AREA)
    ratio = RATIO ** random.uniform(-1, 1)
    wide, high = min(width, (area * ratio) ** 0.5), min(height, (area / ratio) ** 0.5)
    left, top = random.uniform(0, width - wide), random.uniform(0, height - high)
    box = (left, top, left + wide, top + high)
    view = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)
    if random.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        view = change(view).enhance(random.uniform(1 - COLOUR, 1 + COLOUR))
    return view.convert("L").convert("RGB") if random.random() < GREY else view


def make_pixels(files: Sequence[Path], number: int, first: int, count: int, seed: int) -> np.ndarray:
    """Views ``first`` to ``first + count`` of a set, (count, SIDE, SIDE, 3) of uint8."""
    views = []
    for i in range(first, first + count):
        random = stream(seed, Purpose.VIEW, number, i)
        view = make_view(_open(files[i]), random)
        if random.random() < MIXED:
            other = make_view(_open(files[int(random.integers(len(files)))]), random)
            view = Image.blend(view, other, random.uniform(0, 0.5))
        views.append(np.asarray(view))
    return np.stack(views)


@contextmanager
def mapping(workers: int) -> Iterator[Callable[..., Iterator[np.ndarray]]]:
    """A ``map`` that so many processes share; with 0 the usual one."""
    if not workers:
        yield map
        return
    # Spawned: a fork of a process in which CUDA or OpenMP has run may hang.
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield pool.map


def _open(path: Path) -> Image.Image:
    try:
        return images.decode(path.read_bytes())
    except (images.PictureError, OSError) as error:
        raise DataError(f"The picture {path} cannot be used. {error}") from error


@torch.inference_mode()
def see(network: Checkpoint, teachers: Sequence[Checkpoint], pixels: np.ndarray) -> Views:
    """What the beginning of ``network`` makes of views, and the logits of it and the teachers."""
    model = network.model
    assert isinstance(model, EfficientNetLite)
    features = model.begin(_prepared(network, pixels))
    logits = [model.finish(features), *(teacher.model(_prepared(teacher, pixels)) for teacher in teachers)]
    return Views(features.half().cpu(), torch.stack(logits, 1).half().cpu())


def _prepared(network: Checkpoint, pixels: np.ndarray) -> Tensor:
    card = network.card
    device = next(network.model.parameters()).device
    return prepare_batch(torch.from_numpy(pixels).to(device), card.image_size, card.mean, card.std)


def set_path(folder: Path, number: int) -> Path:
    """The file of set ``number``."""
    return folder / f"set_{number:04d}.safetensors"


def load_set(folder: Path, number: int) -> Views:
    """Read a set that is there."""
    state = load_file(set_path(folder, number))
    return Views(state["features"], state["logits"])


def save_set(views: Views, path: Path) -> None:
    """Write a set, whole or not at all."""
    state = {name: tensor.contiguous() for name, tensor in views._asdict().items()}
    write_whole(path, lambda new: save_file(state, new))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", type=Path, required=True, help="weights of the static network, with a card")
    parser.add_argument("--teachers", type=Path, nargs="*", default=[], help="weights of other teachers, with cards")
    parser.add_argument("--pictures", nargs="+", required=True, help="SHARE=FOLDER ...")
    parser.add_argument("--out", type=Path, required=True, help="folder for the sets")
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--count", type=int, default=2048, help="views in a set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes that make views; 0: this one does")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(argv)
    try:
        network, *teachers = (load_checkpoint(path) for path in (options.network, *options.teachers))
        given = [text.partition("=") for text in options.pictures]
        pools, shares = [find_files(Path(folder))[0] for _, _, folder in given], [float(share) for share, _, _ in given]
    except (CheckpointError, ValueError) as error:
        sys.exit(str(error))
    for one in (network, *teachers):
        one.model.to(options.device)
    options.out.mkdir(parents=True, exist_ok=True)
    with mapping(options.workers) as share:
        for number in range(options.sets):
            path = set_path(options.out, number)
            if path.is_file():
                continue
            files = choose(pools, shares, options.count, options.seed, number)
            starts = range(0, len(files), AT_ONCE)
            jobs = [(files, number, i, min(AT_ONCE, len(files) - i), options.seed) for i in starts]
            parts = [see(network, teachers, pixels) for pixels in share(make_pixels, *zip(*jobs, strict=True))]
            save_set(Views(*map(torch.cat, zip(*parts, strict=True))), path)
            print(f"Wrote {path}: {len(files)} views.", flush=True)


if __name__ == "__main__":
    main()
