"""Measuring: every number is what a plain loop counts, and stands with its conditions."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from odconv import HEADS, Heads, Settings, explain, load_checkpoint
from odconv.backbones import od_mobilenetv2
from odconv.checkpoint import save_checkpoint
from odconv.training.data import prepare_batch
from odconv.training.measure import (
    Preparation,
    accuracy,
    attentions,
    hits,
    measure,
    per_class,
    predict_logits,
    questions,
    summarise_layer,
    summarise_network,
    wilson,
)
from odconv.training.network import build
from odconv.training.recipe import Recipe
from tests.training.conftest import CARD


@pytest.fixture(scope="module")
def measured(checkpoint, pictures):
    return measure(checkpoint, pictures, ("ant", "bee", "cow"), temperatures=(0.3, 1), batch=5)


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hit", "n"), [(0, 10), (10, 10), (5, 10), (1, 3), (4221, 10_000), (1, 1)])
def test_the_ends_of_a_wilson_interval_are_where_the_score_test_just_accepts(hit, n):
    """By definition: p with |hit/n - p| = z · sqrt(p (1 - p) / n), found by bisection."""

    def accepts(p):
        return abs(hit / n - p) <= 1.959964 * math.sqrt(p * (1 - p) / n)

    for end, outer in zip(wilson(hit, n), (0.0, 1.0), strict=True):
        inside = hit / n
        if inside == outer:
            assert end == pytest.approx(outer, abs=1e-12)
            continue
        for _ in range(60):
            middle = (inside + outer) / 2
            inside, outer = (middle, outer) if accepts(middle) else (inside, middle)
        assert end == pytest.approx(inside, abs=1e-6)


def test_a_wilson_interval_is_the_published_one():
    low, high = wilson(81, 263)  # Newcombe, Statistics in Medicine 17 (1998), table I
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_hits_are_what_sorting_each_row_gives():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(200, 7)).astype(np.float32), random.integers(0, 7, 200)
    for k in (1, 3, 5, 20):
        expected = [
            label in sorted(range(7), key=lambda i: -row[i])[:k] for row, label in zip(logits, labels, strict=True)
        ]
        assert hits(logits, labels, k).tolist() == expected


def test_ties_go_to_the_lower_class_so_that_a_constant_network_hits_by_chance_alone():
    assert hits(np.zeros((4, 4)), np.arange(4), 2).tolist() == [True, True, False, False]


def test_accuracy_is_counted_in_percent_with_its_interval():
    found = accuracy(np.eye(10)[[0, 1, 2, 2]], np.array([0, 1, 2, 9]))
    assert (found["top1"], found["top5"]) == (75, 75)
    assert found["top1_interval"] == [round(100 * end, 2) for end in wilson(3, 4)]


def test_classes_are_counted_apart():
    logits = np.eye(3, dtype=np.float32)[[0, 0, 1, 2, 1]]
    found = per_class(logits, np.array([0, 0, 0, 1, 1]), ("a", "b", "c"))
    assert {name: (entry["top1"], entry["n"]) for name, entry in found.items()} == {"a": (66.67, 3), "b": (50, 2)}
    assert found["b"]["top1_interval"] == [round(100 * end, 2) for end in wilson(1, 2)]


def test_the_summary_of_a_layer_is_what_loops_over_entries_give():
    random = np.random.default_rng(0)
    kernel = random.dirichlet((1, 1, 1), 9).astype(np.float32)
    heads = Heads(random.random((9, 3, 3)), random.random((9, 5)), None, kernel)
    found = summarise_layer(heads)
    assert "filter" not in found
    for head in ("spatial", "channel", "kernel"):
        values = getattr(heads, head).reshape(9, -1)
        deviations = [math.sqrt(np.mean((column - np.mean(column)) ** 2)) for column in values.T.astype(np.float64)]
        assert found[head] == pytest.approx(np.mean(deviations), abs=1e-5)
    effective = [math.exp(-sum(s * math.log(s) for s in map(float, shares))) for shares in kernel]
    assert found["effective_kernels"] == pytest.approx(np.mean(effective), abs=1e-3)


# --- passes -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def x(pictures):
    """All pictures as the network gets them."""
    return prepare_batch(torch.tensor(pictures.pixels), 16, CARD["mean"], CARD["std"])


def test_logits_of_all_pictures_are_those_of_one_pass_in_the_number_type_that_is_asked_for(checkpoint, pictures, x):
    settings, how = Settings(3.0, kernels=2, compensate=True), Preparation(16, CARD["mean"], CARD["std"], batch=5)
    found = predict_logits(checkpoint.model, pictures, how, settings)
    np.testing.assert_allclose(found, explain(checkpoint.model, x, settings).logits, rtol=1e-3, atol=1e-4)
    half = predict_logits(checkpoint.model, pictures, replace(how, precision="bfloat16"), settings)
    assert torch.equal(torch.tensor(half), torch.tensor(half).bfloat16().float())
    assert not np.array_equal(half, found)


def test_attentions_of_all_pictures_are_those_of_one_pass(checkpoint, pictures, x):
    how = Preparation(16, CARD["mean"], CARD["std"], batch=5)
    found = attentions(checkpoint.model, pictures, how, Settings(2.0))
    for name, record in explain(checkpoint.model, x, Settings(2.0)).layers.items():
        for ours, theirs in zip(found[name], record.attention, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_questions_cover_every_count_and_temperature():
    assert questions(3, (0.5, 1.0, 2.0)) == {
        "first_n_kernels": {
            "1": Settings(kernels=1, keep="first"),
            "2": Settings(kernels=2, keep="first"),
            "3": Settings(),
        },
        "strongest_n_kernels": {"1": Settings(kernels=1), "2": Settings(kernels=2), "3": Settings()},
        "temperature": {"0.5": Settings(0.5), "1": Settings(), "2": Settings(2.0)},
    }
    assert questions(1, (2.0,)) == {"temperature": {"2": Settings(2.0)}}
    assert questions(None, (1, 2)) == {}


def test_every_accuracy_is_what_one_pass_gives(checkpoint, pictures, measured, x):
    different = set()
    for section, entries in questions(4, (0.3, 1)).items():
        assert measured[section].keys() == entries.keys()
        for key, settings in entries.items():
            logits = explain(checkpoint.model, x, settings).logits
            right = sum(max(range(3), key=row.__getitem__) == n for row, n in zip(logits, pictures.labels, strict=True))
            assert (measured[section][key]["top1"], measured[section][key]["top5"]) == (round(100 * right / 12, 2), 100)
            different.add(right)
    assert measured["top1"] == measured["temperature"]["1"]["top1"]
    assert len(different) > 1


def test_every_number_stands_with_its_conditions(measured):
    assert measured["n"] == 12
    for part in ("n = 12", "16 px", "float32", "CPU", torch.__version__, "95 %"):
        assert part in measured["what"]
    assert sum(entry["n"] for entry in measured["per_class"].values()) == 12
    assert sum(entry["top1"] * entry["n"] for entry in measured["per_class"].values()) == pytest.approx(
        12 * measured["top1"], abs=0.1
    )
    assert measured["between_pictures"]["n"] == 12
    layers = measured["between_pictures"]["layers"]
    assert len(layers) == 16
    assert all(set(HEADS) < set(layer) for layer in layers.values())


def test_a_network_without_attention_is_measured_without(pictures, tmp_path):
    path = tmp_path / "static.safetensors"
    save_checkpoint(build(Recipe(arch="resnet18", width=4), 3), CARD, path)
    found = measure(load_checkpoint(path), pictures, ("ant", "bee", "cow"), (1,))
    assert not {"first_n_kernels", "temperature", "between_pictures"} & set(found)


def test_layers_without_a_head_are_summarised_without_it(pictures):
    torch.manual_seed(0)
    model, how = od_mobilenetv2(3, num_kernels=1, width_mult=0.35).eval(), Preparation(16, CARD["mean"], CARD["std"])
    found = attentions(model, pictures.evenly_spaced(2), how, Settings())
    assert set(summarise_layer(found["features.1.conv.0.0"])) == {"spatial", "channel"}  # depth-wise
    assert set(summarise_layer(found["features.1.conv.1"])) == {"channel", "filter"}  # 1x1


def test_a_networks_summary_is_the_mean_over_layers_and_counts_those_in_which_every_head_moves():
    layers = [
        {"spatial": 0.05, "channel": 0.06, "kernel": 0.1, "effective_kernels": 2.0},
        {"channel": 0.1},  # 1x1, depth-wise, K = 1
        {"spatial": 0.01, "channel": 0.2, "kernel": 0.1, "effective_kernels": 3.0},
    ]
    expected = {"spatial": 0.03, "channel": 0.12, "kernel": 0.1, "effective_kernels": 2.5, "moving_layers": 2}
    assert summarise_network(layers) == expected
    assert summarise_network([]) == {}
