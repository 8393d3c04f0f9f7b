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

from odconv.attention import HEADS
from odconv.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from odconv.training.data import Dataset
from odconv.training.gradients import Gradients
from odconv.training.network import add_dropout, build, divide_logits, parameter_groups
from odconv.training.recipe import Recipe, sentence

COLUMNS = (
    "epoch", "step", "size", "lr", "temperature", "loss", "top1", "top5", *HEADS, "effective_kernels", "moving_layers",
    "seconds", "images_per_second",
)  # fmt: skip


class RunError(ValueError):
    """A run folder or a run that cannot go on; the message is one clear sentence."""


@dataclass(frozen=True)
class Run:
    """What a run is, as it stands in ``run.json`` of its folder; nothing of it changes on the way."""

    folder: Path
    recipe: Recipe
    data: str  # folder of the data set
    digests: tuple[str, str]  # of the training and the validation pictures
    counts: tuple[int, int]
    ids: tuple[str, ...]  # of the classes
    names: tuple[str, ...]
    before: str = ""  # how the weights that it started from were trained, where there were any

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def weights(self) -> Path:
        return self.folder / f"{self.folder.resolve().name}.safetensors"


@dataclass
class State:
    """What changes during a run, and all that ``--resume`` needs."""

    model: nn.Module
    average: nn.Module  # eval mode
    optimiser: torch.optim.SGD
    gradients: Gradients
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
    first = _start_of(run.recipe)
    model = build(run.recipe, len(run.ids), first.model if first else None).to(device)
    average = copy.deepcopy(model).eval().requires_grad_(False)
    add_dropout(model, run.recipe.dropout)
    groups = parameter_groups(model, run.recipe)
    optimiser = torch.optim.SGD(groups, run.recipe.lr, run.recipe.momentum, nesterov=True, fused=True)
    return State(model, average, optimiser, Gradients(model, run.recipe))


def _start_of(recipe: Recipe) -> Checkpoint | None:
    try:
        return load_checkpoint(recipe.start) if recipe.start else None
    except CheckpointError as error:
        raise RunError(f"{recipe.start} cannot be started from: {error}") from error


def save(run: Run, state: State) -> None:
    content = {
        "model": state.model.state_dict(),
        "average": state.average.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "step": state.step,
        "loss": state.loss,
        "seconds": state.seconds,
        "rows": state.rows,
    }
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
        getattr(state, name).load_state_dict(content[name])
    state.step, state.loss, state.seconds = content["step"], content["loss"], content["seconds"]
    state.rows = content["rows"]
    return state


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


def begin(folder: Path, given: Mapping[str, Any], dataset: Dataset) -> Run:
    """A new run, nothing written yet.

    Raises:
        RunError: something is in its folder, or the weights to start from cannot be used.
        RecipeError: a hyperparameter is outside of what is allowed.
    """
    if (folder / "run.json").exists():
        raise RunError(f"{folder} holds a run already: continue it with --resume, or name another folder.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} is not an empty folder: name another one for the run.")
    recipe = Recipe(**given)
    first = _start_of(recipe)
    return Run(
        folder,
        recipe,
        str(dataset.folder.resolve()),
        digests(dataset),
        (len(dataset.train), len(dataset.val)),
        dataset.ids,
        dataset.names,
        _before(first, recipe) if first else "",
    )


def _before(first: Checkpoint, recipe: Recipe) -> str:
    """The weights to start from in words: how they were trained, and what became of single kernels."""
    had = first.architecture.num_kernels or 0
    if had == recipe.kernels and recipe.initial_logits:
        raise RunError(f"{recipe.start} has attention branches of its own, so --initial-logits has nothing to act on.")
    said = f"{first.card.name} ({first.card.recipe})" if first.card.recipe else first.card.name
    if had < 2 <= recipe.kernels and recipe.dynamic:
        said += f", each of its kernels {recipe.kernels} times, with noise of {recipe.apart:g} of their deviation"
    return said


def digests(dataset: Dataset) -> tuple[str, str]:
    """Short names for what the data set's training and validation pictures are."""
    return dataset.digest("train"), dataset.digest("val")


def reopen(folder: Path, given: Mapping[str, Any]) -> Run:
    """The run in ``folder``.

    Raises:
        RunError: there is none, or ``given`` has a hyperparameter that it was not begun with.
    """
    try:
        stored = tuples(json.loads((folder / "run.json").read_text(encoding="utf-8")))
        run = Run(folder, Recipe(**tuples(stored.pop("recipe"))), **stored)
    except FileNotFoundError as error:
        raise RunError(f"{folder} holds no run to resume or export.") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(f"{folder / 'run.json'} does not describe a run.") from error
    for name, value in given.items():
        was = getattr(run.recipe, name)
        if value != was:
            raise RunError(f"{folder} was begun with {flag(name)} {was}, which cannot become {value} on the way.")
    return run


def write_down(run: Run) -> None:
    """``run.json``, in a folder that is made for it."""
    content = {name: value for name, value in asdict(run).items() if name != "folder"}
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        _write(run.folder / "run.json", lambda path: path.write_text(json.dumps(content, indent=1) + "\n", "utf-8"))
    except OSError as error:
        raise RunError(f"{run.folder} cannot be written to: {error.strerror}.") from error


def tuples(content: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows lists only."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}


def flag(name: str) -> str:
    """The option of the command line for a hyperparameter."""
    return f"--{name.replace('_', '-')}"


# --- its weights ------------------------------------------------------------------------------------------------------


def card(run: Run, state: State) -> dict[str, Any]:
    """The card of the averaged weights."""
    recipe, size = run.recipe, run.recipe.stages[-1][0]
    architecture = recipe.architecture(len(run.ids))
    content = {
        "name": run.weights.stem,
        "backbone": architecture.backbone,
        "width": architecture.width,
        "stem": architecture.stem,
        "num_kernels": architecture.num_kernels,
        "reduction": architecture.reduction,
        "num_classes": architecture.num_classes,
        "image_size": size,
        "resize": size,
        "preprocessing": f"RGB, shorter side to {size}, centre crop {size}, /255, minus mean, over std",
        "mean": list(recipe.mean),
        "std": list(recipe.std),
        "data": f"{Path(run.data).name}: {run.counts[0]:,} training pictures of {len(run.ids)} classes; "
        f"{run.counts[1]:,} validation pictures measure",
        "recipe": f"First {run.before}. Then {sentence(recipe)}" if run.before else sentence(recipe),
        "known_weaknesses": "",
    }
    if state.rows:
        last = state.rows[-1]
        content["measured"] = {
            "what": f"top-1 and top-5 in percent after epoch {last['epoch']} of {recipe.epochs}, n = {run.counts[1]:,} "
            f"validation pictures at {last['size']} px, {recipe.precision}, "
            f"{next(state.model.parameters()).device.type.upper()}, torch {torch.__version__}",
            "n": run.counts[1],
            "top1": last["top1"],
            "top5": last["top5"],
        }
    content["classes"] = [{"id": key, "name": name[:200]} for key, name in zip(run.ids, run.names, strict=True)]
    return content


def export(run: Run, state: State) -> None:
    """The averaged weights as float16 safetensors with a card, in the run's folder."""
    model = copy.deepcopy(state.average)
    divide_logits(model, run.recipe.final_temperature)
    save_checkpoint(model, card(run, state), run.weights)
    print(f"Wrote {run.weights} ({run.weights.stat().st_size / 1e6:.1f} MB) and its card.")
