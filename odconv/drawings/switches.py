"""What each head's attention is replaced by, and what that does, as data for ``switches.js``; and the map of effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from odconv.attention import HEADS
from odconv.drawings.colours import DIVERGING
from odconv.drawings.describe import SAME, describe_absence, head_name, join_sentences
from odconv.drawings.differences import round_up
from odconv.drawings.names import clean_name, first_synonym
from odconv.drawings.numbers import json_number, signed_text
from odconv.explain import softmax
from odconv.switches import RELATIVES, Cell, Choice, Effect, Switches
from odconv.words import say, texts

LEAST_SPAN = 1.0  # of a logit, so that hardly any effect looks like hardly any
Place = tuple[str, str]  # as in ``glance``


def switches_data(
    language: str,
    switches: Switches,
    offered: Sequence[Choice],
    present: Sequence[str],
    layer: str,
    effects: Mapping[str, Effect],
    relatives: Mapping[str, Effect],
    off: Choice,
    trained: np.ndarray,
    classes: Sequence[str],
    values: Mapping[str, Any],
) -> dict[str, Any]:
    """The data of ``switches.js``: a row for each head, one for all switches together, and one for each relative.

    Args:
        language: one of ``odconv.words.LANGUAGES``; all texts in the data are in it.
        switches: what is chosen.
        offered: the choices that there are here.
        present: the heads that the network, or the one layer, has.
        layer: the one that is looked at, in which entries can be set by hand.
        effects: of each of these heads' switches alone, and under "all" of all together.
        relatives: some of ``RELATIVES`` -> effect.
        off: what stands for a head that is off in a relative.
        trained: (classes,), the logits of the network as trained.
        classes: names in the order of the logits.
        values: of placeholders in the texts on choices: pictures, seed, donor.
    """
    best = int(trained.argmax())
    name, was = first_synonym(classes[best]), float(softmax(trained)[best])
    known = {"layer": clean_name(layer), **values}
    span = _span([*effects.values(), *relatives.values()])
    rows = [
        {
            "head": head,
            "name": head_name(language, head),
            "choice": getattr(switches.choices, head),
            "absent": None if head in present else describe_absence(language, head),
            "label": say(language, "switches.instead", head=head_name(language, head)),
            "effect": _effect_data(language, effects[head], was) if head in present else None,
        }
        for head in HEADS
    ]
    used = [choice for choice in offered if choice in switches.choices and choice != "learned"]
    return {
        "rows": rows,
        "total": _effect_data(language, effects["all"], was),
        "relatives": [
            {
                "id": relative,
                "name": say(language, f"switches.relative_{relative}"),
                "what": say(language, f"switches.relative_{relative}_on"),
                "effect": _effect_data(language, relatives[relative], was),
            }
            for relative in RELATIVES
            if relative in relatives
        ],
        "options": [{"value": choice, "text": say(language, f"switches.{choice}", **known)} for choice in offered],
        "span": span,
        "meanings": [
            {
                "name": say(language, f"switches.{choice}", **known),
                "text": say(language, f"switches.{choice}_help", **known),
            }
            for choice in used
        ],
        "sentence": describe_switches(language, switches, effects, present, trained, classes),
        "off": say(language, f"switches.off_{off}", **known),
        "words": {
            key: texts(language)[f"switches.{key}"] for key in ("together", "logit", "probability", "head", "in_place")
        }
        | {
            "relatives": say(language, "switches.relatives"),
            "scale": say(language, "switches.scale", name=name, span=f"{span:g}"),
        },
    }


def _span(effects: Sequence[Effect]) -> float:
    sizes = [abs(effect.logit) for effect in effects if np.isfinite(effect.logit)]
    return round_up(max([LEAST_SPAN, *sizes]))


def _effect_data(language: str, effect: Effect, was: float) -> dict[str, Any]:
    if not (np.isfinite(effect.logit) and np.isfinite(effect.probability)):
        return {"logit": 0.0, "text": "–", "probability": "–"}
    return {
        "logit": json_number(effect.logit),
        "text": signed_text(effect.logit),
        "probability": say(language, "switches.from_to", before=f"{was:.2f}", after=f"{effect.probability:.2f}"),
    }


def describe_switches(
    language: str,
    switches: Switches,
    effects: Mapping[str, Effect],
    present: Sequence[str],
    trained: np.ndarray,
    classes: Sequence[str],
) -> str:
    """What all switches together do to the prediction, and which one alone does most; arguments as in :func:`switches_data`."""
    best, together = int(trained.argmax()), effects["all"]
    name, was = first_synonym(classes[best]), float(softmax(trained)[best])
    turned = [head for head in present if getattr(switches.choices, head) != "learned"]
    if not turned:
        return say(language, "switches.as_trained", name=name, was=f"{was:.2f}")
    key = "switches.same_first" if together.first == best else "switches.other_first"
    sentences = [
        say(
            language,
            key,
            name=name,
            was=f"{was:.2f}",
            now=f"{together.probability:.2f}",
            first=first_synonym(classes[together.first]),
        )
    ]
    if len(turned) > 1:
        least = min(turned, key=lambda head: effects[head].probability)
        lost = effects[least].probability < was
        sentences.append(
            say(
                language,
                "switches.most" if lost else "switches.none_costs",
                head=head_name(language, least),
                after=f"{effects[least].probability:.2f}",
            )
        )
    if together.logit > 0 and together.probability < was:
        sentences.append(say(language, "switches.logit_rose"))
    return join_sentences(language, sentences)


def effects_data(
    language: str,
    cells: Sequence[Cell],
    effects: Mapping[Cell, Effect],
    places: Mapping[str, Place],
    selected: Cell | None,
    trained: np.ndarray,
    classes: Sequence[str],
    choice: str,
) -> dict[str, Any]:
    """The data of ``effects.js``: layers x heads, each cell the effect of that one switch.

    Args:
        language, trained, classes: as in :func:`switches_data`.
        cells: all that there are, see ``odconv.switches.cells_of``.
        effects: of those that are known so far.
        places: name of every layer -> (stage, short label).
        selected: the cell that is chosen on the page, where one alone is.
        choice: what stands in the place of learned attention, in words.
    """
    best = int(trained.argmax())
    was, span = float(softmax(trained)[best]), _span(list(effects.values()))
    names = list(dict.fromkeys(name for name, _ in cells))
    return {
        "layers": [
            {
                "name": name,
                "stage": clean_name(places[name][0]),
                "label": clean_name(places[name][1]),
                "cells": [_cell_data(language, (name, head), (name, head) in cells, effects, was) for head in HEADS],
            }
            for name in names
        ],
        "selected": None if selected is None else {"layer": selected[0], "head": selected[1]},
        "span": span,
        "tones": list(DIVERGING),
        "alt": say(language, "switches.map_alt", count=len(names)),
        "sentence": describe_map(language, effects, was, first_synonym(classes[best]))
        if len(effects) == len(cells)
        else "",
        "note": say(language, "switches.map_note", name=first_synonym(classes[best]), choice=choice),
        "words": {
            "heads": {head: head_name(language, head) for head in HEADS},
            "no_head": say(language, "glance.no_head"),
            "below": say(language, "switches.lower"),
            "above": say(language, "switches.higher"),
        },
    }


def _cell_data(
    language: str, cell: Cell, there: bool, effects: Mapping[Cell, Effect], was: float
) -> dict[str, Any] | None:
    """None where the layer has no such head; without a value where its effect is not known yet."""
    if not there:
        return None
    name, head = cell
    known = {"layer": clean_name(name), "head": head_name(language, head)}
    effect = effects.get(cell)
    if effect is None:
        return {"head": head, "value": None, "title": say(language, "switches.cell_waits", **known)}
    title = say(
        language,
        "switches.cell",
        logit=signed_text(effect.logit),
        before=f"{was:.2f}",
        after=f"{effect.probability:.2f}",
        **known,
    )
    return {"head": head, "value": json_number(effect.logit), "title": title}


def describe_map(language: str, effects: Mapping[Cell, Effect], was: float, name: str) -> str:
    """Which cell costs the class ``name`` most probability, and which head costs it most on average over its layers."""
    known = {cell: effect.probability - was for cell, effect in effects.items()}
    worst = min(known, key=known.__getitem__)
    if known[worst] >= 0:
        return say(language, "switches.map_none", name=name)
    means = {
        head: float(np.mean([change for (_, one), change in known.items() if one == head]))
        for head in HEADS
        if any(one == head for _, one in known)
    }
    head = min(means, key=means.__getitem__)
    sentences = [
        say(
            language,
            "switches.map_most",
            name=name,
            head=head_name(language, worst[1]),
            layer=clean_name(worst[0]),
            before=f"{was:.2f}",
            after=f"{effects[worst].probability:.2f}",
        )
    ]
    if means[head] < -SAME:
        average = signed_text(means[head])
        sentences.append(say(language, "switches.map_row", head=head_name(language, head), average=average))
    return join_sentences(language, sentences)
