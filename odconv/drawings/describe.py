"""Sentences about what drawings show: for screen readers, tooltips and the lines beside the drawings.

``language`` is one of ``odconv.words.LANGUAGES``. Kernels (W1 to WK), rows and columns are counted from 1 as in the paper,
channels and filters from 0 as in PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import get_args

import numpy as np

from odconv.attention import HEADS, Heads, Rule, Settings, fewest_temperatures
from odconv.cost import LayerCost
from odconv.drawings.differences import Typical, subtract_typical
from odconv.drawings.names import clean_name
from odconv.drawings.numbers import count_text, signed_text
from odconv.explain import LayerRecord, effective_kernels, entropy
from odconv.words import say

SAME = 0.005  # what rounds to no difference at two digits
NEARLY_EQUAL = 0.05  # kernel shares that all lie within so much of each other: to name a largest would mislead
MOST_LAYERS = 4  # named one by one; more are counted

Spread = Mapping[str, Sequence[float | None]]  # head -> for each layer, how far pictures differ; None: no such head


def join_list(language: str, parts: Iterable[str]) -> str:
    """``"a, b, c"``."""
    return say(language, "head.comma").join(parts)


def join_clauses(language: str, parts: Iterable[str]) -> str:
    """``"a; b; c"``."""
    return say(language, "head.semicolon").join(parts)


def join_sentences(language: str, sentences: Iterable[str]) -> str:
    """``"First. Second."``; Chinese sentences have no space between them."""
    return reduce(
        lambda first, second: say(language, "head.sentences", first=first, second=second), sentences, ""
    ).strip()


def head_name(language: str, head: str) -> str:
    """What ``head``, one of ``HEADS``, is called in ``language``."""
    return say(language, f"head.{head}")


def tone_words(language: str) -> dict[str, str]:
    """What the foot of a drawing says: beside its tones, and on the button that shows the network as trained."""
    return {key: say(language, f"glance.{key}") for key in ("below", "above", "hold")}


# --- attention ------------------------------------------------------------------------------------------------------


def describe_layer(language: str, record: LayerRecord, typical: Typical | None = None) -> str:
    """All heads of one layer of one picture in a sentence; their differences from ``typical`` where it is given."""
    describe = describe_head if typical is None else describe_difference
    heads = zip(HEADS, subtract_typical(record.attention, typical), strict=True)
    return join_clauses(
        language,
        (
            say(language, "layer.no_head", head=head_name(language, head))
            if values is None
            else describe(language, head, values[0])
            for head, values in heads
        ),
    )


def describe_head(language: str, head: str, values: np.ndarray) -> str:
    """One head of one layer of one picture in a sentence. ``values``: (k, k), (C,) or (K,)."""
    if head == "kernel":
        if even := describe_even(language, "layer.kernel", values, "{:.2f}".format, **_effective(values)):
            return even
        best = int(values.argmax())
        return say(
            language,
            "layer.kernel_dominates" if values[best] > 0.5 else "layer.kernel_leads",
            kernel=best + 1,
            share=f"{values[best]:.2f}",
            **_effective(values),
        )
    high, low = int(values.argmax()), int(values.argmin())
    most, least = values.flat[high], values.flat[low]
    if most - least < SAME:
        return say(language, "layer.uniform", head=head_name(language, head), mean=f"{values.mean():.2f}")
    extremes = {"high": f"{most:.2f}", "low": f"{least:.2f}"}
    if head == "spatial":
        return say(language, "layer.spatial_range", **extremes, **_places_of_extremes(values))
    return say(
        language,
        "layer.gate_range",
        head=head_name(language, head),
        high_channel=high,
        low_channel=low,
        mean=f"{values.mean():.2f}",
        **extremes,
    )


def describe_even(
    language: str, key: str, shares: np.ndarray, form: Callable[[float], str], **more: object
) -> str | None:
    """A sentence on nearly equal kernel shares (K,); ``None`` where some are larger than others.

    Kernels that are left out, with a share of exactly 0, do not count.

    Args:
        key: of the sentence, less ``_even``, or ``_equal`` where ``form`` does not tell the lowest from the highest.
        form: a share -> its digits.
        more: what else is said.
    """
    kept = shares[shares > 0]
    if len(kept) < 2 or np.ptp(kept) >= NEARLY_EQUAL:
        return None
    low, high = form(kept.min()), form(kept.max())
    return say(language, f"{key}_equal" if low == high else f"{key}_even", count=len(kept), low=low, high=high, **more)


def _effective(shares: np.ndarray) -> dict[str, object]:
    return {"effective": f"{effective_kernels(shares):.1f}", "total": len(shares)}


def describe_difference(language: str, head: str, shift: np.ndarray) -> str:
    """How one head of one picture differs from the typical, in a sentence. ``shift``: the differences, (k, k), (C,) or (K,)."""
    above, below = float(shift.max()), float(shift.min())
    if max(above, -below) < SAME:
        return say(language, "layer.typical", head=head_name(language, head))
    extremes = {"high": signed_text(above), "low": signed_text(below)}
    if head == "spatial":
        return say(language, "layer.spatial_shift", **extremes, **_places_of_extremes(shift))
    high, low = int(shift.argmax()), int(shift.argmin())
    if head == "kernel":
        return say(language, "layer.kernel_shift", high_kernel=high + 1, low_kernel=low + 1, **extremes)
    name = head_name(language, head)
    return say(language, "layer.gate_shift", head=name, high_channel=high, low_channel=low, **extremes)


def describe_furthest(language: str, differences: Mapping[str, Heads[np.ndarray]]) -> str:
    """A sentence on the layer whose differences from the typical are largest, and on the head of it in which they are.

    A head's size is the mean size of its differences, a layer's the mean over its heads.

    ``differences``: layer name -> the differences of one picture (N = 1).
    """
    sizes = {
        name: {
            head: float(np.abs(values).mean(dtype=np.float64))
            for head, values in zip(HEADS, heads, strict=True)
            if values is not None
        }
        for name, heads in differences.items()
    }
    layers = {name: sum(heads.values()) / len(heads) for name, heads in sizes.items() if heads}
    layers = {name: size for name, size in layers.items() if math.isfinite(size)}
    if not layers or max(layers.values()) < SAME:
        return say(language, "glance.typical")
    name = max(layers, key=layers.__getitem__)
    head, most = max(sizes[name].items(), key=lambda item: item[1])
    return say(
        language,
        "glance.furthest",
        layer=clean_name(name),
        size=f"{layers[name]:.2f}",
        head=head_name(language, head),
        most=f"{most:.2f}",
    )


def _places_of_extremes(taps: np.ndarray) -> dict[str, int]:
    high, low = (divmod(int(index), taps.shape[1]) for index in (taps.argmax(), taps.argmin()))
    return {"high_row": high[0] + 1, "high_column": high[1] + 1, "low_row": low[0] + 1, "low_column": low[1] + 1}


def describe_absence(language: str, head: str) -> str:
    """A sentence on why a layer has no such head."""
    return say(language, f"layer.{head}_absent")


def statistics_text(language: str, head: str, values: np.ndarray) -> str:
    """Lowest, mean and highest gate of one head, or entropy and effective kernels, on one line."""
    if head == "kernel":
        return say(
            language,
            "layer.kernel_statistics",
            entropy=f"{entropy(values):.2f}",
            **_effective(values),
        )
    low, mean, high = (f"{number:.2f}" for number in (values.min(), values.mean(), values.max()))
    return say(language, "layer.gate_statistics", low=low, mean=mean, high=high)


def difference_statistics_text(language: str, shift: np.ndarray) -> str:
    """Lowest, highest and mean absolute difference of one head from the typical, on one line."""
    return say(
        language,
        "layer.shift_statistics",
        low=signed_text(shift.min()),
        high=signed_text(shift.max()),
        distance=f"{np.abs(shift).mean():.2f}",
    )


def describe_spread(
    language: str, layer_names: Sequence[str], spread: Spread, typical_spread: Spread | None = None
) -> str:
    """A sentence on the layer in which each head differs most between pictures.

    Where ``typical_spread`` is given, it is the layer in which ``spread`` exceeds it most.
    """
    places = []
    for head, values in spread.items():
        usual = np.zeros(len(values)) if typical_spread is None else np.array(typical_spread[head], dtype=float)
        numbers = np.array(values, dtype=float) - usual  # None becomes NaN
        if np.isfinite(numbers).any():
            most = int(np.nanargmax(numbers))
            if typical_spread is None and f"{numbers[most]:.3f}" == "0.000":
                continue
            place = {"head": head_name(language, head), "layer": clean_name(layer_names[most])}
            places.append(say(language, "compare.spread_place", value=f"{numbers[most]:.3f}", **place))
    if not places:
        return say(language, "compare.spread_none")
    key = "compare.spread" if typical_spread is None else "compare.spread_typical"
    return say(language, key, where=join_clauses(language, places))


# --- shapes, cost, settings -----------------------------------------------------------------------------------------


def describe_shapes(language: str, record: LayerRecord) -> list[str]:
    """The shapes of a layer's input x, weight W and output y, a text each."""
    kernels, out_channels, in_channels, k, _ = record.weight_shape
    key = "layer.weight_of_one" if kernels == 1 else "layer.weight"
    weight = say(language, key, kernels=kernels, shape=_shape_text((out_channels, in_channels, k, k)))
    if record.stride[0] > 1:
        weight += say(language, "layer.stride", stride=record.stride[0])
    if record.groups > 1:
        weight += say(language, "layer.groups", groups=record.groups)
    return [
        say(language, "layer.input", shape=_shape_text(record.input_shape)),
        weight,
        say(language, "layer.output", shape=_shape_text(record.output_shape)),
    ]


