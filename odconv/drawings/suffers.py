"""Which head a high temperature harms most, as data for ``suffers.js``: the visitor's guess, and what the network says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from odconv.drawings.describe import head_name, join_list, join_sentences
from odconv.drawings.names import first_synonym
from odconv.drawings.numbers import json_number
from odconv.tempering import Reading
from odconv.words import say

LEVEL = 0.005  # of probability: what cannot be told apart at two digits


class Alone(NamedTuple):
    """One head alone at T = 30, the others as trained."""

    free: Reading  # with its gain as it comes
    kept: Reading | None  # with its gain kept; None for the kernel head, which has none


def suffers_data(
    language: str, trained: Reading, alone: Mapping[str, Alone], guess: str | None, kernels: int, classes: Sequence[str]
) -> dict[str, Any]:
    """The data of ``suffers.js``: the first choice's probability with each head alone at T = 30, and why.

    Args:
        language: one of ``odconv.words.LANGUAGES``; all texts in the data are in it.
        trained: the network as trained.
        alone: head -> its readings, for the heads that the network has.
        guess: one of these heads; None where nobody was asked.
        kernels: K of the network.
        classes: names in the order of the logits.
    """
    best = trained.first_choice
    name = first_synonym(classes[best])
    was = trained.probability(best)
    rows = [
        {
            "head": head,
            "name": head_name(language, head),
            "probability": json_number(readings.free.probability(best)),
            "kept": None if readings.kept is None else json_number(readings.kept.probability(best)),
        }
        for head, readings in alone.items()
    ]
    listed = join_list(language, (_describe_row(language, row) for row in rows))
    return {
        "rows": rows,
        "trained": json_number(was),
        "guess": guess,
        "sentence": describe_answer(language, trained, alone, guess, kernels, name),
        "note": say(language, "temper.answer_note", name=name, trained=f"{was:.2f}"),
        "alt": say(language, "temper.answer_alt", name=name, heads=listed),
        "words": {"gain_kept": say(language, "temper.gain_kept")},
    }


def _describe_row(language: str, row: Mapping[str, Any]) -> str:
    if row["kept"] is None:
        return say(language, "temper.answer_alt_kernel", head=row["name"], hot=f"{row['probability']:.2f}")
    return say(
        language,
        "temper.answer_alt_head",
        head=row["name"],
        hot=f"{row['probability']:.2f}",
        kept=f"{row['kept']:.2f}",
    )


def describe_answer(
    language: str, trained: Reading, alone: Mapping[str, Alone], guess: str | None, kernels: int, name: str
) -> str:
    """Which head suffers most, whether that is the guess, and why; the arguments as in :func:`suffers_data`."""
    best = trained.first_choice
    hot = {head: readings.free.probability(best) for head, readings in alone.items()}
    was, worst = trained.probability(best), min(hot, key=hot.__getitem__)
    values = {"worst": head_name(language, worst), "name": name, "trained": f"{was:.2f}", "hot": f"{hot[worst]:.2f}"}
    if hot[worst] >= was:
        return say(language, "temper.none_falls", **values)
    if guess is None:
        verdict = ""
    elif guess == worst:
        verdict = say(language, "temper.answer_right", **values)
    elif hot[guess] - hot[worst] < LEVEL:
        verdict = say(language, "temper.answer_level", guess=head_name(language, guess), **values)
    else:
        verdict = say(language, "temper.answer_wrong", guess=head_name(language, guess), **values)
    sentences = [*filter(None, [verdict]), say(language, "temper.falls", **values)]
    return join_sentences(
        language, [*sentences, *_why(language, trained, alone[worst], worst, was - hot[worst], kernels, name)]
    )


def _why(language: str, trained: Reading, worst: Alone, head: str, loss: float, kernels: int, name: str) -> list[str]:
    if worst.kept is None:
        return [
            say(
                language,
                "temper.why_kernel",
                effective=f"{trained.mean_effective:.2f}",
                hot_effective=f"{worst.free.mean_effective:.2f}",
                total=kernels,
            )
        ]
    kept = worst.kept.probability(trained.first_choice)
    regained = kept - worst.free.probability(trained.first_choice)
    sentences = [
        say(
            language,
            "temper.why_gates",
            mean=f"{trained.mean_gate(head):.2f}",
            hot_mean=f"{worst.free.mean_gate(head):.2f}",
            kept=f"{kept:.2f}",
            name=name,
        ),
        say(language, "temper.why_scale" if regained >= loss / 2 else "temper.why_pattern"),
    ]
    return [*sentences, say(language, "temper.kernel_safe")] if trained.effective else sentences
