"""Train an EfficientNet-Lite with ODConv from its static twin, by the twin's and other teachers' outputs.

    python -m odconv.training.distil --network FILE --views DIR --held FILE --out RUN [--steps 8000] [...]
    python -m odconv.training.distil --out RUN --resume [--steps 12000]

It starts as nearly the same function (``odconv.training.grow``) and sees only the views that ``odconv.training.views`` made: the beginning
of the network is not dynamic and not trained. There are no labels; the aim is a weighted mean of the probabilities of the twin
and the other teachers. For a part of the pictures kernels are dropped or another temperature is drawn, and a loss asks that
attention goes on to differ between pictures. Trained are the attention branches, the K kernels, and
scale and shift of BatchNorm; ``--arch efficientnet_lite0`` trains the twin itself as long, as a control.

RUN keeps ``checkpoint.pt``, from which ``--resume`` goes on exactly, and ``log.csv``, a row every ``--watch`` steps, of the
averaged weights on held-out pictures. A run can be stopped at any time; with ``--export`` the averaged weights of
the last checkpoint are written as float16 safetensors with a card.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from odconv.architecture import is_dynamic
from odconv.attention import HEADS, Heads, Settings
from odconv.backbones import EfficientNetLite
from odconv.card import card_path
from odconv.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from odconv.training.data import Purpose, stream, write_whole
from odconv.training.grow import add_attention, name_branches, plan_moves, sensitivities, set_heads, settle
from odconv.training.held import (
    Held,
    distance,
    heads_above,
    load_held,
    log_probabilities,
    percent_right,
    percent_same,
    watch,
)
from odconv.training.network import apply_drawn, average_weights, branches, divide_logits, head_outputs, imbalance
from odconv.training.recipe import Drawn
from odconv.training.views import Views, load_set, set_path

REDUCTION = 1 / 16
TEMPERATURES = (0.5, 2.0)  # that are drawn from
FIRST = 512  # views that the first weights are made with
ASKED = {"": Settings(), "_n1": Settings(kernels=1), "_t2": Settings(2.0)}  # in the log
PARTS = ("model", "average", "optimiser")  # of a run, which PyTorch saves


class DistilError(ValueError):
    """A run that cannot begin or go on; the message is one clear sentence."""


@dataclass(frozen=True)
class Distillation:
    """The hyperparameters of a run."""

    arch: str = "od_efficientnet_lite0"
    kernels: int = 4
    steps: int = 8_000
    cool_down: int = 1_500  # the last steps, in which the rates fall to 0
    warm_up: int = 200  # the first steps, in which they rise from 0
    batch: int = 16
    heads_lr: float = 2.5e-4  # of the last layer of the heads
    branch_lr: float = 1e-4  # of the layer before
    kernels_lr: float = 8e-5  # of the K kernels, whose mean is scaled down by two gates of 1/2
    static_lr: float = 2e-5  # of the kernels of a static network
    norm_lr: float = 5e-5  # of scale and shift of BatchNorm
    gate_spread: float = 0.038  # of spatial, channel and filter attention between pictures, that is asked for ...
    moving: float = 0.6  # ... in this share of the layers that have the head; in the others at most that ...
    harm: float = 0.0003  # ... and as much as is expected to change the outputs by this divergence
    kernel_spread: float = 0.07
    move: float = 0.3  # weight of the loss for spread
    balance: float = 0.005  # weight of the loss for kernels whose mean shares differ
    fewer: float = 0.35  # share of the pictures with fewer than K kernels
    tempered: float = 0.3  # share of the pictures with another temperature
    final_temperature: float = 1.0  # that is 1 in the exported weights; above 1, attention moves less than in training
    own: float = 0.7  # weight of the static twin's probabilities in the aim; the rest is the other teachers'
    seed: int = 0

    @property
    def dynamic(self) -> bool:
        """Whether the network has ODConv layers."""
        return is_dynamic(self.arch)

    def rate(self, step: int) -> float:
        """What the learning rates are multiplied by."""
        left = (self.steps - step) / max(1, self.cool_down)
        return max(0.0, min(1.0, (step + 1) / max(1, self.warm_up), left))

    def draw(self, step: int, count: int) -> Drawn[np.ndarray]:
        """The temperature and the number of kernels of each picture."""
        random = stream(self.seed, Purpose.SETTINGS, step)
        drops, counts = random.random(count), random.integers(1, max(self.kernels, 2), count)
        varies, exponents = random.random(count), random.random(count)
        low, high = TEMPERATURES
        return Drawn(
            np.where(varies < self.tempered, low * (high / low) ** exponents, 1.0),
            np.where(drops < self.fewer, counts, self.kernels),
        )


class Pass(NamedTuple):
    """One pass over a set of views."""

    set: int
    first: int  # step
    end: int  # the step after the last


@dataclass
class Run:
    """A run and how far it is."""

    folder: Path
    recipe: Distillation
    paths: dict[str, str]  # of the network, the views and the held-out pictures
    model: EfficientNetLite
    average: AveragedModel
    optimiser: torch.optim.Adam
    asked: dict[str, float] = field(default_factory=dict)  # "layer.head" -> spread that is asked for
    step: int = 0
    passes: list[Pass] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)


# --- the network ------------------------------------------------------------------------------------------------------


def parameter_groups(model: EfficientNetLite, recipe: Distillation) -> list[dict[str, Any]]:
    """The parameters that learn, by their highest rate; all others are frozen."""
    model.requires_grad_(False)
    groups: dict[float, list[nn.Parameter]] = {}
    trained = [module for name, module in model.named_modules() if _is_late(name)]
    inside = {part for branch in branches(model) for part in branch.modules()}
    outputs = {fc for branch in branches(model) for fc in head_outputs(branch)}
    for module in trained:
        for parameter in module.parameters(recurse=False):
            if isinstance(module, nn.BatchNorm2d):
                lr = (
                    0.0 if module in inside else recipe.norm_lr
                )  # a branch's is fixed, see odconv.training.network.build
            elif module in inside:
                lr = recipe.heads_lr if module in outputs else recipe.branch_lr
            else:
                lr = recipe.kernels_lr if recipe.dynamic else recipe.static_lr
            if lr:
                groups.setdefault(lr, []).append(parameter.requires_grad_(True))
    return [{"params": some, "lr": lr, "highest": lr} for lr, some in groups.items()]


def _is_late(name: str) -> bool:
    """Whether a module stands behind the frozen beginning, the classifier left out."""
    return name.startswith(("stage5", "stage6", "stage7", "head"))


# --- one step ---------------------------------------------------------------------------------------------------------


class Losses(NamedTuple):
    """What a step descends is the weighted sum."""

    divergence: Tensor  # from the teachers' probabilities
    stillness: Tensor  # 0: every head of every layer differs between pictures as much as is asked; 1: none differs
    imbalance: Tensor  # summed over layers


def losses(
    model: EfficientNetLite, views: Views, drawn: Drawn[Tensor], asked: Mapping[str, float], own: float
) -> Losses:
    """The losses of one batch. A picture's settings are its own, as in ``odconv.training.network.training_loss``."""
    names = name_branches(model)
    still: list[Tensor] = []
    unequal: list[Tensor] = []

    def hook(branch: nn.Module, inputs: Any, logits: Heads[Tensor]) -> Heads[Tensor]:
        for head, values in zip(HEADS, logits, strict=True):
            if values is not None:
                attention = values.softmax(1) if head == "kernel" else values.sigmoid()
                still.append(F.relu(1 - spread(attention) / asked[f"{names[branch]}.{head}"]))
        if logits.kernel is not None:
            unequal.append(imbalance(logits.kernel))
        return apply_drawn(logits, drawn)

    with ExitStack() as inside:
        for branch in names:
            inside.callback(branch.register_forward_hook(hook).remove)
        logits = model.finish(views.features.to(model.classifier.weight))
    divergence = F.kl_div(logits.log_softmax(1), aim(views.logits.to(logits), own), reduction="batchmean")
    zero = divergence.new_zeros(())
    return Losses(
        divergence, torch.stack(still).mean() if still else zero, torch.stack(unequal).sum() if unequal else zero
    )


