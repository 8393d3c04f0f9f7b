"""Training: a stopped run goes on as if nothing had been, and what is logged and kept is what the weights are."""

import copy
import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from odconv import HEADS, Settings, explain, load_checkpoint
from odconv.checkpoint import save_checkpoint
from odconv.training import train
from odconv.training.data import Purpose, augment, find_dataset, prepare_batch, stream
from odconv.training.measure import Preparation, attentions, summarise_layer, summarise_network
from odconv.training.network import build, parameter_groups, training_loss
from odconv.training.recipe import MEAN, STD, Drawn, Recipe, draw
from odconv.training.run import RunError, begin, export, make_card, new_run, reopen, save
from odconv.training.train import train_step
from tests.training.conftest import CARD, TINY, arguments, refusal, tiny_run

CPU = torch.device("cpu")


def tiny(animals, folder, **options):
    """A tiny run that has not begun."""
    return new_run(folder, Recipe(**(TINY | options)), find_dataset(animals), CPU)


def kept(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def rows(folder):
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def card(folder):
    return json.loads((folder / f"{folder.name}.json").read_text())


def percent_right(model, pictures, settings=None):
    """Prepared and counted here."""
    x = torch.tensor(pictures.pixels).permute(0, 3, 1, 2) / 255
    x = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    return round(100 * float(np.mean(explain(model, x, settings).logits.argmax(1) == pictures.labels)), 2)


@pytest.fixture(scope="module")
def averaged(finished):
    """The averaged network of the finished run's checkpoint."""
    return reopen(finished, {}, None, CPU).average.module


def test_a_step_augments_and_descends_with_the_rates_of_the_schedule(animals, pictures, tmp_path):
    """Two steps, put together here from their parts."""
    run = tiny(animals, tmp_path, attention_lr=3.0, zoom=1.2)
    twin, recipe = copy.deepcopy(run.model).train(), run.recipe
    optimiser = torch.optim.SGD(parameter_groups(twin, recipe), 1.0, momentum=0.9, nesterov=True)
    pixels, labels = torch.tensor(pictures.pixels[3:9]), torch.tensor(pictures.labels[3:9])
    for step in range(2):
        x = augment(prepare_batch(pixels, 16, MEAN, STD), stream(0, 1, step), 0.125, 1.2)
        drawn = Drawn(*map(torch.from_numpy, draw(recipe, step, 4, 6)))
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate((step + 0.5) / 8) * group["factor"]
        torch.manual_seed(int(stream(0, Purpose.DROPPING, step).integers(2**63)))
        loss, cross_entropy = training_loss(twin, x, labels, drawn, recipe)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        torch.testing.assert_close(train_step(run, pixels, labels), cross_entropy)
    assert run.step == 2
    for (name, ours), theirs in zip(run.model.state_dict().items(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)


def test_the_log_says_what_was_measured(finished, averaged, pictures):
    first, last = rows(finished)
    layers = attentions(averaged, pictures, Preparation(16, MEAN, STD, batch=6), Settings())
    watched = summarise_network([summarise_layer(heads) for heads in layers.values()])
    assert {name: float(last[name]) for name in watched} == watched
    assert set(HEADS) < set(watched)
    assert [(row["epoch"], row["step"]) for row in (first, last)] == [("1", "4"), ("2", "8")]
    assert (last["size"], last["lr"], last["temperature"]) == ("16", "0.0", "1.0")
    assert (float(last["top1"]), float(last["top5"])) == (percent_right(averaged, pictures), 100)
    assert {path.suffix for path in finished.iterdir()} == {".csv", ".pt", ".safetensors", ".json"}


@pytest.mark.parametrize("steps", [3, 6])
def test_a_run_that_was_stopped_goes_on_as_if_nothing_had_been(animals, finished, tmp_path, monkeypatch, capsys, steps):
    """In the first epoch of four steps, and in the second: the same bits as without a stop."""
    done = []

    def step(*given):
        if len(done) == steps:
            raise KeyboardInterrupt
        done.append(train_step(*given))
        return done[-1]

    monkeypatch.setattr(train, "train_step", step)
    out = tmp_path / "stopped"
    assert train.main(tiny_run(animals, out)) == 1
    assert "--resume" in capsys.readouterr().out
    assert len(kept(out)["rows"]) == steps // 4
    monkeypatch.undo()
    assert train.main(tiny_run(animals, out, "--resume")) == 0
    ours, theirs = kept(out), kept(finished)
    for part in ("model", "average"):
        assert ours[part].keys() == theirs[part].keys()
        assert all(torch.equal(ours[part][name], theirs[part][name]) for name in ours[part])
    for mine, other in zip(ours["optimiser"]["state"].values(), theirs["optimiser"]["state"].values(), strict=True):
        assert torch.equal(mine["momentum_buffer"], other["momentum_buffer"])
    (out / "stopped.safetensors").unlink()
    assert train.main(tiny_run(animals, out, "--resume")) == 0  # at its end: there are only weights to be written
    timed = {"seconds": "", "images_per_second": ""}
    assert [row | timed for row in rows(out)] == [row | timed for row in rows(finished)]
    assert card(out) == card(finished) | {"name": "stopped"}


def test_a_loss_that_is_no_number_ends_the_run_and_leaves_the_last_checkpoint(animals, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "train_step", lambda *given: torch.tensor(float("nan")))
    assert "--lr" in refusal(train, tiny_run(animals, tmp_path / "diverges"))
    assert kept(tmp_path / "diverges")["rows"] == []


@pytest.mark.parametrize(
    ("able", "precision", "line"),
    [
        (False, "auto", "Products in float32: this processor has no bfloat16 instructions."),
        (True, "auto", "Products in bfloat16: this processor has bfloat16 instructions."),
        (False, "bfloat16", "Products in bfloat16: as asked."),
    ],
)
def test_the_opening_line_says_which_number_type_was_taken_and_why_and_a_resumed_run_keeps_it(
    animals, tmp_path, monkeypatch, capsys, able, precision, line
):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: able)
    monkeypatch.setattr(train, "fit", lambda *given: None)
    train.main(tiny_run(animals, tmp_path / "run", precision=precision))
    assert capsys.readouterr().out.splitlines()[0] == line
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: not able)
    run = reopen(tmp_path / "run", {"precision": "auto"}, None, CPU)
    assert run.recipe.precision == line.split()[2].strip(":")


