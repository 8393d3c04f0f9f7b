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
SIDE = 16

# A run of a second or two: two epochs of four steps, the temperature falling in the first.
TINY = {"width": 4, "batch": 6, "epochs": 2, "sizes": "16:1", "precision": "float32", "kernel_drop": "strongest"}
TINY |= {"temperature_epochs": 1.0, "lr": 0.01}


CARD = {
    "name": "three animals",
    "classes": ["ant", "bee", "cow"],
    "image_size": 16,
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.25, 0.3],
    "recipe": "none, it is as it was initialised",
    "note": "kept",
}


def draw(path, colour, number, side=SIDE):
    """A PNG of ``side`` px whose pixels lie around ``colour``; returns the pixels."""
    random = np.random.default_rng((*colour, number))
    pixels = np.clip(random.normal(colour, 40, (side, side, 3)), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def draw_all(folder, train=8, val=4):
    for name, colour in COLOURS.items():
        for i in range(train):
            draw(folder / "train" / name / f"{i}.png", colour, i)
        for i in range(val):
            draw(folder / "val" / name / f"{i}.png", colour, 100 + i)
    return folder


def arguments(**options):
    """Options of a command line."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]


def tiny_run(folder, out, *more, **options):
    """What the command of training is given for a tiny run."""
    common = {"data": folder, "cache": folder.parent / "cache", "out": out, "device": "cpu"}
    return arguments(**common, **(TINY | options)) + list(more)


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
        x = prepare_batch(torch.tensor(pictures.pixels), 16, CARD["mean"], CARD["std"])
        model.fc.bias -= model(x).mean(0)
    path = tmp_path_factory.mktemp("weights") / "three.safetensors"
    save_checkpoint(model, CARD, path)
    return path


@pytest.fixture(scope="session")
def finished(animals, tmp_path_factory):
    """The folder of a run that went to its end in one go; tests leave it as it is."""
    out = tmp_path_factory.mktemp("runs") / "straight"
    assert train.main(tiny_run(animals, out)) == 0
    return out


@pytest.fixture(scope="module")
def checkpoint(weights):
    """The network whose ``weights`` a module makes."""
    return load_checkpoint(weights)


@pytest.fixture(autouse=True)
def _threads_stay_as_they_are():
    before = torch.get_num_threads()
    yield
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert after == before
