"""Files that are made to take memory or time are refused before a reader of tensors has seen them."""

import copy
import json
import os
import struct
import zipfile

import pytest
import safetensors.torch
import torch
from torch import nn

from odconv import pickle_check, weights_file
from odconv.architecture import Architecture
from odconv.refusal import CheckpointError
from odconv.weights_file import read_state


@pytest.fixture
def state(small_model):
    return dict(small_model.state_dict())


@pytest.fixture
def unread(monkeypatch):
    """Lets no tensor be read."""
    monkeypatch.setattr(torch, "load", lambda *args, **options: pytest.fail("torch.load was called"))
    monkeypatch.setattr(weights_file, "load_file", lambda *args: pytest.fail("load_file was called"))


def refusal(path):
    """The key of the sentence that a file is refused with; the sentence is there in both languages and shows no path."""
    with pytest.raises(CheckpointError) as refused:
        read_state(path)
    for language in ("en", "zh"):
        sentence = refused.value.say(language)
        assert 0 < len(sentence) < 600
        assert str(path.parent) not in sentence
        sentence.encode("utf-8")
    return refused.value.key.removeprefix("checkpoint.")


def archive(path, contents, records=(), compression=zipfile.ZIP_STORED):
    """What ``torch.save`` writes, with any bytes as the pickle."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("weights/data.pkl", contents)
        for name, data in {"version": b"3\n", "byteorder": b"little", **dict(records)}.items():
            file.writestr(f"weights/{name}", data)
    return path


def legacy(path, contents, storages=b""):
    """What ``torch.save`` wrote before torch 1.6, with any bytes as the pickle."""
    state = {"a": torch.zeros(1)}
    torch.save(state, path, _use_new_zipfile_serialization=False)
    whole, end = path.read_bytes(), b"\x80\x02}q\x00X\x01\x00\x00\x00a"
    path.write_bytes(whole[: whole.index(end)] + contents + b"\x80\x02]q\x00." + storages)
    return path


def either(path, contents):
    return archive(path, contents) if path.suffix == ".pth" else legacy(path, contents)


def number(value):
    """LONG1."""
    data = value.to_bytes(8, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def text(value):
    """BINUNICODE."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


START, STOP = b"\x80\x02", b"."
ORDERED_DICT = b"ccollections\nOrderedDict\n"


def test_an_archive_and_old_pickles_made_by_hand_are_read_as_far_as_their_state_dict(tmp_path):
    """The oracle of the tests below: they fail for what is in them and not for how they are made."""
    assert refusal(archive(tmp_path / "a.pth", START + b"}" + STOP)) == "no_state"
    assert refusal(legacy(tmp_path / "a.tar", START + b"}" + STOP)) == "no_state"


GREEDY = {  # pickles that ask for more than tensors, and what they are refused for
    "bytes of any length": (b"cbuiltins\nbytearray\n" + number(10**10) + b"\x85R", "forbidden"),
    "bytes of any length, Python 2": (b"c__builtin__\nbytearray\n" + number(10**10) + b"\x85R", "forbidden"),
    "copies of a dict": (b"}q\x01" + 50 * (ORDERED_DICT + b"h\x01\x85Rq\x01"), "forbidden"),
    "a counter": (b"ccollections\nCounter\n}\x85R", "forbidden"),
    "a set": (b"\x8f", "forbidden"),
    "copies of a tuple": (b"ctorch\nSize\n(K\x01K\x02t\x85R", "forbidden"),
    "attributes again and again": (ORDERED_DICT + b")R" + 200 * b"}b", "forbidden"),
    "attributes of a dict": (b"}}b", "forbidden"),
    "a key that takes for ever to hash": (b"}" + b")q\x01" + 60 * b"h\x01\x86q\x01" + b"Ns", "forbidden"),
    "a key of a chosen hash": (b"}" + number(2**61 - 1) + b"Ns", "forbidden"),
    "a persistent object that is no storage": (b"(" + text("module") + 3 * b"N" + b"K\x01tQ", "forbidden"),
    "too many instructions": (b"](" + 500_000 * b"N" + b"e", "contents"),
    "too many keys": (b"}(" + b"".join(b"X\6\0\0\0%06dN" % i for i in range(300_000)) + b"u", "contents"),
    "a text of 8 MB": (b"}" + text("a" * 8 * 10**6) + b"Ns", "contents"),
}


