"""Pairs: arms that differ in ODConv alone, and statistics that say what their differences say."""

import itertools
import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import paired
from benchmarks.pairs import arms, report, statistics
from benchmarks.pairs.arms import ARMS, PARENT, TEACHER, build, kernel_step, parent_of, size
from benchmarks.pairs.pictures import Data, Normalize, Split, crop, load
from benchmarks.pairs.plan import Plan
from benchmarks.pairs.training import PairedError, Task, Training, fit, right, right_with_gates
from odconv import ODConv2d, load_checkpoint
from odconv.training.network import branches

CLASSES, SIDE = 3, 16
PLAN = Plan(width=8, side=SIDE, classes=CLASSES, epochs=2, parent_epochs=1, batch=8, padding=2, precision="float64")


def pictures(count, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    return random.integers(0, 256, (count, SIDE, SIDE, 3), np.uint8), labels


@pytest.fixture(scope="module")
def data():
    train, measured = pictures(24), pictures(12, 1)
    splits = (Split(torch.from_numpy(pixels), torch.from_numpy(labels)) for pixels, labels in (train, measured))
    return Data(*splits, CLASSES, "")


@pytest.fixture(scope="module")
def parent(data, tmp_path_factory):
    training = Training(Task(0, PARENT), PLAN, data, tmp_path_factory.mktemp("parent"))
    fit([training])
    return {name: tensor.clone() for name, tensor in training.model.state_dict().items()}


def weights(training):
    return {name: tensor.clone() for name, tensor in training.model.state_dict().items()}


# --- statistics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.7062), (2, 4.30265), (5, 2.57058), (9, 2.26216), (30, 2.04227)]
)
def test_the_quantiles_of_t_are_those_of_printed_tables(freedom, quantile):
    assert statistics.t_quantile(freedom) == pytest.approx(quantile, abs=1e-5)


@pytest.mark.parametrize("freedom", [1, 2, 3, 6, 7])
def test_the_probability_of_t_is_the_integral_of_its_density(freedom):
    places = np.linspace(-1.7, 1.7, 20_001)
    constant = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2) / math.sqrt(freedom * math.pi)
    density = constant * (1 + places**2 / freedom) ** (-(freedom + 1) / 2)
    assert statistics.t_probability(1.7, freedom) == pytest.approx(np.trapezoid(density, places), abs=1e-8)


def test_an_interval_is_the_mean_and_t_standard_errors_to_both_sides():
    differences = [0.5, -0.2, 1.1, 0.9]
    reach = 3.18245 * np.std(differences, ddof=1) / 2
    assert statistics.mean_interval(differences) == pytest.approx((0.575, 0.575 - reach, 0.575 + reach), abs=1e-5)


@pytest.mark.parametrize("differences", [[3], [1, 2, 3, 4, 5, 6], [5, -1, 0, 2, 2, -7], [0, 0], [4, 4, -4]], ids=str)
def test_a_sign_flip_p_is_counted_over_all_signs(differences):
    signs = itertools.product((1, -1), repeat=len(differences))
    sums = [abs(sum(s * d for s, d in zip(some, differences, strict=True))) for some in signs]
    expected = np.mean([total >= abs(sum(differences)) for total in sums])
    assert statistics.sign_flip_p(differences) == expected


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (3, 3), (5, 0), (2, 9), (9, 2), (1, 2)])
def test_a_mcnemar_p_is_counted_over_all_tosses_of_as_many_coins(gained, lost):
    tosses = [sum(coins) for coins in itertools.product((0, 1), repeat=gained + lost)]
    fewer = min(gained, lost)
    expected = np.mean([heads <= fewer or heads >= gained + lost - fewer for heads in tosses])
    assert statistics.mcnemar_p(gained, lost) == pytest.approx(expected, abs=1e-12)


