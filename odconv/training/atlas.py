"""Find what attention is typical over the validation pictures of a data set, and keep it beside the weights.

    python -m odconv.training.atlas --weights FILE --data DIR [--cache DIR]
    python -m odconv.training.atlas --weights FILE --data DIR --ray [ADDRESS] [--workers 8] [--gpus 0.5]
    python -m odconv.training.atlas --weights FILE --data DIR --shard 3/8 --parts DIR      on each machine, twice
    python -m odconv.training.atlas --weights FILE --data DIR --merge 8 --parts DIR        at last, on one

What comes out, <weights' stem>.atlas.npz, holds for every layer and head the mean and the deviation over all pictures and how
far from the mean pictures are, and for kernel attention the mean of each class. Pictures are looked at in shards, --shards of them or
else one for 10,000 pictures, whose attentions are in memory at once: about 300 MB for a ResNet-18 of width 32. The same shards give
the same file, wherever they were looked at, by processors that compute the same. All machines find the weights and the data under the same paths.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from odconv.atlas import Atlas, TypicalHead, atlas_path, fingerprint, save_atlas
from odconv.attention import Heads, Settings
from odconv.checkpoint import Checkpoint, CheckpointError
from odconv.training import parts
from odconv.training.compute import full_float32
from odconv.training.data import DataError, Dataset, Pictures, write_whole
from odconv.training.evaluate import find_inputs, load_validation, make_parser
from odconv.training.measure import Preparation, attentions
from odconv.training.parts import Arrays, Sums

SHARD = 10_000  # pictures, at most, where nobody says how many shards there are


def survey(checkpoint: Checkpoint, pictures: Pictures, network: str, shards: int | None = None) -> Atlas:
    """The atlas of a network, over ``pictures`` of every class. ``network``: the fingerprint of its weights file.

    Raises:
        CheckpointError: the network has no attention.
        DataError: there are classes without pictures, or fewer pictures than shards.
    """
    check(checkpoint, np.bincount(pictures.labels, minlength=len(pictures.names)), pictures.names)
    some = [
        Pictures(pictures.pixels[start:end], pictures.labels[start:end], pictures.names)
        for start, end in bounds(len(pictures), shards)
    ]
    if len(some) == 1:  # looked at once: there is room for what is seen
        seen = look_at(checkpoint, some[0])
        sums = parts.add_up(seen, some[0].labels, len(pictures.names))
        return parts.finish(network, sums, [parts.measure_distances(seen, sums)])
    sums = parts.merge_all([add_up(checkpoint, part) for part in some])
    return parts.finish(network, sums, [parts.measure_distances(look_at(checkpoint, part), sums) for part in some])


def check(checkpoint: Checkpoint, counts: np.ndarray, names: Sequence[str]) -> None:
    """Whether there can be an atlas. ``counts``: (classes,), how many pictures there are of each. Raises as ``survey``."""
    if not checkpoint.dynamic:
        raise CheckpointError("checkpoint.no_attention", name=checkpoint.card.name)
    if not counts.all():
        raise DataError(f"There are no pictures of {names[int(counts.argmin())]}: an atlas needs some of every class.")


def bounds(count: int, shards: int | None) -> list[tuple[int, int]]:
    """First picture of each shard, and the first that is no longer in it; their sizes differ by one at most.

    Raises:
        DataError: there are fewer pictures than shards, or no shards.
    """
    shards = -(-count // SHARD) if shards is None else shards
    if not 1 <= shards <= count:
        raise DataError(f"{count} pictures cannot be divided into {shards} shards.")
    ends = [count * i // shards for i in range(shards + 1)]
    return list(pairwise(ends))


def look_at(checkpoint: Checkpoint, pictures: Pictures) -> dict[str, Heads[np.ndarray]]:
    """Layer -> attentions of all pictures under the network as trained."""
    card = checkpoint.card
    with full_float32():
        return attentions(checkpoint.model, pictures, Preparation(card.image_size, card.mean, card.std), Settings())


def add_up(checkpoint: Checkpoint, pictures: Pictures) -> Sums:
    """The sums over a shard, see :class:`odconv.training.parts.Sums`."""
    return parts.add_up(look_at(checkpoint, pictures), pictures.labels, len(pictures.names))


def typical_head(values: np.ndarray) -> TypicalHead:
    """What is typical of one head's attention (N, ...) to N pictures."""
    seen = {"layer": Heads(None, values, None, None)}
    sums = parts.add_up(seen, np.zeros(len(values), np.int64), 1)
    found = parts.finish("", sums, [parts.measure_distances(seen, sums)]).layers["layer"].heads.channel
    assert found is not None
    return found


# --- shards -------------------------------------------------------------------------------------------------------------


class Surveyor:
    """One who looks at shards of a data set, on whichever machine, and packs what was found."""

    def __init__(self, options: argparse.Namespace, shards: int | None, sums: bytes | None = None) -> None:
        """``sums``: of all shards, packed, where distances from the mean are wanted; None: sums are."""
        self._options = options
        self._checkpoint, self._ids, self._dataset = find_inputs(options)
        self._bounds = bounds(len(self._dataset.val), shards)
        self._sums = None if sums is None else parts.unpack_sums(sums)
        labels = np.array([self._ids.index(self._dataset.ids[label]) for _, label in self._dataset.val])
        names = self._checkpoint.card.classes
        check(self._checkpoint, np.bincount(labels, minlength=len(names)), names)

    @property
    def shards(self) -> int:
        """How many there are."""
        return len(self._bounds)

    @property
    def name(self) -> str:
        """Names the network, the data set and its division: the same on machines whose parts fit."""
        return _name(self._options, self._dataset, self.shards)

    def look(self, shard: int) -> bytes:
        """Sums over, or distances of, the pictures of a shard, packed. Raises as ``survey``."""
        start, end = self._bounds[shard]
        some = replace(self._dataset, val=self._dataset.val[start:end])
        pictures = load_validation(self._options, self._checkpoint.card, self._ids, some)
        if self._sums is None:
            return parts.pack_sums(add_up(self._checkpoint, pictures))
        return parts.pack(parts.measure_distances(look_at(self._checkpoint, pictures), self._sums))


