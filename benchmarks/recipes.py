"""What a recipe's choices do to accuracy and to attention: short runs that differ in one thing each.

    python benchmarks/recipes.py --data DIR --start FILE [--cache DIR] [--steps 400] [--size 32] [--threads 1] [--only NAME ...]

Every run has one whole cycle of the learning rate and sees the same pictures in the same order. A row: top-1 in percent of
evenly spaced validation pictures with all kernels, with one (the first, the strongest), and at temperatures 0.5, 2 and 4;
how far each head differs between pictures (mean over entries and layers of the standard deviation), in how many layers all
heads do by at least 0.05, and how many of the K kernels are in effect. Short runs show what a choice does early on, not
where a long run ends. About six minutes a row on one x86-64 core.
"""

import argparse
import platform
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from odconv import HEADS, Settings
from odconv.training.data import Dataset, Pictures, ahead, batches, decoded, find, stream
from odconv.training.evaluate import Preparation, accuracy, scores
from odconv.training.recipe import ORDER, Recipe
from odconv.training.run import Run, start
from odconv.training.train import movement, train_step

BASE: dict[str, Any] = {
    "epochs": 1,
    "initial_logits": 0.4,
    "average": 0.99,
    "temperature_epochs": 0.12,
    "temperature_fall": "geometric",
    "temperature_draw": 0.25,
    "kernel_drop": "strongest",
}
CHANGES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "no kernels dropped": {"kernel_drop": "none"},
    "the first n stay": {"kernel_drop": "first"},
    "n at random stay": {"kernel_drop": "random"},
    "no temperature drawn": {"temperature_draw": 0.0},
    "neither": {"kernel_drop": "none", "temperature_draw": 0.0},
    "branch: weight decay 5e-4": {"attention_weight_decay": 5e-4},
    "branch: learning rate x 1": {"attention_lr": 1.0},
    "branch: learning rate x 4": {"attention_lr": 4.0},
    "branch: learning rate x 8": {"attention_lr": 8.0},
    "branch: released initialisation": {"initial_logits": 0.0},
    "branch: logits of deviation 0.8": {"initial_logits": 0.8},
    "temperature falls in a line": {"temperature_fall": "linear"},
    "temperature 1 from the start": {"temperature_epochs": 0.0},
    "kernels apart by 0.1": {"apart": 0.1},
    "kernels balanced by 0.05": {"balance": 0.05},
}
ASKED = {
    "n=4": Settings(),
    "first 1": Settings(kernels=1, keep="first"),
    "strongest 1": Settings(kernels=1),
    "T=0.5": Settings(0.5),
    "T=2": Settings(2.0),
    "T=4": Settings(4.0),
}
COLUMNS = ("recipe", "loss", *ASKED, *HEADS, "moving_layers", "effective_kernels")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--start", required=True, help="weights of the static twin to start from")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--size", type=int, default=32, help="side of the pictures, px")
    parser.add_argument("--width", type=float, default=32)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--pictures", type=int, default=2000, help="for validation")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", nargs="+", choices=CHANGES, default=list(CHANGES))
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    dataset = find(options.data)
    cache = options.cache or options.data / "decoded"
    train, val = (decoded(dataset, split, options.size, cache) for split in ("train", "val"))
    if options.steps * options.batch > len(train):
        parser.error(f"--steps {options.steps}: {len(train)} pictures make {len(train) // options.batch} batches")
    print(
        f"{options.steps} steps of {options.batch} pictures of {options.size} px, start: "
        f"{Path(options.start).stem}; {options.pictures} pictures for validation; "
        f"{platform.processor() or platform.machine()}, {options.device}, torch {torch.__version__}\n\n| {' | '.join(COLUMNS)} |\n"
        f"| --- |{' ---: |' * (len(COLUMNS) - 1)}"
    )
    for name in options.only:
        common = {"start": options.start, "width": options.width, "batch": options.batch, "sizes": f"{options.size}:1"}
        recipe = Recipe(**(BASE | common | CHANGES[name]))
        row = short_run(recipe, dataset, train, val.spaced(options.pictures), options.steps, options.device)
        print("| " + " | ".join([name, *(f"{row[column]:.4g}" for column in COLUMNS[1:])]) + " |", flush=True)


def short_run(
    recipe: Recipe, dataset: Dataset, train: Pictures, val: Pictures, steps: int, device: str
) -> dict[str, float]:
    """Train for ``steps`` steps as if they were the whole run; what is measured then."""
    run = Run(Path(), recipe, "", ("", ""), (len(train), len(val)), dataset.ids, dataset.names)
    state = start(run, torch.device(device))
    order = stream(recipe.seed, ORDER, 0).permutation(len(train))
    losses = [
        float(train_step(recipe, state, pixels.to(device), labels.to(device), steps))
        for _, (pixels, labels) in zip(range(steps), ahead(batches(train, order, recipe.batch)), strict=False)
    ]
    return {"loss": sum(losses) / len(losses)} | measured(state.average, recipe, val)


def measured(model: nn.Module, recipe: Recipe, val: Pictures) -> dict[str, float]:
    how = Preparation(recipe.stages[-1][0], recipe.mean, recipe.std, recipe.precision, recipe.batch)
    found = {name: accuracy(scores(model, val, how, told), val.labels)["top1"] for name, told in ASKED.items()}
    return found | movement(model, val.spaced(256), how, Settings())


if __name__ == "__main__":
    main()
