"""How much of the server's memory visitors' photos may take between their arrival and their reading.

Streamlit bounds a single file, and keeps each in memory until its visitor's page has read it: a session that sends files and
reads none would fill the machine. So a file that is too much is refused before its first byte is read, and the page says so.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import streamlit as st
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.runtime import Runtime

from odconv.ui.budget import MIB, Budget, Share
from odconv.ui.link import MOST_PICTURES
from odconv.words import SayableError

log = logging.getLogger(__name__)

OF_ONE = (
    2 * MOST_PICTURES
)  # largest files that one visitor may have there; all that are looked at, and one counts twice for a moment
TOGETHER = 3  # times as much as one visitor may have may all have
LEAST = 16 * 2**10  # bytes that a file counts at least: an empty one has a record, too
STALLED = 20.0  # seconds that any file may take to come, and
SLOWEST = 64 * 2**10  # bytes per second after that: a slower one keeps its room from others for too long

_coming = Budget("source.server_full")  # bytes of files that are on their way
_coming_from: WeakValueDictionary[str, Budget] = WeakValueDictionary()  # those by session
_refused: WeakKeyDictionary[Any, SayableError] = (
    WeakKeyDictionary()
)  # by session: why a file was, until its page has said so


def refusal(session: str) -> SayableError | None:
    """Why a file was refused since this was last asked; ``session``: Streamlit's name of it."""
    there = _find(session) if Runtime.exists() else None
    return None if there is None else _refused.pop(there, None)


class UploadBounds:
    """ASGI middleware that answers 413 to a file for which there is no room, and 408 to one that comes too slowly."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = _session_of(scope)
        # Streamlit itself refuses a session that is not there, and reads nothing of its file.
        if session is None or not Runtime.instance().is_active_session(session):
            return await self.app(scope, receive, send)
        size = _size_of(Request(scope))
        try:
            shares = _reserve(session, size)
        except SayableError as error:
            log.warning("a photo was not taken: %s", str(error))
            _tell(session, error)
            return await Response(status_code=413)(scope, receive, send)
        try:
            await self._pass_on(scope, receive, send, STALLED + size / SLOWEST)
        finally:
            for share in shares:
                share.release()

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, seconds: float) -> None:
        began = False

        async def note(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            async with asyncio.timeout(seconds):
                await self.app(scope, receive, note)
        except TimeoutError:
            if not began:
                await Response(status_code=408, headers={"connection": "close"})(scope, receive, send)


def _session_of(scope: Scope) -> str | None:
    """Streamlit's name of the session that a file is sent to; None where this is no such request."""
    if scope["type"] != "http" or scope["method"] != "PUT":
        return None
    found = re.search("/_stcore/upload_file/([^/]+)/[^/]+$", scope["path"])
    return found[1] if found else None


def _size_of(request: Request) -> int:
    """Bytes that the file of a request may have."""
    said = request.headers.get("content-length", "")
    return max(LEAST, int(said)) if re.fullmatch("[0-9]{1,15}", said) else _largest()


def _largest() -> int:
    """Bytes of the largest file that is taken."""
    return int(st.get_option("server.maxUploadSize")) * MIB


def _reserve(session: str, size: int) -> list[Share]:
    """Room for a file of ``size`` bytes, beside those that came and those that are coming.

    Raises:
        SayableError: there is none.
    """
    most, (held, held_by_all) = OF_ONE * _largest(), _held(session)
    mine = _coming_from.setdefault(session, Budget("source.no_room")).take(size, most - held)
    try:
        return [mine, _coming.take(size, TOGETHER * most - held_by_all)]
    except SayableError:
        mine.release()
        raise


def _held(session: str) -> tuple[int, int]:
    """Bytes of the files that came and were not read: of one session, and of all."""
    manager = Runtime.instance().uploaded_file_mgr
    with manager._lock:  # type: ignore[attr-defined]  # of the in-memory manager
        by_session = {
            id: sum(max(LEAST, len(file.data)) for file in files.values())
            for id, files in manager.file_storage.items()  # type: ignore[attr-defined]
        }
    return by_session.get(session, 0), sum(by_session.values())


def _tell(session: str, error: SayableError) -> None:
    """Have the session's page run, and say why."""
    there = _find(session)
    if there is not None and there not in _refused:
        _refused[there] = SayableError(error.key)  # whoever keeps an error that was raised keeps all that was at hand
        there.request_rerun(
            there._client_state
        )  # as its browser last said it; without it, the default page would be run


def _find(session: str) -> Any:
    """Streamlit's record of a session; None where it has gone, or where a page runs without a server."""
    manager = getattr(Runtime.instance(), "_session_mgr", None)  # private: there is no other way to a session
    info = manager.get_active_session_info(session) if manager else None
    return None if info is None else info.session
