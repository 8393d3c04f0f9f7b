"""Training: a stopped run goes on as if nothing had been, what is told reaches the network, and what is kept is sound."""

import copy
import csv
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from odconv import HEADS, Settings, apply_settings, explain, load_checkpoint, probe
from odconv.checkpoint import save_checkpoint
from odconv.training import train
from odconv.training.data import decoded, find, stream
from odconv.training.evaluate import Preparation
from odconv.training.gradients import Batch, Gradients
from odconv.training.network import add_dropout, as_drawn, build, follow, imbalance, parameter_groups
from odconv.training.recipe import Drawn, Recipe, RecipeError, learning_rate
from odconv.training.run import COLUMNS, Run, start
from odconv.training.train import train_step

SMALL = {"width": 4, "batch": 6, "epochs": 2, "sizes": "16:1", "precision": "float32"}
SMALL |= {"kernel_drop": "random", "temperature_epochs": 1.0, "lr": 0.01}
STEPS = 4  # an epoch: 24 pictures


def arguments(**options):
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]


def command(folder, out, *more, **options):
    """What the command is given for a run of seconds."""
    common = {"data": folder, "cache": folder.parent / "cache", "out": out, "device": "cpu"}
    return arguments(**common, **(SMALL | options)) + list(more)


def a_run(folder, **options):
    recipe = Recipe(**(SMALL | options))
    return Run(Path("run"), recipe, "data", ("", ""), (24, 12), ("ant", "bee", "cow"), ("ant", "bee", "cow"))


def a_batch():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (6, 16, 16, 3), generator=generator, dtype=torch.uint8)
    return pixels, torch.tensor([0, 1, 2, 0, 1, 2])


def weights(path):
    return torch.load(path / "checkpoint.pt", weights_only=True)


def rows(path):
    with (path / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def refusal(argv):
    with pytest.raises(SystemExit) as refused:
        train.main(argv)
    message = refused.value.code
    assert isinstance(message, str)
    assert "\n" not in message
    return message


@pytest.fixture(scope="module")
def finished(animals, tmp_path_factory):
    """A run that went to its end in one go."""
    out = tmp_path_factory.mktemp("runs") / "straight"
    assert train.main(command(animals, out)) == 0
    return out


@pytest.fixture
def stop_after(monkeypatch):
    """``stop_after(n)``: a signal comes after the n-th step."""

    def arranged(steps, number=signal.SIGTERM):
        calls, real = [], train_step

        def step(*given):
            loss = real(*given)
            calls.append(loss)
            if len(calls) == steps:
                os.kill(os.getpid(), number)
            return loss

        monkeypatch.setattr(train, "train_step", step)
        return calls

    yield arranged
    monkeypatch.undo()


# --- the network and its optimiser ------------------------------------------------------------------------------------


def test_the_network_is_what_the_recipe_says_and_the_same_for_the_same_seed():
    recipe = Recipe(**SMALL)
    first, second, other = build(recipe, 3), build(recipe, 3), build(Recipe(**SMALL, seed=1), 3)
    assert first.layer1[0].conv1.weight.shape == (4, 4, 4, 3, 3)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.conv1.weight, other.conv1.weight)


def test_initial_logits_have_the_deviation_that_was_asked_for_in_every_head_and_layer():
    model = build(Recipe(**(SMALL | {"width": 16, "initial_logits": 0.4})), 3).train()
    x = torch.randn(256, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), probe(model) as trace:
        model(x)
    for name in ("layer1.0.conv1", "layer4.1.conv2"):
        for head in trace[name].logits:
            mean_square = (head**2).mean()
            assert 0.2 < mean_square**0.5 < 0.8
    squares = [(head**2).mean() for record in trace.values() for head in record.logits]
    assert float(torch.stack(squares).mean()) ** 0.5 == pytest.approx(0.4, rel=0.15)


def test_static_kernels_become_k_kernels_apart_by_as_much_noise_as_was_asked_for():
    static = build(Recipe(arch="resnet18", width=16), 3)
    recipe = Recipe(width=16, apart=0.5)
    model, untouched = build(recipe, 3, static).state_dict(), build(recipe, 3).state_dict()
    for name, own in model.items():
        if own.ndim == 5:
            one = static.state_dict()[name]
            noise = (own - one) / one.std()
            assert noise.std() == pytest.approx(0.5, rel=0.05)
            assert torch.corrcoef(noise.flatten(1)).fill_diagonal_(0).abs().max() < 0.1
        else:
            assert torch.equal(own, (untouched if ".attention." in name else static.state_dict())[name])


