"""Numbers of whole passes over temperatures, as data for ``curves.js``, and what they say of scale and uniformity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from odconv.attention import Settings
from odconv.drawings.describe import head_name, join_list, join_sentences
from odconv.drawings.names import clean_name, first_synonym
from odconv.drawings.numbers import json_number
from odconv.tempering import FIRST_TEMPERATURE, GATES, Reading
from odconv.words import say, texts

BEARABLE = 0.05  # of probability: a smaller loss is none


class Sweep(NamedTuple):
    """Readings of one picture over temperatures, with one temperature on all heads. It holds temperature 1 and 30."""

    free: Mapping[float, Reading]  # temperature -> reading, with the gain as it comes
    kept: Mapping[float, Reading]  # the same temperatures, with the gain kept

    @property
    def trained(self) -> Reading:
        """The network as trained."""
        return self.free[1.0]


def curves_data(language: str, sweep: Sweep, layer: str, classes: Sequence[str], settings: Settings) -> dict[str, Any]:
    """The data of ``curves.js``: probability of the first choice as trained, effective kernels and mean gates.

    Args:
        language: one of ``odconv.words.LANGUAGES``; all texts in the data are in it.
        sweep: of one picture.
        layer: whose effective kernels are drawn beside the mean over layers.
        classes: names in the order of the logits.
        settings: what is in force; its temperatures are marked until the page's dials are drawn.
    """
    best = sweep.trained.first_choice
    name = first_synonym(classes[best])
    charts = [
        _chart(
            language,
            say(language, "temper.probability_curve", name=name),
            sweep,
            [
                _line(
                    say(language, "temper.as_it_comes"),
                    "ink",
                    False,
                    [r.probability(best) for r in sweep.free.values()],
                ),
                _line(
                    say(language, "temper.gain_kept"), "ink", True, [r.probability(best) for r in sweep.kept.values()]
                ),
            ],
            (0.0, 1.0),
        ),
        _effective_chart(language, sweep, layer),
        _chart(
            language,
            say(language, "temper.gate_curve"),
            sweep,
            [
                _line(head_name(language, head), head, False, [_number(r.mean_gate(head)) for r in sweep.free.values()])
                for head in GATES
                if sweep.trained.mean_gate(head) is not None
            ],
            (0.0, 1.0),
            (0.5, ""),
        ),
    ]
    return _data(language, sweep, charts, settings)


def shrinking_data(
    language: str, sweep: Sweep, layer: str, classes: Sequence[str], settings: Settings
) -> dict[str, Any]:
    """The data of ``curves.js`` for the norm of one layer's kernel, with sentences on what it loses; arguments as above."""
    count = len(sweep.trained.gates[layer])
    free, kept = sweep.free.values(), sweep.kept.values()
    norm = sweep.trained.norms[layer] or 1.0
    shares = [[r.passed(layer) for r in readings] for readings in (free, kept)]
    norms = [[r.norms[layer] / norm for r in readings] for readings in (free, kept)]
    names = [say(language, "temper.as_it_comes"), say(language, "temper.gain_kept")]
    limit = say(language, "temper.limit", limit=f"1/{2**count}")
    charts = [
        _chart(language, say(language, f"temper.{key}"), sweep, lines, (0.0, _end(lines, guide[0])), guide)
        for key, values, guide in (
            ("passed_curve", shares, (0.5**count, limit)),
            ("norm_curve", norms, (1.0, "")),
        )
        for lines in [[_line(names[i], "ink", bool(i), values[i]) for i in range(2)]]
    ]
    return _data(language, sweep, charts, settings) | {"sentence": describe_trap(language, sweep, layer, classes)}


