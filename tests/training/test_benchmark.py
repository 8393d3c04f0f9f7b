"""The benchmarks of training and of cards say what was measured; four steps each."""

import json

import numpy as np
import pytest

from benchmarks import cards, recipes
from odconv.checkpoint import load_checkpoint, save_checkpoint
from odconv.training import evaluate, train
from odconv.training.network import build
from odconv.training.recipe import Recipe


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """Weights of a static network, not trained."""
    path = tmp_path_factory.mktemp("weights") / "twin.safetensors"
    save_checkpoint(build(Recipe(arch="resnet18", width=4), 3), {}, path)
    path.with_suffix(".json").unlink()
    return path


@pytest.fixture
def small(monkeypatch):
    """The recipe that rows differ from, for a network and a data set that are small."""
    monkeypatch.setattr(recipes, "BASE", recipes.BASE | {"width": 4, "batch": 6})


def options(animals, twin, *more):
    short = ["--epochs=1", "--sizes=16:1", "--device=cpu"]
    return [f"--data={animals}", f"--cache={animals.parent / 'cache'}", f"--start={twin}", *short, *more]


def printed_tables(text):
    """Rows of cells, without the rules below the headers."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("| ---")]
    return [line.strip("| ").split(" | ") for line in lines]


def test_recipes_prints_a_row_for_each_choice_with_a_number_in_each_column(animals, twin, small, monkeypatch, capsys):
    chosen = ({}, {"temperature_draw": 0.0}, {"kernel_drop": "random"}, {"attention_lr": 4.0, "balance": 0.05})
    monkeypatch.setattr(recipes, "CHANGES", chosen)
    recipes.main(options(animals, twin))
    header, *rows = printed_tables(capsys.readouterr().out)
    assert tuple(header) == recipes.COLUMNS
    assert [row[0] for row in rows] == [
        "nothing", "temperature_draw 0.0", "kernel_drop random", "attention_lr 4.0, balance 0.05",
    ]  # fmt: skip
    assert all(np.isfinite(float(cell)) for row in rows for cell in row[1:])
    assert len({tuple(row[1:]) for row in rows}) == 4  # each choice reaches the run


def test_recipes_can_be_asked_for_one_row_on_some_of_the_pictures(animals, twin, small, capsys):
    recipes.main(options(animals, twin, "--pictures=12", "--change", "attention_lr=4", "kernel_drop=first"))
    said = capsys.readouterr().out
    assert said.startswith("1 epochs of 12 pictures")
    assert [row[0] for row in printed_tables(said)[1:]] == ["attention_lr 4.0, kernel_drop first"]


@pytest.mark.parametrize("said", ["attention_lr", "attention_lr=much", "colour=red", "mean=1"])
def test_a_change_that_no_recipe_has_is_refused(animals, twin, said, capsys):
    with pytest.raises(SystemExit):
        recipes.main(options(animals, twin, "--change", said))
    assert "--change" in capsys.readouterr().err


def test_every_choice_is_a_recipe_and_changes_something():
    base = Recipe(**recipes.BASE)
    made = [Recipe(**(recipes.BASE | changes)) for changes in recipes.CHANGES]
    assert made[0] == base
    assert len(set(made)) == len(made)


def row_of(table):
    """Column -> cell of the only row; nothing where there is none."""
    header, *rows = printed_tables(table)
    return dict(zip(header, rows[0], strict=True)) if rows else {}


@pytest.mark.parametrize("options", [{"arch": "resnet18"}, {"kernels": 1}, {"kernels": 3}], ids=str)
def test_the_tables_of_cards_are_what_evaluation_wrote(animals, tmp_path, options):
    common = {"data": animals, "cache": animals.parent / "cache", "out": tmp_path / "net", "width": 4, "batch": 6}
    common |= {"epochs": 1, "sizes": "16:1", "precision": "float32", **options}
    assert train.main([f"--{name}={value}" for name, value in common.items()]) == 0
    path = tmp_path / "net" / "net.safetensors"
    evaluate.main([f"--weights={path}", f"--data={animals}", f"--cache={animals.parent / 'cache'}"])
    measured = json.loads(path.with_suffix(".json").read_text())["measured"]
    accuracy, kept, temperatures, moves = (row_of(text) for text in cards.tables([path]))
    low, high = measured["top1_interval"]
    assert accuracy["top-1 %"] == f"{measured['top1']:.2f} ({low:.2f} to {high:.2f})"
    assert accuracy["parameters"] == cards.count(sum(p.numel() for p in load_checkpoint(path).model.parameters()))
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
