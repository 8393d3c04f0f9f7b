"""One record against an atlas: where a picture is most unusual, and how far pictures usually differ."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from odconv.atlas import RANKS, Atlas, AtlasError, TypicalLayer, distances
from odconv.attention import HEADS, Heads, Settings
from odconv.explain import Explanation

ROUNDING = 1e-3  # float32 gives a head that is the same for every picture a distance below this; others are about 1


@dataclass(frozen=True)
class Unusual:
    """Where one picture is furthest from what is typical."""

    layer: str  # its name
    head: str  # one of ``HEADS``
    share: float  # of the atlas's pictures, those closer to the mean in this head; rounded down to a thousandth
    distance: float  # from the mean, in standard deviations, see ``odconv.atlas.distances``
    pictures: int  # how many the atlas was made from


def expected_spread(atlas: Atlas, pictures: int) -> dict[str, list[float | None]]:
    """Head -> for each layer, how far N pictures drawn from the atlas's would differ on average; None: no such head.

    The number to hold against ``explain.spread`` of N pictures. The deviation (population) of N draws from a normal
    distribution is on average sqrt(2 / N) Γ(N / 2) / Γ((N - 1) / 2) of the distribution's: 0.56 for two, 0.72 for three.

    Args:
        atlas: of the network.
        pictures: N, at least 2.
    """
    n = pictures
    share = math.sqrt(2 / n) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))
    return {
        head: [None if typical is None else share * typical.spread for typical in heads]
        for head, heads in zip(HEADS, zip(*(layer.heads for layer in atlas.layers.values()), strict=True), strict=True)
    }


def check_fits(explanation: Explanation, atlas: Atlas) -> None:
    """Check that an atlas has the layers of a record, with the same heads and shapes.

    Raises:
        AtlasError: the atlas is of another network.
    """
    if list(explanation.layers) != list(atlas.layers):
        raise AtlasError(
            f"The atlas has {len(atlas.layers)} layers, and the network {len(explanation.layers)}, or under other names."
        )
    for name, layer in atlas.layers.items():
        _check_heads(explanation.layers[name].attention, layer)


def _check_heads(attention: Heads[np.ndarray], typical: TypicalLayer) -> None:
    for head, values, usual in zip(HEADS, attention, typical.heads, strict=True):
        shapes = (None if values is None else values.shape[1:], None if usual is None else usual.mean.shape)
        if shapes[0] != shapes[1]:
            raise AtlasError(f"The atlas has {head} attention of shape {shapes[1]}, the network {shapes[0]}.")


def most_unusual(explanation: Explanation, atlas: Atlas) -> Unusual:
    """The layer and head in which one picture (N = 1) is most unusual.

    That is where most of the atlas's pictures are closer to the mean than this one. Of several such places it is the one
    whose distance is largest relative to the largest in the atlas; of those, the first.

    Distances themselves cannot be compared between heads: in a head with few entries they vary more.

    Raises:
        AtlasError: the atlas is of another network.
        ValueError: more than one picture, or settings other than ``Settings()``: the settings, and not the picture, would
            then be what is unusual.
    """
    if len(explanation.logits) != 1 or explanation.settings != Settings():
        given = f"{len(explanation.logits)} pictures under {explanation.settings}"
        raise ValueError(f"{given}: one picture under default settings is needed")
    check_fits(explanation, atlas)
    candidates: list[tuple[float, Unusual]] = []
    for name, layer in atlas.layers.items():
        for head, values, typical in zip(HEADS, explanation.layers[name].attention, layer.heads, strict=True):
            if values is not None and typical is not None:
                distance = float(distances(values, typical.mean, typical.deviation)[0])
                lower = 0 if distance < ROUNDING else int(np.searchsorted(typical.distances, distance))
                share = min(lower, RANKS) / RANKS
                relative = distance / max(float(typical.distances[-1]), 1e-9)
                candidates.append((relative, Unusual(name, head, share, distance, atlas.pictures)))
    return max(candidates, key=lambda candidate: (candidate[1].share, candidate[0]))[1]
