"""Switches: something else in place of a head's learned attention, and what that does to the prediction. Pure.

The weights stay as they are. So this tells what a prediction of this network depends on, and not what another network would
predict that had been trained without the head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np

from odconv.attention import HEADS, Heads, Rule, Settings
from odconv.explain import Explanation, softmax

# "typical" and "transplanted": each entry as it is over a validation set, or in another picture. "mean": all entries as
# their mean for this picture. "hand": as a visitor set it. The rest is as in ``Settings.replaced``.
Choice = Literal["learned", "typical", "mean", "uniform", "argmax", "shuffled", "transplanted", "hand"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
MAPPED = tuple(choice for choice in CHOICES if choice not in ("learned", "hand"))  # those that a map can be made of

Attentions = Mapping[str, Heads[np.ndarray]]  # layer -> attention of each head, of its shape without N
AS_LEARNED: Heads[Choice] = Heads("learned", "learned", "learned", "learned")
NOTHING: Attentions = {}


@dataclass(frozen=True)
class Switches:
    """What each head's attention is replaced by."""

    choices: Heads[Choice] = AS_LEARNED
    layer: str | None = None  # the one that they are for; None: all layers
    seed: int = 0  # of "shuffled"

    def alone(self, head: str) -> Switches:
        """The switch of ``head``, the other heads as learned."""
        return replace(self, choices=Heads(*(c if h == head else "learned" for h, c in _each(self.choices))))


def _each(choices: Heads[Choice]) -> list[tuple[str, Choice]]:
    return [(head, getattr(choices, head)) for head in HEADS]


@dataclass(frozen=True, eq=False)
class Sources:
    """Where attentions come from that the network does not make of this picture; empty: there are none."""

    typical: Attentions  # of a validation set
    transplanted: Attentions  # of another picture
    hand: Attentions  # as a visitor set them, of the layers in which something is set

    def of(self, choice: Choice) -> Attentions:
        """Those that ``choice`` takes; of a choice that takes none: none."""
        found: Mapping[str, Attentions] = {
            "typical": self.typical,
            "transplanted": self.transplanted,
            "hand": self.hand,
        }
        return found.get(choice, NOTHING)


NO_SOURCES = Sources(NOTHING, NOTHING, NOTHING)


class Pass(NamedTuple):
    """What one pass is told, see :func:`odconv.explain.explain`."""

    settings: Settings
    given: Attentions

    @property
    def as_trained(self) -> bool:
        """Whether it is told nothing."""
        return self.settings == Settings() and not self.given


def to_pass(switches: Switches, sources: Sources) -> Pass:
    """The pass in which ``switches`` act.

    A head that a source does not have stays as learned. What is set by hand acts in its own layers, whatever layer the
    switches are for.
    """
    rules: list[Rule | None] = [
        choice if choice in get_args(Rule) else None  # type: ignore[misc]  # as was asked
        for choice in switches.choices
    ]
    layers = None if switches.layer is None else (switches.layer,)
    settings = Settings(
        ablate=tuple(head for head, choice in _each(switches.choices) if choice == "mean"),
        replaced=Heads(*rules),
        seed=switches.seed if "shuffled" in switches.choices else 0,
    )
    if settings != Settings():
        settings = replace(settings, layers=layers)
    given: dict[str, dict[str, np.ndarray]] = {}
    for head, choice in _each(switches.choices):
        for name, heads in sources.of(choice).items():
            values = getattr(heads, head)
            if values is not None and (choice == "hand" or switches.layer in (None, name)):
                given.setdefault(name, {})[head] = values
    return Pass(settings, {name: Heads(*(heads.get(head) for head in HEADS)) for name, heads in given.items()})


def attentions_of(record: Explanation) -> Attentions:
    """The attentions of one picture (N = 1), as a source. Of a layer that is called several times: of the first time."""
    return {
        name: Heads(*(None if head is None else head[0] for head in layer.attention))
        for name, layer in record.layers.items()
        if "#" not in name
    }


# --- what a switch does ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Effect:
    """What became of the class that was most likely as trained."""

    logit: float  # its change
    probability: float  # as it is now
    first: int  # the class that is most likely now


def find_effect(trained: np.ndarray, now: np.ndarray) -> Effect:
    """From the logits (classes,) as trained, and those of the pass under a switch."""
    best = int(trained.argmax())
    change = float(now[best]) - float(trained[best])
    return Effect(change, float(softmax(now)[best]), int(now.argmax()))


Cell = tuple[str, str]  # layer, head


def cells_of(record: Explanation) -> list[Cell]:
    """The heads of all layers, in execution order: where a map of effects has a number."""
    return [
        (name, head)
        for name, heads in attentions_of(record).items()
        for head, values in zip(HEADS, heads, strict=True)
        if values is not None
    ]


def switch_of(cell: Cell, choice: Choice, seed: int = 0) -> Switches:
    """The switch of one head in one layer."""
    layer, head = cell
    return Switches(Heads(*(choice if one == head else "learned" for one in HEADS)), layer, seed)


# --- relatives ---------------------------------------------------------------------------------------------------------

# What is left on in a network that is like another one; the other heads are off. Same weights, heads off.
RELATIVES: Mapping[str, tuple[str, ...]] = {"static": (), "se": ("filter",), "dyconv": ("kernel",)}


def relative(name: str, off: Choice) -> Switches:
    """The switches of one of ``RELATIVES``; ``off``: what stands for a head that is off, "typical" or "mean"."""
    return Switches(Heads(*("learned" if head in RELATIVES[name] else off for head in HEADS)))


# --- set by hand -------------------------------------------------------------------------------------------------------

MOST_EDITS = 64  # of a layer's entries
Edit = tuple[str, int, float]  # head, entry from 0 in row-major order, value 0 to 1


def set_by_hand(learned: Heads[np.ndarray], edits: Sequence[Edit]) -> Heads[np.ndarray]:
    """``learned`` (heads without N) with some entries set to other values; those of entries that are not there are left out.

    Shares are divided by their sum, so that they sum to 1; were all 0, they stay as learned.
    """
    heads = {
        head: None if values is None else values.astype(np.float32) for head, values in zip(HEADS, learned, strict=True)
    }
    for head, entry, value in edits:
        values = heads[head]
        if values is not None and entry < values.size:
            values.flat[entry] = value
    kernel = heads["kernel"]
    if kernel is not None and any(head == "kernel" for head, _, _ in edits):
        total = kernel.sum(dtype=np.float64)
        heads["kernel"] = learned.kernel if total <= 0 else (kernel / total).astype(np.float32)
    return Heads(*(heads[head] for head in HEADS))
