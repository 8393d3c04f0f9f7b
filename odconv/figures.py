"""Plotly figures from arrays, for charts that need no live redrawing. No torch and no streamlit here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go

from odconv.attention import HEADS
from odconv.drawings import COLOURS, Spread, clean_name, kind_text
from odconv.results import Comparison, Line
from odconv.words import say

QUIET, MARKED = "#888888", "#D55E00"  # a static network, and ODConv: neither is a head's colour
LOG_TICKS = [step * 10**power for power in range(6) for step in (1, 3)]
SYMBOLS = dict(zip(HEADS, ("circle", "square", "diamond", "triangle-up"), strict=True))  # told apart without colour


def plotly_text(name: str) -> str:
    """``name`` escaped for Plotly, which reads titles, ticks and hover texts as HTML, links included."""
    return escape(clean_name(name), quote=False)


def spread_by_depth(
    language: str,
    layer_names: Sequence[str],
    spread: Spread,
    trained: Spread | None,
    selected: str,
    typical: Spread | None = None,
    text_size: int = 12,
) -> go.Figure:
    """How far pictures differ, by depth: one line per head over the layers.

    Args:
        language: one of ``odconv.words.LANGUAGES``.
        layer_names: the L layers in execution order.
        spread: head -> L values, each the mean over entries of the standard deviation over pictures; None: no such head.
        trained: the same for the network as trained, drawn as dashed lines; ``None``: no such lines.
        selected: name of the layer to mark with a dotted line.
        typical: values to subtract from both, shaped like ``spread``; ``None``: nothing.
        text_size: of all texts, px; the figure grows with it.
    """

    def heights(values: Sequence[float | None], head: str) -> np.ndarray:
        numbers = np.array(values, dtype=np.float32)  # None becomes NaN, a gap
        return numbers if typical is None else numbers - np.array(typical[head], dtype=np.float32)

    present = [head for head in HEADS if any(value is not None for value in spread[head])]
    ticks = [plotly_text(name) for name in layer_names]
    hover = f"%{{x}}: %{{y:{'.3f' if typical is None else '+.3f'}}}"
    figure = go.Figure(
        [
            go.Scatter(
                x=ticks,
                y=heights(spread[head], head),
                name=say(language, f"head.{head}"),
                mode="lines+markers",
                line={"color": COLOURS[head], "width": 2},
                marker={"symbol": SYMBOLS[head], "size": 8},
                cliponaxis=False,
                hovertemplate=hover,
            )
            for head in present
        ]
    )
    if selected in layer_names:
        position = list(layer_names).index(selected)
        figure.add_vline(x=position, line={"color": "#888888", "dash": "dot", "width": 1}, layer="below")
    for head, values in ({head: trained[head] for head in present} if trained else {}).items():
        figure.add_scatter(
            x=ticks,
            y=heights(values, head),
            name=say(language, "compare.spread_trained", head=say(language, f"head.{head}")),
            mode="lines",
            line={"color": COLOURS[head], "width": 1.5, "dash": "dash"},
            hovertemplate=hover,
            showlegend=False,
        )
    font = {"size": text_size}
    figure.update_layout(
        height=round(320 * text_size / 12),
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        xaxis={"type": "category", "tickfont": font},  # layers named "1" and "2" are names, too
        yaxis={
            "tickfont": font,
            "title": {
                "text": say(language, "compare.spread_axis" if typical is None else "compare.spread_axis_typical"),
                "font": font,
            },
            "rangemode": "tozero" if typical is None else "normal",
            "zeroline": True,
        },
        hovermode="x unified",
        hoverlabel={"font": font},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": font},
    )
    return figure


def accuracy_by_cost(language: str, lines: Sequence[Line], cost: str, text_size: int = 12) -> go.Figure:
    """Published top-1 accuracy against cost: a line from each static network to its ODConv networks.

    Args:
        language: one of ``odconv.words.LANGUAGES``.
        lines: from ``odconv.results.imagenet_lines``.
        cost: one of ``odconv.results.COSTS``, which names the axis.
        text_size: of all texts, px; the figure grows with it.
    """
    figure = go.Figure(
        [
            go.Scatter(
                x=[point.cost for point in line.points],
                y=[point.accuracy for point in line.points],
                mode="lines",
                line={"color": QUIET, "width": 1},
                hoverinfo="skip",
                showlegend=False,
            )
            for line in lines
        ]
    )
    font = {"size": text_size}
    kinds = {
        "static": (lambda kernels: kernels is None, QUIET, "circle-open"),
        "single": (lambda kernels: kernels == 1, MARKED, "circle"),
        "several": (lambda kernels: kernels is not None and kernels > 1, MARKED, "diamond"),
    }
    for kind, (belongs, colour, symbol) in kinds.items():
        some = [(line.name, point) for line in lines for point in line.points if belongs(point.kernels)]
        figure.add_scatter(
            x=[point.cost for _, point in some],
            y=[point.accuracy for _, point in some],
            name=say(language, f"results.legend_{kind}"),
            mode="markers+text" if kind == "static" else "markers",
            text=[plotly_text(name) for name, _ in some] if kind == "static" else None,
            textposition="bottom right",
            textfont=font,
            marker={"color": colour, "symbol": symbol, "size": 0.75 * text_size, "line": {"width": 1.5}},
            cliponaxis=False,
            hovertext=[
                say(
                    language,
                    f"results.point_{cost}",
                    name=plotly_text(name),
                    kind=kind_text(language, point.kernels),
                    accuracy=f"{point.accuracy:.2f}",
                    cost=f"{point.cost:,g}",
                )
                for name, point in some
            ],
            hoverinfo="text",
        )
    costs = [point.cost for line in lines for point in line.points]
    ends = [math.log10(min(costs) / 1.2), math.log10(max(costs) * 3.5)]  # a name stands on the right of its network
    figure.update_layout(
        height=round(340 * text_size / 12),
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        xaxis={
            "type": "log",
            "range": ends,
            "tickvals": [value for value in LOG_TICKS if 10 ** ends[0] <= value <= 10 ** ends[1]],
            "tickformat": ",",
            "tickangle": 0,
            "tickfont": font,
            "title": {"text": say(language, f"results.axis_{cost}"), "font": font},
        },
        yaxis={"tickfont": font, "title": {"text": say(language, "results.axis_top1"), "font": font}},
        hoverlabel={"font": font},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": font},
    )
    return figure


def paired_differences(language: str, rows: Mapping[str, Comparison], text_size: int = 12) -> go.Figure:
    """Differences to a twin, in points: a dot for each pair, and their mean with its interval; a row for each comparison.

    The scale is fitted to what is shown, and 0 is in it. ``text_size``: of all texts, px; the figure grows with it.
    """
    comparisons = list(rows.values())
    font = {"size": text_size}
    figure = go.Figure()
    for row, one in rows.items():
        figure.add_scatter(
            x=one.differences,
            y=[row] * len(one.differences),
            mode="markers",
            marker={"color": QUIET, "symbol": "circle-open", "size": 2 / 3 * text_size, "line": {"width": 1.5}},
            hovertemplate="%{x:+.2f}<extra></extra>",
        )
    figure.add_scatter(
        x=[one.difference for one in comparisons],
        y=list(rows),
        mode="markers",
        marker={"color": MARKED, "symbol": "diamond", "size": 5 / 6 * text_size},
        error_x={
            "type": "data",
            "array": [one.high - one.difference for one in comparisons],
            "arrayminus": [one.difference - one.low for one in comparisons],
            "color": MARKED,
            "thickness": 2.5,
            "width": 7,
        },
        hovertext=[f"{one.difference:+.2f} ({one.low:+.2f}, {one.high:+.2f})" for one in comparisons],
        hoverinfo="text",
    )
    figure.add_vline(x=0, line={"color": QUIET, "width": 1.5}, layer="below")
    reach = [0.0, *(value for one in comparisons for value in (*one.differences, one.low, one.high))]
    room = 0.06 * (max(reach) - min(reach))
    figure.update_layout(
        height=round((77 + 24 * len(rows)) * text_size / 12),
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        showlegend=False,
        xaxis={
            "range": [min(reach) - room, max(reach) + room],
            "tickfont": font,
            "tickformat": "~g",
            "zeroline": False,
            "title": {"text": say(language, "results.axis_difference"), "font": font},
        },
        yaxis={"type": "category", "autorange": "reversed", "tickfont": font},
        hoverlabel={"font": font},
    )
    return figure
