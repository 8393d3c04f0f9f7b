"""Bytes and JSON made hostile: good ones with a few changes, and none that any program would write.

Strategies of hypothesis, so that what fails is made small again.
"""

from __future__ import annotations

import copy
import json
import re
import struct
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

MOST = 300_000  # bytes of a case
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
WIDTHS = {1: "B", 2: "H", 4: "I", 8: "Q"}

# --- bytes ------------------------------------------------------------------------------------------------------------


@st.composite
def changed_bytes(draw: Any, seeds: Sequence[bytes]) -> bytes:
    """One of ``seeds`` with up to six changes, mostly where formats keep their structure: at the start and the end."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 6))):
        data = draw(st.sampled_from(CHANGES))(draw, data, seeds)[:MOST]
    return data


def _place(draw: Any, data: bytes) -> int:
    near = draw(st.sampled_from(("start", "end", "anywhere")))
    if near == "start":
        return draw(st.integers(0, min(len(data), 700)))
    if near == "end":
        return len(data) - draw(st.integers(0, min(len(data), 200)))
    return draw(st.integers(0, len(data)))


def _replace(draw: Any, data: bytes, seeds: Sequence[bytes]) -> bytes:
    place, new = _place(draw, data), draw(st.binary(min_size=1, max_size=4))
    return data[:place] + new + data[place + len(new) :]


def _flip(draw: Any, data: bytes, seeds: Sequence[bytes]) -> bytes:
    place = _place(draw, data)
    return (
        data[:place]
        + bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in data[place : place + 1])
        + data[place + 1 :]
    )


def _put_number(draw: Any, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A length or the like becomes one that is none."""
    place, width = _place(draw, data), draw(st.sampled_from(list(WIDTHS)))
    number = draw(st.sampled_from([*NUMBERS, len(data), len(data) - place])) % 2 ** (8 * width)
    return data[:place] + struct.pack(draw(st.sampled_from("<>")) + WIDTHS[width], number) + data[place + width :]


def _delete(draw: Any, data: bytes, seeds: Sequence[bytes]) -> bytes:
    start, end = sorted((_place(draw, data), _place(draw, data)))
    return data[:start] + data[end:]


def _repeat(draw: Any, data: bytes, seeds: Sequence[bytes]) -> bytes:
    start = _place(draw, data)
    part = data[start : start + draw(st.integers(1, 400))]
    times = draw(st.sampled_from((1, 2, 100, 3000)))
    return data[:start] + part * min(times, MOST // max(1, len(part))) + data[start:]


def _fill(draw: Any, data: bytes, seeds: Sequence[bytes]) -> bytes:
    place = _place(draw, data)
    return data[:place] + draw(st.sampled_from((b"\0", b"\xff", b" "))) * draw(st.integers(1, 20_000)) + data[place:]


def _cut(draw: Any, data: bytes, seeds: Sequence[bytes]) -> bytes:
    return data[: _place(draw, data)]


def _splice(draw: Any, data: bytes, seeds: Sequence[bytes]) -> bytes:
    other = draw(st.sampled_from(seeds))
    return data[: _place(draw, data)] + other[_place(draw, other) :]


CHANGES = (_replace, _replace, _flip, _put_number, _put_number, _delete, _repeat, _fill, _cut, _splice)

# --- JSON -------------------------------------------------------------------------------------------------------------

letters = st.characters(exclude_categories=[])  # halves of characters, too
odd_numbers = st.sampled_from(
    (0, -1, 1, 1.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), -float("inf"), 2**31, 2**53 + 1, -(2**63), 10**400)
)
odd_texts = st.sampled_from(
    (
        "",
        " ",
        "\ud800",
        "\0",
        "\u202e",
        "a\nb",
        "<script>",
        "![x](https://example.com/x)",
        "__proto__",
        "9" * 5000,
        "²",
        "１",
    )
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(letters, max_size=8), odd_numbers, odd_texts
)


DEEP = "deep: "  # text that stands for a list in a list in a list, since Python's own tools cannot copy those
# Python reads some 990; then a call more may be too many.
deep = (st.sampled_from((50, 500)) | st.integers(940, 1000)).map(lambda depth: f"{DEEP}{depth}")
values = st.one_of(
    scalars,
    st.recursive(
        scalars,
        lambda one: st.lists(one, max_size=4) | st.dictionaries(st.text(letters, max_size=8), one, max_size=4),
        max_leaves=8,
    ),
    deep,
)


MOST_TIMES = 300  # in all, that a part is repeated: parts of parts would else make hundreds of megabytes


@st.composite
def changed_json(draw: Any, seeds: Sequence[Any]) -> Any:
    """One of ``seeds`` with up to four of its parts replaced, left out, or there twice."""
    value, room = [copy.deepcopy(draw(st.sampled_from(seeds)))], MOST_TIMES
    for _ in range(draw(st.integers(0, 4))):
        holder, key = draw(st.sampled_from(_parts(value)))
        act = draw(st.sampled_from(("replace", "replace", "remove", "repeat", "another")))
        if act == "replace":
            holder[key] = draw(values)
        elif act == "another":  # a part from elsewhere
            holder[key] = copy.deepcopy(draw(st.sampled_from([there[place] for there, place in _parts(list(seeds))])))
        elif holder is not value:
            if act == "remove":
                del holder[key]
            elif isinstance(holder, list):
                times = min(draw(st.sampled_from((1, 10, MOST_TIMES))), room)
                room //= times
                holder[key:key] = [holder[key]] * times
            else:
                holder[draw(st.text(letters, max_size=8))] = holder[key]
    return value[0]


def _parts(value: list[Any]) -> list[tuple[Any, Any]]:
    """Where each part stands: in which list or dict, and at which key. Not further down than a few steps."""
    found, holders = [], [value]
    for holder in holders:
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        found += [(holder, key) for key in keys]
        if len(found) < 500:
            holders += [holder[key] for key in keys if isinstance(holder[key], (dict, list))]
    return found


def to_bytes(value: Any) -> bytes:
    """JSON as Python reads it, with NaN, halves of characters, and what is ``DEEP``."""
    text = json.dumps(value)
    return re.sub(f'"{DEEP}([0-9]+)"', lambda found: "[" * int(found[1]) + "]" * int(found[1]), text).encode()


def read_json(data: bytes) -> Any:
    """What a case of the corpus holds, to be changed; None where it is no JSON, or deep."""
    try:
        return None if b"[" * 40 in data else json.loads(data)
    except ValueError:
        return None
