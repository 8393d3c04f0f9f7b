"""The kernel that a picture is convolved with, one slice of it, as data for ``kernel.js``."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from odconv.drawings.colours import DIVERGING, GREYS
from odconv.drawings.describe import describe_absence, describe_even, head_name, join_sentences
from odconv.drawings.names import clean_name
from odconv.drawings.numbers import json_number, json_numbers
from odconv.kernel_view import ForgedSlice, KernelView
from odconv.words import say, texts

# What kernel.js says of single numbers and under its squares.
TEMPLATES = (
    "weight",
    "tap",
    "candidates",
    "shares",
    "sum",
    "taps",
    "tapped",
    "gates",
    "forged",
    "less",
    "less_kernel",
    "less_map",
)


def kernel_data(
    language: str,
    view: KernelView,
    title: str,
    other_title: str | None,
    picked: bool,
    use: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """How one slice of the forged kernel is made for the picture that is looked at and for another, and their difference.

    Args:
        language: one of ``odconv.words.LANGUAGES``; all texts in the data are in it.
        view: the numbers.
        title: name of the picture that is looked at.
        other_title: name of the other picture; ``None`` for the typical one, and where there is no other.
        picked: whether the program chose the slice.
        use: which classes use which kernel, from ``kernel_use_data``; ``None`` where that is not known.
    """
    other = view.other
    difference = None if other is None else view.own.forged - other.forged
    map_difference = None if other is None else view.own.map - other.map
    sides = [view.own] if other is None else [view.own, other]
    end = largest_size(
        view.candidates, difference, *(side for one in sides for side in (one.mixed, one.tapped, one.forged))
    )
    difference_end = largest_size(map_difference) if map_difference is not None else 0.0
    digits = weight_digits(end)
    name = say(language, "forge.typical") if other_title is None else clean_name(other_title)
    rows = [_row(language, view, view.own, clean_name(title), "forge.map", clean_name(title))]
    if other is not None:
        heading = say(language, "forge.typical_title") if other_title is None else name
        rows.append(_row(language, view, other, heading, "forge.map_other", clean_name(title)))
    words = {key: texts(language)[f"forge.{key}"] for key in TEMPLATES}
    heads = {head: head_name(language, head) for head in ("channel", "filter")}
    return {
        "candidates": _weights(view.candidates),
        "rows": rows,
        "difference": None
        if difference is None or map_difference is None
        else {"forged": _weights(difference), "map": _difference_map(language, map_difference, difference_end)},
        "span": end,
        "tones": tone_bytes(DIVERGING),
        "digits": digits,
        "filter": view.filter,
        "channel": view.input_channel,
        "sentence": _sentence(language, view, difference, name, digits),
        "scale": say(
            language,
            "forge.scale_alone" if other is None else "forge.scale",
            end=f"{end:g}",
            map_end=f"{difference_end:g}",
        ),
        "slice": describe_slice(language, view, picked, other is not None),
        "words": words | heads,
        "use": use,
    }


def describe_slice(language: str, view: KernelView, picked: bool, compared: bool) -> str:
    """Which slice is shown, and how it was picked where the program did. ``compared``: with another picture's kernel."""
    key = "forge.slice" if not picked else "forge.picked" if compared else "forge.picked_largest"
    return say(language, key, filter=view.filter, channel=view.input_channel)


def _row(language: str, view: KernelView, side: ForgedSlice, title: str, map_key: str, photo: str) -> dict[str, Any]:
    """``map_key``: of what stands under the map, which is made of ``photo``."""
    low, high = map(_number, ends_of(side.map))
    return {
        "title": title,
        "shares": _or_why(language, "kernel", side.shares),
        "mixed": _weights(side.mixed),
        "taps": _or_why(language, "spatial", side.taps),
        "tapped": _weights(side.tapped),
        "gates": {
            "channel": _or_why(language, "channel", side.channel_gate),
            "filter": _or_why(language, "filter", side.filter_gate),
        },
        "forged": _weights(side.forged),
        "map": _map(language, side.map, grey_levels(side.map), GREYS, "map_alt", title=title, filter=view.filter),
        "map_caption": say(language, map_key, title=photo, low=low, high=high),
    }


