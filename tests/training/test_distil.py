"""Distillation on views of drawn pictures, with a tiny network: what is cached, what a step descends, and that runs go on exactly."""

import json
import math
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from odconv import Heads, Settings, apply_settings, explain, load_checkpoint, probe
from odconv.attention import HEADS
from odconv.backbones import efficientnet_lite0
from odconv.training import distil, held, views
from odconv.training.distil import (
    Distillation,
    Views,
    begin,
    losses,
    next_set,
    reopen,
    save,
    view_batches,
)
from odconv.training.grow import add_attention, choose_moves, plan_moves, sensitivities, set_heads, settle
from odconv.training.recipe import Drawn
from tests.training.conftest import arguments, draw, refusal

COLOURS = {"n01": (200, 60, 60), "n02": (60, 200, 60), "n03": (60, 60, 200)}
IDS = ["n00", "n01", "n03"]  # of the network's classes; it has none for n02


def shake(model):
    """Statistics and scales as of a trained network, so that maps do not vanish."""
    for name, tensor in model.state_dict().items():
        if name.endswith("_bn.weight"):
            tensor.uniform_(1, 2)
        elif name.endswith("running_var"):
            tensor.fill_(0.1)
    return model


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures, a static network with a card, two sets of views and a file of held-out pictures."""
    folder = tmp_path_factory.mktemp("distil")
    for name, colour in COLOURS.items():
        for i in range(6):
            draw(folder / "split" / ("train" if i < 4 else "val") / name / f"{i}.png", colour, i, side=40)
        for i in range(10):
            draw(folder / "plain" / name / f"{i}.png", colour, 10 + i, side=30)
    torch.manual_seed(0)
    save_file(shake(efficientnet_lite0(3, width_mult=0.25)).state_dict(), folder / "net.safetensors")
    card = {
        "name": "net",
        "classes": [{"id": key, "name": f"class {key}"} for key in IDS],
        "image_size": 64,
        "resize": 70,
    }
    card |= {"mean": [0.5] * 3, "std": [0.5] * 3, "recipe": "drawn"}
    (folder / "net.json").write_text(json.dumps(card))
    net = folder / "net.safetensors"
    pictures = [f"0.5={folder / 'split'}", f"0.5={folder / 'plain'}"]
    views.main(["--network", str(net), "--teachers", str(net), "--out", str(folder / "views"), "--sets", "2", "--count", "10",
                "--pictures", *pictures])  # fmt: skip
    held.main(["--network", str(net), "--views", str(folder / "held.safetensors"), "--most", "4",
               "--pictures", f"split={folder / 'split'}", f"plain={folder / 'plain'}"])  # fmt: skip
    return folder


def paths(place):
    return {
        "network": str(place / "net.safetensors"),
        "views": str(place / "views"),
        "held": str(place / "held.safetensors"),
    }


RECIPE = Distillation(kernels=2, steps=7, cool_down=2, warm_up=2, batch=4)


@pytest.fixture(scope="module")
def begun(place):
    return begin(place / "none", RECIPE, paths(place))


@pytest.fixture
def run(begun):
    """A run of ``RECIPE`` that has just begun. A copy of the one that all tests share: it takes a second to begin."""
    return deepcopy(begun)


# --- views ------------------------------------------------------------------------------------------------------------


def test_a_set_holds_what_the_beginning_makes_of_the_views_and_what_the_teachers_say(place):
    found = views.load_set(place / "views", 1)
    pools = [views.find_files(place / name)[0] for name in ("split", "plain")]
    files = views.choose(pools, [0.5, 0.5], 10, 0, 1)
    assert [path.parts[-3] == "train" for path in files] == [True] * 5 + [False] * 5
    pixels = views.make_pixels(files, 1, 0, 10, 0)
    network = load_checkpoint(place / "net.safetensors")
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    x = torch.nn.functional.interpolate((x - 0.5) / 0.5, (64, 64), mode="bilinear", antialias=True)
    with torch.inference_mode():
        features, logits = network.model.begin(x), network.model(x)
    assert found.features.shape == (10, 24, 4, 4)
    assert torch.allclose(found.features.float(), features, rtol=2e-3, atol=2e-3)
    assert torch.equal(found.logits[:, 0], found.logits[:, 1])  # the second teacher is the same network
    assert torch.allclose(found.logits[:, 0].float(), logits, rtol=2e-3, atol=2e-3)


def test_a_view_depends_on_seed_set_and_place_alone(place):
    files = views.find_files(place / "plain")[0]
    whole = views.make_pixels(files, 0, 0, 6, seed=0)
    assert np.array_equal(views.make_pixels(files, 0, 4, 2, seed=0), whole[4:])
    assert not np.array_equal(views.make_pixels(files, 1, 4, 2, seed=0), whole[4:])
    assert not np.array_equal(views.make_pixels(files, 0, 4, 2, seed=1), whole[4:])


def test_a_view_lies_inside_the_picture():
    """No edge is invented: of a picture of two greys, 100 on the left and 200 on the right, no view has a third."""
    picture = Image.fromarray(
        np.repeat(np.where(np.arange(90) < 45, 100, 200)[None, :, None], 60, 0).repeat(3, 2).astype(np.uint8)
    )
    for seed in range(20):
        random = np.random.default_rng(seed)
        view = np.asarray(views.make_view(picture, random)).astype(int)
        assert view.shape == (260, 260, 3)
        assert len(np.unique(view[:, [0, -1]])) <= 2


def test_every_tenth_picture_of_a_folder_without_a_split_is_held_out(place):
    train, val = views.find_files(place / "plain")
    assert [path.name for path in sorted(val)] == ["9.png"] * 3
    assert len(train) == 27
    assert not set(train) & set(val)
    train, val = views.find_files(place / "split")
    assert {path.parts[-3] for path in train} == {"train"}
    assert {path.parts[-3] for path in val} == {"val"}


def test_of_small_pools_pictures_come_again_and_of_large_ones_not():
    few, many = [f"a{i}" for i in range(3)], [f"b{i}" for i in range(50)]
    chosen = views.choose([few, many], [0.25, 0.75], 40, 0, 0)
    assert [name[0] for name in chosen] == ["a"] * 10 + ["b"] * 30
    assert len(set(chosen[10:])) == 30


# --- held-out pictures ------------------------------------------------------------------------------------------------


def test_held_out_pictures_have_the_label_of_the_networks_class_or_none(place):
    found = held.load_held(place / "held.safetensors")
    assert found["split"].labels.tolist() == [1, held.UNKNOWN, held.UNKNOWN, 2]  # of six pictures, four evenly spaced
    assert found["plain"].labels.tolist() == [1, held.UNKNOWN, 2]


def test_settings_reach_the_end_of_the_network_and_its_spread_is_explains(place, run):
    network = run.model.eval()
    shake_heads(network)
    features = held.load_held(place / "held.safetensors")["split"].features
    for settings in (Settings(), Settings(kernels=1), Settings(0.5)):
        with apply_settings(settings), torch.inference_mode():
            wanted = network.finish(features.float()).log_softmax(1)
        torch.testing.assert_close(held.log_probabilities(network, features, settings), wanted)
    x = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        layers = held.watch(network, network.begin(x))
    for name, layer in explain(network, x).layers.items():
        for head, attention in layer.attention._asdict().items():
            if attention is not None:
                assert layers[name][head] == pytest.approx(float(attention.std(0).mean()), abs=1e-5)


def shake_heads(model):
    for name, parameter in model.named_parameters():
        if name.endswith("_fc.weight"):
            parameter.data = 0.2 * torch.randn_like(parameter)


def test_floors_are_counted_over_the_layers_that_have_the_head():
    layers = {"a": {"kernel": 0.05, "channel": 0.02}, "b": {"kernel": 0.049, "channel": 0.03}, "c": {"channel": 0.5}}
    assert held.heads_above(layers) == {"channel": (2, 3), "kernel": (1, 2)}


def test_pictures_without_a_label_do_not_count():
    assert held.percent_right(torch.tensor([1, 2, 0]), torch.tensor([1, 0, held.UNKNOWN])) == 50
    assert held.percent_right(torch.tensor([1]), torch.tensor([held.UNKNOWN])) is None


def test_the_distance_of_two_networks_is_the_divergence_of_their_probabilities():
    p, q = np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]), np.array([[0.25, 0.5, 0.25], [0.1, 0.1, 0.8]])
    before, after = torch.from_numpy(p).log(), torch.from_numpy(q).log()
    assert held.distance(before, after) == pytest.approx((0.5 * np.log(2) - 0.25 * np.log(2)) / 2)
    assert held.percent_same(before, after) == 50


# --- a step -----------------------------------------------------------------------------------------------------------


def grown(place):
    """The tiny network with attention that stands still, as it is before its heads are set; float64."""
    static = load_checkpoint(place / "net.safetensors")
    known = replace(static.architecture, backbone="od_efficientnet_lite0", num_kernels=2, reduction=1 / 16)
    return static.model.double(), add_attention(load_checkpoint(place / "net.safetensors").model, known, 0).double()


def test_with_attention_that_stands_still_the_network_computes_what_its_static_twin_does(place):
    static, model = grown(place)
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        wanted, came = static(x), model(x)
    assert wanted.std() > 1e-3
    torch.testing.assert_close(came, wanted, rtol=1e-3, atol=1e-3)  # the kernels were float32


def test_sensitivities_are_what_a_change_of_a_gate_does_to_the_probabilities(place):
    """By differences: the mean over pictures of the squared change of the drawn class's log-probability."""
    _, model = grown(place)
    features = torch.randn(3, 24, 4, 4)
    torch.manual_seed(1)
    found = sensitivities(model.requires_grad_(True), features)
    torch.manual_seed(1)
    with torch.inference_mode():
        before = model.finish(features.double()).log_softmax(1)
        drawn = torch.multinomial(before.exp(), 1)
    for layer, head, entry in [
        ("stage5.0.expand", "channel", 3),
        ("stage6.0.depthwise", "spatial", 12),
        ("head", "filter", 7),
    ]:
        sizes = model.get_submodule(layer)
        half = {
            "spatial": torch.full((sizes.kernel_size,) * 2, 0.5, dtype=torch.float64),
            "channel": torch.full((sizes.in_channels,), 0.5, dtype=torch.float64),
            "filter": torch.full((sizes.out_channels,), 0.5, dtype=torch.float64),
        }[head]
        half.view(-1)[entry] += 1e-6
        given = Heads(**{name: half if name == head else None for name in HEADS})
        with torch.inference_mode(), probe(model, given={layer: given}):
            after = model.finish(features.double()).log_softmax(1)
        slopes = ((after - before) / 1e-6).gather(1, drawn)
        assert float(found[f"{layer}.{head}"][entry]) == pytest.approx(
            float(slopes.square().mean()), rel=1e-3, abs=1e-9
        )


