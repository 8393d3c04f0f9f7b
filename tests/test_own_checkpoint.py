"""A visitor's own checkpoint: what the door takes, what is opened of it, and that none of it outlives its visitor."""

import asyncio
import json
import pickle
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
import torch
from PIL import Image
from safetensors.torch import save_file

from odconv import Settings, explain, images
from odconv.architecture import Architecture
from odconv.backbones import od_resnet18, resnet18
from odconv.checkpoint import load_checkpoint
from odconv.ui import engine as engines
from odconv.ui import inference, keeping, own_checkpoint, published, reception
from odconv.ui.budget import MIB, Budget
from odconv.ui.devices import BusyError
from odconv.ui.inference import ask, ask_kernel
from odconv.ui.link import OWN
from odconv.ui.pictures import Picture
from odconv.ui.reception import AT_HOME, Inbox, Permit, file_name, permit
from odconv.words import LANGUAGES, SayableError
from tests.door import bring, send
from tests.loops import finish

CARD = {"image_size": 32, "resize": 32, "stem": "small", "mean": [0.5] * 3, "std": [0.25] * 3, "classes": list("abcde")}
MINE = "mine"  # the name of a session


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch):
    """The process's own settings stay, as the tests need them."""
    monkeypatch.setattr(engines, "set_up_torch", lambda: None)


@pytest.fixture
def budget(monkeypatch):
    """The server's, of which nobody has taken anything."""
    monkeypatch.setattr(reception, "BUDGET", Budget("mine.full"))
    return reception.BUDGET


@pytest.fixture
def inbox(budget):
    """The inbox of the session ``MINE``."""
    found = Inbox("en", 50 * MIB)
    reception._open[MINE] = found
    yield found
    reception._open.pop(MINE, None)
    found.network = found.parcel = None
    assert budget.taken == 0  # nothing stays taken


@pytest.fixture(scope="module")
def tiny(shake):
    torch.manual_seed(0)
    return shake(od_resnet18(5, width=4, num_kernels=2, stem="small")).eval().requires_grad_(False)


@pytest.fixture
def state(tiny):
    return dict(tiny.state_dict())


@pytest.fixture(scope="module")
def good(tiny, tmp_path_factory):
    """A network that a visitor has brought."""
    brought = Inbox("en", 50 * MIB)
    reception._open["good"] = brought
    path = save(dict(tiny.state_dict()), tmp_path_factory.mktemp("good") / "good.pth")
    bring("good", path, card=json.dumps(CARD).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "set_up_torch", lambda: None)
        own_checkpoint.open_parcel(brought)
    return brought.network


