import base64
import json
import re
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise

import numpy as np
import pytest
import torch

from odconv import HEADS, Settings, drawings, explain
from odconv.attention import Heads
from odconv.backbones import od_mobilenetv2, od_resnet18, od_resnet50
from odconv.cost import LayerCost, cost
from odconv.drawings.colours import INK, PAPER
from odconv.drawings.describe import describe_difference, describe_head
from odconv.drawings.differences import LEAST_END, scale_end
from odconv.drawings.names import clean_name, first_synonym
from odconv.drawings.numbers import json_numbers, signed_text
from odconv.explain import Explanation
from odconv.words import LANGUAGES, say

CLASSES = ("tabby, tabby cat", "rocket", "espresso, strong coffee", "plane", "goldfish, Carassius auratus")
COST = LayerCost("", 14_700, 2_361_000)
CHANGED = Settings(temperature=3.0, kernels=2, keep="first")


def places(record):
    """Stage and short label of every layer, as a caller would say them."""
    return {name: (name.split(".")[0], name.rpartition(".")[2]) for name in record.layers}


@pytest.fixture(scope="module")
def trained(small_model, images):
    return explain(small_model, images[:1])


@pytest.fixture(scope="module")
def changed(small_model, images):
    return explain(small_model, images[:1], CHANGED)


@pytest.mark.parametrize(
    ("head", "values", "sentence"),
    [
        ("kernel", [0.1, 0.7, 0.1, 0.1], "W2 dominates, 0.70; 2.6 of 4 kernels effective"),
        ("kernel", [1.0, 0.0, 0.0, 0.0], "W1 dominates, 1.00; 1.0 of 4 kernels effective"),
        ("kernel", [0.4, 0.2, 0.2, 0.2], "no kernel dominates, W1 leads with 0.40; 3.8 of 4 kernels effective"),
        ("kernel", [0.25] * 4, "no kernel leads, the 4 shares are equal, 0.25; 4.0 of 4 kernels effective"),
        (
            "kernel",
            [0.27, 0.25, 0.23, 0.25],
            "no kernel leads, the 4 shares are nearly equal, 0.23 to 0.27; 4.0 of 4 kernels effective",
        ),
        (
            "kernel",
            [0.51, 0.0, 0.49, 0.0],
            "no kernel leads, the 2 shares are nearly equal, 0.49 to 0.51; 2.0 of 4 kernels effective",
        ),
        ("channel", [0.5, 0.5, 0.501], "channel attention is the same everywhere, 0.50"),
        ("filter", [0.2, 0.9, 0.4], "filter attention from 0.20 (channel 0) to 0.90 (channel 1), mean 0.50"),
        (
            "spatial",
            [[0.5, 0.5, 0.5], [0.5, 0.5, 0.75], [0.25, 0.5, 0.5]],
            "spatial attention is highest at tap row 2, column 3, 0.75, lowest at row 3, column 1, 0.25",
        ),
    ],
)
def test_a_head_is_described_in_one_sentence(head, values, sentence):
    assert describe_head("en", head, np.array(values)) == sentence


def test_the_layer_shows_the_records_numbers(changed, trained):
    for name, layer in changed.layers.items():
        data = drawings.layer_data("en", layer, trained.layers[name], COST)
        for head in HEADS:
            values, ghost = getattr(layer.attention, head), getattr(trained.layers[name].attention, head)
            if values is None:
                continue
            np.testing.assert_allclose(data["heads"][head]["values"], values[0], atol=5.1e-5)
            np.testing.assert_allclose(data["heads"][head]["trained"]["values"], ghost[0], atol=5.1e-5)
        kernel = data["heads"]["kernel"]
        assert (kernel["kept"], kernel["trained"]["kept"]) == ([True, True, False, False], [True] * 4)


def cells(strip, span=None):
    """The numbers that a strip's bytes stand for."""
    shares = np.frombuffer(base64.b64decode(strip["levels"]), np.uint8) / 255
    return shares if span is None else (2 * shares - 1) * span


def test_the_glance_shows_the_records_numbers_in_execution_order(trained):
    data = drawings.glance_data("en", trained, None, "layer2.0.conv1", places(trained))
    assert [layer["name"] for layer in data["layers"]] == list(trained.layers)
    for shown, layer in zip(data["layers"], trained.layers.values(), strict=True):
        np.testing.assert_allclose(shown["kernel"], layer.attention.kernel[0], atol=5.1e-5)
        for head in ("channel", "filter"):
            np.testing.assert_allclose(cells(shown[head]), getattr(layer.attention, head)[0], atol=0.002)
        shares = layer.attention.kernel[0].astype(float)
        assert shown["effective"] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), abs=0.0051)
        assert shown["ghost"] is None


