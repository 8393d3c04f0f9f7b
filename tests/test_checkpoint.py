import json
import math
import os
import pickle
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from odconv import backbones as nets
from odconv import card, checkpoint
from odconv.architecture import SkipInit
from odconv.atlas import atlas_path
from odconv.checkpoint import (
    CheckpointError,
    file_versions,
    find_checkpoints,
    labels,
    load_checkpoint,
    peek_architecture,
    recognise,
    save_checkpoint,
)
from odconv.familiar import Familiarity

ROOT = Path(__file__).parents[1]
BUNDLED = find_checkpoints(ROOT / "assets" / "weights")

CARD = {
    "name": "five things",
    "classes": ["a", "b", {"name": "c", "wordnet": "n01"}, "d", "e"],
    "image_size": 32,
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.2, 1],
    "stem": "small",
    "data": "none",
    "recipe": "none",
    "measured": {"top1": 20.0, "n": 5},
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def tiny(shake):
    torch.manual_seed(0)
    return shake(nets.od_resnet18(5, width=4, num_kernels=2, stem="small")).eval().requires_grad_(False)


@pytest.fixture
def state(tiny):
    return dict(tiny.state_dict())


@pytest.fixture(scope="module")
def plain_tiny(shake):
    """A static network: a third of the tensors, for what is no matter of attention."""
    torch.manual_seed(0)
    return shake(nets.resnet18(5, width=4, stem="small")).eval().requires_grad_(False)


@pytest.fixture
def plain(plain_tiny):
    return dict(plain_tiny.state_dict())


def save(content, path):
    """By the ending: safetensors, the zip format of today (.pth, .pt) or the one before it (.tar)."""
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=path.suffix != ".tar")
    return path


def as_the_authors_do(model):
    """What the released training script writes from a model inside DataParallel, its optimiser included."""
    model = nn.DataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    accuracy = {"acc": torch.tensor(74.19), "best_acc": 74.19}
    return {"epoch": 100, "state_dict": model.state_dict(), **accuracy, "optimizer": optimizer.state_dict()}


def refusal(path):
    """The message with which a file is refused; it is short and shows no more of the machine than the file name."""
    with pytest.raises(CheckpointError) as refused:
        load_checkpoint(path)
    message = str(refused.value)
    assert 0 < len(message) < 1500
    assert str(Path(path).parent) not in message
    return message


# --- files that load --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".pth", ".tar", ".pth.tar"])
def test_the_authors_format_loads_and_gives_the_same_logits(tmp_path, shake, ending):
    model = shake(nets.od_resnet18(7, width=4, num_kernels=3)).train()
    path = save(as_the_authors_do(model), tmp_path / f"theirs{ending}")
    loaded = load_checkpoint(path)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.model(x), model.eval()(x))
    assert loaded.dynamic


