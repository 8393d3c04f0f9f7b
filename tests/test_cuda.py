"""The same numbers on a GPU as on the CPU."""

import copy

import pytest
import torch

from odconv import Settings, backbones, explain

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")


@pytest.fixture(autouse=True)
def _full_float32(monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize(
    "settings", [Settings(), Settings(temperature=3.0, kernels=2, keep="strongest", compensate=True)]
)
def test_a_network_on_cuda_gives_what_it_gives_on_the_cpu(settings):
    torch.manual_seed(0)
    model = backbones.od_resnet18(10, width=16, stem="small").eval()
    images = torch.randn(3, 3, 64, 64)
    here, there = explain(model, images, settings), explain(copy.deepcopy(model).cuda(), images, settings)
    torch.testing.assert_close(torch.from_numpy(there.logits), torch.from_numpy(here.logits), rtol=1e-4, atol=1e-4)
    for name, layer in here.layers.items():
        for ours, theirs in zip(layer.attention, there.layers[name].attention, strict=True):
            torch.testing.assert_close(torch.from_numpy(theirs), torch.from_numpy(ours), rtol=1e-3, atol=1e-4)