@pytest.mark.parametrize(
    ("channels", "neighbours", "columns"),
    [(3, 1, 1), (32, 1, 1), (33, 1, 2), (256, 1, 8), (257, 2, 5), (1000, 4, 8), (2048, 8, 8)],
)
def test_a_strip_is_in_channel_order_and_means_of_neighbours_where_it_is_too_short(channels, neighbours, columns):
    gates = np.random.default_rng(0).random(channels)
    record = explain(od_resnet18(2, width=8).eval(), torch.randn(1, 3, 32, 32))
    name, layer = next(iter(record.layers.items()))
    layer = replace(layer, attention=layer.attention._replace(channel=gates[None]), input_shape=(channels, 1, 1))
    one = Explanation(record.settings, record.logits, {name: layer})
    data = drawings.glance_data("en", one, None, name, places(one))
    strip = data["layers"][0]["channel"]
    means = [gates[i : i + neighbours].mean() for i in range(0, channels, neighbours)]
    np.testing.assert_allclose(cells(strip), means, atol=0.002)
    assert strip["columns"] == columns
    assert (f"mean of up to {neighbours} neighbouring" in data["note"]) == (neighbours > 1)


def test_ghosts_at_a_glance_are_the_untouched_networks(changed, trained):
    ghosts = [
        layer["ghost"]
        for layer in drawings.glance_data("en", changed, trained, "layer1.0.conv1", places(changed))["layers"]
    ]
    plain = drawings.glance_data("en", trained, None, "layer1.0.conv1", places(trained))["layers"]
    assert ghosts == [{key: layer[key] for key in (*HEADS, "effective")} for layer in plain]


def test_absent_heads_give_their_reason():
    images = torch.randn(1, 3, 32, 32)
    bottleneck = explain(od_resnet50(4, width=4).eval(), images)
    mobile = explain(od_mobilenetv2(4, width_mult=0.35, num_kernels=1).eval(), images)
    pointwise = drawings.layer_data("en", bottleneck.layers["layer1.0.conv1"], None, COST)["heads"]
    assert pointwise["spatial"]["absent"].startswith("1×1 kernel")
    assert "values" not in pointwise["spatial"]
    depthwise = next(layer for layer in mobile.layers.values() if layer.groups > 1)
    heads = drawings.layer_data("en", depthwise, None, COST)["heads"]
    assert heads["filter"]["absent"].startswith("Depth-wise")
    assert heads["kernel"]["absent"].startswith("One kernel only")
    assert "absent" not in heads["channel"]
    glance = drawings.glance_data("en", mobile, None, next(iter(mobile.layers)), places(mobile))
    assert all(layer["kernel"] is None and layer["effective"] is None for layer in glance["layers"])
    assert all("no kernel attention" in layer["alt"] for layer in glance["layers"])
    assert glance["legend"]["kernel"] == ["one kernel"]


def test_the_prediction_is_in_order_with_the_first_synonym(trained):
    shares = trained.probabilities[0]
    data = drawings.prediction_data("en", trained, None, CLASSES, most=3)
    assert [row["probability"] for row in data["rows"]] == pytest.approx(sorted(shares)[::-1][:3], abs=5.1e-5)
    assert data["rows"][0]["name"] == CLASSES[int(shares.argmax())].split(",")[0]
    assert not data["compared"]  # so the note is not seen
    assert all(row["ghost"] is None for row in data["rows"])
    assert data["alt"].startswith(f"Most likely classes: {data['rows'][0]['name']} {shares.max():.2f}, ")


def test_the_predictions_ghost_is_the_untouched_networks_share_of_the_same_class(changed, trained):
    data = drawings.prediction_data("en", changed, trained, CLASSES)
    order = np.argsort(-changed.probabilities[0])
    assert [row["ghost"] for row in data["rows"]] == pytest.approx(trained.probabilities[0][order], abs=5.1e-5)
    best = int(trained.logits[0].argmax())
    assert f"first choice is {first_synonym(CLASSES[best])}, {trained.probabilities[0][best]:.2f}" in data["note"]


