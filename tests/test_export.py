import csv
import json
import re
from io import BytesIO, StringIO

import numpy as np
import pytest
import torch

from odconv import HEADS, Settings, drawings, explain
from odconv.backbones import od_mobilenetv2
from odconv.cost import LayerCost
from odconv.export import COLUMNS, to_csv, to_html, to_npz

TITLES = ["cat.jpg", 'räksmörgås, "quoted"\nand broken', "dog.png"]
CLASSES = tuple("abcde")
SETTINGS = Settings(temperature=2.0, kernels=3, ablate=("channel",))


@pytest.fixture(scope="module")
def record(small_model, images):
    return explain(small_model, images, SETTINGS)


@pytest.fixture(scope="module")
def sheet(record):
    one = record.picture(0)
    return {
        "title": "cat.jpg",
        "picture": "data:image/png;base64,AAAA",
        "prediction": drawings.prediction(one, None, CLASSES),
        "glance": drawings.glance(one, None, "layer1.0.conv1"),
        "layers": {
            name: drawings.layer(name, layer, None, LayerCost(name, 1000, 2000)) for name, layer in one.layers.items()
        },
    }


def rows(data):
    return list(csv.DictReader(StringIO(data.decode(), newline="")))


def test_the_csv_holds_every_logit_and_attention_of_the_record(record):
    written = rows(to_csv(record, TITLES))
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


def test_heads_that_a_layer_lacks_have_no_rows():
    model = od_mobilenetv2(3, width_mult=0.35, num_kernels=1).eval()
    record = explain(model, torch.randn(1, 3, 32, 32))
    present = {(row["layer"], row["head"]) for row in rows(to_csv(record, ["x"]))}
    assert present == {
        (name, head)
        for name, layer in record.layers.items()
        for head in HEADS
        if getattr(layer.attention, head) is not None
    }
    assert not any(head == "kernel" for _, head in present)


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("http://x")']


@pytest.mark.parametrize("title", FORMULAS, ids=repr)
def test_a_file_name_is_never_a_formula_in_a_spreadsheet(small_model, images, title):
    assert {row["image"] for row in rows(to_csv(explain(small_model, images[:1]), [title]))} == {"'" + title}


@pytest.mark.parametrize("title", ["", "cat.jpg", "a=b", "räksmörgås 猫.jpg"])
def test_other_file_names_are_left_as_they_are(small_model, images, title):
    assert {row["image"] for row in rows(to_csv(explain(small_model, images[:1]), [title]))} == {title}


def test_the_npz_is_the_record_and_needs_no_pickle(record):
    with np.load(BytesIO(to_npz(record, TITLES, CLASSES)), allow_pickle=False) as loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    assert arrays.pop("images").tolist() == TITLES
    assert arrays.pop("classes").tolist() == list(CLASSES)
    settings = json.loads(str(arrays.pop("settings")))
    assert Settings(**{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}) == SETTINGS
    np.testing.assert_array_equal(arrays.pop("logits"), record.logits)
    for name, layer in record.layers.items():
        for head in HEADS:
            for kind in ("logits", "attention"):
                values = getattr(getattr(layer, kind), head)
                if values is not None:
                    np.testing.assert_array_equal(arrays.pop(f"{name}/{head}/{kind}"), values)
    assert not arrays


def test_no_text_breaks_out_of_the_html_file(sheet):
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)><!--"
    page = to_html([sheet | {"title": hostile}], f"{hostile} & more").decode()
    assert page.count("</script>") == 1
    assert page.count("<script>") == 1
    assert "<img src=x" not in page
    assert "<!--" not in page
    data = re.search(r"^const SHEETS = (.*);$", page, re.MULTILINE)
    assert json.loads(data[1])[0]["title"] == hostile


def test_text_in_the_html_file_cannot_break_a_javascript_line(sheet):
    title = "a\u2028b\u2029c`${1}\\"
    page = to_html([sheet | {"title": title}], "as trained").decode()
    assert json.loads(re.search(r"^const SHEETS = (.*);$", page, re.MULTILINE)[1])[0]["title"] == title


def test_the_html_file_loads_nothing_from_anywhere(sheet):
    page = to_html([sheet], "as trained").decode()
    assert not re.search(r"""<link|(?:src|href)=["'](?!data:|\$\{)|url\(|@import|https?://|\bfetch\(|XMLHttp""", page)
    assert "default-src 'none'" in page


def test_the_html_file_holds_the_numbers_that_the_page_draws(sheet):
    page = to_html([sheet, sheet], "as trained").decode()
    assert json.loads(re.search(r"^const SHEETS = (.*);$", page, re.MULTILINE)[1]) == [sheet, sheet]
