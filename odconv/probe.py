"""What a pass through a network is told, and what it records.

Settings are ambient, like ``torch.autocast``: they live in a ``ContextVar``, so they reach every dynamic layer inside any
model without touching it, and one shared model serves many visitors at once. New threads see the defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from torch import Tensor, nn

from odconv.attention import Heads, Settings, attend


@dataclass(frozen=True)
class Record:
    """What one layer did in one pass; all tensors detached float32, without gradient."""

    logits: Heads[Tensor]  # raw, all K kernels
    attention: Heads[Tensor]  # what was applied
    input_shape: tuple[int, ...]  # (N, C_in, H, W)


class Trace(dict[str, Record]):
    """Layer name -> Record, in execution order. A layer called twice is there as ``name`` and ``name#2``."""

    def __missing__(self, name: str) -> Record:
        raise KeyError(f"no layer {name!r} in this pass; it recorded {', '.join(self) or 'none'}")


@dataclass(frozen=True)
class _Telling:
    """One open ``probe`` or ``told``. ``names`` is None when every layer is meant and nothing is recorded."""

    settings: Settings
    names: Mapping[nn.Module, str] | None = None
    trace: Trace = field(default_factory=Trace)


_UNTOLD = _Telling(Settings())
_telling: ContextVar[_Telling] = ContextVar("odconv_telling", default=_UNTOLD)


@contextmanager
def probe(model: nn.Module, settings: Settings | None = None) -> Iterator[Trace]:
    """Tell every ODConv layer of ``model`` the settings, and record what each does.

    The innermost probe alone acts and records; the outer one is back on exit or exception. Layers outside ``model`` run
    as trained. Nothing is written to the model.

    Example:
        >>> with probe(model, Settings(temperature=2.0)) as trace:
        ...     scores = model(images)
        >>> trace["layer1.0.conv1"].attention.kernel  # (N, K)

    Raises:
        ValueError: ``model`` holds a ``DataParallel``, whose threads would not see the settings.
    """
    if any(isinstance(module, nn.DataParallel) for module in model.modules()):
        raise ValueError("probe() cannot reach into DataParallel, whose threads see no settings; probe its .module")
    telling = _Telling(settings or Settings(), {module: name for name, module in model.named_modules()})
    with _tell(telling):
        yield telling.trace


@contextmanager
def told(settings: Settings) -> Iterator[None]:
    """Tell every ODConv layer of any model the settings and record nothing: for training and timing."""
    with _tell(_Telling(settings)):
        yield


@contextmanager
def _tell(telling: _Telling) -> Iterator[None]:
    token = _telling.set(telling)
    try:
        yield
    finally:
        _telling.reset(token)


def heed(layer: nn.Module, logits: Heads[Tensor], x: Tensor) -> Heads[Tensor]:
    """The attentions that ``layer`` is to apply to its input ``x``, by whatever it is told; recorded if it is probed."""
    telling = _telling.get()
    if telling.names is None:
        return attend(logits, telling.settings)
    if layer not in telling.names:
        return attend(logits, _UNTOLD.settings)
    attention = attend(logits, telling.settings)
    name = telling.names[layer]
    calls = sum(1 for known in telling.trace if known.partition("#")[0] == name)
    telling.trace[f"{name}#{calls + 1}" if calls else name] = Record(_noted(logits), _noted(attention), tuple(x.shape))
    return attention


def _noted(heads: Heads[Tensor]) -> Heads[Tensor]:
    return Heads(*(None if head is None else head.detach().float() for head in heads))