def test_side_by_side_gives_each_picture_its_own_numbers(small_model, images):
    layer = explain(small_model, images).layers["layer1.0.conv1"]
    rows = drawings.side_by_side_data("en", layer, None, ["a", "b", "c"])["rows"]
    assert [row["title"] for row in rows] == ["a", "b", "c"]
    for n, row in enumerate(rows):
        for head in HEADS:
            values = getattr(layer.attention, head)[n]
            np.testing.assert_allclose(row["heads"][head], values, atol=5.1e-5)
            assert row["alts"][head] == f"{row['title']}: {describe_head('en', head, values)}"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (Settings(), "as trained"),
        (Settings(temperature=2.5), "temperature 2.5 on all heads"),
        (
            Settings(temperature=3, tempered=("kernel",), kernels=1, keep="first", ablate=("spatial",)),
            "temperature 3 on kernel attention only; first kernels kept: 1; own mean instead of spatial attention",
        ),
        (
            Settings(temperature=3, compensate=True, kernels=2, keep="strongest"),
            "temperature 3 on all heads, gain kept; strongest kernels kept: 2",
        ),
        (Settings(temperature=(30, 1, 1, 0.5)), "temperature spatial 30, channel 1, filter 1, kernel 0.5"),
        (
            Settings(temperature=(30, 1, 2, 1), compensate=True),
            "temperature spatial 30, channel 1, filter 2, kernel 1, gain kept",
        ),
        (Settings(temperature=(3, 1, 1, 3)), "temperature 3 on spatial, kernel attention only"),
        (Settings(keep="first"), "as trained"),
        (Settings(temperature=3, tempered=()), "as trained"),
        (Settings(temperature=3, tempered=("kernel",), compensate=True), "temperature 3 on kernel attention only"),
        (
            Settings(ablate=("spatial", "filter"), layers=("layer1.0.conv1", "conv\u202e1")),
            "own mean instead of spatial, filter attention; only in conv1, layer1.0.conv1",
        ),
        (Settings(kernels=2, layers=tuple("abcde")), "strongest kernels kept: 2; only in 5 of the layers"),
        (Settings(kernels=2, layers=()), "as trained"),
        (
            Settings(replaced=("uniform", "shuffled", "shuffled", "argmax"), seed=3, layers=("a",)),
            "uniform spatial attention; kernel attention all on its largest entry; "
            "channel, filter attention shuffled (seed 3); only in a",
        ),
        (Settings(layers=("layer1.0.conv1",)), "as trained"),
    ],
)
def test_settings_are_described_in_words(settings, sentence):
    assert drawings.describe_settings("en", settings) == sentence


def test_everything_that_is_drawn_is_plain_json_without_nan(changed, trained):
    for record, reference in ((trained, None), (changed, trained)):
        json.dumps(drawings.prediction_data("en", record, reference, CLASSES), allow_nan=False)
        json.dumps(drawings.glance_data("en", record, reference, "layer1.0.conv1", places(record)), allow_nan=False)
        for name, layer in record.layers.items():
            json.dumps(drawings.layer_data("en", layer, reference and reference.layers[name], COST), allow_nan=False)


def test_a_kernel_whose_share_rounds_to_zero_still_stays():
    torch.manual_seed(0)
    model = od_resnet18(10, width=8, stem="small").eval()
    record = explain(model, torch.randn(1, 3, 64, 64), Settings(temperature=1e-6, kernels=3, keep="first")).layers[
        "layer1.0.conv1"
    ]
    assert (record.attention.kernel[0, :3] == 0).any()
    assert drawings.layer_data("en", record, None, COST)["heads"]["kernel"]["kept"] == [True, True, True, False]


def test_a_comparison_under_other_settings_carries_the_trained_numbers_as_ghosts():
    torch.manual_seed(0)
    model, pictures = od_resnet18(10, width=8, stem="small").eval(), torch.randn(2, 3, 64, 64)
    layer, trained = (explain(model, pictures, Settings(temperature=t)).layers["layer1.0.conv1"] for t in (3.0, 1.0))
    rows = drawings.side_by_side_data("en", layer, trained, ["a", "b"])["rows"]
    assert rows[1]["trained"]["heads"]["channel"] == pytest.approx(trained.attention.channel[1], abs=1e-4)
    assert rows[1]["heads"]["channel"] == pytest.approx(layer.attention.channel[1], abs=1e-4)
    assert rows[1]["trained"]["alts"]["channel"] == f"b: {describe_head('en', 'channel', trained.attention.channel[1])}"
    assert [row["trained"] for row in drawings.side_by_side_data("en", trained, None, ["a", "b"])["rows"]] == [
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (999, "999"), (1000, "1.00 thousand"), (14_743, "14.7 thousand"), (999_499, "999 thousand"),
     (999_600, "1.00 million"), (2_359_296, "2.36 million"), (1_814_073_344, "1.81 billion")],
)  # fmt: skip
def test_a_count_is_said_to_three_digits(number, words):
    assert drawings.count_text("en", number) == words


