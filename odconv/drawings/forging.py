"""One layer at work on one picture, step by step, as data for ``forging.js``.

What depends on the place is computed in the browser, which has the maps, so that the kernel can be dragged over the picture.
"""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np

from odconv.attention import HEADS, Settings
from odconv.drawings.colours import DIVERGING, GREYS
from odconv.drawings.describe import describe_absence, head_name, join_sentences
from odconv.drawings.kernel import describe_slice, ends_of, grey_levels, largest_size, tone_bytes, weight_digits
from odconv.forging_view import STEPS, ForgingView
from odconv.words import say, texts

# Up to this many bytes what every channel adds at every place is sent at once. Where it is more, only what they add at the
# place that is looked at, and the page is asked again when the place moves.
MOST_CONTRIBUTIONS = 200_000

# What forging.js says of single numbers, under its drawings and on its buttons.
TEMPLATES = (
    "steps",
    "back",
    "next",
    "all",
    "one",
    "keys",
    "formula",
    "mean_axis",
    "mean_of",
    "squeezed_axis",
    "normalized_axis",
    "hidden_axis",
    "unit",
    "channel_value",
    "filter_value",
    "kernel_value",
    "tap_value",
    "at_tap",
    "weighted",
    "under",
    "products",
    "choose_tap",
    "outside",
    "adds",
    "contributions",
    "adds_value",
    "sum_of",
    "waiting",
    "kernel_first",
    "maps_first",
    "same_order",
    "badge",
    "badge_unbounded",
    "input_map",
    "output_map",
    "input_alt",
    "output_alt",
    "place",
    "choose_place",
    "largest_place",
)
KERNEL_TEMPLATES = ("weight", "tap", "shares", "sum", "taps", "tapped", "gates", "forged")  # shared with kernel.js


def forging_data(
    language: str, view: ForgingView, layer: str, step: str, *, placed: bool, picked: bool, compared: bool
) -> dict[str, Any]:
    """The data of ``forging.js``: every number of every step, and the maps on which the place is chosen.

    Args:
        language: one of ``odconv.words.LANGUAGES``; all texts in the data are in it.
        view: the numbers.
        layer: names the layer; where it is another one, the drawing forgets what was chosen inside it.
        step: the one to show, of ``STEPS``, or ``"all"``.
        placed: whether the visitor chose the place.
        picked: whether the program chose the slice.
        compared: whether it did so by comparing with another picture's kernel.
    """
    made, kernel = view.layer, view.kernel
    own = kernel.own
    weights = largest_size(kernel.candidates, own.weighted, own.mixed, own.tapped, own.forged)
    spans = {
        "kernel": weights,
        "input": largest_size(view.input),
        "output": largest_size(view.output),
        "logits": largest_size(*made.logits),
        "product": largest_size(np.nan_to_num(own.forged) * np.abs(np.nan_to_num(view.input)).max()),
    }
    maps = {"input": view.input, "output": view.output}
    small = view.contributions.size * 4 <= MOST_CONTRIBUTIONS
    words = {key: texts(language)[f"forging.{key}"] for key in TEMPLATES}
    words |= {key: texts(language)[f"forge.{key}"] for key in KERNEL_TEMPLATES}
    words |= {head: head_name(language, head) for head in HEADS}
    return {
        "layer": layer,
        "step": step,
        "steps": [_step(language, name, view) for name in STEPS],
        "place": [view.row, view.column],
        "placed": placed,
        "slice": describe_slice(language, kernel, picked, compared),
        "kernel_size": kernel.candidates.shape[-1],
        "stride": view.stride,
        "padding": view.padding,
        "dilation": view.dilation,
        "input_size": view.input.shape,
        "output_size": view.output.shape,
        "input": _floats(view.input),
        "output": _floats(view.output),
        "before_gate": _floats(view.before_gate),
        # By place, then by channel.
        "contributions": _floats(view.contributions.transpose(1, 2, 0)) if small else None,
        "contributions_here": None if small else _numbers(view.meeting.contributions.numpy()),
        "pooled": _numbers(made.pooled),
        "squeezed": _numbers(made.squeezed),
        "normalized": _numbers(made.normalized),
        "hidden": _numbers(made.hidden),
        "heads": {head: _head(language, head, view) for head in HEADS},
        "kept": None if made.kept is None else made.kept.tolist(),
        "candidates": _numbers(kernel.candidates),
        "weighted": _numbers(own.weighted),
        "mixed": _numbers(own.mixed),
        "tapped": _numbers(own.tapped),
        "forged": _numbers(own.forged),
        "filter": kernel.filter,
        "channel": kernel.channel,
        "input_channel": kernel.input_channel,
        "first_channel": kernel.input_channel - kernel.channel,
        "spans": {name: {"span": end, "digits": weight_digits(end)} for name, end in spans.items()},
        "ends": {name: ends_of(map) for name, map in maps.items()},
        "levels": {name: _bytes(grey_levels(map)) for name, map in maps.items()},
        "tones": tone_bytes(DIVERGING),
        "greys": tone_bytes(GREYS),
        "numbers": f"{made.output.size:,}",
        "bounded": math.isfinite(made.difference),
        "difference": f"{made.difference:.1e}",
        "order_difference": f"{made.order_difference:.1e}",
        "scale": say(language, "forging.scale", **{name: f"{end:g}" for name, end in spans.items()}),
        "words": words,
    }


