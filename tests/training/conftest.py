"""Small data sets, drawn here (noise of a colour of its own for each class), and one tiny run that many tests look at."""

import numpy as np
import pytest
import torch
from PIL import Image

from odconv import load_checkpoint
from odconv.backbones import od_resnet18
from odconv.checkpoint import save_checkpoint
from odconv.training import train
from odconv.training.data import find_dataset, load_pictures, prepare_batch

COLOURS = {"ant": (200, 60, 60), "bee": (60, 200, 60), "cow": (60, 60, 200)}
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
CARD = {"name": "three animals", "classes": list(COLOURS), "image_size": 16, "mean": MEAN, "std": STD, "note": "kept"}

# A run of a second or two: two epochs of four steps, the temperature falling in the first.
TINY = {"width": 4, "batch": 6, "epochs": 2, "sizes": "16:1", "precision": "float32", "kernel_drop": "strongest"}
TINY |= {"temperature_epochs": 1.0, "lr": 0.01}


def draw(path, colour, number, side=16):
    """A PNG of ``side`` px whose pixels lie around ``colour``; returns the pixels."""
    random = np.random.default_rng((*colour, number))
    pixels = np.clip(random.normal(colour, 40, (side, side, 3)), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def draw_all(folder):
    for name, colour in COLOURS.items():
        for i in range(12):
            draw(folder / ("train" if i < 8 else "val") / name / f"{i % 8}.png", colour, i)
    return folder


def arguments(*more, **options):
    """A command line."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items()] + list(more)


def tiny_run(data, out, *more, **options):
    """What the command of training is given for a tiny run."""
    common = {"data": data, "cache": data.parent / "cache", "out": out, "device": "cpu"}
    return arguments(*more, **common, **(TINY | options))


def refusal(command, argv):
    """The one sentence in which ``command`` ends."""
    with pytest.raises(SystemExit) as refused:
        command.main(argv)
    message = refused.value.code
    assert isinstance(message, str)
    assert "\n" not in message
    return message


@pytest.fixture
def folder(tmp_path):
    """A data set that a test may spoil."""
    return draw_all(tmp_path / "animals")


@pytest.fixture(scope="session")
def animals(tmp_path_factory):
    """The same for all tests that leave it as it is, with what it decodes to beside it."""
    return draw_all(tmp_path_factory.mktemp("data") / "animals")


@pytest.fixture(scope="session")
def pictures(animals):
    """The animals for validation, decoded."""
    return load_pictures(find_dataset(animals), "val", 16, animals.parent / "cache")


@pytest.fixture(scope="session")
def weights(shake, pictures, tmp_path_factory):
    torch.manual_seed(0)
    model = shake(od_resnet18(3, width=4, stem="small")).eval()
    with torch.no_grad():  # attention matters, and on average no class is ahead: so that settings decide
        for name, tensor in model.state_dict().items():
            if name.endswith("_fc.weight"):
                tensor *= 8
        model.fc.bias -= model(prepare_batch(torch.tensor(pictures.pixels), 16, MEAN, STD)).mean(0)
    path = tmp_path_factory.mktemp("weights") / "three.safetensors"
    save_checkpoint(model, CARD, path)
    return path


@pytest.fixture
def own_weights(weights, tmp_path):
    """A copy with its card, which a test may change."""
    copy = tmp_path / weights.name
    copy.write_bytes(weights.read_bytes())
    copy.with_suffix(".json").write_text(weights.with_suffix(".json").read_text())
    return copy


@pytest.fixture(scope="session")
def checkpoint(weights):
    return load_checkpoint(weights)


@pytest.fixture(scope="session")
def finished(animals, tmp_path_factory):
    """The folder of a run that went to its end in one go; tests leave it as it is."""
    out = tmp_path_factory.mktemp("runs") / "straight"
    assert train.main(tiny_run(animals, out)) == 0
    return out