def test_a_layer_says_what_it_costs_beside_an_ordinary_convolution(small_model, trained):
    costs = {layer.name: layer for layer in cost(small_model, 64)}
    record, name = trained.layers["layer2.0.conv1"], "layer2.0.conv1"
    sentence = drawings.layer_data("en", record, None, costs[name])["cost"]
    plain = torch.nn.Conv2d(record.weight_shape[2], record.weight_shape[1], 3, bias=False).weight.numel()
    assert f"{drawings.count_text('en', costs[name].parameters)} parameters" in sentence
    assert f"{drawings.count_text('en', costs[name].multiply_adds)} multiply-adds;" in sentence
    positions = record.output_shape[1] * record.output_shape[2]
    assert sentence.endswith(f": {drawings.count_text('en', plain)} and {drawings.count_text('en', plain * positions)}")


# --- differences from the typical picture -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def typical(small_model, images):
    """What is typical of the other pictures."""
    layers = explain(small_model, images[1:]).layers
    return {name: Heads(*(head.mean(0) for head in layer.attention)) for name, layer in layers.items()}


def test_a_layers_difference_is_its_attention_minus_the_typical_and_so_are_the_ghosts(changed, trained, typical):
    for name, layer in changed.layers.items():
        data = drawings.layer_data("en", layer, trained.layers[name], COST, typical[name])
        for head in HEADS:
            usual = getattr(typical[name], head)
            now, before = (getattr(record.layers[name].attention, head)[0] - usual for record in (changed, trained))
            np.testing.assert_allclose(data["heads"][head]["values"], now, atol=5.1e-5)
            np.testing.assert_allclose(data["heads"][head]["trained"]["values"], before, atol=5.1e-5)
            assert data["heads"][head]["alt"] == describe_difference("en", head, now)
            assert data["heads"][head]["trained"]["alt"] == describe_difference("en", head, before)


def test_a_glance_at_differences_shows_them_in_order_and_still_counts_the_kernels_in_effect(changed, trained, typical):
    data = drawings.glance_data("en", changed, trained, "layer1.0.conv1", places(changed), typical)
    span = data["span"]
    for shown, (name, layer) in zip(data["layers"], changed.layers.items(), strict=True):
        before = trained.layers[name].attention
        for head in ("channel", "filter"):
            usual = getattr(typical[name], head)
            for strip, attention in ((shown[head], layer.attention), (shown["ghost"][head], before)):
                shift = (getattr(attention, head)[0] - usual).clip(-span, span)
                np.testing.assert_allclose(cells(strip, span), shift, atol=0.0041 * span)
        np.testing.assert_allclose(shown["kernel"], layer.attention.kernel[0] - typical[name].kernel, atol=5.1e-5)
        np.testing.assert_allclose(shown["ghost"]["kernel"], before.kernel[0] - typical[name].kernel, atol=5.1e-5)
    assert [layer["effective"] for layer in data["layers"]] == [
        layer["effective"]
        for layer in drawings.glance_data("en", changed, None, "layer1.0.conv1", places(changed))["layers"]
    ]


def all_differences(records, typical):
    """Every number that is drawn of these records, in numpy's own words."""
    return np.concatenate(
        [
            (values - usual).ravel()
            for record in records
            for name, layer in record.layers.items()
            for values, usual in zip(layer.attention, typical[name], strict=True)
        ]
    )


def test_glance_and_layer_share_one_scale_that_holds_99_percent_of_all_numbers(changed, trained, typical):
    end = drawings.scale_end_of(changed, trained, typical)
    sizes = np.sort(np.abs(all_differences((changed, trained), typical)))
    assert end >= sizes[int(0.99 * (len(sizes) - 1))]
    assert end / 2.51 < sizes[int(0.99 * (len(sizes) - 1)) + 1]  # no step of 1, 2, 5 below would do
    assert drawings.glance_data("en", changed, trained, "", places(changed), typical)["span"] == end
    name = "layer1.0.conv1"
    layer = drawings.layer_data("en", changed.layers[name], trained.layers[name], COST, typical[name], end)
    row = drawings.side_by_side_data("en", changed.layers[name], None, ["a"], typical[name], end)
    assert (layer["span"], row["span"]) == (end, end)


