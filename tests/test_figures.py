"""The Plotly figures carry the numbers they are given."""

import numpy as np

from odconv import HEADS, figures
from odconv.drawings import COLOURS

LAYERS = ["layer1.0.conv1", "layer1.0.conv2"]
SPREAD = {"spatial": [0.1, None], "channel": [0.2, 0.3], "filter": [0.4, 0.5], "kernel": [0.6, 0.7]}


def test_a_line_per_head_in_its_colour_and_a_gap_where_a_head_is_absent():
    lines = figures.between_pictures(LAYERS, SPREAD, None, LAYERS[1]).data
    assert [line.name for line in lines] == list(HEADS)
    assert [line.line.color for line in lines] == list(COLOURS.values())
    np.testing.assert_allclose(lines[0].y, [0.1, np.nan], rtol=1e-6)


def test_a_head_that_no_layer_has_is_not_in_the_legend():
    spread = SPREAD | {"kernel": [None, None]}
    lines = figures.between_pictures(LAYERS, spread, spread, LAYERS[0]).data
    assert [line.name for line in lines if line.showlegend is not False] == ["spatial", "channel", "filter"]
    assert len(lines) == 6


def test_the_trained_spread_is_drawn_dashed_behind_the_names_of_the_heads():
    lines = figures.between_pictures(LAYERS, SPREAD, SPREAD, "not a layer").data
    assert [line.line.dash for line in lines[4:]] == ["dash"] * 4
    np.testing.assert_allclose(lines[7].y, [0.6, 0.7], rtol=1e-6)


def test_what_is_typical_is_subtracted_from_both_kinds_of_lines():
    typical = {"spatial": [0.3, None], "channel": [0.1, 0.1], "filter": [0.1, 0.2], "kernel": [0.2, 0.1]}
    figure = figures.between_pictures(LAYERS, SPREAD, SPREAD, LAYERS[0], typical)
    np.testing.assert_allclose(figure.data[0].y, [-0.2, np.nan], rtol=1e-6)
    for line in (figure.data[2], figure.data[6]):
        np.testing.assert_allclose(line.y, [0.3, 0.3], rtol=1e-6)
    assert "less typical" in figure.layout.yaxis.title.text
