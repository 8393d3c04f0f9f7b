"""Plotly figures from arrays, for charts that need no live redrawing. No torch and no streamlit here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go

from odconv.attention import HEADS
from odconv.drawings import COLOURS, Spread, clean_name
from odconv.words import say

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
