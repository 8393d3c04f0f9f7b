"""Print a lock file without torch and what only its build for GPUs needs: for an image whose torch is the one for CPUs.

python deploy/without_cuda.py requirements.lock > cpu.lock
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

GPU_ALONE = re.compile(r"(torch|triton|cuda-[a-z-]+|nvidia-[a-z0-9-]+)==")


def without_cuda(lock: str) -> str:
    """``lock`` without those entries: each begins at the margin, and its hashes and comments are indented under it."""
    entries = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)
    return "".join(entry for entry in entries if not GPU_ALONE.match(entry))


if __name__ == "__main__":
    print(without_cuda(Path(sys.argv[1]).read_text(encoding="utf-8")), end="")
