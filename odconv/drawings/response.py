"""How one layer responds to the knob of a stimulus, as data for ``response.js``."""

from __future__ import annotations

from typing import Any

import numpy as np

from odconv.attention import HEADS, Heads
from odconv.drawings.describe import SAME, head_name, join_list, join_sentences
from odconv.drawings.differences import LEAST_END, round_up
from odconv.drawings.names import clean_name
from odconv.drawings.numbers import json_number, json_numbers
from odconv.response import LayerResponse, distance_from
from odconv.stimuli import STIMULI
from odconv.words import say


def response_data(
    language: str,
    layer: str,
    stimulus: str,
    values: np.ndarray,
    response: LayerResponse,
    value: float,
    attention: Heads[np.ndarray],
) -> dict[str, Any]:
    """The data of ``response.js``: the kernel shares of one layer against the knob; how far each head moves, where K = 1.

    ``sentence`` and ``note`` are for the page to say under it.

    Args:
        language: one of ``odconv.words.LANGUAGES``; all texts in the data are in it.
        layer: its name.
        stimulus: one of ``odconv.stimuli.STIMULI``.
        values: of the knob (M).
        response: of the layer, at these values.
        value: where the knob stands.
        attention: the layer's, of the picture with the knob there (N = 1).
    """
    if response.shares is not None and attention.kernel is not None:
        names = [f"W{i + 1}" for i in range(response.shares.shape[1])]
        lines, now, kind = response.shares.T, attention.kernel[0], "kernel"
    else:
        present = [head for head in HEADS if getattr(response.distance, head) is not None]
        names = [head_name(language, head) for head in present]
        lines = np.stack([getattr(response.distance, head) for head in present])
        here = distance_from(response.centre, attention)
        now, kind = np.array([getattr(here, head)[0] for head in present]), "distance"
    top = 1.0 if kind == "kernel" else _top(lines)
    knob = STIMULI[stimulus]
    keys = present if kind == "distance" else [None] * len(names)
    sentence = _what_moves(language, stimulus, kind, names, values, lines)
    shown = {"layer": clean_name(layer), "names": join_list(language, names)}
    return {
        "lines": [
            {
                "name": name,
                "head": head,
                "values": json_numbers(line),
                "now": json_number(number),
                "reading": f"{json_number(number):.2f}",
            }
            for name, head, line, number in zip(names, keys, lines, now, strict=True)
        ],
        "values": json_numbers(values),
        "low": knob.low,
        "high": knob.high,
        "value": json_number(value),
        "joined": knob.ordered,
        "top": top,
        "ticks": [f"{number:g}" for number in (0, top / 2, top)],
        "title": say(language, f"response.title_{kind}", **shown),
        "alt": join_sentences(language, [say(language, f"response.alt_{kind}", **shown), sentence]),
        "sentence": sentence,
        "note": join_sentences(
            language,
            [
                say(language, "response.points", count=len(values)),
                say(language, "response.joined" if knob.ordered else "response.not_joined"),
                say(language, f"response.about_{kind}"),
            ],
        ),
    }


def knob_text(language: str, stimulus: str, value: float) -> str:
    """A value of the knob of ``stimulus``, with its unit."""
    return say(language, f"response.value_{stimulus}", value=f"{value:g}")


def _top(lines: np.ndarray) -> float:
    return round_up(max(float(np.nan_to_num(lines).max()), LEAST_END))


def _what_moves(
    language: str, stimulus: str, kind: str, names: list[str], values: np.ndarray, lines: np.ndarray
) -> str:
    """A sentence on the line that moves most, with its extremes and where they are."""
    lines = np.nan_to_num(lines)
    if kind == "distance":
        most = int(lines.mean(axis=1).argmax())
        if lines.max() < SAME:
            return say(language, "response.still")
        at = int(lines[most].argmax())
        return say(
            language,
            "response.moves_distance",
            head=names[most],
            mean=f"{lines[most].mean():.2f}",
            high=f"{lines[most, at]:.2f}",
            at=knob_text(language, stimulus, values[at]),
        )
    most = int(np.ptp(lines, axis=1).argmax())
    low, high = int(lines[most].argmin()), int(lines[most].argmax())
    if lines[most, high] - lines[most, low] < SAME:
        return say(language, "response.still")
    leader = int(lines[:, low].argmax())
    told = {
        f"{prefix}{name}": text
        for name, at in (("first", min(low, high)), ("second", max(low, high)))
        for prefix, text in (
            ("", f"{lines[most, at]:.2f}"),
            ("at_", knob_text(language, stimulus, values[at])),
        )
    }
    if leader == most:
        return say(language, "response.moves", name=names[most], **told)
    share = f"{lines[leader, low]:.2f}"
    return say(language, "response.moves_other", name=names[most], other=names[leader], share=share, **told)
