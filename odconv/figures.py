"""Arrays -> Plotly figures, for charts that need no live redrawing. No torch and no streamlit here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from odconv.attention import HEADS
from odconv.drawings import COLOURS

SYMBOLS = dict(zip(HEADS, ("circle", "square", "diamond", "triangle-up"), strict=True))  # told apart without colour


Spread = Mapping[str, Sequence[float | None]]


def between_pictures(
    layers: Sequence[str], spread: Spread, trained: Spread | None, selected: str, typical: Spread | None = None
) -> go.Figure:
    """How far pictures differ, by depth: one line per head over the layers.

    ``spread``: head -> one value per layer, mean over entries of the standard deviation over pictures; None: no such head.
    ``trained``: the same under the trained settings, as dashed lines; None where these are the settings.
    ``typical``: what is subtracted from both; None: nothing.
    """

    def shown(values: Sequence[float | None], head: str) -> np.ndarray:
        numbers = np.array(values, dtype=np.float32)  # None becomes NaN, a gap
        return numbers if typical is None else numbers - np.array(typical[head], dtype=np.float32)

    present = [head for head in HEADS if any(value is not None for value in spread[head])]
    number = ".3f" if typical is None else "+.3f"
    figure = go.Figure(
        [
            go.Scatter(
                x=list(layers),
                y=shown(spread[head], head),
                name=head,
                mode="lines+markers",
                line={"color": COLOURS[head], "width": 2},
                marker={"symbol": SYMBOLS[head], "size": 8},
                cliponaxis=False,
                hovertemplate=f"%{{x}}: %{{y:{number}}}",
            )
            for head in present
        ]
    )
    if selected in layers:
        figure.add_vline(
            x=list(layers).index(selected), line={"color": "#888888", "dash": "dot", "width": 1}, layer="below"
        )
    for head, values in ({head: trained[head] for head in present} if trained else {}).items():
        figure.add_scatter(
            x=list(layers),
            y=shown(values, head),
            name=f"{head} as trained",
            mode="lines",
            line={"color": COLOURS[head], "width": 1.5, "dash": "dash"},
            hovertemplate=f"%{{x}}: %{{y:{number}}}",
            showlegend=False,
        )
    figure.update_layout(
        height=320,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        yaxis={
            "title": "deviation between pictures" + ("" if typical is None else ", less typical"),
            "rangemode": "tozero" if typical is None else "normal",
            "zeroline": True,
        },
        hovermode="x unified",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure
