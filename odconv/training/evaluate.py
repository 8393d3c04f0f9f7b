"""Measure weights on the validation pictures of a data set and write what was found into their card.

    python -m odconv.training.evaluate --weights FILE --data DIR [--temperatures 0.3,0.5,1,2,3,4,30]

Top-1 and top-5 for every number of kernels (the first and the strongest n), for every temperature (on all heads, on the
kernel head alone, on all with the gates' gain kept) and per class, each with n and a 95 % Wilson interval; and, for every
layer and head, how far attention differs between pictures. The card keeps it under ``measured``, with its conditions.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from odconv.attention import HEADS, Heads, Keep, Settings
from odconv.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from odconv.explain import between_pictures, effective_kernels, explain
from odconv.probe import apply_settings
from odconv.training.data import DataError, Dataset, Pictures, decoded, find, prepared

Z95 = 1.959964  # what a standard normal stays within, plus or minus, with a probability of 95 %

Entry = dict[str, Any]


@dataclass(frozen=True)
class Preparation:
    """How pictures are put to a network: side in px, normalisation, number type, pictures at once."""

    size: int
    mean: Sequence[float]
    std: Sequence[float]
    precision: str = "float32"
    batch: int = 128


# --- numbers ----------------------------------------------------------------------------------------------------------


def hits(logits: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Whether the label is among the k highest of (N, classes) logits: (N,) of bool. Ties go to the lower class."""
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return (best == labels[:, None]).any(axis=1)


def wilson(hit: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a proportion, ``hit`` of ``n``, as fractions.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).

    Example:
        >>> wilson(5, 10)
        (0.2365931..., 0.7634068...)
    """
    share, spread = hit / n, Z95**2 / n
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def accuracy(logits: np.ndarray, labels: np.ndarray) -> Entry:
    """Top-1 and top-5 in percent, with their 95 % intervals."""
    entry: Entry = {}
    for k in (1, 5):
        hit, n = int(hits(logits, labels, k).sum()), len(labels)
        entry[f"top{k}"] = round(100 * hit / n, 2)
        entry[f"top{k}_interval"] = [round(100 * end, 2) for end in wilson(hit, n)]
    return entry


def per_class(logits: np.ndarray, labels: np.ndarray, ids: Sequence[str]) -> dict[str, Entry]:
    """Top-1 in percent of each class, with n and its 95 % interval."""
    hit, entries = hits(logits, labels, 1), {}
    for label, name in enumerate(ids):
        chosen = hit[labels == label]
        if len(chosen):
            ends = [round(100 * end, 2) for end in wilson(int(chosen.sum()), len(chosen))]
            entries[name] = {"top1": round(100 * chosen.mean(), 2), "top1_interval": ends, "n": len(chosen)}
    return entries


def spread(attention: Heads[np.ndarray]) -> Entry:
    """What one layer's attention does over N pictures: how far each head differs between them, and how kernels share.

    ``leads``: percent of the pictures in which each kernel has the largest share.
    """
    entry: Entry = {
        head: round(between_pictures(values), 5)
        for head, values in zip(HEADS, attention, strict=True)
        if values is not None
    }
    if attention.kernel is not None:
        leading = np.bincount(attention.kernel.argmax(axis=1), minlength=attention.kernel.shape[1])
        entry["effective_kernels"] = round(float(effective_kernels(attention.kernel).mean()), 3)
        entry["leads"] = [round(100 * int(count) / len(attention.kernel), 1) for count in leading]
    return entry


# --- passes -----------------------------------------------------------------------------------------------------------


def _inputs(model: nn.Module, pictures: Pictures, how: Preparation) -> Iterator[Tensor]:
    device = next(model.parameters()).device
    for start in range(0, len(pictures), how.batch):
        pixels = torch.from_numpy(np.array(pictures.pixels[start : start + how.batch])).to(device)
        yield prepared(pixels, how.size, how.mean, how.std)


@torch.inference_mode()
def scores(model: nn.Module, pictures: Pictures, how: Preparation, settings: Settings) -> np.ndarray:
    """Logits (N, classes) of all pictures, float32. The model should be in eval mode."""
    with apply_settings(settings), autocast(next(model.parameters()).device, how.precision):
        found = [model(x).float().cpu().numpy() for x in _inputs(model, pictures, how)]
    return np.concatenate(found)


def attentions(
    model: nn.Module, pictures: Pictures, how: Preparation, settings: Settings
) -> dict[str, Heads[np.ndarray]]:
    """Layer -> attentions of all pictures, in float32 whatever ``how`` says."""
    parts = [explain(model, x, settings).layers for x in _inputs(model, pictures, how)]
    return {
        name: Heads(
            *(
                None if heads[0] is None else np.concatenate(heads)
                for heads in zip(*(part[name].attention for part in parts), strict=True)
            )
        )
        for name in parts[0]
    }


def autocast(device: torch.device, precision: str) -> Any:
    """Products in bfloat16 where ``precision`` says so."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


