"""What was published of ODConv, and what pairs of networks that were trained here showed: the rows of ``assets``, checked and typed.

Published numbers are the authors', each row with its source; measured ones were printed by a script of this repository. They are
not of one kind, and nothing here mixes them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

COSTS = ("parameters", "multiply_adds")  # what accuracy is drawn against

Verdict = Literal["gain", "loss", "open"]

# Arms of the pairs, see ``benchmarks/pairs/arms.py``. ODConv in every stage by K; then what the gain is held against.
ODCONV = ("od1", "od4")
CONTROLS = ("wider", "more", "se", "od4_late", "od4_distilled")


# --- published ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Published:
    """A network that the authors trained on ImageNet, and what they say of it."""

    model: str  # as they call it
    backbone: str  # one of ``odconv.architecture.BACKBONES``
    width: float  # as of ``odconv.architecture.Architecture``
    kernels: int | None  # K; None where the network is static
    parameters_m: float  # millions
    multiply_adds_m: float  # millions, for a picture of 224 px
    top1: float  # % of the validation pictures
    top5: float
    checkpoint_url: str
    source_url: str


@dataclass(frozen=True)
class Detector:
    """A detector that the authors trained on MS-COCO from one of their networks, and what they say of it."""

    model: str  # the backbone, as they call it
    detector: str
    kernels: int | None  # K of the backbone; None where it is static
    parameters_m: float  # millions, of all of it
    box_ap: float  # average precision, %
    mask_ap: float | None  # None where it finds no masks
    checkpoint_url: str
    source_url: str

    @property
    def name(self) -> str:
        """Of the detector with its static backbone."""
        return f"{self.detector}, {self.model}"


def read_imagenet(path: Path) -> tuple[Published, ...]:
    """The networks in a file, in the authors' order: each static network, then its ODConv networks by K."""
    return tuple(
        Published(
            row["model"],
            row["backbone"],
            float(row["width"]),
            int(row["kernels"]) if row["kernels"] else None,
            float(row["parameters_m"]),
            float(row["multiply_adds_m"]),
            float(row["top1"]),
            float(row["top5"]),
            row["checkpoint_url"],
            row["source_url"],
        )
        for row in _rows(path)
    )


def read_coco(path: Path) -> tuple[Detector, ...]:
    """The detectors in a file, in the authors' order: each with its static backbone, then with ODConv."""
    return tuple(
        Detector(
            row["model"],
            row["detector"],
            int(row["kernels"]) if row["kernels"] else None,
            float(row["parameters_m"]),
            float(row["box_ap"]),
            float(row["mask_ap"]) if row["mask_ap"] else None,
            row["checkpoint_url"],
            row["source_url"],
        )
        for row in _rows(path)
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Point(NamedTuple):
    """A network in a chart."""

    kernels: int | None  # None: static
    cost: float  # millions
    accuracy: float  # %


class Line(NamedTuple):
    """A static network and its ODConv networks, in the order of K."""

    name: str
    points: tuple[Point, ...]


def imagenet_lines(networks: Iterable[Published], cost: str) -> list[Line]:
    """Top-1 accuracy against one of ``COSTS``."""
    return _lines((one.model, Point(one.kernels, getattr(one, f"{cost}_m"), one.top1)) for one in networks)


def coco_lines(detectors: Iterable[Detector]) -> list[Line]:
    """Box AP against parameters."""
    return _lines((one.name, Point(one.kernels, one.parameters_m, one.box_ap)) for one in detectors)


def _lines(named: Iterable[tuple[str, Point]]) -> list[Line]:
    lines: dict[str, list[Point]] = {}
    for name, point in named:
        lines.setdefault(name, []).append(point)
    return [Line(name, tuple(points)) for name, points in lines.items()]


def gains(lines: Iterable[Line]) -> tuple[float, float]:
    """The smallest and the largest gain of an ODConv network over its static one, in points."""
    every = [point.accuracy - line.points[0].accuracy for line in lines for point in line.points[1:]]
    return min(every), max(every)


# --- measured -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """An arm of the pairs against another network of the same seed; made by ``benchmarks/pairs/report.py``."""

    arm: str
    gates: str  # of the arm: "own", "frozen": the mean over train, "shuffled": those of another picture
    against: str  # its twin, "static" or another static arm; "own gates": itself
    kernels: int  # K; 0: it is static
    parameters: int
    multiply_adds: int
    top1: tuple[float, ...]  # %, of each of P seeds
    against_top1: tuple[float, ...]  # (P,)
    difference: float  # mean over seeds, in points, and its 95 % interval
    low: float
    high: float
    sign_flip_p: float
    gained: int  # pictures that are right in the arm alone, in all seeds together
    lost: int
    mcnemar_p: float

    @property
    def differences(self) -> list[float]:
        """(P,), in points."""
        return [mine - theirs for mine, theirs in zip(self.top1, self.against_top1, strict=True)]

    @property
    def verdict(self) -> Verdict:
        """What the interval says: "open" where 0 lies in it."""
        if self.low > 0:
            return "gain"
        return "loss" if self.high < 0 else "open"


@dataclass(frozen=True)
class Pairs:
    """Pairs that were trained under the same conditions."""

    device: str
    versions: dict[str, str]  # of Python and torch
    precision: str
    measured: int  # pictures
    measured_on: str
    plan: dict[str, Any]  # start, width, side, epochs and the like: ``benchmarks/pairs/plan.py``
    static: dict[str, int]  # parameters and multiply_adds of the twin
    comparisons: tuple[Comparison, ...]

    def against_twins(self, arms: Iterable[str] = ODCONV) -> list[Comparison]:
        """Arms as trained, against their static twins, in the order of ``arms``."""
        found = {one.arm: one for one in self.comparisons if one.gates == "own"}
        return [found[arm] for arm in arms]

    def against_own(self, gates: str) -> list[Comparison]:
        """ODConv with gates that do not fit the picture, against itself, by K."""
        found = {one.arm: one for one in self.comparisons if (one.gates, one.against) == (gates, "own gates")}
        return [found[arm] for arm in ODCONV]


def read_pairs(path: Path) -> dict[tuple[str, int], Pairs]:
    """What a summary of ``benchmarks/paired.py`` holds, by the start, "parent" or "scratch", and the width."""
    found = {}
    for run in json.loads(path.read_text(encoding="utf-8")):
        comparisons = tuple(_parse_comparison(one) for one in run.pop("comparisons"))
        found[run["plan"]["start"], run["plan"]["width"]] = Pairs(**run, comparisons=comparisons)
    return found


def _parse_comparison(raw: dict[str, Any]) -> Comparison:
    lists = {name: tuple(raw[name]) for name in ("top1", "against_top1")}
    return Comparison(**raw | lists)