@pytest.mark.parametrize("ending", [".pth", ".tar", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_bare_state_dict_loads_and_gives_the_same_logits(tmp_path, tiny, state, images, ending, prefix):
    path = save({prefix + name: tensor for name, tensor in state.items()}, tmp_path / f"bare{ending}")
    loaded = load_checkpoint(str(path))
    assert torch.equal(loaded.model(images), tiny(images))


@pytest.mark.parametrize(
    ("maker", "options"),
    [
        (nets.od_resnet18, {"width": 8, "num_kernels": 1}),
        (nets.od_resnet34, {"width": 4, "stem": "small"}),
        (nets.od_resnet50, {"width": 4, "num_kernels": 2, "stem": "small"}),
        (nets.od_resnet101, {"width": 4, "num_kernels": 2}),
        (nets.resnet50, {"width": 8, "stem": "small"}),
        (nets.od_mobilenetv2, {"width_mult": 0.35, "num_kernels": 2}),
        (nets.mobilenetv2, {"width_mult": 0.5}),
    ],
)
def test_every_network_loads_with_the_logits_it_had(tmp_path, shake, maker, options):
    torch.manual_seed(0)
    model = shake(maker(6, **options)).eval()
    loaded = load_checkpoint(save(model.state_dict(), tmp_path / "weights.pth"))
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.model(x), model(x))
    assert loaded.dynamic == loaded.architecture.backbone.startswith("od_")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_load_as_float32_without_gradients_in_eval_mode(tmp_path, state, dtype):
    stored = {name: t.to(dtype) if t.is_floating_point() else t for name, t in state.items()}
    model = load_checkpoint(save(stored, tmp_path / "weights.pth")).model
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == (torch.float32 if state[name].is_floating_point() else torch.int64)
        assert torch.equal(tensor, stored[name].to(tensor.dtype))


def test_tensors_that_share_or_skip_memory_load_as_their_values(tmp_path, state):
    name = "layer1.0.conv1.weight"
    expected = state[name].clone()
    state[name] = nn.Parameter(state[name].transpose(1, 2).contiguous().transpose(1, 2))
    state["bn1.bias"] = torch.tensor(0.25).expand(4)  # stride 0, and small
    model = load_checkpoint(save(state, tmp_path / "weights.pth")).model
    assert torch.equal(model.state_dict()[name], expected)
    assert model.bn1.bias.tolist() == [0.25] * 4
    assert all(t.is_contiguous() for t in model.state_dict().values())


# --- recognising ------------------------------------------------------------------------------------------------------


def meta_state(maker, classes, **options):
    with torch.device("meta"), SkipInit():
        return maker(classes, **options).state_dict()


RECOGNISED = [
    *[
        (f"od_resnet{depth}", width, {"width": width, "stem": stem, "num_kernels": kernels}, classes, stem)
        for depth, width, stem, kernels, classes in [
            (18, 64, "imagenet", 4, 1000),
            (18, 32, "small", 1, 200),
            (18, 8, "small", 6, 2),
            (34, 24, "imagenet", 4, 10),
            (50, 64, "imagenet", 1, 1000),
            (101, 8, "small", 3, 1),
        ]
    ],
    *[
        (f"resnet{depth}", width, {"width": width, "stem": stem}, 30, stem)
        for depth, width, stem in [(18, 64, "imagenet"), (34, 8, "small"), (50, 16, "imagenet"), (101, 8, "small")]
    ],
    *[
        ("od_mobilenetv2", width, {"width_mult": width, "num_kernels": kernels}, 1000, "imagenet")
        for width, kernels in [(1.0, 4), (0.75, 1), (0.5, 4)]
    ],
    *[("mobilenetv2", width, {"width_mult": width}, 12, "imagenet") for width in (0.75, 0.5, 0.35, 1.3, 1.4)],
    *[
        ("od_efficientnet_lite0", width, {"width_mult": width, "num_kernels": kernels}, 1000, "imagenet")
        for width, kernels in [(1.0, 4), (0.25, 1)]
    ],
    *[(f"efficientnet_lite{i}", width, {}, 1000, "imagenet") for i, width in ((0, 1.0), (2, 1.1))],
]


@pytest.mark.parametrize(
    ("backbone", "width", "options", "classes", "stem"), RECOGNISED, ids=[f"{r[0]}-{r[1]}" for r in RECOGNISED]
)
def test_a_network_is_recognised_by_its_shapes(backbone, width, options, classes, stem):
    state = meta_state(getattr(nets, backbone), classes, **options)
    found = recognise(state)
    assert (found.backbone, found.width, found.num_classes, found.stem) == (backbone, width, classes, stem)
    assert found.num_kernels == options.get("num_kernels")
    assert found.reduction == (1 / 16 if backbone.startswith("od_") else None)
    built = found.outline().state_dict()
    assert {name: t.shape for name, t in built.items()} == {name: t.shape for name, t in state.items()}


@pytest.mark.parametrize("reduction", [1 / 12, 0.25, 1.7])
@pytest.mark.parametrize(
    ("maker", "options"), [(nets.od_resnet18, {"width": 32}), (nets.od_mobilenetv2, {"width_mult": 0.75})]
)
def test_another_reduction_is_recognised(maker, options, reduction):
    state = meta_state(maker, 10, reduction=reduction, **options)
    found = recognise(state)
    assert found.reduction == pytest.approx(reduction, rel=0.05)
    built = found.outline().state_dict()
    assert {name: t.shape for name, t in built.items()} == {name: t.shape for name, t in state.items()}


def test_a_reduction_below_the_floor_of_the_hidden_width_builds_the_same_network():
    state = meta_state(nets.od_resnet18, 10, reduction=1 / 64)  # 16 in every branch; 1/16 would have 32 in the last
    with torch.device("meta"), SkipInit():
        built = recognise(state).build().state_dict()
    assert {name: t.shape for name, t in built.items()} == {name: t.shape for name, t in state.items()}


def test_weights_of_another_network_are_refused(tmp_path):
    assert "no network known here" in refusal(save({"a.weight": torch.zeros(2)}, tmp_path / "other.pth"))


def test_a_resnet_of_another_depth_is_refused(tmp_path, state):
    short = {name: tensor for name, tensor in state.items() if not name.startswith("layer3.1")}
    assert "(2, 2, 1, 2)" in refusal(save(short, tmp_path / "short.pth"))


# --- keys and shapes that do not fit ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["layer2.0.bn1.running_var", "layer4.1.conv2.attention.kernel_fc.bias", "fc.bias", "fc.weight", "conv1.weight"],
)
def test_a_missing_key_is_named(tmp_path, state, name):
    del state[name]
    assert name in refusal(save(state, tmp_path / "weights.pth"))


