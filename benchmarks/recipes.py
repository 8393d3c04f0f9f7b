"""What a recipe's choices do to accuracy and to attention: runs of K = 4 that differ from one recipe in what a row names.

    python benchmarks/recipes.py --data DIR [--start FILE] [--cache DIR] [--epochs 10] [--sizes 32:0.3,48:0.3,64:0.4]
        [--pictures 100000] [--change attention_lr=4 balance=0.02]

Every run has a whole cycle of the learning rate and sees the same pictures in the same order. A row: top-1 in percent of the
validation pictures with all kernels, with one (the first, the strongest), and at temperatures 0.5, 2 and 4; how far each
head differs between pictures (mean over entries and layers of the standard deviation), in how many layers all heads do by
at least 0.05, and how many of the K kernels are in effect. With ``--change`` there is one row, with these fields of the
recipe. What a choice does early on is not where a long run ends.
"""

import argparse
import platform
import sys
from pathlib import Path
from threading import Event
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))
from odconv import HEADS, Settings
from odconv.training.data import Dataset, Pictures, decoded, find
from odconv.training.evaluate import Preparation, accuracy, scores
from odconv.training.recipe import Recipe, hyperparameters
from odconv.training.run import Run, start
from odconv.training.train import movement, train_epoch

BASE: dict[str, Any] = {
    "batch": 256,
    "lr": 0.15,
    "warm_up": 0.15,
    "zoom": 1.3,
    "attention_lr": 2.0,
    "attention_affine": "fixed",
    "initial_logits": 1.0,
    "temperature_fall": "geometric",
    "temperature_draw": 0.25,
    "kernel_drop": "strongest",
    "balance": 0.01,
}
FALL = 0.3  # of the epochs, in which the temperature falls
CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"kernel_drop": "none"},
    {"kernel_drop": "first"},
    {"kernel_drop": "random"},
    {"temperature_draw": 0.0},
    {"kernel_drop": "none", "temperature_draw": 0.0, "balance": 0.0},
    {"balance": 0.0},
    {"balance": 0.05},
    {"attention_affine": "learned"},
    {"attention_weight_decay": 5e-4},
    {"attention_lr": 1.0},
    {"attention_lr": 4.0},
    {"attention_lr": 8.0},
    {"initial_logits": 0.0},
    {"initial_logits": 0.5},
    {"initial_logits": 1.5},
    {"temperature_fall": "linear"},
    {"temperature_epochs": 0.0},
)
ASKED = {
    "n=4": Settings(),
    "first 1": Settings(kernels=1, keep="first"),
    "strongest 1": Settings(kernels=1),
    "T=0.5": Settings(0.5),
    "T=2": Settings(2.0),
    "T=4": Settings(4.0),
}
COLUMNS = ("what differs", "loss", *ASKED, *HEADS, "moving_layers", "effective_kernels")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--start", default="", help="weights of the static twin; default: random ones")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument(
        "--sizes", default="32:0.3,48:0.3,64:0.4", help="sides in px, each with its share of the epochs"
    )
    parser.add_argument("--pictures", type=int, help="for training, evenly spaced; default: all")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--change", nargs="+", type=change, metavar="FIELD=VALUE")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    common = {"start": options.start, "epochs": options.epochs, "sizes": options.sizes}
    common["temperature_epochs"] = FALL * options.epochs
    changes = CHANGES if options.change is None else [dict(options.change)]
    recipes = [Recipe(**(BASE | common | changed)) for changed in changes]
    dataset, side = find(options.data), max(side for side, _ in recipes[0].stages)
    cache = options.cache or options.data / "decoded"
    train, val = (decoded(dataset, split, side, cache) for split in ("train", "val"))
    train = train.spaced(options.pictures) if options.pictures else train
    print(
        f"{options.epochs} epochs of {len(train):,} pictures, sizes {options.sizes}, start: "
        f"{Path(options.start).stem or 'random weights'}; {len(val):,} pictures for validation; {machine(options.device)}, "
        f"torch {torch.__version__}\n\n| {' | '.join(COLUMNS)} |\n"
        f"| --- |{' ---: |' * (len(COLUMNS) - 1)}"
    )
    for changed, recipe in zip(changes, recipes, strict=True):
        row = short_run(recipe, dataset, train, val, torch.device(options.device))
        what = ", ".join(f"{name} {value}" for name, value in changed.items()) or "nothing"
        print("| " + " | ".join([what, *(f"{row[column]:.4g}" for column in COLUMNS[1:])]) + " |", flush=True)


def change(said: str) -> tuple[str, Any]:
    """``attention_lr=4`` -> the field and its value."""
    name, _, value = said.partition("=")
    kind = type(getattr(Recipe, name)) if name in hyperparameters() else None
    if kind not in (int, float, str):
        raise argparse.ArgumentTypeError(f"{said!r}: FIELD=VALUE is needed, a field of a recipe")
    return name, kind(value)


def machine(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine()


def short_run(
    recipe: Recipe, dataset: Dataset, train: Pictures, val: Pictures, device: torch.device
) -> dict[str, float]:
    """Train for the whole of the recipe; what is measured then, and the mean loss of the last epoch."""
    run = Run(Path(), recipe, "", ("", ""), (len(train), len(val)), dataset.ids, dataset.names)
    state = start(run, device)
    with tqdm(disable=True) as bar:
        for _ in range(recipe.epochs):
            state.loss = 0.0
            train_epoch(recipe, state, train, Event(), bar)
    return {"loss": state.loss / (len(train) // recipe.batch)} | measured(state.average, recipe, val)


def measured(model: nn.Module, recipe: Recipe, val: Pictures) -> dict[str, float]:
    how = Preparation(recipe.stages[-1][0], recipe.mean, recipe.std, recipe.precision, recipe.batch)
    found = {name: accuracy(scores(model, val, how, told), val.labels)["top1"] for name, told in ASKED.items()}
    return found | movement(model, val.spaced(1000), how, Settings())


if __name__ == "__main__":
    main()