def test_every_hyperparameter_is_an_option_of_the_command_and_absent_unless_given():
    """So that --resume can tell what was asked for."""
    options = vars(train.make_parser().parse_args(["--out=x", "--kernel-drop=strongest", "--epochs=3"]))
    given = {name: options[name] for name in Recipe.__dataclass_fields__ if name in options}
    assert given == {"kernel_drop": "strongest", "epochs": 3}
    for name, value in vars(replace(Recipe(), seed=7)).items():
        parsed = train.make_parser().parse_args(["--out=x", *arguments(**{name: value})])
        assert getattr(parsed, name) == value


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_run_on_cuda_trains_and_exports(animals, tmp_path):
    out = tmp_path / "cuda"
    assert train.main([*tiny_run(animals, out, precision="bfloat16"), "--device=cuda"]) == 0
    assert load_checkpoint(out / "cuda.safetensors").card.measured["n"] == 12


def test_exported_weights_are_the_averaged_ones_as_float16_with_a_card_that_says_how_they_were_made(
    finished, averaged, pictures
):
    loaded, raw = load_checkpoint(finished / "straight.safetensors"), card(finished)
    for name, tensor in averaged.state_dict().items():
        whole = ".bn" in name or name.startswith("bn") or "downsample.1" in name
        assert torch.equal(loaded.model.state_dict()[name], tensor if whole else tensor.half().float())
    assert (raw["backbone"], raw["width"], raw["num_kernels"], raw["num_classes"]) == ("od_resnet18", 4, 4, 3)
    assert (loaded.card.name, loaded.card.classes) == ("straight", ("ant", "bee", "cow"))
    assert (loaded.card.image_size, loaded.card.resize, loaded.card.stem) == (16, 16, "small")
    assert "2 epochs (2 at 16 px), float32" in loaded.card.recipe
    assert "24 training pictures of 3 classes" in loaded.card.data
    assert raw["measured"]["top1"] == percent_right(averaged, pictures)


