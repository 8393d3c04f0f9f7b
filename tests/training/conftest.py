"""Small data sets, drawn here: noise of a colour of its own for each class."""

import numpy as np
import pytest
from PIL import Image

from odconv import load_checkpoint
from odconv.training.data import decoded, find

COLOURS = {"ant": (200, 60, 60), "bee": (60, 200, 60), "cow": (60, 60, 200)}
SIDE = 16


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
    return decoded(find(animals), "val", 16, animals.parent / "cache")


@pytest.fixture(scope="module")
def checkpoint(weights):
    """The network whose ``weights`` a module makes."""
    return load_checkpoint(weights)