def questions(kernels: int | None, temperatures: Sequence[float]) -> dict[str, dict[str, Settings]]:
    """Section of the card -> key -> the settings that are measured for it. ``kernels``: K; None: static."""
    if kernels is None:
        return {}
    counts = {str(n): None if n == kernels else n for n in range(1, kernels + 1)}
    kept = {
        f"{keep}_n_kernels": {
            key: Settings() if n is None else Settings(kernels=n, keep=keep) for key, n in counts.items()
        }
        for keep in get_args(Keep)
    }
    sections = kept | {
        "temperature": {f"{t:g}": Settings(t) for t in temperatures},
        "temperature_kernel_only": {
            f"{t:g}": Settings() if t == 1 else Settings(t, tempered=("kernel",)) for t in temperatures
        },
        "temperature_compensated": {
            f"{t:g}": Settings() if t == 1 else Settings(t, compensate=True) for t in temperatures
        },
    }
    if kernels == 1:
        for name in (*kept, "temperature_kernel_only"):
            del sections[name]
    return sections


def measure(
    checkpoint: Checkpoint,
    pictures: Pictures,
    ids: Sequence[str],
    *,
    temperatures: Sequence[float] = (0.3, 0.5, 1, 2, 3, 4, 30),
    precision: str = "float32",
    batch: int = 128,
    spread_pictures: int | None = None,
) -> Entry:
    """Everything that goes under ``measured`` in the card. ``spread_pictures``: how many for that; None: all."""
    card, model = checkpoint.card, checkpoint.model
    how = Preparation(card.image_size, card.mean, card.std, precision, batch)
    sections = questions(checkpoint.architecture.num_kernels, temperatures)
    passes = {Settings(): None} | {settings: None for section in sections.values() for settings in section.values()}
    found: dict[Settings, Entry] = {}
    for settings in tqdm(passes, desc=f"{len(pictures):,} pictures", unit="pass"):
        logits = scores(model, pictures, how, settings)
        found[settings] = accuracy(logits, pictures.labels)
        if settings == Settings():
            classes = per_class(logits, pictures.labels, ids)
    measured = _conditions(model, how, len(pictures)) | found[Settings()]
    for section, asked in sections.items():
        measured[section] = {key: found[settings] for key, settings in asked.items()}
    if checkpoint.dynamic:
        some = pictures if spread_pictures is None else pictures.spaced(spread_pictures)
        measured["between_pictures"] = _between_pictures(model, some, how)
    measured["per_class"] = classes
    return measured


def _between_pictures(model: nn.Module, pictures: Pictures, how: Preparation) -> Entry:
    layers = {name: spread(heads) for name, heads in attentions(model, pictures, how, Settings()).items()}
    return {
        "what": "mean over a head's entries of the standard deviation over pictures; effective kernels: mean of "
        f"exp(entropy); leads: percent of pictures; n = {len(pictures):,} of the pictures, float32",
        "n": len(pictures),
        "layers": layers,
    }


def _conditions(model: nn.Module, how: Preparation, n: int) -> Entry:
    device = next(model.parameters()).device
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    return {
        "what": f"top-1 and top-5 in percent with 95 % Wilson intervals, n = {n:,} validation pictures at "
        f"{how.size} px, {how.precision}, {where}, torch {torch.__version__}",
        "n": n,
        "image_size": how.size,
        "precision": how.precision,
        "device": where,
        "torch": torch.__version__,
    }


# --- words ------------------------------------------------------------------------------------------------------------


