"""The atlas of a network: every number is what numpy finds in all attentions at once, picture by picture."""

import copy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from odconv import explain, load_checkpoint
from odconv.atlas import FLOOR, atlas_beside, atlas_path, distances, fingerprint
from odconv.attention import Heads
from odconv.backbones import od_mobilenetv2, resnet18
from odconv.checkpoint import CheckpointError, save_checkpoint
from odconv.explain import spread
from odconv.training import atlas as command
from odconv.training import parts
from odconv.training.atlas import survey, typical_head
from odconv.training.data import DataError, Pictures, prepare_batch
from tests.training.conftest import CARD, MEAN, STD, arguments, refusal


def test_every_number_is_what_loops_over_pictures_classes_and_entries_give(checkpoint, pictures):
    # In float64, so that a picture gives the same in any batch; its record is float32.
    checkpoint = replace(checkpoint, model=copy.deepcopy(checkpoint.model).double())
    chosen = np.array(
        [5, 0, 11, 1, 6, 2, 7, 3]
    )  # 4, 3 and 1: counting classes alike differs from counting pictures alike
    uneven = Pictures(pictures.pixels[chosen], pictures.labels[chosen], pictures.names)
    found = survey(checkpoint, uneven, "abc")
    assert (found.network, found.counts.tolist(), found.pictures, found.classes) == ("abc", [4, 3, 1], 8, 3)
    records = explain(checkpoint.model, prepare_batch(torch.tensor(uneven.pixels), 16, MEAN, STD)).layers
    assert list(found.layers) == list(records)
    for name, record in records.items():
        for values, typical in zip(record.attention, found.layers[name].heads, strict=True):
            values = values.astype(np.float64)
            np.testing.assert_allclose(typical.mean, values.mean(0), atol=2**-22)
            np.testing.assert_allclose(typical.deviation, values.std(0), atol=2**-22)
            assert typical.spread == pytest.approx(spread(values), abs=2**-22)
            far = distances(values, values.mean(0), values.std(0))
            rounding = 2 * np.finfo(np.float32).eps / FLOOR  # of a difference, in deviations
            quantiles = np.quantile(far, [0, 0.5, 1])
            np.testing.assert_allclose(typical.distances[[0, 500, 1000]], quantiles, rtol=1e-5, atol=rounding)
            assert (np.diff(typical.distances) >= 0).all()
        for label in range(3):
            expected = record.attention.kernel[uneven.labels == label].mean(0)
            np.testing.assert_allclose(found.layers[name].kernel_by_class[label], expected, atol=2**-11)  # float16, < 1
    assert max(layer.kernel_by_class.std(0).max() for layer in found.layers.values()) > 0.01  # classes do differ


def test_a_gate_that_never_moves_has_no_deviation():
    typical = typical_head(np.full((100, 2, 2), 0.7, np.float32))
    np.testing.assert_array_equal(typical.mean, np.float32(0.7))
    assert typical.deviation.max() < 1e-6


def test_layers_without_a_head_are_there_without_it_and_a_network_without_attention_is_refused(pictures, tmp_path):
    for model in (od_mobilenetv2(3, num_kernels=1, width_mult=0.35), resnet18(3, width=4, stem="small")):
        save_checkpoint(model.eval(), CARD, tmp_path / f"{type(model).__name__}.safetensors")
    found = survey(load_checkpoint(tmp_path / "MobileNetV2.safetensors"), pictures, "abc")
    layer = found.layers["features.1.conv.0.0"]
    assert (layer.heads.filter, layer.heads.kernel, layer.kernel_by_class) == (None, None, None)
    assert found.layers["features.1.conv.1"].heads.spatial is None
    with pytest.raises(CheckpointError, match="three animals has no attention"):
        survey(load_checkpoint(tmp_path / "ResNet.safetensors"), pictures, "abc")


@pytest.mark.parametrize("sizes", [(1, 29), (10, 10, 10), (7, 1, 1, 21)], ids=str)
def test_sums_that_are_merged_are_those_over_all_pictures(sizes):
    random = np.random.default_rng(0)
    values = random.normal(1000, 1, (30, 3, 3))  # far from 0, where differences of squares would be lost
    shares, labels = random.dirichlet([1, 1], 30), random.integers(0, 4, 30)
    ends = np.cumsum((0, *sizes))
    some = [
        parts.add_up({"layer": Heads(values[a:b], None, None, shares[a:b])}, labels[a:b], 4) for a, b in pairwise(ends)
    ]
    merged = parts.merge_all([parts.unpack_sums(parts.pack_sums(one)) for one in some])
    assert list(merged.means) == ["layer/spatial", "layer/kernel"]
    for name, whole in (("layer/spatial", values), ("layer/kernel", shares)):
        np.testing.assert_allclose(merged.means[name], whole.mean(0), rtol=1e-14)
        np.testing.assert_allclose(merged.squares[name], ((whole - whole.mean(0)) ** 2).sum(0), rtol=1e-10)
    for label in range(4):
        assert merged.counts[label] == (labels == label).sum()
        np.testing.assert_allclose(merged.kernels["layer/kernel"][label], shares[labels == label].sum(0), rtol=1e-14)


