"""Requests for figures while a dial is dragged: bodies, as a browser may send them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from starlette.requests import Request

from odconv.ui import dials, redraw
from tests.fuzz.strategies import changed_bytes, changed_json, to_bytes
from tests.loops import finish

MEMORY = 32_000_000

GOOD = (
    {"session": "mine", "changes": {"temperature": 2.0, "kernels": 3}, "released": False, "seq": 1},
    {"session": "theirs", "changes": {}, "released": True, "seq": 2**53},
)
GOOD_BYTES = tuple(map(to_bytes, GOOD))


def cases(corpus: Sequence[bytes]) -> SearchStrategy[bytes]:
    # Few are longer than what is read at all.
    short = changed_json(GOOD).map(lambda value: to_bytes(value)[: redraw.LARGEST])
    return st.one_of(short, changed_bytes([*GOOD_BYTES, *corpus]))


def figures(sent: object) -> bytes:
    return redraw.pack({"layer": {"settings": dials.parse_turn(sent, 4).changes}})


def check(data: bytes) -> str:
    offered = figures  # kept only weakly there
    redraw._offered["mine"] = offered
    try:
        status, body = finish(post(data))
    finally:
        redraw._offered.pop("mine", None)
    assert not redraw._under_way
    assert status in (200, 400, 404)
    if status == 200:
        assert set(json.loads(body)) == {"layer"}
    else:
        assert not body
    return str(status)


async def post(data: bytes) -> tuple[int, bytes]:
    half = len(data) // 2
    parts = iter([(data[:half], True), (data[half:], False)])

    async def receive() -> dict[str, Any]:
        body, more = next(parts)
        return {"type": "http.request", "body": body, "more_body": more}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"application/json")]}
    response = await redraw.answer(Request(scope, receive))
    return response.status_code, bytes(response.body)
