"""What an atlas is held against: whether it fits a network, and how far pictures usually differ."""

from __future__ import annotations

import math

import numpy as np

from odconv.atlas import Atlas, AtlasError, TypicalLayer
from odconv.attention import HEADS, Heads
from odconv.explain import Explanation


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
