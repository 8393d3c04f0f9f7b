"""Reading tensors from a file that anybody may have made.

Tensors are read by safetensors or by ``torch.load(weights_only=True)``, never by plain pickle. Before that, the file's table
of contents is checked, so that memory and time stay bounded: all that it lists must lie uncompressed in the file, and it may
list no more tensors than a network known here has.
"""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from stat import S_ISREG
from typing import IO, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from odconv.pickle_check import ForbiddenError, PickleCheck, TooLongError
from odconv.refusal import CheckpointError, join_names, printable

SUFFIXES = (".safetensors", ".pth", ".pt", ".tar")
GIB = 2**30
MAX_BYTES = 2 * GIB  # the largest published file, ResNet-101 2x with its optimiser, has about 0.7 GB
MAX_TENSORS = 10_000  # ResNet-101 2x has 2,100
MAX_RECORDS = 40_000  # in a zip archive: an optimiser may have three more tensors for each of the network's
MAX_CONTENTS = (
    4 * 2**20
)  # bytes of a table of contents or a pickle; that of ResNet-101 2x with its optimiser has 0.4 MB
SLACK = 2**20  # bytes that tensors may take beyond what their file holds: they may share numbers, or repeat one

ZIP_START = b"PK\x03\x04"
PICKLE_START = b"\x80\x02"


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a weights file, on the CPU.

    A file holds either tensors by name, or, like the authors' files, a dict with such tensors under ``"state_dict"``, of
    which the rest is ignored. The ``module.`` that ``DataParallel`` puts before each name is removed.

    Raises:
        CheckpointError: the file is missing or damaged, is not a weights file, holds anything but tensors of plain numbers,
            or would take more memory than its size justifies.
    """
    if path.suffix not in SUFFIXES:
        raise CheckpointError("checkpoint.ending", file=printable(path.name), endings=", ".join(SUFFIXES))
    try:
        return _state_of(_read(path), path.stat().st_size)
    except (ForbiddenError, pickle.UnpicklingError) as error:
        raise CheckpointError("checkpoint.forbidden", file=printable(path.name)) from error
    except TooLongError as error:
        raise CheckpointError("checkpoint.contents", file=printable(path.name)) from error
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file makes the readers raise almost anything
        raise CheckpointError("checkpoint.damaged", file=printable(path.name)) from error


def _read(path: Path) -> Any:
    """The object in a weights file, once its contents have been checked."""
    status = path.stat()
    if not S_ISREG(status.st_mode):  # reading from a pipe would wait for ever
        raise CheckpointError("checkpoint.damaged", file=printable(path.name))
    if status.st_size > MAX_BYTES:
        size, most = f"{status.st_size / GIB:.1f}", f"{MAX_BYTES / GIB:.0f}"
        raise CheckpointError("checkpoint.large", file=printable(path.name), size=size, most=most)
    with path.open("rb") as file:
        if path.suffix == ".safetensors":
            _check_safetensors(file, status.st_size)
            return load_file(path)
        start = file.read(4)
        file.seek(0)
        if start == ZIP_START:
            _check_zip(file, status.st_size, printable(path.name))
        elif start.startswith(PICKLE_START):
            _check_pickles(file, status.st_size)
        else:
            raise ValueError("neither a zip archive nor pickles")
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)


def read_shapes(path: Path) -> dict[str, tuple[int, ...]] | None:
    """The names and shapes of the tensors that a .safetensors file says it holds; of its numbers, none is read.

    None where it is no such file, or says so in a way that is not understood. What is said may be false: only
    :func:`read_state` knows.
    """
    try:
        status = path.stat()
        if path.suffix != ".safetensors" or not S_ISREG(status.st_mode):
            return None
        with path.open("rb") as file:
            entries = _check_safetensors(file, status.st_size)
        tensors = {name: entry["shape"] for name, entry in entries.items() if name != "__metadata__"}
        if any(type(size) is not int for shape in tensors.values() for size in shape):
            return None
        return {name.removeprefix("module."): tuple(shape) for name, shape in tensors.items()}
    except Exception:  # a damaged header makes the reader raise almost anything
        return None


def _check_safetensors(file: IO[bytes], size: int) -> dict[str, Any]:
    """Check a file's header. The format: its length in 8 bytes; the header, a JSON object of tensors by name; their numbers.

    Returns:
        The header.
    """
    (length,) = struct.unpack("<Q", file.read(8))
    if length > size:
        raise ValueError("cut off")
    if length > MAX_CONTENTS:
        raise TooLongError
    header = json.loads(file.read(length), object_pairs_hook=_without_repeats)
    if len(header) > MAX_TENSORS:
        raise TooLongError
    return header


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name comes twice")
    return dict(pairs)


def _check_zip(file: IO[bytes], size: int, name: str) -> None:
    """Check a file as ``torch.save`` writes it today: an uncompressed zip archive of a pickle and a record for each storage."""
    _check_directory(file, size)
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise CheckpointError("checkpoint.compressed", file=name)
        sizes = {record.orig_filename.lower(): record.file_size for record in records}
        if len(records) > MAX_RECORDS:
            raise TooLongError
        stored = all(record.compress_size == record.file_size and not record.flag_bits & 1 for record in records)
        if not stored or len(sizes) < len(records) or sum(sizes.values()) > size:
            raise ValueError("records overlap")
        [contents] = [record for record in records if record.orig_filename.lower().endswith("/data.pkl")]
        if contents.file_size > MAX_CONTENTS:
            raise TooLongError
        check = PickleCheck()
        check.walk(BytesIO(archive.read(contents)))
    folder = contents.orig_filename.lower().removesuffix("data.pkl")
    for storage, claimed in check.storages.items():
        if claimed > sizes[f"{folder}data/{storage.lower()}"]:
            raise ValueError("a storage is cut off")


def _check_directory(file: IO[bytes], size: int) -> None:
    """Check that a zip archive's directory is short and lies right before the archive's end record.

    Readers look for the directory in different ways; where nothing lies in between, all of them find the same one. The end
    record has 22 bytes. In a large archive, and in all that torch writes, 56 and 20 bytes with larger numbers precede it.
    """
    file.seek(max(0, size - 98))
    tail = file.read()
    end = size - 22
    length, start, comment = struct.unpack("<IIH", tail[-10:])
    if tail[-22:-18] != b"PK\x05\x06" or comment:
        raise ValueError("no end of a zip archive")
    if tail[-42:-38] == b"PK\x06\x07":
        end = size - 98
        (found,) = struct.unpack("<Q", tail[-34:-26])
        if found != end or tail[:4] != b"PK\x06\x06":
            raise ValueError("no end of a large zip archive")
        length, start = struct.unpack("<QQ", tail[40:56])
    if start + length != end:
        raise ValueError("something lies behind the directory")
    if length > MAX_CONTENTS:
        raise TooLongError
    file.seek(0)


def _check_pickles(file: IO[bytes], size: int) -> None:
    """Check a file as ``torch.save`` wrote it in the past.

    Five pickles: a magic number, a version, a system, the object, the names of its storages. Then the storages.
    """
    stream, check = BytesIO(file.read(MAX_CONTENTS)), PickleCheck()
    for _ in range(5):
        try:
            check.walk(stream)
        except ValueError:
            if size > MAX_CONTENTS == stream.tell():
                raise TooLongError from None
            raise
    if sum(check.storages.values()) > size:
        raise ValueError("storages are cut off")


def _state_of(content: Any, size: int) -> dict[str, Tensor]:
    """The state dict in ``content``, the object read from a file of ``size`` bytes."""
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not (isinstance(content, Mapping) and content and all(isinstance(name, str) for name in content)):
        raise CheckpointError("checkpoint.no_state")
    if len(content) > MAX_TENSORS:
        raise CheckpointError("checkpoint.many", count=len(content), most=MAX_TENSORS)
    stray = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if stray:
        raise CheckpointError("checkpoint.no_tensor", names=join_names(stray))
    claimed = 4 * sum(tensor.numel() for tensor in content.values())
    if claimed > min(MAX_BYTES, 4 * size + SLACK):  # a tensor can repeat one number, and take no room in its file
        raise CheckpointError("checkpoint.claims", claimed=f"{claimed / GIB:,.1f}", size=f"{size / 2**20:,.1f}")
    state = {name.removeprefix("module."): tensor for name, tensor in content.items()}
    twice = [
        name for name in content if name.removeprefix("module.") != name and name.removeprefix("module.") in content
    ]
    if twice:
        raise CheckpointError("checkpoint.twice", names=join_names(twice))
    return state
