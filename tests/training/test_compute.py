"""The number type is chosen by what the device can do, and what is set for a command is put back after it."""

from contextlib import nullcontext

import pytest
import torch

from odconv.training.compute import autocast, choose_precision, torch_settings


@pytest.mark.parametrize(
    ("avx512", "amx", "expected"),
    [
        (False, False, ("float32", "this processor has no bfloat16 instructions")),
        (True, False, ("bfloat16", "this processor has bfloat16 instructions")),
        (False, True, ("bfloat16", "this processor has bfloat16 instructions")),
    ],
)
def test_a_processor_computes_in_bfloat16_where_it_has_instructions_for_it(monkeypatch, avx512, amx, expected):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert choose_precision(torch.device("cpu")) == expected


@pytest.mark.parametrize(("able", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_computes_in_bfloat16_where_it_does_not_emulate_it(monkeypatch, able, expected):
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: able or including_emulation)
    assert choose_precision(torch.device("cuda"))[0] == expected


def test_other_devices_compute_in_float32_and_the_reason_names_them():
    assert choose_precision(torch.device("mps")) == ("float32", "bfloat16 was never tried on mps")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_products_are_in_the_number_type_that_is_asked_for(precision):
    with autocast(torch.device("cpu"), precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == getattr(torch, precision)


def test_threads_and_tensorfloat32_are_set_inside_and_as_before_outside_after_an_error_too(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), torch_settings(before + 1):
        1 / 0  # noqa: B018
    assert (torch.get_num_threads(), torch.backends.cudnn.allow_tf32) == (before, True)
    with torch_settings(before + 1):
        assert (torch.get_num_threads(), torch.backends.cudnn.allow_tf32) == (before + 1, False)
    assert (torch.get_num_threads(), torch.backends.cudnn.allow_tf32) == (before, True)
