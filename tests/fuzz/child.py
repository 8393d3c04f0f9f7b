"""The process that meets the hostile input: ``python -m tests.fuzz.child FOLDER SECONDS SEED TARGET...``.

It writes down what it is about to do, so that who started it knows what it died of.
"""

from __future__ import annotations

import logging
import os
import resource
import sys
import time
import warnings
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import hypothesis
import torch
from hypothesis import HealthCheck, Phase
from hypothesis.internal.conjecture import engine
from streamlit.logger import set_log_level

from tests.fuzz import corpus
from tests.fuzz.watch import Watch

ROOM = 4 * 2**30  # bytes of address space beyond what stands; a case that asks for more meets with a MemoryError
ROUND = 300  # cases
engine.MAX_SHRINKING_SECONDS = 30  # to make a case small; private to hypothesis, where it is five minutes

_SETTINGS = hypothesis.settings(
    max_examples=ROUND,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)


def fuzz(name: str, folder: Path, seconds: float, seed: int, watch: Watch) -> str:
    """Try what the corpus holds, and then new cases for ``seconds``. Returns what became of how many.

    Raises:
        BaseException: a case failed; the smallest one that fails in this way was tried last.
    """
    target: Any = import_module(f"tests.fuzz.{name}")
    kept = list(corpus(name).values())
    outcomes: Counter[str] = Counter()
    failed = False
    watch.slowest = watch.largest = 0.0

    def run(data: bytes) -> None:
        nonlocal failed
        if failed or time.monotonic() < ends:
            (folder / "case").write_bytes(data)
            try:
                outcomes[watch.run(target.check, data, target.MEMORY)] += 1
            except BaseException:
                failed = True
                raise

    ends = float("inf")
    (folder / "case").unlink(missing_ok=True)
    for data in kept:
        run(data)
    cases, ends = target.cases(kept), time.monotonic() + seconds
    while time.monotonic() < ends:
        try:
            hypothesis.seed(seed)(_SETTINGS(hypothesis.given(cases)(run)))()
        except BaseException:
            if not failed:  # nobody's fault but that of who makes the cases
                (folder / "case").unlink()
            raise
        seed += 1
    total = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(outcomes.items()))
    return f"{name}: {total}; at most {watch.slowest:.2f} s and {watch.largest / 2**20:.0f} MiB for one"


def main(folder: str, seconds: str, seed: str, *targets: str) -> None:
    warnings.simplefilter("ignore")
    logging.basicConfig(stream=open(os.devnull, "w"), force=True)  # noqa: SIM115  # written out, since that can fail, too
    set_log_level(logging.ERROR)  # each read of a session without a page is a warning
    torch.set_num_threads(1)
    watch = Watch()
    before = (
        int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        if sys.platform == "linux"
        else None
    )
    if before is not None:
        resource.setrlimit(resource.RLIMIT_AS, (before + ROOM, before + ROOM))
    for name in targets:
        (Path(folder) / "target").write_text(name)
        print(fuzz(name, Path(folder), float(seconds), int(seed), watch), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
