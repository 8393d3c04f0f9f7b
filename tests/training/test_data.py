"""Data: what is found, decoded and drawn is what lies in the folder, and bad data is named before anything is trained."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from odconv import images
from odconv.checkpoint import Card
from odconv.training.data import DataError, augment, batches, find_dataset, load_pictures, prepare_batch, stream
from tests.training.conftest import COLOURS, MEAN, STD, draw


@pytest.fixture
def tiny_imagenet(tmp_path):
    """Tiny-ImageNet-200's layout, in small: what its archive unpacks to."""
    root, lines = tmp_path / "tiny-imagenet-200", []
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
    assert str(refused.value).endswith(".")
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_folder_per_class_is_found_in_sorted_order_without_what_is_hidden_or_no_picture(folder):
    for name in (".hidden.png", "notes.txt", "0.png.bak"):
        (folder / "train" / "ant" / name).touch()
    (folder / "train" / ".cache").mkdir()
    found = find_dataset(folder)
    assert found.ids == found.names == ("ant", "bee", "cow")
    for split, count in (("train", 8), ("val", 4)):
        expected = [(folder / split / name / f"{i}.png", n) for n, name in enumerate(COLOURS) for i in range(count)]
        assert list(getattr(found, split)) == expected


def test_tiny_imagenet_is_found_in_its_own_layout(tiny_imagenet):
    found = find_dataset(tiny_imagenet)
    assert (found.ids, found.names) == (("n01", "n02"), ("goldfish, Carassius auratus", "naïve"))
    train = [("n01_0.JPEG.png", 0), ("n01_1.JPEG.png", 0), ("n02_0.JPEG.png", 1), ("n02_1.JPEG.png", 1)]
    assert [(path.name, label) for path, label in found.train] == train
    val = {("val_0.png", 1), ("val_1.png", 0), ("val_2.png", 1), ("val_3.png", 0)}
    assert {(path.name, label) for path, label in found.val} == val
    assert all(path.is_file() for path, _ in found.train + found.val)


@pytest.mark.parametrize("split", ["train", "val"])
def test_what_is_missing_or_unknown_in_a_folder_is_named(tmp_path, folder, split):
    assert str(tmp_path / "nowhere") in refusal(tmp_path / "nowhere")
    assert str(folder / "train" / "train") in refusal(folder / "train")
    for path in (folder / split / "bee").iterdir():
        path.rename(path.with_suffix(".txt"))
    assert refusal(folder) == f"Class bee has no .jpg, .jpeg, .png, .webp files in {folder / split}."
    draw(folder / "val" / "yak" / "0.png", (0, 0, 0), 0)
    assert "Class yak" in refusal(folder)
    for name in ("ant", "bee"):
        shutil.rmtree(folder / "train" / name)
    assert "1 class folders" in refusal(folder)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda text: text + "val_9.png\tn01\t0\t0\t1\t1\n", "lists 'val_9.png' of class 'n01'"),
        (lambda text: text.replace("n01", "n77"), "lists 'val_1.png' of class 'n77'"),
        (lambda text: "".join(text.splitlines(keepends=True)[:2]), "Class n01 has no"),
    ],
)
def test_annotations_that_do_not_fit_are_named(tiny_imagenet, spoil, reason):
    annotations = tiny_imagenet / "val" / "val_annotations.txt"
    annotations.write_text(spoil(annotations.read_text()))
    assert reason in refusal(tiny_imagenet)


def test_decoded_pictures_are_what_pillow_reads(animals, tmp_path):
    found = find_dataset(animals)
    pictures = load_pictures(found, "train", 16, tmp_path)
    assert (pictures.pixels.shape, pictures.pixels.dtype) == ((24, 16, 16, 3), np.uint8)
    assert (pictures.labels.tolist(), pictures.labels.dtype) == ([0] * 8 + [1] * 8 + [2] * 8, np.int64)
    for row, (path, _) in zip(pictures.pixels, found.train, strict=True):
        np.testing.assert_array_equal(row, np.asarray(Image.open(path)))


def test_grey_pictures_become_rgb_oblong_ones_lose_their_ends_and_resize_leaves_a_margin(folder, tmp_path):
    grey = np.zeros((32, 64), np.uint8)
    grey[:, 16:48] = 255  # the middle square
    grey[4:28, 20:44] = 9  # 24 of 32: what a crop of 12 from a picture of 16 shows
    Image.fromarray(grey).save(folder / "train" / "ant" / "0.png")
    whole = load_pictures(find_dataset(folder), "train", 32, tmp_path).pixels[0]
    np.testing.assert_array_equal(whole, np.repeat(grey[:, 16:48, None], 3, 2))
    pixels = load_pictures(find_dataset(folder), "train", 12, tmp_path, resize=16).pixels[0]
    assert (pixels[1:-1, 1:-1] == 9).all()


