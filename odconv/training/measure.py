"""What weights are worth on labelled pictures: accuracy under many settings, and how attention differs between pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from odconv.attention import HEADS, Heads, Keep, Settings
from odconv.checkpoint import Checkpoint
from odconv.explain import effective_kernels, explain, spread
from odconv.probe import apply_settings
from odconv.training.compute import autocast
from odconv.training.data import Pictures, prepare_batch

Z95 = 1.959964  # what a standard normal stays within, plus or minus, with a probability of 95 %
MOVES = 0.05  # deviation between pictures from which on a head is counted as moving

Entry = dict[str, Any]  # a part of a card


@dataclass(frozen=True)
class Preparation:
    """How pictures are put to a network: side in px, normalisation, number type, pictures at once."""

    size: int
    mean: Sequence[float]
    std: Sequence[float]
    precision: str = "float32"
    batch: int = 128


def hits(logits: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Whether the label is among the k highest of (N, classes) logits: (N,) of bool. Ties go to the lower class."""
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return (best == labels[:, None]).any(axis=1)


def wilson(hit: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a proportion, ``hit`` of ``n``, as fractions.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    share, shrink = hit / n, Z95**2 / n
    centre = (share + shrink / 2) / (1 + shrink)
    half = math.sqrt(share * (1 - share) * shrink + shrink**2 / 4) / (1 + shrink)
    return max(0.0, centre - half), min(1.0, centre + half)


def accuracy(logits: np.ndarray, labels: np.ndarray) -> Entry:
    """Top-1 and top-5 in percent, with their 95 % intervals."""
    return {key: value for k in (1, 5) for key, value in percent(f"top{k}", hits(logits, labels, k)).items()}


def per_class(logits: np.ndarray, labels: np.ndarray, ids: Sequence[str]) -> dict[str, Entry]:
    """Top-1 in percent of each class that has pictures, with n and its 95 % interval."""
    hit = hits(logits, labels, 1)
    of = {name: hit[labels == label] for label, name in enumerate(ids)}
    return {name: percent("top1", some) | {"n": len(some)} for name, some in of.items() if len(some)}


def percent(name: str, hit: np.ndarray) -> Entry:
    """How many of ``hit`` (N,) are true, in percent, with the 95 % interval."""
    ends = wilson(int(hit.sum()), len(hit))
    return {name: round(100 * float(hit.mean()), 2), f"{name}_interval": [round(100 * end, 2) for end in ends]}


def _batches(model: nn.Module, pictures: Pictures, how: Preparation) -> Iterator[Tensor]:
    device = next(model.parameters()).device
    for start in range(0, len(pictures), how.batch):
        pixels = torch.from_numpy(np.array(pictures.pixels[start : start + how.batch])).to(device)
        yield prepare_batch(pixels, how.size, how.mean, how.std)


@torch.inference_mode()
def predict_logits(model: nn.Module, pictures: Pictures, how: Preparation, settings: Settings) -> np.ndarray:
    """The network's outputs (N, classes) for all pictures, float32. The model should be in eval mode."""
    with apply_settings(settings), autocast(next(model.parameters()).device, how.precision):
        found = [model(x).float().cpu().numpy() for x in _batches(model, pictures, how)]
    return np.concatenate(found)


def attentions(model: nn.Module, pictures: Pictures, how: Preparation, settings: Settings) -> dict[str, Heads[Any]]:
    """Layer -> attentions of all pictures, arrays (N, ...), in float32 whatever ``how`` says."""
    batches = tqdm(_batches(model, pictures, how), "Attention", -(-len(pictures) // how.batch), delay=5, unit="batch")
    parts = [{name: layer.attention for name, layer in explain(model, x, settings).layers.items()} for x in batches]
    return {name: Heads(*map(_join, zip(*(part[name] for part in parts), strict=True))) for name in parts[0]}


def _join(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    return None if parts[0] is None else np.concatenate(parts)  # type: ignore[arg-type]


def summarise_layer(attention: Heads[np.ndarray]) -> Entry:
    """Of one layer's attention to N pictures: each head's deviation between them, and how many kernels are in effect."""
    heads = {head: values for head, values in attention._asdict().items() if values is not None}
    entry: Entry = {head: round(spread(values), 5) for head, values in heads.items()}
    if attention.kernel is not None:
        entry["effective_kernels"] = round(float(effective_kernels(attention.kernel).mean()), 3)
    return entry


def summarise_network(layers: Sequence[Entry]) -> Entry:
    """Of what :func:`summarise_layer` says of each layer: means over those that have the head.

    ``moving_layers``: in how many layers each head that is there deviates by at least ``MOVES``. Empty for a static network.
    """
    if not layers:
        return {}
    values = {name: [layer[name] for layer in layers if name in layer] for name in (*HEADS, "effective_kernels")}
    entry: Entry = {name: round(sum(some) / len(some), 4) for name, some in values.items() if some}
    return entry | {"moving_layers": sum(all(layer.get(head, MOVES) >= MOVES for head in HEADS) for layer in layers)}


def questions(kernels: int | None, temperatures: Sequence[float]) -> dict[str, dict[str, Settings]]:
    """Section of the card -> key -> the settings that are measured for it. ``kernels``: K; None: static."""
    if kernels is None:
        return {}
    sections = {"temperature": {f"{t:g}": Settings(t) for t in temperatures}}
    if kernels > 1:
        for keep in get_args(Keep):
            fewer = {str(n): Settings(kernels=n, keep=keep) for n in range(1, kernels)}
            sections[f"{keep}_n_kernels"] = fewer | {str(kernels): Settings()}
    return sections


def measure(checkpoint: Checkpoint, pictures: Pictures, ids: Sequence[str], temperatures: Sequence[float]) -> Entry:
    """Everything that goes under ``measured`` in the card, in float32. ``ids``: of the classes."""
    card, model = checkpoint.card, checkpoint.model
    how = Preparation(card.image_size, card.mean, card.std)
    sections = questions(checkpoint.architecture.num_kernels, temperatures)
    asked = {settings for section in sections.values() for settings in section.values()} - {Settings()}
    logits = predict_logits(model, pictures, how, Settings())
    found = {Settings(): accuracy(logits, pictures.labels)}
    for settings in tqdm(asked, f"{len(pictures):,} pictures", unit="pass"):
        found[settings] = accuracy(predict_logits(model, pictures, how, settings), pictures.labels)
    measured = conditions(model, how, len(pictures)) | found[Settings()]
    for section, entries in sections.items():
        measured[section] = {key: found[settings] for key, settings in entries.items()}
    if checkpoint.dynamic:
        layers = attentions(model, pictures, how, Settings())
        measured["between_pictures"] = {
            "what": "mean over a head's entries of the standard deviation over pictures; effective kernels: mean of "
            f"exp(entropy); n = {len(pictures):,} of the pictures, float32",
            "n": len(pictures),
            "layers": {name: summarise_layer(heads) for name, heads in layers.items()},
        }
    measured["per_class"] = per_class(logits, pictures.labels, ids)
    if len(measured["per_class"]) < len(ids):
        measured["what"] += f"; pictures of {len(measured['per_class'])} of the {len(ids):,} classes"
    return measured


def conditions(model: nn.Module, how: Preparation, n: int) -> Entry:
    """Under what conditions something was measured on ``n`` pictures, in words and one by one."""
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
