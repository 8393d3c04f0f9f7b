"""Which classes use which kernel: what sorting the class means gives, and silence where they differ by chance."""

from pathlib import Path

import numpy as np
import pytest

from odconv import Heads, drawings
from odconv.atlas import RANKS, Atlas, TypicalHead, TypicalLayer, load_atlas
from odconv.kernel_use import kernel_use
from odconv.words import LANGUAGES, say

ATLAS = Path(__file__).parents[1] / "assets" / "weights" / "od_resnet18_w32_4x_tiny_imagenet.atlas.npz"


def layer_of(means, deviation=0.01):
    """A layer whose classes have these mean shares, (classes, K), and whose pictures differ by ``deviation``."""
    means = np.array(means, np.float16)
    mean = np.nan_to_num(means.astype(np.float32)).mean(0)
    head = TypicalHead(mean, np.full(means.shape[1], deviation, np.float32), np.zeros(RANKS + 1, np.float32))
    return TypicalLayer(Heads(None, None, None, head), means)


def used(means, deviation=0.01, n=50):
    return kernel_use(layer_of(means, deviation), np.full(len(means), n))


@pytest.fixture(scope="module")
def shipped() -> Atlas:
    return load_atlas(ATLAS)


def test_in_the_shipped_atlas_most_and_least_are_the_ends_of_each_column(shipped):
    for layer in shipped.layers.values():
        for kernel, column in zip(kernel_use(layer, shipped.counts), layer.kernel_by_class.T, strict=True):
            pairs = sorted((-float(share), label) for label, share in enumerate(column))
            assert list(kernel.most) == [label for _, label in pairs[:3]]
            pairs = sorted((float(share), label) for label, share in enumerate(column))
            assert list(kernel.least) == [label for _, label in pairs[:3]]
            np.testing.assert_array_equal(kernel.shares, column.astype(np.float64))
            for label in (0, 7, 199):
                assert kernel.rank(label) == 1 + sum(float(share) > float(column[label]) for share in column)


def test_a_kernel_that_no_class_uses_is_preferred_by_none(shipped):
    four = kernel_use(shipped.layers["layer1.0.conv1"], shipped.counts)
    assert [kernel.preferred for kernel in four] == [True, True, True, False]


def test_classes_that_differ_by_chance_prefer_nothing():
    random = np.random.default_rng(0)
    same = np.clip(random.normal(0.5, 0.3, (50, 40, 100)), 0, 1)  # 40 classes of 50 pictures each, a hundred times
    means, deviations = same.mean(0), same.std((0, 1))
    found = [used(means[:, [i, i]], deviations[i])[0].preferred for i in range(100)]
    assert sum(found) <= 1  # of a hundred
    means[3] += 0.3
    assert all(used(means[:, [i, i]], deviations[i])[0].preferred for i in range(100))


def test_ties_go_to_the_lower_class_and_no_class_is_at_both_ends():
    first, second = used([[0.5, 0.5], [0.2, 0.8], [0.5, 0.5], [0.5, 0.5], [0.2, 0.8], [0.9, 0.1]])
    assert (first.most, first.least) == ((5, 0, 2), (1, 4, 3))
    assert (second.most, second.least) == ((1, 4, 0), (5, 2, 3))
    assert [first.rank(label) for label in range(6)] == [2, 5, 2, 2, 5, 1]
    same = used([[0.5, 0.5]] * 4)[0]
    assert not same.preferred
    assert not set(same.most) & set(same.least)
    assert len(used([[0.1, 0.9], [0.9, 0.1], [0.5, 0.5]])[0].most) == 1  # of three classes, one at either end


def test_a_class_whose_mean_is_no_number_is_left_out():
    kernel = used([[0.1, 0.9], [np.nan, np.nan], [0.9, 0.1], [0.4, 0.6], [0.3, 0.7]])[0]
    assert (kernel.most, kernel.least) == ((2, 3), (0, 4))
    assert kernel.rank(1) is None
    assert kernel.rank(4) == 3
    assert kernel.rank(5) is kernel.rank(-1) is None


def test_one_class_alone_prefers_nothing():
    assert not used([[0.1, 0.9]])[0].preferred


def test_a_layer_with_one_kernel_has_nothing_to_prefer(shipped):
    assert kernel_use(TypicalLayer(Heads(None, None, None, None), None), shipped.counts) is None
    assert used([[1.0], [1.0]]) is None


# --- in words -----------------------------------------------------------------------------------------------------------


def data_of(means, first=None, language="en", names="abcdefgh", counts=None, deviation=0.01):
    counts = np.full(len(means), 50) if counts is None else np.array(counts)
    kernels = kernel_use(layer_of(means, deviation), counts)
    return drawings.kernel_use_data(language, kernels, counts, list(names)[: len(means)], first)


MEANS = [[0.1, 0.9], [0.9, 0.1], [0.4, 0.6], [0.3, 0.7]]


def test_the_classes_at_either_end_and_the_pictures_own_are_said():
    data = data_of(MEANS, first=3, names=["ant, emmet", "bee", "cow", "doe"])
    assert data["rows"][0]["texts"] == {
        "most": "most: bee 0.90, cow 0.40",
        "least": "least: ant 0.10, doe 0.30",
        "here": "▼ doe 0.30, place 3 of 4",
    }
    assert data["rows"][1]["title"] == "W2"
    assert data["rows"][1]["first"] == pytest.approx(0.7, abs=1e-3)
    np.testing.assert_allclose(data["rows"][0]["shares"], np.array(MEANS)[:, 0], atol=1e-3)
    assert "its 50 validation pictures" in data["note"]
    assert "here" not in data_of(MEANS)["rows"][0]["texts"]
    assert data_of(MEANS)["rows"][0]["first"] is None


@pytest.mark.parametrize("language", LANGUAGES)
def test_where_no_class_prefers_a_kernel_no_class_is_listed(language):
    row = data_of([[0.5, 0.5], [0.502, 0.498], [0.501, 0.499]], 1, language)["rows"][0]
    assert row["texts"]["none"] == say(language, "forge.use_none", low="0.50", high="0.50")
    assert set(row["texts"]) == {"none", "here"}
    assert "3" not in row["texts"]["here"]
    unknown = data_of([[np.nan, 0.5], [np.nan, 0.5]], 0, language)["rows"][0]
    assert (unknown["texts"], unknown["shares"]) == ({"none": say(language, "forge.use_unknown")}, [])


def test_classes_with_different_numbers_of_pictures_are_counted_as_they_are():
    assert "its 20 to 50 validation pictures" in data_of(MEANS, counts=[50, 20, 30, 50])["note"]
    # The mean of one picture strays further: what is much for 50 pictures is nothing for one.
    assert data_of(MEANS, deviation=0.3)["rows"][0]["texts"].keys() == {"most", "least"}
    assert data_of(MEANS, counts=[1, 1, 1, 1], deviation=0.3)["rows"][0]["texts"].keys() == {"none"}