def test_parts_of_different_networks_are_not_joined():
    one, other = (
        parts.add_up({name: Heads(None, np.ones((2, 3)), None, None)}, np.array([0, 1]), 2) for name in ("a", "b")
    )
    with pytest.raises(DataError, match="different networks"):
        parts.merge(one, other)
    for damaged in (parts.pack_sums(one)[:-30], b"", parts.pack({"counts": one.counts, "a/channel/mean": one.counts})):
        with pytest.raises(DataError, match="damaged"):
            parts.unpack_sums(damaged)


@pytest.mark.parametrize("shards", [2, 5, 12])
def test_an_atlas_in_shards_is_that_of_all_pictures_at_once(checkpoint, pictures, shards):
    checkpoint = replace(checkpoint, model=copy.deepcopy(checkpoint.model).double())
    whole, sharded = (survey(checkpoint, pictures, "abc", count) for count in (1, shards))
    np.testing.assert_array_equal(sharded.counts, whole.counts)
    for name, layer in whole.layers.items():
        for ours, theirs in zip(sharded.layers[name].heads, layer.heads, strict=True):
            assert (ours is None) == (theirs is None)
            if theirs is not None:
                np.testing.assert_allclose(ours.mean, theirs.mean, atol=2**-22)
                np.testing.assert_allclose(ours.deviation, theirs.deviation, atol=2**-22)
                rounding = 4 * np.finfo(np.float32).eps / FLOOR  # of a difference, in deviations
                np.testing.assert_allclose(ours.distances, theirs.distances, rtol=1e-5, atol=rounding)
        np.testing.assert_allclose(sharded.layers[name].kernel_by_class, layer.kernel_by_class, atol=2**-11)


@pytest.mark.parametrize("count", [1, 9_999, 10_000, 10_001, 25_000])
def test_every_picture_is_in_one_shard_and_no_shard_is_too_large(count):
    found = command.bounds(count, None)
    assert [i for start, end in found for i in range(start, end)] == list(range(count))
    assert max(end - start for start, end in found) <= 10_000
    for wrong in (0, count + 1):
        with pytest.raises(DataError, match=f"{count} pictures cannot be divided into {wrong} shards"):
            command.bounds(count, wrong)


def test_shards_looked_at_by_several_machines_make_the_same_file_bit_for_bit(own_weights, animals, tmp_path, capsys):
    common = {"weights": own_weights, "data": animals, "cache": tmp_path / "cache", "device": "cpu"}
    command.main(arguments(**common, shards=3))
    alone = atlas_path(own_weights).read_bytes()
    atlas_path(own_weights).unlink()
    apart = common | {"parts": tmp_path / "parts"}
    for shard in (3, 1):
        command.main(arguments(**apart, shard=f"{shard}/3"))
    assert "those of 2/3" in capsys.readouterr().out
    assert "There are no sums of 2/3" in refusal(command, arguments(**apart, merge=3))
    command.main(arguments(**apart, shard="2/3"))
    assert "Still to come: 1/3, 3/3." in capsys.readouterr().out
    assert "There are no distances of 1/3, 3/3" in refusal(command, arguments(**apart, merge=3))
    for shard in (1, 3):
        command.main(arguments(**apart, shard=f"{shard}/3"))
    assert "--merge 3 makes the atlas" in capsys.readouterr().out
    assert "There are no sums of 1/2, 2/2" in refusal(command, arguments(**apart, merge=2))  # of another division
    command.main(arguments(**apart, merge=3))
    assert atlas_path(own_weights).read_bytes() == alone


def test_the_command_writes_beside_the_weights(own_weights, animals, capsys):
    command.main(arguments(weights=own_weights, data=animals, cache=animals.parent / "cache", device="cpu"))
    atlas = atlas_beside(own_weights)
    assert (atlas.network, atlas.counts.tolist()) == (fingerprint(own_weights), [4, 4, 4])
    assert "three.atlas.npz: 12 pictures of 3 classes, 0." in capsys.readouterr().out
