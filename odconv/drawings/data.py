"""A record -> the plain data that a drawing needs, with its texts: what is shown, said and read aloud.

``reference`` is the untouched network's record of the same picture, drawn as ghost marks; ``None`` where settings are the
trained ones. ``typical`` is a layer's mean attention over many pictures, shaped as one picture's; where it is given, the
difference from it is shown, on one scale of plus and minus ``span``. All records here are of one picture (N = 1). Kernels, rows and columns are counted from 1 as in the paper,
channels from 0 as in PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
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

SIGNS = "Taps: coloured where above what is typical, grey where below."

CAPTIONS_OF_DIFFERENCES = {
    "spatial": "How each tap's weight differs from its mean. These are places in the kernel, not places in the photo.",
    "channel": "How the gate of each channel that comes in differs from its mean.",
    "filter": "How the gate of each channel that goes out differs from its mean.",
    "kernel": "How each candidate kernel's share differs from its mean; the differences sum to 0.",
}

GHOSTS = "As trained: dots (spatial), dashed lines (channel, filter), narrow strips (kernel)."
GHOSTS_IN_LINE = " As trained: dots (spatial), dashed lines."

QUANTILES = 25  # points of a sorted profile at a glance
SPANS = (0.05, 0.1, 0.2, 0.5, 1.0)  # a few, so that the scale of differences seldom changes while a dial turns

Typical = Heads[np.ndarray]


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


def glance(
    record: Explanation,
    reference: Explanation | None,
    selected: str,
    typical: Mapping[str, Typical] | None = None,
) -> dict[str, Any]:
    """All layers x four heads. ``typical``: of every layer."""
    layers, shown = [], []
    for name, layer_record in record.layers.items():
        stage, label = place(name)
        usual = None if typical is None else typical[name]
        now = minus(layer_record.attention, usual)
        before = None if reference is None else minus(reference.layers[name].attention, usual)
        shown += [now] if before is None else [now, before]
        kernel = layer_record.attention.kernel
        layers.append(
            {
                "name": name,
                "stage": stage,
                "label": label,
                "alt": f"{name}: {said(layer_record, usual)}",
                "effective": None if kernel is None else round(float(effective_kernels(kernel[0])), 2),
                "ghost": None if before is None else _cells(before),
            }
            | _cells(now)
        )
    end = None if typical is None else span(shown)
    sides = sorted({layer.weight_shape[-1] for layer in record.layers.values()})
    most = max((layer.weight_shape[0] for layer in record.layers.values()), default=1)
    taps = " and ".join(f"{side}×{side}" for side in sides if side > 1)
    return {
        "layers": layers,
        "selected": selected,
        "span": end,
        "note": _note(end, reference is not None),
        "alt": f"{'Attention' if typical is None else 'Difference from typical attention'} of {len(layers)} layers at a "
        "glance. Arrow keys choose a layer.",
        "legend": _legend(taps, most, typical is not None),
    }


def _legend(taps: str, most: int, difference: bool) -> dict[str, list[str]]:
    """What each row of a glance holds; ``most``: the largest K."""
    profile = "sorted" if difference else "sorted gates"
    shares = f"W1…W{most}, top down" if difference else f"shares of W1…W{most}"
    return {
        "spatial": [f"{taps} kernel taps"] if taps else [],
        "channel": ["input channels", profile],
        "filter": ["output channels", profile],
        "kernel": [shares, "above: effective"] if most > 1 else ["one kernel"],
    }


def _note(end: float | None, ghosts: bool) -> str:
    """What is to be known of a glance; ``end``: of the scale of differences."""
    if end is None:
        return GHOSTS if ghosts else ""
    return f"Scale −{end:g} to +{end:g}. {SIGNS}" + (GHOSTS_IN_LINE if ghosts else "")


def minus(attention: Heads[np.ndarray], typical: Typical | None) -> Heads[np.ndarray]:
    """``attention`` (N, ...) of a layer less ``typical`` (...); as it is where there is none to subtract."""
    if typical is None:
        return attention
    pairs = zip(attention, typical, strict=True)
    return Heads(*(None if values is None or usual is None else values - usual for values, usual in pairs))


def span(shown: Iterable[Heads[np.ndarray]]) -> float:
    """Up to where the scale of these differences goes, to either side: one of ``SPANS``, or more if gates exceed 1."""
    largest = max((float(np.abs(values).max()) for heads in shown for values in heads if values is not None), default=0)
    return next((end for end in SPANS if largest <= end), float(math.ceil(largest)) if math.isfinite(largest) else 1.0)


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
    }


def _profile(gates: np.ndarray) -> list[float]:
    return _numbers(np.quantile(gates, np.linspace(1, 0, QUANTILES)))


def layer(
    name: str,
    record: LayerRecord,
    reference: LayerRecord | None,
    cost: LayerCost,
    typical: Typical | None = None,
) -> dict[str, Any]:
    """One layer in full: shapes, cost, equation, and the four heads with their numbers."""
    now = minus(record.attention, typical)
    before = None if reference is None else minus(reference.attention, typical)
    return {
        "name": name,
        "shapes": shapes(record),
        "cost": costs(record, cost),
        "equation": "y = a_f · [ ( a_s · sum over i of a_w,i W_i ) convolved with ( a_c · x ) ]",
        "span": None if typical is None else span([now] if before is None else [now, before]),
        "heads": {head: _head(head, record, now, before, typical is not None) for head in HEADS},
    }


def side_by_side(
    record: LayerRecord, reference: LayerRecord | None, titles: Sequence[str], typical: Typical | None = None
) -> dict[str, Any]:
    """The same layer for N pictures named ``titles``, in the order of the records."""
    now = minus(record.attention, typical)
    before = None if reference is None else minus(reference.attention, typical)
    told = describe if typical is None else describe_difference
    rows = [
        {
            "title": title,
            "heads": _nth(now, n),
            "ghost": None if before is None else _nth(before, n),
            "alts": {
                head: None if values is None else told(head, values[n]) for head, values in zip(HEADS, now, strict=True)
            },
        }
        for n, title in enumerate(titles)
    ]
    absent = [head for head, values in zip(HEADS, record.attention, strict=True) if values is None]
    more = f" Not in this layer: {', '.join(absent)}." if absent else ""
    if reference is not None:
        more += GHOSTS_IN_LINE
    if typical is None:
        gates = [values.max() for values in (record.attention.channel, record.attention.filter) if values is not None]
        top = max([1.0, *map(float, gates)])  # gates whose gain is kept can exceed 1
        note = f"Every row on the same scale, 0 to {top:.3g}; channels in their own order.{more}"
        return {"rows": rows, "top": top, "note": note}
    end = span([now] if before is None else [now, before])
    note = f"Every row on the same scale, −{end:g} to +{end:g}; channels in their own order. {SIGNS}{more}"
    return {"rows": rows, "span": end, "note": note}


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


def _head(
    head: str, record: LayerRecord, now: Heads[np.ndarray], before: Heads[np.ndarray] | None, difference: bool
) -> dict[str, Any]:
    """``now`` and ``before``: what is shown of the record and of the untouched network's."""
    texts = {"title": TITLES[head], "caption": (CAPTIONS_OF_DIFFERENCES if difference else CAPTIONS)[head]}
    values = getattr(now, head)
    if values is None:
        return texts | {"absent": absence(head, record)}
    ghost = None if before is None else getattr(before, head)[0]
    shown: dict[str, Any] = {
        "values": _numbers(values[0]),
        "ghost": None if ghost is None else _numbers(ghost),
        "alt": (describe_difference if difference else describe)(head, values[0]),
        "stats": _stats_of_difference(values[0]) if difference else _stats(head, values[0]),
    }
    if head == "kernel" and record.kept is not None:
        shown["kept"] = record.kept[0].tolist()
    return texts | shown


