"""Drawings that follow a control while it is dragged: Python turns a record into plain data, JavaScript draws it as SVG.

A Plotly chart is rebuilt from scratch at every change and would flicker. The drawings here are small JavaScript functions
``(root, data, act)`` that redraw in place; the page and the HTML export use the same ones. Python decides what is drawn
and gives every text, in the visitor's language. No torch and no streamlit here.
"""

from odconv.drawings.by_hand import by_hand_data
from odconv.drawings.cases import cases_data
from odconv.drawings.colours import COLOURS
from odconv.drawings.curves import Sweep, curves_data, shrinking_data
from odconv.drawings.describe import Spread, describe_settings, describe_spread, join_sentences, temperatures_text
from odconv.drawings.differences import scale_end_of
from odconv.drawings.edits import brush_data, describe_edit, edit_data
from odconv.drawings.forging import forging_data
from odconv.drawings.glance import glance_data
from odconv.drawings.kernel import kernel_data
from odconv.drawings.kernel_use import kernel_use_data
from odconv.drawings.layer import layer_data
from odconv.drawings.names import clean_name, first_synonym
from odconv.drawings.numbers import count_text
from odconv.drawings.plugged import layers_data, totals_data
from odconv.drawings.prediction import prediction_data
from odconv.drawings.response import knob_text, response_data
from odconv.drawings.results import (
    control_rows,
    describe_controls,
    describe_gates,
    describe_limits,
    describe_pairs,
    describe_published,
    describe_start,
    kind_text,
    rows_of,
)
from odconv.drawings.side_by_side import side_by_side_data
from odconv.drawings.sides import (
    Side,
    describe_agreement,
    describe_comparison,
    differences_data,
    heads_data,
    network_data,
    side_data,
)
from odconv.drawings.source import script, style
from odconv.drawings.switches import effects_data, switches_data
from odconv.drawings.task import task_data
from odconv.drawings.tempered import output_data, tempered_data

__all__ = [
    "COLOURS",
    "Side",
    "Spread",
    "Sweep",
    "brush_data",
    "by_hand_data",
    "cases_data",
    "clean_name",
    "control_rows",
    "count_text",
    "curves_data",
    "describe_agreement",
    "describe_comparison",
    "describe_controls",
    "describe_edit",
    "describe_gates",
    "describe_limits",
    "describe_pairs",
    "describe_published",
    "describe_settings",
    "describe_spread",
    "describe_start",
    "differences_data",
    "edit_data",
    "effects_data",
    "first_synonym",
    "forging_data",
    "glance_data",
    "heads_data",
    "join_sentences",
    "kernel_data",
    "kernel_use_data",
    "kind_text",
    "knob_text",
    "layer_data",
    "layers_data",
    "network_data",
    "output_data",
    "prediction_data",
    "response_data",
    "rows_of",
    "scale_end_of",
    "script",
    "shrinking_data",
    "side_by_side_data",
    "side_data",
    "style",
    "switches_data",
    "task_data",
    "temperatures_text",
    "tempered_data",
    "totals_data",
]
