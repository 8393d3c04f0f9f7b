"""What the method's authors published, from ``assets/published``: each row with its source."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from odconv import results
from odconv.results import Detector, Published

FOLDER = Path(__file__).parents[2] / "assets" / "published"


@cache
def imagenet() -> tuple[Published, ...]:
    """Networks for classification, in the authors' order."""
    return results.read_imagenet(FOLDER / "imagenet.csv")


@cache
def coco() -> tuple[Detector, ...]:
    """Detectors, in the authors' order."""
    return results.read_coco(FOLDER / "coco.csv")