def test_an_extra_key_is_named(tmp_path, state):
    state["layer1.0.conv1.bias"] = torch.zeros(4)
    message = refusal(save(state, tmp_path / "weights.pth"))
    assert "not known: layer1.0.conv1.bias" in message
    assert "missing" not in message


@pytest.mark.parametrize("name", ["layer1.1.conv2.weight", "layer3.0.conv1.attention.fc.weight", "bn1.bias"])
def test_a_misshapen_key_is_named_with_both_shapes(tmp_path, state, name):
    wanted, came = state[name].shape, (*state[name].shape[:-1], state[name].shape[-1] + 1)
    state[name] = torch.zeros(came)
    message = refusal(save(state, tmp_path / "weights.pth"))
    assert f"{name} {tuple(came)} instead of {tuple(wanted)}" in message


def test_many_problems_are_counted_and_not_all_listed(tmp_path, state):
    stripped = {name: tensor for name, tensor in state.items() if "attention.bn" not in name}
    assert f"… (+{16 * 5 - 5})" in refusal(save(stripped, tmp_path / "weights.pth"))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["layer2.0.conv1.weight", "layer2.0.bn1.running_mean"])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, plain, name, bad):
    plain[name] = plain[name].clone()
    plain[name].view(-1)[-1] = bad
    message = refusal(save(plain, tmp_path / "weights.pth"))
    assert "finite" in message
    assert name in message


@pytest.mark.parametrize("name", ["bn1.running_var", "layer2.0.conv1.attention.bn.running_var"])
def test_a_variance_below_0_is_refused_by_name(tmp_path, state, name):
    state[name] = state[name].clone()
    state[name][-1] = -1e-6
    message = refusal(save(state, tmp_path / "weights.pth"))
    assert "below 0" in message
    assert name in message


def test_a_variance_of_0_and_a_mean_below_it_load(tmp_path, plain):
    plain["bn1.running_var"], plain["bn1.running_mean"] = torch.zeros(4), -torch.ones(4)
    assert load_checkpoint(save(plain, tmp_path / "weights.pth")).model.bn1.running_mean.tolist() == [-1] * 4


def test_names_of_tensors_are_shown_printable_and_short(tmp_path, plain):
    plain["fc\u202e\ud800\n" + "x" * 1000] = torch.zeros(1)
    message = refusal(save(plain, tmp_path / "weights.pth"))
    assert "not known: fc���xxx" in message
    assert len(message) < 300


ODD_TENSORS = {  # a name, and what stands there instead of a dense float tensor of the right shape
    "whole numbers": ("bn1.weight", lambda t: torch.ones(t.shape, dtype=torch.int64)),
    "complex numbers": ("bn1.weight", lambda t: t.to(torch.complex64)),
    "numbers beyond float32": ("bn1.weight", lambda t: torch.full(t.shape, 1e300, dtype=torch.float64)),
    "a fraction as a counter": ("bn1.num_batches_tracked", lambda t: torch.tensor(0.5)),
    "a sparse tensor": ("fc.weight", lambda t: t.to_sparse()),
    "a tensor without data": ("fc.weight", lambda t: t.to("meta")),
    "quantised numbers": ("fc.weight", lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8)),
    "a scalar as classifier": ("fc.weight", lambda t: torch.tensor(1.0)),
    "a scalar as stem": ("conv1.weight", lambda t: torch.tensor(1.0)),
    "a scalar as first layer": ("layer1.0.conv1.weight", lambda t: torch.tensor(1.0)),
    "a vector as first layer": ("layer1.0.conv1.weight", lambda t: torch.zeros(4)),
    "a scalar as branch": ("layer1.0.conv1.attention.fc.weight", lambda t: torch.tensor(1.0)),
    "a vector as branch": ("layer1.0.conv1.attention.fc.weight", lambda t: torch.zeros(16)),
    "a branch without channels": ("layer1.0.conv1.attention.fc.weight", lambda t: torch.zeros(16, 0, 1, 1)),
    "no classes": ("fc.weight", lambda t: torch.zeros(0, t.shape[1])),
    "no kernels": ("layer1.0.conv1.weight", lambda t: torch.zeros(0, *t.shape[1:])),
}


