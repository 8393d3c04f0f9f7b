"""Train a network of ``odconv.backbones`` from scratch on a folder of pictures: ODConv, or its static twin.

    python -m odconv.training.train --data DIR --out RUN [--arch od_resnet18] [--width 32] [--kernels 4] [...]
    python -m odconv.training.train --out RUN --resume

Defaults are for ODConv-ResNet-18 of width 32 on Tiny-ImageNet-200 (100,000 pictures of 64 px). Batches of small pictures
first, SGD with one cycle of the learning rate, temperature from 30 to 1, averaged weights. Each epoch, and Ctrl-C or
SIGTERM, leaves a checkpoint in RUN, from which ``--resume`` goes on as if nothing had been; each epoch adds a row to
``log.csv``. At the end, or at any time with ``--export``, the averaged weights are written to RUN as float16 safetensors
with a card.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import math
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from odconv.attention import HEADS, Heads, Settings
from odconv.checkpoint import save_checkpoint
from odconv.layer import AttentionBranch
from odconv.probe import told
from odconv.training import recipe as schedules
from odconv.training.data import DataError, Dataset, Pictures, ahead, batches, decoded, find, prepared, stream, varied
from odconv.training.evaluate import Preparation, accuracy, attentions, autocast, scores, spread
from odconv.training.recipe import DROPOUT, KERNELS, ORDER, VARIATION, Recipe, RecipeError, hyperparameters, sentence

DROPPED = -1e4  # a logit whose share is exactly 0, also at temperature 30; finite, as infinities can meet and give nan
MOVES = 0.05  # deviation between pictures from which on a head is counted as moving
WATCHED = 256  # validation pictures on which attention is watched after each epoch
LOOK_EVERY = 20  # steps between looks at the loss, which make a GPU wait

COLUMNS = (
    "epoch", "step", "size", "lr", "temperature", "loss", "top1", "top5", *HEADS, "effective_kernels", "moving_layers",
    "seconds", "images_per_second",
)  # fmt: skip


class RunError(ValueError):
    """A run folder or a run that cannot go on; the message is one clear sentence."""


# --- the network and its optimiser ------------------------------------------------------------------------------------


def build(recipe: Recipe, num_classes: int) -> nn.Module:
    """The network as it is before the first step, by the recipe's seed."""
    torch.manual_seed(recipe.seed)
    model = recipe.architecture(num_classes).build()
    if recipe.initial_logits:
        for branch in _branches(model):
            _equalise(branch, recipe.initial_logits)
    return model


def _equalise(branch: AttentionBranch, deviation: float) -> None:
    """Initial weights with which the logits of every head have this standard deviation, however many entries it has.

    The released code's go by the number of entries: 0.09 for the 256 channels of a deep layer, 0.7 for 4 kernels. What
    the heads see is ReLU of a standard normal, whose mean square is 1/2.
    """
    for fc in (branch.spatial_fc, branch.channel_fc, branch.filter_fc, branch.kernel_fc):
        if fc is not None:
            nn.init.normal_(fc.weight, 0, deviation / math.sqrt(fc.in_channels / 2))


def _branches(model: nn.Module) -> list[AttentionBranch]:
    return [module for module in model.modules() if isinstance(module, AttentionBranch)]


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Every parameter once: attention branches apart from the rest, weights apart from BatchNorm and biases.

    ``factor``: on the learning rate.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault((".attention." in name, parameter.ndim > 1), []).append(parameter)
    decays = {(False, True): recipe.weight_decay, (True, True): recipe.attention_weight_decay}
    return [
        {
            "params": parameters,
            "weight_decay": decays.get(kind, 0.0),
            "factor": recipe.attention_lr if kind[0] else 1.0,
        }
        for kind, parameters in groups.items()
    ]


def add_dropout(model: nn.Module, share: float) -> None:
    """Dropout of the features before the classifier, in train mode; in the place of a dropout that is there already."""
    own = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    for module in own:
        module.p = share
    if share and not own:
        classifier = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        classifier.register_forward_pre_hook(lambda module, inputs: F.dropout(inputs[0], share, module.training))


@contextmanager
def random_kernels(model: nn.Module, count: int | None, random: np.random.Generator) -> Iterator[None]:
    """In each layer only ``count`` kernels take part, drawn anew for each layer; None: all do."""
    with ExitStack() as hooks:
        for branch in _branches(model) if count is not None else ():
            if branch.kernel_fc is not None:
                dropped = random.permutation(branch.kernel_fc.out_channels)[count:]
                handle = branch.register_forward_hook(_without(torch.from_numpy(dropped)))
                hooks.callback(handle.remove)
        yield


