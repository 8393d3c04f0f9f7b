"""Files that are said to be weights, alone, under every ending."""

from __future__ import annotations

import io
import json
import math
import pickle
import pickletools
import struct
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from safetensors.torch import save

from odconv.backbones import od_resnet18
from odconv.checkpoint import load_checkpoint, peek_architecture
from odconv.refusal import CheckpointError
from tests.fuzz.sentences import check_refusal
from tests.fuzz.strategies import NUMBERS, changed_bytes, changed_json, to_bytes, values

MEMORY = 40_000_000  # the small network's file, its tensors in every form that they pass through, and one pass
LARGEST = 2**20  # numbers in a made-up tensor


@cache
def small_network() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(od_resnet18(3, width=2, num_kernels=2, stem="small").state_dict())


@cache
def good_files() -> tuple[bytes, ...]:
    """A few tensors, and a whole network, in each of the three formats."""
    some = {"conv.weight": torch.ones(2, 3, 3, 3).half(), "bn.running_var": torch.ones(2), "n": torch.tensor(3)}
    shared = {
        "state_dict": {f"module.{name}": tensor for name, tensor in some.items()},
        "epoch": 3,
        "best": [1.5, None],
    }
    return (
        save(some),
        saved(some),
        saved(some, old=True),
        saved(shared),
        saved(shared, old=True),
        save(small_network()),
        saved(small_network()),
    )


def saved(content: Any, old: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


def cases(corpus: Sequence[bytes]) -> SearchStrategy[bytes]:
    return st.one_of(changed_bytes([*good_files(), *corpus]), headers(), archives(), made_of_instructions(), networks())


@st.composite
def headers(draw: Any) -> bytes:
    """A .safetensors whose header is right JSON, of the right length, and wrong in what it says."""
    data = draw(st.sampled_from([one for one in good_files() if one[8:9] == b"{"]))
    (length,) = struct.unpack_from("<Q", data)
    changed = to_bytes(draw(changed_json([json.loads(data[8 : 8 + length])])))
    return struct.pack("<Q", len(changed)) + changed + data[8 + length :]


@st.composite
def archives(draw: Any) -> bytes:
    """A zip archive with right sums, of which one record was changed, is there twice, is deflated, or has another name."""
    with zipfile.ZipFile(
        io.BytesIO(draw(st.sampled_from([one for one in good_files() if one[:2] == b"PK"])))
    ) as archive:
        records = [[info.filename, archive.read(info), zipfile.ZIP_STORED] for info in archive.infolist()]
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(records) - 1))
        act = draw(st.sampled_from(("content", "content", "instructions", "twice", "deflated", "name", "none")))
        name, content, how = records[place]
        if act == "content":
            records[place] = [name, draw(changed_bytes([content])), how]
        elif act == "instructions":
            records = [
                [name, draw(changed_pickle(content)) if name.endswith("data.pkl") else content, how]
                for name, content, how in records
            ]
        elif act == "twice":
            records.append(records[place])
        elif act == "deflated":
            records[place] = [name, content + bytes(draw(st.sampled_from((0, 10**6, 10**8)))), zipfile.ZIP_DEFLATED]
        elif act == "name":
            records[place] = [
                draw(st.sampled_from(("data.pkl", name.upper(), "../" + name, "a/data.pkl", "a/data/0"))),
                content,
                how,
            ]
        elif len(records) > 1:
            del records[place]
    return packed(records)


def packed(records: Sequence[Sequence[Any]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content, how in records:
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=how)
    return buffer.getvalue()


@st.composite
def changed_pickle(draw: Any, content: bytes) -> bytes:
    """A pickle of which whole instructions were left out, repeated, swapped or added."""
    try:
        starts = [place for _, _, place in pickletools.genops(content)]
    except Exception:  # an earlier change has made it no pickle
        return content
    parts = [content[start:end] for start, end in zip(starts, [*starts[1:], len(content)], strict=True)]
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(parts) - 1)))
        act = draw(st.sampled_from(("remove", "repeat", "swap", "add")))
        if act == "remove":
            del parts[place : place + draw(st.integers(1, 3))]
        elif act == "repeat":
            parts[place:place] = parts[place : place + draw(st.integers(1, 4))] * draw(st.sampled_from((1, 2, 300)))
        elif act == "swap" and parts:
            other = draw(st.integers(0, len(parts) - 1))
            parts[place], parts[other] = parts[other], parts[place]
        else:
            parts.insert(place, draw(instructions))
    return b"".join(parts)


def _number(code: bytes, shape: str) -> SearchStrategy[bytes]:
    most = 2 ** (8 * struct.calcsize(shape)) - 1
    return st.sampled_from(NUMBERS).map(lambda number: code + struct.pack(shape, number & most))