def test_a_mcnemar_p_of_many_thousand_pictures_is_near_that_of_the_normal_distribution():
    z = (10_200 - 9_800 - 1) / math.sqrt(20_000)
    assert statistics.mcnemar_p(10_200, 9_800) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=1e-3)


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_crops_are_those_of_mirrored_pictures_with_a_reflected_border():
    pixels = torch.from_numpy(pictures(4)[0])
    chosen, moves = torch.tensor([2, 0, 3]), torch.tensor([[0, 0], [4, -3], [-1, 2]])
    mirrored = torch.tensor([False, True, True])
    cropped = crop(pixels, chosen, moves, mirrored)
    for found, which, (down, across), flip in zip(cropped, chosen, moves.tolist(), mirrored, strict=True):
        padded = np.pad(pixels[which].numpy(), ((4, 4), (4, 4), (0, 0)), "reflect")
        expected = padded[4 + down : 4 + down + SIDE, 4 + across : 4 + across + SIDE]
        assert (found.numpy() == (expected[:, ::-1] if flip else expected)).all()


def test_tuning_looks_at_a_slice_of_train_and_never_at_val(tmp_path):
    (train, train_labels), (val, val_labels) = pictures(30), pictures(6, 1)
    path = tmp_path / "some.npz"
    np.savez(path, train_pixels=train, train_labels=train_labels, val_pixels=val, val_labels=val_labels)
    tuned, whole = load(path, SIDE, CLASSES, tune=True), load(path, SIDE, CLASSES, tune=False)
    rows = [
        {picture.tobytes() for picture in some.pixels.numpy()} for some in (tuned.train, tuned.measured, whole.train)
    ]
    assert rows[0] | rows[1] == rows[2]
    assert not rows[0] & rows[1]
    assert (whole.measured.pixels.numpy() == val).all()


# --- arms -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arm", ["static", "od1", "od4", "od4_late", "se"])
def test_every_arm_begins_with_the_function_of_its_parent(arm, data, parent):
    static, model = (build(name, PLAN, CLASSES, 0, parent).double().eval() for name in ("static", arm))
    x = Normalize(torch.device("cpu"), torch.float64)(data.measured.pixels)
    torch.testing.assert_close(model(x), static(x), rtol=1e-6, atol=1e-6)  # kernels are made in float32


@pytest.mark.parametrize(("arm", "layers"), [("od1", 16), ("od4", 16), ("od4_late", 8)])
@pytest.mark.parametrize("start", ["parent", "scratch"])
def test_an_arm_has_its_dynamic_layers_and_else_the_weights_of_its_twin(arm, layers, start, parent):
    given = parent if start == "parent" else None
    twin, model = (build(name, PLAN, CLASSES, 3, given) for name in ("static", arm))
    dynamic = [name for name, module in model.named_modules() if isinstance(module, ODConv2d)]
    assert len(dynamic) == layers
    assert all(name.startswith(ARMS[arm].stages) for name in dynamic)
    theirs = twin.state_dict()
    same = [
        n
        for n, t in model.state_dict().items()
        if n in theirs and not n.removesuffix(".weight").endswith(tuple(dynamic))
    ]
    assert {"conv1.weight", "fc.weight", "layer2.0.downsample.0.weight"} <= set(same)
    assert all(torch.equal(model.state_dict()[name], theirs[name]) for name in same)


@pytest.mark.parametrize("arm", ["od1", "od4"])
def test_with_heads_that_stay_at_0_the_kernels_go_exactly_where_the_twins_go(arm, data, parent, tmp_path):
    plan = replace(PLAN, attention_lr=0.0)
    static, dynamic = (Training(Task(0, name), plan, data, tmp_path, parent) for name in ("static", arm))
    fit([static, dynamic])
    theirs = static.model.state_dict()
    for name, layer in dynamic.model.named_modules():
        if isinstance(layer, ODConv2d):
            gates = math.log2(kernel_step(layer) / layer.num_kernels) / 2
            kernel = layer.weight.mean(0) / 2**gates
            torch.testing.assert_close(kernel, theirs[f"{name}.weight"], rtol=1e-5, atol=1e-6)
    moved = max(float((theirs[name] - parent[name]).abs().max()) for name in theirs if name.endswith("conv1.weight"))
    assert moved > 1e-3
    assert static.losses == pytest.approx(dynamic.losses, rel=1e-6)


