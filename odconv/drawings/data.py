"""A record -> the plain data that a drawing needs, with its texts: what is shown, said and read aloud.

``reference`` is the untouched network's record of the same picture, drawn as ghost marks; ``None`` where settings are the
trained ones. All records here are of one picture (N = 1). Kernels, rows and columns are counted from 1 as in the paper,
channels from 0 as in PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from odconv.attention import HEADS, Heads, Settings
from odconv.cost import LayerCost
from odconv.explain import Explanation, LayerRecord, effective_kernels, entropy

# Okabe and Ito's colours, told apart by colour-blind people. One per head, on every page.
COLOURS = {"spatial": "#0072B2", "channel": "#009E73", "filter": "#CC79A7", "kernel": "#E69F00"}

TITLES = {
    "spatial": "spatial attention",
    "channel": "channel (input-channel) attention",
    "filter": "filter (output-channel) attention",
    "kernel": "kernel attention",
}

CAPTIONS = {
    "spatial": "One weight for each tap of the kernel. These are places in the kernel, not places in the photo.",
    "channel": "One gate for each channel that comes into the layer.",
    "filter": "One gate for each channel that the layer puts out.",
    "kernel": "How much each candidate kernel adds to the one that is used; they sum to 1.",
}

GHOSTS = "As trained: dots (spatial), dashed lines (channel, filter), narrow strips (kernel)."

QUANTILES = 25  # points of a sorted profile at a glance


def prediction(
    record: Explanation, reference: Explanation | None, classes: tuple[str, ...], most: int = 5
) -> dict[str, Any]:
    """The ``most`` likely classes, with the untouched network's probability for each."""
    shares = record.probabilities[0]
    trained = None if reference is None else reference.probabilities[0]
    top = np.argsort(-shares, kind="stable")[:most]
    rows = [
        {"name": short(classes[i]), "probability": _round(shares[i]), "ghost": _maybe(trained, i)}
        for i in map(int, top)
    ]
    note = ""
    if trained is not None:
        best = int(trained.argmax())
        note = f"Dashed marks and grey numbers: the network as trained, whose first choice is {short(classes[best])}, {trained[best]:.2f}."
    said = ", ".join(f"{row['name']} {row['probability']:.2f}" for row in rows)
    return {"rows": rows, "note": note, "alt": f"Most likely classes: {said}"}


def short(name: str) -> str:
    """The first of a class's synonyms."""
    return name.partition(",")[0]


def glance(record: Explanation, reference: Explanation | None, selected: str) -> dict[str, Any]:
    """All layers x four heads."""
    layers = []
    for name, layer_record in record.layers.items():
        stage, label = place(name)
        cells = _cells(layer_record.attention)
        ghost = None if reference is None else _cells(reference.layers[name].attention)
        named = {"name": name, "stage": stage, "label": label, "alt": f"{name}: {said(layer_record)}"}
        layers.append(named | cells | {"ghost": ghost})
    sides = sorted({layer.weight_shape[-1] for layer in record.layers.values()})
    most = max((layer.weight_shape[0] for layer in record.layers.values()), default=1)
    taps = " and ".join(f"{side}×{side}" for side in sides if side > 1)
    return {
        "layers": layers,
        "selected": selected,
        "note": "" if reference is None else GHOSTS,
        "alt": f"Attention of {len(layers)} layers at a glance. Arrow keys choose a layer.",
        "legend": {
            "spatial": [f"{taps} kernel taps"] if taps else [],
            "channel": ["input channels", "sorted gates"],
            "filter": ["output channels", "sorted gates"],
            "kernel": [f"shares of W1…W{most}", "above: effective"] if most > 1 else ["one kernel"],
        },
    }


def place(name: str) -> tuple[str, str]:
    """Stage and short label of a layer: ``layer2.0.conv1`` -> (``layer2``, ``0·1``)."""
    base, _, call = name.partition("#")
    parts = base.split(".")
    if parts[0].startswith("layer"):
        label = "·".join(part.removeprefix("conv") for part in parts[1:])
    else:  # features.3.conv.1.0: all of MobileNetV2 is one sequence
        label = "·".join(parts[1:2] + [part for part in parts[2:] if part != "conv"][:1])
    return parts[0], label + (f"#{call}" if call else "")


