import csv
import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from io import BytesIO, StringIO

import numpy as np
import pandas as pd
import pytest
import torch

from odconv import HEADS, Settings, drawings, explain
from odconv.attention import Heads
from odconv.backbones import od_mobilenetv2
from odconv.cost import LayerCost
from odconv.export import COLUMNS, LOGIT_COLUMNS, Context, logits_to_csv, settings_json, to_csv, to_html, to_npz
from odconv.words import LANGUAGES, say

CLASSES = tuple("abcde")
TITLES = ("cat.jpg", 'räksmörgås, "quoted"', "小狗.png")
CONTEXT = Context("en", "OD net", "od_net.safetensors 0123456789abcdef", CLASSES, TITLES)
SETTINGS = Settings(temperature=2.0, kernels=3, ablate=("channel",))
PHOTO = "data:image/png;base64,AAAA"


@pytest.fixture(scope="module")
def record(small_model, images):
    return explain(small_model, images, SETTINGS)


@pytest.fixture(scope="module")
def trained(small_model, images):
    return explain(small_model, images)


@pytest.fixture(scope="module")
def typical(trained):
    return {name: Heads(*(head.mean(0) for head in layer.attention)) for name, layer in trained.layers.items()}


def rows(data):
    return list(csv.DictReader(StringIO(data.decode("utf-8-sig"), newline="")))


def places(record):
    return {name: (name.partition(".")[0], name.rpartition(".")[2]) for name in record.layers}


def html(context, record, reference=None, **options):
    """The page of as many of the record's pictures as the context has titles."""
    options = {"selected": "layer1.0.conv1"} | options
    costs = {name: LayerCost(name, 1000, 2000) for name in record.layers}
    photos = [PHOTO] * len(context.titles)
    return to_html(context, record, reference, photos=photos, costs=costs, places=places(record), **options).decode()


def figures(page):
    return json.loads(re.search(r"^const FIGURES = (.*);$", page, re.MULTILINE)[1])


# --- CSV ------------------------------------------------------------------------------------------------------------


def test_the_csv_holds_every_logit_and_attention_of_the_record(record):
    written = rows(to_csv(CONTEXT, record))
    assert tuple(written[0]) == COLUMNS
    expected = {
        (title, name, head, i): (logit, value)
        for n, title in enumerate(TITLES)
        for name, layer in record.layers.items()
        for head in HEADS
        if getattr(layer.attention, head) is not None
        for i, (logit, value) in enumerate(
            zip(getattr(layer.logits, head)[n].ravel(), getattr(layer.attention, head)[n].ravel(), strict=True)
        )
    }
    assert len(written) == len(expected)
    for row in written:
        logit, value = expected.pop((row["image"], row["layer"], row["head"], int(row["index"])))
        assert float(row["logit"]) == pytest.approx(logit, rel=1e-6)
        assert float(row["attention"]) == pytest.approx(value, rel=1e-6)
    assert not expected


def test_every_row_of_the_csv_says_of_which_model_and_settings_it_is(record):
    for row in rows(to_csv(CONTEXT, record)):
        assert (row["model"], row["weights"]) == (CONTEXT.model, CONTEXT.weights)
        assert Settings(**json.loads(row["settings"])) == SETTINGS


def test_pandas_reads_the_csv_as_it_is(record):
    table = pd.read_csv(BytesIO(to_csv(CONTEXT, record)))
    assert tuple(table.columns) == COLUMNS
    assert table.image.unique().tolist() == list(TITLES)
    chosen = table[(table.image == TITLES[2]) & (table.layer == "layer1.0.conv1") & (table["head"] == "channel")]
    np.testing.assert_allclose(chosen.logit, record.layers["layer1.0.conv1"].logits.channel[2], rtol=1e-6)


