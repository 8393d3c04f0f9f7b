"""The path through the first lesson: what each step looks into, and what it finds. Pure; a finding holds for any network.

A step changes one thing: the picture, the heads, the temperature, the angle of a grating, or the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from odconv.attention import HEADS, Heads
from odconv.explain import Explanation
from odconv.forge import forge_steps
from odconv.layer import ODConv2d
from odconv.tasks import Finding, Row, largest, percent
from odconv.words import Phrase

STEPS = ("kernels", "flat", "temperature", "grating", "twin")  # each is a task of its own, too
TEMPERATURES = (0.1, 1.0, 30.0)
TURN = (0.0, 90.0, 180.0)  # degrees of the grating that are told
CLUE = 60.0  # degrees that are told before the visitor answers
LAYER = "layer1.0.conv1"  # that the steps look into, where the network has it
HARD = 0.05  # a gate this near to 0 or 1 is all or nothing


@dataclass(frozen=True, eq=False)
class Case:
    """One picture in one layer under some settings: a column of the figure."""

    title: str | Phrase
    attention: Heads[np.ndarray]  # of the picture, without N; a static layer has none
    forged: np.ndarray  # (k, k): one slice of the kernel that the picture is convolved with
    probabilities: np.ndarray  # (classes,)

    @property
    def first(self) -> int:
        """The most likely class."""
        return int(self.probabilities.argmax())

    @property
    def leader(self) -> int | None:
        """The kernel with the largest share, from 0; ``None`` where there is one kernel alone."""
        return None if self.attention.kernel is None else int(self.attention.kernel.argmax())


def forge_slice(layer: nn.Module, attention: Heads[np.ndarray], filter: int, channel: int) -> np.ndarray:
    """One slice (k, k) of the kernel that a picture is convolved with in ``layer``.

    Args:
        layer: an ``ODConv2d``, or an ``nn.Conv2d``, whose kernel is the same for every picture.
        attention: of one picture in it (N = 1), as it was applied; not looked at in an ``nn.Conv2d``.
        filter, channel: which slice, see :func:`odconv.forge.forge_steps`.
    """
    if isinstance(layer, nn.Conv2d):
        return layer.weight[filter, channel].detach().float().cpu().numpy()
    assert isinstance(layer, ODConv2d)
    heads = Heads(*(None if head is None else torch.tensor(head) for head in attention))
    weight = layer.weight.detach().float().cpu()
    return forge_steps(weight, heads, filter, channel, layer.groups).forged.numpy()


def find_kernels(cases: Sequence[Case], layer: str, places: tuple[int, int]) -> Finding:
    """Two pictures, one layer: are they convolved with the same kernel? ``places``: height and width of the layer's output."""
    one, other = cases
    size = difference_of(cases)
    reasons = []
    if one.leader is not None and other.leader is not None and one.attention.kernel is not None:
        reasons.append(Phrase("start.kernels_shares", {"layer": layer, **_leader(one, ""), **_leader(other, "other_")}))
    reasons.append(
        Phrase("start.kernels_differ" if size > 0 else "start.kernels_equal", {"layer": layer, "size": f"{size:.2g}"})
    )
    height, width = places
    reasons.append(Phrase("start.kernels_places", {"height": height, "width": width}))
    return Finding(("two",) if size > 0 else ("same",), tuple(reasons))


def difference_of(cases: Sequence[Case]) -> float:
    """The largest difference between two cases' kernels, in the slice that is shown."""
    one, other = cases
    return float(np.abs(one.forged - other.forged).max())


def _leader(case: Case, prefix: str) -> dict[str, object]:
    assert case.attention.kernel is not None
    assert case.leader is not None
    share = f"{case.attention.kernel[case.leader]:.2f}"
    return {f"{prefix}title": case.title, f"{prefix}kernel": case.leader + 1, f"{prefix}share": share}


