"""Passes elsewhere: what crosses the wire, what is refused, and what a visitor gets where there is no answer.

One test starts a cluster of its own, on loopback, kills a part of it, and has it make an atlas.
"""

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
import torch
from PIL import Image
from safetensors.numpy import save

from benchmarks import engines
from odconv import Settings, explain, load_checkpoint
from odconv.atlas import atlas_path, fingerprint
from odconv.attention import HEADS, LEARNED, Heads, attend
from odconv.backbones import od_mobilenetv2, od_resnet18
from odconv.checkpoint import save_checkpoint
from odconv.cluster import __main__ as command
from odconv.cluster import answering, messages
from odconv.cluster.answering import Networks
from odconv.cluster.client import Address, ClusterError, parse_address, send
from odconv.cluster.messages import (
    MessageError,
    Question,
    pack_answer,
    pack_question,
    read_answer,
    read_question,
)
from odconv.explain import explain_each
from odconv.images import prepare
from odconv.training import atlas as atlas_command
from odconv.ui import cluster, inference, keeping
from odconv.ui.engine import open_engine
from odconv.ui.pictures import Picture
from odconv.words import say
from tests.pages.test_explore import opened, sentences
from tests.training.conftest import CARD as ANIMALS
from tests.training.conftest import arguments, draw_all

ROOT = Path(__file__).parents[1]
CARD = {"image_size": 32, "resize": 40, "stem": "small", "mean": [0.5, 0.4, 0.3], "std": [0.25, 0.2, 0.3]}
CARD |= {"classes": list("abcde")}
TOKEN = f"token-of-tests-{os.getpid()}"
SETTINGS = [
    Settings(),
    Settings(30.0),
    Settings(kernels=2),
    Settings(0.3, kernels=1, keep="first"),
    Settings(Heads(2.0, 1.0, 3.0, 0.5), ("spatial", "kernel"), compensate=True, ablate=("channel",), seed=2**62),
    Settings(
        replaced=LEARNED._replace(filter="shuffled", kernel="argmax"), layers=("layer1.0.conv1", "layer3.1.conv2")
    ),
]


@pytest.fixture(scope="module")
def folder(small_model, tmp_path_factory):
    """Two networks with cards."""
    folder = tmp_path_factory.mktemp("weights")
    save_checkpoint(small_model, CARD, folder / "small.safetensors")
    torch.manual_seed(1)
    mobile = od_mobilenetv2(5, num_kernels=1, width_mult=0.35)  # layers without each of the heads
    save_checkpoint(mobile.eval(), CARD | {"stem": "imagenet"}, folder / "mobile.safetensors")
    return folder


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, folder):
    """No answer of one test for the next; a cluster that rests in none."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(cluster, "_resting", {})
    monkeypatch.setenv("ODCONV_WEIGHTS", str(folder))
    for forget in (partial(keeping.forget, keeping.HOUR), st.cache_resource.clear):
        forget()
    yield
    for forget in (partial(keeping.forget, keeping.HOUR), st.cache_resource.clear):
        forget()
    torch.set_num_threads(threads)


def pixels(seed=0, side=32):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def picture(seed=0):
    """A photo that is larger than the network's square."""
    return Picture(f"picture {seed}", f"{seed}", "noise", Image.fromarray(pixels(seed, 48)))


def assert_same(found, expected, **tolerance):
    """Two explanations are equal: in all numbers up to ``tolerance``, and exactly in all else."""
    close = np.testing.assert_allclose if tolerance else np.testing.assert_array_equal
    assert found.settings == expected.settings
    close(found.logits, expected.logits, **tolerance)
    assert list(found.layers) == list(expected.layers)
    for name, layer in expected.layers.items():
        mine = found.layers[name]
        for part in ("logits", "attention"):
            for head, ours, theirs in zip(HEADS, getattr(mine, part), getattr(layer, part), strict=True):
                assert (ours is None) == (theirs is None), (name, part, head)
                if theirs is not None:
                    close(ours, theirs, **tolerance)
        assert (mine.kept is None) == (layer.kept is None)
        if layer.kept is not None:
            np.testing.assert_array_equal(mine.kept, layer.kept)
        without = {"logits": layer.logits, "attention": layer.attention, "kept": layer.kept}
        assert replace(mine, **without) == layer


# --- settings of each picture ---------------------------------------------------------------------------------------