def survey_by_ray(options: argparse.Namespace) -> Atlas:
    """The atlas, whose shards are looked at by workers of a Ray cluster. Raises as ``survey``."""
    from odconv.training import by_ray

    here = Surveyor(options, options.shards)
    with by_ray.connected(options.ray):
        packed = by_ray.look_at_all(options, here, None)
        sums = parts.merge_all([parts.unpack_sums(data) for data in packed])
        far = by_ray.look_at_all(options, here, parts.pack_sums(sums))
    return parts.finish(fingerprint(options.weights), sums, [parts.unpack(data) for data in far])


def survey_shard(options: argparse.Namespace) -> str:
    """Look at one shard of several machines' and leave what was found in ``options.parts``; what is next, in a sentence."""
    shard, shards = options.shard
    surveyor = Surveyor(options, shards)
    folder = options.parts / surveyor.name
    folder.mkdir(parents=True, exist_ok=True)
    sums, far = folder / f"{shard}.sums.npz", folder / f"{shard}.distances.npz"
    if not sums.is_file():
        data = surveyor.look(shard - 1)
        write_whole(sums, lambda new: new.write_bytes(data))
    missing = _missing(folder, shards, "sums")
    if missing:
        return f"{sums} is there. Run this once more when those of {missing} are, too."
    if not far.is_file():
        data = Surveyor(options, shards, parts.pack_sums(_merged(folder, shards))).look(shard - 1)
        write_whole(far, lambda new: new.write_bytes(data))
    missing = _missing(folder, shards, "distances")
    return f"{far} is there. " + (
        f"Still to come: {missing}." if missing else f"It is the last one: --merge {shards} makes the atlas."
    )


def merge_shards(options: argparse.Namespace) -> Atlas:
    """The atlas from the parts in ``options.parts``.

    Raises:
        DataError: parts are missing or damaged.
    """
    _, _, dataset = find_inputs(options)
    folder = options.parts / _name(options, dataset, options.merge)
    for kind in ("sums", "distances"):
        if missing := _missing(folder, options.merge, kind):
            raise DataError(f"There are no {kind} of {missing} in {folder}.")
    far: list[Arrays] = [
        parts.unpack((folder / f"{i}.distances.npz").read_bytes()) for i in range(1, options.merge + 1)
    ]
    return parts.finish(fingerprint(options.weights), _merged(folder, options.merge), far)


def _name(options: argparse.Namespace, dataset: Dataset, shards: int) -> str:
    return f"{fingerprint(options.weights)}_{dataset.digest('val')}_{shards}"


def _missing(folder: Path, shards: int, kind: str) -> str:
    return ", ".join(f"{i}/{shards}" for i in range(1, shards + 1) if not (folder / f"{i}.{kind}.npz").is_file())


def _merged(folder: Path, shards: int) -> Sums:
    files = [folder / f"{i}.sums.npz" for i in range(1, shards + 1)]
    return parts.merge_all([parts.unpack_sums(file.read_bytes()) for file in files])


# --- the command ----------------------------------------------------------------------------------------------------------


def survey_here(options: argparse.Namespace) -> Atlas:
    """The atlas, made by this process, shard after shard. Raises as ``survey``."""
    checkpoint, ids, dataset = find_inputs(options)
    pictures = load_validation(options, checkpoint.card, ids, dataset)
    return survey(checkpoint, pictures, fingerprint(options.weights), options.shards)


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser("atlas", __doc__)
    parser.add_argument("--shards", type=int, help="how many shards the pictures are looked at in")
    parser.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="by a Ray cluster's workers; without an address, by one of its own",
    )
    parser.add_argument(
        "--workers", type=int, default=1, help="of the Ray cluster that look at shards at the same time"
    )
    parser.add_argument("--gpus", type=float, default=0.0, help="that each of them gets")
    parser.add_argument("--shard", type=_shard, metavar="I/N", help="look at shard I of N, and at no other")
    parser.add_argument("--merge", type=int, metavar="N", help="make the atlas from the parts of N shards")
    parser.add_argument("--parts", type=Path, help="folder, the same for all machines, for what is found in shards")
    options = parser.parse_args(argv)
    if sum(given is not None for given in (options.ray, options.shard, options.merge)) > 1:
        parser.error("--ray, --shard and --merge cannot be used together")
    if (options.shard or options.merge) and (options.parts is None or options.shards is not None):
        parser.error("--shard and --merge need --parts, and no --shards")
    path = atlas_path(options.weights)
    try:
        if options.shard:
            print(survey_shard(options))
            return
        make = merge_shards if options.merge else survey_here if options.ray is None else survey_by_ray
        atlas = make(options)
        save_atlas(atlas, path)
    except (CheckpointError, DataError) as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename} cannot be read or written: {error.strerror}.")
    print(f"{path}: {atlas.pictures:,} pictures of {atlas.classes} classes, {path.stat().st_size / 1e6:.2f} MB")


def _shard(text: str) -> tuple[int, int]:
    shard, shards = map(int, text.split("/"))
    if not 1 <= shard <= shards:
        raise ValueError(text)
    return shard, shards


if __name__ == "__main__":
    main()
