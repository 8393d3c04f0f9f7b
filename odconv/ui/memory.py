"""How the process takes memory from the system and gives it back, where it runs on glibc; and what no search for garbage looks at."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress

# What glibc is told, by the numbers of malloc.h: from how many places threads take memory; and in bytes, from what size on it goes back
# to the system as soon as it is free (glibc allows no more than 32 MiB), how much may lie idle, and how much of that stays idle.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8
MEMORY = {M_ARENA_MAX: 1, M_MMAP_THRESHOLD: 32 * 2**20, M_TRIM_THRESHOLD: 128 * 2**20, M_TOP_PAD: 64 * 2**20}


def keep_freed() -> None:
    """Have glibc keep the memory that each pass takes anew, in one place for all threads; to be called before there are many.

    Else what a pass frees goes back to the system, which cleans it for the next one, at a fifth of a pass's time. And each thread
    would have a place of its own, where what it frees is no use to others.
    """
    for parameter, value in MEMORY.items():
        _call_glibc("mallopt", parameter, value)


def give_back() -> None:
    """Give what was freed back to the system, also what lies between pieces that are in use."""
    _call_glibc("malloc_trim", 0)


def set_modules_aside() -> None:
    """Have no search for garbage look at what is there before the first visitor, 200,000 objects of torch and Streamlit.

    Else such a search stops all visitors for a tenth of a second now and then. To be called once: later, sessions would stay for good.
    """
    gc.collect()
    gc.freeze()


def _call_glibc(name: str, *numbers: int) -> None:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            getattr(ctypes.CDLL("libc.so.6"), name)(*numbers)
