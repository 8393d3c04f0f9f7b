"""The atlas: what is typical is kept exactly, read with suspicion, and held against its own network alone."""

import dataclasses
import math
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from odconv import HEADS, Heads, ODConv2d, explain
from odconv import atlas as atlases
from odconv.atlas import (
    Atlas,
    AtlasError,
    TypicalHead,
    TypicalLayer,
    atlas_beside,
    atlas_path,
    distances,
    fingerprint,
    load_atlas,
    save_atlas,
)
from odconv.drawings.differences import subtract_typical
from odconv.unusual import check_fits, expected_spread


class Gaps(nn.Module):
    """Layers that lack heads, and one that is called twice."""

    def __init__(self):
        super().__init__()
        self.point = ODConv2d(3, 4, 1)  # no spatial head
        self.shared = ODConv2d(4, 4, 3, padding=1, num_kernels=3)
        self.depthwise = ODConv2d(4, 4, 3, groups=4, num_kernels=1)  # neither filter nor kernel head

    def forward(self, x):
        return self.depthwise(self.shared(self.shared(self.point(x)))).mean((2, 3))


@pytest.fixture(scope="module")
def network(shake):
    torch.manual_seed(0)
    return shake(Gaps()).eval()


@pytest.fixture(scope="module")
def pictures():
    return torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(3)) * 3


LABELS = np.arange(12) % 3


def typical(values):
    """One head over 12 pictures, in numpy's own words."""
    far = [looped(picture, values.mean(0), values.std(0)) for picture in values]
    quantiles = np.quantile(far, np.linspace(0, 1, 1001)).astype(np.float32)
    return TypicalHead(values.mean(0), values.std(0), quantiles)


def looped(values, mean, deviation):
    """How far one picture is from what is typical in one head, entry by entry."""
    triples = zip(values.ravel(), mean.ravel(), deviation.ravel(), strict=True)
    squares = [((float(a) - float(m)) / max(float(d), 0.01)) ** 2 for a, m, d in triples]
    return math.sqrt(sum(squares) / len(squares))


def by_class(kernel):
    return np.stack([kernel[label == LABELS].mean(0) for label in range(3)]).astype(np.float16)


@pytest.fixture(scope="module")
def atlas(network, pictures):
    layers = {
        name: TypicalLayer(
            Heads(*(None if head is None else typical(head) for head in record.attention)),
            None if record.attention.kernel is None else by_class(record.attention.kernel),
        )
        for name, record in explain(network, pictures).layers.items()
    }
    return Atlas("0123456789abcdef", np.array([4, 4, 4]), layers)