def test_what_is_exported_while_the_temperature_falls_is_measured_at_temperature_1(
    checkpoint, animals, pictures, tmp_path
):
    """Of a network that is right for other pictures at temperature 30, where the log's last row was measured."""
    run = tiny(animals, tmp_path / "early", temperature_epochs=100.0)
    run.average.module.load_state_dict(checkpoint.model.state_dict())
    run.rows = [{"epoch": 1, "size": 16, "temperature": 29.0, "top1": 99.0, "top5": 99.0}]
    save(run)
    assert train.main(arguments("--export", out=run.folder, device="cpu", cache=tmp_path / "cache")) == 0
    measured, right = card(run.folder)["measured"], percent_right(checkpoint.model, pictures)
    assert right != percent_right(checkpoint.model, pictures, Settings(30.0))
    assert (measured["top1"], measured["top5"], measured["n"]) == (right, 100, 12)
    assert measured["what"].startswith("after 1 of 2 epochs: top-1 and top-5 in percent")


def test_exported_logits_are_divided_by_the_final_temperature(animals, pictures, tmp_path):
    run = tiny(animals, tmp_path / "sharper", final_temperature=0.5)
    save(run)
    export(run, pictures)
    loaded = load_checkpoint(run.folder / "sharper.safetensors").model.state_dict()
    heads = {name: tensor for name, tensor in run.average.module.state_dict().items() if "_fc." in name}
    assert all(torch.equal(loaded[name], (2 * tensor).half().float()) for name, tensor in heads.items())
    assert all(loaded[name].any() for name in heads if name.endswith("weight"))


@pytest.mark.parametrize("kernels", [1, 4])
def test_a_run_that_starts_from_weights_needs_them_once_and_says_so_in_its_card(animals, tmp_path, kernels):
    given = tmp_path / "given.safetensors"
    twin = tiny(animals, tmp_path, arch="resnet18", kernel_drop="none")
    save_checkpoint(build(twin.recipe, 3), make_card(twin, "given", {}), given)
    options = TINY | {"start": str(given), "kernels": kernels, "kernel_drop": "none"}
    save(begin(tmp_path / "out", options, animals, CPU))
    given.unlink()
    run = reopen(tmp_path / "out", {}, None, CPU)
    own = run.average.module.layer1[0].conv1.weight
    assert torch.equal(own, kept(run.folder)["model"]["layer1.0.conv1.weight"])
    copied = ", each of its kernels 4 times, with noise of 0.5 of their deviation" if kernels == 4 else ""
    recipe = make_card(run, "out", {})["recipe"]
    assert recipe.startswith("First given (resnet18 for 2 epochs")
    assert f"seed 0){copied}. Then od_resnet18 for 2 epochs" in recipe


def test_a_folder_that_is_not_empty_is_not_overwritten(animals, finished, tmp_path):
    (tmp_path / "notes.txt").touch()
    for out in (finished, tmp_path, tmp_path / "notes.txt"):
        assert "not an empty folder" in refusal(train, tiny_run(animals, out))


def test_there_must_be_a_whole_run_to_resume_with_the_same_recipe_and_pictures(animals, folder, finished, tmp_path):
    for flag in ("--resume", "--export"):
        assert "holds no run" in refusal(train, tiny_run(animals, tmp_path / "nowhere", flag))
    message = refusal(train, tiny_run(animals, finished, "--resume", lr=0.3))
    assert "--lr 0.01, which cannot become 0.3" in message
    (folder / "train" / "ant" / "0.png").unlink()
    assert "begun on other pictures" in refusal(train, tiny_run(folder, finished, "--resume"))


def test_bad_data_and_bad_recipes_end_in_one_sentence_before_a_folder_is_made(animals, tmp_path):
    out, other = tmp_path / "run", tmp_path / "other.safetensors"
    save_checkpoint(build(Recipe(arch="resnet34", width=4), 3), CARD, other)
    assert "--data is needed" in refusal(train, arguments(out=out))
    assert "There is no folder" in refusal(train, arguments(out=out, data=tmp_path / "nowhere"))
    assert "warm_up=1.5" in refusal(train, tiny_run(animals, out, warm_up=1.5))
    assert "batch=25: at most the 24" in refusal(train, tiny_run(animals, out, batch=25))
    assert "cannot be started from" in refusal(train, tiny_run(animals, out, start=tmp_path / "none.safetensors"))
    assert "static twin" in refusal(train, tiny_run(animals, out, start=other))
    assert not out.exists()


def test_a_checkpoint_is_written_whole_or_not_at_all(animals, tmp_path, monkeypatch):
    run = tiny(animals, tmp_path)
    save(run)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def fail(content, path):
        path.write_bytes(b"half")
        raise OSError(28, "no room")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(RunError, match="cannot be written to: no room"):
        save(run)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]
