"""The record of one pass as numpy arrays, from which pages, figures and exports are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from odconv.attention import Heads, Settings, kept_kernels
from odconv.forms import output_size
from odconv.layer import ODConv2d
from odconv.probe import Record, probe


@dataclass(frozen=True)
class LayerRecord:
    """What one layer did with N pictures; float32 arrays."""

    logits: Heads[np.ndarray]  # raw, all K kernels
    attention: Heads[np.ndarray]  # what was applied
    weight_shape: tuple[int, ...]  # (K, C_out, C_in / groups, k, k)
    stride: tuple[int, int]
    groups: int
    input_shape: tuple[int, int, int]  # (C_in, H, W)
    output_shape: tuple[int, int, int]  # (C_out, H', W')
    # (N, K) bool: which kernels stayed; None when K = 1. Attention does not tell: a kernel that stayed can round to 0.
    kept: np.ndarray | None
    input: np.ndarray | None = None  # (N, C_in, H, W), of the layer whose input was asked for

    def picture(self, index: int) -> LayerRecord:
        """The record of one of the pictures, N = 1."""
        return replace(
            self,
            logits=_select(self.logits, index),
            attention=_select(self.attention, index),
            kept=None if self.kept is None else self.kept[[index]],
            input=None if self.input is None else self.input[[index]],
        )


def _select(heads: Heads[np.ndarray], index: int) -> Heads[np.ndarray]:
    return Heads(*(None if head is None else head[[index]] for head in heads))


@dataclass(frozen=True, eq=False)  # arrays are not equal or unequal; a record is equal to itself
class Explanation:
    """What a network made of N pictures under some settings."""

    settings: Settings
    logits: np.ndarray  # (N, classes)
    layers: Mapping[str, LayerRecord]  # in execution order

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, (N, classes), float64."""
        return softmax(self.logits)

    def picture(self, index: int) -> Explanation:
        """The explanation of one of the pictures, N = 1."""
        if len(self.logits) == 1 and index in (0, -1):
            return self
        layers = {name: layer.picture(index) for name, layer in self.layers.items()}
        return Explanation(self.settings, self.logits[[index]], layers)


def explain(
    model: nn.Module,
    images: Tensor,
    settings: Settings | None = None,
    *,
    keep_input_of: str | None = None,
    given: Mapping[str, Heads[np.ndarray]] | None = None,
    forward: Callable[[Tensor], Tensor] | None = None,
) -> Explanation:
    """Run ``images`` (N, 3, H, W) through ``model`` and record every ODConv layer.

    The model should be in eval mode; it is not changed. A model without ODConv layers gives a record without layers.
    ``keep_input_of``: the one layer, by its name in the record, whose input is kept, too. ``given``: layer name ->
    attentions that are applied there in any case, each of its head's shape without N; the record's attentions show them, its
    settings do not. ``forward``: what makes the logits of ``images`` instead of ``model(images)``, such as a part of the model
    that begins at feature maps, which ``images`` then are.

    Example:
        >>> explanation = explain(model, images, Settings(kernels=2, keep="first"))
        >>> explanation.layers["layer1.0.conv1"].attention.kernel  # (N, 4), the last two columns 0
    """
    settings = settings or Settings()
    put = {name: _tensors(heads) for name, heads in (given or {}).items()}
    with torch.inference_mode(), probe(model, settings, keep_input_of=keep_input_of, given=put) as trace:
        logits = (forward or model)(_to_model(images, model))
    layers = {}
    for name, record in trace.items():
        base = name.partition("#")[0]
        layers[name] = _record(model.get_submodule(base), record, _kept(record.logits.kernel, settings.for_layer(base)))
    return Explanation(settings, logits.float().cpu().numpy(), layers)


def explain_each(model: nn.Module, images: Tensor, settings: Sequence[Settings]) -> list[Explanation]:
    """Run ``images`` (N, 3, H, W) through ``model`` in one pass, each under settings of its own.

    Every picture's attention is computed from its logits as if it were alone. The logits are, up to rounding, those of a
    pass with that picture alone.

    Returns:
        For each picture its explanation, N = 1.

    Raises:
        ValueError: there are not as many settings as pictures.
    """
    if len(settings) != len(images):
        raise ValueError(f"{len(images)} pictures and settings for {len(settings)} of them")
    if len(set(settings)) == 1:
        together = explain(model, images, settings[0])
        return [together.picture(i) for i in range(len(images))]
    with torch.inference_mode(), probe(model, settings) as trace:
        logits = model(_to_model(images, model)).float().cpu().numpy()
    layers: list[dict[str, LayerRecord]] = [{} for _ in settings]
    for name, record in trace.items():
        base, kernel = name.partition("#")[0], record.logits.kernel
        whole = _record(model.get_submodule(base), record, None)
        for i, own in enumerate(settings):
            kept = _kept(None if kernel is None else kernel[i : i + 1], own.for_layer(base))
            layers[i][name] = replace(whole.picture(i), kept=kept)
    return [Explanation(own, logits[[i]], layers[i]) for i, own in enumerate(settings)]


