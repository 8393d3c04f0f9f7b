"""Train a network of ``odconv.backbones`` on a folder of pictures: ODConv, or its static twin.

    python -m odconv.training.train --data DIR --out RUN [--arch od_resnet18] [--width 32] [--kernels 4] [...]
    python -m odconv.training.train --out RUN --resume

The bundled networks were made with it on Tiny-ImageNet-200, 100,000 pictures of 64 px: an ordinary ResNet-18 of width 32 in 32
epochs, and from it, in 24 more each, its static twin and ODConv with K = 1 and 4, in 2 to 6 minutes on an H200. They are right
in 55, 54 and 53 % of the 10,000 validation pictures. Commands and all numbers: assets/weights/README.md.

Batches of small pictures first, SGD with one cycle of the learning rate, temperature from 30 to 1, averaged weights;
``--start`` takes over the weights of a static twin or of K = 1. On a GPU a step is recorded once for each size of pictures
and replayed. Each epoch, and Ctrl-C or SIGTERM, leaves a checkpoint in RUN, from which ``--resume`` goes on as if nothing had
been; each epoch adds a row to ``log.csv``. At the end, or at any time with ``--export``, the averaged weights are written to
RUN as float16 safetensors with a card.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from typing import Any, get_args

import torch
from torch import Tensor, nn
from tqdm import tqdm

from odconv.attention import HEADS, Settings
from odconv.training import recipe as schedules
from odconv.training.data import DataError, Pictures, ahead, batches, decoded, find, prepared, stream, varied
from odconv.training.evaluate import Preparation, accuracy, attentions, scores, spread
from odconv.training.gradients import Batch
from odconv.training.network import follow
from odconv.training.recipe import NETWORK, ORDER, VARIATION, Recipe, RecipeError, hyperparameters
from odconv.training.run import (
    Run,
    RunError,
    State,
    begin,
    digests,
    export,
    flag,
    reopen,
    resume,
    save,
    tuples,
    write_down,
)

MOVES = 0.05  # deviation between pictures from which on a head is counted as moving
WATCHED = 256  # validation pictures on which attention is watched after each epoch
LOOK_EVERY = 20  # steps between looks at the loss, which make a GPU wait


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
    drawn = schedules.drawn(recipe, step, per_epoch, len(x))
    rate = schedules.learning_rate(recipe, (step + 0.5) / (recipe.epochs * per_epoch))
    for group in state.optimiser.param_groups:
        group["lr"] = rate * group["factor"]
    torch.manual_seed(int(stream(seed, NETWORK, step).integers(2**63)))  # dropout knows no generator of its own
    loss = state.gradients(Batch(x, labels, *(torch.from_numpy(numbers).to(x.device) for numbers in drawn)))
    state.optimiser.step()
    follow(state.average, state.model, schedules.average_decay(recipe, step))
    state.step += 1
    return loss


def _row(recipe: Recipe, state: State, val: Pictures, per_epoch: int) -> dict[str, Any]:
    """The log's row for the epoch that has just ended: averaged weights, at the epoch's size and last temperature.

    As the weights would be written: at the end of a run, what its card says is what they are.
    """
    epoch = state.step // per_epoch
    now = schedules.temperature(recipe, epoch)
    size = schedules.size(recipe, epoch - 1)
    how = Preparation(size, recipe.mean, recipe.std, recipe.precision, recipe.batch)
    settings = Settings(now * recipe.final_temperature)
    found = accuracy(scores(state.average, val, how, settings), val.labels)
    return {
        "epoch": epoch,
        "step": state.step,
        "size": size,
        "lr": round(schedules.learning_rate(recipe, epoch / recipe.epochs), 6),
        "temperature": round(now, 3),
        "loss": round(state.loss / per_epoch, 4),
        "top1": found["top1"],
        "top5": found["top5"],
        **movement(state.average, val.spaced(WATCHED), how, settings),
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
        group.add_argument(flag(name), default=argparse.SUPPRESS, help=said, **how)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """0 when the run is at its end, 1 when it was stopped before."""
    options = vars(parser().parse_args(argv))
    given = tuples({name: options[name] for name in hyperparameters() if name in options})
    if given.get("start"):
        given["start"] = str(Path(given["start"]).resolve())
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
    if run.digests != digests(dataset):
        raise RunError(f"{folder} was begun on other pictures than those in {dataset.folder}.")
    if len(dataset.train) < run.recipe.batch:
        raise RecipeError(f"batch={run.recipe.batch}: at most the {len(dataset.train)} training pictures")
    side = max(side for side, _ in run.recipe.stages)
    cache = options["cache"] or dataset.folder / "decoded"
    train, val = decoded(dataset, "train", side, cache), decoded(dataset, "val", side, cache)
    state = resume(run, device)
    write_down(run)
    if any((parent / ".git").exists() for parent in folder.resolve().parents):
        print(f"Note: {folder} lies inside a git checkout; a run takes some hundred megabytes.")
    with stopping() as stop:
        finished = fit(run, state, train, val, stop)
    if finished:
        export(run, state)
        return 0
    print(f"Stopped after step {state.step}; --resume goes on from there.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
