"""Evaluation: the card keeps what was measured, and what cannot be measured ends in one sentence."""

import json

import pytest
import torch

from odconv import Settings, load_checkpoint
from odconv.backbones import od_resnet18
from odconv.checkpoint import save_checkpoint
from odconv.training import atlas, evaluate
from odconv.training.measure import Preparation, measure, predict_logits
from tests.training.conftest import CARD, COLOURS, MEAN, STD, arguments, refusal

HOW = Preparation(CARD["image_size"], MEAN, STD)


def options(weights, animals, *more):
    return arguments(*more, weights=weights, data=animals, cache=animals.parent / "cache", device="cpu")


def test_the_command_writes_into_the_card_and_prints(own_weights, animals, pictures, capsys):
    evaluate.main(options(own_weights, animals, "--temperatures=0.3,1"))
    card = json.loads(own_weights.with_suffix(".json").read_text())
    expected = measure(load_checkpoint(own_weights), pictures, tuple(COLOURS), (0.3, 1.0))
    assert card["measured"] == load_checkpoint(own_weights).card.measured == json.loads(json.dumps(expected))
    assert card["note"] == CARD["note"]
    printed = capsys.readouterr().out
    assert f"{expected['what']}\ntop-1 {expected['top1']:.2f}, top-5 100.00; " in printed


@pytest.mark.parametrize("command", [evaluate, atlas])
def test_what_cannot_be_looked_at_ends_in_one_sentence(command, own_weights, animals, tmp_path):
    assert "There is no folder /nowhere" in refusal(command, options(own_weights, animals, "--data=/nowhere"))
    assert refusal(command, options(tmp_path / "no.pt", animals)).startswith("no.pt could not be read")
    card = own_weights.with_suffix(".json")
    card.write_text(json.dumps(CARD | {"classes": ["ant", "cow", "bee"]}))
    assert "other classes than those in three.json" in refusal(command, options(own_weights, animals))
    card.unlink()
    assert "three.safetensors has no card, three.json" in refusal(command, options(own_weights, animals))


def test_an_impossible_temperature_is_refused_by_the_command(weights, animals, capsys):
    with pytest.raises(SystemExit):
        evaluate.main(options(weights, animals, "--temperatures=1,0"))
    assert "--temperatures" in capsys.readouterr().err


def test_pictures_of_some_of_the_classes_are_measured_by_their_identifiers(own_weights, animals, pictures):
    classes = [{"id": "cat", "name": "cat"}, *({"id": name, "name": name.upper()} for name in reversed(COLOURS))]
    torch.manual_seed(0)
    save_checkpoint(od_resnet18(4, width=4, stem="small"), CARD | {"classes": classes}, own_weights)
    evaluate.main(options(own_weights, animals, "--temperatures=1"))
    measured = load_checkpoint(own_weights).card.measured
    logits = predict_logits(load_checkpoint(own_weights).model, pictures, HOW, Settings())
    names = [classes[i]["id"] for i in logits.argmax(1)]
    right = [name == pictures.names[label] for name, label in zip(names, pictures.labels, strict=True)]
    assert measured["top1"] == round(100 * sum(right) / len(right), 2)
    assert list(measured["per_class"]) == ["cow", "bee", "ant"]
    assert measured["what"].endswith("; pictures of 3 of the 4 classes")
    assert "There are no pictures of cat" in refusal(atlas, options(own_weights, animals))
