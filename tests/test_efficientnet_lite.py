"""EfficientNet-Lite against its published description, written down here on its own: a function of named tensors, no modules."""

import math

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from odconv import ODConv2d, backbones, load_checkpoint
from odconv.architecture import SkipInit, recognise
from odconv.cost import cost
from odconv.images import prepare
from odconv.refusal import CheckpointError
from odconv.training.efficientnet_lite import from_package, main

# github.com/tensorflow/tpu, models/official/efficientnet/lite: stages as that code writes them, and its table
STAGES = ("r1_k3_s1_e1_o16", "r2_k3_s2_e6_o24", "r2_k5_s2_e6_o40", "r3_k3_s2_e6_o80", "r3_k5_s1_e6_o112", "r4_k5_s2_e6_o192",
          "r1_k3_s1_e6_o320")  # fmt: skip
PUBLISHED = {
    "efficientnet_lite0": (224, 4.7, 407),
    "efficientnet_lite2": (260, 6.1, 899),
}  # px, million parameters, multiply-adds
DEPTHS = {"efficientnet_lite0": 1.0, "efficientnet_lite2": 1.2}


def blocks(width, depth):
    """(side, stride, expansion, input channels, output channels) of every block, from the strings."""
    channels, found = 32, []
    for place, stage in enumerate(STAGES):
        repeats, side, stride, expansion, out = (int(part[1:]) for part in stage.split("_"))
        out = max(8, int(out * width + 4) // 8 * 8) + (8 if int(out * width + 4) // 8 * 8 < 0.9 * out * width else 0)
        if place not in (0, len(STAGES) - 1):
            repeats = math.ceil(repeats * depth)
        for i in range(repeats):
            found.append((side, 1 if i else stride, expansion, channels, out))
            channels = out
    return found


def package_state(width, depth, classes):
    """Random tensors under the names of the package efficientnet-lite-pytorch."""
    state = {}

    def conv(name, *shape):
        state[f"{name}.weight"] = torch.randn(shape, dtype=torch.float64) / math.prod(shape[1:]) ** 0.5

    def norm(name, channels):
        state[f"{name}.weight"] = 2 + torch.rand(channels, dtype=torch.float64)
        state[f"{name}.bias"] = torch.randn(channels, dtype=torch.float64)
        state[f"{name}.running_mean"] = torch.randn(channels, dtype=torch.float64)
        state[f"{name}.running_var"] = torch.rand(channels, dtype=torch.float64) / 100  # where eps of 0.001 shows
        state[f"{name}.num_batches_tracked"] = torch.tensor(0)

    conv("_conv_stem", 32, 3, 3, 3)
    norm("_bn0", 32)
    for i, (side, _, expansion, inner, out) in enumerate(blocks(width, depth)):
        hidden = inner * expansion
        if expansion > 1:
            conv(f"_blocks.{i}._expand_conv", hidden, inner, 1, 1)
            norm(f"_blocks.{i}._bn0", hidden)
        conv(f"_blocks.{i}._depthwise_conv", hidden, 1, side, side)
        norm(f"_blocks.{i}._bn1", hidden)
        conv(f"_blocks.{i}._project_conv", out, hidden, 1, 1)
        norm(f"_blocks.{i}._bn2", out)
    conv("_conv_head", 1280, out, 1, 1)
    norm("_bn1", 1280)
    state["_fc.weight"] = torch.randn(classes, 1280, dtype=torch.float64)
    state["_fc.bias"] = torch.randn(classes, dtype=torch.float64)
    return state


def run_by_hand(state, x, width, depth):
    """The network of these tensors; "SAME" is done by writing into a map of zeros that is as large as is needed."""

    def conv(x, name, stride, groups=1):
        weight = state[f"{name}.weight"]
        side, (height, columns) = weight.shape[-1], x.shape[2:]
        tall, wide = ((-(-n // stride) - 1) * stride + side for n in (height, columns))
        room = x.new_zeros(*x.shape[:2], max(tall, height), max(wide, columns))
        top, left = (room.shape[2] - height) // 2, (room.shape[3] - columns) // 2
        room[:, :, top : top + height, left : left + columns] = x
        return F.conv2d(room, weight, stride=stride, groups=groups)

    def norm(x, name):
        mean, var, scale, shift = (
            state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-3).sqrt() * scale + shift

    x = norm(conv(x, "_conv_stem", 2), "_bn0").clamp(0, 6)
    for i, (_, stride, expansion, inner, out) in enumerate(blocks(width, depth)):
        y, name = x, f"_blocks.{i}."
        if expansion > 1:
            y = norm(conv(y, name + "_expand_conv", 1), name + "_bn0").clamp(0, 6)
        y = norm(conv(y, name + "_depthwise_conv", stride, y.shape[1]), name + "_bn1").clamp(0, 6)
        y = norm(conv(y, name + "_project_conv", 1), name + "_bn2")
        x = x + y if stride == 1 and inner == out else y
    x = norm(conv(x, "_conv_head", 1), "_bn1").clamp(0, 6).mean((2, 3))
    return x @ state["_fc.weight"].T + state["_fc.bias"]


@pytest.mark.parametrize("name", DEPTHS)
@pytest.mark.parametrize("size", [(64, 64), (65, 50)], ids=str)
def test_it_computes_what_the_description_says_from_the_packages_tensors(name, size):
    torch.manual_seed(0)
    state, x = package_state(0.25, DEPTHS[name], 5), torch.randn(2, 3, *size, dtype=torch.float64)
    renamed = from_package(state)
    found = recognise(renamed)
    assert (found.backbone, found.width, found.num_classes) == (name, 0.25, 5)
    model = found.build().double().eval()
    model.load_state_dict(renamed)
    with torch.inference_mode():
        wanted, came = run_by_hand(state, x, 0.25, DEPTHS[name]), model(x)
        assert torch.equal(model.finish(model.begin(x)), came)
    assert wanted.std() > 0.1
    torch.testing.assert_close(came, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_multiply_adds_are_the_published_ones(name):
    side, millions, multiply_adds = PUBLISHED[name]
    with torch.device("meta"), SkipInit():
        model = getattr(backbones, name)().eval()
    assert f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}" == f"{millions:.1f}"
    assert sum(layer.multiply_adds for layer in cost(model, side)) / 1e6 == pytest.approx(multiply_adds, rel=0.06)


def test_stages_5_to_7_and_the_head_are_dynamic_and_nothing_before():
    with torch.device("meta"), SkipInit():
        model = backbones.od_efficientnet_lite0()
    layers = [name for name, module in model.named_modules() if isinstance(module, ODConv2d)]
    counts = {
        stage: sum(name.split(".")[0] == stage for name in layers) for stage in ("stage5", "stage6", "stage7", "head")
    }
    assert counts == {"stage5": 9, "stage6": 12, "stage7": 3, "head": 1}
    assert len(layers) == 25


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {n: t for n, t in state.items() if "_blocks.15." not in n}, "15 blocks: 16 or 21 are needed"),
        (lambda state: state | {"_blocks.0._se_reduce.weight": torch.zeros(1)}, "_se_reduce"),
        (lambda state: state | {"_swish.weight": torch.zeros(1)}, "_swish"),
    ],
)
def test_tensors_of_another_network_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        from_package(change(package_state(0.25, 1.0, 2)))


def test_another_depth_or_width_is_refused_in_words():
    state = from_package(package_state(0.25, 1.0, 2))
    shallow = {name: tensor for name, tensor in state.items() if not name.startswith("stage6.3.")}
    with pytest.raises(CheckpointError, match=r"EfficientNet-Lite with \(1, 2, 2, 3, 3, 3, 1\) blocks is not known"):
        recognise(shallow)
    with pytest.raises(CheckpointError, match="EfficientNet-Lite with 40 channels in its fourth stage"):
        recognise(state | {"stage4.0.project.weight": torch.zeros(40, 2, 1, 1)})


def test_the_command_writes_weights_that_load_with_names_and_preprocessing(tmp_path):
    torch.save(package_state(0.25, 1.2, 2), tmp_path / "lite.pth")
    (tmp_path / "imagenet_synsets.txt").write_text("n02\nn01\n")
    (tmp_path / "imagenet_synset_to_lemma.txt").write_text("n01\ttench, Tinca tinca\nn02\tgoldfish\nn03\tother\n")
    out = tmp_path / "lite2.safetensors"
    main(["--weights", str(tmp_path / "lite.pth"), "--names", str(tmp_path), "--out", str(out)])
    found = load_checkpoint(out)
    assert found.architecture.backbone == "efficientnet_lite2"
    assert found.card.classes == ("goldfish", "tench, Tinca tinca")
    assert (found.card.image_size, found.card.resize) == (260, 292)
    grey = prepare(Image.new("RGB", (300, 300), (127, 255, 0)), found.card)
    assert grey[0, :, 0, 0].tolist() == pytest.approx([0, 1, -127 / 128], abs=1e-6)
    with pytest.raises(SystemExit, match="cannot be used"):
        main(["--weights", str(tmp_path / "lite.pth"), "--names", str(tmp_path / "none"), "--out", str(out)])
