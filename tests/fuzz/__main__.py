"""Meets the app with hostile input for a while, a new one on every run.

    python -m tests.fuzz --seconds 60                   what CI does
    python -m tests.fuzz --seconds 3600                 an hour
    python -m tests.fuzz --target pictures --seed 7     one part, the same cases once more

Exits with 1 where something fails: the case, made small, is then in tests/fuzz/corpus, to be named and committed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz import CORPUS, TARGETS

ROOT = Path(__file__).parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together")
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this one; may be given more than once")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    options = parser.parse_args(arguments)
    waiting = list(options.target or TARGETS)
    seconds = options.seconds / len(waiting)
    print(f"seed {options.seed}, {seconds:.1f} s for each of {', '.join(waiting)}", flush=True)
    failed = []
    while waiting:
        last = _run(waiting, seconds, options.seed, CORPUS)
        if last:
            failed.append(last)
            print(f"FAILED: {last}; seed {options.seed}", flush=True)
        waiting = waiting[waiting.index(last) + 1 :] if last else []
    return 1 if failed else 0


def _run(targets: Sequence[str], seconds: float, seed: int, kept: Path) -> str:
    """Run targets in a process of their own. Returns the one that failed, whose case is then kept; empty: none."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as temporary:
        command = [
            sys.executable,
            "-X",
            "faulthandler",
            "-m",
            "tests.fuzz.child",
            folder,
            str(seconds),
            str(seed),
            *targets,
        ]
        environment = os.environ | {"TMPDIR": temporary, "STREAMLIT_LOGGER_LEVEL": "error"}
        if subprocess.run(command, cwd=ROOT, env=environment).returncode == 0:
            return ""
        name, case = Path(folder) / "target", Path(folder) / "case"
        if not case.exists():
            raise RuntimeError("no case failed, but what makes them did")
        data, target = case.read_bytes(), name.read_text()
        path = kept / target / f"found-{hashlib.sha256(data).hexdigest()[:12]}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        print(f"kept: {path}", flush=True)
        return target


if __name__ == "__main__":
    sys.exit(main())