@pytest.mark.filterwarnings("ignore")  # torch warns while it saves quantised tensors
@pytest.mark.parametrize("odd", ODD_TENSORS)
def test_a_tensor_of_another_kind_is_refused(tmp_path, state, odd):
    name, change = ODD_TENSORS[odd]
    state[name] = change(state[name])
    refusal(save(state, tmp_path / "weights.pth"))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("conv1.weight", (2**20, 2**10, 7, 7)),
        ("fc.weight", (2**30, 32)),
        ("fc.bias", (2**45,)),
        ("layer1.0.conv1.weight", (2, 2**20, 2**20, 3, 3)),
        ("layer1.0.conv1.weight", (2**40, 4, 4, 3, 3)),
        ("layer1.0.conv1.attention.fc.weight", (2**50, 4, 1, 1)),
    ],
    ids=str,
)
def test_a_giant_that_costs_nothing_to_store_is_refused(tmp_path, state, name, shape):
    state[name] = torch.zeros(()).expand(shape)  # stride 0: one number in the file
    path = save(state, tmp_path / "giant.pth")
    assert path.stat().st_size < 10**6
    refusal(path)


def test_a_network_of_giants_that_fit_each_other_is_refused_before_it_takes_memory(tmp_path, monkeypatch):
    giant = meta_state(nets.od_resnet18, 10, width=512, num_kernels=64)  # every shape is right; 60 GB if laid out
    flat = {name: torch.zeros((), dtype=t.dtype).expand(t.shape) for name, t in giant.items()}
    path = save(flat, tmp_path / "giant.pth")
    assert path.stat().st_size < 10**6
    monkeypatch.setattr(checkpoint, "recognise", lambda state: pytest.fail("the tensors were taken for weights"))
    assert "GiB, far more than a file of" in refusal(path)


# --- files that are something else ------------------------------------------------------------------------------------


class Intruder:
    """A pickle that, if it is trusted, creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("ending", [".pth", ".tar", ".pt"])
@pytest.mark.parametrize("inside", ["weights", "beside", "optimizer"])
def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path, plain, ending, inside):
    witness = tmp_path / "witness"
    content = {
        "weights": {"state_dict": {**plain, "fc.bias": Intruder(witness)}},
        "beside": {"state_dict": plain, "acc": Intruder(witness)},
        "optimizer": {"state_dict": plain, "optimizer": {"state": [Intruder(witness)]}},
    }[inside]
    path = save(content, tmp_path / f"weights{ending}")
    assert "could run code" in refusal(path)
    assert not witness.exists()
    torch.load(path, weights_only=False)
    assert witness.exists()  # trusted, the same file does its harm


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("ending", [".pth", ".tar", ".safetensors"])
def test_a_plain_pickle_is_refused_and_runs_nothing(tmp_path, ending):
    path, witness = tmp_path / f"weights{ending}", tmp_path / "witness"
    path.write_bytes(pickle.dumps({"state_dict": Intruder(witness)}))
    refusal(path)
    assert not witness.exists()


@pytest.mark.parametrize("ending", checkpoint.SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"\x00", b"These are not weights.\n" * 50, b"PK\x03\x04", b"\x80\x02}."])
def test_a_file_of_something_else_is_refused(tmp_path, ending, content):
    path = tmp_path / f"weights{ending}"
    path.write_bytes(content)
    refusal(path)


@pytest.mark.parametrize("ending", [".pth", ".tar", ".safetensors"])
def test_a_truncated_file_is_refused(tmp_path, plain, ending):
    whole = save(plain, tmp_path / f"whole{ending}").read_bytes()
    cut = tmp_path / f"cut{ending}"
    for length in (1, 7, 64, 512, 4096, len(whole) // 3, len(whole) // 2, len(whole) - 1000, len(whole) - 1):
        cut.write_bytes(whole[:length])
        refusal(cut)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("ending", [".pth", ".tar", ".safetensors"])
def test_a_damaged_file_loads_or_is_refused_but_never_fails_otherwise(tmp_path, plain, ending):
    whole = save(plain, tmp_path / f"whole{ending}").read_bytes()
    damaged = tmp_path / f"damaged{ending}"
    chance = random.Random(1)
    for _ in range(60):
        # Most at the start or the end, where the formats keep their structure, and cuts anywhere.
        data = bytearray(whole[: chance.choice([len(whole), len(whole), chance.randrange(len(whole))])])
        for _ in range(3):
            data[chance.choice([1, -1]) * chance.randrange(min(8000, len(data)))] = chance.randrange(256)
        damaged.write_bytes(data)
        try:
            load_checkpoint(damaged)
        except CheckpointError:
            continue


@pytest.mark.parametrize(
    "content",
    [
        torch.zeros(3),
        [1, 2],
        {},
        {"state_dict": {}},
        {1: torch.zeros(2)},
        {"epoch": 3},
        {"state_dict": {"fc.weight": "text"}},
        {"state_dict": [torch.zeros(2)]},
        None,
    ],
    ids=str,
)
def test_a_file_without_a_state_dict_is_refused(tmp_path, content):
    assert "state dict" in refusal(save(content, tmp_path / "weights.pth"))


def test_something_that_is_no_tensor_is_named(tmp_path, plain):
    plain["layer1.0.bn1.bias"] = 3.0
    assert "no tensor: layer1.0.bn1.bias" in refusal(save(plain, tmp_path / "weights.pth"))


@pytest.mark.parametrize("name", ["weights.bin", "weights", "weights.pth.zip", "weights.json", "weights.py"])
def test_another_ending_is_refused_and_the_allowed_ones_are_named(tmp_path, plain, name):
    torch.save(plain, tmp_path / name)
    assert ".safetensors, .pth, .pt, .tar" in refusal(tmp_path / name)


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path):
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "folder.safetensors").mkdir()
    for name in ("nothing.pth", "nothing.safetensors", "folder.pth", "folder.safetensors"):
        assert name in refusal(tmp_path / name)


def test_a_file_that_is_too_large_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    with path.open("wb") as file:
        file.truncate(2 * 2**30 + 10**9)  # a hole: it takes no disk
    monkeypatch.setattr(torch, "load", lambda *args, **options: pytest.fail("the file was read"))
    assert "GiB" in refusal(path)


# --- cards ------------------------------------------------------------------------------------------------------------


FAMILIAR = {"score": "energy", "threshold": 4.5, "false_alarms": 5, "n": 100, "caught": 40.5, "strangers": 60}


def with_card(folder, plain, **changes):
    """The tiny network's weights with a card beside them; a change to ``...`` leaves the field out."""
    card = {name: value for name, value in {**CARD, **changes}.items() if value is not ...}
    (folder / "weights.json").write_text(json.dumps(card))
    return save(plain, folder / "weights.safetensors")