def test_heads_that_a_layer_lacks_have_no_rows():
    model = od_mobilenetv2(3, width_mult=0.35, num_kernels=1).eval()
    record = explain(model, torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    present = {(row["layer"], row["head"]) for row in rows(to_csv(replace(CONTEXT, titles=("x",)), record))}
    assert present == {
        (name, head)
        for name, layer in record.layers.items()
        for head in HEADS
        if getattr(layer.attention, head) is not None
    }
    assert not any(head == "kernel" for _, head in present)


@pytest.mark.parametrize("formula", ['=HYPERLINK("http://x")', "+1", "-1", "@SUM(1)", "\t=1", " =1", "\u202e=1", "＝1"])
def test_no_name_in_the_csv_is_a_formula(record, formula):
    one = replace(record, layers={formula: record.layers["layer1.0.conv1"]})
    context = replace(CONTEXT, model=formula, weights=formula, titles=(formula,))
    for row in rows(to_csv(context, one)):
        for column in ("model", "weights", "image", "layer"):
            assert row[column].startswith("'")


def test_the_csv_of_a_network_without_attention_holds_every_logit(record):
    written = rows(logits_to_csv(CONTEXT, record))
    assert tuple(written[0]) == LOGIT_COLUMNS
    assert [(row["image"], row["class"]) for row in written] == [(title, name) for title in TITLES for name in CLASSES]
    np.testing.assert_allclose([float(row["logit"]) for row in written], record.logits.ravel(), rtol=1e-6)
    for row in rows(logits_to_csv(replace(CONTEXT, classes=("=1",) * 5, titles=("+1",) * 3), record)):
        assert row["class"] == "'=1"
        assert row["image"] == "'+1"


# --- NPZ ------------------------------------------------------------------------------------------------------------


def test_the_npz_holds_the_records_arrays_and_opens_without_pickle(record):
    with np.load(BytesIO(to_npz(CONTEXT, record)), allow_pickle=False) as loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    assert arrays.pop("images").tolist() == list(TITLES)
    assert arrays.pop("classes").tolist() == list(CLASSES)
    assert str(arrays.pop("model")) == CONTEXT.model
    assert str(arrays.pop("weights")) == CONTEXT.weights
    assert Settings(**json.loads(str(arrays.pop("settings")))) == SETTINGS
    np.testing.assert_array_equal(arrays.pop("logits"), record.logits)
    for name, layer in record.layers.items():
        for head in HEADS:
            for kind in ("logits", "attention"):
                values = getattr(getattr(layer, kind), head)
                if values is not None:
                    np.testing.assert_array_equal(arrays.pop(f"{name}/{head}/{kind}"), values)
    assert not arrays


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        SETTINGS,
        Settings(tempered=("kernel",), keep="first", layers=("a", "b")),
        Settings(temperature=(30.0, 1.0, 2.0, 0.5)),
    ],
)
def test_settings_as_json_hold_what_they_change_and_give_the_settings_back(settings):
    text = settings_json(settings)
    assert Settings(**json.loads(text)) == settings
    assert set(json.loads(text)) == {name for name, value in vars(settings).items() if value != vars(Settings())[name]}


# --- names ----------------------------------------------------------------------------------------------------------

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)><!--\"'`${1}&amp;"
INVISIBLE = "a\u202eb\u2066c\u2069\x00\x1b\n\u2028d\ud800e\u200f\ufeff"
SHOWN = "abc d\ufffde"


def test_characters_that_hide_or_reorder_text_leave_the_names_in_every_file(record):
    one = replace(record, layers={INVISIBLE: record.layers["layer1.0.conv1"]})
    context = Context("en", INVISIBLE, INVISIBLE, (INVISIBLE,) * 5, (INVISIBLE,) * 3, INVISIBLE)
    assert {(row["model"], row["weights"], row["image"], row["layer"]) for row in rows(to_csv(context, one))} == {
        (SHOWN,) * 4
    }
    with np.load(BytesIO(to_npz(context, one)), allow_pickle=False) as arrays:
        assert {str(arrays["model"]), *arrays["images"], *arrays["classes"]} == {SHOWN}
        assert f"{SHOWN}/kernel/logits" in arrays.files
    page = html(context, one, selected=INVISIBLE)
    introduction, data = page.partition("<script>")[0], figures(page)
    assert not set("\u202e\u2066\u2069\x00\x1b\ud800\u200f") & set(introduction)
    texts = [
        data["headings"][INVISIBLE],
        data["comparison"]["headings"][INVISIBLE],
        *(s["title"] for s in data["sheets"]),
    ]
    column = data["sheets"][0]["glance"]["layers"][0]
    texts += [column["alt"], data["sheets"][0]["prediction"]["rows"][0]["name"]]
    assert all(SHOWN in text for text in texts)


