"""What is said of the bundled weights is what their cards say."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import cards
from odconv import HEADS, load_checkpoint
from odconv.atlas import atlas_beside
from odconv.checkpoint import find_checkpoints

FOLDER = Path(__file__).parents[1] / "assets" / "weights"
BUNDLED = find_checkpoints(FOLDER)
each = pytest.mark.parametrize("path", BUNDLED.values(), ids=BUNDLED)


def test_the_tables_in_the_readme_are_what_the_script_prints():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- cards -->\n(.*?)\n<!-- end -->", text, re.DOTALL)
    assert shown
    assert shown[1].split("\n\n") == cards.tables(list(BUNDLED.values()))


def test_what_the_projects_readme_says_of_the_network_is_what_was_measured():
    text = " ".join((FOLDER.parents[1] / "README.md").read_text(encoding="utf-8").split())
    measured = json.loads((FOLDER / "od_resnet18_w32_4x_tiny_imagenet.json").read_text(encoding="utf-8"))["measured"]
    at = [f"{measured['temperature'][t]['top1']:.1f}" for t in ("0.5", "2", "4")]
    one = measured["strongest_n_kernels"]["1"]["top1"]
    assert (
        f"Of 10,000 validation pictures it is right in {measured['top1']:.1f} % (top-5: {measured['top5']:.1f} %), in "
        f"{one:.1f} % with only the strongest kernel of each layer, and in {at[0]}, {at[1]} and {at[2]} % at temperatures of "
        "0.5, 2 and 4"
    ) in text


def test_the_weaknesses_on_the_card_are_what_was_measured():
    card = json.loads((FOLDER / "od_resnet18_w32_4x_tiny_imagenet.json").read_text(encoding="utf-8"))
    layers = card["measured"]["between_pictures"]["layers"].values()
    means = [sum(layer[head] for layer in layers) / len(layers) for head in HEADS]
    led = sum(max(layer["leads"]) >= 99 for layer in layers)
    assert f"(deviation {min(means):.2f} to {max(means):.2f}, mean over layers)" in card["known_weaknesses"]
    assert f"in {led} of {len(layers)} layers the same kernel leads in at least 99 %" in card["known_weaknesses"]
    assert f"{card['measured']['first_n_kernels']['1']['top1']} % top-1 with kernel 1 alone" in card["known_weaknesses"]


@each
def test_weights_are_small_and_have_a_card_of_all_validation_pictures(path):
    assert path.suffix == ".safetensors"
    assert path.stat().st_size < 45e6
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["name"] == path.stem
    assert card["measured"]["n"] == 10_000
    assert len(card["measured"]["per_class"]) == 200
    assert card["recipe"]


@each
def test_the_atlas_is_of_these_weights_and_agrees_with_the_card(path):
    """The card's deviations are over 2,000 of the pictures and the atlas's over all of them."""
    checkpoint, atlas = load_checkpoint(path), atlas_beside(path)
    assert (atlas is not None) == checkpoint.dynamic
    if atlas:
        assert atlas.pictures == 10_000
        layers = checkpoint.card.measured["between_pictures"]["layers"]
        for name, layer in atlas.layers.items():
            for head, typical in zip(HEADS, layer.heads, strict=True):
                assert (typical is None) == (head not in layers[name])
                if typical is not None:
                    assert typical.between_pictures == pytest.approx(layers[name][head], rel=0.1, abs=0.001)
