"""The process keeps the memory that passes take again and again, in one place for all threads."""

import platform
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]

TAKE_MEMORY = """
import ctypes, threading
from odconv.ui import memory
memory.keep_freed()
all_there = threading.Barrier(32)
def take():
    held = [bytes(1000) for _ in range(1000)]
    all_there.wait()
threads = [threading.Thread(target=take) for _ in range(32)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL("libc.so.6")
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.fflush.argtypes = [ctypes.c_void_p]
out = libc.fdopen(1, b"w")
libc.malloc_info(0, out)
libc.fflush(out)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no arenas")
def test_many_threads_take_memory_from_the_same_place():
    command = [sys.executable, "-c", TAKE_MEMORY]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.count("<heap nr=") <= 2  # the first one, and one that a library's thread may have had before


SET_ASIDE = """
import gc
from odconv.ui import memory
memory.set_modules_aside()
print(gc.get_freeze_count(), len(gc.get_objects()))
"""


def test_searches_for_garbage_look_at_what_came_after_the_start_alone():
    command = [sys.executable, "-c", SET_ASIDE]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    aside, looked_at = map(int, said.split())
    assert aside > 100 * looked_at


TAKE_ARRAYS = """
import resource, threading, torch
from odconv.ui import memory
memory.keep_freed()
torch.set_num_threads(1)  # threads of its own take memory for themselves
def take():
    for _ in range(4):
        torch.zeros(2**20).add(1)  # 4 MiB, twice
for _ in range(9):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no such settings")
def test_what_a_pass_frees_is_kept_for_the_next_one_in_whatever_thread():
    command = [sys.executable, "-c", TAKE_ARRAYS]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # The system gives memory in pages of 4 KiB at least: 1,024 for an array. Where something small lies in the way, one of the eight is
    # taken anew now and then; without the setting it is five of them, in nearly every thread.
    assert median(map(int, said.split())) < 2 * 1024
