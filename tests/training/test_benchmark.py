"""The tables of cards say what evaluation wrote into them."""

import json

import numpy as np
import pytest

from benchmarks import cards
from odconv.checkpoint import load_checkpoint, save_checkpoint
from odconv.training import evaluate
from odconv.training.network import build
from odconv.training.recipe import Recipe
from tests.training.conftest import CARD


def row_of(table):
    """Column -> cell of the only row; nothing where there is none."""
    header, _, *rows = [line.strip("| ").split(" | ") for line in table.splitlines()]
    return dict(zip(header, rows[0], strict=True)) if rows else {}


@pytest.mark.parametrize("options", [{"arch": "resnet18"}, {"kernels": 1}, {"kernels": 3}], ids=str)
def test_the_tables_of_cards_are_what_evaluation_wrote(animals, tmp_path, options):
    path = tmp_path / "net.safetensors"
    save_checkpoint(build(Recipe(width=4, **options), 3), CARD, path)
    evaluate.main(
        [f"--weights={path}", f"--data={animals}", f"--cache={animals.parent / 'cache'}", "--temperatures=0.3,1"]
    )
    measured = json.loads(path.with_suffix(".json").read_text())["measured"]
    accuracy, kept, temperatures, moves = (row_of(text) for text in cards.tables([path]))
    low, high = measured["top1_interval"]
    assert accuracy["top-1 %"] == f"{measured['top1']:.2f} ({low:.2f} to {high:.2f})"
    assert accuracy["parameters"] == cards.count_text(
        "en", sum(p.numel() for p in load_checkpoint(path).model.parameters())
    )
    if "arch" in options:
        assert kept == temperatures == moves == {}
        return
    assert temperatures["T = 0.3"] == f"{measured['temperature']['0.3']['top1']:.2f}"
    channel = [layer["channel"] for layer in measured["between_pictures"]["layers"].values()]
    assert moves["channel"] == f"{np.mean(channel):.3f}; {sum(value >= 0.05 for value in channel)} of {len(channel)}"
    if options["kernels"] == 1:
        assert (kept, moves["kernel"], moves["effective kernels"]) == ({}, "none", "1")
    else:
        assert list(kept)[1:] == ["1 strongest", "2 strongest", "3 strongest", "1 first", "2 first", "3 first"]
        assert kept["1 first"] == f"{measured['first_n_kernels']['1']['top1']:.2f}"
