"""Data: what is found, decoded and drawn is what lies in the folder, and bad data is named before anything is trained."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from odconv import images
from odconv.checkpoint import Card
from odconv.training import data
from odconv.training.data import DataError, augment, batches, find_dataset, load_pictures, prepare_batch, stream
from tests.training.conftest import COLOURS, draw

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


@pytest.fixture
def tiny_imagenet(tmp_path):
    """Tiny-ImageNet-200's layout, in small: what its archive unpacks to."""
    root = tmp_path / "tiny-imagenet-200"
    lines = []
    for number, wnid in enumerate(("n02", "n01")):
        for i in range(2):
            draw(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG.png", (number, 0, 0), i)
            draw(root / "val" / "images" / f"val_{2 * i + number}.png", (number, 0, 0), i)
            lines.append(f"val_{2 * i + number}.png\t{wnid}\t0\t32\t44\t62\n")
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("n02_0.JPEG\t0\t0\t63\t63\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "words.txt").write_text("n00\tentity\nn01\tgoldfish, Carassius auratus\nn02\tnaïve\n", encoding="utf-8")
    return root


def refusal(folder):
    with pytest.raises(DataError) as refused:
        find_dataset(folder)
    message = str(refused.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


# --- finding ----------------------------------------------------------------------------------------------------------


def test_a_folder_per_class_is_found_with_classes_in_sorted_order(folder):
    found = find_dataset(folder)
    assert found.ids == found.names == ("ant", "bee", "cow")
    expected = {split: [] for split in ("train", "val")}
    for split, count in (("train", 8), ("val", 4)):
        for label, name in enumerate(COLOURS):
            expected[split] += [(folder / split / name / f"{i}.png", label) for i in range(count)]
    assert list(found.train) == expected["train"]
    assert list(found.val) == expected["val"]


def test_tiny_imagenet_is_found_in_its_own_layout(tiny_imagenet):
    found = find_dataset(tiny_imagenet)
    assert found.ids == ("n01", "n02")
    assert found.names == ("goldfish, Carassius auratus", "naïve")
    assert [(path.name, label) for path, label in found.train] == [
        ("n01_0.JPEG.png", 0), ("n01_1.JPEG.png", 0), ("n02_0.JPEG.png", 1), ("n02_1.JPEG.png", 1),
    ]  # fmt: skip
    assert {(path.name, label) for path, label in found.val} == {
        ("val_0.png", 1), ("val_1.png", 0), ("val_2.png", 1), ("val_3.png", 0),
    }  # fmt: skip
    assert all(path.is_file() for path, _ in found.train + found.val)


def test_hidden_files_and_files_that_are_no_pictures_are_passed_over(folder):
    for name in (".hidden.png", "notes.txt", "0.png.bak"):
        (folder / "train" / "ant" / name).touch()
    (folder / "train" / ".cache").mkdir()
    assert len(find_dataset(folder).train) == 24


def test_a_wrong_folder_is_named(tmp_path, folder):
    assert str(tmp_path / "nowhere") in refusal(tmp_path / "nowhere")
    assert str(folder / "train" / "train") in refusal(folder / "train")
    draw(folder / "val" / "yak" / "0.png", (0, 0, 0), 0)
    assert "Class yak" in refusal(folder)
    for name in ("ant", "bee"):
        shutil.rmtree(folder / "train" / name)
    assert "1 class folders" in refusal(folder)
    shutil.rmtree(folder / "val")
    assert str(folder / "val") in refusal(folder)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_class_without_pictures_is_named(folder, split):
    for path in (folder / split / "bee").iterdir():
        path.rename(path.with_suffix(".txt"))
    assert f"Class bee has no pictures in {folder / split / 'bee'}" in refusal(folder)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda text: text + "val_9.png\tn01\t0\t0\t1\t1\n", "lists 'val_9.png' of class 'n01'"),
        (lambda text: text.replace("n01", "n77"), "lists 'val_1.png' of class 'n77'"),
        (lambda text: "".join(text.splitlines(keepends=True)[:2]), "Class n01 has no pictures"),
    ],
)
def test_annotations_that_do_not_fit_are_named(tiny_imagenet, spoil, reason):
    annotations = tiny_imagenet / "val" / "val_annotations.txt"
    annotations.write_text(spoil(annotations.read_text()))
    assert reason in refusal(tiny_imagenet)