def test_a_single_kernel_starts_as_the_static_one_itself():
    static = build(Recipe(arch="resnet18", width=4), 3)
    weight = build(Recipe(width=4, kernels=1), 3, static).layer1[0].conv1.weight
    assert torch.equal(weight[0], static.layer1[0].conv1.weight)


def test_one_dynamic_kernel_becomes_k_and_its_attention_stays(shake):
    given = shake(build(Recipe(width=4, kernels=1), 3))
    recipe = Recipe(width=4, initial_logits=0.5, apart=0.0)
    model, untouched = build(recipe, 3, given).state_dict(), build(recipe, 3).state_dict()
    for name, own in model.items():
        if name in given.state_dict():
            assert torch.equal(own, given.state_dict()[name].expand_as(own))
        else:
            assert "kernel_fc" in name
            assert torch.equal(own, untouched[name])


def test_the_same_network_starts_from_all_of_its_weights_and_a_classifier_of_other_classes_from_none(shake):
    recipe = Recipe(width=4, seed=1)
    given = shake(build(Recipe(width=4), 3))
    same, other = build(recipe, 3, given).state_dict(), build(recipe, 5, given).state_dict()
    for name, tensor in given.state_dict().items():
        assert torch.equal(same[name], tensor)
        classifier = build(recipe, 5).state_dict()[name]
        assert torch.equal(other[name], classifier if name.startswith("fc.") else tensor)


@pytest.mark.parametrize("options", [{"arch": "od_resnet34"}, {"width": 8}, {"kernels": 2}, {"stem": "imagenet"}])
def test_another_network_cannot_be_started_from(options):
    with pytest.raises(RecipeError, match="od_resnet18 or its static twin"):
        build(Recipe(width=4), 3, build(Recipe(**({"width": 4} | options)), 3))


@pytest.mark.parametrize("arch", ["od_resnet18", "resnet18", "od_mobilenetv2"])
def test_every_parameter_is_optimised_once_with_the_decay_that_its_kind_has(arch):
    options = {"width": 0.35} if "mobilenet" in arch else {"width": 4}
    recipe = Recipe(arch=arch, weight_decay=0.3, attention_weight_decay=0.2, attention_lr=5, **options)
    model = build(recipe, 3)
    found = {}
    for group in parameter_groups(model, recipe):
        for parameter in group["params"]:
            assert id(parameter) not in found
            found[id(parameter)] = (group["weight_decay"], group["factor"])
    names = {name: found.pop(id(parameter)) for name, parameter in model.named_parameters()}
    assert not found
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    for name, (decay, factor) in names.items():
        attends = ".attention." in name
        bare = name.endswith(".bias") or name.rpartition(".")[0] in norms
        assert decay == (0 if bare else 0.2 if attends else 0.3)
        assert factor == (5 if attends else 1)


def test_a_fixed_affine_is_1_and_0_whatever_it_was_before_and_stays_so():
    first, recipe = (Recipe(width=4, attention_affine=affine, attention_lr=50) for affine in ("learned", "fixed"))
    start = build(first, 3)
    for module in start.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 3)
            nn.init.constant_(module.bias, -2)
    model = build(recipe, 3, start)
    optimiser = torch.optim.SGD(parameter_groups(model, recipe), 0.1)
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    Gradients(model, recipe)(Batch(torch.randn(6, 3, 16, 16), torch.arange(6) % 3, *each((1.0,) * 6, (4,) * 6)))
    optimiser.step()
    for name, tensor in model.named_parameters():
        if ".attention.bn." in name:
            assert torch.equal(tensor, torch.full_like(tensor, 1.0 if name.endswith("weight") else 0.0))
        else:
            assert not torch.equal(tensor, before[name])


def each(temperatures=(1.0, 1.0, 1.0), kernels=(4, 4, 4)):
    """What three pictures have for themselves."""
    return Drawn(torch.tensor(temperatures), torch.tensor(kernels))