def test_a_later_run_opens_the_file_and_other_pictures_labels_sides_and_splits_have_their_own(folder, tmp_path):
    found = find_dataset(folder)
    swapped = replace(found, val=tuple((path, 2 - label) for path, label in found.val))
    first = [
        load_pictures(*asked, tmp_path) for asked in ((found, "val", 16), (found, "train", 16), (found, "val", 12))
    ]
    load_pictures(swapped, "val", 16, tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 4
    broken = folder / "val" / "ant" / "0.png"
    broken.write_bytes(bytes(broken.stat().st_size))  # of the same size, so that nothing seems to have changed
    again = load_pictures(found, "val", 16, tmp_path).pixels
    np.testing.assert_array_equal(first[0].pixels, again)
    assert isinstance(again, np.memmap)
    assert not again.flags.writeable
    draw(broken, (9, 9, 9), 4, side=20)
    assert not np.array_equal(load_pictures(found, "val", 16, tmp_path).pixels[0], again[0])


@pytest.mark.parametrize("content", [b"", b"not a picture", "truncated"])
def test_an_unreadable_picture_is_named_and_leaves_no_file(folder, tmp_path, content):
    broken = folder / "train" / "bee" / "3.png"
    broken.write_bytes(broken.read_bytes()[:300] if content == "truncated" else content)
    with pytest.raises(DataError) as refused:
        load_pictures(find_dataset(folder), "train", 16, tmp_path / "cache")
    assert str(broken) in str(refused.value)
    assert not list((tmp_path / "cache").iterdir())


def test_a_cache_that_cannot_be_written_is_named(animals):
    with pytest.raises(DataError, match="cannot be written"):
        load_pictures(find_dataset(animals), "train", 16, animals / "train" / "ant" / "0.png" / "cache")


def test_batches_come_in_order_and_whole_and_evenly_spaced_pictures_from_all_over(pictures):
    order = np.random.default_rng(0).permutation(12)
    made = list(batches(pictures, order, 5))
    assert len(made) == 2  # 12 = 2 · 5 + 2
    for i, (pixels, labels) in enumerate(made):
        np.testing.assert_array_equal(pixels.numpy(), pictures.pixels[order[5 * i : 5 * i + 5]])
        np.testing.assert_array_equal(labels.numpy(), pictures.labels[order[5 * i : 5 * i + 5]])
    few = pictures.evenly_spaced(6)
    assert few.labels.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(few.pixels[-1], pictures.pixels[-1])
    assert len(pictures.evenly_spaced(1000)) == 12


def test_a_whole_picture_is_prepared_as_the_app_prepares_it_and_a_smaller_one_as_pillow_does(animals, pictures):
    card = Card("", (), 16, 16, MEAN, STD, "small")
    whole = prepare_batch(torch.tensor(pictures.pixels), 16, MEAN, STD)
    small = prepare_batch(torch.tensor(pictures.pixels), 10, (0, 0, 0), (1, 1, 1)).permute(0, 2, 3, 1).numpy() * 255
    for x, smaller, (path, _) in zip(whole, small, find_dataset(animals).val, strict=True):
        torch.testing.assert_close(x[None], images.prepare(images.decode(path.read_bytes()), card))
        expected = np.asarray(Image.open(path).resize((10, 10), Image.Resampling.BILINEAR))
        assert np.abs(smaller - expected).max() < 1.01  # Pillow rounds to bytes, twice


def test_augmenting_is_a_shift_by_whole_pixels_and_a_mirror_image_drawn_from_its_stream_alone():
    x = torch.rand(100, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    made, padded, seen = (
        augment(x, stream(0, 1), shift=0.125),
        np.pad(x[:, 0], ((0, 0), (2, 2), (2, 2)), "symmetric"),
        set(),
    )
    for row, picture in zip(made[:, 0].numpy(), padded, strict=True):
        crops = {
            (down, right): picture[down : down + 16, right : right + 16] for down in range(5) for right in range(5)
        }
        both = {(*place, step): crop[:, ::step] for place, crop in crops.items() for step in (1, -1)}
        (fitting,) = [place for place, crop in both.items() if np.abs(row - crop).max() < 1e-4]
        seen.add(fitting)
    assert len(seen) > 35  # of 50
    assert torch.equal(made, augment(x, stream(0, 1), 0.125))
    assert not torch.equal(made, augment(x, stream(0, 2), 0.125))


def test_zoom_enlarges_by_up_to_its_factor_and_stays_inside():
    ramp = torch.linspace(0, 1, 32).expand(300, 1, 32, 32)
    made = augment(ramp, stream(0, 3), shift=0.0, zoom=1.5)
    slopes = (made.diff(dim=3).abs().median(dim=3).values.median(dim=2).values * 31).flatten()
    assert 1 / 1.5 - 0.01 < slopes.min() < 0.72
    assert 0.95 < slopes.max() < 1.01
    assert (made.diff(dim=2).abs() < 1e-5).all()  # rows stay alike
    assert (made.diff(dim=3).sign().float().mean((1, 2, 3)).abs() > 0.9).all()  # no edge is crossed, none is mirrored