# --- decoding ---------------------------------------------------------------------------------------------------------


def test_decoded_pictures_are_what_pillow_reads_and_processes_decode_the_same(animals, tmp_path, monkeypatch):
    found = find_dataset(animals)
    pictures = load_pictures(found, "train", 16, tmp_path / "alone")
    assert (pictures.pixels.shape, pictures.pixels.dtype) == ((24, 16, 16, 3), np.uint8)
    assert (pictures.labels.tolist(), pictures.labels.dtype) == ([0] * 8 + [1] * 8 + [2] * 8, np.int64)
    assert pictures.names == ("ant", "bee", "cow")
    for row, (path, _) in zip(pictures.pixels, found.train, strict=True):
        np.testing.assert_array_equal(row, np.asarray(Image.open(path)))
    monkeypatch.setattr(data, "FEW", 2)
    np.testing.assert_array_equal(load_pictures(found, "train", 16, tmp_path / "many").pixels, pictures.pixels)


def test_grey_pictures_become_rgb_and_oblong_ones_lose_their_ends(folder, tmp_path):
    grey = np.zeros((16, 32), np.uint8)
    grey[:, 8:24] = 77  # the middle square
    Image.fromarray(grey).save(folder / "train" / "ant" / "0.png")
    pixels = load_pictures(find_dataset(folder), "train", 16, tmp_path).pixels[0]
    assert (pixels == 77).all()


def test_resize_leaves_a_margin_around_the_crop(folder, tmp_path):
    picture = np.full((32, 32, 3), 255, np.uint8)
    picture[4:28, 4:28] = 9  # 24 of 32: what a crop of 12 from a picture of 16 shows
    Image.fromarray(picture).save(folder / "train" / "ant" / "0.png")
    pixels = load_pictures(find_dataset(folder), "train", 12, tmp_path, resize=16).pixels[0]
    assert (pixels[1:-1, 1:-1] == 9).all()
    assert load_pictures(find_dataset(folder), "train", 12, tmp_path).pixels[0].max() > 200


def test_a_later_run_opens_the_file_and_decodes_nothing(folder, tmp_path, monkeypatch):
    first = load_pictures(find_dataset(folder), "val", 16, tmp_path / "cache")
    monkeypatch.setattr(images, "decode", lambda data: pytest.fail("decoded again"))
    second = load_pictures(find_dataset(folder), "val", 16, tmp_path / "cache")
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert isinstance(second.pixels, np.memmap)
    assert not second.pixels.flags.writeable