@pytest.mark.parametrize("drop", ["first", "strongest"])
def test_each_picture_is_passed_as_under_settings_of_its_own(small_model, images, drop):
    own = each(temperatures=(0.5, 1.0, 3.7), kernels=(1, 3, 2))
    with torch.no_grad(), as_drawn(small_model, own, drop):
        logits = small_model(images)
    for n, (temperature, count) in enumerate(zip(*own, strict=True)):
        expected = explain(small_model, images[n : n + 1], Settings(float(temperature), kernels=int(count), keep=drop))
        np.testing.assert_allclose(logits[n], expected.logits[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("drop", ["none", "first", "random", "strongest"])
def test_a_pictures_own_temperature_multiplies_the_one_that_all_are_told(small_model, images, drop):
    with (
        torch.no_grad(),
        as_drawn(small_model, each(temperatures=(1.0, 2.0, 4.0)), drop),
        apply_settings(Settings(1.5)),
    ):
        logits = small_model(images)
    for n, temperature in enumerate((1.5, 3.0, 6.0)):
        expected = explain(small_model, images[n : n + 1], Settings(temperature))
        np.testing.assert_allclose(logits[n], expected.logits[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 30.0])
def test_random_kernels_leave_that_many_for_each_picture_and_exactly_nothing_to_the_rest(
    small_model, images, temperature
):
    own = each(kernels=(1, 2, 3))
    with as_drawn(small_model, own, "random"), probe(small_model, Settings(temperature)) as trace:
        small_model(images)
    sets = set()
    for record in trace.values():
        kernel = record.attention.kernel
        assert (kernel > 0).sum(1).tolist() == [1, 2, 3]
        torch.testing.assert_close(kernel.sum(1), torch.ones(3))
        sets.add(tuple((kernel[1] > 0).tolist()))
    assert len(sets) > 1  # drawn for each layer


def test_random_kernels_share_as_a_softmax_over_them_alone(small_model, images):
    with as_drawn(small_model, each(kernels=(2, 2, 2)), "random"), probe(small_model) as trace:
        small_model(images)
    record = trace["layer1.0.conv1"]  # the first layer, whose logits nothing else has changed
    logits = explain(small_model, images).layers["layer1.0.conv1"].logits.kernel
    for shares, picture in zip(record.attention.kernel, logits, strict=True):
        kept = shares > 0
        powers = np.exp(picture[kept.numpy()].astype(np.float64))
        np.testing.assert_allclose(shares[kept], powers / powers.sum(), rtol=1e-5)


def test_after_drawing_the_network_is_as_before(small_model, images):
    before = small_model(images)
    with as_drawn(small_model, each(kernels=(1, 1, 1)), "first"):
        assert not torch.equal(small_model(images), before)
    assert torch.equal(small_model(images), before)
    assert not any(module._forward_hooks for module in small_model.modules())


def test_all_kernels_get_their_turn(small_model, images):
    drawn = torch.zeros(4)
    own = Drawn(torch.ones(1), torch.ones(1, dtype=torch.int64))
    for _ in range(40):
        with as_drawn(small_model, own, "random"), probe(small_model) as trace:
            small_model(images[:1])
        drawn += trace["layer4.1.conv2"].attention.kernel[0]
    assert drawn.min() >= 3  # of 40, 10 each on average


@pytest.mark.parametrize(("drop", "takes"), [("none", {0, 1, 2, 3}), ("first", {0, 1})])
def test_a_step_changes_the_kernels_that_take_part_and_no_others(animals, monkeypatch, drop, takes):
    options = {"kernel_drop": drop, "weight_decay": 0.0, "temperature_epochs": 0}
    state = start(a_run(animals, **options), torch.device("cpu"))
    monkeypatch.setattr(train.schedules, "drawn", lambda *given: Drawn(np.ones(6), np.full(6, 2)))
    before = {name: p.detach().clone() for name, p in state.model.named_parameters() if p.ndim == 5}
    train_step(Recipe(**(SMALL | options)), state, *a_batch(), STEPS)
    for name, parameter in state.model.named_parameters():
        if name in before:
            changed = (parameter != before[name]).flatten(1).any(1)
            assert set(changed.nonzero().flatten().tolist()) == takes


def test_dropout_acts_on_the_features_in_training_alone():
    model, plain = build(Recipe(**SMALL), 3), build(Recipe(**SMALL), 3)
    add_dropout(model, 0.5)
    x = torch.randn(64, 3, 16, 16)
    assert torch.equal(model.eval()(x), plain.eval()(x))
    seen = []
    for network in (model, plain):
        network.fc.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
        network.train()(x)
    dropped, features = seen[0][seen[1] > 0], seen[1][seen[1] > 0]
    assert (dropped == 0).float().mean() == pytest.approx(0.5, abs=0.1)
    torch.testing.assert_close(dropped[dropped > 0], 2 * features[dropped > 0])


def test_a_networks_own_dropout_is_set_and_not_doubled():
    model = build(Recipe(arch="od_mobilenetv2", width=0.35), 3)
    add_dropout(model, 0.3)
    assert model.classifier[0].p == 0.3
    assert not model.classifier[1]._forward_pre_hooks


def test_averaged_weights_are_what_the_formula_gives_with_batch_norm_statistics(shake):
    model = shake(build(Recipe(**SMALL), 3), seed=1)
    average = shake(build(Recipe(**SMALL, seed=5), 3), seed=2)
    model.bn1.num_batches_tracked.fill_(7)
    before = {name: tensor.double().numpy().copy() for name, tensor in average.state_dict().items()}
    follow(average, model, 0.75)
    for name, tensor in average.state_dict().items():
        new = model.state_dict()[name]
        if tensor.is_floating_point():
            expected = 0.75 * before[name] + 0.25 * new.double().numpy()
            np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-5, atol=1e-7)
        else:
            assert torch.equal(tensor, new)
    assert average.bn1.num_batches_tracked == 7


def test_a_step_is_nesterov_descent_with_the_rates_of_the_schedule(animals):
    """Two steps by hand, with gradients from autograd on a copy."""
    recipe = Recipe(
        **(SMALL | {"kernel_drop": "none", "dropout": 0.0, "shift": 0.0, "weight_decay": 0.01, "epochs": 5})
    )
    state = start(a_run(animals, **{"kernel_drop": "none", "dropout": 0.0, "weight_decay": 0.01}), torch.device("cpu"))
    twin, velocity, (pixels, labels) = copy.deepcopy(state.model).train(), {}, a_batch()
    for step in range(2):
        x = train.prepared(pixels, 16, recipe.mean, recipe.std)
        flips = train.varied(x, stream(0, 1, step), 0.0)
        with apply_settings(Settings(30 - 29 * step / STEPS)):
            loss = F.cross_entropy(twin(flips), labels, label_smoothing=0.1)
        gradients = torch.autograd.grad(loss, list(twin.parameters()))
        assert float(train_step(recipe, state, pixels, labels, STEPS)) == pytest.approx(loss.item(), rel=1e-4)
        rate = learning_rate(recipe, (step + 0.5) / 20)
        with torch.no_grad():
            for (name, parameter), gradient in zip(twin.named_parameters(), gradients, strict=True):
                attends = ".attention." in name
                decayed = gradient + (0.01 * parameter if parameter.ndim > 1 and not attends else 0)
                velocity[name] = decayed if step == 0 else 0.9 * velocity[name] + decayed
                parameter -= rate * (2 if attends else 1) * (decayed + 0.9 * velocity[name])
    for (name, ours), theirs in zip(state.model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5, msg=name)


def test_a_step_in_bfloat16_gives_nearly_the_same_loss(animals):
    losses = []
    for precision in ("float32", "bfloat16"):
        recipe = Recipe(**(SMALL | {"precision": precision}))
        state = start(a_run(animals, precision=precision), torch.device("cpu"))
        losses.append(float(train_step(recipe, state, *a_batch(), STEPS)))
        assert all(p.dtype == torch.float32 for p in state.model.parameters())
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


# --- a whole run ------------------------------------------------------------------------------------------------------


def test_a_run_leaves_its_recipe_a_log_a_checkpoint_and_weights(finished):
    assert {path.name for path in finished.iterdir()} == {
        "run.json", "log.csv", "checkpoint.pt", "straight.safetensors", "straight.json",
    }  # fmt: skip
    stored = json.loads((finished / "run.json").read_text())
    assert stored["recipe"]["kernel_drop"] == "random"
    assert stored["ids"] == ["ant", "bee", "cow"]
    assert [row["epoch"] for row in rows(finished)] == ["1", "2"]
    assert [row["step"] for row in rows(finished)] == ["4", "8"]


def test_the_log_says_what_was_measured(finished, animals):
    last = rows(finished)[-1]
    assert tuple(last) == COLUMNS
    assert (last["size"], last["lr"], last["temperature"]) == ("16", "0.0", "1.0")
    assert float(last["images_per_second"]) > 0
    model = build(Recipe(**SMALL), 3).eval()
    model.load_state_dict(weights(finished)["average"])
    pictures = decoded(find(animals), "val", 16, animals.parent / "cache")
    recipe, right, deviations, kernels, moving = Recipe(**SMALL), 0, {head: [] for head in HEADS}, [], 0
    x = torch.tensor(pictures.pixels).permute(0, 3, 1, 2) / 255
    x = (x - torch.tensor(recipe.mean)[:, None, None]) / torch.tensor(recipe.std)[:, None, None]
    explanation = explain(model, x)
    for row, label in zip(explanation.logits, pictures.labels, strict=True):
        right += int(row.argmax() == label)
    for layer in explanation.layers.values():
        moves = []
        for head, values in layer.attention._asdict().items():
            flat = values.reshape(len(values), -1)
            moves.append(np.mean([np.std(flat[:, i]) for i in range(flat.shape[1])]))
            deviations[head].append(moves[-1])
        kernels.append(np.mean([np.exp(-sum(s * np.log(s) for s in shares)) for shares in layer.attention.kernel]))
        moving += min(moves) >= 0.05
    assert float(last["top1"]) == pytest.approx(100 * right / 12, abs=0.01)
    assert float(last["top5"]) == 100  # of three classes
    for head in HEADS:
        assert float(last[head]) == pytest.approx(np.mean(deviations[head]), abs=2e-4)
    assert float(last["effective_kernels"]) == pytest.approx(np.mean(kernels), abs=2e-3)
    assert int(last["moving_layers"]) == moving


def test_the_loss_falls_while_training(animals, tmp_path):
    """At temperature 30, where 24 pictures are enough: what happens at 1 is chaos within so few steps."""
    out = tmp_path / "learns"
    options = {"epochs": 7, "batch": 8, "lr": 0.03, "width": 8, "sizes": "32:1", "dropout": 0, "label_smoothing": 0}
    assert train.main(command(animals, out, **options, kernel_drop="none", shift=0, temperature_epochs=100)) == 0
    losses = [float(row["loss"]) for row in rows(out)]
    assert min(losses) < 0.5 * losses[0]


@pytest.mark.parametrize(("steps", "number"), [(3, signal.SIGTERM), (4, signal.SIGTERM), (6, signal.SIGINT)])
def test_a_run_that_was_stopped_goes_on_as_if_nothing_had_been(
    animals, finished, tmp_path, stop_after, monkeypatch, capsys, steps, number
):
    """In the middle of an epoch, and where one ends: the same bits as without a stop."""
    handlers = [signal.getsignal(kind) for kind in (signal.SIGTERM, signal.SIGINT)]
    done = stop_after(steps, number)
    out = tmp_path / "stopped"
    assert train.main(command(animals, out)) == 1
    assert len(done) == weights(out)["step"] == steps
    assert "--resume" in capsys.readouterr().out
    assert [signal.getsignal(kind) for kind in (signal.SIGTERM, signal.SIGINT)] == handlers
    monkeypatch.undo()
    assert train.main(command(animals, out, "--resume")) == 0
    ours, theirs = weights(out), weights(finished)
    for part in ("model", "average"):
        assert ours[part].keys() == theirs[part].keys()
        assert all(torch.equal(ours[part][name], theirs[part][name]) for name in ours[part])
    for mine, other in zip(ours["optimiser"]["state"].values(), theirs["optimiser"]["state"].values(), strict=True):
        assert torch.equal(mine["momentum_buffer"], other["momentum_buffer"])
    timed = ("seconds", "images_per_second")
    assert [[row[c] for c in COLUMNS if c not in timed] for row in rows(out)] == [
        [row[c] for c in COLUMNS if c not in timed] for row in rows(finished)
    ]
    stopped, straight = (load_checkpoint(p / f"{p.name}.safetensors") for p in (out, finished))
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(stopped.model(x), straight.model(x))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_once_and_a_second_one_does_what_it_did_before(number):
    before = signal.getsignal(number)
    with train.stopping() as stop:
        assert signal.getsignal(number) != before
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.is_set()
        assert signal.getsignal(number) == before
    assert signal.getsignal(number) == before


def test_handlers_are_put_back_after_an_error():
    def fails():
        with train.stopping():
            raise ZeroDivisionError

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError):
        fails()
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_loss_that_is_no_number_ends_the_run_and_leaves_the_last_checkpoint(animals, tmp_path, monkeypatch):
    out, real = tmp_path / "diverges", train_step

    def step(recipe, state, *given):
        return real(recipe, state, *given) * (float("nan") if state.step >= 6 else 1)

    monkeypatch.setattr(train, "train_step", step)
    message = refusal(command(animals, out))
    assert "--lr" in message
    assert weights(out)["step"] == 4