def test_pictures_in_one_pass_under_settings_of_their_own_get_what_each_gets_alone(folder):
    # In float64, so that a picture gives the same in any batch; its record is float32.
    model = load_checkpoint(folder / "small.safetensors").model.double()
    images = torch.randn(len(SETTINGS), 3, 32, 32, dtype=torch.float64)
    together = explain_each(model, images, SETTINGS)
    alone = [explain(model, image[None], settings) for image, settings in zip(images, SETTINGS, strict=True)]
    for found, expected in zip(together, alone, strict=True):
        assert_same(found, expected, rtol=2**-22, atol=2**-22)
    trained = explain(model, images).logits
    assert all((one.logits[0] != trained[i]).any() for i, one in enumerate(together) if i)


def test_attention_is_bit_for_bit_what_its_logits_give_one_picture(small_model, images):
    told = [Settings(3.0), Settings(kernels=2), Settings(3.0, ablate=("spatial",))]
    for i, found in enumerate(explain_each(small_model, images, told)):
        for layer in found.layers.values():
            logits = Heads(*(None if head is None else torch.from_numpy(head) for head in layer.logits))
            for ours, theirs in zip(layer.attention, attend(logits, told[i]), strict=True):
                np.testing.assert_array_equal(ours, theirs.numpy())


def test_as_many_settings_as_pictures_are_needed(small_model, images):
    with pytest.raises(ValueError, match="3 pictures and settings for 2"):
        explain_each(small_model, images, SETTINGS[:2])


# --- messages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_question_comes_out_as_it_went_in(settings):
    asked = Question("0123456789abcdef", pixels(), settings)
    found = read_question(pack_question(asked))
    assert (found.network, found.settings) == (asked.network, settings)
    np.testing.assert_array_equal(found.pixels, asked.pixels)


@pytest.mark.parametrize("name", ["small", "mobile"])
def test_an_answer_comes_out_bit_for_bit_as_it_went_in(folder, name):
    model = load_checkpoint(folder / f"{name}.safetensors").model
    made = explain(model, torch.randn(1, 3, 32, 32), Settings(2.0, kernels=3))
    assert_same(read_answer(pack_answer(made), made.settings, model, 5), made)


def question(**changes):
    """A message like a question's, with changed settings, or with another network or other pixels."""
    about = {"network": changes.pop("network", "0123456789abcdef")}
    shown = changes.pop("pixels", pixels())
    about["settings"] = asdict(Settings()) | changes
    return save({"about": np.frombuffer(json.dumps(about).encode(), np.uint8), "pixels": shown})