def aim(logits: Tensor, own: float) -> Tensor:
    """The probabilities (N, classes) to learn, from logits (N, teachers, classes), of which the first are the static twin's."""
    twin, *others = logits.softmax(2).unbind(1)
    return own * twin + (1 - own) * torch.stack(others).mean(0) if others else twin


def spread(attention: Tensor) -> Tensor:
    """Standard deviation over N pictures, then its mean over entries; as ``odconv.explain.spread``, with a gradient."""
    return attention.flatten(1).var(0).clamp_min(1e-12).sqrt().mean()


def train_step(run: Run, views: Views) -> Losses:
    """One step on a batch; its losses, detached."""
    recipe, step = run.recipe, run.step
    device = run.model.classifier.weight.device
    drawn = Drawn(*(torch.from_numpy(each).to(device) for each in recipe.draw(step, len(views.features))))
    for group in run.optimiser.param_groups:
        group["lr"] = group["highest"] * recipe.rate(step)
    found = losses(run.model.eval(), views, drawn, run.asked, recipe.own)
    run.optimiser.zero_grad()
    (found.divergence + recipe.move * found.stillness + recipe.balance * found.imbalance).backward()
    run.optimiser.step()
    run.average.update_parameters(run.model)
    run.step += 1
    return Losses(*(each.detach() for each in found))


# --- a run ------------------------------------------------------------------------------------------------------------