def test_a_static_network_is_trained_by_the_same_command_and_has_no_attention_to_log(animals, tmp_path):
    out = tmp_path / "static"
    assert train.main(command(animals, out, arch="resnet18", kernel_drop="none", epochs=1)) == 0
    assert all(rows(out)[0][column] == "" for column in (*HEADS, "effective_kernels", "moving_layers"))
    assert not load_checkpoint(out / "static.safetensors").dynamic


def test_movement_counts_the_layers_in_which_every_head_moves(small_model, animals, monkeypatch):
    pictures = decoded(find(animals), "val", 16, animals.parent / "cache")
    how = Preparation(16, (0, 0, 0), (1, 1, 1))
    counts = []
    for threshold in (0.0, 1.0):
        monkeypatch.setattr(train, "MOVES", threshold)
        counts.append(train.movement(small_model, pictures, how, Settings())["moving_layers"])
    assert counts == [16, 0]


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_exported_weights_load_and_equal_the_averaged_ones_within_float16(finished):
    loaded = load_checkpoint(finished / "straight.safetensors")
    model = build(Recipe(**SMALL), 3).eval()
    model.load_state_dict(weights(finished)["average"])
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = model(x)
    assert (loaded.model(x) - expected).abs().max() < 0.01 * expected.abs().max()
    for name, tensor in model.state_dict().items():
        norm = ".bn" in name or name.startswith("bn") or "downsample.1" in name
        stored = loaded.model.state_dict()[name]
        assert torch.equal(stored, tensor if norm or not tensor.is_floating_point() else tensor.half().float())


