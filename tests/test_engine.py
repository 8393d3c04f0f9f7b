"""The engine without a page: what is cached under which key, who waits for whom, and what leaks."""

import gc
import itertools
import os
import shutil
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import streamlit as st
import torch
from PIL import Image

from odconv import HEADS, Settings, explain, load_checkpoint
from odconv.atlas import atlas_path
from odconv.attention import Heads
from odconv.backbones import od_efficientnet_lite0, od_resnet18, resnet18
from odconv.checkpoint import CheckpointError, save_checkpoint
from odconv.images import prepare
from odconv.ui import devices, inference, keeping, parts
from odconv.ui import engine as engines
from odconv.ui.devices import BusyError
from odconv.ui.engine import load_atlas_for, open_engine
from odconv.ui.inference import ask, ask_all
from odconv.ui.pictures import Picture
from odconv.ui.turns import Turns
from odconv.words import say

CARD = {"image_size": 32, "resize": 32, "stem": "small", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
NAME = "small.safetensors"


@pytest.fixture(autouse=True)
def _as_it_was():
    """Fresh caches, and the process's own settings put back."""
    threads = torch.get_num_threads()
    tf32 = [(flags, flags.allow_tf32) for flags in (torch.backends.cudnn, torch.backends.cuda.matmul)]
    for forget in (
        partial(keeping.forget, keeping.HOUR),
        st.cache_resource.clear,
        engines.set_up_torch.cache_clear,
    ):
        forget()
    yield
    for forget in (
        partial(keeping.forget, keeping.HOUR),
        st.cache_resource.clear,
        engines.set_up_torch.cache_clear,
    ):
        forget()
    torch.set_num_threads(threads)
    for flags, allowed in tf32:
        flags.allow_tf32 = allowed


@pytest.fixture(scope="module")
def saved(small_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / NAME
    save_checkpoint(small_model, CARD | {"classes": list("abcde")}, path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch, saved):
    """A folder of weights that the picker offers: ``NAME``, five classes, a card and no atlas."""
    monkeypatch.setenv("ODCONV_WEIGHTS", str(tmp_path))
    for file in (saved, saved.with_suffix(".json")):
        shutil.copy(file, tmp_path)
    return tmp_path


@pytest.fixture
def passes(monkeypatch):
    """Settings of every pass through a network that is really made."""
    made, explain = [], inference.explain

    def counted(model, image, settings, **options):
        made.append(settings)
        return explain(model, image, settings, **options)

    monkeypatch.setattr(inference, "explain", counted)
    return made


def picture(seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return Picture(f"picture {seed}", f"{seed}", "noise", Image.fromarray(pixels))


def hold(device="cpu"):
    """A visitor who has the device."""
    return devices.hold(device, time.monotonic() + 1)


# --- answers ----------------------------------------------------------------------------------------------------------


def test_a_picture_is_asked_about_once_and_settings_that_mean_the_same_share_the_answer(folder, passes):
    engine = open_engine(NAME, "cpu")
    first = ask(engine, picture(), Settings())
    for same in (Settings(keep="first"), Settings(1, compensate=True), Settings(kernels=64), Settings(kernels=4)):
        answer = ask(engine, picture(), same)
        assert answer.explanation.settings == Settings()
        np.testing.assert_array_equal(answer.explanation.logits, first.explanation.logits)
    assert passes == [Settings()]
    ask(engine, picture(), Settings(2.0))
    ask(engine, picture(1), Settings())
    assert passes == [Settings(), Settings(2.0), Settings()]


def test_what_comes_before_the_first_dynamic_layer_runs_once_for_a_picture_and_changes_no_number(folder, monkeypatch):
    torch.manual_seed(0)
    lite = od_efficientnet_lite0(5, width_mult=0.25)
    save_checkpoint(lite, CARD | {"classes": list("abcde"), "stem": "imagenet"}, folder / "lite.safetensors")
    engine = open_engine("lite.safetensors", "cpu")
    model, begun = engine.checkpoint.model, []
    begin = model.begin
    monkeypatch.setattr(model, "begin", lambda x: begun.append(x) or begin(x))
    for settings in (Settings(), Settings(3.0), Settings(kernels=2)):
        found = ask(engine, picture(), settings).explanation
        whole = explain(load_checkpoint(engine.path).model, prepare(picture().image, engine.checkpoint.card), settings)
        np.testing.assert_array_equal(found.logits, whole.logits)
        for name, layer in whole.layers.items():
            for ours, theirs in zip(found.layers[name].attention, layer.attention, strict=True):
                np.testing.assert_array_equal(ours, theirs)
    ask(engine, picture(1), Settings())
    assert len(begun) == 2


def test_who_waits_for_the_device_or_for_an_answer_that_is_being_computed_leaves_the_turn_to_others(
    folder, monkeypatch
):
    turns = Turns()
    monkeypatch.setattr(parts, "_turns", turns)
    engine, got = open_engine(NAME, "cpu"), []

    def draw():
        with parts.turn(parts.PAGE):
            got.append(ask(engine, picture(), Settings()).explanation)

    with hold():
        threads = [threading.Thread(target=draw) for _ in range(2)]
        for thread in threads:
            thread.start()
        while not devices._queues["cpu"].count_waiting() or turns.count_waiting():
            time.sleep(0.001)
        assert turns.acquire(10)
        turns.release()
    for thread in threads:
        thread.join()
    assert got[0] is got[1]
    assert turns.acquire(0)


def test_one_pass_answers_for_the_figures_and_for_the_kernel_that_is_looked_into(folder, passes):
    engine, layer, settings = open_engine(NAME, "cpu"), "layer2.0.conv1", Settings(temperature=2.0)
    ask(engine, picture(), Settings())
    before = len(passes)
    answer = ask_all(engine, [picture()], settings, layer).explanation
    view = inference.ask_kernel(engine, picture(), settings, layer, 0, 0)
    assert len(passes) == before + 1
    assert answer.layers[layer].input is None  # nothing of the photo is kept with the answer
    keeping.forget(keeping.HOUR)
    alone = inference.ask_kernel(engine, picture(), settings, layer, 0, 0)
    np.testing.assert_equal(asdict(view), asdict(alone))


def test_who_asks_for_the_figures_and_who_asks_for_the_kernel_at_once_do_not_wait_for_each_other(folder):
    engine, layer = open_engine(NAME, "cpu"), "layer2.0.conv1"
    for number in range(20):
        settings = Settings(temperature=2.0 + number)
        with ThreadPoolExecutor(2) as pool:
            figures = pool.submit(ask_all, engine, [picture()], settings, layer)
            kernel = pool.submit(inference.ask_kernel, engine, picture(), settings, layer, 0, 0)
            assert figures.result(20).explanation.layers[layer]
            assert kernel.result(20).filter == 0


def test_pictures_compared_are_cached_one_by_one(folder, passes):
    engine = open_engine(NAME, "cpu")
    alone = [ask(engine, picture(n), Settings(2.0)).explanation for n in (0, 1)]
    together = ask_all(engine, [picture(0), picture(1), picture(2)], Settings(2.0)).explanation
    assert len(passes) == 3
    assert together.settings == Settings(2.0)
    assert together.logits.shape == (3, 5)
    for n, one in enumerate(alone):
        np.testing.assert_array_equal(together.picture(n).logits, one.logits)


def test_no_visitor_can_change_the_numbers_that_the_next_one_gets(folder):
    engine = open_engine(NAME, "cpu")
    for _ in range(2):  # computed, and kept
        answer = ask(engine, picture(), Settings()).explanation
        arrays = [answer.logits, *(head for layer in answer.layers.values() for head in layer.attention)]
        assert not any(array.flags.writeable for array in arrays if array is not None)


def test_layers_that_a_network_does_not_have_are_no_error(folder):
    engine = open_engine(NAME, "cpu")
    assert ask(engine, picture(), Settings(2.0, layers=("![x](https://)",))).explanation.settings == Settings()


def test_an_engine_says_which_heads_and_kernels_there_are(folder):
    save_checkpoint(
        od_resnet18(5, width=8, stem="small", num_kernels=1),
        CARD | {"classes": list("abcde")},
        folder / "one.pt.safetensors",
    )
    save_checkpoint(
        resnet18(5, width=8, stem="small"), CARD | {"classes": list("abcde")}, folder / "static.safetensors"
    )
    found = [open_engine(name, "cpu") for name in (NAME, "one.pt.safetensors", "static.safetensors")]
    assert [engine.heads for engine in found] == [HEADS, HEADS[:3], ()]
    assert [engine.num_kernels for engine in found] == [4, 1, 1]
    assert [engine.normalize(Settings(kernels=2)) for engine in found] == [Settings(kernels=2), Settings(), Settings()]


# --- keys -------------------------------------------------------------------------------------------------------------


def test_one_network_is_shared_until_its_files_change(folder):
    engine = open_engine(NAME, "cpu")
    assert open_engine(NAME, "cpu") is engine
    os.utime(folder / NAME, ns=(1, 1))
    assert open_engine(NAME, "cpu") is not engine


def test_a_page_opened_between_the_weights_and_the_card_sees_the_card_when_it_comes(folder):
    card = folder / "small.json"
    kept = card.read_text()
    card.unlink()
    before = open_engine(NAME, "cpu")
    assert (before.checkpoint.card.classes[0], before.checkpoint.card.image_size) == ("class 0", 224)
    card.write_text(kept)
    after = open_engine(NAME, "cpu")
    assert (after.checkpoint.card.classes[0], after.checkpoint.card.image_size) == ("a", 32)
    shapes = [
        ask(engine, picture(), Settings()).explanation.layers["layer1.0.conv1"].input_shape
        for engine in (before, after)
    ]
    assert shapes[0] != shapes[1]
    assert list(after.costs.values()) != list(before.costs.values())


def test_an_atlas_that_comes_later_is_found_and_one_that_goes_is_missed(folder):
    bundled = engines.BUNDLED / engines.LESSONS
    for ending in (".safetensors", ".json"):
        shutil.copy(bundled.with_suffix(ending), folder / f"other{ending}")

    def found():
        engine = open_engine("other.safetensors", "cpu")
        return load_atlas_for(engine, ask(engine, picture(), Settings()).explanation)

    assert found() is None
    shutil.copy(atlas_path(bundled), folder / "other.atlas.npz")
    assert found() is not None
    assert found() is found()
    (folder / "other.atlas.npz").unlink()
    assert found() is None


def test_an_atlas_without_its_weights_is_no_error(folder):
    for ending in (".safetensors", ".json", ".atlas.npz"):
        shutil.copy((engines.BUNDLED / engines.LESSONS).with_suffix(ending), folder / f"other{ending}")
    engine = open_engine("other.safetensors", "cpu")
    record = ask(engine, picture(), Settings()).explanation
    (folder / "other.safetensors").unlink()
    assert load_atlas_for(engine, record) is None


def test_weights_that_vanish_after_they_were_listed_are_one_sentence(folder, monkeypatch):
    listed = engines.weights()
    (folder / NAME).unlink()
    monkeypatch.setattr(engines, "weights", lambda: listed)
    for name in (NAME, "never there"):
        with pytest.raises(CheckpointError) as refused:
            open_engine(name, "cpu")
        assert str(refused.value) == say("en", "checkpoint.no_model")


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that need not be there: passes on it run out of memory as long as ``gpu["full"]``."""
    state = {"full": True}
    explain = inference.explain
    on_gpu = []

    def moved(self, device):
        if device == "cuda":
            on_gpu.append(self)
        return self

    def explained(model, image, settings, **options):
        if state["full"] and any(model is one for one in on_gpu):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return explain(model, image, settings, **options)

    monkeypatch.setattr(torch.nn.Module, "to", moved)
    monkeypatch.setattr(inference, "explain", explained)
    monkeypatch.setattr(engines, "pick_device", lambda name: name)
    return state


def test_what_the_cpu_answered_for_want_of_memory_is_said_and_is_not_kept_as_what_the_gpu_says(folder, gpu):
    engine = open_engine(NAME, "cuda")
    for note in (
        ask(engine, picture(), Settings()).note,
        ask(engine, picture(), Settings()).note,
        ask_all(engine, [picture(1), picture()], Settings()).note,
    ):
        assert say("en", note) == "The GPU had no memory left, so this was computed on the CPU."
        assert "CPU" in say("zh", note)
    gpu["full"] = False
    assert ask(engine, picture(), Settings()).note == ""
    assert ask_all(engine, [picture(), picture(1)], Settings()).note == ""
    gpu["full"] = True
    assert ask(engine, picture(), Settings()).note == ""  # kept: this is what the GPU says


def test_without_memory_on_the_cpu_there_is_nothing_to_fall_back_to(folder, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(inference, "explain", full)
    with pytest.raises(torch.OutOfMemoryError):
        ask(open_engine(NAME, "cpu"), picture(), Settings())


def test_a_network_that_does_not_fit_the_gpu_opens_on_the_cpu(folder, monkeypatch):
    def moved(self, device):
        if device != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self

    monkeypatch.setattr(torch.nn.Module, "to", moved)
    monkeypatch.setattr(engines, "pick_device", lambda name: name)
    engine = open_engine(NAME, "cuda")
    assert engine.device == "cpu"
    assert engine.identity == open_engine(NAME, "cpu").identity


def test_what_a_visitor_leaves_behind_is_collected_whatever_opens_meanwhile(folder):
    class Session:
        """Like a session of the server: it refers to itself and ends with nothing but the garbage collector."""

    session = Session()
    session.self = session
    gone = weakref.ref(session)
    open_engine(NAME, "cpu")
    open_engine(engines.LESSONS, "cpu")
    del session
    gc.collect()
    assert gone() is None


# --- the process ------------------------------------------------------------------------------------------------------


def test_float32_means_float32_once_a_network_is_open(folder):
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    open_engine(NAME, "cpu")
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"


def test_threads_are_set_for_the_process_once(folder, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)), raising=False)
    open_engine(NAME, "cpu")
    assert torch.get_num_threads() == 3
    torch.set_num_threads(2)
    open_engine(engines.LESSONS, "cpu")
    assert torch.get_num_threads() == 2


def test_who_starts_several_processes_says_how_many_threads_each_may_have(folder, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)), raising=False)
    open_engine(NAME, "cpu")
    assert torch.get_num_threads() == 1  # as torch itself has read it; the tests' own number here


# --- the queue --------------------------------------------------------------------------------------------------------


def test_who_waits_too_long_is_told_in_both_languages_and_that_is_not_kept(folder, monkeypatch):
    engine = open_engine(NAME, "cpu")
    monkeypatch.setattr(devices, "PATIENCE", 0.02)
    with hold():
        for question in (lambda: ask(engine, picture(), Settings()), lambda: ask_all(engine, [picture()], Settings())):
            with pytest.raises(BusyError) as busy:
                question()
            assert "try again" in busy.value.say("en")
            assert "稍后再试" in busy.value.say("zh")
    assert ask(engine, picture(), Settings()).explanation.layers


def test_what_is_cached_needs_no_turn(folder, monkeypatch):
    engine = open_engine(NAME, "cpu")
    ask_all(engine, [picture(0), picture(1)], Settings())
    monkeypatch.setattr(devices, "PATIENCE", 0.0)
    with hold():
        assert ask_all(engine, [picture(1), picture(0)], Settings()).explanation.logits.shape == (2, 5)
        with pytest.raises(BusyError):
            ask(engine, picture(2), Settings())


def test_a_turn_is_given_back_whatever_happens(folder, monkeypatch):
    engine = open_engine(NAME, "cpu")

    def broken(*_):
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(inference, "explain", broken)
        with pytest.raises(RuntimeError, match="broken"):
            ask(engine, picture(), Settings())
    monkeypatch.setattr(devices, "PATIENCE", 0.0)
    assert ask(engine, picture(), Settings()).explanation.layers


def test_visitors_who_want_different_things_stand_in_the_queue_together(folder, monkeypatch):
    engine, together = open_engine(NAME, "cpu"), threading.Barrier(3)

    @contextmanager
    def turn(device, deadline):
        together.wait(10)  # passes when three are here at once, and breaks otherwise
        yield

    monkeypatch.setattr(devices, "hold", turn)
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda n: ask(engine, picture(n), Settings()), range(3)))
    assert len({answer.explanation.logits.tobytes() for answer in answers}) == 3


def test_visitors_who_want_the_same_thing_do_not_wait_for_one_another_and_then_for_the_device(folder, monkeypatch):
    """One of them stands in the queue for all. When that one gives up, so do the others: their time is over, too."""
    engine, visitors, deadlines = open_engine(NAME, "cpu"), 4, []
    now, looks, all_here = [0.0], itertools.count(1), threading.Event()

    def look():
        if next(looks) == visitors:
            all_here.set()
        return now[0]

    @contextmanager
    def turn(device, deadline):
        all_here.wait(5)
        deadlines.append(deadline)
        now[0] += devices.PATIENCE
        raise BusyError("busy.network")
        yield

    monkeypatch.setattr(devices, "time", SimpleNamespace(monotonic=look))
    monkeypatch.setattr(devices, "hold", turn)

    def visit(_):
        with pytest.raises(BusyError):
            ask(engine, picture(), Settings())

    with ThreadPoolExecutor() as pool:
        list(pool.map(visit, range(visitors)))
    assert deadlines == [devices.PATIENCE] * visitors


def test_several_pictures_are_not_waited_for_longer_than_one(folder, monkeypatch):
    engine, deadlines, turn = open_engine(NAME, "cpu"), [], devices.hold

    def noted(device, deadline):
        deadlines.append(deadline)
        return turn(device, deadline)

    monkeypatch.setattr(devices, "hold", noted)
    ask_all(engine, [picture(n) for n in range(3)], Settings())
    assert len(deadlines) == 3
    assert len(set(deadlines)) == 1


def test_a_visitor_who_waits_for_the_device_keeps_nobody_from_what_is_cached(folder, monkeypatch):
    engine = open_engine(NAME, "cpu")
    ask(engine, picture(0), Settings())
    begun, turn = threading.Event(), devices.hold

    def noted(device, deadline):
        begun.set()
        return turn(device, deadline)

    monkeypatch.setattr(devices, "hold", noted)
    with turn("cpu", time.monotonic() + 1):
        waiting = threading.Thread(target=ask, args=(engine, picture(1), Settings()))
        waiting.start()
        assert begun.wait(10)
        assert ask(engine, picture(0), Settings()).explanation.layers  # while the other waits
        assert waiting.is_alive()
    waiting.join()


def test_who_comes_while_eight_pictures_are_asked_for_waits_for_one_of_them(folder, monkeypatch):
    engine, order, explain = open_engine(NAME, "cpu"), [], inference.explain
    queue = devices._queues["cpu"]
    names = {prepare(picture(n).image, engine.checkpoint.card).numpy().tobytes(): n for n in range(9)}
    begun = threading.Event()

    def noted(model, image, settings, **options):
        order.append(names[image.numpy().tobytes()])
        begun.set()
        wait_until(
            lambda: queue._waiting or len(order) > 1
        )  # the other visitor's pass is asked for during the first one
        return explain(model, image, settings, **options)

    monkeypatch.setattr(inference, "explain", noted)
    with ThreadPoolExecutor() as pool:
        eight = pool.submit(ask_all, engine, [picture(n) for n in range(8)], Settings())
        assert begun.wait(10)
        pool.submit(ask, engine, picture(8), Settings()).result()
        eight.result()
    assert order == [0, 8, 1, 2, 3, 4, 5, 6, 7]


def wait_until(reached, seconds=10):
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# --- the sweep of a stimulus ------------------------------------------------------------------------------------------


@pytest.fixture
def batches(monkeypatch):
    """Sizes and settings of every batch that the response to a stimulus is really computed from."""
    made, respond = [], inference.respond

    def counted(model, batch, settings):
        made.append((len(batch), settings))
        return respond(model, batch, settings)

    monkeypatch.setattr(inference, "respond", counted)
    return made


def test_a_response_is_one_batch_and_the_same_for_all_who_ask_it(folder, batches):
    engine = open_engine(NAME, "cpu")
    first = inference.ask_response(engine, "grating", None, Settings(kernels=4))
    again = inference.ask_response(engine, "grating", None, Settings())
    assert batches == [(19, Settings())]
    for name, layer in first.layers.items():
        np.testing.assert_array_equal(layer.shares, again.layers[name].shares)
    inference.ask_response(engine, "grating", None, Settings(2.0))
    blurred = [inference.ask_response(engine, "blur", picture(n), Settings()) for n in (0, 1)]
    assert batches[1:] == [(19, Settings(2.0)), (21, Settings()), (21, Settings())]
    shares = [one.layers["layer1.0.conv1"].shares for one in blurred]
    assert not np.array_equal(*shares)
    alone = ask(engine, picture(), Settings()).explanation.layers["layer1.0.conv1"].attention.kernel
    np.testing.assert_allclose(shares[0][:1], alone, rtol=1e-4)  # a blur of 0 is the photo itself


def test_a_response_waits_for_its_turn_like_all_others(folder, monkeypatch):
    engine = open_engine(NAME, "cpu")
    monkeypatch.setattr(devices, "PATIENCE", 0.02)
    with hold(), pytest.raises(BusyError):
        inference.ask_response(engine, "grating", None, Settings())
    assert inference.ask_response(engine, "grating", None, Settings()).layers


# --- one kernel -------------------------------------------------------------------------------------------------------


def test_a_kernel_and_the_answer_come_of_one_pass(folder, passes):
    engine, settings = open_engine(NAME, "cpu"), Settings(2.0)
    ask(engine, picture(), Settings())
    passes.clear()
    view = inference.ask_kernel(engine, picture(), settings, "layer2.0.conv1")
    record = ask(engine, picture(), settings).explanation.layers["layer2.0.conv1"]
    assert passes == [settings]
    assert record.input is None  # nothing of the photo is kept with the answers
    np.testing.assert_array_equal(view.own.shares, record.attention.kernel[0])
    assert view.own.map.shape == record.output_shape[1:]
    assert view.other is None  # no atlas
    inference.ask_kernel(engine, picture(), settings, "layer2.0.conv1")
    assert passes == [settings]


def test_an_answer_beside_a_kernel_is_the_one_without(folder):
    engine, settings = open_engine(NAME, "cpu"), Settings(2.0)
    inference.ask_kernel(engine, picture(), settings, "layer1.0.conv1")
    beside = ask(engine, picture(), settings).explanation
    keeping.forget(keeping.HOUR)
    alone = ask(engine, picture(), settings).explanation
    np.testing.assert_array_equal(beside.logits, alone.logits)
    assert list(beside.layers) == list(alone.layers)


def test_the_slice_that_the_program_picks_stays_while_a_dial_is_turned(folder):
    engine = open_engine(NAME, "cpu")
    views = [
        inference.ask_kernel(engine, picture(), Settings(t), "layer2.0.conv1", other=picture(1))
        for t in (1.0, 3.0, 30.0)
    ]
    assert len({(view.filter, view.channel) for view in views}) == 1
    asked = inference.ask_kernel(engine, picture(), Settings(), "layer2.0.conv1", 3, 5, picture(1))
    assert (asked.filter, asked.channel) == (3, 5)
    out_of_range = inference.ask_kernel(engine, picture(), Settings(), "layer2.0.conv1", 999, 999, picture(1))
    assert (out_of_range.filter, out_of_range.channel) == (views[0].filter, views[0].channel)


def test_another_pictures_kernel_is_what_it_is_when_that_one_is_looked_at(folder):
    engine, settings = open_engine(NAME, "cpu"), Settings(2.0)
    view = inference.ask_kernel(engine, picture(), settings, "layer1.0.conv1", 2, 1, picture(1))
    turned = inference.ask_kernel(engine, picture(1), settings, "layer1.0.conv1", 2, 1, picture())
    np.testing.assert_array_equal(view.other.forged, turned.own.forged)
    np.testing.assert_array_equal(view.own.forged, turned.other.forged)


def test_a_layer_that_is_not_there_is_named(folder):
    with pytest.raises(KeyError, match="conv9"):
        inference.ask_kernel(open_engine(NAME, "cpu"), picture(), Settings(), "conv9")


# --- a layer's forging ------------------------------------------------------------------------------------------------


def test_a_forging_is_compared_with_what_the_layer_put_out_in_the_pass_and_costs_one(folder, passes):
    engine, settings, taken = open_engine(NAME, "cpu"), Settings(2.0, kernels=3), {}
    module = engine.checkpoint.model.get_submodule("layer2.0.conv1")
    hook = module.register_forward_hook(lambda _, inputs, output: taken.setdefault("pass", output.clone()))
    view = inference.ask_forging(engine, picture(), settings, "layer2.0.conv1", 3, 5, (1, 2))
    hook.remove()
    np.testing.assert_array_equal(view.layer.output, taken["pass"][0])
    assert view.layer.difference < 1e-4
    assert (view.kernel.filter, view.kernel.channel, view.row, view.column) == (3, 5, 1, 2)
    record = ask(engine, picture(), settings).explanation.layers["layer2.0.conv1"]
    assert record.input is None  # nothing of the photo is kept with the answers
    inference.ask_forging(engine, picture(), settings, "layer2.0.conv1", 4, 6, (0, 0))
    assert passes == [settings, settings]  # the network, and the layer alone


def test_a_forging_is_of_the_slice_that_the_kernel_page_shows(folder):
    engine = open_engine(NAME, "cpu")
    shown = inference.ask_kernel(engine, picture(), Settings(), "layer2.0.conv1", other=picture(1))
    view = inference.ask_forging(engine, picture(), Settings(), "layer2.0.conv1", other=picture(1))
    assert (view.kernel.filter, view.kernel.channel) == (shown.filter, shown.channel)
    np.testing.assert_allclose(view.kernel.own.forged, shown.own.forged, atol=1e-6)


def test_settings_of_other_layers_leave_a_forging_as_trained(folder):
    engine, elsewhere = open_engine(NAME, "cpu"), Settings(3.0, layers=("layer4.0.conv1",))
    view = inference.ask_forging(engine, picture(), elsewhere, "layer1.0.conv1", 0, 0)
    assert view.layer.settings == Settings()
    told = inference.ask_forging(engine, picture(), elsewhere, "layer4.0.conv1", 0, 0)
    assert told.layer.settings == Settings(3.0)
    assert told.layer.difference < 1e-4


# --- curves -----------------------------------------------------------------------------------------------------------


def test_each_point_of_a_curve_is_a_pass_of_its_own_read_once(folder, monkeypatch):
    engine, made, free = open_engine(NAME, "cpu"), [], []
    take = inference.take_reading
    monkeypatch.setattr(inference, "take_reading", lambda *args: made.append(args[2]) or take(*args))
    wanted = [Settings(), Settings(30.0), Settings(Heads(30.0, 1.0, 1.0, 2.0)), Settings(1.0, compensate=True)]
    readings = []
    for reading in inference.read_each(engine, picture(), wanted):
        readings.append(reading)
        with hold():  # between two points the device is free
            free.append(True)
    assert made == wanted[:3]
    assert len(readings) == len(free) == 4
    for settings, reading in zip(wanted, readings, strict=True):
        np.testing.assert_array_equal(reading.logits, ask(engine, picture(), settings).explanation.logits[0])
    again = list(inference.read_each(engine, picture(), wanted))
    assert made == wanted[:3]
    np.testing.assert_array_equal(again[1].logits, readings[1].logits)


def test_who_waits_too_long_for_a_point_keeps_those_before(folder, monkeypatch):
    engine = open_engine(NAME, "cpu")
    points = inference.read_each(engine, picture(), [Settings(), Settings(2.0)])
    next(points)
    monkeypatch.setattr(devices, "PATIENCE", 0.0)
    with hold():
        with pytest.raises(BusyError):
            next(points)
        next(inference.read_each(engine, picture(), [Settings()]))