def _stats(head: str, values: np.ndarray) -> str:
    if head == "kernel":
        effective = effective_kernels(values)
        return f"entropy {entropy(values):.2f} nats · {effective:.1f} of {len(values)} effective kernels"
    return f"min {values.min():.2f} · mean {values.mean():.2f} · max {values.max():.2f}"


def _stats_of_difference(shift: np.ndarray) -> str:
    return f"lowest {signed(shift.min())} · highest {signed(shift.max())} · mean distance {np.abs(shift).mean():.2f}"


def signed(value: float) -> str:
    """Two digits and a sign: +0.12, −0.08, 0.00."""
    text = f"{abs(value):.2f}"
    return text if text == "0.00" else f"{'−' if value < 0 else '+'}{text}"


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


def describe_difference(head: str, shift: np.ndarray) -> str:
    """How one head of one layer of one picture differs from what is typical, in a sentence, from the differences."""
    high, low = int(shift.argmax()), int(shift.argmin())
    above, below = float(shift.max()), float(shift.min())
    if max(above, -below) < 0.005:
        return f"{head} attention is typical everywhere"
    if head == "kernel":
        return f"kernel {high + 1} {signed(above)}, kernel {low + 1} {signed(below)} against their typical shares"
    if head == "spatial":
        k = shift.shape[0]
        return (
            f"spatial attention is highest against the typical at tap row {high // k + 1}, column {high % k + 1}, "
            f"{signed(above)}, lowest at row {low // k + 1}, column {low % k + 1}, {signed(below)}"
        )
    return (
        f"{head} attention from {signed(below)} (channel {low}) to {signed(above)} (channel {high}) against the typical"
    )


def said(record: LayerRecord, typical: Typical | None = None) -> str:
    """All heads of one layer in a sentence; how they differ, where ``typical`` is given."""
    told = describe if typical is None else describe_difference
    parts = [
        f"no {head} attention" if values is None else told(head, values[0])
        for head, values in zip(HEADS, minus(record.attention, typical), strict=True)
    ]
    return "; ".join(parts)


def _numbers(values: np.ndarray) -> Any:
    return np.nan_to_num(np.round(values.astype(np.float64), 4)).tolist()  # JSON has no NaN; the page says so


def _round(value: float) -> float:
    return float(_numbers(np.asarray(value)))


def _maybe(values: np.ndarray | None, index: int) -> float | None:
    return None if values is None else _round(values[index])
