"""Train a network of ``odconv.backbones`` on a folder of pictures: ODConv, or its static twin.

    python -m odconv.training.train --data DIR --out RUN [--arch od_resnet18] [--width 32] [--kernels 4] [...]
    python -m odconv.training.train --out RUN --resume

The bundled networks were made with it on Tiny-ImageNet-200, 100,000 pictures of 64 px: an ordinary ResNet-18 of width 32 in 32
epochs, and from it, in 24 more each, its static twin and ODConv with K = 1 and 4, in 2 to 6 minutes on an H200. They are right
in 55, 54 and 53 % of the 10,000 validation pictures. Commands and all numbers: assets/weights/README.md.

Batches of small pictures first, SGD with one cycle of the learning rate, temperature from 30 to 1, averaged weights;
``--start`` takes over the weights of the static twin. Each epoch, and Ctrl-C or SIGTERM, leaves a checkpoint in RUN,
from which ``--resume`` goes on as if nothing had been; each epoch adds a row to ``log.csv``. At the end, or at any time with
``--export``, the averaged weights are written to RUN as float16 safetensors with a card.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any, get_args

import torch
from torch import Tensor
from tqdm import tqdm

from odconv.attention import Settings
from odconv.training.compute import choose_precision, positive_int, torch_settings
from odconv.training.data import DataError, Pictures, augment, batches, load_pictures, prepare_batch, stream
from odconv.training.measure import accuracy, attentions, predict_logits, summarise_layer, summarise_network
from odconv.training.network import training_loss
from odconv.training.recipe import (
    AUGMENTATION,
    DROPPING,
    MEAN,
    ORDER,
    SHIFT,
    STD,
    Drawn,
    Recipe,
    RecipeError,
    draw,
    hyperparameters,
    learning_rate,
    picture_size,
    temperature,
)
from odconv.training.run import Run, RunError, State, begin, export, flag, reopen, resume, save, write_down

WATCHED = 256  # validation pictures on which attention is watched after each epoch


# --- training ---------------------------------------------------------------------------------------------------------


def fit(run: Run, state: State, train: Pictures, val: Pictures, stop: Event) -> bool:
    """Train to the end of the run, or to the first step after ``stop`` is set; whether the end was reached.

    Raises:
        RunError: the loss is not a finite number any more.
    """
    recipe, per_epoch = run.recipe, run.per_epoch
    pause = 0.5 if sys.stderr.isatty() else 60  # s; a log file wants fewer lines
    with tqdm(total=recipe.epochs * per_epoch, initial=state.step, unit="step", mininterval=pause) as bar:
        while True:
            done = state.step // per_epoch
            if len(state.rows) < done:
                state.rows.append(_make_row(run, state, val))
                state.loss = state.seconds = 0.0
                save(run, state)
                bar.write(", ".join(f"{name} {value}" for name, value in state.rows[-1].items()), file=sys.stdout)
            if done == recipe.epochs or stop.is_set():
                return done == recipe.epochs
            train_epoch(run, state, train, stop, bar)
            save(run, state)


def train_epoch(run: Run, state: State, train: Pictures, stop: Event, bar: tqdm[Any]) -> None:
    """From where ``state`` is to the end of its epoch, or to the first step after ``stop`` is set."""
    recipe = run.recipe
    epoch, first = divmod(state.step, run.per_epoch)
    order = stream(recipe.seed, ORDER, epoch).permutation(len(train))
    device, began = next(state.model.parameters()).device, time.perf_counter()
    for pixels, labels in batches(train, order, recipe.batch, first):
        loss = float(train_step(run, state, pixels.to(device), labels.to(device)))
        if not math.isfinite(loss):
            raise RunError(f"The loss is no finite number any more at step {state.step}; a lower --lr may help.")
        state.loss += loss
        bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        bar.update()
        if stop.is_set():
            break
    state.seconds += time.perf_counter() - began


def train_step(run: Run, state: State, pixels: Tensor, labels: Tensor) -> Tensor:
    """One step on pixels (N, S, S, 3) of uint8 and labels (N,); the cross-entropy, detached."""
    recipe, step, per_epoch = run.recipe, state.step, run.per_epoch
    x = prepare_batch(pixels, picture_size(recipe, step // per_epoch), MEAN, STD)  # (N, 3, size, size)
    x = augment(x, stream(recipe.seed, AUGMENTATION, step), SHIFT, recipe.zoom)
    drawn = Drawn(*(torch.from_numpy(each).to(x.device) for each in draw(recipe, step, per_epoch, len(x))))
    rate = learning_rate(recipe, (step + 0.5) / (recipe.epochs * per_epoch))
    for group in state.optimiser.param_groups:
        group["lr"] = rate * group["factor"]
    torch.manual_seed(int(stream(recipe.seed, DROPPING, step).integers(2**63)))  # dropout knows no generator of its own
    state.optimiser.zero_grad()
    loss, cross_entropy = training_loss(state.model.train(), x, labels, drawn, recipe)
    loss.backward()
    state.optimiser.step()
    state.average.update_parameters(state.model)
    state.step += 1
    return cross_entropy


def _make_row(run: Run, state: State, val: Pictures) -> dict[str, Any]:
    """The log's row for the epoch that has just ended: averaged weights, at the epoch's size and last temperature."""
    recipe, epoch, model = run.recipe, state.step // run.per_epoch, state.average.module
    now, size = temperature(recipe, epoch), picture_size(recipe, epoch - 1)
    how, settings = run.preparation(size), Settings(now * recipe.final_temperature)
    right = accuracy(predict_logits(model, val, how, settings), val.labels)
    watched = attentions(model, val.evenly_spaced(WATCHED), how, settings)
    return {
        "epoch": epoch,
        "step": state.step,
        "size": size,
        "lr": round(learning_rate(recipe, epoch / recipe.epochs), 6),
        "temperature": round(now, 3),
        "loss": round(state.loss / run.per_epoch, 4),
        "top1": right["top1"],
        "top5": right["top5"],
        **summarise_network([summarise_layer(heads) for heads in watched.values()]),
        "seconds": round(state.seconds, 1),
        "images_per_second": round(run.per_epoch * recipe.batch / state.seconds, 1),
    }


# --- the command ------------------------------------------------------------------------------------------------------


@contextmanager
def catch_signals() -> Iterator[Event]:
    """Inside, Ctrl-C and SIGTERM set the event; a second one does what it does outside."""
    stop = Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, before[number])  # type: ignore[index]

    try:
        for number in before:
            signal.signal(number, ask)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def make_parser() -> argparse.ArgumentParser:
    """Options of the command; those of the recipe are its fields and absent unless given."""
    parser = argparse.ArgumentParser(
        prog="python -m odconv.training.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run, outside of any repository")
    parser.add_argument("--data", type=Path, help="folder of the data set; a resumed run knows it")
    parser.add_argument("--cache", type=Path, help="folder for decoded pictures (default: DATA/decoded)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument(
        "--export", action="store_true", help="write the averaged weights of the last checkpoint and end"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=positive_int, help="CPU threads (default: PyTorch's)")
    group = parser.add_argument_group("the recipe")
    for name, (kind, words) in hyperparameters().items():
        how = {"choices": get_args(kind)} if get_args(kind) else {"type": kind}
        words = f"{words} (default: {getattr(Recipe, name)})".replace("%", "%%")
        group.add_argument(flag(name), default=argparse.SUPPRESS, help=words, **how)
    # The commands of the bundled networks say these, and nothing else was any good.
    for name, only in (("--attention-affine", "fixed"), ("--temperature-fall", "geometric")):
        group.add_argument(name, choices=[only], default=argparse.SUPPRESS, help=f"{only} in any case")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """0 when the run is at its end, 1 when it was stopped before."""
    options = vars(make_parser().parse_args(argv))
    given = {name: options[name] for name in hyperparameters() if name in options}
    if given.get("start"):
        given["start"] = str(Path(given["start"]).resolve())
    try:
        with torch_settings(options["threads"]):
            return _main(options, given)
    except (DataError, RecipeError, RunError) as error:
        sys.exit(str(error))


def _main(options: Mapping[str, Any], given: Mapping[str, Any]) -> int:
    folder, device = options["out"], torch.device(options["device"])
    if options["resume"] or options["export"]:
        run = reopen(folder, given, options["data"])
    elif options["data"] is None:
        raise DataError("--data is needed: the folder of the data set.")
    else:
        run = begin(folder, given, options["data"], device)
    fast, why = choose_precision(device)
    print(f"Products in {run.recipe.precision}: {why if run.recipe.precision == fast else 'as asked'}.")
    side, cache = max(side for side, _ in run.recipe.stages), options["cache"] or run.dataset.folder / "decoded"
    val = load_pictures(run.dataset, "val", side, cache)
    state = resume(run, device)
    if options["export"]:
        export(run, state, val)
        return 0
    train = load_pictures(run.dataset, "train", side, cache)
    write_down(run)
    with catch_signals() as stop:
        finished = fit(run, state, train, val, stop)
    if finished:
        export(run, state, val)
        return 0
    print(f"Stopped after step {state.step}; --resume goes on from there.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
