"""What is said of the bundled weights is what their cards say."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import cards
from odconv import HEADS, explain, images, load_checkpoint
from odconv.atlas import atlas_beside, atlas_path
from odconv.checkpoint import find_checkpoints
from odconv.familiar import is_unfamiliar
from odconv.layer import AttentionBranch
from odconv.training import train
from odconv.training.recipe import DRAWN_TEMPERATURES
from odconv.ui import engine

FOLDER = Path(__file__).parents[1] / "assets" / "weights"
SAMPLES = FOLDER.parent / "samples"
BUNDLED = find_checkpoints(FOLDER)
LITE = FOLDER / "od_efficientnet_lite0_4x_imagenet.safetensors"
TINY_IMAGENET = [path for path in BUNDLED.values() if path != LITE]
each = pytest.mark.parametrize("path", BUNDLED.values(), ids=BUNDLED)


def test_the_tables_in_the_readme_are_what_the_script_prints():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- cards -->\n(.*?)\n<!-- end -->", text, re.DOTALL)
    assert shown
    assert shown[1].split("\n\n") == cards.tables(list(BUNDLED.values()))


def measured(name):
    return json.loads((FOLDER / f"{name}_tiny_imagenet.json").read_text(encoding="utf-8"))["measured"]


def test_what_the_projects_readme_says_of_the_networks_is_what_was_measured():
    text = " ".join((FOLDER.parents[1] / "README.md").read_text(encoding="utf-8").split())
    four, *others = (measured(name) for name in ("od_resnet18_w32_4x", "od_resnet18_w32_1x", "resnet18_w32"))
    right = [f"{network['top1']:.1f}" for network in (four, *others)]
    at = [f"{four['temperature'][t]['top1']:.1f}" for t in ("0.5", "2", "4")]
    one = four["strongest_n_kernels"]["1"]["top1"]
    assert f"Of 10,000 validation pictures they are right in {right[0]}, {right[1]} and {right[2]} %" in text
    assert f"It is right in {one:.1f} % with only the strongest kernel of each layer" in text
    assert f"and in {at[0]}, {at[1]} and {at[2]} % at temperatures of 0.5, 2 and 4" in text
    low, high = (temperature / 0.9 for temperature in DRAWN_TEMPERATURES)
    assert f"it met {low:.2f} to {high:.1f} in training" in text


def log(name):
    """Of the run that made the weights: a row for each epoch."""
    with (FOLDER / f"{name}_tiny_imagenet.log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_said_of_the_runs_is_what_their_logs_say():
    text = " ".join((FOLDER / "README.md").read_text(encoding="utf-8").split())
    names = ("resnet18_w32", "od_resnet18_w32_1x", "od_resnet18_w32_4x")
    took = [int(sum(float(row["seconds"]) for row in log(name))) for name in names]
    assert f"they trained for {took[0]}, {took[1]} and {took[2]} seconds" in text
    assert all(len(log(name)) == 24 for name in names)
    said = " ".join(train.__doc__.split())
    right = [round(measured(name)["top1"]) for name in names]
    assert f"right in {right[0]}, {right[1]} and {right[2]} % of the 10,000 validation pictures" in said
    assert f"in {min(took) // 60} to {max(took) // 60} minutes on an H200" in said


def between_pictures(name):
    """How far each head of each layer differs between pictures: (layers, heads)."""
    layers = measured(name)["between_pictures"]["layers"].values()
    return np.array([[layer[head] for head in HEADS if head in layer] for layer in layers])


def test_what_is_said_of_how_attention_moves_is_what_was_measured():
    text = " ".join((FOLDER / "README.md").read_text(encoding="utf-8").split())
    four, one = between_pictures("od_resnet18_w32_4x"), between_pictures("od_resnet18_w32_1x")
    assert f"the smallest deviation of a head in a layer is {four.min():.3f}" in text
    assert one.min() > 0.025
    assert four.mean(0).argmin() == HEADS.index("spatial")
    stages = four[:, 0].reshape(4, 4).mean(1)
    assert max(stages[:2]) < min(stages[2:])
    assert set(four.mean(1).argsort()[-2:]) == {0, 14}  # layer1.0.conv1 and layer4.1.conv1


def test_the_order_of_the_networks_is_what_is_said():
    static, one, four = (
        measured(name)["top1"] for name in ("resnet18_w32", "od_resnet18_w32_1x", "od_resnet18_w32_4x")
    )
    assert static > one > four
    recipe = json.loads((FOLDER / "od_resnet18_w32_4x_tiny_imagenet.json").read_text(encoding="utf-8"))["recipe"]
    assert "for 25 % of the pictures" in recipe  # another temperature
    assert "for 50 % of the pictures only n of the 4 kernels" in recipe
    assert "all logits divided by 0.9 when training was over" in recipe
    assert "--final-temperature 0.9" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_a_log_ends_with_about_the_accuracy_that_the_card_says():
    for name in ("resnet18_w32", "od_resnet18_w32_1x", "od_resnet18_w32_4x"):
        assert float(log(name)[-1]["top1"]) == pytest.approx(measured(name)["top1"], abs=0.3)  # bfloat16, on a GPU


def test_the_network_that_the_app_opens_with_moves_most():
    four, one = between_pictures("od_resnet18_w32_4x").mean(0), between_pictures("od_resnet18_w32_1x").mean(0)
    assert (four[:3] > one).all()


def test_what_is_said_of_pictures_of_other_things_is_what_was_measured():
    text = " ".join((FOLDER / "README.md").read_text(encoding="utf-8").split())
    cards = [json.loads(path.with_suffix(".json").read_text(encoding="utf-8")) for path in TINY_IMAGENET]
    entries = [card["familiar"] for card in cards]
    for entry in entries:
        assert entry["score"] == "max_softmax"
        assert round(entry["false_alarms"]) == 5
        assert f"--known {' '.join(entry['known'])} \\ --doubtful {' '.join(entry['doubtful'])}" in re.sub(
            r"\\ (?!--)", "", text
        )
    assert (len(entries[0]["known"]), len(entries[0]["doubtful"])) == (14, 19)
    ranges = {
        "notices {} to {} % of pictures": [entry["caught"] for entry in entries],
        "curve {} to {} %, and": [e["scores"][score]["auroc"] for e in entries for score in ("max_logit", "energy")],
        "and {} to {} % for the probability": [entry["auroc"] for entry in entries],
        "false for {} to {} % of them": [entry["photos"]["false_alarms"] for entry in entries],
    }
    for said, values in ranges.items():
        assert said.format(round(min(values)), round(max(values))) in text


def test_what_is_said_of_the_samples_of_none_of_the_classes_is_so():
    checkpoint = load_checkpoint(FOLDER / "od_resnet18_w32_4x_tiny_imagenet.safetensors")
    strange = [sample for sample in json.loads((SAMPLES / "samples.json").read_text()) if sample["known"] is None]
    pictures = [images.decode((SAMPLES / sample["file"]).read_bytes()) for sample in strange]
    found = explain(checkpoint.model, torch.cat([images.prepare(picture, checkpoint.card) for picture in pictures]))
    text = " ".join((FOLDER / "README.md").read_text(encoding="utf-8").split())
    assert len(strange) == 7
    assert not any(is_unfamiliar(logits[None], checkpoint.card.familiar) for logits in found.logits)
    shares = found.probabilities[[sample["id"] for sample in strange].index("raccoon")]
    assert checkpoint.card.classes[shares.argmax()].startswith("koala,")
    assert f"it takes the raccoon for a koala with a probability of {shares.max():.1f}" in text


@pytest.mark.parametrize("name", ["od_resnet18_w32_4x", "od_resnet18_w32_1x"])
def test_no_attention_branch_is_off(name):
    checkpoint = load_checkpoint(FOLDER / f"{name}_tiny_imagenet.safetensors")
    on = []
    for module in checkpoint.model.modules():
        if isinstance(module, AttentionBranch):
            module.bn.register_forward_hook(lambda bn, inputs, hidden: on.append((hidden > 0).any(0).float().mean()))
    sample = [images.decode(path.read_bytes()) for path in sorted(SAMPLES.glob("*.jpg"))]
    with torch.no_grad():
        checkpoint.model(torch.cat([images.prepare(image, checkpoint.card) for image in sample]))
    assert len(on) == 16
    assert min(on) > 0.5  # of the hidden units, for some picture


def test_the_weaknesses_on_the_cards_are_what_was_measured():
    four, one = (
        json.loads((FOLDER / f"od_resnet18_w32_{k}x_tiny_imagenet.json").read_text(encoding="utf-8")) for k in (4, 1)
    )
    assert f"{four['measured']['first_n_kernels']['1']['top1']} % top-1 with kernel 1 alone" in four["known_weaknesses"]
    assert "less often than its static twin and ODConv 1x" in four["known_weaknesses"]
    assert "less often than its static twin" in one["known_weaknesses"]


@each
def test_weights_are_small_and_have_a_card(path):
    assert path.suffix == ".safetensors"
    assert path.stat().st_size < 45e6
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["name"] == path.stem
    assert card["recipe"]
    if path in TINY_IMAGENET:  # all validation pictures
        assert card["measured"]["n"] == 10_000
        assert len(card["measured"]["per_class"]) == 200


@each
def test_the_atlas_is_of_these_weights_and_agrees_with_the_card(path):
    checkpoint, atlas = load_checkpoint(path), atlas_beside(path)
    assert (atlas is not None) == checkpoint.dynamic
    if atlas:
        assert atlas.pictures == (1000 if path == LITE else 10_000)
        assert atlas.classes == len(checkpoint.card.classes)
        assert atlas_path(path).stat().st_size < 700_000  # every page loads it
        layers = checkpoint.card.measured["between_pictures"]["layers"]
        for name, layer in atlas.layers.items():
            for head, typical in zip(HEADS, layer.heads, strict=True):
                assert (typical is None) == (head not in layers[name])
                if typical is not None:
                    # Of the thousand classes the card knows pictures of ten alone, which differ less.
                    near = {"rel": 0.4, "abs": 0.01} if path == LITE else {"rel": 0.1, "abs": 0.001}
                    assert typical.spread == pytest.approx(layers[name][head], **near)


# --- EfficientNet-Lite0 -----------------------------------------------------------------------------------------------


def held():
    """What ``odconv.training.held`` printed of it: name of the pictures -> row -> top-1 in percent; and heads -> layers that move."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    lines = re.search(r"<!-- held -->\n```\n(.*?)```\n<!-- end held -->", text, re.DOTALL)[1].splitlines()
    found, moves = {}, {}
    for line in lines:
        if pool := re.match(r"(\w+), n = ([\d,]+): static (\S+)", line):
            rows = found[pool[1]] = {"static": pool[3]}
        elif row := re.match(r"  (n = \d.*?|T = \S+) +top-1 (\S+)", line):
            rows[row[1]] = row[2]
        elif head := re.match(r"  (\w+): at least (\S+) in (\d+) of (\d+) layers", line):
            moves[head[1]] = (int(head[3]), int(head[4]))
    labelled = {name: rows for name, rows in found.items() if rows["static"] != "no"}
    return {name: {row: float(value) for row, value in rows.items()} for name, rows in labelled.items()}, moves


