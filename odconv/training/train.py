"""Train a network of ``odconv.backbones`` on a folder of pictures: ODConv, or its static twin.

    python -m odconv.training.train --data DIR --out RUN [--arch od_resnet18] [--width 32] [--kernels 4] [...]
    python -m odconv.training.train --out RUN --resume

The bundled networks were made with it on Tiny-ImageNet-200, 100,000 pictures of 64 px: an ordinary ResNet-18 of width 32 in 32
epochs, and from it, in 24 more each, its static twin and ODConv with K = 1 and 4, in 2 to 6 minutes on an H200. They are right
in 55, 54 and 53 % of the 10,000 validation pictures. Commands and all numbers: assets/weights/README.md.

Batches of small pictures first, SGD with one cycle of the learning rate, temperature from 30 to 1, averaged weights;
``--start`` takes over the weights of the static twin. Each epoch leaves a checkpoint in RUN, from which ``--resume`` goes on,
and adds a row to ``log.csv``. A run can be stopped at any time, with Ctrl-C for one: an epoch that was under way is done again,
and what comes out is what an unstopped run gives. At the end, or with ``--export`` for the last checkpoint, the averaged weights
are written to RUN as float16 safetensors with a card.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor
from tqdm import tqdm

from odconv.attention import Settings
from odconv.training.compute import choose_precision, full_float32
from odconv.training.data import DataError, Pictures, Purpose, augment, batches, load_pictures, prepare_batch, stream
from odconv.training.measure import accuracy, attentions, predict_logits, summarise_layer, summarise_network
from odconv.training.network import training_loss
from odconv.training.recipe import MEAN, SHIFT, STD, Drawn, Recipe, RecipeError, draw, hyperparameters
from odconv.training.run import Run, RunError, begin, export, flag, reopen, save

WATCHED = 256  # validation pictures on which attention is watched after each epoch


def fit(run: Run, train: Pictures, val: Pictures) -> None:
    """Train to the end of the run; a checkpoint after each epoch.

    Raises:
        RunError: the loss is not a finite number any more.
    """
    recipe, device = run.recipe, next(run.model.parameters()).device
    pause = 0.5 if sys.stderr.isatty() else 60  # s; a log file wants fewer lines
    with tqdm(total=recipe.epochs * run.per_epoch, initial=run.step, unit="step", mininterval=pause) as bar:
        for epoch in range(len(run.rows), recipe.epochs):
            began, losses = time.perf_counter(), []
            order = stream(recipe.seed, Purpose.ORDER, epoch).permutation(len(train))
            for pixels, labels in batches(train, order, recipe.batch):
                losses.append(float(train_step(run, pixels.to(device), labels.to(device))))
                if not math.isfinite(losses[-1]):
                    raise RunError(f"The loss is no finite number any more at step {run.step}; a lower --lr may help.")
                bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
                bar.update()
            run.rows.append(make_row(run, val, sum(losses) / len(losses), time.perf_counter() - began))
            save(run)
            bar.write(", ".join(f"{name} {value}" for name, value in run.rows[-1].items()), file=sys.stdout)


def train_step(run: Run, pixels: Tensor, labels: Tensor) -> Tensor:
    """One step on pixels (N, S, S, 3) of uint8 and labels (N,); the cross-entropy, detached."""
    recipe, step, per_epoch = run.recipe, run.step, run.per_epoch
    x = prepare_batch(pixels, recipe.picture_size(step // per_epoch), MEAN, STD)  # (N, 3, size, size)
    x = augment(x, stream(recipe.seed, Purpose.AUGMENTATION, step), SHIFT, recipe.zoom)
    drawn = Drawn(*(torch.from_numpy(each).to(x.device) for each in draw(recipe, step, per_epoch, len(x))))
    rate = recipe.learning_rate((step + 0.5) / (recipe.epochs * per_epoch))
    for group in run.optimiser.param_groups:
        group["lr"] = rate * group["factor"]
    # Dropout knows no generator of its own.
    torch.manual_seed(int(stream(recipe.seed, Purpose.DROPPING, step).integers(2**63)))
    run.optimiser.zero_grad()
    loss, cross_entropy = training_loss(run.model.train(), x, labels, drawn, recipe)
    loss.backward()
    run.optimiser.step()
    run.average.update_parameters(run.model)
    run.step += 1
    return cross_entropy


def make_row(run: Run, val: Pictures, loss: float, seconds: float) -> dict[str, Any]:
    """The log's row for the epoch that has just ended: averaged weights, at the epoch's size and last temperature.

    ``loss``: mean cross-entropy of its steps; ``seconds``: what they took.
    """
    recipe, epoch, model = run.recipe, run.step // run.per_epoch, run.average.module
    now, size = recipe.temperature(epoch), recipe.picture_size(epoch - 1)
    how, settings = run.preparation(size), Settings(now * recipe.final_temperature)
    right = accuracy(predict_logits(model, val, how, settings), val.labels)
    watched = attentions(model, val.evenly_spaced(WATCHED), how, settings)
    return {
        "epoch": epoch,
        "step": run.step,
        "size": size,
        "lr": round(recipe.learning_rate(epoch / recipe.epochs), 6),
        "temperature": round(now, 3),
        "loss": round(loss, 4),
        "top1": right["top1"],
        "top5": right["top5"],
        **summarise_network([summarise_layer(heads) for heads in watched.values()]),
        "seconds": round(seconds, 1),
        "images_per_second": round(run.per_epoch * recipe.batch / seconds, 1),
    }


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
    parser.add_argument("--export", action="store_true", help="write the weights of the last checkpoint and end")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    group = parser.add_argument_group("the recipe")
    for name, (kind, words, *_) in hyperparameters().items():
        how = {"choices": get_args(kind)} if get_args(kind) else {"type": kind}
        words = f"{words} (default: {getattr(Recipe, name)})"
        group.add_argument(flag(name), default=argparse.SUPPRESS, help=words, **how)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """0 when the run is at its end, 1 when it was stopped before."""
    options = make_parser().parse_args(argv)
    given = {name: value for name, value in vars(options).items() if name in hyperparameters()}
    if given.get("start"):
        given["start"] = str(Path(given["start"]).resolve())
    try:
        with full_float32():
            _main(options, given)
        return 0
    except (DataError, RecipeError, RunError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("Stopped; --resume goes on from the end of the last epoch that was finished.")
        return 1


def _main(options: argparse.Namespace, given: Mapping[str, Any]) -> None:
    device = torch.device(options.device)
    if options.resume or options.export:
        run = reopen(options.out, given, options.data, device)
    elif options.data is None:
        raise DataError("--data is needed: the folder of the data set.")
    else:
        run = begin(options.out, given, options.data, device)
    fast, why = choose_precision(device)
    print(f"Products in {run.recipe.precision}: {why if run.recipe.precision == fast else 'as asked'}.")
    side, cache = max(side for side, _ in run.recipe.stages), options.cache or run.dataset.folder / "decoded"
    val = load_pictures(run.dataset, "val", side, cache)
    if not options.export:
        train = load_pictures(run.dataset, "train", side, cache)
        save(run)
        fit(run, train, val)
    export(run, val)


if __name__ == "__main__":
    sys.exit(main())
