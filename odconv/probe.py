"""``probe``: apply settings to a pass through a network, and record what each of its layers does.

Settings are ambient, like ``torch.autocast``: they live in a ``ContextVar``, so they reach every dynamic layer inside any
model without touching it, and one shared model serves many visitors at once. New threads see the defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock

import torch
from torch import Tensor, nn

from odconv.attention import Heads, Settings, attend


@dataclass(frozen=True)
class Record:
    """What one layer did in one pass; all tensors are float32 and without gradient."""

    logits: Heads[Tensor]  # raw, all K kernels
    attention: Heads[Tensor]  # what was applied
    input_shape: tuple[int, ...]  # (N, C_in, H, W)
    input: Tensor | None = None  # (N, C_in, H, W); a copy, of the layer whose input was asked for


class Trace(dict[str, Record]):
    """Layer name -> Record, in execution order. A layer called twice is there as ``name`` and ``name#2``."""

    def __missing__(self, name: str) -> Record:
        raise KeyError(f"no layer {name!r} in this pass; it recorded {', '.join(self) or 'none'}")


@dataclass(frozen=True)
class _Pass:
    """One open ``probe`` or ``apply_settings``."""

    settings: Settings | tuple[Settings, ...]  # of all pictures, or of each
    names: Mapping[nn.Module, str] | None = None  # of the probed modules; None: act on every layer and record nothing
    keep_input_of: str | None = None  # as the trace names layers
    given: Mapping[str, Heads[Tensor]] = field(default_factory=dict)  # by name; only where there are names
    trace: Trace = field(default_factory=Trace)


_DEFAULT = _Pass(Settings())
_current: ContextVar[_Pass] = ContextVar("odconv_current_pass", default=_DEFAULT)

# How many passes are open in all threads. torch.compile cannot read a ContextVar; while this is 0, it need not, and it compiles
# again when this has changed.
_open = 0
_counting = Lock()


@contextmanager
def probe(
    model: nn.Module,
    settings: Settings | Sequence[Settings] | None = None,
    *,
    keep_input_of: str | None = None,
    given: Mapping[str, Heads[Tensor]] | None = None,
) -> Iterator[Trace]:
    """Apply settings to the ODConv layers of ``model``, and record what each layer does.

    The innermost probe alone acts and records; the outer one is back on exit or exception. Layers outside ``model``, and
    layers that ``settings.layers`` leaves out, run as trained. Nothing is written to the model. ``keep_input_of``: the one
    layer, by its name in the trace, whose record also holds its input; inputs are large. ``given``: layer name -> attentions
    that are applied there whatever the logits and settings are, see :func:`odconv.attention.attend`.

    Args:
        settings: of all pictures in the pass, or one for each of them, in their order.

    Example:
        >>> with probe(model, Settings(temperature=2.0)) as trace:
        ...     logits = model(images)
        >>> trace["layer1.0.conv1"].attention.kernel  # (N, K)

    Raises:
        ValueError: ``model`` holds a ``DataParallel``, whose threads would not see the settings, or ``settings.layers``,
            ``keep_input_of`` or ``given`` names a layer that ``model`` does not have; inside, a layer gets another number of
            pictures than there are settings.
    """
    names = {module: name for name, module in model.named_modules()}
    if any(isinstance(module, nn.DataParallel) for module in names):
        raise ValueError("probe() cannot reach into DataParallel, whose threads see no settings; probe its .module")
    settings = settings or Settings()
    told = settings if isinstance(settings, Settings) else tuple(settings)
    every = (told,) if isinstance(told, Settings) else told
    unknown = {name for one in every for name in one.layers or ()} - set(names.values())
    if unknown:
        raise ValueError(f"layers={sorted(unknown)!r}: the model has no modules of these names")
    if keep_input_of is not None and keep_input_of.partition("#")[0] not in names.values():
        raise ValueError(f"keep_input_of={keep_input_of!r}: the model has no module of this name")
    given = given or {}
    if unknown := set(given) - set(names.values()):
        raise ValueError(f"given={sorted(unknown)!r}: the model has no modules of these names")
    current = _Pass(told, names, keep_input_of, given)
    with _enter(current):
        yield current.trace


@contextmanager
def apply_settings(settings: Settings) -> Iterator[None]:
    """Apply settings to every ODConv layer of any model and record nothing: for training and timing.

    Raises:
        ValueError: ``settings.layers`` is given; only a probe knows the names of layers.
    """
    if settings.layers is not None:
        raise ValueError(f"layers={settings.layers!r}: only probe() knows the names of layers; None is needed here")
    with _enter(_Pass(settings)):
        yield


@contextmanager
def _enter(current: _Pass) -> Iterator[None]:
    token = _current.set(current)
    _count(+1)
    try:
        yield
    finally:
        _count(-1)
        _current.reset(token)


def _count(change: int) -> None:
    global _open
    with _counting:
        _open += change


def current_attention(layer: nn.Module, logits: Heads[Tensor], x: Tensor) -> Heads[Tensor]:
    """The attentions that ``layer`` applies to its input ``x`` under the current settings; recorded if ``layer`` is probed."""
    current = _DEFAULT if torch.compiler.is_compiling() and not _open else _current.get()
    if current.names is None:
        assert isinstance(current.settings, Settings)  # only ``probe`` takes one for each picture
        return attend(logits, current.settings)
    if layer not in current.names:
        return attend(logits, Settings())
    name = current.names[layer]
    attention = _attend(logits, current.settings, name, current.given.get(name))
    calls = sum(1 for known in current.trace if known.partition("#")[0] == name)
    key = f"{name}#{calls + 1}" if calls else name
    kept = x.detach().float().clone() if key == current.keep_input_of else None  # what comes later may write into x
    current.trace[key] = Record(_detach(logits), _detach(attention), tuple(x.shape), kept)
    return attention


def _attend(
    logits: Heads[Tensor], settings: Settings | tuple[Settings, ...], name: str, given: Heads[Tensor] | None
) -> Heads[Tensor]:
    """The attentions in the layer ``name``, of each picture as if it were alone where each has its own settings."""
    if isinstance(settings, Settings):
        return attend(logits, settings.for_layer(name), given)
    count = next(len(head) for head in logits if head is not None)
    if count != len(settings):
        raise ValueError(f"{name} gets {count} pictures, and there are settings for {len(settings)}")
    alone = [Heads(*(None if head is None else head[i : i + 1] for head in logits)) for i in range(count)]
    found = [attend(one, own.for_layer(name), given) for one, own in zip(alone, settings, strict=True)]
    return Heads(*map(_join, zip(*found, strict=True)))


def _join(parts: Sequence[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]  # all, or none where the layer has no such head
    return torch.cat(present) if present else None


def _detach(heads: Heads[Tensor]) -> Heads[Tensor]:
    return Heads(*(None if head is None else head.detach().float() for head in heads))