@pytest.fixture
def arrays(atlas, tmp_path):
    """What a good file holds, for a test to spoil."""
    save_atlas(atlas, tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz", allow_pickle=False) as file:
        return dict(file)


# --- one picture against it -------------------------------------------------------------------------------------------


def test_the_difference_is_each_picture_minus_the_mean_and_what_is_absent_stays_absent(network, pictures, atlas):
    for name, record in explain(network, pictures).layers.items():
        shift = subtract_typical(record.attention, atlas.means()[name])
        for head, values in zip(shift, record.attention, strict=True):
            assert (head is None) == (values is None)
            if head is not None:
                for n in range(12):
                    np.testing.assert_array_equal(head[n], values[n] - values.mean(0))
                np.testing.assert_allclose(
                    head.mean(0), 0, atol=24 * np.finfo(np.float32).eps
                )  # two sums of 12 below 1


def test_an_atlas_with_other_heads_or_shapes_in_a_layer_is_refused(network, pictures, atlas):
    one = explain(network, pictures[:1])

    def with_attention(name, attention):
        changed = dataclasses.replace(one.layers[name], attention=attention)
        return dataclasses.replace(one, layers=one.layers | {name: changed})

    point = one.layers["point"].attention
    with pytest.raises(AtlasError, match=r"spatial attention of shape \(3, 3\), the network None"):
        check_fits(with_attention("shared", point), atlas)
    with pytest.raises(AtlasError, match=r"channel attention of shape \(3,\), the network \(1,\)"):
        check_fits(with_attention("point", point._replace(channel=point.channel[:, :1])), atlas)


def test_the_distance_of_many_pictures_is_that_of_each(network, pictures, atlas):
    known = atlas.layers["shared"].heads.spatial
    values = explain(network, pictures).layers["shared"].attention.spatial
    expected = [looped(picture, known.mean, known.deviation) for picture in values]
    np.testing.assert_allclose(distances(values, known.mean, known.deviation), expected, rtol=1e-5)


def test_the_typical_picture_is_the_mean_over_all_and_lacks_what_the_layers_lack(network, pictures, atlas):
    layers = explain(network, pictures).layers
    assert atlas.means().keys() == layers.keys()
    for name, heads in atlas.means().items():
        for mean, values in zip(heads, layers[name].attention, strict=True):
            assert (mean is None) == (values is None)
            if mean is not None:
                np.testing.assert_allclose(mean, values.mean(0), atol=1e-5)


@pytest.mark.parametrize("few", [2, 3, 8, 1000])
def test_few_pictures_differ_less_than_many_by_what_drawing_them_gives(atlas, few):
    draws = np.random.default_rng(0).normal(size=(200_000 // few, few))
    spread = expected_spread(atlas, few)
    for head in HEADS:
        for value, layer in zip(spread[head], atlas.layers.values(), strict=True):
            typical = getattr(layer.heads, head)
            assert (value is None) == (typical is None)
            if typical is not None and typical.spread:
                assert value / typical.spread == pytest.approx(draws.std(1).mean(), rel=0.02)


def test_an_atlas_fits_its_own_network_and_no_other(network, pictures, atlas, small_model, images):
    check_fits(explain(network, pictures[:2]), atlas)
    with pytest.raises(AtlasError, match="layers"):
        check_fits(explain(small_model, images[:1]), atlas)
    fewer = dataclasses.replace(atlas, layers=atlas.layers | {"point": atlas.layers["shared"]})
    with pytest.raises(AtlasError, match="shape"):
        check_fits(explain(network, pictures[:1]), fewer)


def test_another_network_than_the_atlas_is_of_is_refused(small_model, images, atlas):
    with pytest.raises(AtlasError, match="The atlas has 4 layers, and the network 16"):
        check_fits(explain(small_model, images[:1]), atlas)


# --- files ------------------------------------------------------------------------------------------------------------


def test_an_atlas_comes_back_as_it_was_saved(atlas, tmp_path):
    save_atlas(atlas, tmp_path / "net.atlas.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["net.atlas.npz"]
    again = load_atlas(tmp_path / "net.atlas.npz")
    assert (again.network, again.pictures, again.classes) == ("0123456789abcdef", 12, 3)
    assert list(again.layers) == list(atlas.layers) == ["point", "shared", "shared#2", "depthwise"]
    for name, layer in atlas.layers.items():
        assert (again.layers[name].kernel_by_class is None) == (layer.heads.kernel is None)
        if layer.kernel_by_class is not None:
            np.testing.assert_array_equal(again.layers[name].kernel_by_class, layer.kernel_by_class)
            assert again.layers[name].kernel_by_class.dtype == np.float16
        for before, after in zip(layer.heads, again.layers[name].heads, strict=True):
            assert (before is None) == (after is None)
            if before is not None:
                for field in dataclasses.fields(TypicalHead):
                    np.testing.assert_array_equal(getattr(after, field.name), getattr(before, field.name))
                    assert getattr(after, field.name).dtype == np.float32
    assert again.layers["point"].heads.spatial is None
    assert again.layers["depthwise"].heads.filter is None


def test_a_file_holds_what_a_page_reads_and_nothing_else(arrays, atlas):
    parts = {
        "point": {"channel": 3, "filter": 3, "kernel": 4},
        "shared": dict.fromkeys(("spatial", "channel", "filter"), 3) | {"kernel": 4},
        "shared#2": dict.fromkeys(("spatial", "channel", "filter"), 3) | {"kernel": 4},
        "depthwise": {"spatial": 3, "channel": 3},
    }
    names = ("mean", "deviation", "distances", "by_class")
    held = {f"{name}/{head}/{part}" for name, heads in parts.items() for head, n in heads.items() for part in names[:n]}
    assert arrays.keys() == held | {"network", "counts", "layers"}


def test_what_else_a_file_holds_is_not_read(arrays, atlas, tmp_path):
    """Older atlases had more; what nobody reads cannot harm either, not even Python objects."""
    arrays["shared/effective_kernels"] = np.array(99.0)
    arrays["shared/channel/spread"] = np.array([{}], object)
    np.savez_compressed(tmp_path / "more.npz", **arrays)
    again = load_atlas(tmp_path / "more.npz")
    np.testing.assert_array_equal(again.layers["shared"].heads.channel.mean, atlas.layers["shared"].heads.channel.mean)


SPOILED = {
    "no network": (lambda a: a.pop("network"), "network is missing"),
    "a head by halves": (lambda a: a.pop("shared#2/kernel/deviation"), "shared#2/kernel/deviation is missing"),
    "no classes' means": (lambda a: a.pop("shared/kernel/by_class"), "shared/kernel/by_class is missing"),
    "too short": (lambda a: a.update({"point/channel/deviation": np.zeros(2, np.float32)}), r"is float32 of shape \(2,\)"),
    "other classes": (lambda a: a.update({"counts": np.array([6, 6])}), r"by_class is float16 of shape \(3, "),
    "not square": (lambda a: a.update({"shared/spatial/mean": np.zeros((3, 2), np.float32)}), r"of shape \(3, 2\)"),
    "empty": (lambda a: a.update({"point/channel/mean": np.zeros(0, np.float32)}), r"of shape \(0,\)"),
    "another type": (lambda a: a.update({"point/channel/mean": np.zeros(3)}), "is float64"),
    "not a number": (lambda a: a.update({"point/channel/mean": np.full(3, np.nan, np.float32)}), "not from 0 to 1"),
    "beyond 1": (lambda a: a.update({"point/channel/mean": np.array([0.1, 2.0, 0.1], np.float32)}), "not from 0 to 1"),
    "distances that fall": (lambda a: a.update({"point/channel/distances": np.linspace(2, 1, 1001, dtype=np.float32)}), "do not rise"),
    "distances that cannot be": (lambda a: a.update({"point/channel/distances": np.full(1001, 101, np.float32)}), "not from 0 to 100"),
    "a class without pictures": (lambda a: a.update({"counts": np.array([4, 0, 4])}), "one picture of each class"),
    "no classes": (lambda a: a.update({"counts": np.zeros(0, np.int64)}), "one picture of each class"),
    "no layers": (lambda a: a.update({"layers": np.zeros(0, "U4")}), "layers are not names"),
    "a layer twice": (lambda a: a.update({"layers": np.array(["point", "point"])}), "layers are not names"),
    "numbers for names": (lambda a: a.update({"layers": np.arange(3)}), "layers is int64"),
    "objects": (lambda a: a.update({"layers": np.array(["point", {}], object)}), "something other than numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", SPOILED)
def test_a_file_that_lacks_or_misshapes_something_is_refused_in_one_sentence(arrays, tmp_path, case):
    spoil, reason = SPOILED[case]
    spoil(arrays)
    np.savez_compressed(tmp_path / "bad.npz", **arrays)
    with pytest.raises(AtlasError, match=reason) as refused:
        load_atlas(tmp_path / "bad.npz")
    assert str(refused.value).startswith("The atlas bad.npz cannot be used: ")
    assert str(refused.value).endswith(".")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(atlas, tmp_path, kept):
    save_atlas(atlas, tmp_path / "whole.npz")
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(AtlasError, match="it is damaged"):
        load_atlas(tmp_path / "cut.npz")


def test_neither_a_pickle_nor_a_missing_file_is_an_atlas(tmp_path):
    np.save(tmp_path / "pickle.npy", np.array([{}], object), allow_pickle=True)
    for path in (tmp_path / "pickle.npy", tmp_path / "none.npz", tmp_path):
        with pytest.raises(AtlasError, match="cannot be used"):
            load_atlas(path)


def test_a_file_that_is_large_or_becomes_so_is_refused_unread(arrays, tmp_path, monkeypatch):
    bomb = tmp_path / "bomb.npz"
    np.savez_compressed(bomb, **arrays, more=np.zeros(20_000_000, np.int8))
    assert bomb.stat().st_size < 100_000
    monkeypatch.setattr(atlases, "MAX_UNPACKED", 10 * 2**20)
    with pytest.raises(AtlasError, match="unpacks to 19 MiB"):
        load_atlas(bomb)
    monkeypatch.setattr(atlases, "MAX_BYTES", 1000)
    with pytest.raises(AtlasError, match="it has 0 MiB"):
        load_atlas(bomb)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_with_an_array_again_and_again_is_refused_before_it_is_unpacked_as_often(arrays, tmp_path, monkeypatch):
    path = tmp_path / "twice.npz"
    np.savez_compressed(path, **arrays)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("counts.npy", archive.read("counts.npy"))
    monkeypatch.setattr(np, "load", lambda *arguments, **named: pytest.fail("it was unpacked"))
    with pytest.raises(AtlasError, match="an array is there twice"):
        load_atlas(path)


def test_an_atlas_of_other_weights_is_refused(atlas, tmp_path):
    weights = tmp_path / "net.safetensors"
    weights.write_bytes(b"abc")
    assert fingerprint(weights) == "ba7816bf8f01cfea"  # of SHA-256("abc"), FIPS 180-2
    assert atlas_path(weights) == tmp_path / "net.atlas.npz"
    assert atlas_beside(weights) is None
    save_atlas(dataclasses.replace(atlas, network=fingerprint(weights)), atlas_path(weights))
    assert atlas_beside(weights).pictures == 12
    weights.write_bytes(b"abd")
    with pytest.raises(AtlasError, match=r"net\.atlas\.npz was made from other weights than net\.safetensors"):
        atlas_beside(weights)


def test_means_over_one_picture_each_say_nothing_of_classes(atlas):
    assert atlas.tells_classes_apart
    assert not dataclasses.replace(atlas, counts=np.array([4, 1, 7])).tells_classes_apart
