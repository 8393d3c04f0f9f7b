"""The card of a network: a JSON file beside its weights with what tensors do not tell.

It says how pictures are prepared, what the classes are called, how the network was trained, and how accurate it is.
Weights without a card are taken for the authors', for ImageNet. A card is as untrusted as the weights are.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from odconv.architecture import Architecture
from odconv.familiar import SCORES, Familiarity
from odconv.refusal import CheckpointError, printable

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MAX_BYTES = 4 * 2**20  # 21,000 classes with their identifiers take 1.5 MB
MAX_NAME = 200  # characters of a class or a network
MAX_TEXT = 8_000  # characters of a recipe and the like; the longest of the bundled ones has 1,400
TEXTS = ("data", "recipe", "known_weaknesses")


@dataclass(frozen=True)
class Card:
    """What a card says, checked."""

    name: str  # of the network
    classes: tuple[str, ...]  # one name for each logit
    image_size: int  # side of the square that the network sees, px
    resize: int  # length of a picture's shorter side before the centre crop, px
    mean: tuple[float, float, float]  # RGB, of values in 0..1
    std: tuple[float, float, float]
    stem: str
    data: str = ""  # what it was trained and measured on
    recipe: str = ""
    known_weaknesses: str = ""
    measured: dict[str, Any] = field(default_factory=dict)  # accuracy and its conditions, as the card gives it
    familiar: Familiarity | None = None  # None: below what score a picture is unfamiliar was not measured


def card_path(weights: Path) -> Path:
    """Where the card of a weights file lies: ``net.safetensors`` -> ``net.json``."""
    return weights.with_suffix(".json")


def card_beside(weights: Path, architecture: Architecture) -> Card:
    """The card beside a weights file, or ``default_card`` where there is none.

    Raises:
        CheckpointError: the card is damaged or too long, or ``parse_card`` refuses it.
    """
    path = card_path(weights)
    if not path.is_file():
        return default_card(weights.stem, architecture)
    return parse_card(_read(path), architecture, path.name)


def default_card(name: str, architecture: Architecture) -> Card:
    """The card of weights that come without one: the authors' ImageNet preprocessing, and classes by number."""
    classes = tuple(f"class {i}" for i in range(architecture.num_classes))
    return Card(printable(name, MAX_NAME), classes, 224, 256, IMAGENET_MEAN, IMAGENET_STD, architecture.stem)


def _read(path: Path) -> Any:
    file = printable(path.name)
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise CheckpointError("checkpoint.card_large", file=file, most=MAX_BYTES // 2**20)
        raw = json.loads(text.decode("utf-8"))
        json.dumps(raw, ensure_ascii=False).encode("utf-8")  # "\ud800" is JSON, and no text that could be shown
        return raw
    except CheckpointError:
        raise
    except UnicodeEncodeError as error:
        raise CheckpointError("checkpoint.card_characters", file=file) from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError("checkpoint.card_unreadable", file=file) from error


def parse_card(raw: Any, architecture: Architecture, file: str) -> Card:
    """A checked card from parsed JSON; ``file`` is its name, for messages.

    Raises:
        CheckpointError: a field is missing, of the wrong kind, or contradicts the weights; the message names it.
    """
    file = printable(file)

    def need(valid: bool, what: str, **values: Any) -> None:
        if not valid:
            raise CheckpointError(f"checkpoint.card_{what}", file=file, **values)

    need(isinstance(raw, dict), "object")
    size, resize = raw.get("image_size"), raw.get("resize", raw.get("image_size"))
    need(type(size) is int and 16 <= size <= 1024, "image_size")
    need(type(resize) is int and size <= resize <= 2048, "resize")
    for name, low in (("mean", -10.0), ("std", 1e-6)):
        values = raw.get(name)
        numbers = isinstance(values, list) and len(values) == 3 and all(type(v) in (int, float) for v in values)
        need(numbers and all(low <= v <= 10 for v in values), "three_numbers", field=name)
    need(raw.get("stem", architecture.stem) == architecture.stem, "stem", stem=architecture.stem)
    listed = raw.get("classes") if isinstance(raw.get("classes"), list) else []
    classes: list[Any] = [entry.get("name") if isinstance(entry, dict) else entry for entry in listed]
    need(len(classes) == architecture.num_classes, "class_count", count=architecture.num_classes)
    need(all(map(_is_name, classes)), "class_names", most=MAX_NAME)
    texts = {name: raw.get(name, "") for name in TEXTS}
    for name, text in texts.items():
        need(isinstance(text, str) and len(text) <= MAX_TEXT, "text", field=name, most=MAX_TEXT)
    measured, name = raw.get("measured", {}), raw.get("name", Path(file).stem)
    need(isinstance(measured, dict), "measured")
    need(_is_name(name), "name", most=MAX_NAME)
    mean, std = tuple(map(float, raw["mean"])), tuple(map(float, raw["std"]))
    return Card(
        printable(name, MAX_NAME),
        tuple(printable(name, MAX_NAME) for name in classes),
        size,
        resize,
        mean,  # type: ignore[arg-type]
        std,  # type: ignore[arg-type]
        architecture.stem,
        measured=measured,
        familiar=_parse_familiar(raw["familiar"], need) if "familiar" in raw else None,
        **{name: _printable_lines(text) for name, text in texts.items()},
    )


def _parse_familiar(raw: Any, need: Callable[..., None]) -> Familiarity:
    need(isinstance(raw, dict), "familiar")
    score, threshold = raw.get("score"), raw.get("threshold")
    need(score in list(SCORES), "familiar_score", scores=", ".join(SCORES))
    need(_is_number(threshold, -1e30, 1e30), "familiar_threshold")
    for part in ("false_alarms", "caught"):
        need(_is_number(raw.get(part), 0, 100), "familiar_percent", part=part)
    for part in ("n", "strangers"):
        need(type(raw.get(part)) is int and 0 < raw[part] < 2**32, "familiar_count", part=part)
    false_alarms, caught = float(raw["false_alarms"]), float(raw["caught"])
    return Familiarity(score, float(threshold), false_alarms, raw["n"], caught, raw["strangers"])


def _is_number(value: Any, low: float, high: float) -> bool:
    return type(value) in (int, float) and low <= value <= high  # never so for NaN


def is_percent(value: object) -> TypeGuard[int | float]:
    """Whether something that a card says was measured is a percentage: ``Card.measured`` holds anything that is JSON."""
    return _is_number(value, 0, 100)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME


def _printable_lines(text: str) -> str:
    return "\n".join(printable(line, MAX_TEXT) for line in text.splitlines())