class Elements(HTMLParser):
    """Counts what a browser would make of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)


def test_no_text_breaks_out_of_the_html_file(record):
    context = Context("en", HOSTILE, HOSTILE, (HOSTILE,) * 5, (HOSTILE,) * 3, HOSTILE)
    page = html(context, record)
    assert page.count("</script>") == 1
    assert page.count("<script>") == 1
    assert "<img src=x" not in page
    assert "<!--" not in page
    elements = Elements(page)
    assert not [tag for tag, _ in elements.tags if tag in ("img", "a", "iframe")]
    assert [text for text in elements.texts if text == HOSTILE] == [HOSTILE] * 3  # model, weights, accuracy
    assert [sheet["title"] for sheet in figures(page)["sheets"]] == [HOSTILE] * 3


# --- HTML -----------------------------------------------------------------------------------------------------------


def test_the_html_file_loads_nothing_from_anywhere(record):
    page = html(CONTEXT, record)
    assert not re.search(r"""<link|(?:src|href)=["'](?!data:|\$\{)|url\(|@import|https?://|\bfetch\(|XMLHttp""", page)
    assert "default-src 'none'" in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_html_file_introduces_itself_in_its_language(record, language):
    accuracy = "Right in 52.6 % of 10,000 validation pictures."
    page = html(replace(CONTEXT, language=language, accuracy=accuracy), record)
    assert f'<html lang="{ {"en": "en", "zh": "zh-Hans"}[language] }">' in page
    introduction = page[page.index("<header>") : page.index("</header>")]
    settings = drawings.describe_settings(language, SETTINGS)
    for text in (say(language, "takeaway.about"), CONTEXT.model, CONTEXT.weights, accuracy, settings, TITLES[0]):
        assert text in introduction


def test_the_html_file_says_whether_differences_are_shown_and_from_how_many_pictures(record, typical):
    introductions = [
        unescape(html(CONTEXT, record, **options).partition("</header>")[0].partition("<header>")[2])
        for options in ({}, {"typical": typical, "typical_count": 10_000})
    ]
    assert "difference from" not in introductions[0]
    assert "difference from 10,000 pictures' mean" in introductions[1]


@pytest.mark.parametrize("changed", [False, True])
def test_the_html_file_holds_what_the_page_draws_for_every_picture_and_layer(record, trained, typical, changed):
    record, reference, usual = (record, trained, typical) if changed else (trained, None, None)
    data = figures(html(CONTEXT, record, reference, typical=usual))
    for n, sheet in enumerate(data["sheets"]):
        one, before = record.picture(n), reference and reference.picture(n)
        assert sheet["title"] == TITLES[n]
        assert sheet["photo"] == PHOTO
        assert sheet["prediction"] == drawings.prediction_data("en", one, before, CLASSES)
        glance = drawings.glance_data("en", one, before, "layer1.0.conv1", places(record), usual)
        assert sheet["glance"] == glance
        end = usual and drawings.scale_end_of(one, before, usual)  # one scale for all of a picture's drawings
        for name, layer in one.layers.items():
            cost = LayerCost(name, 1000, 2000)
            shown = drawings.layer_data("en", layer, before and before.layers[name], cost, usual and usual[name], end)
            assert sheet["layers"][name] == shown
    end = usual and drawings.scale_end_of(record, reference, usual)
    for name, layer in record.layers.items():
        before = reference and reference.layers[name]
        compared = drawings.side_by_side_data("en", layer, before, TITLES, usual and usual[name], end)
        assert data["comparison"]["layers"][name] == compared


def test_one_picture_is_compared_with_nothing(trained):
    page = html(replace(CONTEXT, titles=("alone",)), trained.picture(0))
    assert figures(page)["comparison"] is None
    assert "side by side at the end" not in page


def test_a_layer_that_does_not_exist_is_not_chosen(trained):
    data = figures(html(CONTEXT, trained, selected="no such layer"))
    assert data["selected"] == data["sheets"][0]["glance"]["selected"] == "layer1.0.conv1"


def test_an_unknown_language_is_refused():
    with pytest.raises(ValueError) as refused:
        replace(CONTEXT, language='en" onload="alert(1)')
    assert "'en', 'zh'" in str(refused.value)
