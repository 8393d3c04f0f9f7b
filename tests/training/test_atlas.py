"""The atlas of a network: every number is what numpy finds in all attentions at once, picture by picture."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from odconv import explain, load_checkpoint
from odconv.atlas import FLOOR, atlas_beside, atlas_path, distances, fingerprint, load_atlas
from odconv.backbones import od_mobilenetv2, od_resnet18, resnet18
from odconv.checkpoint import CheckpointError, save_checkpoint
from odconv.explain import spread
from odconv.training import atlas as command
from odconv.training.atlas import report, survey
from odconv.training.data import DataError, Pictures, prepare_batch

CARD = {
    "name": "three animals",
    "classes": ["ant", "bee", "cow"],
    "image_size": 16,
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.25, 0.3],
}


def saved(model, folder, name="three", card=CARD):
    path = folder / f"{name}.safetensors"
    save_checkpoint(model.eval(), card, path)
    return path


@pytest.fixture(scope="module")
def weights(shake, tmp_path_factory):
    torch.manual_seed(0)
    model = shake(od_resnet18(3, width=4, stem="small"))
    with torch.no_grad():  # so that attention differs between pictures
        for name, tensor in model.state_dict().items():
            if name.endswith("_fc.weight"):
                tensor *= 8
    return saved(model, tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def uneven(pictures):
    """4 ants, 3 bees and 1 cow, mixed: what counts classes alike differs from what counts pictures alike."""
    chosen = np.array([5, 0, 11, 1, 6, 2, 7, 3])
    return Pictures(pictures.pixels[chosen], pictures.labels[chosen], pictures.names)


@pytest.mark.parametrize("batch", [3, 8])
def test_every_number_is_what_loops_over_pictures_classes_and_entries_give(checkpoint, uneven, batch):
    # In float64, so that a picture gives the same in any batch; its record is float32.
    checkpoint = replace(checkpoint, model=copy.deepcopy(checkpoint.model).double())
    found = survey(checkpoint, uneven, "abc", batch)
    assert (found.network, found.counts.tolist(), found.pictures, found.classes) == ("abc", [4, 3, 1], 8, 3)
    x = prepare_batch(torch.tensor(uneven.pixels), 16, CARD["mean"], CARD["std"])
    records = explain(checkpoint.model, x).layers
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
    sums = command.HeadSums((2, 2))
    sums.add(np.full((100, 2, 2), 0.7, np.float32))
    typical = sums.typical()
    np.testing.assert_array_equal(typical.mean, np.float32(0.7))
    assert typical.deviation.max() < 1e-6


def test_layers_without_a_head_are_there_without_it(pictures, tmp_path):
    path = saved(od_mobilenetv2(3, num_kernels=1, width_mult=0.35), tmp_path)
    found = survey(load_checkpoint(path), pictures, "abc")
    layer = found.layers["features.1.conv.0.0"]
    assert (layer.heads.filter, layer.heads.kernel, layer.kernel_by_class) == (None, None, None)
    assert found.layers["features.1.conv.1"].heads.spatial is None
    assert "features.1.conv.1" in report(found)


def test_a_class_without_pictures_and_a_network_without_attention_are_refused(checkpoint, pictures, tmp_path):
    few = Pictures(pictures.pixels[:8], pictures.labels[:8], pictures.names)
    with pytest.raises(DataError, match="Class cow has none of the 8 pictures"):
        survey(checkpoint, few, "abc")
    static = load_checkpoint(saved(resnet18(3, width=4, stem="small"), tmp_path))
    with pytest.raises(CheckpointError, match="three animals has no attention"):
        survey(static, pictures, "abc")


# --- the command ------------------------------------------------------------------------------------------------------


def options(weights, animals, *more):
    return [f"--weights={weights}", f"--data={animals}", f"--cache={animals.parent / 'cache'}", "--device=cpu", *more]


def copied(weights, folder):
    copy = folder / weights.name
    copy.write_bytes(weights.read_bytes())
    copy.with_suffix(".json").write_text(json.dumps(CARD))
    return copy


def test_the_command_writes_beside_the_weights_and_prints_a_table(weights, animals, tmp_path, capsys):
    copy = copied(weights, tmp_path)
    command.main(options(copy, animals))
    atlas = atlas_beside(copy)
    assert (atlas.network, atlas.pictures, atlas.classes) == (fingerprint(weights), 12, 3)
    printed = capsys.readouterr().out
    assert "12 pictures of 3 classes" in printed
    rows = [line.split() for line in printed.splitlines() if line.startswith("  layer") and "kernel" not in line]
    assert [name for name, *_ in rows] == list(atlas.layers)
    for name, *numbers in rows:
        expected = [typical.deviation.mean() for typical in atlas.layers[name].heads]
        np.testing.assert_allclose([float(number) for number in numbers], expected, atol=0.00006)
    assert f"{atlas_path(copy)}: 0." in printed


def test_fewer_pictures_and_another_file_can_be_asked_for(weights, animals, tmp_path):
    out = tmp_path / "some.npz"
    command.main(options(weights, animals, "--pictures=6", f"--out={out}", "--batch=4"))
    assert load_atlas(out).counts.tolist() == [2, 2, 2]
    assert not atlas_path(weights).exists()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--pictures=2"], "Class bee has none of the 2 pictures; each class needs at least one."),
        (["--out=/nowhere/at/all.npz"], "There is no folder /nowhere/at to write all.npz to."),
        (["--data=/nowhere"], "There is no folder /nowhere"),
        (["--weights=/nowhere.safetensors"], "nowhere.safetensors could not be read"),
    ],
)
def test_what_cannot_be_done_ends_in_one_sentence(weights, animals, tmp_path, more, reason):
    with pytest.raises(SystemExit) as refused:
        command.main(options(copied(weights, tmp_path), animals, *more))
    assert refused.value.code.startswith(reason)


def test_weights_without_a_card_or_of_other_classes_end_in_one_sentence(weights, animals, tmp_path):
    copy = copied(weights, tmp_path)
    copy.with_suffix(".json").write_text(json.dumps(CARD | {"classes": ["ant", "cow", "bee"]}))
    with pytest.raises(SystemExit) as refused:
        command.main(options(copy, animals))
    assert "other classes than those in three.json" in refused.value.code
    copy.with_suffix(".json").unlink()
    with pytest.raises(SystemExit) as refused:
        command.main(options(copy, animals))
    assert "three.safetensors has no card, three.json" in refused.value.code


def test_no_pictures_at_all_cannot_be_asked_for(weights, animals, capsys):
    with pytest.raises(SystemExit):
        command.main(options(weights, animals, "--pictures=0"))
    assert "--pictures" in capsys.readouterr().err