def test_the_glance_names_the_layer_whose_drawn_differences_are_largest_on_average(changed, trained, typical):
    for record in (changed, trained):
        heads = {
            name: [np.abs(values - usual).mean() for values, usual in zip(layer.attention, typical[name], strict=True)]
            for name, layer in record.layers.items()
        }
        name = max(heads, key=lambda name: np.mean(heads[name]))
        most = int(np.argmax(heads[name]))
        note = drawings.glance_data("en", record, None, "", places(record), typical)["note"]
        assert note.startswith(
            f"Furthest from typical: {name}, by {np.mean(heads[name]):.2f} on average over its heads, "
            f"most in {HEADS[most]} attention, {heads[name][most]:.2f}."
        )


def test_a_glance_says_what_the_ghosts_are(changed, trained, typical):
    for usual, marks in ((None, "Dots and ticks"), (typical, "Dots")):
        for reference, ghosts in ((None, False), (trained, True)):
            note = drawings.glance_data("en", changed, reference, "", places(changed), usual)["note"]
            assert (f"{marks}: as trained; for channel and filter, hold the button." in note) == ghosts


def test_differences_side_by_side_are_each_pictures_own(small_model, images, typical):
    name = "layer2.0.conv1"
    layer = explain(small_model, images).layers[name]
    data = drawings.side_by_side_data("en", layer, layer, ["a", "b", "c"], typical[name])
    for n, row in enumerate(data["rows"]):
        for head in HEADS:
            shift = getattr(layer.attention, head)[n] - getattr(typical[name], head)
            np.testing.assert_allclose(row["heads"][head], shift, atol=5.1e-5)
            np.testing.assert_allclose(row["trained"]["heads"][head], shift, atol=5.1e-5)
    assert f"−{data['span']:g} to +{data['span']:g}" in data["note"]


def test_the_typical_picture_itself_differs_in_nothing(trained):
    typical = {name: Heads(*(head[0] for head in layer.attention)) for name, layer in trained.layers.items()}
    data = drawings.glance_data("en", trained, None, "layer1.0.conv1", places(trained), typical)
    assert data["span"] == LEAST_END
    assert data["note"].startswith("Typical everywhere.")
    for layer in data["layers"]:
        assert not any(layer["spatial"] + layer["kernel"])
        assert all(
            np.abs(cells(layer[head], LEAST_END)).max() < 0.0021 * LEAST_END * 2 for head in ("channel", "filter")
        )
        assert layer["alt"].count("is typical everywhere") == 4


@pytest.mark.parametrize(
    ("head", "shift", "sentence"),
    [
        ("kernel", [0.1, -0.2, 0.05, 0.05], "W1 +0.10, W2 −0.20 against their typical shares"),
        ("channel", [0.004, -0.004], "channel attention is typical everywhere"),
        (
            "filter",
            [0.0, 0.3, -0.1],
            "filter attention from −0.10 (channel 2) to +0.30 (channel 1) against the typical",
        ),
        (
            "spatial",
            [[0.0, 0.5], [-0.25, 0.0]],
            "spatial attention is highest against the typical at tap row 1, column 2, +0.50, lowest at row 2, column 1, −0.25",
        ),
    ],
)
def test_a_difference_is_described_in_one_sentence(head, shift, sentence):
    assert describe_difference("en", head, np.array(shift)) == sentence


def test_a_number_that_is_sent_is_shown_as_if_it_had_been_rounded_once():
    assert json_numbers(np.array([0.0150001, -0.0150001, 0.29, 0.5])) == [0.01501, -0.01501, 0.29, 0.5]
    random = np.random.default_rng(0).random(2000)
    numbers = np.float32(np.concatenate([random, *(np.round(random, 3) + less for less in (1e-7, -1e-7))])).astype(
        float
    )
    sent = json_numbers(numbers)
    np.testing.assert_allclose(sent, numbers, atol=1e-5)
    for digits in range(1, 5):
        assert [f"{number:.{digits}f}" for number in sent] == [f"{number:.{digits}f}" for number in numbers]


def test_a_signed_number_shows_its_sign_unless_it_rounds_to_nothing():
    assert [signed_text(value) for value in (0.125, -0.08, 0.004, -0.004)] == ["+0.12", "−0.08", "0.00", "0.00"]


@pytest.mark.parametrize(
    ("size", "end"),
    [(0.0, 0.05), (0.05, 0.05), (0.051, 0.1), (0.1, 0.1), (0.2, 0.2), (0.21, 0.5), (0.7, 1), (1.2, 2), (30, 50)],
)
def test_the_scale_of_differences_is_the_next_of_a_few(size, end):
    heads = Heads(np.full((1, 3, 3), -size, np.float32), None, np.full((1, 8), size, np.float32), None)
    assert scale_end([heads]) == end