def test_gates_move_in_inverse_proportion_to_what_depends_on_them():
    sensitivity = torch.tensor([1.0, 2.0, 4.0, 1000.0])
    assert choose_moves(sensitivity, 0.05, math.inf).tolist() == pytest.approx(
        [0.05 * 4 / 1.751 * share for share in (1, 0.5, 0.25, 0.001)], rel=1e-5
    )
    capped = choose_moves(torch.tensor([1e-9, 1.0, 1.0]), 0.06, math.inf).tolist()
    assert capped == pytest.approx([0.15, 0.015, 0.015], rel=1e-4)
    limited = choose_moves(sensitivity, 0.05, harm=1e-4)
    assert float((sensitivity * limited.square()).sum() / 2) == pytest.approx(1e-4, rel=1e-4)
    assert limited.mean() < 0.05


def test_the_layers_that_are_least_harmed_move_in_full():
    found = {f"{name}.{head}": torch.full((4,), value) for head in ("spatial", "channel", "filter")
             for name, value in (("a", 1.0), ("b", 10.0), ("c", 100.0))}  # fmt: skip
    moves = plan_moves(found, spread=0.04, harm=1e-5, share=0.6)
    means = {name: float(each.mean()) for name, each in moves.items()}
    for head in ("spatial", "channel", "filter"):
        assert means[f"a.{head}"] == means[f"b.{head}"] == pytest.approx(0.04, rel=1e-4)
        assert means[f"c.{head}"] == pytest.approx((2e-5 / 400) ** 0.5, rel=1e-4)