REFUSED = {
    "nothing": (b"", "damaged"),
    "no tensors": (b"\x80\x04" * 40, "damaged"),
    "cut off": (question()[:-1], "damaged"),
    "too long": (bytes(messages.MAX_QUESTION + 1), "at most"),
    "no picture": (save({"about": np.frombuffer(b'{"network": "0123456789abcdef"}', np.uint8)}), "pixels"),
    "no JSON": (save({"about": np.frombuffer(b"{", np.uint8)}), "damaged"),
    "deep JSON": (save({"about": np.frombuffer(b"[" * 100_000, np.uint8)}), "damaged"),
    "no table": (save({"about": np.frombuffer(b"[]", np.uint8)}), "damaged"),
    "no network": (question(network=7), "fingerprint"),
    "floats": (question(pixels=pixels().astype(np.float32)), "uint8"),
    "not square": (question(pixels=pixels()[:30]), "square"),
    "grey": (question(pixels=pixels()[:, :, :1].copy()), "uint8"),
    "no pixels": (question(pixels=pixels()[:0]), "square"),
    "unknown settings": (question(colour="red"), "this version"),
    "temperature of 0": (question(temperature=0), "temperature"),
    "no temperature": (question(temperature=None), "temperature"),
    "a huge temperature": (question(temperature=10**400), "refused"),
    "not a number": (question(temperature=float("nan")), "temperature"),
    "kernels as text": (question(kernels="2"), "kernels"),
    "an unknown head": (question(ablate=["brain"]), "ablate"),
    "heads in lists": (question(ablate=[["kernel"]]), "refused"),
    "an unknown rule": (question(replaced=["exec", None, None, None]), "replaced"),
    "layers by number": (question(layers=[1]), "layers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_question_is_refused_in_one_sentence(case):
    message, reason = REFUSED[case]
    with pytest.raises(MessageError, match=reason) as refused:
        read_question(message)
    assert "\n" not in str(refused.value)


def test_an_answer_of_another_network_or_with_parts_missing_or_misshapen_is_refused(folder, small_model):
    made = explain(small_model, torch.randn(1, 3, 32, 32))
    other = load_checkpoint(folder / "mobile.safetensors").model
    first, layer = next(iter(made.layers.items()))

    def with_layer(**changes):
        return replace(made, layers=made.layers | {first: replace(layer, **changes)})

    spoiled = {
        "logits: float32 of shape": replace(made, logits=made.logits[:, :4]),
        "layers are missing": replace(made, layers={first: layer}),
        "is none of this network": replace(made, layers={**made.layers, "elsewhere": layer}),
        "0/attention/kernel": with_layer(attention=layer.attention._replace(kernel=layer.attention.kernel[:, :3])),
        "0/logits/spatial": with_layer(logits=layer.logits._replace(spatial=None)),
        "0/attention/filter: float32": with_layer(
            attention=layer.attention._replace(filter=layer.attention.filter.astype(np.float64))
        ),
        "0/kept": with_layer(kept=None),
        "layer 0 is none": with_layer(input_shape=(3, 10**9, 32)),
    }
    for reason, answer in spoiled.items():
        with pytest.raises(MessageError, match=reason):
            read_answer(pack_answer(answer), Settings(), small_model, 5)
    with pytest.raises(MessageError, match=r"is none of this network|are missing"):
        read_answer(pack_answer(made), Settings(), other, 5)


# --- answering -----------------------------------------------------------------------------------------------------------


def test_questions_about_several_networks_are_answered_in_their_order(folder):
    small, mobile = (load_checkpoint(folder / f"{name}.safetensors") for name in ("small", "mobile"))
    names = [fingerprint(folder / f"{name}.safetensors") for name in ("small", "mobile", "small", "small")]
    asked = [Question(name, pixels(i), SETTINGS[i]) for i, name in enumerate(names)]
    asked.append(Question("f" * 16, pixels(), Settings()))
    asked.append(Question(names[0], pixels(side=31), Settings()))
    found = Networks([folder], "cpu").answer(asked)
    for i, checkpoint in enumerate((small, mobile, small, small)):
        card = replace(checkpoint.card, resize=32)
        alone = explain(checkpoint.model, prepare(Image.fromarray(pixels(i)), card), SETTINGS[i])
        answer = read_answer(found[i], SETTINGS[i], checkpoint.model, 5)
        assert_same(answer, alone, rtol=1e-4, atol=1e-5)  # float32 in batches of one and three
    assert "no network has the fingerprint ffffffffffffffff" in str(found[4])
    assert "a square of 32 px" in str(found[5])


def test_questions_about_one_network_share_a_pass(folder, monkeypatch):
    sizes, explain_each = [], answering.explain_each
    monkeypatch.setattr(answering, "explain_each", lambda *args: sizes.append(len(args[1])) or explain_each(*args))
    name = fingerprint(folder / "small.safetensors")
    Networks([folder], "cpu").answer([Question(name, pixels(i), settings) for i, settings in enumerate(SETTINGS)])
    assert sizes == [len(SETTINGS)]


# --- asking ---------------------------------------------------------------------------------------------------------------


def test_an_address_is_a_host_and_a_port():
    assert parse_address("ray://127.0.0.1:8000") == Address("127.0.0.1", 8000, encrypted=False)
    assert parse_address("ray+https://[::1]:443") == Address("::1", 443, encrypted=True)
    for wrong in (
        "ray://host",
        "http://host:80",
        "ray://me@host:80",
        "ray://host:80/x",
        "ray://host:port",
        "ray://:80",
        "x",
    ):
        with pytest.raises(ValueError, match="ray://host:port"):
            parse_address(wrong)


class Stub(http.server.BaseHTTPRequestHandler):
    """A cluster that gives no good answer: what it does is the question's text."""

    def do_POST(self):
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if asked == "drip":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while self.server.running:
                try:
                    self.wfile.write(b".")
                except OSError:
                    return
                time.sleep(0.01)
            return
        self.send_response({"moved": 302, "refused": 401, "fine": 200}[asked])
        self.send_header("Location", "/fine")
        self.send_header("Content-Length", len(self.headers["Authorization"]))
        self.end_headers()
        self.wfile.write(self.headers["Authorization"].encode())

    def log_message(self, *_):
        """Nothing is logged."""


@pytest.fixture
def stub():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stub) as server:
        server.running = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield Address("127.0.0.1", server.server_port, encrypted=False)
        server.running = False
        server.shutdown()


def test_what_is_slow_refused_or_elsewhere_is_no_answer(stub):
    assert send(stub, "abc", b"fine", 5) == b"Bearer abc"
    with pytest.raises(ClusterError, match="401"):
        send(stub, "abc", b"refused", 5)
    with pytest.raises(ClusterError, match="302"):  # the token goes where it was meant to go
        send(stub, "abc", b"moved", 5)
    with pytest.raises(ClusterError):
        send(stub, "abc", b"drip", 0.1)
    with pytest.raises(ClusterError):
        send(stub, "line\nbreak", b"fine", 5)


def closed_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.mark.parametrize("address", ["ray://127.0.0.1:{port}", "nonsense", "http://127.0.0.1:{port}"])
def test_without_an_answer_this_machine_computes_and_asks_again_only_later(address, monkeypatch, caplog):
    monkeypatch.setenv("ODCONV_ENGINE", address.format(port=closed_port()))
    engine = open_engine("small.safetensors", "cpu")
    for settings in (Settings(2.0), Settings()):
        answer = inference.ask(engine, picture(), settings)
        alone = explain(engine.checkpoint.model, prepare(picture().image, engine.checkpoint.card), settings)
        assert_same(answer.explanation, alone)
        assert answer.note == "network.cluster_away"
    assert caplog.text.count("no answer from the cluster about small.safetensors") == 1
    monkeypatch.setattr(cluster, "_resting", {key: 0.0 for key in cluster._resting})
    inference.ask(engine, picture(), Settings(3.0))
    assert caplog.text.count("no answer from the cluster") == 2


def test_a_network_that_a_visitor_brought_stays_here(monkeypatch):
    monkeypatch.setenv("ODCONV_ENGINE", "ray://127.0.0.1:1")
    engine = open_engine("small.safetensors", "cpu")
    assert cluster.asked(engine)
    assert not cluster.asked(replace(engine, own=object()))


def test_the_page_says_that_the_cluster_does_not_answer(monkeypatch):
    monkeypatch.setenv("ODCONV_ENGINE", f"ray://127.0.0.1:{closed_port()}")
    app = opened()
    assert not app.exception
    assert say("en", "network.cluster_away") in sentences(app)
    assert any(say("en", "network.runs_on_cluster", device="CPU") in caption.value for caption in app.sidebar.caption)


def test_without_ray_one_sentence_says_what_to_install(monkeypatch):
    for name in ("ray", "starlette"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("ODCONV_ENGINE_TOKEN", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, TOKEN)
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.delitem(sys.modules, "odconv.cluster.serving", raising=False)
    with pytest.raises(SystemExit) as refused:
        command.main([])
    assert refused.value.code == command.NEEDED


# --- the benchmark --------------------------------------------------------------------------------------------------------


def test_the_benchmark_asks_all_engines_the_same_and_writes_its_table_where_it_belongs(tmp_path):
    asked = {"here": [], "there": []}

    def engine(name):
        return lambda pixels, settings: asked[name].append((pixels.shape, settings)) or time.sleep(0.001)

    rows = engines.compare({name: engine(name) for name in asked}, 16, visitors=3, seconds=0.05, rounds=2)
    assert [row.split("|")[1:3] for row in rows] == [[" 3 ", " here "], [" 3 ", " there "]]
    assert rows[0].endswith("| 1.00 |")
    assert {shape for some in asked.values() for shape, _ in some} == {(16, 16, 3)}
    assert {told for _, told in asked["here"]} == {told for _, told in asked["there"]}
    assert len({told for _, told in asked["here"]}) == 3
    text = tmp_path / "text.md"
    text.write_text("before\n<!-- engines -->\nold\n<!-- end -->\nafter\n")
    for _ in range(2):
        engines.put(text, "new\n")
    assert text.read_text() == "before\n<!-- engines -->\nnew\n<!-- end -->\nafter\n"
    text.write_text("no marks")
    with pytest.raises(SystemExit, match="has no <!-- engines -->"):
        engines.put(text, "new\n")


# --- a cluster ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def started(tmp_path, folder):
    """A cluster on loopback as an operator starts it; gives what it prints."""
    port, log = closed_port(), tmp_path / "log"
    line = [sys.executable, "-m", "odconv.cluster", f"--port={port}", "--processors=3", "--memory=80", "cpus=1"]
    environment = os.environ | {"ODCONV_ENGINE_TOKEN": TOKEN, "ODCONV_WEIGHTS": str(folder), "RAY_AUTH_TOKEN": TOKEN}
    with log.open("w") as output:
        process = subprocess.Popen(
            line, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        until(lambda: process.poll() is not None or "RAY_ADDRESS=" in log.read_text())
        assert process.poll() is None, log.read_text()
        yield dict(line.partition("=")[::2] for line in log.read_text().splitlines() if "=" in line)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def until(happens):
    for _ in range(3600):
        if happens():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within three minutes")


def replica():
    """The process of the cluster's replica; None while there is none."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            mine = f"ODCONV_ENGINE_TOKEN={TOKEN}".encode() in (folder / "environ").read_bytes()
            if mine and (folder / "cmdline").read_bytes().startswith(b"ray::ServeReplica"):
                return int(folder.name)
        except OSError:  # another's, or it has ended
            continue
    return None


@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray, which requirements-dev.txt has")
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for a process where Linux lists them")
def test_a_cluster_answers_is_missed_by_nobody_answers_again_and_makes_an_atlas(started, monkeypatch, tmp_path):
    for name in ("ODCONV_ENGINE", "ODCONV_ENGINE_TOKEN"):
        monkeypatch.setenv(name, started[name])
    surveyed = begin_atlas(tmp_path, started["RAY_ADDRESS"])  # meanwhile
    monkeypatch.setattr(cluster, "SECONDS", 30.0)
    engine = open_engine("small.safetensors", "cpu")
    card, model = engine.checkpoint.card, engine.checkpoint.model
    made = []
    monkeypatch.setattr(inference, "explain", lambda *args, **more: made.append(1) or explain(*args, **more))

    def ask(seed, settings):
        answer = inference.ask(engine, picture(seed), settings)
        alone = explain(model, prepare(picture(seed).image, card), engine.normalize(settings))
        assert_same(answer.explanation, alone, rtol=1e-4, atol=1e-5)  # float32 of another process
        return answer

    with ThreadPoolExecutor(len(SETTINGS)) as visitors:  # at once, so that some share a pass
        assert {answer.note for answer in visitors.map(ask, range(len(SETTINGS)), SETTINGS)} == {""}
    assert not made  # here

    address = parse_address(os.environ["ODCONV_ENGINE"])
    mine = pack_question(Question(engine.fingerprint, pixels(), Settings()))
    for token, message, status in ((TOKEN + "x", mine, 401), ("", mine, 401), (TOKEN, mine[:-1], 422)):
        with pytest.raises(ClusterError, match=f"status {status}"):
            send(address, token, message, 30)
    with pytest.raises(ClusterError, match="status 404: no network"):
        send(address, TOKEN, pack_question(Question("0" * 16, pixels(), Settings())), 30)

    before = replica()
    os.kill(before, signal.SIGKILL)
    monkeypatch.setattr(cluster, "SECONDS", 0.2)  # a visitor is not kept until it is back
    assert ask(10, Settings(2.0)).note in ("", "network.cluster_away")
    until(lambda: replica() not in (None, before))
    monkeypatch.setattr(cluster, "SECONDS", 30.0)
    monkeypatch.setattr(cluster, "_resting", {})
    made.clear()
    assert ask(11, Settings(3.0)).note == ""
    assert not made

    surveyed()


def begin_atlas(folder, address):
    """Have the cluster make an atlas; returns what waits for it and compares it, bit for bit, with the one that is made here."""
    weights, data = folder / "three.safetensors", draw_all(folder / "animals")
    save_checkpoint(od_resnet18(3, width=4, stem="small").eval(), ANIMALS, weights)
    line = arguments(weights=weights, data=data, cache=folder / "cache", device="cpu", shards=3)
    command = [sys.executable, "-m", "odconv.training.atlas", *line, f"--ray={address}"]
    environment = os.environ | {"RAY_AUTH_TOKEN": TOKEN}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def compare():
        try:
            output, _ = process.communicate(timeout=240)
        finally:
            process.kill()
        assert process.returncode == 0, output.decode()
        there = atlas_path(weights).read_bytes()
        atlas_command.main(line)
        assert atlas_path(weights).read_bytes() == there

    return compare
