"""How numbers are computed: their type, and float32 that means float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
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


def full_float32() -> AbstractContextManager[Any]:
    """Inside, a GPU's convolutions in float32 are not in TensorFloat32, which has 10 bits instead of 23."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
