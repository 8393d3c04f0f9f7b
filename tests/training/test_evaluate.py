"""Evaluation: the card keeps what was measured, and what cannot be measured ends in one sentence."""

import json
import sys

import pytest
import torch

from odconv import load_checkpoint
from odconv.training import evaluate
from odconv.training.measure import measure
from tests.training.conftest import CARD


def command(weights, animals, *more):
    options = [f"--weights={weights}", f"--data={animals}", f"--cache={animals.parent / 'cache'}", "--device=cpu"]
    return [*options, "--temperatures=0.3,1", "--batch=12", *more]


def test_the_command_writes_into_the_card_and_prints(weights, animals, pictures, tmp_path, capsys):
    copy = tmp_path / "three.safetensors"
    copy.write_bytes(weights.read_bytes())
    copy.with_suffix(".json").write_text(json.dumps(CARD))
    evaluate.main(command(copy, animals))
    card = json.loads(copy.with_suffix(".json").read_text())
    assert {name: card[name] for name in CARD} == CARD
    assert load_checkpoint(copy).card.measured == card["measured"]
    checkpoint = load_checkpoint(weights)
    expected = measure(checkpoint, pictures, ("ant", "bee", "cow"), (0.3, 1.0), batch=12)
    assert card["measured"] == json.loads(json.dumps(expected))
    printed = capsys.readouterr().out
    assert card["measured"]["what"] in printed
    assert f"top-1 {expected['top1']:.2f}, top-5 100.00" in printed
    at = expected["temperature"]["0.3"]["top1"]
    assert f"top-1, temperature 0.3: {at:.2f}, 1: {expected['top1']:.2f}\n" in printed


def test_fewer_pictures_can_be_asked_for(weights, animals, tmp_path):
    copy = tmp_path / "three.safetensors"
    copy.write_bytes(weights.read_bytes())
    copy.with_suffix(".json").write_text(json.dumps(CARD))
    evaluate.main(command(copy, animals, "--pictures=6"))
    found = json.loads(copy.with_suffix(".json").read_text())["measured"]
    assert found["n"] == 6
    assert {entry["n"] for entry in found["per_class"].values()} == {2}


def test_weights_without_a_card_and_other_classes_end_in_one_sentence(weights, animals, tmp_path):
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes(weights.read_bytes())
    with pytest.raises(SystemExit) as refused:
        evaluate.main(command(bare, animals))
    assert "has no card" in refused.value.code
    bare.with_suffix(".json").write_text(json.dumps(CARD | {"classes": ["ant", "cow", "bee"]}))
    with pytest.raises(SystemExit) as refused:
        evaluate.main(command(bare, animals))
    assert "other classes" in refused.value.code


@pytest.mark.parametrize("option", ["--temperatures=1,0", "--pictures=0", "--threads=-1"])
def test_an_impossible_option_is_refused_by_the_command(weights, animals, option, capsys):
    with pytest.raises(SystemExit):
        evaluate.main(command(weights, animals, option))
    assert option.partition("=")[0] in capsys.readouterr().err


def test_threads_are_set_for_the_command_alone(weights, animals, monkeypatch):
    seen, before = [], torch.get_num_threads()
    monkeypatch.setattr(evaluate, "measure", lambda *given: seen.append(torch.get_num_threads()) or sys.exit(0))
    with pytest.raises(SystemExit):
        evaluate.main(command(weights, animals, f"--threads={before + 1}"))
    assert (seen, torch.get_num_threads()) == ([before + 1], before)