def test_exported_weights_are_at_temperature_1_what_the_averaged_ones_are_at_the_final_temperature(animals, tmp_path):
    out = tmp_path / "sharper"
    assert train.main(command(animals, out, epochs=1, initial_logits=2.0, final_temperature=0.5)) == 0
    model = build(Recipe(**SMALL), 3).eval()
    model.load_state_dict(weights(out)["average"])
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    exported = explain(load_checkpoint(out / "sharper.safetensors").model, x).layers
    expected, untouched = explain(model, x, Settings(temperature=0.5)).layers, explain(model, x).layers
    for name in exported:
        heads = zip(exported[name].attention, expected[name].attention, untouched[name].attention, strict=True)
        for gates, sharper, before in heads:
            np.testing.assert_allclose(gates, sharper, atol=0.002)
            assert np.abs(gates - before).max() > 0.01


def test_the_card_says_what_the_network_is_and_how_it_was_trained(finished):
    loaded = load_checkpoint(finished / "straight.safetensors")
    raw = json.loads((finished / "straight.json").read_text())
    assert (raw["backbone"], raw["width"], raw["num_kernels"], raw["num_classes"]) == ("od_resnet18", 4, 4, 3)
    card, last = loaded.card, rows(finished)[-1]
    assert card.name == "straight"
    assert card.classes == ("ant", "bee", "cow")
    assert (card.image_size, card.resize, card.stem) == (16, 16, "small")
    assert card.mean == Recipe().mean
    assert "2 epochs (2 at 16 px)" in card.recipe
    assert "24 training pictures of 3 classes" in card.data
    assert card.measured["n"] == 12
    assert card.measured["top1"] == float(last["top1"])