def _shape_text(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def describe_cost(language: str, record: LayerRecord, cost: LayerCost) -> str:
    """Parameters and multiply-adds of a layer, and those of an ordinary convolution of the same shape."""
    ordinary = math.prod(record.weight_shape[1:])
    _, height, width = record.output_shape
    return say(
        language,
        "layer.cost",
        parameters=count_text(language, cost.parameters),
        multiply_adds=count_text(language, cost.multiply_adds),
        ordinary_parameters=count_text(language, ordinary),
        ordinary_multiply_adds=count_text(language, ordinary * height * width),
    )


def temperatures_text(language: str, temperatures: Heads[float]) -> str:
    """The temperature of each head: ``"spatial 30, channel 1, filter 1, kernel 0.5"``."""
    each = zip(HEADS, temperatures, strict=True)
    return join_list(language, (f"{head_name(language, head)} {temperature:g}" for head, temperature in each))


def describe_settings(language: str, settings: Settings) -> str:
    """Settings in words; fields that have no effect are left out."""
    parts = []
    temperature, tempered = fewest_temperatures(settings.divisors)
    if isinstance(temperature, tuple):
        key = "takeaway.temperatures_kept" if settings.compensate else "takeaway.temperatures"
        parts.append(say(language, key, each=temperatures_text(language, temperature)))
    elif temperature != 1:
        key = "takeaway.temperature" if tempered == HEADS else "takeaway.temperature_on"
        if settings.compensate and tempered != ("kernel",):
            key += "_kept"
        heads = join_list(language, (head_name(language, head) for head in tempered))
        parts.append(say(language, key, temperature=f"{temperature:g}", heads=heads))
    if settings.kernels is not None:
        parts.append(say(language, f"takeaway.{settings.keep}_kernels", count=settings.kernels))
    if settings.ablate:
        heads = join_list(language, (head_name(language, head) for head in settings.ablate))
        parts.append(say(language, "takeaway.ablated", heads=heads))
    for rule in get_args(Rule):
        replaced = [head for head in HEADS if getattr(settings.replaced, head) == rule]
        if replaced:
            heads = join_list(language, (head_name(language, head) for head in replaced))
            parts.append(say(language, f"takeaway.{rule}", heads=heads, seed=settings.seed))
    if not parts or settings.layers == ():
        return say(language, "takeaway.as_trained")
    sentence = join_clauses(language, parts)
    if settings.layers is None:
        return sentence
    if len(settings.layers) > MOST_LAYERS:
        return say(language, "takeaway.in_many_layers", settings=sentence, count=len(settings.layers))
    names = join_list(language, map(clean_name, settings.layers))
    return say(language, "takeaway.in_layers", settings=sentence, layers=names)