def test_other_pictures_labels_sides_and_splits_have_files_of_their_own(folder, tmp_path):
    found = find_dataset(folder)
    swapped = replace(found, val=tuple((path, 2 - label) for path, label in found.val))
    pixels = draw(folder / "val" / "ant" / "0.png", (1, 2, 3), 4)
    for dataset, split, *sides in (
        (found, "val", 16), (found, "train", 16), (found, "val", 12), (swapped, "val", 16),
    ):  # fmt: skip
        load_pictures(dataset, split, *sides, tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 4
    draw(folder / "val" / "ant" / "0.png", (9, 9, 9), 4, side=20)
    assert not np.array_equal(load_pictures(found, "val", 16, tmp_path).pixels[0], pixels)


@pytest.mark.parametrize("content", [b"", b"not a picture", "truncated"])
def test_an_unreadable_picture_is_named_and_leaves_no_file(folder, tmp_path, content):
    broken = folder / "train" / "bee" / "3.png"
    broken.write_bytes(broken.read_bytes()[:300] if content == "truncated" else content)
    with pytest.raises(DataError) as refused:
        load_pictures(find_dataset(folder), "train", 16, tmp_path / "cache")
    assert str(broken) in str(refused.value)
    assert not list((tmp_path / "cache").iterdir())


def test_a_disk_without_room_and_a_cache_that_cannot_be_written_are_named(animals, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="cannot be written"):
        load_pictures(find_dataset(animals), "train", 16, animals / "train" / "ant" / "0.png" / "cache")
    monkeypatch.setattr(data.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(DataError, match=r"0\.0 GB free"):
        load_pictures(find_dataset(animals), "train", 16, tmp_path)


def test_evenly_spaced_pictures_come_from_all_over_the_split(pictures):
    few = pictures.evenly_spaced(6)
    assert few.labels.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(few.pixels[-1], pictures.pixels[-1])
    assert len(pictures.evenly_spaced(1000)) == 12


# --- batches ----------------------------------------------------------------------------------------------------------


def test_a_stream_is_the_same_for_the_same_purpose_and_another_for_another():
    seeds = [(0, 1, 2), (0, 2, 1), (1, 1, 2), (0, 1, 3), (0, 1)]
    drawn = [stream(*seed).random(4).tolist() for seed in seeds]
    assert drawn == [stream(*seed).random(4).tolist() for seed in seeds]
    assert len({tuple(values) for values in drawn}) == len(seeds)


def test_batches_come_in_order_whole_and_from_where_they_are_asked(pictures):
    order = np.random.default_rng(0).permutation(12)
    made = list(batches(pictures, order, 5))
    assert len(made) == 2  # 12 = 2 · 5 + 2
    for i, (pixels, labels) in enumerate(made):
        np.testing.assert_array_equal(pixels.numpy(), pictures.pixels[order[5 * i : 5 * i + 5]])
        np.testing.assert_array_equal(labels.numpy(), pictures.labels[order[5 * i : 5 * i + 5]])
    ((later, _),) = batches(pictures, order, 5, start=1)
    assert torch.equal(later, made[1][0])


def test_a_whole_picture_is_prepared_as_the_app_prepares_it(animals, pictures):
    card = Card("", (), 16, 16, MEAN, STD, "small")
    x = prepare_batch(torch.tensor(pictures.pixels[:4]), 16, MEAN, STD)
    for row, (path, _) in zip(x, find_dataset(animals).val, strict=False):
        torch.testing.assert_close(row[None], images.prepare(images.decode(path.read_bytes()), card))


@pytest.mark.parametrize("size", [8, 12])
def test_a_picture_is_made_smaller_with_antialiasing_as_pillow_does(pictures, size):
    x = prepare_batch(torch.tensor(pictures.pixels[:4]), size, (0, 0, 0), (1, 1, 1))
    for row, pixels in zip(x, pictures.pixels, strict=False):
        expected = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))
        assert np.abs(row.permute(1, 2, 0).numpy() * 255 - expected).max() < 1.01  # Pillow rounds to bytes, twice


def mirrored_crop(picture, down, right, flip):
    """``picture`` (C, S, S) moved by whole pixels, with what is missing mirrored at the edges."""
    side = picture.shape[-1]
    padded = np.pad(picture, ((0, 0), (side, side), (side, side)), "symmetric")
    crop = padded[:, side + down : 2 * side + down, side + right : 2 * side + right]
    return crop[:, :, ::-1] if flip else crop


def test_augmenting_is_a_shift_by_whole_pixels_and_a_mirror_image():
    x = torch.rand(100, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    made = augment(x, stream(0, 1), shift=0.125).numpy()
    seen = set()
    for row, picture in zip(made, x.numpy(), strict=True):
        fitting = [
            (down, right, flip)
            for down in range(-2, 3)
            for right in range(-2, 3)
            for flip in (False, True)
            if np.abs(row - mirrored_crop(picture, down, right, flip)).max() < 1e-4
        ]
        assert len(fitting) == 1
        seen.add(fitting[0])
    assert len(seen) > 35  # of 50


def test_zoom_enlarges_by_up_to_its_factor_and_stays_inside():
    ramp = torch.linspace(0, 1, 32).expand(300, 1, 32, 32)
    made = augment(ramp, stream(0, 3), shift=0.0, zoom=1.5)
    slopes = (made.diff(dim=3).abs().median(dim=3).values.median(dim=2).values * 31).flatten()
    assert 1 / 1.5 - 0.01 < slopes.min() < 0.72
    assert 0.95 < slopes.max() < 1.01
    assert (made.diff(dim=2).abs() < 1e-5).all()  # rows stay alike
    assert (
        made.diff(dim=3).sign().float().mean((1, 2, 3)).abs() > 0.9
    ).all()  # no mirroring inside: no edge is crossed


def test_augmenting_is_drawn_from_its_stream_alone():
    x = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(augment(x, stream(3, 1), 0.25, 1.2), augment(x, stream(3, 1), 0.25, 1.2))
    assert not torch.equal(augment(x, stream(3, 1), 0.25, 1.2), augment(x, stream(3, 2), 0.25, 1.2))
