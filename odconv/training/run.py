"""A run and its folder: begun, saved, resumed, reopened, exported.

``run.json`` says what the run is, ``checkpoint.pt`` how far it is, ``log.csv`` has a row for each epoch.
"""

from __future__ import annotations

import copy
import csv
import json
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from odconv.attention import HEADS, Settings
from odconv.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from odconv.training.compute import choose_precision
from odconv.training.data import Dataset, Pictures, find_dataset
from odconv.training.measure import Entry, Preparation, accuracy, conditions, predict_logits
from odconv.training.network import add_dropout, average_weights, build, divide_logits, parameter_groups
from odconv.training.recipe import APART, MEAN, MOMENTUM, STD, Recipe, RecipeError, sentence

COLUMNS = (
    "epoch", "step", "size", "lr", "temperature", "loss", "top1", "top5", *HEADS, "effective_kernels", "moving_layers",
    "seconds", "images_per_second",
)  # fmt: skip


class RunError(ValueError):
    """A run folder or a run that cannot go on; the message is one clear sentence."""


@dataclass(frozen=True)
class Run:
    """What a run is; nothing of it changes on the way."""

    folder: Path
    recipe: Recipe
    dataset: Dataset
    before: str  # how the weights that it started from were trained, in words; "" where there were none

    @property
    def per_epoch(self) -> int:
        """Steps in an epoch."""
        return len(self.dataset.train) // self.recipe.batch

    @property
    def checkpoint(self) -> Path:
        """Where its state is kept."""
        return self.folder / "checkpoint.pt"

    def preparation(self, size: int) -> Preparation:
        """How its network is measured, on pictures of this size."""
        return Preparation(size, MEAN, STD, self.recipe.precision, self.recipe.batch)


@dataclass
class State:
    """What changes during a run, and all that ``--resume`` needs."""

    model: nn.Module
    average: AveragedModel
    optimiser: torch.optim.SGD
    step: int = 0
    loss: float = 0.0  # summed over the steps of the epoch under way
    seconds: float = 0.0  # spent in the epoch under way
    rows: list[dict[str, Any]] = field(default_factory=list)  # of the log, one for each finished epoch


def start(run: Run, device: torch.device) -> State:
    """The state before the first step.

    Raises:
        RunError: the weights to start from cannot be read.
        RecipeError: they are of another network.
    """
    first = _load_start(run.recipe)
    model = build(run.recipe, len(run.dataset.ids), first.model if first else None).to(device)
    average = average_weights(model)
    add_dropout(model)
    groups = parameter_groups(model, run.recipe)
    optimiser = torch.optim.SGD(groups, run.recipe.lr, MOMENTUM, nesterov=True, fused=True)
    return State(model, average, optimiser)


def _load_start(recipe: Recipe) -> Checkpoint | None:
    try:
        return load_checkpoint(recipe.start) if recipe.start else None
    except CheckpointError as error:
        raise RunError(f"{recipe.start} cannot be started from: {error}") from error


def save(run: Run, state: State) -> None:
    content = vars(state) | {name: getattr(state, name).state_dict() for name in ("model", "average", "optimiser")}
    _write(run.checkpoint, lambda path: torch.save(content, path))
    _write(run.folder / "log.csv", lambda path: _write_rows(path, state.rows))


def resume(run: Run, device: torch.device) -> State:
    """The state that the last checkpoint holds; the first one where there is none yet."""
    if not run.checkpoint.is_file():
        return start(run, device)
    # Weights that the run started from are of no use any more, and may be gone.
    state = start(replace(run, recipe=replace(run.recipe, start="")), device)
    try:
        content = torch.load(run.checkpoint, map_location=device, weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise RunError(f"{run.checkpoint} is damaged and cannot be resumed.") from error
    for name in ("model", "average", "optimiser"):
        getattr(state, name).load_state_dict(content.pop(name))
    return replace(state, **content)


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Whole or not at all: under another name first."""
    unfinished = path.with_name(f".{path.name}")
    write(unfinished)
    os.replace(unfinished, path)


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)


# --- its folder -------------------------------------------------------------------------------------------------------


def begin(folder: Path, given: Mapping[str, Any], data: Path, device: torch.device) -> Run:
    """A new run, nothing written yet. ``given``: hyperparameters that differ from the defaults.

    Raises:
        RunError: something is in its folder, or the weights to start from cannot be used.
        RecipeError: a hyperparameter is outside of what is allowed.
        DataError: the data set cannot be used.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} is not an empty folder: name another, or go on with the run in it with --resume.")
    recipe = Recipe(**given)
    if recipe.precision == "auto":
        recipe = replace(recipe, precision=choose_precision(device)[0])
    dataset = find_dataset(data)
    if len(dataset.train) < recipe.batch:
        raise RecipeError(f"batch={recipe.batch}: at most the {len(dataset.train)} training pictures")
    first = _load_start(recipe)
    return Run(folder, recipe, dataset, _describe_start(first, recipe) if first else "")