@pytest.mark.parametrize(("arm", "what"), [("wider", "multiply_adds"), ("more", "parameters")])
def test_a_wider_arm_costs_what_odconv_costs_and_starts_from_a_parent_of_its_width(arm, what, monkeypatch):
    monkeypatch.setattr(arms, "_width_of_equal", cache(arms._width_of_equal))  # the search for it takes a second
    dynamic, wide, parent = (build(name, PLAN, CLASSES, 0) for name in ("od4", arm, parent_of(arm)))
    apart = abs(size(wide, SIDE)[what] - size(dynamic, SIDE)[what])
    for step in (-1, 1):
        other = size(build("static", replace(PLAN, width=wide.conv1.out_channels + step), CLASSES, 0), SIDE)
        assert abs(other[what] - size(dynamic, SIDE)[what]) >= apart
    weights = parent.state_dict()
    assert all(torch.equal(t, weights[n]) for n, t in build(arm, PLAN, CLASSES, 0, weights).state_dict().items())


# --- training ---------------------------------------------------------------------------------------------------------


def test_both_arms_see_the_same_pictures_in_the_same_order_and_the_parent_others(data, parent, tmp_path):
    seen = {}
    for arm in ("static", "od4", PARENT):
        training = Training(Task(5, arm), PLAN, data, tmp_path, parent)
        batches = seen[arm] = []
        training.model.register_forward_pre_hook(lambda _, inputs, batches=batches: batches.append(inputs[0].clone()))
        fit([training])
    assert len(seen["static"]) == 2 * len(seen[PARENT]) == 6
    assert all(torch.equal(*both) for both in zip(seen["static"], seen["od4"], strict=True))
    assert not torch.equal(seen["static"][0], seen[PARENT][0])
    assert not torch.equal(seen["static"][0], seen["static"][3])


def test_the_rates_are_those_of_the_schedule_for_every_group(data, parent, tmp_path):
    training = Training(Task(0, "od4"), PLAN, data, tmp_path, parent)
    rates, own_step = [], training.optimiser.step
    training.optimiser.step = lambda: (
        rates.append([float(g["lr"]) for g in training.optimiser.param_groups]),
        own_step(),
    )
    fit([training])
    expected = [0.1 * 8 / 256 * (1 + math.cos(math.pi * (step + 0.5) / 6)) / 2 for step in range(6)]
    factors = [group["factor"] for group in training.optimiser.param_groups]
    assert sorted(factors) == [1, 4**3 * 4]
    torch.testing.assert_close(torch.tensor(rates), torch.tensor(expected)[:, None] * torch.tensor(factors)[None])


@pytest.mark.parametrize("start", ["parent", "scratch"])
def test_a_run_that_was_interrupted_ends_with_the_very_weights_of_one_that_was_not(start, data, parent, tmp_path):
    plan = replace(PLAN, start=start, epochs=3, temperature_share=0.5, batch=12)
    given = parent if start == "parent" else None
    whole = Training(Task(1, "od4"), plan, data, tmp_path / "whole", given)
    (tmp_path / "whole").mkdir()
    fit([whole])
    (tmp_path / "parts").mkdir()
    for _ in range(3):
        part = Training(Task(1, "od4"), plan, data, tmp_path / "parts", given)
        part.begin_epoch()
        for _ in range(part.per_epoch):
            part.step()
        part.end_epoch(0.0)
    last = Training(Task(1, "od4"), plan, data, tmp_path / "parts", given)
    assert last.finished
    assert last.losses == whole.losses
    theirs = weights(last)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in weights(whole).items())


def test_a_checkpoint_of_another_plan_is_refused(data, parent, tmp_path):
    training = Training(Task(0, "static"), PLAN, data, tmp_path, parent)
    training.begin_epoch()
    training.end_epoch(0.0)
    with pytest.raises(PairedError, match="other settings"):
        Training(Task(0, "static"), replace(PLAN, lr=0.2), data, tmp_path, parent)


def test_from_random_weights_the_temperature_falls_from_30_to_1_and_acts_in_training_alone(data, tmp_path):
    plan = replace(PLAN, start="scratch", temperature_share=0.5)
    assert [plan.temperature(progress) for progress in (0, 0.25, 0.5, 1)] == [30, 15.5, 1, 1]
    training = Training(Task(0, "od4"), plan, data, tmp_path)
    branch, pooled = branches(training.model)[0], torch.randn(4, 8, 3, 3, dtype=torch.float64)
    training.temperature.fill_(30.0)
    hidden = torch.relu(branch.normalize(branch.squeeze(pooled.mean((2, 3)))))
    torch.testing.assert_close(branch(pooled).kernel, branch.logits(hidden).kernel / 30)
    branch.eval()
    hidden = torch.relu(branch.normalize(branch.squeeze(pooled.mean((2, 3)))))
    torch.testing.assert_close(branch(pooled).kernel, branch.logits(hidden).kernel)