def begin(folder: Path, recipe: Distillation, paths: dict[str, str], device: str = "cpu") -> Run:
    """A run before its first step; nothing is written yet.

    Raises:
        CheckpointError: the network cannot be used.
        DistilError: there are no views.
    """
    run = _new_run(folder, recipe, paths, device)
    if not recipe.dynamic:
        return run
    model, views = run.model, Path(paths["views"])
    features = load_set(views, next_set(views, [])).features[:FIRST]
    settle(model, features)
    moves = plan_moves(sensitivities(model, features), recipe.gate_spread, recipe.harm, recipe.moving)
    set_heads(model, features, moves, recipe.kernel_spread)
    asked = {name: float(each.mean()) for name, each in moves.items()}
    asked |= {f"{name}.kernel": recipe.kernel_spread for name in name_branches(model).values()}
    return replace(run, average=average_weights(model), asked=asked)


def _new_run(folder: Path, recipe: Distillation, paths: dict[str, str], device: str) -> Run:
    static = load_checkpoint(paths["network"])
    assert isinstance(static.model, EfficientNetLite)
    model = static.model
    if recipe.dynamic:
        known = replace(static.architecture, backbone=recipe.arch, num_kernels=recipe.kernels, reduction=REDUCTION)
        model = add_attention(static.model, known, recipe.seed)
    model.to(device)
    groups = parameter_groups(model, recipe)
    return Run(folder, recipe, paths, model, average_weights(model), torch.optim.Adam(groups))


def save(run: Run) -> None:
    """The checkpoint and the log."""
    content = {
        "recipe": asdict(run.recipe),
        "paths": run.paths,
        "asked": run.asked,
        "step": run.step,
        "passes": [tuple(one) for one in run.passes],
        "rows": run.rows,
        **{part: getattr(run, part).state_dict() for part in PARTS},
    }
    run.folder.mkdir(parents=True, exist_ok=True)
    write_whole(run.folder / "checkpoint.pt", lambda path: torch.save(content, path))
    if run.rows:
        write_whole(run.folder / "log.csv", lambda path: _write_rows(path, run.rows))


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def reopen(folder: Path, given: Mapping[str, Any], device: str = "cpu") -> Run:
    """The run in ``folder`` as its last checkpoint has it; ``given`` hyperparameters count from here on."""
    path = folder / "checkpoint.pt"
    if not path.is_file():
        raise DistilError(f"{folder} holds no run.")
    kept = torch.load(path, map_location=device, weights_only=True)
    recipe = replace(Distillation(**kept["recipe"]), **given)
    run = _new_run(folder, recipe, kept["paths"], device)
    rates = [group["highest"] for group in run.optimiser.param_groups]
    for part in PARTS:
        getattr(run, part).load_state_dict(kept[part])
    for group, rate in zip(run.optimiser.param_groups, rates, strict=True):
        group["highest"] = rate
    return replace(
        run, asked=kept["asked"], step=kept["step"], passes=[Pass(*one) for one in kept["passes"]], rows=kept["rows"]
    )


def next_set(folder: Path, passes: Sequence[Pass]) -> int:
    """The set that the next pass is over: of those that are there, the first that was used least."""
    used, number = Counter(one.set for one in passes), 0
    while set_path(folder, number).is_file():
        number += 1
    if not number:
        raise DistilError(f"There is no {set_path(folder, 0)}: odconv.training.views makes it.")
    return min(range(number), key=lambda number: (used[number], number))