def _step(language: str, name: str, view: ForgingView) -> dict[str, Any]:
    made, kernel = view.layer, view.kernel
    channels, height, width = made.input.shape[1:]
    values = {
        "channels": channels,
        "height": height,
        "width": width,
        "hidden": len(made.hidden),
        "alive": int((made.hidden > 0).sum()),
        "temperature": f"{made.settings.temperature:g}",
        "kernels": len(kernel.candidates),
        "taps": kernel.candidates[0].size,
        "filter": kernel.filter,
        "channel": kernel.input_channel,
        "seen": kernel.channels,
    }
    reason = _why_passed(language, name, view)
    one_gate = name == "gates" and kernel.own.filter_gate is None
    text = say(language, "forging.one_gate_text" if one_gate else f"forging.{name}_text", **values)
    notes = [text] if reason is None else [reason, say(language, "forging.passed")]
    groups = channels // kernel.channels
    if name == "meet" and max(view.stride) > 1:
        notes.append(say(language, "forging.stride", stride=max(view.stride)))
    if name == "meet" and max(view.dilation) > 1:
        notes.append(say(language, "forging.dilation", dilation=max(view.dilation)))
    if name == "output" and groups > 1 and kernel.channels > 1:
        first = kernel.input_channel - kernel.channel
        last = first + kernel.channels - 1
        notes.append(say(language, "forging.output_group", groups=groups, first=first, last=last))
    return {
        "name": name,
        "short": say(language, f"forging.{name}_short"),
        "title": say(language, f"forging.{name}_title"),
        "text": join_sentences(language, notes),
        "symbols": "" if reason else say(language, f"forging.{name}_symbols", **values),
        "passed": reason is not None,
    }


def _why_passed(language: str, name: str, view: ForgingView) -> str | None:
    """Why a step leaves what it is given as it is; None where it does something."""
    if name in ("weigh", "sum") and view.kernel.own.shares is None:
        return describe_absence(language, "kernel")
    if name == "taps" and view.kernel.own.taps is None:
        return describe_absence(language, "spatial")
    if name == "output" and view.kernel.channels == 1:
        return say(language, "forging.output_depthwise")
    return None


def _head(language: str, head: str, view: ForgingView) -> dict[str, Any]:
    """One head's logits and attention, and the slice's own; or why there are none."""
    made = view.layer
    logits, attention = getattr(made.logits, head), getattr(made.attention, head)
    title = say(language, f"head.{head}_attention")
    if logits is None:
        return {"title": title, "absent": describe_absence(language, head)}
    return {
        "title": title,
        "logits": _numbers(logits[0]),
        "attention": _numbers(attention[0]),
        "temperature": made.settings.divisor(head),
        "note": _note(language, head, made.settings, view),
    }


def _note(language: str, head: str, settings: Settings, view: ForgingView) -> str | None:
    """What the settings do to a head besides dividing its logits."""
    if head == "kernel":
        if head in settings.ablate:
            return say(language, "forging.note_equal")
        left_out = view.layer.kept is not None and not view.layer.kept.all()
        return say(language, "forging.note_kept") if left_out else None
    if head in settings.ablate:
        return say(language, "forging.note_mean")
    if settings.compensate and settings.divisor(head) != 1:
        return say(language, "forging.note_rescaled")
    return None


def _numbers(values: np.ndarray) -> Any:
    """Nested lists of numbers with eight digits that count: the browser computes with them and shows four."""
    finite = np.nan_to_num(values)
    return np.array([float(f"{value:.8g}") for value in finite.ravel()]).reshape(finite.shape).tolist()


def _bytes(levels: np.ndarray) -> str:
    return base64.b64encode(levels.tobytes()).decode("ascii")


def _floats(values: np.ndarray) -> str:
    """As 32-bit floats, little-endian, in Base64: row by row."""
    finite = np.clip(np.nan_to_num(values), -3e38, 3e38).astype("<f4")
    return base64.b64encode(finite.tobytes()).decode("ascii")