def test_one_number_in_a_hundred_may_lie_beyond_the_scale():
    few = np.full(1000, 0.1)
    few[:9] = 0.9
    assert scale_end([Heads(None, few[None], None, None)]) == 0.1
    few[:20] = 0.9
    assert scale_end([Heads(None, few[None], None, None)]) == 1


def test_a_scale_of_no_numbers_has_an_end():
    assert scale_end([Heads(None, None, None, None)]) == LEAST_END
    assert scale_end([Heads(None, np.full((1, 4), np.nan), np.full((1, 4), np.inf), None)]) == LEAST_END


def test_absent_heads_keep_their_reason_among_differences():
    record = explain(od_resnet50(4, width=4).eval(), torch.randn(1, 3, 32, 32)).layers["layer1.0.conv1"]
    typical = Heads(*(None if head is None else head[0] for head in record.attention))
    assert "1×1" in drawings.layer_data("en", record, None, COST, typical)["heads"]["spatial"]["absent"]


def test_differences_are_plain_json_without_nan_even_where_attention_has_no_bounds(changed, trained, typical):
    broken = {name: Heads(*(head * np.nan for head in heads)) for name, heads in typical.items()}
    for usual in (typical, broken):
        json.dumps(
            drawings.glance_data("en", changed, trained, "layer1.0.conv1", places(changed), usual), allow_nan=False
        )
        for name, layer in changed.layers.items():
            json.dumps(drawings.layer_data("en", layer, trained.layers[name], COST, usual[name]), allow_nan=False)
            json.dumps(drawings.side_by_side_data("en", layer, layer, ["a"], usual[name]), allow_nan=False)


# --- languages --------------------------------------------------------------------------------------------------------


def drawn_in(language, record, reference, typical):
    """The data of all four drawings."""
    usual = None if typical is None else typical["layer2.0.conv1"]
    layer, before = record.layers["layer2.0.conv1"], reference and reference.layers["layer2.0.conv1"]
    return [
        drawings.prediction_data(language, record, reference, CLASSES),
        drawings.glance_data(language, record, reference, "layer2.0.conv1", places(record), typical),
        drawings.layer_data(language, layer, before, COST, usual),
        drawings.side_by_side_data(language, layer, before, ["räksmörgås"], usual),
    ]


NO_TEXTS = ("levels", "tones")  # numbers in base64, and colours


def texts_in(data):
    if isinstance(data, dict):
        return [text for key, value in data.items() if key not in NO_TEXTS for text in texts_in(value)]
    if isinstance(data, list):
        return [text for value in data for text in texts_in(value)]
    return [data] if isinstance(data, str) else []


def without_texts(data):
    if isinstance(data, dict):
        return {key: value if key in NO_TEXTS else without_texts(value) for key, value in data.items()}
    if isinstance(data, list):
        return [without_texts(value) for value in data]
    return "" if isinstance(data, str) else data


@pytest.mark.parametrize("differences", [False, True])
def test_chinese_drawings_hold_no_english_word(changed, trained, typical, differences):
    names = [re.escape(first_synonym(name)) for name in CLASSES] + ["räksmörgås", r"[\w.]*(layer|conv)[\w.]*"]
    names += [r"\{\w+\}", "nat", "Shift"]  # placeholders, the unit of entropy, and a key
    for data in drawn_in("zh", changed, trained, typical if differences else None):
        for text in texts_in(data):
            assert not re.findall("[A-Za-z]{3,}", re.sub("|".join(names), "", text)), text


@pytest.mark.parametrize("differences", [False, True])
def test_languages_change_texts_and_no_number(changed, trained, typical, differences):
    english, chinese = (
        without_texts(drawn_in(language, changed, trained, typical if differences else None)) for language in LANGUAGES
    )
    assert english == chinese


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_exists_in_every_language(language):
    values = {"spatial": np.eye(3), "channel": np.array([0.1, 0.9]), "filter": np.array([0.9, 0.1])}
    for head in HEADS:
        for numbers in (values.get(head, np.array([0.9, 0.1])), np.full((2, 2) if head == "spatial" else 2, 0.5)):
            assert describe_head(language, head, numbers)
            assert describe_difference(language, head, numbers - 0.5)
        assert say(language, f"layer.{head}_absent")
    for keep in ("first", "strongest"):
        for compensate in (False, True):
            for tempered in (HEADS, ("spatial",)):
                settings = Settings(2.0, tempered, 2, keep, compensate, ("kernel",))
                assert "2" in drawings.describe_settings(language, settings)


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (1234, "1234"), (9994, "9994"), (9996, "1.00 万"), (14_743, "1.47 万"), (2_359_296, "236 万"),
     (12_345_678, "1230 万"), (99_960_000, "1.00 亿"), (1_814_073_344, "18.1 亿"), (2 * 10**12, "2.00 万亿")],
)  # fmt: skip
def test_a_count_in_chinese_goes_by_ten_thousands(number, words):
    assert drawings.count_text("zh", number) == words


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("tabby cat.jpg", "tabby cat.jpg"),
        ("小狗 👩\u200d🚀", "小狗 👩\u200d🚀"),
        ("invoice\u202egpj.exe", "invoicegpj.exe"),
        (" a\r\n\tb\x00\x7f c ", "a b c"),
        ("\ud800x\u2066y\u2069\ufeff\xad", "\ufffdxy"),
        ("<b>&amp;", "<b>&amp;"),
    ],
)
def test_a_clean_name_has_no_character_that_hides_or_reorders(name, clean):
    assert clean_name(name) == clean