def find_flat(trained: Case, flat: Case, names: Sequence[str], layer: str, others: Sequence[int]) -> Finding:
    """All heads are replaced by their own mean: what becomes of the prediction?

    Args:
        names: of the classes.
        layer: whose attention the cases have.
        others: the first choice for each of some other pictures, with all heads flat.
    """
    was, now = trained.first, flat.first
    values = {
        "was": names[was],
        "before": f"{trained.probabilities[was]:.2f}",
        "left": f"{flat.probabilities[was]:.2f}",
        "now": names[now],
        "after": f"{flat.probabilities[now]:.2f}",
    }
    if was != now:
        right = "other"
    else:
        right = "same" if flat.probabilities[was] >= trained.probabilities[was] / 2 else "weaker"
    counts = np.bincount(others)
    often = int(counts.argmax())
    many = {"count": len(others), "often": int(counts[often]), "name": names[often]}
    return Finding(
        (right,),
        (
            Phrase("start.flat_other" if was != now else "start.flat_kept", values),
            *_widest_gates(trained, layer),
            Phrase("start.flat_many_one" if trained.attention.kernel is None else "start.flat_many", many),
        ),
    )


def _widest_gates(case: Case, layer: str) -> list[Phrase]:
    """What becomes of the gates that differ most, as a sentence; none where the layer has no gates."""
    gates = {
        name: head for name, head in zip(HEADS, case.attention, strict=True) if name != "kernel" and head is not None
    }
    if not gates:
        return []
    widest = max(gates, key=lambda name: float(np.ptp(gates[name])))
    numbers = {"low": gates[widest].min(), "high": gates[widest].max(), "mean": gates[widest].mean()}
    texts = {name: f"{number:.2f}" for name, number in numbers.items()}
    return [Phrase("start.flat_why", {"layer": layer, "head": Phrase(f"head.{widest}"), **texts})]


def mean_gates(record: Explanation) -> np.ndarray:
    """The mean gate of every sigmoid head of every layer, of one picture (N = 1)."""
    return np.array(
        [
            head.mean(dtype=np.float64)
            for layer in record.layers.values()
            for name, head in zip(HEADS, layer.attention, strict=True)
            if name != "kernel" and head is not None
        ]
    )


def find_temperature(
    cases: Mapping[float, Case],
    held: Case,
    flat: Case,
    means: tuple[np.ndarray, np.ndarray],
    names: Sequence[str],
    layer: str,
) -> Finding:
    """At which of the temperatures 0.1 and 30 does the network still name what it names at 1?

    At 30 heads are nearly flat. Flat heads, of the step before, keep the mean of their gates; T = 30 moves it to 1/2.

    Args:
        cases: of :data:`TEMPERATURES`.
        held: at T = 30 with the gain held, so that the mean of the gates is as trained.
        flat: with all heads flat, which is what ``held`` comes to at the highest temperatures.
        means: of :func:`mean_gates`, as trained and at T = 30.
        names: of the classes.
        layer: whose attention the cases have.
    """
    low, trained, high = (cases[temperature] for temperature in TEMPERATURES)
    kept = (low.first == trained.first, high.first == trained.first)
    right = {(True, True): "both", (True, False): "low", (False, True): "high", (False, False): "neither"}[kept]
    said = {
        f"{name}{part}": text
        for name, case in (("low", low), ("high", high))
        for part, text in (("", names[case.first]), ("_share", f"{case.probabilities[case.first]:.2f}"))
    }
    gates, even = _gates(low), _gates(high)
    hard = float(((gates < HARD) | (gates > 1 - HARD)).mean())
    ends = {"low": HARD, "high": 1 - HARD, "even_low": f"{even.min():.2f}", "even_high": f"{even.max():.2f}"}
    reasons = [
        Phrase("start.temperature_says", said),
        Phrase("start.temperature_low", {"layer": layer, "percent": percent(hard)} | ends),
        *_largest_shares(low, trained, high),
        *_compare_with_flat(high, held, flat, means, names),
    ]
    return Finding((right,), tuple(reasons))


def _largest_shares(low: Case, trained: Case, high: Case) -> list[Phrase]:
    """The largest kernel share at each temperature, as a sentence; none where there is one kernel alone."""
    cases = {"low": low, "trained": trained, "high": high}
    shares = {name: case.attention.kernel for name, case in cases.items() if case.attention.kernel is not None}
    if len(shares) < len(cases):
        return []
    return [Phrase("start.temperature_shares", {name: f"{values.max():.2f}" for name, values in shares.items()})]


