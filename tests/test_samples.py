"""The sample pictures: all can be shown, are credited and are described; what is said to be known is known."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from odconv.images import decode
from odconv.words import LANGUAGES, say

ASSETS = Path(__file__).parents[1] / "assets"
FOLDER = ASSETS / "samples"
SAMPLES = json.loads((FOLDER / "samples.json").read_text(encoding="utf-8"))
CREDITS = {
    cells[0]: cells
    for line in (FOLDER / "CREDITS.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and (cells := [cell.strip() for cell in line.strip("|").split("|")])
}
FREE = ("Public domain", "[CC0 1.0]", "[CC BY 2.0]")

each = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["id"])


def test_there_are_enough_samples_and_no_two_share_an_id():
    assert len(SAMPLES) >= 8
    assert len({sample["id"] for sample in SAMPLES}) == len(SAMPLES)


def test_every_picture_in_the_folder_is_listed():
    assert {path.name for path in FOLDER.glob("*.jpg")} == {sample["file"] for sample in SAMPLES}


def test_the_first_sample_shows_something_the_network_knows():
    assert SAMPLES[0]["known"] is not None


@each
def test_a_sample_has_its_fields(sample):
    assert set(sample) == {"id", "file", "known", "thousand"}
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", sample["id"])
    assert sample["file"] == f"{sample['id']}.jpg"
    key = sample["id"].replace("-", "_")
    assert all(say(language, f"sample.{key}") for language in LANGUAGES)
    assert re.fullmatch(r"[A-Z][^.]{20,}\.", say("en", f"sample.{key}_alt")), "one sentence"
    assert re.fullmatch(r"[^。]{10,}。", say("zh", f"sample.{key}_alt")), "one sentence"


@each
def test_a_sample_is_small_and_decodes(sample):
    data = (FOLDER / sample["file"]).read_bytes()
    assert len(data) < 120 * 1024
    picture = decode(data)
    assert picture.mode == "RGB"
    assert 300 <= min(picture.size) <= max(picture.size) <= 640


@each
def test_a_sample_carries_no_metadata(sample):
    with Image.open(FOLDER / sample["file"]) as picture:
        assert not picture.getexif()
        assert not {"exif", "xmp", "icc_profile", "comment", "photoshop"} & set(picture.info)


@each
def test_a_sample_is_credited_under_a_free_licence(sample):
    _, shows, author, licence, source, changes = CREDITS[sample["file"]]
    assert all((shows, author, source, changes))
    assert licence.startswith(FREE)


@each
def test_what_a_sample_shows_is_a_class_of_a_bundled_network_or_null(sample):
    cards = [json.loads(path.read_text(encoding="utf-8")) for path in (ASSETS / "weights").glob("*.json")]
    names = {entry["name"] if isinstance(entry, dict) else entry for card in cards for entry in card["classes"]}
    assert sample["known"] is None or sample["known"] in names
    assert set(sample["thousand"]) <= names