def view_batches(run: Run) -> Iterator[Views]:
    """Batches from where the run stands. Each pass is over one set, in an order of its own."""
    folder, size = Path(run.paths["views"]), run.recipe.batch
    while True:
        if not run.passes or run.step == run.passes[-1].end:
            number = next_set(folder, run.passes)
            views = load_set(folder, number)
            run.passes.append(Pass(number, run.step, run.step + len(views.features) // size))
        now = run.passes[-1]
        views = load_set(folder, now.set)
        order = stream(run.recipe.seed, Purpose.ORDER, len(run.passes)).permutation(len(views.features))
        for place in range(run.step - now.first, now.end - now.first):
            chosen = order[place * size : (place + 1) * size]
            yield Views(views.features[chosen], views.logits[chosen])


def fit(run: Run, held: Mapping[str, Held], every: int, minutes: float) -> None:
    """Train to the end of the run; a row of the log every so many steps, a checkpoint every so many minutes."""
    sums, since = np.zeros(3), run.step
    twin = load_checkpoint(run.paths["network"]).model.to(run.model.classifier.weight.device)
    saved = began = time.monotonic()
    batches = view_batches(run)
    while run.step < run.recipe.steps:
        sums += [float(each) for each in train_step(run, next(batches))]
        if not np.isfinite(sums).all():
            raise DistilError(f"The loss is no finite number any more at step {run.step}.")
        last = run.step == run.recipe.steps
        if run.step % every == 0 or last:
            steps = run.step - since
            run.rows.append(make_row(run, twin, held, sums / steps, (time.monotonic() - began) / steps))
            print(", ".join(f"{name} {value}" for name, value in run.rows[-1].items()), flush=True)
            sums, since, began = np.zeros(3), run.step, time.monotonic()
        if time.monotonic() - saved > 60 * minutes or last:
            save(run)
            saved = time.monotonic()


def make_row(run: Run, twin: nn.Module, held: Mapping[str, Held], mean: np.ndarray, seconds: float) -> dict[str, Any]:
    """A row of the log: mean losses of the steps since the last one, and the averaged weights on held-out pictures.

    Of those: top-1 where they have labels, how often the first choice is the static twin's, and how far all probabilities are
    from the twin's.
    """
    model = run.average.module
    row: dict[str, Any] = {"step": run.step, "divergence": round(float(mean[0]), 4)}
    row |= {"stillness": round(float(mean[1]), 4), "imbalance": round(float(mean[2]), 3)}
    features = torch.cat([one.features for one in held.values()])
    labels = torch.cat([one.labels for one in held.values()])
    before = log_probabilities(twin, features, Settings())
    for ending, settings in ASKED.items() if run.recipe.dynamic else [("", Settings())]:
        after = log_probabilities(model, features, settings)
        right = percent_right(after.argmax(1), labels)
        row |= {f"top1{ending}": right and round(right, 2), f"same{ending}": round(percent_same(before, after), 2)}
        row[f"distance{ending}"] = round(distance(before, after), 4)
    if run.recipe.dynamic:
        layers = watch(model, features)
        for head in HEADS:
            some = [layer[head] for layer in layers.values() if head in layer]
            row[head] = round(sum(some) / len(some), 4)
        row |= {f"{head}_layers": above for head, (above, _) in heads_above(layers).items()}
    return row | {"rate": round(run.recipe.rate(run.step), 3), "set": run.passes[-1].set, "seconds": round(seconds, 2)}


def export(run: Run) -> Path:
    """The averaged weights as float16 safetensors with a card, in the run's folder."""
    card = json.loads(card_path(Path(run.paths["network"])).read_text(encoding="utf-8"))
    path = run.folder / f"{run.folder.resolve().name}.safetensors"
    kernels = {"num_kernels": run.recipe.kernels, "reduction": REDUCTION} if run.recipe.dynamic else {}
    card |= {"name": path.stem, "backbone": run.recipe.arch, **kernels}
    card["recipe"] = f"{card['recipe']}. Then distilled for {run.step:,} steps: {json.dumps(asdict(run.recipe))}"
    model = copy.deepcopy(run.average.module)
    divide_logits(model, run.recipe.final_temperature)
    save_checkpoint(model, card, path)
    return path


# --- the command ------------------------------------------------------------------------------------------------------


def make_parser() -> argparse.ArgumentParser:
    """Options of the command; those of the recipe are its fields and absent unless given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--network", type=Path, help="weights of the static twin, float32, with a card")
    parser.add_argument("--views", type=Path, help="folder of the sets of views")
    parser.add_argument("--held", type=Path, help="file of the held-out pictures")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--export", action="store_true", help="write the weights of the last checkpoint and end")
    parser.add_argument("--watch", type=int, default=250, help="steps between two rows of the log")
    parser.add_argument("--watched", type=int, default=128, help="held-out pictures of each folder for a row")
    parser.add_argument("--minutes", type=float, default=10, help="between two checkpoints")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for one in fields(Distillation):
        kind = type(one.default)
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=kind, default=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """0 when the run is at its end, 1 when it was stopped before."""
    options = make_parser().parse_args(argv)
    given = {one.name: getattr(options, one.name) for one in fields(Distillation) if hasattr(options, one.name)}
    paths = {name: getattr(options, name) for name in ("network", "views", "held")}
    try:
        if options.resume or options.export:
            run = reopen(options.out, given, options.device)
        elif not all(paths.values()) or (options.out / "checkpoint.pt").exists():
            raise DistilError("--network, --views, --held and a new --out are needed, or --resume.")
        else:
            where = {key: str(path.resolve()) for key, path in paths.items()}
            run = begin(options.out, Distillation(**given), where, options.device)
        if options.export:
            print(f"Wrote {export(run)}.")
            return 0
        held = {name: one.evenly_spaced(options.watched) for name, one in load_held(Path(run.paths["held"])).items()}
        fit(run, held, options.watch, options.minutes)
        print(f"Wrote {export(run)}.")
        return 0
    except (CheckpointError, DistilError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("Stopped; --resume goes on from the last checkpoint.")
        return 1


if __name__ == "__main__":
    sys.exit(main())