def test_heads_are_set_to_move_as_planned_about_a_half(place):
    _, model = grown(place)
    features = torch.randn(40, 24, 4, 4)
    settle(model.float(), features)
    moves = {
        name: torch.full_like(each, 0.01) for name, each in sensitivities(model.requires_grad_(True), features).items()
    }
    set_heads(model, features, moves, kernel_spread=0.02)
    with torch.inference_mode(), probe(model) as trace:
        model.finish(features)
    for record in trace.values():
        for head, logits in record.logits._asdict().items():
            if logits is not None:
                assert logits.mean(0).abs().max() < 1e-4
                deviation = logits.std(0)
                moved = deviation > 0  # in so small a network all units of a branch can be off
                wanted = 0.02 * 2 / 0.5**0.5 if head == "kernel" else 0.04
                torch.testing.assert_close(
                    deviation[moved], torch.full_like(deviation[moved], wanted), rtol=1e-3, atol=0
                )


def test_the_losses_are_those_of_the_formulas(run):
    """Kullback-Leibler divergence from the twin's and the teachers' mean; lack of spread as of batch statistics; inequality of the kernels."""
    model = run.model.eval()
    shake_heads(model)
    model.double()
    batch = Views(torch.randn(5, 24, 4, 4).half(), torch.randn(5, 3, 3).half())
    found = losses(model, batch, Drawn(torch.ones(5), torch.full((5,), 2)), run.asked, own=0.7)
    with torch.inference_mode(), probe(model) as trace:
        logits = model.finish(batch.features.double()).numpy()
    q = np.exp(batch.logits.double().numpy())
    q = q / q.sum(2, keepdims=True)
    q = 0.7 * q[:, 0] + 0.3 * q[:, 1:].mean(1)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert float(found.divergence.detach()) == pytest.approx(float((q * np.log(q / p)).sum(1).mean()), rel=1e-4)
    still, unequal = [], 0.0
    for name, record in trace.items():
        for head, attention in record.attention._asdict().items():
            if attention is not None:
                asked = run.asked[f"{name}.{head}"]
                spread = attention.double().numpy().reshape(5, -1).std(0, ddof=1).mean()
                still.append(max(0.0, 1 - spread / asked))
        unequal += 2 * float(record.attention.kernel.double().mean(0).square().sum()) - 1
    assert float(found.stillness.detach()) == pytest.approx(float(np.mean(still)), abs=1e-5)
    assert float(found.imbalance.detach()) == pytest.approx(unequal, abs=1e-4)


