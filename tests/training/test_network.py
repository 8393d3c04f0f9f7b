"""The network of a run: its first weights, the loss of a step and the average are what the formulas say."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from odconv import Heads, Settings, apply_settings, explain
from odconv.training import network
from odconv.training.network import average_weights, build, divide_logits, parameter_groups, training_loss
from odconv.training.recipe import Drawn, Recipe, RecipeError

DYNAMIC = Recipe(width=4, precision="float32")


def random(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_the_network_is_the_same_for_the_same_seed_and_its_branches_batch_norm_is_1_and_0_for_good():
    first, second, other = build(DYNAMIC, 3), build(DYNAMIC, 3), build(Recipe(width=4, seed=1), 3)
    assert first.layer1[0].conv1.weight.shape == (4, 4, 4, 3, 3)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
    norms = {name: parameter for name, parameter in first.named_parameters() if ".attention.bn." in name}
    assert len(norms) == 32
    for name, parameter in norms.items():
        assert not parameter.requires_grad
        assert torch.equal(parameter, torch.full_like(parameter, float(name.endswith("weight"))))


def test_initial_logits_have_the_deviation_that_was_asked_for_in_every_head():
    """Of weights w and ReLU of standard normals, whose mean square is 1/2: sqrt(hidden · mean(w²) / 2)."""
    squares = {}
    for name, weight in build(Recipe(width=16, initial_logits=0.4), 3).named_parameters():
        if name.endswith("_fc.weight"):
            squares.setdefault(name.split(".")[-2], []).append(weight.shape[1] * weight.detach().square().flatten() / 2)
    assert len(squares) == 4
    for some in squares.values():
        assert float(torch.cat(some).mean()) ** 0.5 == pytest.approx(0.4, rel=0.1)


@pytest.mark.parametrize("kernels", [1, 4])
def test_a_static_kernel_becomes_k_kernels_apart_by_noise_of_half_its_deviation(kernels):
    recipe, twin = Recipe(width=16, kernels=kernels), build(Recipe(arch="resnet18", width=16, seed=1), 3)
    model, untouched, given = build(recipe, 3, twin).state_dict(), build(recipe, 3).state_dict(), twin.state_dict()
    for name, own in model.items():
        if own.ndim != 5:
            assert torch.equal(own, untouched[name] if ".attention." in name else given[name])
        elif kernels == 1:
            assert torch.equal(own[0], given[name])
        else:
            noise = (own - given[name]) / given[name].std()
            assert noise.std() == pytest.approx(0.5, rel=0.05)
            assert torch.corrcoef(noise.flatten(1)).fill_diagonal_(0).abs().max() < 0.1


@pytest.mark.parametrize(("arch", "width", "classes"), [("resnet34", 4, 3), ("resnet18", 8, 3), ("od_resnet18", 4, 3)])
def test_only_the_static_twin_can_be_started_from(arch, width, classes):
    for other, number in ((Recipe(arch=arch, width=width, kernels=1), 3), (Recipe(arch="resnet18", width=4), 5)):
        with pytest.raises(RecipeError, match="static twin of od_resnet18"):
            build(DYNAMIC, 3, build(other, number))


@pytest.mark.parametrize("arch", ["od_resnet18", "resnet18"])
def test_every_parameter_that_learns_is_optimised_once_with_the_decay_and_rate_of_its_kind(arch):
    recipe = Recipe(arch=arch, width=4, attention_lr=5)
    model, found = build(recipe, 3), []
    for group in parameter_groups(model, recipe):
        found += [(id(parameter), group["weight_decay"], group["factor"]) for parameter in group["params"]]
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    expected = []
    for name, parameter in model.named_parameters():
        attends, of = ".attention." in name, name.rpartition(".")[0]
        if not (attends and of in norms):
            bare = attends or of in norms or name.endswith(".bias")
            expected.append((id(parameter), 0.0 if bare else 5e-4, 5 if attends else 1))
    assert sorted(found) == sorted(expected)


def test_dropout_takes_a_fifth_of_the_features_or_so_in_training_alone_and_scales_up_the_rest():
    model, features, seen = build(DYNAMIC, 3), random(64, 32).float(), []
    network.add_dropout(model)
    model.fc.register_forward_hook(lambda fc, inputs, output: seen.append(inputs[0]))
    model.eval().fc(features)
    model.train().fc(features)
    assert torch.equal(seen[0], features)
    kept = seen[1] != 0
    assert 0.7 < kept.float().mean() < 0.9
    torch.testing.assert_close(seen[1][kept], features[kept] / 0.8)


def test_the_loss_of_a_batch_is_that_of_its_pictures_one_by_one(small_model, images):
    model, x, labels = copy.deepcopy(small_model).double(), images.double(), torch.tensor([4, 0, 2])
    drawn = Drawn(torch.tensor([0.5, 1.0, 3.5]), torch.tensor([1, 3, 2]))
    total = 0.0
    for n, (temperature, count) in enumerate(zip(*(each.tolist() for each in drawn), strict=True)):
        with apply_settings(Settings(temperature, kernels=count)):
            total += F.cross_entropy(model(x[n : n + 1]), labels[n : n + 1], label_smoothing=0.1)
    for loss in training_loss(model, x, labels, drawn, DYNAMIC):
        assert loss.item() == pytest.approx(total.item() / 3, rel=1e-9)
    assert not any(module._forward_hooks for module in model.modules())


def test_of_equal_kernels_the_first_ones_stay_and_the_others_get_exactly_0():
    drawn = Drawn(torch.ones(2), torch.tensor([1, 3]))
    shares = network.apply_drawn(Heads(None, None, None, torch.zeros(2, 4)), drawn).kernel.softmax(1)
    torch.testing.assert_close(shares, torch.tensor([[1.0, 0, 0, 0], [1 / 3, 1 / 3, 1 / 3, 0]]), atol=0, rtol=1e-6)


def test_the_gradient_of_the_loss_is_that_of_cross_entropy_plus_that_of_imbalance():
    """In float64; how unequal the kernels are is written here from the layers' logits, and differentiated by autograd."""
    recipe = Recipe(width=4, kernels=3, initial_logits=1.0, balance=0.7, precision="float32")
    model = build(recipe, 3).double().train()
    x, labels = random(5, 3, 16, 16), torch.tensor([0, 1, 2, 0, 1])
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    loss, cross_entropy = training_loss(model, x, labels, Drawn(torch.ones(5), torch.full((5,), 3)), recipe)
    ours = torch.autograd.grad(loss, parameters)
    kernels = []
    for module in model.modules():
        if hasattr(module, "kernel_fc"):
            module.register_forward_hook(lambda branch, inputs, logits: kernels.append(logits.kernel))
    plain = F.cross_entropy(model(x), labels, label_smoothing=0.1)
    unequal = 0.0
    for logits in kernels:
        shares = logits.exp() / logits.exp().sum(1, keepdim=True)
        unequal += 3 * ((shares.sum(0) / 5 - 1 / 3) ** 2).sum()  # the same as 3 Σ share² - 1, since shares add up to 1
    theirs = torch.autograd.grad(plain, parameters, retain_graph=True)
    balance = torch.autograd.grad(unequal, parameters, allow_unused=True)
    assert len(kernels) == 16
    assert cross_entropy.item() == pytest.approx(plain.item(), rel=1e-12)
    assert loss.item() == pytest.approx((plain + 0.7 * unequal).item(), rel=1e-12)
    for found, one, other in zip(ours, theirs, balance, strict=True):
        torch.testing.assert_close(found, one if other is None else one + 0.7 * other, rtol=1e-8, atol=1e-11)
    assert sum(other is not None and bool(other.abs().max() > 1e-6) for other in balance) > 100


def test_averaged_weights_are_what_the_formula_gives_with_batch_norm_statistics_and_counters_are_copied(shake):
    model = build(DYNAMIC, 3).double()
    average = average_weights(model)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for step, decay in ((0, 1 / 10), (1, 2 / 11), (2, 3 / 12), (10**6, 0.999)):
        shake(model, seed=step)
        model.bn1.num_batches_tracked.fill_(7 + step)
        average.n_averaged.fill_(1 + step)
        average.update_parameters(model)
        for name, new in model.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * new if new.is_floating_point() else new.clone()
    for name, tensor in average.module.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-12, atol=1e-14, msg=name)
    assert not average.training


def test_divided_logits_are_at_temperature_1_what_they_were_at_the_temperature(small_model, images):
    model = copy.deepcopy(small_model).double()
    expected = explain(model, images, Settings(0.5)).layers
    divide_logits(model, 0.5)
    for name, layer in explain(model, images).layers.items():
        for ours, theirs in zip(layer.attention, expected[name].attention, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-12)
            assert math.isfinite(ours.sum())
