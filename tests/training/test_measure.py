"""Measuring: every number is what a plain loop counts, and stands with its conditions."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import cards
from odconv import HEADS, Heads, Settings, explain, load_checkpoint
from odconv.checkpoint import save_checkpoint
from odconv.training import measure as measuring
from odconv.training.data import prepare_batch
from odconv.training.measure import Preparation, accuracy, hits, measure, predict_logits, questions, wilson
from odconv.training.network import build
from odconv.training.recipe import Recipe
from tests.training.conftest import CARD, COLOURS, MEAN, STD

HOW = Preparation(16, MEAN, STD, batch=5)


@pytest.fixture
def x(pictures):
    """All pictures as the network gets them."""
    return prepare_batch(torch.tensor(pictures.pixels), 16, MEAN, STD)


@pytest.mark.parametrize(("hit", "n"), [(0, 10), (10, 10), (1, 3), (4221, 10_000)])
def test_the_ends_of_a_wilson_interval_are_where_the_score_test_just_accepts(hit, n):
    """By definition: p with |hit/n - p| = z · sqrt(p (1 - p) / n)."""
    for end, outer, sign in zip(wilson(hit, n), (0, 1), (-1, 1), strict=True):
        expected = 0 if outer == hit / n else 1.959964 * math.sqrt(end * (1 - end) / n)
        assert sign * (end - hit / n) == pytest.approx(expected, abs=1e-9)
    assert [round(end, 4) for end in wilson(81, 263)] == [0.2553, 0.3662]  # Newcombe, Stat. Med. 17 (1998), table I


def test_hits_are_what_sorting_each_row_gives_and_ties_go_to_the_lower_class():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(200, 7)).astype(np.float32), random.integers(0, 7, 200)
    for k in (1, 3, 5, 20):
        best = [sorted(range(7), key=lambda i: -row[i])[:k] for row in logits]
        assert hits(logits, labels, k).tolist() == [label in some for label, some in zip(labels, best, strict=True)]
    assert hits(np.zeros((4, 4)), np.arange(4), 2).tolist() == [True, True, False, False]


def test_accuracy_is_counted_in_percent_with_its_interval_for_all_and_for_each_class():
    found = accuracy(np.eye(10)[[0, 1, 2, 2]], np.array([0, 1, 2, 9]))
    assert (found["top1"], found["top5"]) == (75, 75)
    assert found["top1_interval"] == [round(100 * end, 2) for end in wilson(3, 4)]
    each = measuring.per_class(np.eye(2)[[0, 0, 1, 0, 1]], np.array([0, 0, 0, 1, 1]), ("a", "b"))
    assert {name: (entry["top1"], entry["n"]) for name, entry in each.items()} == {"a": (66.67, 3), "b": (50, 2)}
    assert each["b"]["top1_interval"] == [round(100 * end, 2) for end in wilson(1, 2)]


def test_the_summary_of_a_layer_is_what_loops_over_entries_give():
    random = np.random.default_rng(0)
    kernel = random.dirichlet((1, 1, 1), 9).astype(np.float32)
    heads = Heads(random.random((9, 3, 3)), random.random((9, 5)), None, kernel)
    expected = {}
    for head in ("spatial", "channel", "kernel"):
        columns = getattr(heads, head).reshape(9, -1).T.astype(np.float64)
        expected[head] = np.mean([math.sqrt(np.mean((column - np.mean(column)) ** 2)) for column in columns])
    effective = [math.exp(-sum(s * math.log(s) for s in map(float, shares))) for shares in kernel]
    expected["effective_kernels"] = np.mean(effective)
    assert measuring.summarise_layer(heads) == pytest.approx(expected, abs=1e-3)


def test_a_networks_summary_is_the_mean_over_layers_and_counts_those_in_which_every_head_moves():
    kernel = {"kernel": 0.1, "effective_kernels": 2.0}
    layers = [{"spatial": 0.05, "channel": 0.06} | kernel, {"channel": 0.1}, {"spatial": 0.01, "channel": 0.2} | kernel]
    expected = {"spatial": 0.03, "channel": 0.12, "moving_layers": 2} | kernel
    assert measuring.summarise_network(layers) == expected
    assert measuring.summarise_network([]) == {}


def test_passes_over_all_pictures_give_what_one_pass_does_in_the_number_type_that_is_asked_for(checkpoint, pictures, x):
    settings = Settings(3.0, kernels=2, compensate=True)
    expected = explain(checkpoint.model, x, settings)
    found = predict_logits(checkpoint.model, pictures, HOW, settings)
    np.testing.assert_allclose(found, expected.logits, rtol=1e-3, atol=1e-4)
    half = predict_logits(checkpoint.model, pictures, replace(HOW, precision="bfloat16"), settings)
    assert torch.equal(torch.tensor(half), torch.tensor(half).bfloat16().float())
    assert not np.array_equal(half, found)
    for name, heads in measuring.attentions(checkpoint.model, pictures, HOW, settings).items():
        for ours, theirs in zip(heads, expected.layers[name].attention, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_questions_cover_every_count_and_temperature():
    assert questions(3, (0.5, 1.0)) == {
        "first_n_kernels": {str(n): Settings(kernels=n, keep="first") for n in (1, 2)} | {"3": Settings()},
        "strongest_n_kernels": {"1": Settings(kernels=1), "2": Settings(kernels=2), "3": Settings()},
        "temperature": {"0.5": Settings(0.5), "1": Settings()},
    }
    assert questions(1, (2.0,)) == {"temperature": {"2": Settings(2.0)}}


def test_every_accuracy_is_what_one_pass_gives_and_stands_with_its_conditions(checkpoint, pictures, x):
    measured, different = measure(checkpoint, pictures, tuple(COLOURS), temperatures=(0.3, 1)), set()
    for section, entries in questions(4, (0.3, 1)).items():
        assert measured[section].keys() == entries.keys()
        for key, settings in entries.items():
            logits = explain(checkpoint.model, x, settings).logits
            right = sum(max(range(3), key=row.__getitem__) == n for row, n in zip(logits, pictures.labels, strict=True))
            assert (measured[section][key]["top1"], measured[section][key]["top5"]) == (round(100 * right / 12, 2), 100)
            different.add(right)
    assert len(different) > 1
    assert measured["top1"] == measured["temperature"]["1"]["top1"]
    assert measured["n"] == measured["between_pictures"]["n"] == 12
    for part in ("n = 12", "16 px", "float32", "CPU", torch.__version__, "95 %"):
        assert part in measured["what"]
    assert [entry["n"] for entry in measured["per_class"].values()] == [4, 4, 4]
    layers = measured["between_pictures"]["layers"]
    assert len(layers) == 16
    assert all(set(HEADS) < set(layer) for layer in layers.values())


@pytest.mark.parametrize("kernels", [1, 3])
def test_the_tables_of_cards_are_what_evaluation_measured_and_static_networks_have_no_rows(pictures, tmp_path, kernels):
    entries = {}
    for arch in ("resnet18", "od_resnet18"):
        model, path = build(Recipe(arch=arch, width=4, kernels=kernels), 3), tmp_path / f"{arch}.safetensors"
        save_checkpoint(model, CARD, path)
        entries[path] = measure(load_checkpoint(path), pictures, tuple(COLOURS), (0.3, 1.0))
        save_checkpoint(model, CARD | {"measured": entries[path]}, path)
    assert not {"first_n_kernels", "temperature", "between_pictures"} & set(entries[tmp_path / "resnet18.safetensors"])
    tables = [[line.strip("| ").split(" | ") for line in table.splitlines()] for table in cards.tables(list(entries))]
    assert [len(table) - 2 for table in tables] == [2, int(kernels > 1), 1, 1]  # under a header and a line
    accuracy, kept, temperatures, moves = (dict(zip(rows[0], rows[-1], strict=True)) for rows in tables)
    measured = entries[path]
    low, high = measured["top1_interval"]
    assert accuracy["top-1 %"] == f"{measured['top1']:.2f} ({low:.2f} to {high:.2f})"
    assert accuracy["parameters"] == cards.count_text("en", sum(p.numel() for p in model.parameters()))
    assert temperatures["T = 0.3"] == f"{measured['temperature']['0.3']['top1']:.2f}"
    channel = [layer["channel"] for layer in measured["between_pictures"]["layers"].values()]
    assert moves["channel"] == f"{np.mean(channel):.3f}; {sum(value >= 0.05 for value in channel)} of {len(channel)}"
    if kernels == 1:
        assert (moves["kernel"], moves["effective kernels"]) == ("none", "1")
    else:
        assert list(kept)[1:] == [f"{n} {keep}" for keep in ("strongest", "first") for n in (1, 2, 3)]
        assert kept["1 first"] == f"{measured['first_n_kernels']['1']['top1']:.2f}"
