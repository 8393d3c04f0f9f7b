"""Redraws while a widget is dragged: a browser asks for the figures under other settings, without a run of the page.

A run builds every part of a page and has the browser render all of them, for a few figures that change. So each step of a
drag is a request of its own; only the release changes the view and runs the page. A request is answered for the session that
it names, whose name nobody else knows, and changes nothing. The answer's header ``Odconv-Gap`` says how many milliseconds
after a request the next one may come, see ``pacing``.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import reprlib
import threading
import time
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

import orjson
import streamlit as st
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from odconv.ui import connection, parts
from odconv.ui.pacing import Pacing
from odconv.words import SayableError

log = logging.getLogger(__name__)

LARGEST = 2000  # bytes of a request; a dial sends 100

# A widget's message, as a browser sent it -> the figures, packed by ``pack``. Raises ValueError where no widget sends it, and
# SayableError where there are no figures now. Called in any thread, so it must not ask the session.
Redraw = Callable[[object], bytes]

_offered: WeakValueDictionary[str, Redraw] = WeakValueDictionary()  # by session, for as long as that keeps it
_pacing = Pacing()
_under_way: set[str] = set()  # sessions that are being answered: one request at a time


def offer(redraw: Redraw) -> str:
    """Let the visitor's browser ask for redraws, until the next run of a page. Returns the address to ask at."""
    st.session_state["redraw"] = _offered[connection.session()] = redraw
    return path()


def path() -> str:
    """The path of the address."""
    base = st.get_option("server.baseUrlPath").strip("/")
    return f"/{base}/redraw" if base else "/redraw"


def routes() -> list[Route]:
    """What the server answers besides pages."""
    return [Route(path(), answer, methods=["POST"])]


async def answer(request: Request) -> Response:
    """Answer a message, which names its ``session``, with the figures.

    400: it is no such message. 404: no redraw is offered to the session. 429: an earlier message is still being answered.
    503: there are no figures now, as where others keep the network.
    """
    try:
        sent = orjson.loads(await _read(request))
        session = sent["session"]
        redraw = _offered.get(session)
    except (ValueError, TypeError, KeyError):
        return Response(status_code=400)
    if redraw is None:
        return Response(status_code=404)
    if session in _under_way:
        return Response(status_code=429)
    _under_way.add(session)
    try:
        drawn = await asyncio.to_thread(_draw, redraw, sent, session)
    except SayableError:
        return Response(status_code=503)
    except ValueError as error:
        log.warning("redraw: ignored %s: %s", reprlib.repr(sent), error)
        return Response(status_code=400)
    finally:
        _under_way.remove(session)
    headers = {"Odconv-Gap": f"{1000 * _pacing.gap(_count_runs()):.0f}", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
    else:
        drawn = gzip.decompress(drawn)
    return Response(drawn, media_type="application/json", headers=headers)


def pack(figures: dict[str, Any]) -> bytes:
    """Key of a figure -> its data, as JSON that is packed with gzip: quickly, and beside the server's loop."""
    return gzip.compress(orjson.dumps(figures), 1, mtime=0)


def _draw(redraw: Redraw, sent: object, session: str) -> bytes:
    with parts.turn(parts.STEP):
        began = time.thread_time()
        drawn = redraw(sent)
        _pacing.note(session, time.thread_time() - began, time.monotonic())
    return drawn


def _count_runs() -> int:
    """How many pages are being run."""
    return sum(thread.name.startswith("ScriptRunner") for thread in threading.enumerate())


async def _read(request: Request) -> bytes:
    """The body of a request.

    Raises:
        ValueError: it is longer than any widget's, or is not said to be JSON: then a page of another site could send it.
    """
    if request.headers.get("content-type") != "application/json":
        raise ValueError("not JSON")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST:
            raise ValueError("too long")
    return body