def test_each_picture_has_the_settings_that_were_drawn_for_it(run):
    model, asked = run.model.eval(), run.asked
    shake_heads(model)
    model.double()
    features, temperatures, kernels = torch.randn(4, 24, 4, 4).half(), [1.0, 0.5, 2.0, 1.0], [2, 1, 2, 1]
    wanted = []
    for i in range(4):
        with apply_settings(Settings(temperatures[i], kernels=kernels[i])), torch.inference_mode():
            wanted.append(model.finish(features[i : i + 1].double()).softmax(1))
    drawn = Drawn(torch.tensor(temperatures), torch.tensor(kernels))
    teacher = torch.cat(wanted).log()[:, None]  # who says exactly that
    found = losses(model, Views(features, teacher), drawn, asked, own=1)
    assert float(found.divergence.detach()) == pytest.approx(0, abs=1e-9)


def test_only_branches_kernels_and_batch_norm_behind_the_beginning_learn(run):
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    distil.train_step(run, next(view_batches(run)))
    changed = {name for name, tensor in run.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert not {name for name in changed if not name.startswith(("stage5", "stage6", "stage7", "head"))}
    assert not {name for name in changed if "running" in name}
    assert {"stage5.0.expand.weight", "head.weight", "head_bn.bias",
            "stage6.1.depthwise.attention.spatial_fc.weight"} <= changed  # fmt: skip
    assert "stage6.1.depthwise.attention.bn.weight" not in changed


def test_the_statistics_of_the_branches_are_those_of_the_views_and_the_networks_own_stay(run):
    model = run.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items() if ".attention.bn." not in name}
    features = torch.randn(6, 24, 4, 4)
    settle(model, features, batch=3)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    branch = model.get_submodule("stage5.0.expand.attention")
    squeezed = branch.squeeze(features.mean((2, 3))).detach()
    torch.testing.assert_close(branch.bn.running_mean, squeezed.mean(0))
    torch.testing.assert_close(branch.bn.running_var, (squeezed[:3].var(0) + squeezed[3:].var(0)) / 2)
    assert not any(module.training for module in model.modules())


