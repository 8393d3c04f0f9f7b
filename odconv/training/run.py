"""A run and its folder: begun, saved, reopened, exported.

``checkpoint.pt`` says what the run is and how far it is, ``log.csv`` has a row for each epoch.
"""

from __future__ import annotations

import copy
import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from odconv.architecture import Architecture
from odconv.attention import Settings
from odconv.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from odconv.training.compute import choose_precision
from odconv.training.data import Dataset, Pictures, find_dataset, write_whole
from odconv.training.measure import Entry, Preparation, accuracy, conditions, predict_logits
from odconv.training.network import add_dropout, average_weights, build, divide_logits, parameter_groups
from odconv.training.recipe import APART, MEAN, MOMENTUM, STD, Recipe, RecipeError, sentence

PARTS = ("model", "average", "optimiser")  # of a run, which PyTorch saves


class RunError(ValueError):
    """A run folder or a run that cannot go on; the message is one clear sentence."""


@dataclass
class Run:
    """A run: what it is, which never changes, and how far it is."""

    folder: Path
    recipe: Recipe
    dataset: Dataset
    before: str  # how the weights that it started from were trained, in words; "" where there were none
    model: nn.Module
    average: AveragedModel
    optimiser: torch.optim.SGD
    step: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)  # of the log, one for each finished epoch

    @property
    def per_epoch(self) -> int:
        """Steps in an epoch."""
        return len(self.dataset.train) // self.recipe.batch

    @property
    def digests(self) -> list[str]:
        """By which its pictures are known again."""
        return [self.dataset.digest("train"), self.dataset.digest("val")]

    def preparation(self, size: int) -> Preparation:
        """How its network is measured, on pictures of this size."""
        return Preparation(size, MEAN, STD, self.recipe.precision, self.recipe.batch)


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
    try:
        twin = load_checkpoint(recipe.start) if recipe.start else None
    except CheckpointError as error:
        raise RunError(f"{recipe.start} cannot be started from: {error}") from error
    return new_run(folder, recipe, dataset, device, twin)


def new_run(
    folder: Path, recipe: Recipe, dataset: Dataset, device: torch.device, twin: Checkpoint | None = None
) -> Run:
    """A run before its first step; with the weights of its static ``twin``, if given."""
    model = build(recipe, len(dataset.ids), twin.model if twin else None).to(device)
    average = average_weights(model)
    add_dropout(model)
    optimiser = torch.optim.SGD(parameter_groups(model, recipe), recipe.lr, MOMENTUM, nesterov=True, fused=True)
    return Run(folder, recipe, dataset, _describe_start(twin, recipe) if twin else "", model, average, optimiser)


def _describe_start(twin: Checkpoint, recipe: Recipe) -> str:
    """The weights to start from in words: how they were trained, and what became of single kernels."""
    words = f"{twin.card.name} ({twin.card.recipe})" if twin.card.recipe else twin.card.name
    if recipe.dynamic and recipe.kernels > 1:
        words += f", each of its kernels {recipe.kernels} times, with noise of {APART:g} of their deviation"
    return words


def save(run: Run) -> None:
    """The checkpoint and the log, in a folder that is made for them.

    Raises:
        RunError: they cannot be written.
    """
    content = {
        "recipe": asdict(run.recipe),
        "data": str(run.dataset.folder.resolve()),
        "digests": run.digests,
        "before": run.before,
        "rows": run.rows,
        **{part: getattr(run, part).state_dict() for part in PARTS},
    }
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        write_whole(run.folder / "checkpoint.pt", lambda path: torch.save(content, path))
        if run.rows:
            write_whole(run.folder / "log.csv", lambda path: _write_rows(path, run.rows))
    except OSError as error:
        raise RunError(f"{run.folder} cannot be written to: {error.strerror}.") from error


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def reopen(folder: Path, given: Mapping[str, Any], data: Path | None, device: torch.device) -> Run:
    """The run in ``folder`` as its last checkpoint has it, on the pictures in ``data``; None: those it was begun on.

    Raises:
        RunError: there is none, ``given`` has a hyperparameter that it was not begun with, or the pictures differ.
        DataError: the data set cannot be used.
    """
    path = folder / "checkpoint.pt"
    if not path.is_file():
        raise RunError(f"{folder} holds no run to resume or export.")
    kept = torch.load(path, map_location=device, weights_only=True)
    recipe, where = Recipe(**kept["recipe"]), data or Path(kept["data"])
    for name, value in given.items():
        was = getattr(recipe, name)
        if value != was and (name, value) != ("precision", "auto"):
            raise RunError(f"{folder} was begun with {flag(name)} {was}, which cannot become {value} on the way.")
    run = new_run(folder, recipe, find_dataset(where), device)
    if kept["digests"] != run.digests:
        raise RunError(f"{folder} was begun on other pictures than those in {where}.")
    for part in PARTS:
        getattr(run, part).load_state_dict(kept[part])
    return replace(run, before=kept["before"], rows=kept["rows"], step=len(kept["rows"]) * run.per_epoch)


def flag(name: str) -> str:
    """The option of the command line for a hyperparameter."""
    return f"--{name.replace('_', '-')}"


def export(run: Run, val: Pictures) -> None:
    """The averaged weights as float16 safetensors with a card, in the run's folder.

    They are measured as they will be used: at temperature 1, however far the temperature has fallen in training.
    """
    model = copy.deepcopy(run.average.module)
    divide_logits(model, run.recipe.final_temperature)
    how = run.preparation(run.recipe.stages[-1][0])
    logits = predict_logits(model, val, how, Settings())
    measured = conditions(model, how, len(val)) | accuracy(logits, val.labels)
    measured["what"] = f"after {len(run.rows)} of {run.recipe.epochs} epochs: {measured['what']}"
    path = run.folder / f"{run.folder.resolve().name}.safetensors"
    save_checkpoint(model, make_card(run, path.stem, measured), path)
    print(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB) and its card.")


def make_card(run: Run, name: str, measured: Entry) -> Entry:
    """The card of the run's weights, of which ``measured`` is known."""
    recipe, dataset, size = run.recipe, run.dataset, run.recipe.stages[-1][0]
    text = f"First {run.before}. Then {sentence(recipe)}" if run.before else sentence(recipe)
    return card_of(name, recipe.architecture(len(dataset.ids)), dataset, size, text, measured)


def card_of(name: str, architecture: Architecture, dataset: Dataset, size: int, recipe: str, measured: Entry) -> Entry:
    """The card of weights that were trained on a data set at ``size`` px, as ``recipe`` tells."""
    return {
        "name": name,
        **asdict(architecture),
        "image_size": size,
        "resize": size,
        "preprocessing": f"RGB, shorter side to {size}, centre crop {size}, /255, minus mean, over std",
        "mean": list(MEAN),
        "std": list(STD),
        "data": f"{dataset.folder.resolve().name}: {len(dataset.train):,} training pictures of {len(dataset.ids)} classes; "
        f"{len(dataset.val):,} validation pictures measure",
        "recipe": recipe,
        "known_weaknesses": "",
        "measured": measured,
        "classes": [{"id": key, "name": name[:200]} for key, name in zip(dataset.ids, dataset.names, strict=True)],
    }
