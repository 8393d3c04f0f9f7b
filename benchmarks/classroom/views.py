"""What visitors were shown, and whether it is what a serial pass of the same picture under the same settings gives.

Probabilities, spatial taps and kernel shares of all layers, all four heads of the chosen one, and the photo itself. A number
is sent with five digits, so it may be off by less than one of the last.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from odconv import HEADS, Settings, explain, images
from odconv.backbones import FAMILIES
from odconv.checkpoint import Checkpoint
from odconv.drawings import first_synonym
from odconv.explain import Explanation

TOLERANCE = 2e-5  # one of the last digit sent, and the rounding of passes in another process
FIGURES = ("photo", "prediction", "glance", "layer")


class Asked(NamedTuple):
    """What a visitor looks at."""

    picture: str  # names it
    temperature: float = 1.0
    kernels: int | None = None
    layer: str = ""  # the chosen one; empty: none was, and the page says which it is

    @property
    def settings(self) -> Settings:
        """What the network is told."""
        return Settings(temperature=self.temperature, kernels=self.kernels)


class View(NamedTuple):
    """A figure as it was shown; two are equal where all their numbers are."""

    asked: Asked
    figure: str
    names: tuple[str, ...]
    numbers: bytes  # float64


Views = Counter[View]  # how often each was shown


def read(figure: str, data: Any, asked: Asked) -> View | None:
    """The numbers of a figure; None of one that shows none of an answer."""
    if figure not in FIGURES:
        return None
    names, numbers = READERS[figure](data)
    asked = Asked(asked.picture) if figure == "photo" else asked
    return View(asked, figure, tuple(names), np.array(numbers, np.float64).tobytes())


def _read_photo(data: Any) -> tuple[list[str], list[float]]:
    return [data["seen"]], []


def _read_prediction(data: Any) -> tuple[list[str], list[float]]:
    rows = data["rows"]
    # -1 where nothing is compared with.
    ghosts = [-1.0 if row["ghost"] is None else row["ghost"] for row in rows]
    return [row["name"] for row in rows], [*(row["probability"] for row in rows), *ghosts]


def _read_glance(data: Any) -> tuple[list[str], list[float]]:
    names, numbers = [data["selected"]], []
    for layer in data["layers"]:
        names.append(layer["name"])
        for cells in (layer, layer["ghost"]):
            for head in ("spatial", "kernel"):
                numbers += (cells and cells[head]) or []
    return names, numbers


def _read_layer(data: Any) -> tuple[list[str], list[float]]:
    names, numbers = [], []
    for head in HEADS:
        panel = data["heads"][head]
        if "values" in panel:
            names.append(head)
            numbers += np.ravel(panel["values"]).tolist()
    return names, numbers


READERS: Mapping[str, Callable[[Any], tuple[list[str], list[float]]]] = {
    "photo": _read_photo,
    "prediction": _read_prediction,
    "glance": _read_glance,
    "layer": _read_layer,
}


class Wrong(NamedTuple):
    """A figure that is not what a serial pass gives."""

    view: View
    times: int
    why: str


def check(views: Views, pictures: Mapping[str, bytes], checkpoint: Checkpoint) -> Iterator[Wrong]:
    """Compare ``views`` with serial passes, one for each picture and settings. ``pictures``: name -> file."""
    for picture in sorted({view.asked.picture for view in views}):
        if picture not in pictures:
            yield from (Wrong(view, views[view], "no picture") for view in views if view.asked.picture == picture)
            continue
        decoded = images.decode(pictures[picture])
        prepared = images.prepare(decoded, checkpoint.card)
        trained = explain(checkpoint.model, prepared)
        opens_at = next(
            name for name in [*(family.shown for family in FAMILIES), *trained.layers] if name in trained.layers
        )
        of_picture = [view for view in views if view.asked.picture == picture]
        for settings in {view.asked.settings for view in of_picture}:
            now = trained if settings == Settings() else explain(checkpoint.model, prepared, settings)
            for view in of_picture:
                if view.asked.settings == settings:
                    layer = view.asked.layer or opens_at
                    reference = None if settings == Settings() else trained
                    why = _compare(view, now, reference, layer, checkpoint, decoded)
                    if why:
                        yield Wrong(view, views[view], why)


def _compare(
    view: View,
    now: Explanation,
    reference: Explanation | None,
    layer: str,
    checkpoint: Checkpoint,
    picture: Image.Image,
) -> str:
    """Why a view is wrong; empty where it is not."""
    if view.figure == "photo":
        card = checkpoint.card
        seen = Image.open(BytesIO(base64.b64decode(view.names[0].partition(",")[2])))
        right = np.array_equal(np.asarray(seen), np.asarray(images.crop(picture, card.image_size, card.resize)))
        return "" if right else "another picture"
    shown = np.frombuffer(view.numbers)
    if view.figure == "prediction":
        return _compare_prediction(view.names, shown, now, reference, checkpoint.card.classes)
    if view.figure == "glance":
        names, wanted = _glance(now, reference, layer)
    else:
        heads = {
            head: values for head, values in zip(HEADS, now.layers[layer].attention, strict=True) if values is not None
        }
        names, wanted = list(heads), np.concatenate([values[0].ravel() for values in heads.values()])
    if list(view.names) != names:
        return f"{', '.join(view.names)[:80]} instead of {', '.join(names)[:80]}"
    return _differ(shown, wanted)


def _compare_prediction(
    names: tuple[str, ...],
    shown: np.ndarray,
    now: Explanation,
    reference: Explanation | None,
    classes: tuple[str, ...],
) -> str:
    if len(shown) != 2 * len(names):
        return f"{len(shown)} numbers instead of {2 * len(names)}"
    shares, best = now.probabilities[0], np.sort(now.probabilities[0])[::-1][: len(names)]
    before = np.full(len(shares), -1.0) if reference is None else reference.probabilities[0]
    if why := _differ(shown[: len(names)], best):
        return why
    for name, probability, ghost in zip(names, *shown.reshape(2, -1), strict=True):
        named = [i for i, one in enumerate(classes) if first_synonym(one) == name]
        if not any(max(abs(shares[i] - probability), abs(before[i] - ghost)) < TOLERANCE for i in named):
            return f"{name}: {probability} (as trained {ghost}) is of no class of that name"
    return ""


def _glance(now: Explanation, reference: Explanation | None, layer: str) -> tuple[list[str], np.ndarray]:
    numbers = []
    for name in now.layers:
        for record in (now, reference):
            if record:
                attention = record.layers[name].attention
                numbers += [head[0].ravel() for head in (attention.spatial, attention.kernel) if head is not None]
    return [layer, *now.layers], np.concatenate(numbers)


def _differ(shown: np.ndarray, wanted: np.ndarray) -> str:
    if shown.shape != wanted.shape:
        return f"{len(shown)} numbers instead of {len(wanted)}"
    away = np.abs(shown - wanted)
    worst = int(away.argmax())
    return "" if away[worst] < TOLERANCE else f"{shown[worst]:.5f} instead of {wanted[worst]:.5f}"