def test_the_static_twin_learns_too_as_a_control(place):
    run = begin(place / "none", Distillation(arch="efficientnet_lite0", steps=3, batch=4), paths(place))
    before = run.model.stage7[0].project.weight.detach().clone()
    found = distil.train_step(run, next(view_batches(run)))
    assert not torch.equal(run.model.stage7[0].project.weight, before)
    assert (float(found.stillness), float(found.imbalance)) == (0, 0)


def test_rates_rise_and_fall():
    recipe = Distillation(steps=100, warm_up=10, cool_down=20)
    assert [recipe.rate(step) for step in (0, 4, 9, 50, 80, 90, 99, 100)] == pytest.approx(
        [0.1, 0.5, 1, 1, 1, 0.5, 0.05, 0]
    )


# --- runs -------------------------------------------------------------------------------------------------------------


def test_passes_go_over_the_set_that_was_used_least(place):
    used = [distil.Pass(number, 0, 0) for number in (0, 1, 0)]
    assert [next_set(place / "views", used[:i]) for i in range(4)] == [0, 1, 0, 1]


def test_a_resumed_run_does_what_an_unstopped_one_does(place):
    one = begin(place / "one", RECIPE, paths(place))
    batches = view_batches(one)
    for _ in range(5):
        distil.train_step(one, next(batches))
    other = begin(place / "other", RECIPE, paths(place))
    batches = view_batches(other)
    for _ in range(3):  # a pass is two steps
        distil.train_step(other, next(batches))
    save(other)
    other = reopen(place / "other", {})
    batches = view_batches(other)
    for _ in range(2):
        distil.train_step(other, next(batches))
    assert other.passes == one.passes == [(0, 0, 2), (1, 2, 4), (0, 4, 6)]
    for part in ("model", "average"):
        first, second = getattr(one, part).state_dict(), getattr(other, part).state_dict()
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_command_trains_resumes_and_exports(place, capsys):
    options = {"network": place / "net.safetensors", "views": place / "views", "held": place / "held.safetensors"}
    recipe = {"kernels": 2, "steps": 2, "cool_down": 1, "batch": 4, "watch": 1, "watched": 3}
    assert distil.main(arguments(out=place / "run", **options, **recipe)) == 0
    assert distil.main(arguments("--resume", out=place / "run", steps=3, watch=1, watched=3)) == 0
    rows = (place / "run" / "log.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["step", "1", "2", "3"]
    made = load_checkpoint(place / "run" / "run.safetensors")
    assert (made.architecture.backbone, made.architecture.num_kernels) == ("od_efficientnet_lite0", 2)
    assert made.card.classes == ("class n00", "class n01", "class n03")
    assert "distilled for 3 steps" in made.card.recipe
    assert distil.main(arguments("--export", out=place / "run", final_temperature=2.0)) == 0
    x = torch.randn(2, 3, 64, 64)
    cooler = load_checkpoint(place / "run" / "run.safetensors").model
    halved, hot = explain(cooler, x), explain(made.model, x, Settings(2.0))
    np.testing.assert_allclose(halved.logits, hot.logits, rtol=1e-2, atol=1e-3)  # float16 weights
    capsys.readouterr()
    held.main(
        arguments(network=options["network"], weights=place / "run" / "run.safetensors", views=options["held"], most=3)
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("plain, n = 3: static ")
    assert sum(line.lstrip().startswith("n = 1") for line in lines) == 2
    assert lines[-1].startswith("  kernel: at least 0.05 in ")


def test_views_that_several_processes_make_are_the_ones_that_one_makes(place, tmp_path):
    net = place / "net.safetensors"
    options = ["--network", str(net), "--teachers", str(net), "--sets", "1", "--count", "10", "--out", str(tmp_path)]
    pictures = [f"0.5={place / 'split'}", f"0.5={place / 'plain'}"]
    views.main([*options, "--workers", "2", "--pictures", *pictures])
    for made, expected in zip(views.load_set(tmp_path, 0), views.load_set(place / "views", 0), strict=True):
        assert torch.equal(made, expected)


def test_a_run_that_cannot_begin_or_go_on_ends_in_one_sentence(place, tmp_path):
    assert "holds no run" in refusal(distil, arguments("--resume", out=tmp_path))
    assert "--network" in refusal(distil, arguments(out=tmp_path / "new"))
    options = {"network": place / "net.safetensors", "held": place / "held.safetensors", "views": tmp_path, "batch": 4}
    assert "odconv.training.views makes it" in refusal(distil, arguments(out=tmp_path / "new", steps=1, **options))