def _cells(attention: Heads[np.ndarray]) -> dict[str, Any]:
    spatial, channel, filter, kernel = (None if head is None else head[0] for head in attention)
    return {
        "spatial": None if spatial is None else _numbers(spatial.ravel()),
        "channel": None if channel is None else _profile(channel),
        "filter": None if filter is None else _profile(filter),
        "kernel": None if kernel is None else _numbers(kernel),
        "effective": None if kernel is None else round(float(effective_kernels(kernel)), 2),
    }


def _profile(gates: np.ndarray) -> list[float]:
    return _numbers(np.quantile(gates, np.linspace(1, 0, QUANTILES)))


def layer(name: str, record: LayerRecord, reference: LayerRecord | None, cost: LayerCost) -> dict[str, Any]:
    """One layer in full: shapes, cost, equation, and the four heads with their numbers."""
    return {
        "name": name,
        "shapes": shapes(record),
        "cost": costs(record, cost),
        "equation": "y = a_f · [ ( a_s · sum over i of a_w,i W_i ) convolved with ( a_c · x ) ]",
        "heads": {head: _head(head, record, reference) for head in HEADS},
    }


def side_by_side(record: LayerRecord, reference: LayerRecord | None, titles: Sequence[str]) -> dict[str, Any]:
    """The same layer for N pictures named ``titles``, in the order of the records."""
    rows = []
    for n, title in enumerate(titles):
        heads = {
            head: None if values is None else values[n] for head, values in zip(HEADS, record.attention, strict=True)
        }
        rows.append(
            {
                "title": title,
                "heads": {head: None if values is None else _numbers(values) for head, values in heads.items()},
                "ghost": None if reference is None else _nth(reference.attention, n),
                "alts": {head: None if values is None else describe(head, values) for head, values in heads.items()},
            }
        )
    absent = [head for head, values in zip(HEADS, record.attention, strict=True) if values is None]
    missing = f" Not in this layer: {', '.join(absent)}." if absent else ""
    gates = [values.max() for values in (record.attention.channel, record.attention.filter) if values is not None]
    top = max([1.0, *map(float, gates)])  # gates whose gain is kept can exceed 1
    if reference is not None:
        missing += " As trained: dots (spatial), dashed lines."
    note = f"Every row on the same scale, 0 to {top:.3g}; channels in their own order.{missing}"
    return {"rows": rows, "top": top, "note": note}


def _nth(heads: Heads[np.ndarray], n: int) -> dict[str, Any]:
    return {head: None if values is None else _numbers(values[n]) for head, values in zip(HEADS, heads, strict=True)}


def settings_said(settings: Settings) -> str:
    """Settings in words."""
    if settings == Settings():
        return "as trained"
    default, parts = Settings(), []
    if settings.temperature != default.temperature:
        heads = "all heads" if settings.tempered == HEADS else f"the {' and '.join(settings.tempered) or 'no'} head"
        parts.append(f"temperature {settings.temperature:g} on {heads}{', gain kept' if settings.compensate else ''}")
    if settings.kernels is not None:
        parts.append(f"{settings.kernels} {settings.keep} {'kernel' if settings.kernels == 1 else 'kernels'}")
    if settings.ablate:
        parts.append(f"own mean instead of {', '.join(settings.ablate)} attention")
    return "; ".join(parts) or "as trained"


def shapes(record: LayerRecord) -> list[str]:
    """x, W and y in words and numbers."""
    kernels, out_channels, in_channels, k, _ = record.weight_shape
    stride = f", stride {record.stride[0]}" if record.stride[0] > 1 else ""
    groups = f", {record.groups} groups" if record.groups > 1 else ""
    candidates = "1 kernel" if kernels == 1 else f"{kernels} kernels"
    return [
        f"x: {_times(record.input_shape)}",
        f"W: {candidates} of {_times((out_channels, in_channels, k, k))}{stride}{groups}",
        f"y: {_times(record.output_shape)}",
    ]