def _compare_with_flat(
    high: Case, held: Case, flat: Case, means: tuple[np.ndarray, np.ndarray], names: Sequence[str]
) -> list[Phrase]:
    """How a high temperature and flat heads differ, and what that does."""
    ends = {
        f"{name}_{end}": f"{number:.2f}"
        for name, some in zip(("trained", "hot"), means, strict=True)
        for end, number in (("low", some.min()), ("high", some.max()))
    }
    decides = "none" if high.first == flat.first else "all" if held.first == flat.first else "part"
    said = {
        "flat": names[flat.first],
        "held": names[held.first],
        "held_share": f"{held.probabilities[held.first]:.2f}",
    }
    return [Phrase("start.temperature_size", ends), Phrase(f"start.temperature_size_{decides}", said)]


def _gates(case: Case) -> np.ndarray:
    """All gates of the heads that are sigmoids, in one row."""
    present = [
        head.ravel() for name, head in zip(HEADS, case.attention, strict=True) if name != "kernel" and head is not None
    ]
    return np.concatenate(present) if present else np.array([0.5])


def find_grating(shares: Mapping[float, np.ndarray] | None, distances: Mapping[str, float], layer: str) -> Finding:
    """A grating turns: which kernel leads when it lies flat? In a layer with one kernel: which head moves most?

    Args:
        shares: angle -> kernel shares (K,), for the angles of :data:`TURN`; ``None`` where K = 1.
        distances: head -> how far it moves on average while the grating turns, for the heads of the layer.
    """
    if shares is None:
        right = largest(distances)
        rows = tuple(
            Row(Phrase(f"head.{head}"), distance, f"{distance:.3f}", head, head) for head, distance in distances.items()
        )
        most = {"layer": layer, "head": Phrase(f"head.{right[0]}"), "mean": f"{distances[right[0]]:.3f}"}
        return Finding(right, (Phrase("start.grating_heads", most),), rows, Phrase("start.grating_heads_note"))
    start, turned, back = (shares[angle] for angle in TURN)
    right = largest({f"w{i + 1}": float(share) for i, share in enumerate(turned)})
    first, best = int(start.argmax()), int(turned.argmax())
    values = {
        "layer": layer,
        "first": first + 1,
        "first_start": f"{start[first]:.2f}",
        "first_turned": f"{turned[first]:.2f}",
        "first_back": f"{back[first]:.2f}",
        "best": best + 1,
        "best_start": f"{start[best]:.2f}",
        "best_turned": f"{turned[best]:.2f}",
    }
    turns = Phrase("start.grating_stays" if first == best else "start.grating_turns", values)
    return Finding(right, (turns, Phrase("start.grating_back", values)))


def find_twin(
    static: Sequence[Case],
    dynamic: Sequence[Case],
    names: Sequence[str],
    layer: str,
    right_of: tuple[float, float, int] | None,
) -> Finding:
    """The static twin meets two pictures: has it one kernel for both, and can it tell them apart?

    Args:
        static, dynamic: two cases each, of the same pictures.
        names: of the classes.
        right_of: in how many percent of n validation pictures the static and the dynamic network are right, and n, from
            their cards; ``None`` where these do not say.
    """
    one, other = static
    size = difference_of(static)
    says = {
        "title": dynamic[0].title,
        "name": names[one.first],
        "share": f"{one.probabilities[one.first]:.2f}",
        "other_title": dynamic[1].title,
        "other_name": names[other.first],
        "other_share": f"{other.probabilities[other.first]:.2f}",
    }
    apart = one.first != other.first
    reasons = [
        Phrase("start.twin_kernels", {"layer": layer, "dynamic": f"{difference_of(dynamic):.2g}"}),
        Phrase("start.twin_apart" if apart else "start.twin_alike", says),
    ]
    if right_of is not None:
        still, moving, n = right_of
        accuracy = {"static": f"{still:.1f}", "dynamic": f"{moving:.1f}", "n": f"{n:,}"}
        reasons.append(Phrase("start.twin_better" if still > moving else "start.twin_worse", accuracy))
    return Finding(("two",) if size > 0 else ("apart",) if apart else ("same",), tuple(reasons))