instructions = st.one_of(
    st.sampled_from([bytes([ord(code.code)]) for code in pickletools.opcodes if code.arg is None]),
    _number(b"J", "<I"),
    _number(b"h", "<B"),
    _number(b"q", "<B"),
    _number(b"M", "<H"),
    _number(b"\x8d", "<Q"),
    _number(b"\x8e", "<Q"),
    _number(b"\x96", "<Q"),
    st.sampled_from(
        [
            *(
                b"c" + name + b"\n"
                for name in (b"builtins\neval", b"builtins\nbytearray", b"os\nsystem", b"collections\nCounter")
            ),
            *(
                b"c" + name + b"\n"
                for name in (b"torch._utils\n_rebuild_tensor_v2", b"torch._utils\n_rebuild_sparse_tensor")
            ),
            *(
                b"c" + name + b"\n"
                for name in (b"torch\nSize", b"torch\nFloatStorage", b"torch._tensor\n_rebuild_from_type_v2")
            ),
            b"X\x01\x00\x00\x00a",
            b"\x8a\xff" + b"\x7f" * 255,  # a number of 255 bytes
            b"I" + b"9" * 5000 + b"\n",
            b"F1e999\n",
        ]
    ),
)


@st.composite
def made_of_instructions(draw: Any) -> bytes:
    """The older format: five pickles, and the storages after them."""
    content = draw(st.sampled_from([one for one in good_files() if one[:2] == b"\x80\x02"]))
    stream, pickles = io.BytesIO(content), []
    for _ in range(5):
        start = stream.tell()
        for _ in pickletools.genops(stream):
            pass
        pickles.append(content[start : stream.tell()])
    rest = content[stream.tell() :]
    place = draw(st.integers(0, 4))
    pickles[place] = draw(changed_pickle(pickles[place]))
    return b"".join(pickles) + rest


@st.composite
def networks(draw: Any) -> bytes:
    """What no program would write, but as it should be written: other shapes, names and types, and things that are no tensor."""
    state: dict[Any, Any] = dict(small_network())
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from([one for one in state if isinstance(one, str)]))
        act = draw(st.sampled_from(("shape", "shape", "type", "numbers", "name", "none", "thing")))
        before = state[name] if isinstance(state[name], torch.Tensor) else torch.ones(2)
        if act == "shape":
            shape = draw(st.lists(st.sampled_from((0, 1, 2, 3, 4, 5, 8, 64, 1024)), max_size=5))
            grown = torch.zeros(()).expand(shape)
            state[name] = grown if draw(st.booleans()) or grown.numel() > LARGEST else grown.clone()
        elif act == "type":
            kinds = (torch.float64, torch.bfloat16, torch.int8, torch.bool, torch.complex64, torch.uint8, torch.int64)
            state[name] = before.to(draw(st.sampled_from(kinds)))
        elif act == "numbers":
            state[name] = torch.full_like(
                before,
                draw(st.sampled_from((math.nan, math.inf, -1.0, 1e38, 0.0))) if before.is_floating_point() else -1,
            )
        elif act == "name":
            state[draw(st.sampled_from(("module." + name, name + ".x", "", "a\nb", "x" * 3000)))] = state[name]
        elif act == "none":
            del state[name]
        else:
            state[draw(st.sampled_from((name, 3, ("a",), None, "z")))] = draw(values)
    content = {"state_dict": state, "epoch": draw(values)} if draw(st.booleans()) else state
    try:
        if draw(st.booleans()):
            return save({name: tensor.contiguous() for name, tensor in state.items()})
        return saved(content, old=draw(st.booleans()))
    except (
        AttributeError,
        TypeError,
        ValueError,
        RecursionError,
        UnicodeError,
        RuntimeError,
        OverflowError,
        pickle.PicklingError,
    ):
        return b""  # not even a program that means no good can write it so


def check(data: bytes) -> str:
    outcomes = {_check(data, ending) for ending in (".safetensors", ".pth")}
    return "opened" if "opened" in outcomes else "refused"


def _check(data: bytes, ending: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"weights{ending}"
        path.write_bytes(data)
        peek_architecture(path)
        try:
            checkpoint = load_checkpoint(path)
        except CheckpointError as error:
            check_refusal(error, folder)
            return "refused"
    _check_state(checkpoint.model.state_dict())
    assert not checkpoint.model.training
    with torch.inference_mode():
        logits = checkpoint.model(torch.zeros(1, 3, 32, 32))
    assert logits.shape == (1, len(checkpoint.card.classes))
    return "opened"


def _check_state(state: Mapping[str, torch.Tensor]) -> None:
    for name, tensor in state.items():
        assert tensor.device.type == "cpu"
        assert not tensor.requires_grad
        assert tensor.isfinite().all(), name
        assert not tensor.is_floating_point() or tensor.dtype == torch.float32
