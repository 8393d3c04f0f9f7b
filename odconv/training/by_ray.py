"""Shards of a data set, looked at by workers of a Ray cluster. The only module of training that needs Ray."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from odconv.checkpoint import CheckpointError
from odconv.cluster.environment import NEEDED, lacks_ray, secure_ray
from odconv.training.atlas import Surveyor
from odconv.training.data import DataError

Batch = dict[str, np.ndarray]


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Belong to the Ray cluster at ``address`` inside; empty: to one that is started on this machine for as long.

    A cluster is entered with the token in ``RAY_AUTH_TOKEN`` or ``RAY_AUTH_TOKEN_PATH``.
    """
    secure_ray(address)
    try:
        import ray
        import ray.data
    except ImportError as error:
        if not lacks_ray(error):
            raise
        sys.exit(NEEDED)
    start = {} if address else {"include_dashboard": False}
    ray.init(address=address or "local", logging_level=logging.WARNING, log_to_driver=False, **start)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield
    finally:
        ray.shutdown()


def look_at_all(options: argparse.Namespace, here: Surveyor, sums: bytes | None) -> list[bytes]:
    """What workers find in each of the shards that ``here`` knows, in their order. ``sums``: as for ``Surveyor``.

    Raises:
        DataError: a worker cannot use its weights, its data set or a picture in it, or has others than this machine.
    """
    import ray.data

    found = ray.data.range(here.shards, override_num_blocks=here.shards).map_batches(
        Worker,
        fn_constructor_args=(options, here.shards, here.name, sums),
        batch_size=1,
        concurrency=options.workers,
        num_gpus=options.gpus,
    )
    rows = sorted(found.take_all(), key=lambda row: int(row["id"]))
    if refused := [row["refused"] for row in rows if row["refused"]]:
        raise DataError(refused[0])
    return [row["found"] for row in rows]


class Worker:
    """A process on some machine of the cluster; keeps its network open from shard to shard."""

    def __init__(self, options: argparse.Namespace, shards: int, name: str, sums: bytes | None) -> None:
        self._options, self._shards, self._name, self._sums = options, shards, name, sums
        self._surveyor: Surveyor | None = None

    def __call__(self, batch: Batch) -> Batch:
        """``batch``: {"id": (N,)} -> with what was found, {"found": (N,) of bytes}, or why nothing was, {"refused": (N,) of text}."""
        looked = [self._look(int(shard)) for shard in batch["id"]]
        found, refused = (np.array(column, object) for column in zip(*looked, strict=True))
        return {"id": batch["id"], "found": found, "refused": refused}

    def _look(self, shard: int) -> tuple[bytes, str]:
        try:
            self._surveyor = self._surveyor or Surveyor(self._options, self._shards, self._sums)
            if self._surveyor.name != self._name:
                return b"", "A worker of the cluster has other weights or another data set under the same path."
            return self._surveyor.look(shard), ""
        except (CheckpointError, DataError) as error:  # a sentence; what Ray makes of an error is pages
            return b"", str(error)