def test_a_card_is_read_from_beside_the_weights(tmp_path, plain):
    card = load_checkpoint(with_card(tmp_path, plain)).card
    assert card.name == "five things"
    assert card.classes == ("a", "b", "c", "d", "e")
    assert (card.image_size, card.resize) == (32, 32)
    assert (card.mean, card.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 1.0))
    assert card.stem == "small"
    assert card.measured == {"top1": 20.0, "n": 5}
    assert card.familiar is None


def test_a_card_can_say_below_what_score_a_picture_is_unfamiliar(tmp_path, plain):
    card = load_checkpoint(with_card(tmp_path, plain, familiar=FAMILIAR | {"what": "conditions"})).card
    assert card.familiar == Familiarity("energy", 4.5, 5.0, 100, 40.5, 60)


def test_what_a_card_may_leave_out_is_filled_in(tmp_path, plain):
    left_out = dict.fromkeys(["name", "stem", "data", "recipe", "measured"], ...)
    card = load_checkpoint(with_card(tmp_path, plain, resize=36, **left_out)).card
    assert (card.name, card.stem, card.resize, card.data, card.measured) == ("weights", "small", 36, "", {})


def test_without_a_card_the_authors_preprocessing_holds(tmp_path):
    state = nets.od_resnet18(3, width=2).state_dict()
    card = load_checkpoint(save(state, tmp_path / "theirs.pth")).card
    assert (card.resize, card.image_size) == (256, 224)
    assert card.mean == (0.485, 0.456, 0.406)
    assert card.std == (0.229, 0.224, 0.225)
    assert len(card.classes) == len(set(card.classes)) == 3
    assert (card.name, card.stem) == ("theirs", "imagenet")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_size", ...),
        ("image_size", 15),
        ("image_size", 1025),
        ("image_size", 32.0),
        ("image_size", "32"),
        ("image_size", True),
        ("resize", 31),
        ("resize", 2049),
        ("resize", None),
        ("mean", ...),
        ("mean", [0.5, 0.5]),
        ("mean", [0.5, 0.5, "0.5"]),
        ("mean", [0.5, 0.5, math.nan]),
        ("mean", [0.5, 0.5, 124.0]),
        ("mean", "0.5"),
        ("std", ...),
        ("std", [0.2, 0.2, 0]),
        ("std", [0.2, 0.2, -0.2]),
        ("std", [0.2, 0.2, math.inf]),
        ("std", {"r": 1, "g": 1, "b": 1}),
        ("stem", "imagenet"),
        ("stem", 3),
        ("classes", ...),
        ("classes", ["a"] * 4),
        ("classes", ["a"] * 6),
        ("classes", ["a", "b", "c", "d", ""]),
        ("classes", ["a", "b", "c", "d", 5]),
        ("classes", ["a", "b", "c", "d", {"label": "e"}]),
        ("classes", ["a", "b", "c", "d", "e" * 201]),
        ("classes", "abcde"),
        ("classes", {"0": "a"}),
        ("data", 3),
        ("recipe", ["SGD"]),
        ("known_weaknesses", None),
        ("measured", [42.2]),
        ("measured", "42.2"),
        ("familiar", None),
        ("familiar", [4.2]),
        ("familiar", {}),
        ("familiar", FAMILIAR | {"score": "margin"}),
        ("familiar", FAMILIAR | {"score": ["max_logit"]}),
        ("familiar", FAMILIAR | {"threshold": None}),
        ("familiar", FAMILIAR | {"threshold": math.nan}),
        ("familiar", FAMILIAR | {"threshold": -math.inf}),
        ("familiar", FAMILIAR | {"threshold": True}),
        ("familiar", FAMILIAR | {"false_alarms": 100.5}),
        ("familiar", FAMILIAR | {"caught": "40"}),
        ("familiar", FAMILIAR | {"n": 0}),
        ("familiar", FAMILIAR | {"strangers": 2.0}),
        ("name", ""),
        ("name", 7),
        ("name", "n" * 201),
        ("recipe", "r" * 8001),
        ("data", "r" * 8001),
        ("known_weaknesses", "r" * 8001),
    ],
)
def test_a_bad_field_of_a_card_is_refused_by_name(tmp_path, plain, field, value):
    message = refusal(with_card(tmp_path, plain, **{field: value}))
    assert "weights.json" in message
    assert field in message


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "3", '"card"', "null", "\x00", "[" * 100_000])
def test_a_card_that_is_no_json_object_is_refused(tmp_path, plain, text):
    path = with_card(tmp_path, plain)
    (tmp_path / "weights.json").write_text(text)
    assert "weights.json" in refusal(path)


