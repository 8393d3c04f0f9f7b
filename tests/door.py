"""How tests bring a file to a visitor's inbox: through the server's door, as a browser does."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlencode

from starlette.requests import Request

from odconv.ui import reception
from tests.loops import finish


def send(session, name, data, *, size=None, parts=1, **query):
    """(status, what it was refused for) of what the server answers to a file that comes in ``parts``."""
    length = max(1, -(-len(data) // parts))
    pieces = [data[i : i + length] for i in range(0, len(data), length)] or [b""]
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages[-1]["more_body"] = False
    waiting = iter(messages)

    async def receive():
        return next(waiting)

    sent = {"name": name, "bytes": len(data) if size is None else size, **query}
    scope = {
        "type": "http",
        "method": "POST",
        "headers": [(b"x-odconv-session", session.encode())],
        "query_string": urlencode(sent, errors="surrogatepass").encode(),
    }
    response = finish(reception.answer(Request(scope, receive)))
    return response.status_code, json.loads(response.body)["refused"] if response.body else ""


def bring(session, path: Path, name=None, card=None):
    """Send a checkpoint, its card first; what the first refusal says, or empty."""
    files = ([("card.json", card, {})] if card is not None else []) + [
        (name or path.name, path.read_bytes(), {"card": 1} if card is not None else {})
    ]
    for title, data, query in files:
        for flags in ({"ask": 1}, {}):
            status, refused = send(session, title, b"" if flags else data, size=len(data), **query, **flags)
            if status != 204:
                return refused or str(status)
    return ""