def test_a_thousand_classes_are_named_about_as_well_as_by_the_static_network_whatever_the_dials_say():
    found, moves = held()
    text = " ".join((FOLDER.parents[1] / "README.md").read_text(encoding="utf-8").split())
    photos = found["samples"]
    assert (
        f"of 1,000 full-size photos, one of each class, it names {photos['n = 4, T = 1']:.1f} % rightly, the static one {photos['static']:.1f} %"
        in text
    )
    mean = {row: sum(rows[row] for rows in found.values()) / len(found) for row in photos}
    assert mean["n = 4, T = 1"] > mean["static"] - 1
    assert min(mean.values()) > mean["static"] - 6
    assert set(moves) == set(HEADS)
    assert all(2 * above >= total for above, total in moves.values())


def test_the_card_of_the_thousand_classes_says_what_was_measured():
    card = json.loads(LITE.with_suffix(".json").read_text(encoding="utf-8"))
    found, _ = held()
    for rows in found.values():
        for row in ("n = 4, T = 1", "static"):
            assert f"{rows[row]:.1f}" in card["known_weaknesses"]
    measured = card["measured"]
    assert measured["what"].endswith("; pictures of 10 of the 1,000 classes")
    assert sum(entry["n"] for entry in measured["per_class"].values()) == measured["n"]
    with (FOLDER / f"{LITE.stem}.log.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert f"{last['step']} steps of 128 views" in card["recipe"]
    assert f"--steps {last['step']} " in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_everyday_samples_are_named_rightly():
    checkpoint = load_checkpoint(LITE)
    for name in ("espresso", "staircase", "photographer"):
        entry = next(sample for sample in json.loads((SAMPLES / "samples.json").read_text()) if sample["id"] == name)
        picture = images.decode((SAMPLES / entry["file"]).read_bytes())
        logits = explain(checkpoint.model, images.prepare(picture, checkpoint.card)).logits[0]
        assert checkpoint.card.classes[logits.argmax()] in entry["thousand"]


def test_lessons_open_with_layers_of_all_four_heads_and_explore_with_layers_that_lack_one():
    heads = {}
    for path in (engine.BUNDLED / engine.LESSONS, engine.BUNDLED / engine.PHOTOS):
        checkpoint = load_checkpoint(path)
        side = checkpoint.card.image_size
        layers = explain(checkpoint.model, torch.zeros(1, 3, side, side)).layers
        heads[path.name] = [sum(head is not None for head in layer.attention) for layer in layers.values()]
    assert heads[engine.LESSONS] == [4] * 16
    assert heads[engine.PHOTOS] == [3] * 25