def _or_why(language: str, head: str, values: np.ndarray | float | None) -> dict[str, Any]:
    if values is None:
        return {"absent": describe_absence(language, head)}
    return {"values": json_numbers(np.asarray(values))}


def _weights(values: np.ndarray) -> Any:
    """Weights can be small: one digit more than are ever shown, see ``weight_digits``."""
    return json_numbers(values, 8)


def _map(
    language: str, values: np.ndarray, levels: np.ndarray, tones: tuple[str, ...], alt: str, **names: Any
) -> dict[str, Any]:
    """A map as bytes, 1 to 255 for the first to the last of ``tones``, row by row, and in words."""
    low, high = map(_number, ends_of(values))
    return {
        "width": values.shape[1],
        "height": values.shape[0],
        "levels": base64.b64encode(levels.tobytes()).decode("ascii"),
        "tones": tone_bytes(tones),
        "alt": say(language, f"forge.{alt}", low=low, high=high, **names),
    }


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _difference_map(language: str, values: np.ndarray, end: float) -> dict[str, Any]:
    """The tones grow with the square root of the size, as the kernels' do; level 128 is 0."""
    shares = np.clip(np.nan_to_num(values.astype(np.float64)) / end, -1, 1)
    levels = (128 + np.round(127 * np.sign(shares) * np.sqrt(np.abs(shares)))).astype(np.uint8)
    return _map(language, values, levels, DIVERGING, "difference_alt")


def grey_levels(values: np.ndarray) -> np.ndarray:
    """Bytes, 1 to 255 for the lowest to the highest number: what a map shows is where it is high, not whether it is above 0."""
    low, high = ends_of(values)
    shares = (np.nan_to_num(values.astype(np.float64)) - low) / ((high - low) or 1.0)
    return np.asarray(1 + np.round(254 * np.clip(shares, 0, 1)), dtype=np.uint8)


def ends_of(values: np.ndarray) -> tuple[float, float]:
    """The lowest and the highest number."""
    finite = np.nan_to_num(values.astype(np.float64))
    return float(finite.min()), float(finite.max())


def tone_bytes(tones: Sequence[str]) -> list[list[int]]:
    """Colours as [red, green, blue]."""
    return [list(bytes.fromhex(tone[1:])) for tone in tones]


def largest_size(*arrays: np.ndarray | None) -> float:
    """How far one scale for all these reaches to either side: their largest size, rounded up to two digits."""
    largest = max(float(np.abs(np.nan_to_num(array)).max()) for array in arrays if array is not None)
    if not 0 < largest < 1e30:
        return 1.0
    step = 10.0 ** (math.floor(math.log10(largest)) - 1)
    return float(f"{math.ceil(largest / step - 1e-9) * step:.2g}")


def weight_digits(end: float) -> int:
    """Digits after the point, so that the largest weights have three that count."""
    return min(max(2, 2 - math.floor(math.log10(end))), 6)


def _sentence(language: str, view: KernelView, difference: np.ndarray | None, name: str, digits: int) -> str:
    sentences = []
    names = {"filter": view.filter, "channel": view.input_channel, "other": name}
    if difference is not None:
        sizes = np.abs(np.nan_to_num(difference))
        row, column = divmod(int(sizes.argmax()), sizes.shape[1])
        size = f"{sizes.max():.{digits}f}"
        if float(size) == 0:
            sentences.append(say(language, "forge.same", **names))
        else:
            sentences.append(say(language, "forge.differs", size=size, row=row + 1, column=column + 1, **names))
    shares = view.own.shares
    if shares is not None and (even := describe_even(language, "forge.leads", shares, _percent)):
        sentences.append(even)
    elif shares is not None:
        best = int(shares.argmax())
        sentences.append(say(language, "forge.leads", kernel=best + 1, percent=_percent(shares[best])))
        if view.other is not None and view.other.shares is not None:
            sentences[-1] = say(
                language,
                "forge.leads_beside",
                kernel=best + 1,
                percent=_percent(shares[best]),
                other_percent=_percent(view.other.shares[best]),
                other=name,
            )
    return join_sentences(language, sentences)


def _percent(share: float) -> str:
    return f"{100 * json_number(share):.0f}"