def costs(record: LayerRecord, cost: LayerCost) -> str:
    """Parameters and multiply-adds, and those of an ordinary convolution of the same shape."""
    plain = math.prod(record.weight_shape[1:])
    _, height, width = record.output_shape
    return (
        f"{count(cost.parameters)} parameters, {count(cost.multiply_adds)} multiply-adds; "
        f"an ordinary convolution of this shape: {count(plain)} and {count(plain * height * width)}"
    )


def count(number: int) -> str:
    """A number of things, to three digits: 950, 14.7 thousand, 2.36 million, 1.81 billion."""
    for size, word in ((10**9, " billion"), (10**6, " million"), (10**3, " thousand")):
        if number >= 0.9995 * size:
            return f"{number / size:#.3g}".rstrip(".") + word
    return str(number)


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def absence(head: str, record: LayerRecord) -> str:
    """Why a layer has no such head."""
    return {
        "spatial": "1×1 kernel: a single tap, nothing to attend over.",
        "channel": "This layer has no channel attention.",
        "filter": "Depth-wise: each output channel has one input channel, whose gate is the channel attention.",
        "kernel": "One kernel only: nothing to choose between.",
    }[head]


def _head(head: str, record: LayerRecord, reference: LayerRecord | None) -> dict[str, Any]:
    texts = {"title": TITLES[head], "caption": CAPTIONS[head]}
    values = getattr(record.attention, head)
    if values is None:
        return texts | {"absent": absence(head, record)}
    ghost = None if reference is None else getattr(reference.attention, head)[0]
    shown: dict[str, Any] = {
        "values": _numbers(values[0]),
        "ghost": None if ghost is None else _numbers(ghost),
        "alt": describe(head, values[0]),
        "stats": _stats(head, values[0]),
    }
    if head == "kernel" and record.kept is not None:
        shown["kept"] = record.kept[0].tolist()
    return texts | shown


def _stats(head: str, values: np.ndarray) -> str:
    if head == "kernel":
        effective = effective_kernels(values)
        return f"entropy {entropy(values):.2f} nats · {effective:.1f} of {len(values)} effective kernels"
    return f"min {values.min():.2f} · mean {values.mean():.2f} · max {values.max():.2f}"


def describe(head: str, values: np.ndarray) -> str:
    """One head of one layer of one picture in a sentence, from its values."""
    if head == "kernel":
        best = int(values.argmax())
        effective = f"{effective_kernels(values):.1f} of {len(values)} effective"
        if values[best] > 0.5:
            return f"kernel {best + 1} dominates, {values[best]:.2f}; {effective}"
        return f"no kernel dominates, kernel {best + 1} leads with {values[best]:.2f}; {effective}"
    if np.ptp(values) < 0.005:
        return f"{head} attention is the same everywhere, {values.mean():.2f}"
    high, low = int(values.argmax()), int(values.argmin())
    if head == "spatial":
        k = values.shape[0]
        return (
            f"spatial attention is highest at tap row {high // k + 1}, column {high % k + 1}, {values.max():.2f}, "
            f"lowest at row {low // k + 1}, column {low % k + 1}, {values.min():.2f}"
        )
    return (
        f"{head} attention from {values.min():.2f} (channel {low}) to {values.max():.2f} (channel {high}), "
        f"mean {values.mean():.2f}"
    )


def said(record: LayerRecord) -> str:
    """All heads of one layer in a sentence."""
    parts = [
        f"no {head} attention" if values is None else describe(head, values[0])
        for head, values in zip(HEADS, record.attention, strict=True)
    ]
    return "; ".join(parts)


def _numbers(values: np.ndarray) -> Any:
    return np.nan_to_num(np.round(values.astype(np.float64), 4)).tolist()  # JSON has no NaN; the page says so


def _round(value: float) -> float:
    return float(_numbers(np.asarray(value)))


def _maybe(values: np.ndarray | None, index: int) -> float | None:
    return None if values is None else _round(values[index])