def _describe_start(first: Checkpoint, recipe: Recipe) -> str:
    """The weights to start from in words: how they were trained, and what became of single kernels."""
    words = f"{first.card.name} ({first.card.recipe})" if first.card.recipe else first.card.name
    if recipe.dynamic and recipe.kernels > 1:
        words += f", each of its kernels {recipe.kernels} times, with noise of {APART:g} of their deviation"
    return words


def reopen(folder: Path, given: Mapping[str, Any], data: Path | None) -> Run:
    """The run in ``folder``, on the pictures in ``data``; None: those in the folder that it was begun on.

    Raises:
        RunError: there is none, ``given`` has a hyperparameter that it was not begun with, or the pictures differ.
        DataError: the data set cannot be used.
    """
    try:
        stored = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        recipe, before, digests = Recipe(**stored["recipe"]), stored["before"], stored["digests"]
        where = data or Path(stored["data"])
    except FileNotFoundError as error:
        raise RunError(f"{folder} holds no run to resume or export.") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(f"{folder / 'run.json'} does not describe a run.") from error
    for name, value in given.items():
        was = getattr(recipe, name)
        if value != was and (name, value) != ("precision", "auto"):
            raise RunError(f"{folder} was begun with {flag(name)} {was}, which cannot become {value} on the way.")
    dataset = find_dataset(where)
    if digests != _digests(dataset):
        raise RunError(f"{folder} was begun on other pictures than those in {where}.")
    return Run(folder, recipe, dataset, before)


def write_down(run: Run) -> None:
    """``run.json``, in a folder that is made for it."""
    data = str(run.dataset.folder.resolve())
    content = {"recipe": asdict(run.recipe), "data": data, "digests": _digests(run.dataset), "before": run.before}
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        _write(run.folder / "run.json", lambda path: path.write_text(json.dumps(content, indent=1) + "\n", "utf-8"))
    except OSError as error:
        raise RunError(f"{run.folder} cannot be written to: {error.strerror}.") from error


def _digests(dataset: Dataset) -> list[str]:
    return [dataset.digest("train"), dataset.digest("val")]


def flag(name: str) -> str:
    """The option of the command line for a hyperparameter."""
    return f"--{name.replace('_', '-')}"


# --- its weights ------------------------------------------------------------------------------------------------------


def export(run: Run, state: State, val: Pictures) -> None:
    """The averaged weights as float16 safetensors with a card, in the run's folder.

    They are measured as they will be used: at temperature 1, however far the temperature has fallen in training.
    """
    model = copy.deepcopy(state.average.module)
    divide_logits(model, run.recipe.final_temperature)
    how = run.preparation(run.recipe.stages[-1][0])
    logits = predict_logits(model, val, how, Settings())
    measured = conditions(model, how, len(val)) | accuracy(logits, val.labels)
    measured["what"] = f"after {state.step / run.per_epoch:.4g} of {run.recipe.epochs} epochs: {measured['what']}"
    path = run.folder / f"{run.folder.resolve().name}.safetensors"
    save_checkpoint(model, make_card(run, path.stem, measured), path)
    print(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB) and its card.")


def make_card(run: Run, name: str, measured: Entry) -> Entry:
    """The card of the run's weights, of which ``measured`` is known."""
    recipe, dataset, size = run.recipe, run.dataset, run.recipe.stages[-1][0]
    return {
        "name": name,
        **asdict(recipe.architecture(len(dataset.ids))),
        "image_size": size,
        "resize": size,
        "preprocessing": f"RGB, shorter side to {size}, centre crop {size}, /255, minus mean, over std",
        "mean": list(MEAN),
        "std": list(STD),
        "data": f"{dataset.folder.resolve().name}: {len(dataset.train):,} training pictures of {len(dataset.ids)} classes; "
        f"{len(dataset.val):,} validation pictures measure",
        "recipe": f"First {run.before}. Then {sentence(recipe)}" if run.before else sentence(recipe),
        "known_weaknesses": "",
        "measured": measured,
        "classes": [{"id": key, "name": name[:200]} for key, name in zip(dataset.ids, dataset.names, strict=True)],
    }