def test_a_run_that_starts_from_weights_needs_them_once_and_says_so_in_its_card(
    animals, finished, tmp_path, stop_after, monkeypatch
):
    given = tmp_path / "given.safetensors"
    for path in (finished / "straight.safetensors", finished / "straight.json"):
        given.with_suffix(path.suffix).write_bytes(path.read_bytes())
    out = tmp_path / "further"
    stop_after(1)
    assert train.main(command(animals, out, start=given, average=0.0, lr=1e-9)) == 1
    kept = load_checkpoint(given).model.state_dict()
    for name, tensor in weights(out)["average"].items():
        if "running" not in name and tensor.is_floating_point():
            assert torch.allclose(tensor, kept[name], atol=1e-5)
    monkeypatch.undo()
    given.unlink()
    assert train.main([*arguments(out=out, device="cpu", cache=animals.parent / "cache"), "--resume"]) == 0
    recipe = load_checkpoint(out / "further.safetensors").card.recipe
    assert recipe.startswith("First straight (od_resnet18 for 2 epochs")
    assert "noise" not in recipe


@pytest.mark.parametrize("first", [{"arch": "resnet18"}, {"kernels": 1}], ids=["static", "K = 1"])
def test_a_run_from_single_kernels_says_in_its_card_what_became_of_them(animals, tmp_path, stop_after, first):
    given, out = tmp_path / "given.safetensors", tmp_path / "dynamic"
    save_checkpoint(build(Recipe(width=4, **first), 3), {}, given)
    given.with_suffix(".json").unlink()
    stop_after(1)
    assert train.main(command(animals, out, start=given, apart=0.25, initial_logits=0.4)) == 1
    assert train.main([*arguments(out=out, device="cpu"), "--export"]) == 0
    recipe = load_checkpoint(out / "dynamic.safetensors").card.recipe
    assert recipe.startswith(
        "First given, each of its kernels 4 times, with noise of 0.25 of their deviation. Then od_resnet18 for 2 epochs"
    )


