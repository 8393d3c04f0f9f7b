"""Evaluation: the card keeps what was measured, and what cannot be measured ends in one sentence."""

import json

import pytest

from odconv import load_checkpoint
from odconv.training import atlas, evaluate
from odconv.training.measure import measure
from tests.training.conftest import CARD, COLOURS, arguments, refusal


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
