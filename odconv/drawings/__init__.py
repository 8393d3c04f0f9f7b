"""Drawings that follow a control while it is dragged: a record -> plain data, drawn in the browser by the .js files here.

A Plotly chart is rebuilt from scratch at every change, so what must move without flicker is drawn as SVG by small
functions ``(root, data, act)``. The page and the self-contained HTML export use the same ones. Python decides what is
said and shown; JavaScript only draws it. No torch and no streamlit here.
"""

from odconv.drawings.data import COLOURS, count, glance, layer, prediction, settings_said, side_by_side
from odconv.drawings.source import script, style

__all__ = ["COLOURS", "count", "glance", "layer", "prediction", "script", "settings_said", "side_by_side", "style"]
