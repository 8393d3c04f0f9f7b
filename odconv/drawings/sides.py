"""Two passes side by side, as data for ``sides.js``: what each network says, how far they differ, and one layer in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from odconv.attention import HEADS, Heads
from odconv.comparison import Attention, Largest, find_largest, mean_sizes, subtract, subtract_all, why_not
from odconv.drawings.colours import DIVERGING
from odconv.drawings.describe import (
    SAME,
    describe_absence,
    describe_head,
    difference_statistics_text,
    head_name,
    join_list,
    join_sentences,
)
from odconv.drawings.differences import LEAST_END, round_up, scale_end
from odconv.drawings.names import clean_name, first_synonym
from odconv.drawings.numbers import json_number, json_numbers
from odconv.explain import Explanation, effective_kernels
from odconv.words import say, texts

TEMPLATES = ("layer.tap", "layer.kernel")  # keys of the texts that sides.js fills itself
Place = tuple[str, str]  # as in ``glance``


@dataclass(frozen=True)
class Side:
    """One side: a picture under some settings in a network."""

    record: Explanation  # of the picture, N = 1
    classes: Sequence[str]  # names in the order of the logits
    layer: str | None  # the chosen one; None in a static network
    network: str  # names it

    @property
    def attention(self) -> Attention | None:
        """The chosen layer's."""
        return None if self.layer is None else self.record.layers[self.layer].attention

    @property
    def first(self) -> tuple[str, float]:
        """The most likely class and its probability."""
        shares = self.record.probabilities[0]
        return first_synonym(self.classes[int(shares.argmax())]), float(shares.max())


# --- the predictions ---------------------------------------------------------------------------------------------------


def side_data(
    language: str, letter: str, own: Side, other: Side, picture: Mapping[str, str], caption: str, most: int = 3
) -> dict[str, Any]:
    """One side: its picture, and its most likely classes with the other side's probabilities of them.

    Args:
        language: one of ``odconv.words.LANGUAGES``; all texts in the data are in it.
        letter: what the other side is called, "A" or "B".
        picture: {thumbnail: data URI, alt, title}.
        caption: the network and its settings.
        most: how many classes, at least 1.
    """
    compared = list(own.classes) == list(other.classes)
    prediction = _prediction(language, own, other.record if compared else None, most) | {
        "note": say(language, "sides.ghost" if compared else "sides.other_classes", side=letter),
        "compared": True,
        "words": {"as_trained": say(language, "sides.on", side=letter)},
    }
    shown = dict(picture) | {"title": clean_name(picture["title"])}
    return {"picture": shown, "caption": caption, "prediction": prediction}


def network_data(language: str, own: Side, name: str, caption: str, most: int = 3) -> dict[str, Any]:
    """What one of several networks says to a picture, which stands elsewhere; ``name`` and ``caption``: of the network."""
    prediction = _prediction(language, own, None, most) | {"note": "", "compared": False, "words": {"as_trained": ""}}
    return {
        "picture": {"thumbnail": "", "alt": "", "title": clean_name(name)},
        "caption": caption,
        "prediction": prediction,
    }


def _prediction(language: str, own: Side, other: Explanation | None, most: int) -> dict[str, Any]:
    shares = own.record.probabilities[0]
    others = None if other is None else other.probabilities[0]
    rows = [
        {
            "name": first_synonym(own.classes[i]),
            "probability": json_number(shares[i]),
            "ghost": None if others is None else json_number(others[i]),
        }
        for i in map(int, np.argsort(-shares, kind="stable")[:most])
    ]
    listed = join_list(language, (f"{row['name']} {row['probability']:.2f}" for row in rows))
    return {"rows": rows, "alt": say(language, "prediction.alt", classes=listed)}


def describe_agreement(language: str, networks: Sequence[Side]) -> str:
    """Whether networks say the same first, in a sentence."""
    firsts = list(dict.fromkeys(one.first[0] for one in networks))
    if len(firsts) == 1:
        return say(language, "sides.agree", name=firsts[0])
    return say(language, "sides.disagree", names=join_list(language, firsts))


# --- how far they differ -----------------------------------------------------------------------------------------------


def describe_comparison(language: str, a: Side, b: Side) -> str:
    """What differs most, and what both networks say, in two sentences; why attention cannot be compared, where it cannot."""
    if not a.record.layers or not b.record.layers:
        static = [letter for letter, side in (("A", a), ("B", b)) if not side.record.layers]
        first = say(language, "sides.static" if len(static) == 1 else "sides.both_static", side=static[0])
    else:
        first = _describe_largest(language, find_largest(a.record, b.record))
    return join_sentences(language, [first, describe_predictions(language, a, b)])


def _describe_largest(language: str, largest: Largest | None) -> str:
    if largest is None:
        return say(language, "sides.nothing_shared")
    if largest.size < SAME:
        return say(language, "sides.nothing", size=f"{SAME:g}")
    return say(
        language,
        "sides.most",
        head=head_name(language, largest.head),
        layer=clean_name(largest.layer),
        size=f"{largest.size:.2f}",
        entry=_entry_text(language, largest),
        left=f"{largest.left:.2f}",
        right=f"{largest.right:.2f}",
    )


def _entry_text(language: str, largest: Largest) -> str:
    if largest.head == "spatial":
        return say(language, "sides.tap", row=largest.entry[0] + 1, column=largest.entry[1] + 1)
    if largest.head == "kernel":
        return say(language, "sides.kernel", kernel=largest.entry[0] + 1)
    return say(language, "sides.channel", channel=largest.entry[0])


def describe_predictions(language: str, a: Side, b: Side) -> str:
    """What each network says first, in a sentence."""
    if not (np.isfinite(a.record.logits).all() and np.isfinite(b.record.logits).all()):
        return say(language, "page.beyond_bounds")
    (ours, left), (theirs, right) = a.first, b.first
    key = "sides.same_first" if ours == theirs else "sides.other_first"
    return say(language, key, ours=ours, theirs=theirs, left=f"{left:.2f}", right=f"{right:.2f}")


def differences_data(language: str, a: Side, b: Side, places: Mapping[str, Place]) -> dict[str, Any]:
    """Mean absolute difference of every head in every layer that both networks have, in the order of side A.

    ``places``: name of every layer -> (stage, short label).
    """
    differences = subtract_all(a.record, b.record)
    sizes = {name: mean_sizes(difference) for name, difference in differences.items()}
    largest = max((size for heads in sizes.values() for size in heads if size is not None), default=0.0)
    top = round_up(max(largest, LEAST_END))
    columns = []
    for name, heads in sizes.items():
        described = [
            say(language, "sides.size", head=head_name(language, head), size="–" if size is None else f"{size:.3f}")
            for head, size in zip(HEADS, heads, strict=True)
        ]
        columns.append(
            {
                "name": name,
                "stage": clean_name(places[name][0]),
                "alt": say(
                    language, "glance.layer_alt", layer=clean_name(name), description=join_list(language, described)
                ),
                "sizes": [None if size is None else json_number(size) for size in heads],
            }
        )
    return {
        "layers": columns,
        "selected": a.layer if a.layer == b.layer else "",
        "top": top,
        "alt": say(language, "sides.map_alt", count=len(columns)),
        "title": say(language, "sides.map_title"),
        "scale": [f"{number:g}" for number in (0, top)],
        "words": {
            "heads": {head: head_name(language, head) for head in HEADS},
            "no_head": say(language, "glance.no_head"),
        },
        "note": say(language, "sides.map_note"),
    }


# --- one layer ---------------------------------------------------------------------------------------------------------


def heads_data(language: str, a: Side, b: Side) -> dict[str, Any]:
    """The chosen layer of each side, and B minus A where they can be compared, head by head."""
    left, right = a.attention, b.attention
    none: Attention = Heads(None, None, None, None)
    differences = list(subtract_all(a.record, b.record).values())
    own = subtract(left or none, right or none)
    end = scale_end([*differences, own])
    gates = [head.max() for side in (left, right) if side for head in side[:3] if head is not None]
    top = max([1.0, *map(float, np.nan_to_num(gates))])  # gates whose gain is kept can exceed 1
    return {
        "titles": [_side_title(language, "A", a), _side_title(language, "B", b), say(language, "sides.difference")],
        "rows": [
            {
                "head": head,
                "name": head_name(language, head),
                "cells": [
                    _cell(language, head, "A", left),
                    _cell(language, head, "B", right),
                    _difference_cell(language, head, left, right, own),
                ],
            }
            for head in HEADS
        ],
        "span": end,
        "top": top,
        "tones": list(DIVERGING),
        "compared": any(head is not None for head in own),
        "note": join_sentences(
            language, [say(language, "sides.scale", top=f"{top:.3g}"), *_notes(language, a, b, own, end)]
        ),
        "words": {key.partition(".")[2]: texts(language)[key] for key in TEMPLATES}
        | {key: say(language, f"sides.{key}") for key in ("below", "above")},
    }


def _notes(language: str, a: Side, b: Side, difference: Attention, end: float) -> list[str]:
    """The scale of differences, where there are some, and that an entry of the same number can be another thing on B."""
    if all(head is None for head in difference):
        return []
    notes = [say(language, "sides.difference_scale", end=f"{end:g}"), say(language, "glance.fitted")]
    if a.layer != b.layer:
        return [*notes, say(language, "sides.two_layers")]
    return [*notes, say(language, "sides.two_networks")] if a.network != b.network else notes


def _side_title(language: str, letter: str, side: Side) -> str:
    if side.layer is None:
        return letter
    return say(language, "sides.side_title", side=letter, layer=clean_name(side.layer))


def _cell(language: str, head: str, letter: str, attention: Attention | None) -> dict[str, Any]:
    if attention is None:
        return {"absent": say(language, "sides.no_attention")}
    values = getattr(attention, head)
    if values is None:
        return {"absent": describe_absence(language, head)}
    one = values[0]
    if head == "kernel":
        text = say(language, "sides.effective", effective=f"{effective_kernels(one):.1f}", total=len(one))
    else:
        low, mean, high = (f"{number:.2f}" for number in (one.min(), one.mean(), one.max()))
        text = say(language, "sides.range", low=low, mean=mean, high=high)
    alt = say(language, "compare.title_and_description", title=letter, description=describe_head(language, head, one))
    return {"values": json_numbers(one), "statistics": text, "alt": alt}


def _difference_cell(
    language: str, head: str, left: Attention | None, right: Attention | None, difference: Attention
) -> dict[str, Any]:
    values = getattr(difference, head)
    if values is None:
        if left is None or right is None:
            return {"absent": say(language, "sides.no_attention_beside")}
        why = why_not(left, right, head)
        counts = {} if why != "shapes" else {"left": getattr(left, head).size, "right": getattr(right, head).size}
        return {"absent": say(language, f"sides.why_{why}", **counts)}
    one = values[0]
    return {
        "values": json_numbers(one),
        "statistics": say(language, "sides.distance", distance=f"{np.abs(one).mean():.2f}"),
        "alt": say(
            language,
            "compare.title_and_description",
            title=f"{say(language, 'sides.difference')}, {head_name(language, head)}",
            description=difference_statistics_text(language, one),
        ),
    }
