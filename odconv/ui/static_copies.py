"""The files of Streamlit's own page, kept in memory once somebody has fetched them.

A browser that opens the app for the first time fetches sixty, 2.3 MB in all, and Streamlit reads each anew, piece by piece
in other threads: for a class that opens at once, that takes as long as running its pages. The files are named after what is
in them, so a copy never grows old.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST = 24 * 2**20  # bytes of copies
ASKS_FOR_PARTS = (
    "range",
    "if-none-match",
    "if-modified-since",
    "if-range",
)  # headers of requests that Streamlit answers


class Copy(NamedTuple):
    """An answer as it was sent."""

    headers: list[tuple[bytes, bytes]]
    body: bytes


class StaticCopies:
    """ASGI middleware that answers with copies of what was answered before."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.copies: dict[str, Copy] = {}  # by path
        self.size = 0  # of their bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_for_whole_file(scope):
            return await self.app(scope, receive, send)
        path = scope["path"]
        if path not in self.copies:
            return await self.app(scope, receive, self._listen(path, send))
        headers, body = self.copies[path]
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        await send({"type": "http.response.body", "body": body})

    def _listen(self, path: str, send: Send) -> Send:
        """``send``, and keep what is sent where it is a whole file that never changes."""
        headers: list[tuple[bytes, bytes]] | None = None
        body = bytearray()

        async def pass_on(message: Message) -> None:
            nonlocal headers
            if message["type"] == "http.response.start":
                headers = list(message["headers"]) if message["status"] == 200 and _is_for_everybody(message) else None
            elif headers is not None and message["type"] == "http.response.body":
                body.extend(message.get("body", b""))
                if not message.get("more_body") and path not in self.copies and self.size + len(body) <= MOST:
                    self.copies[path] = Copy(headers, bytes(body))
                    self.size += len(body)
            await send(message)

        return pass_on


def _is_for_everybody(message: Message) -> bool:
    """Whether an answer says that it never changes, and would be the same to anybody else."""
    headers = Headers(raw=message["headers"])
    lasting = "immutable" in headers.get("cache-control", "")
    return lasting and "set-cookie" not in headers and "content-encoding" not in headers


def _is_for_whole_file(scope: Scope) -> bool:
    if (
        scope["type"] != "http"
        or scope["method"] != "GET"
        or not re.search(r"/static/(js|css|media)/[^/]+$", scope["path"])
    ):
        return False
    return not any(name in Headers(scope=scope) for name in ASKS_FOR_PARTS)