def report(measured: Entry) -> str:
    """The same as text, for a terminal."""
    lines = [measured["what"], f"default: {_said(measured)}"]
    for section in measured:
        if section.startswith(("first", "strongest", "temperature")):
            lines.append(section.replace("_", " "))
            lines += [f"  {key:>5}  {_said(entry)}" for key, entry in measured[section].items()]
    if "between_pictures" in measured:
        lines += [measured["between_pictures"]["what"], _row("layer", *HEADS, "effective", " leads")]
        for name, entry in measured["between_pictures"]["layers"].items():
            heads = (f"{entry[head]:.4f}" if head in entry else "" for head in HEADS)
            leads = " ".join(f"{share:g}" for share in entry.get("leads", ()))
            lines.append(_row(name, *heads, str(entry.get("effective_kernels", "")), f" {leads}"))
    ranked = sorted(measured["per_class"].items(), key=lambda item: item[1]["top1"])
    for word, some in (("hardest", ranked[:5]), ("easiest", ranked[:-6:-1])):
        lines.append(f"{word}: " + ", ".join(f"{name} {entry['top1']:g} % of {entry['n']}" for name, entry in some))
    return "\n".join(lines)


def _said(entry: Entry) -> str:
    return "  ".join(
        f"top-{k} {entry[f'top{k}']:5.2f} ({entry[f'top{k}_interval'][0]:.2f} to {entry[f'top{k}_interval'][1]:.2f})"
        for k in (1, 5)
    )


def _row(name: str, *cells: str) -> str:
    return f"  {name:<22}" + "".join(f"{cell:>10}" for cell in cells[:-1]) + cells[-1]


# --- the command ------------------------------------------------------------------------------------------------------


def card_beside(weights: Path) -> tuple[Path, Entry]:
    """The card's file and what it holds.

    Raises:
        CheckpointError: there is none, so nobody knows how pictures are to be prepared and what the classes are.
    """
    path = weights.with_suffix(".json")
    if not path.is_file():
        raise CheckpointError("checkpoint.no_card", file=weights.name, card=path.name)
    return path, json.loads(path.read_text(encoding="utf-8"))


def options_of(name: str, description: str | None) -> argparse.ArgumentParser:
    """The options that every command has that looks at finished weights."""
    parser = argparse.ArgumentParser(
        prog=f"python -m odconv.training.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weights", type=Path, required=True, help="weights with a card beside them")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--cache", type=Path, help="folder for decoded pictures (default: DATA/decoded)")
    parser.add_argument("--pictures", type=above_0, help="use this many pictures, evenly spaced (default: all)")
    parser.add_argument("--batch", type=above_0, default=128)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=above_0, help="CPU threads (default: PyTorch's)")
    return parser


def opened(options: argparse.Namespace) -> tuple[Checkpoint, Dataset, Pictures]:
    """The weights that are asked for, on their device; the data set; and its validation pictures, all or as many as asked.

    Raises:
        CheckpointError: the weights cannot be used, or have no card.
        DataError: the data set cannot be used, or has other classes than the weights.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.backends.cudnn.allow_tf32 = False  # what is called float32 is, on a GPU too
    checkpoint = load_checkpoint(options.weights)
    path, _ = card_beside(options.weights)
    checkpoint.model.to(options.device)
    dataset = find(options.data)
    if dataset.names != checkpoint.card.classes:
        raise DataError(f"{options.data} has other classes than those in {path.name}.")
    size, resize = checkpoint.card.image_size, checkpoint.card.resize
    pictures = decoded(dataset, "val", size, options.cache or options.data / "decoded", resize=resize)
    return checkpoint, dataset, pictures if options.pictures is None else pictures.spaced(options.pictures)


def main(argv: Sequence[str] | None = None) -> None:
    parser = options_of("evaluate", __doc__)
    parser.add_argument("--temperatures", type=_numbers, default=_numbers("0.3,0.5,1,2,3,4,30"))
    parser.add_argument("--spread-pictures", type=above_0, help="for the spread between pictures (default: all)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    options = parser.parse_args(argv)
    try:
        checkpoint, dataset, pictures = opened(options)
        path, card = card_beside(options.weights)
    except (CheckpointError, DataError) as error:
        sys.exit(str(error))
    card["measured"] = measure(
        checkpoint,
        pictures,
        dataset.ids,
        temperatures=options.temperatures,
        precision=options.precision,
        batch=options.batch,
        spread_pictures=options.spread_pictures,
    )
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(unfinished, path)
    print(report(card["measured"]))


def above_0(text: str) -> int:
    """A whole number of at least 1, of an option of the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: a whole number of at least 1 is needed")
    return number


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(Settings(float(number)).temperature for number in text.split(","))


if __name__ == "__main__":
    main()