@pytest.mark.parametrize(("arm", "fixed"), [("od4_fixed", True), ("od4_shuffled", False)])
def test_an_arm_is_trained_with_the_mean_attention_of_its_batch_or_that_of_another_picture(arm, fixed, data, tmp_path):
    training = Training(Task(0, arm), replace(PLAN, start="scratch"), data, tmp_path)
    branch, x = branches(training.model)[0], torch.randn(5, 8, 3, 3, dtype=torch.float64)
    changed = branch(x)
    hidden = torch.relu(branch.normalize(branch.squeeze(x.mean((2, 3)))))
    own = branch.logits(hidden)
    for head, found, logits in zip(own._fields, changed, own, strict=True):
        gates = torch.softmax if head == "kernel" else lambda values, _: torch.sigmoid(values)
        if fixed:
            mean = gates(logits, 1).mean(0).expand_as(logits)
            torch.testing.assert_close(gates(found, 1), mean)
        else:
            assert torch.equal(found, logits[[4, 0, 1, 2, 3]])
    branch.eval()
    hidden = torch.relu(branch.normalize(branch.squeeze(x.mean((2, 3)))))
    assert all(map(torch.equal, branch(x), branch.logits(hidden)))


def test_a_distilled_arm_learns_from_its_teachers_softened_shares(data, parent, tmp_path):
    teacher = Training(Task(0, TEACHER), PLAN, data, tmp_path)
    assert teacher.model.conv1.out_channels == 2 * PLAN.width
    given = weights(teacher)
    training = Training(Task(0, "static_distilled"), PLAN, data, tmp_path, parent, given)
    training.begin_epoch()
    x = training.normalize(
        crop(data.train.pixels, *(each[0] for each in (training.order, training.moves, training.mirrored)))
    )
    labels = data.train.labels[training.order[0]]
    with torch.no_grad():
        logits, wanted = training.model(x), teacher.model.eval()(x)
    soft, hard = (torch.softmax(each / 4, 1) for each in (logits, wanted))
    divergence = (hard * (hard / soft).log()).sum(1).mean()
    expected = 0.1 * -torch.log_softmax(logits, 1)[range(len(labels)), labels].mean() + 0.9 * 16 * divergence
    before = [parameter.clone() for parameter in training.teacher.parameters()]
    training.model.load_state_dict(parent)  # statistics of BatchNorm have moved
    training.step()
    torch.testing.assert_close(training.loss, expected.to(training.loss.dtype))
    assert all(map(torch.equal, before, training.teacher.parameters()))


def test_frozen_gates_are_the_mean_over_train_and_shuffled_ones_those_of_another_picture(data, tmp_path):
    training = Training(Task(0, "od4"), replace(PLAN, start="scratch"), data, tmp_path)
    branch = branches(training.model)[0]
    with torch.no_grad():
        for parameter in branch.channel_fc.parameters():
            parameter.normal_(0, 3)
    made = []

    def listen():
        return branch.register_forward_hook(lambda _, inputs, logits: made.append(torch.sigmoid(logits.channel)))

    def gates_of(look):
        made.clear()
        look()
        return made[-1]

    hook = listen()
    train = gates_of(lambda: right(training, data.train))
    own = gates_of(lambda: right(training, data.measured))
    hook.remove()
    training.model.get_submodule("layer1.0.conv1").register_forward_pre_hook(lambda *_: made.append(listen()))
    frozen = gates_of(lambda: right_with_gates(training, data.measured, "frozen"))
    torch.testing.assert_close(frozen, train.mean(0).expand_as(frozen), rtol=1e-5, atol=1e-6)
    shuffled = gates_of(lambda: right_with_gates(training, data.measured, "shuffled"))
    distances = torch.cdist(shuffled, own)
    assert distances.min(1).values.max() < 1e-9


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path):
    (train, train_labels), (val, val_labels) = pictures(24), pictures(12, 1)
    path = tmp_path / "some.npz"
    np.savez(path, train_pixels=train, train_labels=train_labels, val_pixels=val, val_labels=val_labels)
    return path