@pytest.mark.parametrize("ending", [".pth", ".tar"])
@pytest.mark.parametrize("greedy", GREEDY)
def test_a_pickle_that_asks_for_more_than_tensors_is_refused_unread(tmp_path, unread, greedy, ending):
    contents, why = GREEDY[greedy]
    assert refusal(either(tmp_path / f"weights{ending}", START + contents + STOP)) == why


def tensor_at(items, offset, size, stride):
    """A pickle of a tensor in a storage "0" of so many floats."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(items) + b"tQ"
    shape = b"(" + b"".join(map(number, size)) + b"t(" + b"".join(map(number, stride)) + b"t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + shape + b"\x89" + ORDERED_DICT + b")RtR"


@pytest.mark.parametrize(
    ("items", "offset", "size", "stride"),
    [
        (10**9, 0, (4,), (1,)),  # the record has 4
        (4, 0, (10**9,), (1,)),
        (4, 1, (4,), (1,)),
        (4, 0, (2, 2), (3, 1)),
        (4, -1, (2,), (1,)),
        (4, 3, (4,), (-1,)),
        (4, 0, (1,) * 100, (1,) * 100),
    ],
)
@pytest.mark.parametrize("ending", [".pth", ".tar"])
def test_a_tensor_outside_of_what_is_stored_is_refused_unread(tmp_path, unread, items, offset, size, stride, ending):
    contents = START + b"}" + text("a") + tensor_at(items, offset, size, stride) + b"s" + STOP
    if ending == ".pth":
        path = archive(tmp_path / "weights.pth", contents, {"data/0": bytes(16)})
    else:
        path = legacy(tmp_path / "weights.tar", contents, struct.pack("<q", items) + bytes(16))
    assert refusal(path) in ("damaged", "forbidden")


def test_the_same_tensor_inside_of_what_is_stored_is_read(tmp_path):
    contents = START + b"}" + text("a") + tensor_at(4, 1, (3,), (1,)) + b"s" + STOP
    path = archive(tmp_path / "weights.pth", contents, {"data/0": struct.pack("<4f", 1, 2, 3, 4)})
    assert read_state(path)["a"].tolist() == [2, 3, 4]


def test_a_compressed_archive_is_refused_unread(tmp_path, unread):
    contents = START + b"}" + text("a" * 10**6) + b"Ns" + STOP
    path = archive(tmp_path / "weights.pth", contents, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10_000
    assert refusal(path) == "compressed"


@pytest.mark.parametrize("name", ["data/0", "data.pkl", "DATA.PKL", "other/data.pkl"])
def test_records_that_share_their_bytes_or_their_name_are_refused_unread(tmp_path, unread, name):
    path = tmp_path / "weights.pth"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("weights/data.pkl", START + b"}" + STOP)
        file.writestr("weights/data/1", bytes(1000))
        again = copy.copy(file.filelist[-1])
        again.filename = again.orig_filename = f"weights/{name}"
        file.filelist.append(again)
    assert refusal(path) == "damaged"


@pytest.mark.parametrize("behind", [b"\x00", b"PK\x05\x06" + bytes(18), b"a comment"])
def test_an_archive_that_readers_could_understand_in_two_ways_is_refused_unread(tmp_path, unread, behind):
    path = tmp_path / "weights.pth"
    archive(path, START + b"}" + STOP)
    with path.open("ab") as file:
        file.write(behind)
    assert refusal(path) == "damaged"


def test_an_archive_with_a_directory_of_a_hundred_thousand_records_is_refused_unread(tmp_path, unread):
    path = archive(tmp_path / "weights.pth", START + b"}" + STOP)
    whole = path.read_bytes()
    (start,) = struct.unpack("<I", whole[-6:-2])
    entry = whole[start : start + 46 + 16]
    path.write_bytes(whole[:start] + entry * 100_000 + whole[-22:-10] + struct.pack("<IIH", 62 * 100_000, start, 0))
    assert refusal(path) == "contents"


def safetensors_file(path, header):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


def test_safetensors_with_too_many_names_or_too_long_a_header_are_refused_unread(tmp_path, unread):
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    for count in (weights_file.MAX_TENSORS + 1, 100_000):
        path = safetensors_file(tmp_path / "weights.safetensors", {f"{i}": empty for i in range(count)})
        assert refusal(path) == "contents"


def test_a_safetensors_header_that_is_cut_off_nested_or_repeats_a_name_is_refused_unread(tmp_path, unread):
    entry = b'"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    for header in (b"{" + entry + b"," + entry + b"}", b"[" * 10**6):
        assert refusal(safetensors_file(tmp_path / "weights.safetensors", header)) == "damaged"
    (tmp_path / "weights.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    assert refusal(tmp_path / "weights.safetensors") == "damaged"


@pytest.mark.filterwarnings("ignore")  # torch warns that nested tensors may change
def test_a_nested_tensor_is_refused_unread(tmp_path, unread, state):
    state["fc.bias"] = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])
    torch.save(state, tmp_path / "weights.pth")
    assert refusal(tmp_path / "weights.pth") == "forbidden"


def test_more_tensors_than_any_network_has_are_refused(tmp_path):
    torch.save(dict.fromkeys(map(str, range(weights_file.MAX_TENSORS + 1)), torch.zeros(1)), tmp_path / "weights.pth")
    assert refusal(tmp_path / "weights.pth") == "many"


def test_one_number_that_is_repeated_a_million_times_is_refused(tmp_path, state):
    state["fc.weight"] = torch.zeros(()).expand(1000, 1000)
    torch.save({"fc.weight": state["fc.weight"]}, tmp_path / "weights.pth")
    assert refusal(tmp_path / "weights.pth") == "claims"


@pytest.mark.parametrize("ending", [".pth", ".tar", ".safetensors"])
def test_a_tensor_that_comes_with_and_without_module_is_refused_by_name(tmp_path, state, ending):
    path = tmp_path / f"weights{ending}"
    both = {**state, "module.fc.bias": state["fc.bias"].clone()}
    if ending == ".safetensors":
        safetensors.torch.save_file(both, path)
    else:
        torch.save(both, path, _use_new_zipfile_serialization=ending == ".pth")
    with pytest.raises(CheckpointError, match=r"module\.fc\.bias"):
        read_state(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "weights.pth")
    assert refusal(tmp_path / "weights.pth") == "damaged"


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch, state):
    torch.save(state, tmp_path / "weights.pth")

    def denied(self, *args):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(tmp_path), "open", denied)
    assert refusal(tmp_path / "weights.pth") == "damaged"


def test_the_largest_published_network_with_an_optimiser_is_within_the_bounds(tmp_path, monkeypatch):
    """ODConv-ResNet-101 (2x) in all but width, in half of the bounds."""
    model = nn.DataParallel(Architecture("od_resnet101", 1, 10, "imagenet", 2, 1 / 16).outline().to_empty(device="cpu"))
    momenta = {i: {"momentum_buffer": parameter.data} for i, parameter in enumerate(model.parameters())}
    optimiser = {"state": momenta, "param_groups": [{"lr": 0.1, "momentum": 0.9, "params": list(momenta)}]}
    torch.save({"epoch": 100, "state_dict": model.state_dict(), "optimizer": optimiser}, tmp_path / "weights.pth")
    for bound in ("MAX_TENSORS", "MAX_RECORDS", "MAX_CONTENTS"):
        monkeypatch.setattr(weights_file, bound, getattr(weights_file, bound) // 2)
    monkeypatch.setattr(pickle_check, "MAX_INSTRUCTIONS", pickle_check.MAX_INSTRUCTIONS // 2)
    assert read_state(tmp_path / "weights.pth").keys() == model.module.state_dict().keys()
