"""How numbers are computed: number type, CPU threads, TensorFloat32."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch

Precision = Literal["auto", "bfloat16", "float32"]


def choose_precision(device: torch.device) -> tuple[Precision, str]:
    """The number type of products that is fast on ``device``, and why, in words.

    bfloat16 halves the time where there are instructions for it, and takes many times as long where it is emulated.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            where, able = "this GPU", torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        where, able = "this processor", torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        return "float32", f"bfloat16 was never tried on {device.type}"
    if able:
        return "bfloat16", f"{where} has bfloat16 instructions"
    return "float32", f"{where} has no bfloat16 instructions"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Inside, products are in bfloat16 where ``precision`` says so."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


@contextmanager
def torch_settings(threads: int | None) -> Iterator[None]:
    """Inside, PyTorch uses that many CPU threads (None: as many as before), and float32 means float32 on a GPU, too."""
    before = torch.get_num_threads(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_num_threads(threads or before[0])
        torch.backends.cudnn.allow_tf32 = False
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def positive_int(text: str) -> int:
    """A whole number of at least 1, of an option of a command line."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: a whole number of at least 1 is needed")
    return int(text)
