"""The same numbers on a GPU as on the CPU."""

import copy

import pytest
import torch

from benchmarks.pairs.pictures import Data, Split
from benchmarks.pairs.plan import Plan
from benchmarks.pairs.training import Task, Training, fit
from odconv import ODConv2d, Settings, backbones, explain, forms
from odconv.training.network import build, training_loss
from odconv.training.recipe import Drawn, Recipe

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
    model = backbones.od_resnet18(10, width=16, stem="small").double().eval()
    images = torch.randn(3, 3, 64, 64)
    here, there = explain(model, images, settings), explain(copy.deepcopy(model).cuda(), images, settings)
    ulp = torch.finfo(torch.float32).eps  # computed in float64, recorded in float32
    torch.testing.assert_close(torch.from_numpy(there.logits), torch.from_numpy(here.logits), rtol=ulp, atol=1e-9)
    for name, layer in here.layers.items():
        for ours, theirs in zip(layer.attention, there.layers[name].attention, strict=True):
            torch.testing.assert_close(torch.from_numpy(theirs), torch.from_numpy(ours), rtol=ulp, atol=1e-9)


CASES = {
    "3x3": {"padding": 1},
    "3x3, stride 2": {"padding": 1, "stride": 2},
    "3x3, dilation 2, uneven padding": {"padding": (2, 1), "dilation": (2, 1), "stride": (1, 2)},
    "1x1": {"k": 1},
    "1x1, stride 2": {"k": 1, "stride": 2},
    "2 groups": {"padding": 1, "groups": 2},
    "depth-wise": {"padding": 1, "groups": 8},
}


@pytest.mark.parametrize("form", [forms.forge, forms.mix, None], ids=["forge", "mix", "as chosen"])
@pytest.mark.parametrize("kernels", [1, 4])
@pytest.mark.parametrize("case", CASES)
def test_a_layer_on_cuda_gives_what_it_gives_on_the_cpu_and_so_do_its_gradients(monkeypatch, case, kernels, form):
    where = dict(CASES[case])
    k = where.pop("k", 3)
    if form is forms.mix and "groups" in where:
        pytest.skip("mixing is not for groups")
    torch.manual_seed(0)
    layer = ODConv2d(8, 8, k, num_kernels=kernels, **where).double()
    x = torch.randn(6, 8, 9, 7, dtype=torch.float64)
    expected = [tensor.detach() for tensor in _values_and_gradients(copy.deepcopy(layer), x)]
    if form:
        monkeypatch.setattr(forms, "choose", lambda x, *others: (form, len(x)))
    for theirs, ours in zip(_values_and_gradients(layer.cuda(), x.cuda()), expected, strict=True):
        torch.testing.assert_close(theirs.cpu(), ours, rtol=1e-9, atol=1e-9)


def _values_and_gradients(layer, x):
    x = x.clone().requires_grad_()
    y = layer(x)
    y.square().sum().backward()
    return [y, x.grad, *(parameter.grad for parameter in layer.parameters())]


def test_the_loss_of_a_training_step_on_cuda_and_its_gradients_are_those_on_the_cpu():
    recipe = Recipe(width=8, kernel_drop="strongest", precision="float32", balance=0.1)
    model = build(recipe, 5).double()
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.randn(16, 3, 32, 32, dtype=torch.float64, generator=generator), torch.arange(16) % 5
    drawn = Drawn(torch.rand(16, dtype=torch.float64, generator=generator) + 0.5, torch.arange(16) % 4 + 1)
    results = []
    for device in ("cpu", "cuda"):
        own = copy.deepcopy(model).to(device)
        there = Drawn(*(each.to(device) for each in drawn))
        loss, _ = training_loss(own, x.to(device), labels.to(device), there, recipe)
        loss.backward()
        results.append([loss.detach().cpu(), *(p.grad.cpu() for p in own.parameters() if p.grad is not None)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("arm", ["static", "od1", "od4"])
def test_a_graph_of_a_step_trains_a_pair_as_its_operations_do_one_by_one(arm, tmp_path):
    torch.manual_seed(0)
    pixels, labels = torch.randint(0, 256, (64, 16, 16, 3), dtype=torch.uint8), torch.arange(64) % 4
    data = Data(Split(pixels, labels), Split(pixels, labels), 4, "").to(torch.device("cuda"))
    # Steps are small, since this network, at its start, makes a million times as much of what was rounded differently.
    plan = Plan(start="scratch", width=8, side=16, classes=4, epochs=2, batch=16, precision="float64", lr=1e-4)
    both = [Training(Task(0, arm), plan, data, tmp_path) for _ in range(2)]
    before = [weights.detach().clone() for weights in both[0].model.parameters()]
    both[1].capture()
    fit(both, keep_every=100)
    for was, one_by_one, of_graph in zip(before, *(one.model.parameters() for one in both), strict=True):
        moved = one_by_one.detach() - was
        assert moved.norm() > 0
        assert (of_graph.detach() - was - moved).norm() < 1e-3 * moved.norm()