def test_imbalance_is_what_mean_shares_lack_of_being_equal(small_model, images):
    kernels = [layer.logits.kernel for layer in explain(small_model, images).layers.values()]
    with torch.no_grad(), imbalance(small_model) as found:
        small_model(images)
    for value, logits in zip(found, kernels, strict=True):
        powers = np.exp(logits.astype(np.float64))
        means = (powers / powers.sum(1, keepdims=True)).mean(0)
        assert float(value) == pytest.approx(4 * ((means - 0.25) ** 2).sum(), rel=1e-3, abs=1e-6)
    assert not any(module._forward_hooks for module in small_model.modules())


def test_the_loss_for_balance_evens_out_the_kernels():
    recipe = Recipe(width=8, initial_logits=1.0, balance=10.0, attention_lr=1.0)
    model = build(recipe, 3)
    parts = torch.randn(32, 3, 32, 32), torch.arange(32) % 3, torch.ones(32), torch.full((32,), 4)
    optimiser, unequal = torch.optim.SGD(model.parameters(), 0.01), []
    for _ in range(5):
        Gradients(model, recipe)(Batch(*parts))
        optimiser.step()
        with torch.no_grad(), imbalance(model) as found:
            model(parts[0])
        unequal.append(float(sum(found)))
    assert unequal[-1] < 0.7 * unequal[0]


def test_weights_can_be_exported_before_the_end(animals, tmp_path, stop_after):
    out = tmp_path / "early"
    stop_after(5)
    train.main(command(animals, out))
    assert not (out / "early.safetensors").exists()
    assert train.main([*arguments(out=out), "--export"]) == 0
    loaded = load_checkpoint(out / "early.safetensors")
    assert "epoch 1 of 2" in loaded.card.measured["what"]
    assert weights(out)["step"] == 5


def test_a_finished_run_that_is_resumed_writes_its_weights_again(finished):
    (finished / "straight.safetensors").unlink()
    assert train.main([*arguments(out=finished, device="cpu"), f"--cache={finished.parent / 'cache'}", "--resume"]) == 0
    assert (finished / "straight.safetensors").is_file()
    assert len(rows(finished)) == 2


# --- run folders ------------------------------------------------------------------------------------------------------


def test_a_folder_that_holds_a_run_or_anything_else_is_not_overwritten(animals, finished, tmp_path):
    assert "holds a run already" in refusal(command(animals, finished))
    (tmp_path / "notes.txt").touch()
    assert "not an empty folder" in refusal(command(animals, tmp_path))
    assert "not an empty folder" in refusal(command(animals, tmp_path / "notes.txt"))


def test_there_must_be_a_run_to_resume(animals, tmp_path):
    for flag in ("--resume", "--export"):
        assert "holds no run" in refusal(command(animals, tmp_path / "nowhere", flag))
    (tmp_path / "run.json").write_text("{}")
    assert "does not describe a run" in refusal(command(animals, tmp_path, "--resume"))


