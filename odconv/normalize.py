"""The normal form of settings: the simplest ones that mean the same for a given network."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial

from torch import nn

from odconv.attention import HEADS, Heads, Rule, Settings, fewest_temperatures
from odconv.layer import ODConv2d

Sizes = dict[str, int]  # heads that a layer has -> number of entries that it attends over, but of gates no more than 2


def normalize(settings: Settings, model: nn.Module) -> Settings:
    """The simplest settings under which ``model`` computes bit for bit what it computes under ``settings``.

    Whatever has no effect on this network is left out: heads and layers that it does not have, a temperature of 1, kernels
    that are kept anyway, a temperature for the one kernel that stays, and so on. So settings that mean the same are equal
    and share a cache entry, and those that mean the network as trained are ``Settings()``. Settings that change only the
    last bits, as ``compensate`` can with ablated heads, stay as they are, and so do those that shuffle by different seeds.

    Holds for finite logits. A network without ODConv layers has the normal form ``Settings()``.

    Example:
        >>> normalize(Settings(kernels=64, keep="first", compensate=True), od_resnet18(num_kernels=4))
        Settings(temperature=1.0, tempered=('spatial', 'channel', 'filter', 'kernel'), kernels=None, ...)
    """
    return normalizer(model)(settings)


def normalizer(model: nn.Module) -> Callable[[Settings], Settings]:
    """``normalize`` for one network, whose layers are looked at once: they take longer than the rest. It does not keep ``model``."""
    return partial(_normalize, _layers(model))


def _normalize(layers: dict[str, Sizes], settings: Settings) -> Settings:
    if settings == Settings():
        return Settings()
    chosen = {name: sizes for name, sizes in layers.items() if settings.layers is None or name in settings.layers}
    narrow = _narrow(replace(settings, layers=None), chosen.values())
    alike = {name: tuple(sizes.items()) for name, sizes in layers.items()}  # what changes one of them changes each
    effective = {kind: _narrow(narrow, [dict(kind)]) != Settings() for kind in set(alike.values())}
    changed = [name for name in layers if effective[alike[name]]]
    if all(name in chosen for name in changed):
        return _widen(narrow, layers.values())
    changed = [name for name in changed if name in chosen]
    return replace(_widen(narrow, [layers[name] for name in changed]), layers=tuple(changed))


def heads_of(model: nn.Module) -> tuple[str, ...]:
    """The heads that at least one ODConv layer of ``model`` has."""
    return tuple(head for head in HEADS if any(head in sizes for sizes in _layers(model).values()))


def count_heads(model: nn.Module) -> tuple[int, dict[str, int]]:
    """How many ODConv layers ``model`` has; head -> how many of them have it, in the order of ``HEADS``."""
    layers = list(_layers(model).values())
    return len(layers), {head: sum(head in sizes for sizes in layers) for head in HEADS}


def most_kernels(model: nn.Module) -> int:
    """The largest K of the ODConv layers of ``model``; 1 where there are none."""
    return max((sizes.get("kernel", 1) for sizes in _layers(model).values()), default=1)


def _layers(model: nn.Module) -> dict[str, Sizes]:
    return {name: _sizes(module) for name, module in model.named_modules() if isinstance(module, ODConv2d)}


def _sizes(layer: ODConv2d) -> Sizes:
    branch = layer.attention
    maps = {
        "spatial": branch.spatial_fc,
        "channel": branch.channel_fc,
        "filter": branch.filter_fc,
        "kernel": branch.kernel_fc,
    }
    found = {head: fc.out_channels for head, fc in maps.items() if fc is not None}
    return {head: count if head == "kernel" else min(count, 2) for head, count in found.items()}


def _narrow(settings: Settings, layers: Collection[Sizes]) -> Settings:
    """``settings`` without what has no effect in ``layers``; ``tempered`` holds only heads whose temperature has one."""
    most = max((sizes.get("kernel", 1) for sizes in layers), default=1)
    kernels = settings.kernels if settings.kernels is not None and settings.kernels < most else None
    settings = replace(
        settings,
        kernels=kernels,
        keep="strongest" if kernels is None else settings.keep,
        # One entry is its own mean, and one kernel that stays has all.
        ablate=tuple(
            head for head in settings.ablate if _has(layers, head, 2) and not (head == "kernel" and kernels == 1)
        ),
    )
    settings = _narrow_rules(settings, layers)
    matters = (_temperature_matters(head, settings, layers) for head in HEADS)
    divisors = (d if does else 1.0 for d, does in zip(settings.divisors, matters, strict=True))
    temperature, tempered = fewest_temperatures(Heads(*divisors))
    compensate = settings.compensate and temperature != 1.0 and tempered != ("kernel",)
    return replace(settings, temperature=temperature, tempered=tempered, compensate=compensate)


def _narrow_rules(settings: Settings, layers: Collection[Sizes]) -> Settings:
    """``settings`` without rules that change nothing in ``layers``, and equal shares in simpler words."""
    spatial, channel, filter, kernel = (
        rule if _has(layers, head, _fewest(head, rule)) else None
        for head, rule in zip(HEADS, settings.replaced, strict=True)
    )
    if settings.kernels == 1:
        kernel = None
    if kernel == "uniform":  # shares sum to 1: their mean is what equal logits give
        kernel, even = None, (*settings.ablate, "kernel")
        settings = replace(settings, replaced=Heads(spatial, channel, filter, None), ablate=even)
    replaced: Heads[Rule | None] = Heads(spatial, channel, filter, kernel)
    return replace(settings, replaced=replaced, seed=settings.seed if "shuffled" in replaced else 0)


def _fewest(head: str, rule: Rule | None) -> int:
    """How many entries ``head`` needs for ``rule`` to change anything."""
    return 1 if rule == "uniform" and head != "kernel" else 2


def _widen(settings: Settings, layers: Collection[Sizes]) -> Settings:
    """``settings`` with ``tempered`` at its default, all heads, where that has the same effect in ``layers``."""
    matter = {head for head in HEADS if _temperature_matters(head, settings, layers)}
    return replace(settings, tempered=HEADS) if matter <= set(settings.tempered) else settings


def _temperature_matters(head: str, settings: Settings, layers: Collection[Sizes]) -> bool:
    """Whether a temperature on ``head`` would change anything in ``layers``, all else being as in ``settings``."""
    rule = getattr(settings.replaced, head)
    if rule == "uniform" or (rule == "argmax" and head == "kernel"):
        return False
    if head == "kernel":
        return _has(layers, head, 2) and settings.kernels != 1 and head not in settings.ablate
    return _has(layers, head, 2 if settings.compensate else 1)  # one gate, compensated, is what it was


def _has(layers: Collection[Sizes], head: str, entries: int) -> bool:
    return any(sizes.get(head, 0) >= entries for sizes in layers)
