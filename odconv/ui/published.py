"""What the method's authors published, from ``assets/published``: each row with its source."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "assets" / "published"


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


@cache
def imagenet() -> tuple[Published, ...]:
    """All of them, in the authors' order: each static network, then its ODConv networks by K."""
    with (FOLDER / "imagenet.csv").open(encoding="utf-8", newline="") as file:
        return tuple(_parse(row) for row in csv.DictReader(file))


def _parse(row: dict[str, str]) -> Published:
    return Published(
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