def _without(dropped: Tensor) -> Callable[[nn.Module, Any, Heads[Tensor]], Heads[Tensor]]:
    def hook(branch: nn.Module, inputs: Any, logits: Heads[Tensor]) -> Heads[Tensor]:
        assert logits.kernel is not None
        return logits._replace(kernel=logits.kernel.index_fill(1, dropped.to(logits.kernel.device), DROPPED))

    return hook


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """average = decay · average + (1 - decay) · model, BatchNorm statistics too; counters are copied."""
    pairs = list(zip(average.state_dict().values(), model.state_dict().values(), strict=True))
    numbers = [pair for pair in pairs if pair[0].is_floating_point()]
    get_ema_multi_avg_fn(decay)([kept for kept, _ in numbers], [new for _, new in numbers], None)
    for kept, new in pairs:
        if not kept.is_floating_point():
            kept.copy_(new)


# --- a run ------------------------------------------------------------------------------------------------------------


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
    step: int = 0
    loss: float = 0.0  # summed over the steps of the epoch under way
    seconds: float = 0.0  # spent in the epoch under way
    rows: list[dict[str, Any]] = field(default_factory=list)  # of the log, one for each finished epoch


def start(run: Run, device: torch.device) -> State:
    """The state before the first step."""
    model = build(run.recipe, len(run.ids)).to(device)
    average = copy.deepcopy(model).eval().requires_grad_(False)
    add_dropout(model, run.recipe.dropout)
    groups = parameter_groups(model, run.recipe)
    return State(model, average, torch.optim.SGD(groups, run.recipe.lr, run.recipe.momentum, nesterov=True, fused=True))


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
    state = start(run, device)
    if not run.checkpoint.is_file():
        return state
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


# --- training ---------------------------------------------------------------------------------------------------------


def fit(run: Run, state: State, train: Pictures, val: Pictures, stop: Event) -> bool:
    """Train to the end of the run, or to the first step after ``stop`` is set; whether the end was reached.

    Raises:
        RunError: the loss is not a finite number any more.
    """
    recipe = run.recipe
    per_epoch = len(train) // recipe.batch
    with _bar(recipe, state.step, per_epoch) as bar:
        while True:
            done = state.step // per_epoch
            if len(state.rows) < done:
                state.rows.append(_row(recipe, state, val, per_epoch))
                state.loss = state.seconds = 0.0
                save(run, state)
                bar.write(_said(state.rows[-1], recipe), file=sys.stdout)
            if done == recipe.epochs or stop.is_set():
                return done == recipe.epochs
            train_epoch(recipe, state, train, stop, bar)
            save(run, state)


def train_epoch(recipe: Recipe, state: State, train: Pictures, stop: Event, bar: tqdm[Any]) -> None:
    """From where ``state`` is to the end of its epoch, or to the first step after ``stop`` is set."""
    per_epoch = len(train) // recipe.batch
    epoch, first = divmod(state.step, per_epoch)
    order = stream(recipe.seed, ORDER, epoch).permutation(len(train))
    device = next(state.model.parameters()).device
    total, steps, began = torch.zeros((), dtype=torch.float64, device=device), 0, time.perf_counter()
    with closing(ahead(batches(train, order, recipe.batch, first))) as ready:
        for pixels, labels in ready:
            total += train_step(recipe, state, pixels.to(device), labels.to(device), per_epoch)
            steps += 1
            bar.update(schedules.size(recipe, epoch))
            if steps % LOOK_EVERY == 0 or state.step % per_epoch == 0 or stop.is_set():
                rate = steps * recipe.batch / (time.perf_counter() - began)
                bar.set_postfix_str(f"{rate:.0f} images/s, loss {_finite(total, state.step) / steps:.3f}", False)
            if stop.is_set():
                break
    state.loss += float(total)
    state.seconds += time.perf_counter() - began


def _finite(total: Tensor, step: int) -> float:
    loss = float(total)
    if not math.isfinite(loss):
        raise RunError(f"The loss is no finite number any more at step {step}; a lower --lr may help.")
    return loss


