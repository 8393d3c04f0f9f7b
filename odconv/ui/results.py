"""The page on results: what the authors published on one side, what was measured here on the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import streamlit as st

from odconv import drawings, figures, results
from odconv.architecture import Architecture
from odconv.card import Card, card_beside
from odconv.checkpoint import CheckpointError, find_checkpoints
from odconv.cost import cost
from odconv.results import COSTS, Comparison, Line, Pairs
from odconv.ui import engine as engines
from odconv.ui import published, sidebar, text, view
from odconv.ui.text import language, markdown, say

PAIRS = Path(__file__).parents[2] / "assets" / "measured" / "paired.json"
CHART = {"displaylogo": False, "displayModeBar": False}


def show() -> None:
    """Draw both sides beside each other, each with its charts, sentences and tables."""
    with st.container(key="screen"):
        left, right = st.columns(2, gap="large")
    with left:
        st.subheader(say("results.published"), anchor=False)
        _show_published()
    with right:
        st.subheader(say("results.measured"), anchor=False)
        _show_pairs(pairs())
        _show_bundled()


@cache
def pairs() -> dict[tuple[str, int], Pairs]:
    """What was measured here, by the start and the width."""
    return results.read_pairs(PAIRS)


# --- as published -------------------------------------------------------------------------------------------------------


def _show_published() -> None:
    against = view.current().against
    lines = results.imagenet_lines(published.imagenet(), against)
    st.markdown(drawings.describe_published(language(), lines))
    view.bind(
        st.segmented_control,
        say("results.against"),
        key="results_against",
        value=against,
        then=lambda cost: view.change(against=cost),
        options={cost: say(f"results.against_{cost}") for cost in COSTS},
        required=True,
    )
    st.plotly_chart(
        figures.accuracy_by_cost(language(), lines, against, text.chart_size()),
        key="results_chart",
        alt=say("results.chart_alt"),
        config=CHART,
    )
    with st.container(key="results_published"):
        st.markdown(f"**{say('results.imagenet')}**")
        st.markdown(_imagenet_table(lines))
        st.markdown(f"**{say('results.coco')}**")
        st.markdown(_coco_table())
        st.caption(say("results.as_published"))


def _imagenet_table(lines: Sequence[Line]) -> str:
    """As Markdown."""
    static = {line.name: line.points[0].accuracy for line in lines}
    rows = (
        [
            _name(one.model, one.kernels),
            f"{one.parameters_m:.2f}",
            f"{one.multiply_adds_m:,g}",
            f"{one.top1:.2f}",
            "" if one.kernels is None else f"{one.top1 - static[one.model]:+.2f}",
            f"{one.top5:.2f}",
            f"[{say('results.source')}]({one.source_url})",
        ]
        for one in published.imagenet()
    )
    return _table(("network", "parameters", "multiply_adds", "top1", "gain", "top5", "source"), rows)


def _coco_table() -> str:
    """As Markdown."""
    static = {line.name: line.points[0].accuracy for line in results.coco_lines(published.coco())}
    rows = (
        [
            _name(one.name, one.kernels),
            f"{one.parameters_m:.2f}",
            f"{one.box_ap:.1f}",
            "" if one.kernels is None else f"{one.box_ap - static[one.name]:+.1f}",
            say("results.no_masks") if one.mask_ap is None else f"{one.mask_ap:.1f}",
            f"[{say('results.source')}]({one.source_url})",
        ]
        for one in published.coco()
    )
    return _table(("detector", "parameters", "box_ap", "gain", "mask_ap", "source"), rows)


def _name(static: str, kernels: int | None) -> str:
    """The name of a static network, or the K of ODConv in the one above, as Markdown."""
    return text.escape_markdown(static) if kernels is None else say("results.with_odconv", kernels=kernels)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """As Markdown; the first column holds words, the others numbers."""
    lines = [[say(f"results.column_{name}") for name in columns], [":--", *["--:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


# --- measured here ------------------------------------------------------------------------------------------------------


def _show_pairs(found: dict[tuple[str, int], Pairs]) -> None:
    by_start: dict[str, list[Pairs]] = {}
    for (start, _), one in found.items():
        by_start.setdefault(start, []).append(one)
    small = by_start["parent"][0]
    st.markdown(f"**{say('results.verdict')}**")
    count = len(small.against_twins()[0].top1)
    st.markdown(say("results.pairs", pairs=count, pictures=f"{small.measured:,}"))
    for start, runs in by_start.items():
        sentences = drawings.join_sentences(language(), (drawings.describe_pairs(language(), one) for one in runs))
        _show_chart(start, drawings.describe_start(language(), runs[0]), drawings.rows_of(language(), runs), sentences)
        if start == "parent":
            title = say("results.controls", width=small.plan["width"])
            sentences = drawings.describe_controls(language(), small)
            _show_chart("controls", title, drawings.control_rows(language(), small), sentences)
    st.markdown(drawings.describe_gates(language(), small))
    st.caption(drawings.describe_limits(language(), small))
    st.caption(say("results.still"))


def _show_chart(name: str, title: str, rows: Mapping[str, Comparison], sentences: str) -> None:
    """Draw a chart of pairs between its title and what it says."""
    st.markdown(f"**{title}**")
    figure = figures.paired_differences(language(), rows, text.chart_size())
    st.plotly_chart(figure, key=f"results_{name}", alt=sentences, config=CHART)
    st.markdown(sentences)


def _show_bundled() -> None:
    """Draw the table of the bundled networks, from what their cards say was measured."""
    with st.container(key="results_bundled"):
        st.markdown(f"**{say('results.bundled')}**")
        st.markdown(_table(("network", "parameters", "multiply_adds", "top1", "measured_on"), _bundled()))
        st.caption(say("results.bundled_text"))


def _bundled() -> Iterable[list[str]]:
    labels, known = sidebar.model_labels(), engines.architectures()
    for name, path in find_checkpoints(engines.BUNDLED).items():
        architecture = known.get(name)
        if architecture is None:
            continue
        try:
            card = card_beside(path, architecture)
        except CheckpointError:  # the model picker says why
            continue
        parameters, multiply_adds = _size(architecture, card.image_size)
        measured = _measured(card) or (say("results.unmeasured"), "")
        label = text.escape_markdown(labels[name])
        yield [label, f"{parameters / 1e6:.2f}", f"{multiply_adds / 1e6:,.1f}", *measured]


def _measured(card: Card) -> tuple[str, str] | None:
    """Accuracy with its interval, and on which pictures, as Markdown; None where the card has no sound numbers."""
    try:
        low, high = card.measured["top1_interval"]
        accuracy = say("results.accuracy", top1=f"{card.measured['top1']:.2f}", low=f"{low:.2f}", high=f"{high:.2f}")
        pictures, classes = f"{card.measured['n']:,}", len(card.measured["per_class"])
    except (KeyError, TypeError, ValueError):
        return None
    key = "results.measured_on" if classes == len(card.classes) else "results.measured_on_some"
    data = card.data.partition(":")[0]
    on = markdown(
        key, pictures=pictures, data=data, side=card.image_size, some=classes, classes=f"{len(card.classes):,}"
    )
    return text.escape_markdown(accuracy), on


@cache
def _size(architecture: Architecture, side: int) -> tuple[int, int]:
    """Parameters, and multiply-adds for one picture."""
    model = architecture.outline()
    return sum(one.numel() for one in model.parameters()), sum(one.multiply_adds for one in cost(model, side))