def test_a_changed_hyperparameter_is_refused_and_an_unchanged_one_is_not(animals, finished):
    message = refusal(command(animals, finished, "--resume", lr=0.3))
    assert "--lr 0.01" in message
    assert "0.3" in message
    assert train.reopen(finished, {"lr": 0.01, "batch": 6}).recipe == Recipe(**SMALL)


def test_other_pictures_than_those_of_the_run_are_refused(folder, finished):
    (folder / "train" / "ant" / "0.png").unlink()
    assert "begun on other pictures" in refusal(command(folder, finished, "--resume"))


def test_a_damaged_checkpoint_is_named(animals, finished):
    content = (finished / "checkpoint.pt").read_bytes()
    try:
        (finished / "checkpoint.pt").write_bytes(content[:1000])
        assert "checkpoint.pt is damaged" in refusal(command(animals, finished, "--resume"))
    finally:
        (finished / "checkpoint.pt").write_bytes(content)


def test_a_run_that_never_saved_begins_again(animals, finished, tmp_path):
    out = tmp_path / "straight"
    out.mkdir()
    (out / "run.json").write_text((finished / "run.json").read_text())
    state = train.resume(train.reopen(out, {}), torch.device("cpu"))
    assert state.step == 0
    assert torch.equal(state.model.conv1.weight, build(Recipe(**SMALL), 3).conv1.weight)


def test_bad_data_and_bad_recipes_end_in_one_sentence_before_a_folder_is_made(animals, tmp_path):
    out = tmp_path / "run"
    assert "--data is needed" in refusal(arguments(out=out))
    assert "There is no folder" in refusal(arguments(out=out, data=tmp_path / "nowhere"))
    assert "dropout=1.5" in refusal(command(animals, out, dropout=1.5))
    assert "batch=25: at most the 24" in refusal(command(animals, out, batch=25))
    assert "cannot be started from" in refusal(command(animals, out, start=tmp_path / "none.safetensors"))
    small, dynamic = tmp_path / "small.safetensors", tmp_path / "dynamic.safetensors"
    save_checkpoint(build(Recipe(width=4), 3), {}, dynamic)
    dynamic.with_suffix(".json").unlink()
    assert "branches of its own" in refusal(command(animals, out, start=dynamic, initial_logits=0.4))
    save_checkpoint(build(Recipe(arch="resnet34", width=4), 3), {}, small)
    small.with_suffix(".json").unlink()
    assert "static twin" in refusal(command(animals, out, start=small))
    assert not out.exists()


def test_a_checkpoint_is_written_whole_or_not_at_all(animals, tmp_path, monkeypatch):
    run = Run(tmp_path, Recipe(**SMALL), "", ("", ""), (24, 12), ("a", "b", "c"), ("a", "b", "c"))
    state = start(run, torch.device("cpu"))
    train.save(run, state)
    before = run.checkpoint.read_bytes()

    def fail(content, path):
        path.write_bytes(b"half")
        raise OSError("no room")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="no room"):
        train.save(run, state)
    assert run.checkpoint.read_bytes() == before


def test_a_run_inside_a_git_checkout_is_pointed_out(animals, tmp_path, stop_after, capsys):
    (tmp_path / ".git").mkdir()
    stop_after(1)
    train.main(command(animals, tmp_path / "run"))
    assert "inside a git checkout" in capsys.readouterr().out


def test_every_hyperparameter_is_an_option_of_the_command():
    given = ["--out=x", "--mean", "0.1", "0.2", "0.3", "--kernel-drop=first", "--epochs=3", "--temperature-draw=0.25"]
    options = vars(train.parser().parse_args(given))
    assert options["mean"] == [0.1, 0.2, 0.3]
    assert (options["kernel_drop"], options["epochs"], options["temperature_draw"]) == ("first", 3, 0.25)
    assert "lr" not in options  # so that --resume can tell what was asked for


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_run_on_cuda_trains_and_exports(animals, tmp_path):
    out = tmp_path / "cuda"
    assert train.main([*command(animals, out, precision="bfloat16"), "--device=cuda"]) == 0
    assert load_checkpoint(out / "cuda.safetensors").card.measured["n"] == 12