ARGUMENTS = [
    "--device",
    "cpu",
    "--width",
    "8",
    "--side",
    "16",
    "--classes",
    "3",
    "--epochs",
    "1",
    "--parent-epochs",
    "1",
    "--batch",
    "8",
    "--precision",
    "float32",
]


def test_a_command_leaves_results_skips_what_is_there_and_prints_the_table(source, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    arguments = ["--data", str(source), "--out", str(out), "--seeds", "2", *ARGUMENTS]
    paired.main(arguments)
    table = capsys.readouterr().out[-2000:]
    assert "| od4 |" in table
    assert {path.name for path in out.glob("*_*.json")} == {
        f"{arm}_{seed}.json" for arm in ("parent", "static", "od4") for seed in (0, 1)
    }
    monkeypatch.setattr(paired, "begin", None)  # nothing is left to begin
    paired.main(arguments)
    assert capsys.readouterr().out.splitlines()[-7:] == table.splitlines()[-7:]
    with pytest.raises(SystemExit, match="lr differ"):
        paired.main([*arguments, "--lr", "0.3"])


def test_a_network_of_the_pairs_is_exported_as_weights_that_open(source, tmp_path, capsys):
    out, folder = tmp_path / "out", tmp_path / "data"
    for split in ("train", "val"):
        for label in range(CLASSES):
            (folder / split / f"class {label}").mkdir(parents=True)
            Image.fromarray(pictures(1)[0][0]).save(folder / split / f"class {label}" / "a.png")
    arguments = ["--data", str(source), "--out", str(out), *ARGUMENTS]
    paired.main([*arguments, "--arms", "static,od4", "--keep-weights"])
    for arm, name in (("static", "resnet18_w8"), ("od4", "od_resnet18_w8_4x")):
        paired.main(["--data", str(folder), "--out", str(out), "--export", f"{arm}_0", str(tmp_path)])
        checkpoint = load_checkpoint(tmp_path / f"{name}_tiny_imagenet.safetensors")
        kept = torch.load(out / f"{arm}_0.weights.pt", weights_only=True)
        for key, tensor in checkpoint.model.state_dict().items():
            torch.testing.assert_close(tensor, kept[key], rtol=1e-3, atol=1e-3)
        assert checkpoint.card.classes == ("class 0", "class 1", "class 2")
        assert "for 1 epochs at 16 px" in checkpoint.card.recipe
        assert ("od_resnet18" in checkpoint.card.recipe) == (arm == "od4")


def test_bits_are_packed_and_come_back():
    bits = np.random.default_rng(0).random(37) < 0.5
    assert (report.unpack(report.pack(bits), 37) == bits).all()


def test_a_row_compares_an_arm_with_the_twin_of_its_seed():
    def entry(*bits):
        return {"right": report.pack(np.array(bits, bool)), "measured": 4, "parameters": 1, "multiply_adds": 2}

    arm = {0: entry(1, 1, 1, 0), 1: entry(1, 0, 1, 1), 2: entry(1, 1, 1, 1)}
    twin = {1: entry(0, 0, 0, 1), 0: entry(1, 0, 0, 1)}
    cells = report._row_of(report.compare("od4", arm, twin)).strip("| ").split(" | ")
    low, high = 37.5 - 12.7062 * 12.5, 37.5 + 12.7062 * 12.5
    interval = f"{low:+.2f} to {high:+.2f}"
    assert cells == ["od4", "1", "2", "2", "75.00", "37.50", "+37.50", interval, "0.5000", "4", "1", "0.38"]


def test_on_a_gpu_all_arms_are_trained_together_and_on_a_cpu_pair_after_pair():
    together = list(paired.groups([0, 1], ["static", "od4"], [PARENT], at_once=True))
    assert [[task.name for task in some] for some in together] == [
        ["parent_0", "parent_1"],
        ["static_0", "od4_0", "static_1", "od4_1"],
    ]
    alone = list(paired.groups([0, 1], ["static", "od4"], [PARENT], at_once=False))
    names = ["parent_0", "static_0", "od4_0", "parent_1", "static_1", "od4_1"]
    assert [task.name for (task,) in alone] == names
