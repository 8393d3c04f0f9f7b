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
