"""Results without a browser: both sides whole, each number from its file, and nothing in a link breaks it."""

import json
import re
from dataclasses import replace

import pytest

from odconv import drawings, results
from odconv.ui import engine, navigation, published
from odconv.ui import results as page
from odconv.words import LANGUAGES, say
from tests.pages.test_explore import _fresh_caches, captions, headings, sentences  # noqa: F401
from tests.pages.test_explore import opened as opened_page


def opened(**query):
    return opened_page(page="results", **query)


def texts(app):
    return [element.value for element in app.main.markdown]


def charts(app):
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]


@pytest.mark.parametrize("language", LANGUAGES)
def test_both_sides_are_whole_and_marked(language):
    app = opened(lang=language)
    assert not app.exception
    assert sentences(app) == []
    assert headings(app) == [say(language, "results.published"), say(language, "results.measured")]
    found = page.pairs()
    everything = "\n".join(texts(app))
    for one in found.values():
        assert f"**{drawings.describe_start(language, one)}**" in texts(app)
        assert drawings.describe_pairs(language, one) in everything
    assert f"**{say(language, 'results.verdict')}**" in texts(app)
    narrow = found["parent", 16]
    assert drawings.describe_controls(language, narrow) in texts(app)
    assert drawings.describe_gates(language, narrow) in texts(app)
    assert any(
        say(language, "results.cost", kernels=4, parameters="3.90", multiply_adds="1.71") in one
        for one in captions(app)
    )
    assert len(charts(app)) == 4


def test_every_published_row_stands_there_with_its_gain_and_its_source():
    app = opened()
    tables = [one for one in texts(app) if one.startswith("| ") and "README](" in one]
    assert len(tables) == 2
    for shown, expected in zip(tables, (published.imagenet(), published.coco()), strict=True):
        rows = shown.splitlines()[2:]
        assert len(rows) == len(expected)
        for row, one in zip(rows, expected, strict=True):
            assert f"]({one.source_url})" in row
            assert f"{one.parameters_m:.2f}" in row
            assert (f"{one.top1:.2f}" if hasattr(one, "top1") else f"{one.box_ap:.1f}") in row
    assert "| +3.94 |" in tables[0]  # ResNet18, K = 4
    assert "| +3.7 |" in tables[1]  # Faster R-CNN with MobileNetV2


def test_the_switch_draws_against_multiply_adds_and_is_in_the_link():
    app = opened()
    before = charts(app)[0]
    app.button_group(key="results_against").set_value("multiply_adds").run()
    assert not app.exception
    assert app.query_params["against"] == "multiply_adds"
    after = charts(app)[0]
    assert after["layout"]["xaxis"]["title"]["text"] == say("en", "results.axis_multiply_adds")
    assert before["layout"]["xaxis"]["title"]["text"] == say("en", "results.axis_parameters")


def test_a_link_to_nothing_is_one_sentence():
    app = opened(against="<b>cost")
    assert not app.exception
    assert len(sentences(app)) == 1
    assert len(charts(app)) == 4


def test_the_bundled_networks_have_the_numbers_of_their_cards():
    app = opened()
    (shown,) = [one for one in texts(app) if say("en", "results.column_measured_on") in one]
    rows = [re.sub(r"\\(.)", r"\1", row) for row in shown.splitlines()[2:]]
    cards = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(engine.BUNDLED.glob("*.json"))]
    assert len(rows) == len(cards)
    for card in cards:
        measured = card["measured"]
        low, high = measured["top1_interval"]
        numbers = say("en", "results.accuracy", top1=f"{measured['top1']:.2f}", low=f"{low:.2f}", high=f"{high:.2f}")
        (row,) = [row for row in rows if numbers in row]
        assert f"{measured['n']:,} of " in row
        assert f"{card['image_size']} px" in row


@pytest.mark.parametrize(
    "measured", [{}, {"top1": 50, "n": 10}, {"top1": "x", "top1_interval": [1, 2], "n": 3, "per_class": {}}]
)
def test_a_card_without_sound_numbers_says_that_nothing_was_measured(monkeypatch, measured):
    own = page.card_beside
    monkeypatch.setattr(
        page, "card_beside", lambda path, architecture: replace(own(path, architecture), measured=measured)
    )
    app = opened()
    assert not app.exception
    (shown,) = [one for one in texts(app) if say("en", "results.column_measured_on") in one]
    assert shown.count(say("en", "results.unmeasured")) == len(shown.splitlines()) - 2


def test_a_measurement_on_pictures_of_some_classes_says_so(monkeypatch):
    own = page.card_beside

    def of_three_classes(path, architecture):
        card = own(path, architecture)
        some = dict(list(card.measured["per_class"].items())[:3])
        return replace(card, measured=card.measured | {"per_class": some})

    monkeypatch.setattr(page, "card_beside", of_three_classes)
    (shown,) = [one for one in texts(opened()) if say("en", "results.column_measured_on") in one]
    assert all(re.search(r"of 3 of its [\d,]+ classes", row) for row in shown.splitlines()[2:])


def test_results_is_no_lesson_for_a_class():
    assert "results" in navigation.PATHS
    assert "results" not in navigation.LESSONS


def test_the_gains_of_the_sentence_are_those_of_the_table():
    low, high = results.gains(results.imagenet_lines(published.imagenet(), "parameters"))
    assert any(f"by {low:.2f} to {high:.2f} points" in one for one in texts(opened()))
