"""Loss and gradients of a batch; on a GPU, steps that are alike are recorded once and replayed.

A step of a small network is some thousand kernels, which a GPU computes in less time than Python needs to start them one by
one. A CUDA graph starts them all at once (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odconv.training.evaluate import autocast
from odconv.training.network import as_drawn, imbalance
from odconv.training.recipe import Drawn, Recipe


class Batch(NamedTuple):
    """N pictures as the network gets them, on its device."""

    x: Tensor  # (N, 3, S, S)
    labels: Tensor  # (N,)
    temperatures: Tensor  # (N,) of all four heads
    kernels: Tensor  # (N,) of int64: how many stay


class Gradients:
    """Called with a batch, leaves the gradients in the model's parameters and returns the loss, detached."""

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        self._model, self._recipe = model, recipe
        self._shape: torch.Size | None = None  # of the pictures in the step before
        self._recorded: Callable[[Batch], Tensor] | None = None  # a step of that shape

    def __call__(self, batch: Batch) -> Tensor:
        if batch.x.shape != self._shape:
            self._shape, self._recorded = batch.x.shape, None
        elif batch.x.is_cuda:  # the second of its shape; cuDNN and the allocator have settled in the first
            self._recorded = self._recorded or self._record(batch)
            return self._recorded(batch)
        return self._compute(batch)

    def _compute(self, batch: Batch) -> Tensor:
        recipe, model = self._recipe, self._model.train()
        model.zero_grad()
        with (
            imbalance(model) as unequal,
            as_drawn(model, Drawn(batch.temperatures, batch.kernels), recipe.kernel_drop),
            autocast(batch.x.device, recipe.precision),
        ):
            logits = model(batch.x)
        loss = F.cross_entropy(logits.float(), batch.labels, label_smoothing=recipe.label_smoothing)
        (loss + recipe.balance * sum(unequal) if recipe.balance else loss).backward()
        return loss.detach()

    def _record(self, batch: Batch) -> Callable[[Batch], Tensor]:
        """The same as a graph that reads a batch from a place of its own and writes each gradient where it wrote it first."""
        own = Batch(*(tensor.clone() for tensor in batch))
        self._model.zero_grad()  # or the gradients of the step before would be added to
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = self._compute(own)

        def replay(batch: Batch) -> Tensor:
            for kept, new in zip(own, batch, strict=True):
                kept.copy_(new)
            graph.replay()
            return loss.clone()

        return replay
