"""The Plotly figures carry the numbers they are given."""

import numpy as np
import pytest

from odconv import HEADS, figures
from odconv.drawings import COLOURS, describe_spread
from odconv.words import LANGUAGES, say

LAYERS = ["layer1.0.conv1", "layer1.0.conv2"]
SPREAD = {"spatial": [0.1, None], "channel": [0.2, 0.3], "filter": [0.4, 0.5], "kernel": [0.6, 0.7]}


def test_a_line_per_head_in_its_colour_and_a_gap_where_a_head_is_absent():
    lines = figures.spread_by_depth("en", LAYERS, SPREAD, None, LAYERS[1]).data
    assert [line.name for line in lines] == list(HEADS)
    assert [line.line.color for line in lines] == list(COLOURS.values())
    np.testing.assert_allclose(lines[0].y, [0.1, np.nan], rtol=1e-6)


def test_a_head_that_no_layer_has_is_not_in_the_legend():
    spread = SPREAD | {"kernel": [None, None]}
    lines = figures.spread_by_depth("en", LAYERS, spread, spread, LAYERS[0]).data
    assert [line.name for line in lines if line.showlegend is not False] == ["spatial", "channel", "filter"]
    assert len(lines) == 6


def test_the_trained_spread_is_drawn_dashed_behind_the_names_of_the_heads():
    lines = figures.spread_by_depth("en", LAYERS, SPREAD, SPREAD, "not a layer").data
    assert [line.line.dash for line in lines[4:]] == ["dash"] * 4
    np.testing.assert_allclose(lines[7].y, [0.6, 0.7], rtol=1e-6)


def test_what_is_typical_is_subtracted_from_both_kinds_of_lines():
    typical = {"spatial": [0.3, None], "channel": [0.1, 0.1], "filter": [0.1, 0.2], "kernel": [0.2, 0.1]}
    figure = figures.spread_by_depth("en", LAYERS, SPREAD, SPREAD, LAYERS[0], typical)
    np.testing.assert_allclose(figure.data[0].y, [-0.2, np.nan], rtol=1e-6)
    for line in (figure.data[2], figure.data[6]):
        np.testing.assert_allclose(line.y, [0.3, 0.3], rtol=1e-6)
    assert "less typical" in figure.layout.yaxis.title.text


def test_a_layers_name_is_text_in_plotly_and_neither_a_link_nor_a_number():
    names = ['<a href="javascript:alert(1)">x</a>&lt;b>', "2026-01-01\u202e"]
    figure = figures.spread_by_depth("en", names, SPREAD, SPREAD, names[1])
    for line in figure.data:
        assert list(line.x) == ['&lt;a href="javascript:alert(1)"&gt;x&lt;/a&gt;&amp;lt;b&gt;', "2026-01-01"]
    assert figure.layout.xaxis.type == "category"
    assert figure.layout.shapes[0].x0 == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_figure_speaks_its_language(language):
    figure = figures.spread_by_depth(language, LAYERS, SPREAD, SPREAD, LAYERS[0])
    heads = [say(language, f"head.{head}") for head in HEADS]
    assert [line.name for line in figure.data[:4]] == heads
    assert all(head in line.name and head != line.name for head, line in zip(heads, figure.data[4:], strict=True))
    assert figure.layout.yaxis.title.text == say(language, "compare.spread_axis")


@pytest.mark.parametrize(
    ("typical", "sentence"),
    [
        (
            None,
            "The pictures differ most: spatial attention in layer1.0.conv1, 0.100; channel attention in layer1.0.conv2, "
            "0.300; filter attention in layer1.0.conv2, 0.500; kernel attention in layer1.0.conv2, 0.700.",
        ),
        (
            {"spatial": [0.3, None], "channel": [0.1, 0.3], "filter": [0.0, 0.5], "kernel": [0.2, 0.1]},
            "The pictures differ most against what is expected: spatial attention in layer1.0.conv1, -0.200; channel attention "
            "in layer1.0.conv1, 0.100; filter attention in layer1.0.conv1, 0.400; kernel attention in layer1.0.conv2, 0.600.",
        ),
    ],
)
def test_where_pictures_differ_most_is_said_in_a_sentence(typical, sentence):
    assert describe_spread("en", LAYERS, SPREAD, typical) == sentence


def test_a_head_that_no_layer_has_is_not_in_the_sentence():
    assert "kernel" not in describe_spread("en", LAYERS, SPREAD | {"kernel": [None, None]})


def test_every_text_of_the_chart_has_the_size_that_is_asked_for():
    layout = figures.spread_by_depth("en", LAYERS, SPREAD, None, LAYERS[0], text_size=20).layout
    texts = (
        layout.xaxis.tickfont,
        layout.yaxis.tickfont,
        layout.yaxis.title.font,
        layout.legend.font,
        layout.hoverlabel.font,
    )
    assert {text.size for text in texts} == {20}