def test_a_card_in_another_encoding_is_refused(tmp_path, plain):
    path = with_card(tmp_path, plain)
    (tmp_path / "weights.json").write_bytes(json.dumps(CARD).encode("utf-16"))
    assert "not readable JSON" in refusal(path)


@pytest.mark.parametrize(
    "change",
    [{"classes": ["a", "b", "c", "d", "\ud800"]}, {"recipe": "\udc80"}, {"measured": {"\ud800": 1}}],
    ids=["a class", "the recipe", "what is measured"],
)
def test_a_card_with_half_of_a_character_is_refused(tmp_path, plain, change):
    message = refusal(with_card(tmp_path, plain, **change))
    assert "half of a character" in message


def test_control_characters_and_marks_of_direction_in_a_card_become_visible(tmp_path, plain):
    changes = {"classes": ["a\u202eb", "b\x00", "猫", "ma\u0301", "می‌خواهم"], "recipe": "one\r\ntwo\x1b[31m"}
    card = load_checkpoint(with_card(tmp_path, plain, **changes)).card
    assert card.classes == ("a�b", "b�", "猫", "ma\u0301", "می‌خواهم")
    assert card.recipe == "one\ntwo�[31m"


def test_a_card_that_is_too_large_is_refused_unparsed(tmp_path, plain, monkeypatch):
    path = with_card(tmp_path, plain, note="n" * 5 * 2**20)
    monkeypatch.setattr(card, "json", None)  # nothing to parse with
    assert "more than 4 MiB" in refusal(path)


# --- the bundled weights ----------------------------------------------------------------------------------------------