def train_step(recipe: Recipe, state: State, pixels: Tensor, labels: Tensor, per_epoch: int) -> Tensor:
    """One step on pixels (N, S, S, 3) of uint8 and labels (N,); the loss, detached."""
    step, seed = state.step, recipe.seed
    x = prepared(pixels, schedules.size(recipe, step // per_epoch), recipe.mean, recipe.std)  # (N, 3, size, size)
    x = varied(x, stream(seed, VARIATION, step), recipe.shift, recipe.zoom)
    settings, count = schedules.told_in(recipe, step, per_epoch)
    rate = schedules.learning_rate(recipe, (step + 0.5) / (recipe.epochs * per_epoch))
    for group in state.optimiser.param_groups:
        group["lr"] = rate * group["factor"]
    torch.manual_seed(int(stream(seed, DROPOUT, step).integers(2**63)))  # dropout knows no generator of its own
    state.model.train()
    with (
        told(settings),
        random_kernels(state.model, count, stream(seed, KERNELS, step)),
        autocast(x.device, recipe.precision),
    ):
        logits = state.model(x)
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
    state.optimiser.zero_grad()
    loss.backward()
    state.optimiser.step()
    follow(state.average, state.model, schedules.average_decay(recipe, step))
    state.step += 1
    return loss.detach()


def _row(recipe: Recipe, state: State, val: Pictures, per_epoch: int) -> dict[str, Any]:
    """The log's row for the epoch that has just ended: averaged weights, at the epoch's size and last temperature."""
    epoch = state.step // per_epoch
    now = schedules.temperature(recipe, epoch)
    size = schedules.size(recipe, epoch - 1)
    how = Preparation(size, recipe.mean, recipe.std, recipe.precision, recipe.batch)
    found = accuracy(scores(state.average, val, how, Settings(now)), val.labels)
    return {
        "epoch": epoch,
        "step": state.step,
        "size": size,
        "lr": round(schedules.learning_rate(recipe, epoch / recipe.epochs), 6),
        "temperature": round(now, 3),
        "loss": round(state.loss / per_epoch, 4),
        "top1": found["top1"],
        "top5": found["top5"],
        **movement(state.average, val.spaced(WATCHED), how, Settings(now)),
        "seconds": round(state.seconds, 1),
        "images_per_second": round(per_epoch * recipe.batch / state.seconds, 1),
    }


def movement(model: nn.Module, pictures: Pictures, how: Preparation, settings: Settings) -> dict[str, Any]:
    """Deviation of each head between pictures and effective kernels, means over the layers that have the head.

    ``moving_layers``: in how many layers each head that is there deviates by at least ``MOVES``. Empty for a static network.
    """
    layers = [spread(heads) for heads in attentions(model, pictures, how, settings).values()]
    means = {}
    for name in (*HEADS, "effective_kernels"):
        values = [layer[name] for layer in layers if name in layer]
        if values:
            means[name] = round(sum(values) / len(values), 4)
    moving = sum(all(layer[head] >= MOVES for head in HEADS if head in layer) for layer in layers)
    return means | ({"moving_layers": moving} if layers else {})


def _bar(recipe: Recipe, step: int, per_epoch: int) -> tqdm[Any]:
    """Over the whole run. A step counts as many times as its pictures' side has pixels, about what it costs."""
    sides = [schedules.size(recipe, epoch) for epoch in range(recipe.epochs)]
    epoch, rest = divmod(step, per_epoch)
    done = per_epoch * sum(sides[:epoch]) + (rest * sides[epoch] if rest else 0)
    return tqdm(
        total=per_epoch * sum(sides),
        initial=done,
        smoothing=0.05,
        mininterval=0.5 if sys.stderr.isatty() else 60,  # a log file wants fewer lines
        bar_format="{percentage:3.0f}% |{bar}| {elapsed}, {remaining} left{postfix}",
    )


def _said(row: Mapping[str, Any], recipe: Recipe) -> str:
    moves = ", ".join(f"{head} {row[head]:.3f}" for head in HEADS if head in row)
    return (
        f"epoch {row['epoch']} of {recipe.epochs}, {row['size']} px: loss {row['loss']:.3f}, top-1 {row['top1']:.2f} %, "
        f"top-5 {row['top5']:.2f} %, {row['images_per_second']:.0f} images/s"
        + (f"; between pictures {moves}" if moves else "")
    )


# --- what is kept -----------------------------------------------------------------------------------------------------


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
        "recipe": sentence(recipe),
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
    save_checkpoint(state.average, card(run, state), run.weights)
    print(f"Wrote {run.weights} ({run.weights.stat().st_size / 1e6:.1f} MB) and its card.")


# --- the command ------------------------------------------------------------------------------------------------------


@contextmanager
def stopping() -> Iterator[Event]:
    """Inside, Ctrl-C and SIGTERM set the event; a second one does what it does outside."""
    stop = Event()
    before: dict[int, Any] = {}

    def ask(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, before[number])

    try:
        for asked in (signal.SIGINT, signal.SIGTERM):
            before[asked] = signal.signal(asked, ask)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def begin(folder: Path, given: Mapping[str, Any], dataset: Dataset) -> Run:
    """A new run, nothing written yet.

    Raises:
        RunError: something is in its folder.
        RecipeError: a hyperparameter is outside of what is allowed.
    """
    if (folder / "run.json").exists():
        raise RunError(f"{folder} holds a run already: continue it with --resume, or name another folder.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} is not an empty folder: name another one for the run.")
    return _run(folder, Recipe(**given), dataset)


def _run(folder: Path, recipe: Recipe, dataset: Dataset) -> Run:
    return Run(
        folder,
        recipe,
        str(dataset.folder.resolve()),
        (dataset.digest("train"), dataset.digest("val")),
        (len(dataset.train), len(dataset.val)),
        dataset.ids,
        dataset.names,
    )


def reopen(folder: Path, given: Mapping[str, Any]) -> Run:
    """The run in ``folder``.

    Raises:
        RunError: there is none, or ``given`` has a hyperparameter that it was not begun with.
    """
    try:
        stored = _tuples(json.loads((folder / "run.json").read_text(encoding="utf-8")))
        run = Run(folder, Recipe(**_tuples(stored.pop("recipe"))), **stored)
    except FileNotFoundError as error:
        raise RunError(f"{folder} holds no run to resume or export.") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(f"{folder / 'run.json'} does not describe a run.") from error
    for name, value in given.items():
        was = getattr(run.recipe, name)
        if value != was:
            raise RunError(f"{folder} was begun with {_flag(name)} {was}, which cannot become {value} on the way.")
    return run


def write_down(run: Run) -> None:
    """``run.json``, in a folder that is made for it."""
    content = {name: value for name, value in asdict(run).items() if name != "folder"}
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        _write(run.folder / "run.json", lambda path: path.write_text(json.dumps(content, indent=1) + "\n", "utf-8"))
    except OSError as error:
        raise RunError(f"{run.folder} cannot be written to: {error.strerror}.") from error


def _tuples(content: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows lists only."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def parser() -> argparse.ArgumentParser:
    """Options of the command; those of the recipe are its fields and absent unless given."""
    made = argparse.ArgumentParser(
        prog="python -m odconv.training.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--out", type=Path, required=True, help="folder of the run, outside of any repository")
    made.add_argument("--data", type=Path, help="folder of the data set; a resumed run knows it")
    made.add_argument("--cache", type=Path, help="folder for decoded pictures (default: DATA/decoded)")
    made.add_argument("--resume", action="store_true", help="go on with the run in --out")
    made.add_argument("--export", action="store_true", help="write the averaged weights of the last checkpoint and end")
    made.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    made.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's)")
    group = made.add_argument_group("the recipe")
    for name, (kind, said) in hyperparameters().items():
        options = get_args(kind)
        if not options:
            how: dict[str, Any] = {"type": kind}
        elif isinstance(options[0], str):
            how = {"choices": options}
        else:
            how = {"type": options[0], "nargs": len(options), "metavar": ("R", "G", "B")}
        said = f"{said} (default: {getattr(Recipe, name)})"
        group.add_argument(_flag(name), default=argparse.SUPPRESS, help=said, **how)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """0 when the run is at its end, 1 when it was stopped before."""
    options = vars(parser().parse_args(argv))
    given = _tuples({name: options[name] for name in hyperparameters() if name in options})
    if options["threads"]:
        torch.set_num_threads(options["threads"])
    try:
        return _main(options, given)
    except (DataError, RecipeError, RunError) as error:
        sys.exit(str(error))


def _main(options: Mapping[str, Any], given: Mapping[str, Any]) -> int:
    folder, device = options["out"], torch.device(options["device"])
    known = reopen(folder, given) if options["resume"] or options["export"] else None
    if options["export"] and known:
        export(known, resume(known, device))
        return 0
    if options["data"] is None and known is None:
        raise DataError("--data is needed: the folder of the data set.")
    dataset = find(options["data"] if known is None else options["data"] or known.data)
    run = known or begin(folder, given, dataset)
    if run.digests != _run(folder, run.recipe, dataset).digests:
        raise RunError(f"{folder} was begun on other pictures than those in {dataset.folder}.")
    if len(dataset.train) < run.recipe.batch:
        raise RecipeError(f"batch={run.recipe.batch}: at most the {len(dataset.train)} training pictures")
    side = max(side for side, _ in run.recipe.stages)
    cache = options["cache"] or dataset.folder / "decoded"
    train, val = decoded(dataset, "train", side, cache), decoded(dataset, "val", side, cache)
    write_down(run)
    if any((parent / ".git").exists() for parent in folder.resolve().parents):
        print(f"Note: {folder} lies inside a git checkout; a run takes some hundred megabytes.")
    state = resume(run, device)
    with stopping() as stop:
        finished = fit(run, state, train, val, stop)
    if finished:
        export(run, state)
        return 0
    print(f"Stopped after step {state.step}; --resume goes on from there.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
