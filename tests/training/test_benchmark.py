"""The benchmark of recipes runs what it says; four steps each."""

import numpy as np

from benchmarks import recipes
from odconv.training.recipe import Recipe


def test_recipes_prints_a_row_for_each_choice_with_a_number_in_each_column(animals, capsys):
    chosen = ["as it is", "no temperature drawn", "n at random stay"]
    recipes.main(
        [
            f"--data={animals}", f"--cache={animals.parent / 'cache'}", "--steps=4", "--size=16", "--width=4", "--batch=6",
            "--pictures=6", "--only", *chosen,
        ]
    )  # fmt: skip
    printed = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    header, _, *rows = printed
    assert tuple(header) == recipes.COLUMNS
    assert [row[0] for row in rows] == chosen
    assert all(np.isfinite(float(cell)) for row in rows for cell in row[1:])
    assert len({tuple(row[1:]) for row in rows}) == 3  # each choice reaches the run


def test_every_choice_is_a_recipe_and_changes_something():
    base = Recipe(**recipes.BASE)
    made = [Recipe(**(recipes.BASE | changes)) for changes in recipes.CHANGES.values()]
    assert made[0] == base
    assert len(set(made)) == len(made)