def test_weights_are_bundled():
    assert BUNDLED


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_weights_load_ready_to_look_into(name):
    loaded = load_checkpoint(BUNDLED[name])
    assert not any(module.training for module in loaded.model.modules())
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    lite, classes = name.startswith("od_efficientnet"), len(loaded.card.classes)
    assert classes == loaded.architecture.num_classes == (1000 if lite else 200)
    size = loaded.card.image_size
    logits = loaded.model(torch.randn(2, 3, size, size))
    assert logits.shape == (2, classes)
    place = ("stage5.0.expand#2", "stage5", "0·1#2") if lite else ("layer2.0.conv1#2", "layer2", "0·1#2")
    assert loaded.place(place[0]) == place[1:]
    assert logits.isfinite().all()
    assert not torch.allclose(logits[0], logits[1])
    card = json.loads(BUNDLED[name].with_suffix(".json").read_text(encoding="utf-8"))
    assert loaded.architecture.backbone == card["backbone"]
    assert loaded.architecture.num_kernels == card["num_kernels"]
    assert loaded.card.data
    assert loaded.card.measured


# --- saving -----------------------------------------------------------------------------------------------------------


def test_saved_weights_load_with_the_same_logits_to_float16_rounding(tmp_path, tiny, images):
    path = tmp_path / "weights.safetensors"
    save_checkpoint(tiny, CARD, path)
    loaded = load_checkpoint(path)
    logits, expected = loaded.model(images), tiny(images)
    assert (logits - expected).abs().max() < 0.01 * expected.abs().max()
    assert loaded.card.classes == ("a", "b", "c", "d", "e")