def _to_model(images: Tensor, model: nn.Module) -> Tensor:
    parameter = next(model.parameters())
    return images.to(parameter.device, parameter.dtype)


def _kept(kernel: Tensor | None, settings: Settings) -> np.ndarray | None:
    return None if kernel is None else kept_kernels(kernel, settings).cpu().numpy()


def _record(layer: nn.Module, record: Record, kept: np.ndarray | None) -> LayerRecord:
    assert isinstance(layer, ODConv2d)  # nothing else looks for a probe
    return layer_record(
        layer,
        record.input_shape[2:],
        _numpy(record.logits),
        _numpy(record.attention),
        kept,
        None if record.input is None else record.input.cpu().numpy(),
    )


def layer_record(
    layer: ODConv2d,
    side: Sequence[int],
    logits: Heads[np.ndarray],
    attention: Heads[np.ndarray],
    kept: np.ndarray | None,
    input: np.ndarray | None = None,
) -> LayerRecord:
    """The record of ``layer``, whose input is of ``side``, (H, W); the rest as in :class:`LayerRecord`."""
    height, width = side
    size = output_size((height, width), layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return LayerRecord(
        logits=logits,
        attention=attention,
        weight_shape=tuple(layer.weight.shape),
        stride=layer.stride,
        groups=layer.groups,
        input_shape=(layer.in_channels, height, width),
        output_shape=(layer.out_channels, *size),
        kept=kept,
        input=input,
    )


def _tensors(heads: Heads[np.ndarray]) -> Heads[Tensor]:
    return Heads(*(None if head is None else torch.from_numpy(np.array(head)) for head in heads))


def _numpy(heads: Heads[Tensor]) -> Heads[np.ndarray]:
    return Heads(*(None if head is None else head.cpu().numpy() for head in heads))


def stack(explanations: Sequence[Explanation]) -> Explanation:
    """Join explanations of several batches into one, in their order; N is the sum of their Ns.

    Example:
        >>> both = stack([explain(model, image), explain(model, other)])
        >>> both.layers["layer1.0.conv1"].attention.kernel  # (2, K)

    Raises:
        ValueError: there is none, or they differ in settings, layers or classes.
    """
    if not explanations:
        raise ValueError("no explanations: at least one is needed")
    if len(explanations) == 1:
        return explanations[0]
    first = explanations[0]
    if any(one.settings != first.settings for one in explanations):
        raise ValueError("explanations under different settings cannot be stacked")
    if any(_shapes(one) != _shapes(first) for one in explanations):
        raise ValueError("explanations of different layers or classes cannot be stacked")
    layers = {name: _stack_layer([one.layers[name] for one in explanations]) for name in first.layers}
    return Explanation(first.settings, np.concatenate([one.logits for one in explanations]), layers)


def _shapes(one: Explanation) -> list[tuple[object, ...]]:
    """Shapes and options of all layers and of the logits, without N; equal for explanations that can be stacked."""
    return [
        (one.logits.shape[1:],),
        *(
            (name, layer.weight_shape, layer.stride, layer.groups, layer.input_shape, layer.output_shape)
            for name, layer in one.layers.items()
        ),
    ]


def _stack_layer(records: Sequence[LayerRecord]) -> LayerRecord:
    def join(arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
        present = [array for array in arrays if array is not None]  # all, or none where the layer has no such head
        return np.concatenate(present) if present else None

    return replace(
        records[0],
        logits=Heads(*map(join, zip(*(record.logits for record in records), strict=True))),
        attention=Heads(*map(join, zip(*(record.attention for record in records), strict=True))),
        kept=join([record.kept for record in records]),
        input=None if any(record.input is None for record in records) else join([record.input for record in records]),
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def entropy(shares: np.ndarray) -> np.ndarray:
    """Entropy in nats over the last axis of kernel attention; an entry of 0 adds 0."""
    safe = np.where(shares > 0, shares, 1.0).astype(np.float64)
    return np.maximum(-(safe * np.log(safe)).sum(axis=-1), 0.0)  # and not -0.0


def effective_kernels(shares: np.ndarray) -> np.ndarray:
    """exp(entropy) of kernel attention over the last axis: 1 when one kernel has it all, K when all have equal shares."""
    return np.exp(entropy(shares))


def layer_spread(layer: LayerRecord) -> float:
    """How far N pictures differ in one layer: the mean of ``spread`` over the heads that it has."""
    return float(np.mean([spread(head) for head in layer.attention if head is not None]))


def spread(head: np.ndarray) -> float:
    """How far N pictures differ in one head (N, ...): standard deviation over pictures, then its mean over entries."""
    return float(head.std(axis=0).mean())
