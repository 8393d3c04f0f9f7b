"""The number type is chosen by what the device can do, and what is set for a command is put back after it."""

from contextlib import nullcontext

import pytest
import torch

from odconv.training.compute import choose_precision, full_float32


@pytest.mark.parametrize(("avx512", "amx"), [(False, False), (True, False), (False, True)])
def test_a_processor_computes_in_bfloat16_where_it_has_instructions_for_it(monkeypatch, avx512, amx):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    expected = ("bfloat16", "has bfloat16") if avx512 or amx else ("float32", "has no bfloat16")
    assert choose_precision(torch.device("cpu")) == (expected[0], f"this processor {expected[1]} instructions")


@pytest.mark.parametrize("able", [True, False])
def test_a_gpu_computes_in_bfloat16_where_it_does_not_emulate_it_and_other_devices_in_float32(monkeypatch, able):
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: able or including_emulation)
    assert choose_precision(torch.device("cuda"))[0] == ("bfloat16" if able else "float32")
    assert choose_precision(torch.device("mps")) == ("float32", "bfloat16 was never tried on mps")


def test_tensorfloat32_is_off_inside_and_as_before_outside_after_an_error_too(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    with full_float32():
        assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.enabled) == (False, True)
    with pytest.raises(KeyboardInterrupt), full_float32():
        raise KeyboardInterrupt
    assert torch.backends.cudnn.allow_tf32