def describe_trap(language: str, sweep: Sweep, layer: str, classes: Sequence[str]) -> str:
    """What T = 30 does to the layer's kernel and to the first choice, and whether the gain, kept, mends it."""
    trained, hot, kept = sweep.trained, sweep.free[FIRST_TEMPERATURE], sweep.kept[FIRST_TEMPERATURE]
    best, norm = trained.first_choice, trained.norms[layer] or 1.0
    was, free, saved = (reading.probability(best) for reading in (trained, hot, kept))
    return join_sentences(
        language,
        [
            say(
                language,
                "temper.trap_gates",
                layer=clean_name(layer),
                trained=f"{trained.passed(layer):.3f}",
                hot=f"{hot.passed(layer):.3f}",
                limit=f"1/{2 ** len(trained.gates[layer])}",
            ),
            say(
                language,
                "temper.trap_norm",
                ratio=f"{hot.norms[layer] / norm:.2f}",
                kept_ratio=f"{kept.norms[layer] / norm:.2f}",
            ),
            say(
                language,
                "temper.trap_probability",
                name=first_synonym(classes[best]),
                trained=f"{was:.2f}",
                hot=f"{free:.2f}",
                kept=f"{saved:.2f}",
            ),
            say(language, f"temper.trap_{_verdict(was - free, was - saved)}"),
        ],
    )


def _verdict(loss: float, loss_kept: float) -> str:
    """What keeping the gain does about a loss of probability: "none", "scale", "part" or "pattern"."""
    if max(loss, loss_kept) < BEARABLE:
        return "none"
    if loss_kept <= loss / 2:
        return "scale"
    return "part" if loss_kept < loss else "pattern"


def _effective_chart(language: str, sweep: Sweep, layer: str) -> dict[str, Any]:
    title = say(language, "temper.effective_curve")
    if sweep.trained.mean_effective is None:
        return {"title": title, "absent": say(language, "temper.one_kernel")}
    readings = list(sweep.free.values())
    lines = [_line(say(language, "temper.mean_layers"), "kernel", False, [_number(r.mean_effective) for r in readings])]
    if layer in sweep.trained.effective:
        lines.append(_line(clean_name(layer), "kernel", True, [r.effective[layer] for r in readings]))
    return _chart(language, title, sweep, lines, (1.0, math.ceil(max(max(line["values"]) for line in lines))))


def _number(value: float | None) -> float:
    assert value is not None  # a head that some layer has has a mean at every temperature
    return value


def _line(name: str, colour: str, dashed: bool, values: Sequence[float]) -> dict[str, Any]:
    """``colour``: of a head, or "ink"."""
    return {"name": name, "colour": colour, "dashed": dashed, "values": [json_number(value) for value in values]}


def _end(lines: Sequence[Mapping[str, Any]], guide: float) -> float:
    """Upper end of a scale that starts at 0: a round number that the values and the guide are below."""
    largest = max(1.2 * guide, *(value for line in lines for value in line["values"]))
    step = 10.0 ** math.floor(math.log10(largest)) / 2
    return float(f"{math.ceil(largest / step - 1e-9) * step:.2g}")


def _chart(
    language: str,
    title: str,
    sweep: Sweep,
    lines: list[dict[str, Any]],
    scale: tuple[float, float],
    guide: tuple[float, str] | None = None,
) -> dict[str, Any]:
    temperatures = list(sweep.free)
    one = temperatures.index(1.0)
    described = [
        say(
            language,
            "temper.curve_line",
            name=line["name"],
            low=f"{line['values'][0]:.2f}",
            trained=f"{line['values'][one]:.2f}",
            high=f"{line['values'][-1]:.2f}",
            first=f"{temperatures[0]:g}",
            last=f"{temperatures[-1]:g}",
        )
        for line in lines
    ]
    return {
        "title": title,
        "lines": lines,
        "scale": list(scale),
        "guide": None if guide is None else {"value": guide[0], "name": guide[1]},
        "alt": say(
            language,
            "temper.curve_alt",
            title=title,
            first=f"{temperatures[0]:g}",
            last=f"{temperatures[-1]:g}",
            lines=join_list(language, described),
        ),
    }


def _data(language: str, sweep: Sweep, charts: list[dict[str, Any]], settings: Settings) -> dict[str, Any]:
    return {
        "divisors": list(settings.divisors),
        "temperatures": list(sweep.free),
        "charts": charts,
        "sentence": "",
        "words": {key: texts(language)[f"temper.{key}"] for key in ("at", "four", "mark")},
    }
