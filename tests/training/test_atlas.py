"""The atlas of a network: every number is what numpy finds in all attentions at once, picture by picture."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from odconv import explain, load_checkpoint
from odconv.atlas import FLOOR, atlas_beside, distances, fingerprint
from odconv.backbones import od_mobilenetv2, resnet18
from odconv.checkpoint import CheckpointError, save_checkpoint
from odconv.explain import spread
from odconv.training import atlas as command
from odconv.training.atlas import survey, typical_head
from odconv.training.data import Pictures, prepare_batch
from tests.training.conftest import CARD, MEAN, STD, arguments


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


def test_the_command_writes_beside_the_weights(own_weights, animals, capsys):
    command.main(arguments(weights=own_weights, data=animals, cache=animals.parent / "cache", device="cpu"))
    atlas = atlas_beside(own_weights)
    assert (atlas.network, atlas.counts.tolist()) == (fingerprint(own_weights), [4, 4, 4])
    assert "three.atlas.npz: 12 pictures of 3 classes, 0." in capsys.readouterr().out
