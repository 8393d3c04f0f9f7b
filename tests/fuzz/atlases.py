"""Atlases beside weights."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from odconv.atlas import FLOOR, MAX_LAYERS, RANKS, AtlasError, load_atlas
from tests.fuzz.checkpoints import packed
from tests.fuzz.sentences import check_refusal
from tests.fuzz.strategies import changed_bytes

MEMORY = 400_000_000  # what a file may unpack to, and a copy of one array of it

TYPES = (
    "<f4",
    ">f4",
    "<f8",
    "<f2",
    "<i8",
    "<u1",
    "<c8",
    "?",
    "<U3",
    "<U0",
    "S3",
    "V4",
    "V0",
    "O",
    "<M8[s]",
    [("a", "<f4")],
)


@cache
def good_arrays() -> dict[str, Any]:
    ranks = np.linspace(0, 3, RANKS + 1, dtype=np.float32)
    heads = {"spatial": (2, 2), "channel": (3,), "filter": (2,), "kernel": (4,)}
    arrays: dict[str, Any] = {
        "network": np.array("0123456789abcdef"),
        "counts": np.array([4, 4, 4]),
        "layers": np.array(["first", "second"]),
        "first/kernel/by_class": np.full((3, 4), 0.25, np.float16),
    }
    for head, shape in heads.items():
        arrays[f"first/{head}/mean"] = np.full(shape, 0.5, np.float32)
        arrays[f"first/{head}/deviation"] = np.full(shape, 0.1, np.float32)
        arrays[f"first/{head}/distances"] = ranks
    return arrays


@cache
def good_file() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **good_arrays())
    return buffer.getvalue()


def cases(corpus: Sequence[bytes]) -> SearchStrategy[bytes]:
    return st.one_of(changed_bytes([good_file(), *corpus]), archives(), spoiled())


@st.composite
def archives(draw: Any) -> bytes:
    """A zip archive with right sums, of which one array's file was changed, is there again and again, or is endless."""
    with zipfile.ZipFile(io.BytesIO(good_file())) as archive:
        records = [[info.filename, archive.read(info), zipfile.ZIP_DEFLATED] for info in archive.infolist()]
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(records) - 1))
        name, content, how = records[place]
        act = draw(st.sampled_from(("content", "header", "header", "twice", "long", "none")))
        if act == "content":
            records[place] = [name, draw(changed_bytes([content])), how]
        elif act == "header":
            records[place] = [name, draw(headers()) + content[128:], how]
        elif act == "twice":
            records += [records[place]] * draw(st.sampled_from((1, 50)))
        elif act == "long":
            records[place] = [name, content + bytes(draw(st.sampled_from((10**6, 10**8)))), how]
        elif len(records) > 1:
            del records[place]
    return packed(records)


@st.composite
def headers(draw: Any) -> bytes:
    """The start of an array's file, which says another type or shape."""
    sizes = st.sampled_from((0, 1, 2, 3, 1001, 10**6, 10**9, 2**31, 2**63 - 1, 2**63, -1, 10**30))
    shape = draw(st.lists(sizes, max_size=4).map(tuple) | st.sampled_from(("x", None, [3], (1.5,), (True,), ((2,),))))
    kind = draw(st.sampled_from((*TYPES, "<U1000000000", "x", "<f99", None, "<f4" * 100)))
    text = f"{{'descr': {kind!r}, 'fortran_order': {draw(st.sampled_from(('False', 'True', '1', '(' * 200)))}, 'shape': {shape!r}, }}"
    header = text.encode().ljust(117)[: 2**16 - 2] + b"\n"
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header


@st.composite
def spoiled(draw: Any) -> bytes:
    """Good files of wrong arrays."""
    arrays = dict(good_arrays())
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(list(arrays)))
        act = draw(st.sampled_from(("type", "shape", "value", "none", "name")))
        if act == "type":
            try:
                arrays[name] = arrays[name].astype(draw(st.sampled_from(TYPES)))
            except (TypeError, ValueError):
                arrays[name] = np.zeros(3, "V4")
        elif act == "shape":
            arrays[name] = np.zeros(draw(st.lists(st.integers(0, 4), max_size=4)), arrays[name].dtype)
        elif act == "value" and arrays[name].dtype.kind in "fiu" and arrays[name].size:
            values = (np.nan, np.inf, -1, 2, 1e30) if arrays[name].dtype.kind == "f" else (-1, 0, 100)
            arrays[name] = arrays[name].copy()
            arrays[name].flat[draw(st.integers(0, arrays[name].size - 1))] = draw(st.sampled_from(values))
        elif act == "name":
            arrays[
                draw(st.sampled_from(("second/" + name.partition("/")[2], "x/mean", "mean", "a\nb/mean", "../x/mean")))
            ] = arrays[name]
        elif len(arrays) > 1:
            del arrays[name]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asarray(array), allow_pickle=True)
            archive.writestr(f"{name}.npy", content.getvalue())
    return buffer.getvalue()


def check(data: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.atlas.npz"
        path.write_bytes(data)
        try:
            atlas = load_atlas(path)
        except AtlasError as error:
            check_refusal(error, folder)
            return "refused"
    assert 1 <= len(atlas.layers) <= MAX_LAYERS
    assert atlas.counts.min() >= 1
    assert atlas.pictures >= atlas.classes
    for layer in atlas.layers.values():
        for head in filter(None, layer.heads):
            for values, most in ((head.mean, 1), (head.deviation, 1), (head.distances, 1 / FLOOR)):
                assert values.dtype == np.float32
                assert ((values >= 0) & (values <= most)).all()
            assert np.isfinite(head.spread)
    return "read"