def picture(seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return Picture(f"picture {seed}", f"{seed}", "noise", Image.fromarray(pixels))


def files_of(inbox):
    return [path for folder in inbox._folders for path in folder.rglob("*")]


# --- whether files are taken ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "address", "origin", "megabytes", "why"),
    [
        (None, "localhost", "http://localhost:8501", AT_HOME, ""),
        (None, "127.0.0.1", "http://127.0.0.1:8501", AT_HOME, ""),
        (None, "::1", "http://[::1]:8501", AT_HOME, ""),
        (None, "localhost", None, AT_HOME, ""),
        (None, None, "http://localhost:8501", 0, "mine.off_public"),
        (None, "0.0.0.0", "http://localhost:8501", 0, "mine.off_public"),
        (None, "192.168.1.5", None, 0, "mine.off_public"),
        (None, "localhost", "https://odconv.example.org", 0, "mine.off_public"),  # behind a proxy
        (None, "localhost", "http://localhost.example.org", 0, "mine.off_public"),
        (None, "localhost", "http://[", 0, "mine.off_public"),
        (None, "localhost", "null", 0, "mine.off_public"),
        ("0", "localhost", None, 0, "mine.off_chosen"),
        ("200", "0.0.0.0", "https://odconv.example.org", 200, ""),
        ("999999", "localhost", None, 2048, ""),
        ("", "localhost", None, 0, "mine.off_unread"),
        ("-5", "localhost", None, 0, "mine.off_unread"),
        ("1e3", "localhost", None, 0, "mine.off_unread"),
        ("²", "localhost", None, 0, "mine.off_unread"),
        ("9" * 5000, "localhost", None, 0, "mine.off_unread"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_server_that_others_reach_takes_checkpoints_only_where_it_is_told_to(
    setting, address, origin, megabytes, why
):
    assert permit(setting, address, origin) == Permit(megabytes, why)


# --- names --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("net.pth", "net.pth"),
        ("model_best.pth.tar", "model_best.pth.tar"),
        ("网络 ①.safetensors", "网络 ①.safetensors"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\net.pth", "net.pth"),
        ("<img src=x onerror=alert(1)>.pth", "_img src=x onerror=alert(1)_.pth"),
        ("[free](https://example.org).pth", "example.org).pth"),
        ("net\u202ehtp.pth", "net�htp.pth"),
        ("a\x00b\nc.pth", "a�b�c.pth"),
        ("\ud800.pth", "�.pth"),
        ("..", "_"),
        (".pth", "pth"),
        ("", "_"),
        ("x" * 5000 + ".pth", "x" * 150 + ".pth"),
        ("🙂" * 500 + ".pth", "🙂" * 37 + ".pth"),
    ],
    ids=lambda name: ascii(name)[:30],
)
def test_a_name_is_fit_for_every_disk_and_page(name, taken):
    assert file_name(name) == taken
    assert len(f"{taken}.json".encode()) < 255  # what a disk takes


# --- the door -----------------------------------------------------------------------------------------------------------


def test_a_file_comes_whole_into_a_folder_that_nobody_else_looks_into(inbox):
    data = bytes(range(256)) * 10_000
    assert send(MINE, "net.pth", data, parts=37) == (204, "")
    assert inbox.parcel.weights.read_bytes() == data
    assert inbox.parcel.share.size == 2 * len(data)
    assert inbox.parcel.weights.parent.stat().st_mode & 0o077 == 0


def test_a_visitor_who_is_gone_leaves_no_file_and_takes_nothing(budget, state, tmp_path):
    gone = Inbox("en", 50 * MIB)
    reception._open["gone"] = gone
    torch.save(state, tmp_path / "net.pth")
    assert bring("gone", tmp_path / "net.pth") == ""
    folder = gone.parcel.weights.parent
    assert files_of(gone)
    assert budget.taken > 0
    del gone
    assert not folder.exists()
    assert budget.taken == 0
    assert send("gone", "net.pth", b"x")[0] == 404


def test_when_the_server_ends_no_file_stays(inbox):
    send(MINE, "net.json", b"{}")
    send(MINE, "net.pth", b"weights", card=1)
    folder = inbox.parcel.weights.parent
    reception.empty_all()
    assert not folder.exists()
    assert files_of(inbox) == []


@pytest.mark.parametrize(
    ("session", "query", "status"),
    [
        ("", {}, 404),
        ("another", {}, 404),
        (MINE, {"name": ""}, 400),
        (MINE, {"bytes": "-1"}, 400),
        (MINE, {"bytes": "1e3"}, 400),
        (MINE, {"bytes": "9" * 400}, 400),
        (MINE, {"bytes": ""}, 400),
    ],
    ids=str,
)
def test_what_no_page_sends_is_refused_without_a_word(inbox, session, query, status):
    name = query.get("name", "net.pth")
    assert send(session, name, b"data", size=query.get("bytes")) == (status, "")
    assert not files_of(inbox)


def test_what_would_be_refused_is_refused_before_it_is_sent(inbox):
    refused = {
        "net.bin": ".safetensors, .pth, .pt, .tar",
        "net": ".safetensors, .pth, .pt, .tar",
        "net.pth.zip": "not a weights file",
    }
    for name, why in refused.items():
        status, sentence = send(MINE, name, b"", size=10, ask=1)
        assert status == 422
        assert why in sentence
    assert "51.0 MiB; up to 50" in send(MINE, "net.pth", b"", size=51 * MIB, ask=1)[1]
    assert "up to 4 are taken" in send(MINE, "net.json", b"", size=5 * MIB, ask=1)[1]
    assert "953,674,316.4 MiB" in send(MINE, "net.tar", b"", size=10**15 - 1, ask=1)[1]
    assert send(MINE, "net.pth", b"", size=50 * MIB, ask=1) == (204, "")
    assert inbox.parcel is None
    inbox.most = 0
    assert "takes no checkpoints" in send(MINE, "net.pth", b"x")[1]


@pytest.mark.parametrize("size", [3, 5, 0, MIB])
def test_a_file_of_another_length_than_was_said_is_not_taken(inbox, size):
    assert "did not come whole" in send(MINE, "net.pth", b"four", size=size)[1]
    assert (inbox.parcel, files_of(inbox)) == (None, [])


def test_a_file_that_stops_coming_is_given_up(inbox, monkeypatch):
    monkeypatch.setattr(reception, "STALLED", 0.01)

    async def stalled():
        yield b"some"
        await asyncio.sleep(60)

    with pytest.raises(SayableError, match="did not come whole"):
        finish(inbox.take("net.pth", 100, stalled(), False))
    assert files_of(inbox) == []
    assert not inbox.receiving


def test_a_file_that_trickles_is_given_up(inbox, monkeypatch):
    monkeypatch.setattr(reception, "STALLED", 0.05)
    monkeypatch.setattr(reception, "SLOWEST", 10**6)

    async def trickling():
        while True:
            yield b"x"
            await asyncio.sleep(0.001)

    with pytest.raises(SayableError, match="did not come whole"):
        finish(inbox.take("net.pth", 10_000, trickling(), False))
    assert (inbox.parcel, files_of(inbox)) == (None, [])


def test_while_one_file_comes_another_is_refused_and_the_first_is_whole(inbox):
    async def parts():
        yield b"one "
        with pytest.raises(SayableError, match="still on its way"):
            await inbox.take("other.pth", 5, other(), False)
        yield b"whole"

    async def other():
        yield b"other"

    finish(inbox.take("net.pth", 9, parts(), False))
    assert inbox.parcel.weights.read_bytes() == b"one whole"


def test_a_full_disk_is_no_error_of_the_page(inbox, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    assert "could not store" in send(MINE, "net.pth", b"data")[1]
    assert inbox.parcel is None


def test_all_visitors_together_take_no_more_than_the_server_gives(inbox, budget):
    inbox.most = 1000
    others = [budget.take(1000, 10**9) for _ in range(3)]
    assert send(MINE, "net.pth", b"", size=500, ask=1)[0] == 204
    assert "as much memory as they may" in send(MINE, "net.pth", b"", size=501, ask=1)[1]
    assert "as much memory as they may" in send(MINE, "net.pth", bytes(501))[1]
    assert send(MINE, "net.pth", bytes(500))[0] == 204
    others.pop()
    assert send(MINE, "net.pth", b"", size=500, ask=1)[0] == 204


def test_a_share_is_given_back_when_nobody_holds_it(budget):
    share = budget.take(10, 100)
    share.resize(60, 100)
    with pytest.raises(SayableError):
        share.resize(101, 100)
    assert (share.size, budget.taken) == (60, 60)
    share.resize(1, 100)
    assert budget.taken == 1
    del share
    assert budget.taken == 0


def test_a_card_belongs_to_the_weights_that_say_so_and_to_no_later_ones(inbox):
    assert send(MINE, "something.json", b"{}")[0] == 204
    assert send(MINE, "net.pth", b"weights", card=1)[0] == 204
    assert inbox.parcel.with_card
    assert inbox.parcel.weights.with_suffix(".json").read_bytes() == b"{}"
    assert send(MINE, "something.json", b"{}")[0] == 204
    assert send(MINE, "net.pth", b"weights")[0] == 204
    assert not inbox.parcel.with_card
    assert send(MINE, "net.pth", b"weights", card=1)[0] == 204
    assert not inbox.parcel.with_card
    assert [path.name for path in files_of(inbox)] == ["net.pth"]


# --- opening ------------------------------------------------------------------------------------------------------------


def save(state, path):
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": {f"module.{name}": one for name, one in state.items()}, "epoch": 3}, path)
    return path


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth", "net.pth.tar", "net.pt"])
def test_what_is_opened_says_what_pytorch_says_and_leaves_no_file(inbox, state, tiny, tmp_path, name):
    path = save(state, tmp_path / name)
    assert bring(MINE, path, card=json.dumps(CARD).encode()) == ""
    own_checkpoint.open_parcel(inbox)
    network = inbox.network
    assert (inbox.refused, files_of(inbox)) == (None, [])
    assert (network.name, network.path.name, network.device, network.own.classes) == (OWN, name, "cpu", "card")
    image = images.prepare(picture().image, network.checkpoint.card)
    wanted = explain(tiny, image, Settings(2.0))
    np.testing.assert_allclose(ask(network, picture(), Settings(2.0)).explanation.logits, wanted.logits, atol=1e-6)
    size = sum(one.numel() * one.element_size() for one in state.values())
    assert network.own.megabytes * MIB == size
    assert network.own.share.size == size + own_checkpoint.ANSWERS


def test_without_a_card_classes_are_numbered_and_pictures_prepared_as_the_authors_do(inbox, state, tmp_path):
    bring(MINE, save(state, tmp_path / "net.pth"))
    own_checkpoint.open_parcel(inbox)
    card = inbox.network.checkpoint.card
    assert (card.classes[3], card.image_size, card.resize, card.name) == ("class 3", 224, 256, "net")
    assert inbox.network.own.classes == "numbered"


def test_a_thousand_classes_get_imagenets_names_where_a_card_here_has_them(inbox, tmp_path, monkeypatch):
    thousand = od_resnet18(1000, width=4, num_kernels=2, stem="small")
    bring(MINE, save(thousand.state_dict(), tmp_path / "net.pth"))
    own_checkpoint.open_parcel(inbox)
    assert inbox.network.own.classes == "assumed"
    assert inbox.network.checkpoint.card.classes == load_checkpoint(engines.BUNDLED / engines.PHOTOS).card.classes
    monkeypatch.setattr(engines, "weights", dict)
    bring(MINE, tmp_path / "net.pth")
    own_checkpoint.open_parcel(inbox)
    assert inbox.network.own.classes == "numbered"


def test_a_network_that_is_too_slow_for_a_shared_page_is_refused(inbox, tmp_path):
    network = resnet18(5, width=64, stem="small")
    card = json.dumps(CARD | {"image_size": 1024, "resize": 1024}).encode()
    bring(MINE, save(network.state_dict(), tmp_path / "net.pth"), card=card)
    own_checkpoint.open_parcel(inbox)
    assert "more than 25 billion multiply-adds for a picture of 1024 px" in str(inbox.refused)
    assert inbox.network is None


def test_a_network_that_becomes_larger_than_its_file_has_to_find_room(inbox, state, tmp_path):
    half = {name: one.half() if one.is_floating_point() else one for name, one in state.items()}
    path = save(half, tmp_path / "net.safetensors")
    inbox.most = path.stat().st_size
    bring(MINE, path)
    own_checkpoint.open_parcel(inbox)
    assert "as much memory as they may" in str(inbox.refused)


def test_checkpoints_are_read_one_at_a_time_and_who_waits_too_long_can_come_again(inbox, state, tmp_path, monkeypatch):
    monkeypatch.setattr(own_checkpoint, "PATIENCE", 0.01)
    bring(MINE, save(state, tmp_path / "net.pth"))
    with own_checkpoint._turn, pytest.raises(BusyError):
        own_checkpoint.open_parcel(inbox)
    assert inbox.network is None
    own_checkpoint.open_parcel(inbox)
    assert inbox.network is not None


def test_its_answers_are_in_no_cache_of_all_visitors_and_go_with_it(inbox, budget, state, tmp_path, monkeypatch):
    bring(MINE, save(state, tmp_path / "net.pth"), card=json.dumps(CARD).encode())
    own_checkpoint.open_parcel(inbox)
    passes, kept = [], inference.explain
    monkeypatch.setattr(inference, "explain", lambda *given, **more: passes.append(given) or kept(*given, **more))
    first = [
        ask(inbox.network, picture(), Settings()),
        ask_kernel(inbox.network, picture(), Settings(), "layer1.0.conv1"),
    ]
    count = len(passes)
    assert count > 0
    keeping.forget(keeping.HOUR)
    st.cache_resource.clear()
    again = [
        ask(inbox.network, picture(), Settings()),
        ask_kernel(inbox.network, picture(), Settings(), "layer1.0.conv1"),
    ]
    assert len(passes) == count
    assert first[0].explanation.logits.tolist() == again[0].explanation.logits.tolist()
    np.testing.assert_array_equal(first[1].candidates, again[1].candidates)
    before = inbox.network
    bring(MINE, tmp_path / "net.pth", card=json.dumps(CARD).encode())
    own_checkpoint.open_parcel(inbox)
    assert inbox.network.identity != before.identity
    passes.clear()
    assert sum(one.numel() for one in before.checkpoint.model.state_dict().values()) == 0
    assert budget.taken == inbox.network.own.share.size
    ask(inbox.network, picture(), Settings())
    assert len(passes) == 1


# --- hostile ones ---------------------------------------------------------------------------------------------------------


class Intruder:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def bomb(path, state):
    torch.save({"state_dict": {**state, "fc.bias": Intruder(path.parent / "witness")}}, path)


def greedy(path, state):
    with zipfile.ZipFile(path, "w") as file:
        number = (10**10).to_bytes(8, "little")
        file.writestr("weights/data.pkl", b"\x80\x02cbuiltins\nbytearray\n\x8a\x08" + number + b"\x85R.")


def compressed(path, state):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("weights/data.pkl", b"\x80\x02}.")
        file.writestr("weights/data/0", bytes(20 * MIB))


def claiming(path, state):
    torch.save(state | {"fc.weight": torch.zeros(()).expand(5 * 2**28, 64)}, path)


def long_header(path, state):
    path.write_bytes(struct.pack("<Q", 5 * 10**9) + b"{}")


def changed(**tensors):
    def write(path, state):
        save(
            state
            | {name.replace("__", "."): change(state[name.replace("__", ".")]) for name, change in tensors.items()},
            path,
        )

    return write


HOSTILE = {
    "a pickle that runs code": ("net.pth", bomb, "could run code"),
    "a plain pickle": ("net.pth", lambda path, _: path.write_bytes(pickle.dumps({"a": 1})), "damaged"),
    "ten gigabytes of a pickle": ("net.pth", greedy, "could run code or fill the memory"),
    "a zip bomb": ("net.pth", compressed, "is compressed"),
    "five gigabytes from one number": ("net.pth", claiming, "far more than a file of"),
    "a header of five gigabytes": ("net.safetensors", long_header, "damaged"),
    "not a number": ("net.safetensors", changed(fc__bias=lambda t: t * torch.nan), "not finite numbers: fc.bias"),
    "infinity": ("net.pth", changed(conv1__weight=lambda t: t + torch.inf), "not finite numbers: conv1.weight"),
    "a negative variance": ("net.pth", changed(bn1__running_var=lambda t: t - 5), "variances below 0: bn1.running_var"),
    "a wrong shape": ("net.pth", changed(fc__bias=lambda t: t[:2]), "misshapen: fc.bias (2,) instead of (5,)"),
    "renamed text": ("net.pth", lambda path, _: path.write_text("These are not weights.\n" * 99), "damaged"),
    "nothing": ("net.safetensors", lambda path, _: path.write_bytes(b""), "damaged"),
    "half a file": (
        "net.safetensors",
        lambda path, state: (save(state, path), path.write_bytes(path.read_bytes()[:30_000])),
        "damaged",
    ),
    "half an archive": (
        "net.pth",
        lambda path, state: (save(state, path), path.write_bytes(path.read_bytes()[:30_000])),
        "damaged",
    ),
    "another network": ("net.pth", lambda path, _: torch.save({"a.weight": torch.zeros(3)}, path), "no network known"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Detected pickle protocol", "ignore::ResourceWarning")
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_checkpoint_gets_one_clear_sentence_and_the_network_before_goes_on(
    inbox, budget, good, state, tmp_path, kind
):
    inbox.network = good
    name, write, why = HOSTILE[kind]
    write(tmp_path / name, state)
    assert (tmp_path / name).stat().st_size < MIB
    assert bring(MINE, tmp_path / name, "*<b>net\u202e</b>" + name) == ""
    own_checkpoint.open_parcel(inbox)
    assert why in str(inbox.refused)
    for language in LANGUAGES:
        sentence = inbox.refused.say(language)
        assert 0 < len(sentence) < 600
        assert not re.search("[\u202e<>\n]", sentence)
        assert "odconv-" not in sentence
    assert not (tmp_path / "witness").exists()
    assert files_of(inbox) == []
    assert budget.taken == 0
    assert inbox.network is good
    ask(good, picture(), Settings())


@pytest.mark.parametrize(
    ("card", "why"),
    [
        (b"\xff\xfe{}", "not readable JSON"),
        (b"[" * 10**5, "not readable JSON"),
        (b"[]", "needs to be an object"),
        (json.dumps(CARD | {"image_size": 10**9}).encode(), "needs image_size"),
        (json.dumps(CARD | {"classes": ["a"]}).encode(), "needs classes: 5 names"),
        (json.dumps(CARD | {"name": "\ud800"}).encode(), "half of a character"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_hostile_card_gets_one_clear_sentence(inbox, state, tmp_path, card, why):
    bring(MINE, save(state, tmp_path / "net.pth"), card=card)
    own_checkpoint.open_parcel(inbox)
    assert why in str(inbox.refused)
    assert "net.json" in str(inbox.refused)
    assert (inbox.network, files_of(inbox)) == (None, [])


# --- what the authors publish -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", published.imagenet(), ids=lambda one: f"{one.backbone} {one.width:g} {one.kernels}")
def test_a_published_network_has_the_parameters_that_are_counted_here_and_a_source(one):
    architecture = Architecture(
        one.backbone, one.width, 1000, "imagenet", one.kernels, None if one.kernels is None else 1 / 16
    )
    counted = sum(parameter.numel() for parameter in architecture.outline().parameters())
    assert counted / 1e6 == pytest.approx(one.parameters_m, abs=0.0051)
    assert one.top1 < one.top5 < 100
    for address in (one.checkpoint_url, one.source_url):
        assert address.startswith("https://")


def test_twelve_checkpoints_of_the_authors_are_odconv_networks_each_at_an_address_of_its_own():
    dynamic = [one for one in published.imagenet() if one.kernels is not None]
    assert len({one.checkpoint_url for one in dynamic}) == len(dynamic) == 12
    best = max(published.imagenet(), key=lambda one: one.top1)
    assert (best.model, best.kernels, best.top1) == ("ResNet101", 2, 79.15)
