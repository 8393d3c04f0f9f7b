"""What published numbers and pairs say, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from odconv.drawings.describe import join_clauses, join_list
from odconv.results import CONTROLS, Comparison, Line, Pairs, gains
from odconv.words import say


def kind_text(language: str, kernels: int | None) -> str:
    """``"static"``, ``"ODConv, K = 4"``."""
    return say(language, "results.static") if kernels is None else say(language, "results.dynamic", kernels=kernels)


def describe_published(language: str, lines: Sequence[Line]) -> str:
    """How much the authors' ODConv networks gain, in a sentence; all of them do."""
    low, high = gains(lines)
    count = sum(len(line.points) - 1 for line in lines)
    return say(language, "results.published_gain", count=count, low=f"{low:.2f}", high=f"{high:.2f}")


def describe_start(language: str, pairs: Pairs) -> str:
    """How the networks of the pairs began."""
    plan = pairs.plan
    return say(language, f"results.start_{plan['start']}", before=plan["parent_epochs"], epochs=plan["epochs"])


def rows_of(language: str, runs: Sequence[Pairs]) -> dict[str, Comparison]:
    """ODConv against its twin -> what its row in a chart is called: by K, and by width where there are several."""
    key = "results.row" if len(runs) == 1 else "results.row_width"
    return {
        say(language, key, kernels=one.kernels, width=run.plan["width"]): one
        for run in runs
        for one in run.against_twins()
    }


def control_rows(language: str, pairs: Pairs) -> dict[str, Comparison]:
    """What the same start gave otherwise -> the row in a chart, ODConv with the most kernels first."""
    *_, most = pairs.against_twins()
    return {say(language, "results.row", kernels=most.kernels): most} | {
        say(language, f"results.control_{one.arm}"): one for one in pairs.against_twins(CONTROLS)
    }


def describe_pairs(language: str, pairs: Pairs) -> str:
    """What ODConv does to the accuracy of its twin, in a sentence."""
    found = pairs.against_twins()
    return say(
        language,
        f"results.found_{pairs.plan['start']}",
        width=pairs.plan["width"],
        effects=join_clauses(language, (_describe_effect(language, one) for one in found)),
        p=join_list(language, _distinct(f"{one.sign_flip_p:.3f}" for one in found)),
        epochs=pairs.plan["epochs"],
    )


def describe_controls(language: str, pairs: Pairs) -> str:
    """What the same start gave without ODConv, with less of it, and with a teacher."""
    found = {one.arm: one for one in pairs.against_twins(CONTROLS)}
    numbers = {
        f"{arm}_{name}": f"{getattr(one, name):{'+' if one.verdict == 'open' else ''}.2f}"
        for arm, one in found.items()
        for name in ("difference", "low", "high")
    }
    return say(language, "results.found_controls", **numbers)


def _describe_effect(language: str, one: Comparison) -> str:
    """``"with K = 1 it gains 0.51 points (95 % interval 0.27 to 0.75)"``."""
    sign = -1 if one.verdict == "loss" else 1
    low, high = sorted((sign * one.low, sign * one.high))
    return say(
        language,
        f"results.effect_{one.verdict}",
        kernels=one.kernels,
        points=f"{sign * one.difference:.2f}",
        low=f"{low:.2f}",
        high=f"{high:.2f}",
    )


def describe_gates(language: str, pairs: Pairs) -> str:
    """What is lost with attention that does not fit the picture, in a sentence."""
    lost = {
        gates: join_list(
            language,
            (
                say(language, "results.points", points=f"{-one.difference:.2f}", kernels=one.kernels)
                for one in pairs.against_own(gates)
            ),
        )
        for gates in ("frozen", "shuffled")
    }
    return say(language, "results.found_gates", **lost)


def describe_limits(language: str, pairs: Pairs) -> str:
    """Under what conditions this was found, and what ODConv costs there."""
    found = pairs.against_twins()
    costs = (
        say(
            language,
            "results.cost",
            kernels=one.kernels,
            parameters=f"{one.parameters / pairs.static['parameters']:.2f}",
            multiply_adds=f"{one.multiply_adds / pairs.static['multiply_adds']:.2f}",
        )
        for one in found
    )
    return say(
        language,
        "results.limits",
        width=pairs.plan["width"],
        side=pairs.plan["side"],
        pairs=len(found[0].top1),
        device=pairs.device,
        precision=pairs.precision,
        torch=pairs.versions["torch"],
        costs=join_clauses(language, costs),
    )


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