def test_saving_keeps_every_batch_norm_in_float32_and_halves_the_rest(tmp_path, tiny):
    path = tmp_path / "weights.safetensors"
    save_checkpoint(tiny, CARD, path)
    stored, model = load_file(path), load_checkpoint(path).model
    norms = {name for name, module in tiny.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert "layer1.0.conv1.attention.bn" in norms
    assert stored.keys() == tiny.state_dict().keys()
    for name, tensor in tiny.state_dict().items():
        kept = name.rpartition(".")[0] in norms
        assert stored[name].dtype == (tensor.dtype if kept else torch.float16)
        assert torch.equal(model.state_dict()[name], tensor if kept else tensor.half().float())


def test_saving_leaves_the_model_as_it_was(tmp_path, tiny, images):
    before, logits = {name: t.clone() for name, t in tiny.state_dict().items()}, tiny(images)
    save_checkpoint(tiny, CARD, tmp_path / "weights.safetensors")
    assert all(torch.equal(t, before[name]) and t.dtype == before[name].dtype for name, t in tiny.state_dict().items())
    assert torch.equal(tiny(images), logits)


def test_a_saved_card_keeps_what_the_loader_does_not_ask_for(tmp_path, tiny):
    save_checkpoint(tiny, {**CARD, "note": "naïve"}, tmp_path / "weights.safetensors")
    assert json.loads((tmp_path / "weights.json").read_text(encoding="utf-8")) == {**CARD, "note": "naïve"}


def test_checkpoints_are_found_by_name_and_the_earlier_folder_wins(tmp_path):
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    for folder, names in ((mine, ["b.pth", "card.json"]), (theirs, ["a.safetensors", "b.pth", "c.tar", "notes.txt"])):
        folder.mkdir()
        for name in names:
            (folder / name).touch()
    (theirs / "folder.pth").mkdir()
    found = find_checkpoints(mine, theirs, tmp_path / "nowhere")
    assert found == {"b.pth": mine / "b.pth", "a.safetensors": theirs / "a.safetensors", "c.tar": theirs / "c.tar"}


def test_names_that_cannot_be_shown_are_left_out(tmp_path):
    (tmp_path / "good.pth").touch()
    try:
        for name in (b"caf\xe9.pth", "net\u202ehtp.pth".encode(), b"line\nbreak.pth"):
            (tmp_path / os.fsdecode(name)).touch()
    except OSError:
        pytest.skip("this file system has no such names")
    assert find_checkpoints(tmp_path) == {"good.pth": tmp_path / "good.pth"}
    refusal(tmp_path / os.fsdecode(b"caf\xe9.pth")).encode("utf-8")


def test_folders_and_files_that_cannot_be_looked_at_are_left_out(tmp_path, monkeypatch):
    good, closed = tmp_path / "good", tmp_path / "closed"
    for folder in (good, closed):
        folder.mkdir()
        (folder / f"{folder.name}.pth").touch()
    (good / "dangling.pth").symlink_to(tmp_path / "nowhere")
    (good / "loop.pth").symlink_to(good / "loop.pth")
    (good / "secret.pth").touch()
    listing, looking = Path.iterdir, Path.is_file

    def iterdir(self):
        if self == closed:
            raise PermissionError(13, "Permission denied")
        return listing(self)

    def is_file(self):
        if self.name == "secret.pth":
            raise PermissionError(13, "Permission denied")
        return looking(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    monkeypatch.setattr(Path, "is_file", is_file)
    found = find_checkpoints(closed, good / "good.pth", good / "loop.pth", tmp_path / "nowhere", good)
    assert found == {"good.pth": good / "good.pth"}


@pytest.mark.parametrize(
    ("known", "shown"),
    [
        ({"a.safetensors": "ODConv", "b.safetensors": "Static"}, ["ODConv", "Static"]),
        ({"a.safetensors": "ODConv", "b.safetensors": "ODConv"}, ["ODConv (a.safetensors)", "ODConv (b.safetensors)"]),
        ({"a.pth": "", "b.pth": "", "c.safetensors": "ODConv"}, ["a.pth", "b.pth", "ODConv"]),
        ({"a.safetensors": "b.pth", "b.pth": ""}, ["b.pth (a.safetensors)", "b.pth"]),
        ({"a.pth": "X", "b.pth": "X", "X (a.pth)": ""}, ["a.pth", "b.pth", "X (a.pth)"]),
        ({}, []),
    ],
)
def test_a_label_says_what_a_file_is_and_names_the_file_where_that_could_be_another_one(known, shown):
    assert labels(known) == dict(zip(known, shown, strict=True))
    assert len(set(shown)) == len(known)


@pytest.mark.parametrize("name", BUNDLED)
def test_a_peek_at_the_header_tells_the_architecture_that_loading_finds(name, monkeypatch):
    found = load_checkpoint(BUNDLED[name]).architecture
    monkeypatch.setattr(checkpoint, "read_state", lambda path: pytest.fail("weights were read"))
    assert peek_architecture(BUNDLED[name]) == found


@pytest.mark.parametrize("family", nets.FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("kernels", [None, 1, 3])
def test_a_peek_knows_every_family_also_from_data_parallel(tmp_path, family, kernels):
    conv = nets.static_conv if kernels is None else nets.dynamic_conv(kernels, 1 / 16)
    model = family.build(nets.Layout(family.backbones[0], family.narrow, 3, family.stems[-1]), conv)
    state = model.state_dict()
    save_file({f"module.{name}": tensor.contiguous() for name, tensor in state.items()}, tmp_path / "a.safetensors")
    assert peek_architecture(tmp_path / "a.safetensors") == recognise(state)


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {"something.else": [3]},
        {"layer1.0.conv1.weight": []},
        {"layer1.0.conv1.weight": [-1, 1, 1, 1]},
        {"layer1.0.conv1.weight": [2**62, 2**62, 3, 3]},
        {"layer1.0.conv1.weight": [2**70]},
        {"layer1.0.conv1.weight": [True, 1.5, "a"]},
        {"layer1.0.conv1.weight": "none"},
        {"layer1.0.conv1.weight": None},
        {"layer1.0.conv1.weight": [1] * 1000},
        {"features.1.conv.0.0.weight": [4, 4, 4, 3, 3]},
    ],
    ids=str,
)
def test_a_peek_at_a_header_that_lies_finds_nothing(tmp_path, shapes):
    header = {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
    data = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(len(data).to_bytes(8, "little") + data)
    assert peek_architecture(tmp_path / "a.safetensors") is None


@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 500, (2**62).to_bytes(8, "little") + b"{}", bytes(8), b"\2" + bytes(7) + b"[]"]
)
def test_a_peek_at_a_file_that_is_none_finds_nothing(tmp_path, data):
    for name in ("a.safetensors", "a.pth"):
        (tmp_path / name).write_bytes(data)
        assert peek_architecture(tmp_path / name) is None
    assert peek_architecture(tmp_path / "nowhere.safetensors") is None


def test_versions_of_files_change_with_weights_card_and_atlas_and_with_nothing_else(tmp_path):
    path = tmp_path / "net.safetensors"
    seen = [file_versions(path)]
    assert seen == [(str(path), None, None, None)]
    for file in (path, tmp_path / "net.json", atlas_path(path)):
        file.write_bytes(b"a")
        seen.append(file_versions(str(path)))
        os.utime(file, ns=(0, 0))  # written again at another time
        seen.append(file_versions(path))
        file.unlink()
        file.write_bytes(b"ab")
        os.utime(file, ns=(0, 0))  # replaced by one of the same time
        seen.append(file_versions(path))
        file.unlink()
        assert file_versions(path) == seen[0]
    assert len(set(seen)) == len(seen)
    (tmp_path / "other.json").touch()
    assert file_versions(path) == seen[0]