def test_names_of_others_are_clean_wherever_a_drawing_shows_them(trained):
    name, clean = "a\u202e\n<b>", "a <b>"
    record = type(trained)(trained.settings, trained.logits, {name: trained.layers["layer1.0.conv1"]})
    data = drawings.glance_data("en", record, None, name, {name: (name, name)})["layers"][0]
    assert data["name"] == name  # by which it is chosen
    assert (data["stage"], data["label"]) == (clean, clean)
    assert data["alt"].startswith(f"{clean}: ")
    assert {row["name"] for row in drawings.prediction_data("en", record, None, [name] * 5)["rows"]} == {clean}
    row = drawings.side_by_side_data("en", record.layers[name], None, [name])["rows"][0]
    assert row["title"] == clean
    assert all(alt.startswith(f"{clean}: ") for alt in row["alts"].values())


def test_a_layer_stands_where_its_caller_says(trained):
    stages = {name: (f"stage {i // 4}", f"{i % 4}") for i, name in enumerate(trained.layers)}
    shown = drawings.glance_data("en", trained, None, "", stages)["layers"]
    assert [(layer["stage"], layer["label"]) for layer in shown] == list(stages.values())


# --- JavaScript and CSS -----------------------------------------------------------------------------------------------

SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in files("odconv.drawings").iterdir() if path.name.endswith(".js")}  # fmt: skip
HOLE = "\0"  # where a template literal is filled in


def literals(source):
    """The strings and template literals of a JavaScript file, the latter with ``HOLE`` for each ``${...}``."""
    found = []

    def code(i, end):
        """Read code from i to ``end`` outside literals; the index behind it."""
        depth = 0
        while i < len(source):
            character = source[i]
            if source.startswith("//", i):
                i = source.index("\n", i)
            elif character == "/" and source[:i].rstrip()[-1] in "(,=:":  # a regular expression
                i = re.compile(r"/(\\.|\[[^\]]*\]|[^/\\])+/").match(source, i).end()
            elif character in "\"'":
                close = source.index(character, i + 1)
                found.append(source[i + 1 : close])
                i = close + 1
            elif character == "`":
                i = template(i + 1)
            elif character == end and depth == 0:
                return i + 1
            else:
                depth += (character == "{") - (character == "}")
                i += 1
        return i

    def template(i):
        text = ""
        while source[i] != "`":
            if source.startswith("${", i):
                text, i = text + HOLE, code(i + 2, "}")
            else:
                text, i = text + source[i], i + 1
        found.append(text)
        return i + 1

    code(0, "")
    return found


