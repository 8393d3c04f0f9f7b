"""How attention responds to the knob of a stimulus: one pass over a batch of it, the knob at many values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from odconv.attention import Heads, Settings
from odconv.card import Card
from odconv.explain import LayerRecord, explain
from odconv.images import prepare
from odconv.stimuli import draw, sweep


@dataclass(frozen=True)
class LayerResponse:
    """What one layer does at M values of a knob."""

    shares: np.ndarray | None  # (M, K) kernel attention; None when K = 1
    centre: Heads[np.ndarray]  # the mean of each head over the values; shaped as one picture's, without N
    distance: Heads[np.ndarray]  # (M,) of each head, see ``distance_from``


def draw_sweep(name: str, card: Card, photo: Image.Image | None = None) -> tuple[np.ndarray, Tensor]:
    """The knob's values (M,), see ``stimuli.sweep``, and the stimulus at each of them as model input, (M, 3, S, S)."""
    values = sweep(name)
    images = [prepare(draw(name, value, photo, card.resize), card) for value in values]
    return np.array(values, dtype=np.float64), torch.cat(images)


def respond(model: nn.Module, images: Tensor, settings: Settings | None = None) -> dict[str, LayerResponse]:
    """What each layer does with ``images`` (M, 3, S, S), in one pass; the model should be in eval mode.

    In eval mode a picture in a batch equals the picture alone, so this is what M passes would give.
    """
    return {name: _summarize(layer) for name, layer in explain(model, images, settings).layers.items()}


def _summarize(layer: LayerRecord) -> LayerResponse:
    centre = Heads(*(None if head is None else head.mean(axis=0, dtype=np.float64) for head in layer.attention))
    return LayerResponse(layer.attention.kernel, centre, distance_from(centre, layer.attention))


def distance_from(centre: Heads[np.ndarray], attention: Heads[np.ndarray]) -> Heads[np.ndarray]:
    """How far each head (N, ...) is from ``centre`` (...), for each picture (N,): mean absolute difference over its entries."""
    return Heads(
        *(
            None if head is None or middle is None else np.abs(head - middle).reshape(len(head), -1).mean(axis=1)
            for head, middle in zip(attention, centre, strict=True)
        )
    )
