"""How tests ask an ASGI app without a server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tests.loops import finish


@dataclass
class Reply:
    """What an app answered: its status, headers and body; of a WebSocket, whether it was closed, and with what code."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    read: list[bytes] = field(default_factory=list)  # the parts of the request that were read


def ask(app, path="/", *, method="GET", headers=(), body=(b"",), client="127.0.0.1", kind="http"):
    """What ``app`` answers. ``body``: its parts, each of them bytes, or a coroutine function that gives them."""
    reply, parts, read = Reply(), list(body), []

    async def receive():
        if kind == "websocket":
            return {"type": "websocket.connect"}
        if read and not parts:
            await asyncio.Event().wait()  # the browser stays
        part = parts.pop(0) if parts else b""
        part = await part() if callable(part) else part
        read.append(part)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message):
        if message["type"] == "http.response.start":
            reply.status = message["status"]
            reply.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        elif message["type"] == "http.response.body":
            reply.body += message.get("body", b"")
        else:
            reply.status = message.get("code", 101)

    scope = {
        "type": kind,
        "method": method,
        "path": path,
        "query_string": b"",
        "client": (client, 50000),
        "headers": [(name.lower().encode(), value.encode()) for name, value in dict(headers).items()],
    }
    if kind == "websocket":
        del scope["method"]
    finish(app(scope, receive, send))
    reply.read = read
    return reply