def test_the_reader_of_literals_sees_what_is_written():
    source = """const a = (x) => `<b title="${x ? `in ${"side"}` : 'no'}">word ${{ k: 1 }.k}</b>`; // "not" `this`
    s.replace(/["'`]/g, "t");\n"""
    assert set(literals(source)) == {"side", f"in {HOLE}", "no", f'<b title="{HOLE}">word {HOLE}</b>', "t"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_javascript_says_nothing_of_its_own(name):
    """Single words in strings are ids and events here; what is drawn of them, tests/browser reads on a Chinese page."""
    # Of the equations, which are written the same in every language.
    symbols = set("yxaWifscwΣ") | set("gzAMbTℓσ") | {"nbsp", "GAP", "ReLU", "BN", "softmax", "exp"}
    found = literals(SCRIPTS[name])
    assert len(found) > 2 or not re.search("<[a-z]", SCRIPTS[name])  # a file without HTML can do without
    for text in found:
        for attribute, value in re.findall(r'(aria-label|title|alt)="([^"]*)"', text):
            assert value in (HOLE, ""), (attribute, value)  # an empty one: the text stands beside the picture
        if "<" in text:
            words = set(re.findall(r"[^\W\d_]+", re.sub(r"<[^>]*>", " ", text)))
            assert words <= symbols, text
        elif not re.match(
            r"color-mix\(|translate\(| ?[\w-]+=|.*\[data-", text
        ):  # colours, places, attributes, selectors
            words = set(re.findall(r"[A-Za-z]{2,}", text))
            assert not (" " in text.strip() and words - symbols), text


def linear(colour):
    """Linear RGB of ``#rrggbb``."""
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


# Ottosson, https://bottosson.github.io/posts/oklab/
TO_LMS = np.array([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
                   [0.0883024619, 0.2817188376, 0.6299787005]])  # fmt: skip
TO_LAB = np.array([[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
                   [0.0259040371, 0.7827717662, -0.8086757660]])  # fmt: skip


def oklab(rgb):
    return TO_LAB @ np.cbrt(TO_LMS @ rgb)


def mixed(first, share, second):
    """Linear RGB of CSS's ``color-mix(in oklab, first share%, second)``, from and to linear RGB."""
    lab = share / 100 * oklab(first) + (1 - share / 100) * oklab(second)
    return (np.linalg.inv(TO_LMS) @ (np.linalg.inv(TO_LAB) @ lab) ** 3).clip(0, 1)


def contrast(one, other):
    """WCAG 2's contrast of two colours in linear RGB."""
    light, dark = sorted((np.dot([0.2126, 0.7152, 0.0722], colour) for colour in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_wcag():
    assert contrast(linear("#ffffff"), linear("#000000")) == pytest.approx(21)
    assert contrast(linear("#ffffff"), linear("#767676")) == pytest.approx(4.54, abs=0.005)
    np.testing.assert_allclose(mixed(linear("#E69F00"), 100, linear("#000000")), linear("#E69F00"), atol=1e-6)


def css_share(pattern):
    return float(re.search(pattern.replace("N", r"(\d+)"), drawings.style())[1])


# Of Streamlit's themes, and of a page without one.
THEMES = [*zip(PAPER, INK, strict=True), ("#ffffff", "#31333F"), ("#0e1117", "#fafafa"), ("#191917", "#fafafa")]


@pytest.mark.parametrize(("paper", "ink"), THEMES)
def test_captions_are_read_with_a_contrast_of_at_least_4_5_on_paper_and_on_the_chosen_column(paper, ink):
    paper, ink = linear(paper), linear(ink)
    quiet = mixed(ink, css_share(r"--quiet: color-mix\(in oklab, var\(--ink\) N%, var\(--paper\)\)"), paper)
    assert contrast(quiet, paper) >= 4.5
    well = mixed(ink, css_share(r"\.od \.well \{ fill: color-mix\(in oklab, var\(--ink\) N%, var\(--paper\)\)"), paper)
    assert contrast(quiet, well) >= 4.5
    assert "opacity" not in re.search(r"\.od \.faint \{[^}]*\}", drawings.style())[0]
    for grey in (r"\.faint", r"\.ghost-text", r"\.caption", r"\.note", r"\.ghost-value"):
        assert re.search(rf"\.od {grey} \{{[^}}]*(fill|color): var\(--quiet\)", drawings.style()), grey


def test_a_kernels_tone_is_the_same_in_every_theme_and_stands_out_from_paper_and_from_its_neighbours():
    line = re.search(r"const kernelTone = [^;]*;", SCRIPTS["draw.js"])[0]
    assert set(re.findall(r"var\((--[\w-]+)\)", line)) == {"--kernel-first", "--kernel-last"}
    ends = [linear(re.search(rf"--kernel-{end}: (#\w{{6}});", drawings.style())[1]) for end in ("first", "last")]
    for count in (2, 4):
        tones = [mixed(ends[1], 100 * i / (count - 1), ends[0]) for i in range(count)]
        for tone in tones:
            assert all(contrast(tone, linear(paper)) >= 2 for paper in PAPER)
        for one, other in pairwise(tones):
            assert np.linalg.norm(oklab(one) - oklab(other)) >= 0.1  # ten steps of what is just told apart


def test_bars_keep_their_width_however_narrow_their_column_is():
    css = drawings.style()
    wide = re.search(r'li \{ display: grid; grid-template: "name track value" / (.*?);', css)[1]
    assert "minmax(90px, 1fr)" in wide
    least = sum(map(int, re.findall(r"(\d+)px", wide))) + 2 * 10  # and two gaps
    narrow = re.search(
        r'@container \(max-width: (\d+)px\) \{ \.od \.bars li \{ grid-template: "name value" "track track"', css
    )
    assert int(narrow[1]) >= least
