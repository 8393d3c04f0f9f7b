"""Drawings that follow a control while it is dragged: a record -> plain data, drawn in the browser by the .js files here.

A Plotly chart is rebuilt from scratch at every change, so what must move without flicker is drawn as SVG by small
functions ``(root, data, act)``. The page and the self-contained HTML export use the same ones. Python decides what is
drawn and every word of it, in the visitor's language; JavaScript only draws it. No torch and no streamlit here.
"""

from odconv.drawings.colours import COLOURS
from odconv.drawings.describe import Spread, describe_settings, describe_spread
from odconv.drawings.glance import glance_data
from odconv.drawings.kernel import kernel_data
from odconv.drawings.layer import layer_data
from odconv.drawings.names import clean_name
from odconv.drawings.numbers import count_text
from odconv.drawings.prediction import prediction_data
from odconv.drawings.side_by_side import side_by_side_data
from odconv.drawings.source import script, style

__all__ = [
    "COLOURS",
    "Spread",
    "clean_name",
    "count_text",
    "describe_settings",
    "describe_spread",
    "glance_data",
    "kernel_data",
    "layer_data",
    "prediction_data",
    "script",
    "side_by_side_data",
    "style",
]
