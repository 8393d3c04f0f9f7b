"""What Compare draws is what the two records hold, and what cannot be subtracted says why."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from odconv import Settings, explain
from odconv.attention import HEADS
from odconv.backbones import od_resnet18, resnet18
from odconv.comparison import find_largest
from odconv.drawings import (
    Side,
    describe_agreement,
    describe_comparison,
    differences_data,
    heads_data,
    network_data,
    side_data,
)
from odconv.words import LANGUAGES, say

CLASSES = ["tabby, tabby cat", "espresso", "<b>rocket</b>", "dahlia", "goose"]
LAYER = "layer1.0.conv1"
PICTURE = {"thumbnail": "data:", "alt": "a cat", "title": "Cat\u202e"}


def network(build=od_resnet18, **options):
    torch.manual_seed(0)
    return build(5, width=8, stem="small", **options).eval()


def image(seed):
    return torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def side(record, layer=LAYER, name="own.safetensors", classes=CLASSES):
    return Side(record, classes, layer if record.layers else None, name)


@pytest.fixture(scope="module")
def sides():
    model = network()
    return side(explain(model, image(1))), side(explain(model, image(2), Settings(3.0)))


@pytest.fixture(scope="module")
def single():
    return side(explain(network(num_kernels=1), image(1)), name="single")


@pytest.fixture(scope="module")
def static():
    return side(explain(network(resnet18), image(1)), name="static")


def places(one):
    return {name: (name[:6], name[7:]) for name in one.record.layers}


def test_the_chosen_layer_is_drawn_for_both_sides_with_b_minus_a(sides):
    data = heads_data("en", *sides)
    assert [row["head"] for row in data["rows"]] == list(HEADS)
    for row in data["rows"]:
        ours, theirs = (getattr(one.attention, row["head"])[0].astype(float) for one in sides)
        for cell, wanted in zip(row["cells"], (ours, theirs, theirs - ours), strict=True):
            assert np.array(cell["values"]) == pytest.approx(wanted, abs=6e-5)
        assert f"{np.abs(theirs - ours).mean():.2f}" in row["cells"][2]["statistics"]


def test_the_scale_holds_99_percent_of_the_differences_of_all_layers_and_is_stated(sides):
    data = heads_data("en", *sides)
    a, b = (one.record.layers for one in sides)
    sizes = np.concatenate(
        [
            np.abs(getattr(b[name].attention, head) - getattr(a[name].attention, head)).ravel()
            for name in a
            for head in HEADS
        ]
    )
    assert (sizes <= data["span"]).mean() >= 0.99
    assert f"B − A: −{data['span']:g} to +{data['span']:g} in all layers." in data["note"]


def test_the_map_has_the_mean_size_of_every_head_in_every_layer(sides):
    data = differences_data("en", *sides, places(sides[0]))
    assert [layer["name"] for layer in data["layers"]] == list(sides[0].record.layers)
    for layer in data["layers"]:
        for head, size in zip(HEADS, layer["sizes"], strict=True):
            ours, theirs = (getattr(one.record.layers[layer["name"]].attention, head) for one in sides)
            wanted = np.abs(theirs.astype(float) - ours).mean()
            assert size == pytest.approx(wanted, abs=6e-5)
            assert f"{head} {wanted:.3f}" in layer["alt"]
    assert data["top"] >= max(max(layer["sizes"]) for layer in data["layers"])
    assert data["selected"] == LAYER


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_sentence_names_head_layer_entry_and_numbers(sides, language):
    found = find_largest(*(one.record for one in sides))
    sentence = describe_comparison(language, *sides)
    for part in (
        say(language, f"head.{found.head}"),
        found.layer,
        f"{found.size:.2f}",
        f"{found.left:.2f}",
        f"{found.right:.2f}",
    ):
        assert part in sentence
    for one in sides:
        assert f"{one.record.probabilities[0].max():.2f}" in sentence


def test_two_sides_that_are_the_same_have_no_most_different_head(sides):
    a = sides[0]
    sentence = describe_comparison("en", a, a)
    assert sentence.startswith("No attention differs by 0.005 or more on average. Both say ")
    assert heads_data("en", a, a)["span"] == 0.05


def test_an_entry_is_called_by_its_kind(sides):
    a, b = sides
    layer = b.record.layers[LAYER]
    for head, name in (("spatial", "tap row 2, column 3"), ("filter", "channel 4"), ("kernel", "W3")):
        values = getattr(layer.attention, head).copy()
        values[0][{"spatial": (1, 2), "filter": 4, "kernel": 2}[head]] = 1000.0
        changed = replace(layer, attention=layer.attention._replace(**{head: values}))
        other = replace(b, record=replace(b.record, layers=b.record.layers | {LAYER: changed}))
        assert f"Most different: {head} attention in {LAYER}" in describe_comparison("en", a, other)
        assert f"most of all {name}, " in describe_comparison("en", a, other)


def cells(data, head):
    return next(row["cells"] for row in data["rows"] if row["head"] == head)


def test_a_head_that_one_side_lacks_is_not_subtracted_and_says_so(sides, single):
    data = heads_data("en", sides[0], single)
    assert "values" in cells(data, "kernel")[0]
    assert cells(data, "kernel")[1:] == [
        {"absent": say("en", "layer.kernel_absent")},
        {"absent": say("en", "sides.why_right")},
    ]
    assert cells(heads_data("en", single, sides[0]), "kernel")[2] == {"absent": say("en", "sides.why_left")}
    assert cells(heads_data("en", single, single), "kernel")[2] == {"absent": say("en", "sides.why_neither")}
    assert say("en", "sides.two_networks") in data["note"]
    assert all(
        layer["sizes"][3] is None for layer in differences_data("en", sides[0], single, places(single))["layers"]
    )


def test_layers_of_other_sizes_stand_side_by_side_and_are_not_subtracted(sides):
    a, b = sides
    data = heads_data("en", a, replace(b, layer="layer4.1.conv2"))
    assert cells(data, "filter")[2] == {"absent": say("en", "sides.why_shapes", left=8, right=64)}
    assert "values" in cells(data, "kernel")[2]
    assert say("en", "sides.two_layers") in data["note"]
    assert differences_data("en", a, replace(b, layer="layer4.1.conv2"), places(a))["selected"] == ""


def test_of_a_static_network_predictions_alone_are_compared(sides, static):
    data = heads_data("en", sides[0], static)
    assert all("values" in row["cells"][0] and "absent" in row["cells"][1] for row in data["rows"])
    assert not data["compared"]
    assert describe_comparison("en", sides[0], static).startswith("Side B is static")
    assert describe_comparison("en", static, sides[0]).startswith("Side A is static")
    assert describe_comparison("en", static, static).startswith("Both networks are static")


def test_a_side_has_its_most_likely_classes_and_the_other_sides_probability_of_each(sides):
    a, b = sides
    data = side_data("en", "B", a, b, PICTURE, "ODConv")
    ours, theirs = (one.record.probabilities[0] for one in sides)
    order = np.argsort(-ours)[:3]
    rows = data["prediction"]["rows"]
    assert [row["name"] for row in rows] == [CLASSES[i].partition(",")[0] for i in order]
    assert [row["probability"] for row in rows] == pytest.approx(ours[order], abs=6e-5)
    assert [row["ghost"] for row in rows] == pytest.approx(theirs[order], abs=6e-5)
    assert data["picture"]["title"] == "Cat"


def test_networks_of_other_classes_are_not_compared_class_by_class(sides):
    a, b = sides
    data = side_data("en", "B", a, replace(b, classes=[*CLASSES[:4], "swan"]), PICTURE, "ODConv")
    assert [row["ghost"] for row in data["prediction"]["rows"]] == [None] * 3
    assert data["prediction"]["note"] == say("en", "sides.other_classes", side="B")


def test_numbers_beyond_all_bounds_are_not_called_a_prediction(sides):
    a, b = sides
    broken = replace(b, record=replace(b.record, logits=np.full((1, 5), np.nan, np.float32)))
    assert say("en", "page.beyond_bounds") in describe_comparison("en", a, broken)


def test_networks_that_say_the_same_agree_and_others_are_listed(sides, single):
    a = sides[0]
    assert describe_agreement("en", [a, a, a]) == f"All say {a.first[0]}."
    certain = [replace(a, record=replace(a.record, logits=np.eye(5, dtype=np.float32)[[i]])) for i in (1, 3, 1)]
    assert describe_agreement("en", certain) == "They do not agree: espresso, dahlia."
    data = network_data("en", single, "ODConv, 1 kernel", "Right in 50 %")
    assert data["prediction"]["rows"][0]["name"] == single.first[0]
    assert (data["picture"]["title"], data["caption"]) == ("ODConv, 1 kernel", "Right in 50 %")
