"""Who is answered by the server, and what browsers are told about its pages.

Streamlit checks hosts and origins for its WebSocket alone, takes any port of this machine for a friend, and shows its metrics
to everybody. So this stands in front of it, and of the app's own routes.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import logging
import os
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import file_util

from odconv.ui import reception

log = logging.getLogger(__name__)

EMBED = "ODCONV_EMBED"  # environment variable: sites that may show the app in a frame of theirs
HERE = ("localhost", "127.0.0.1", "::1")  # the names of this machine that other machines cannot give to theirs
INSIDE = ("/_stcore/metrics", "/_stcore/script-health-check")  # the latter runs a page for everyone who asks
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")  # headers that a proxy adds


class Guard:
    """ASGI middleware: refuses requests under other names, from pages of other sites and for what is inside; adds headers.

    421: the server has no such name. 403: a page of another site asks. 404: only this machine itself may ask.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        sites = read_sites(os.environ.get(EMBED, ""))
        self.headers, self.framed = page_headers(sites), bool(sites)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.headers)
                if self.framed:
                    message["headers"] = [_partitioned(*header) for header in message["headers"]]
            await send(message)

        refused = _refusal(scope)
        if refused is None:
            await self.app(scope, receive, send_with_headers)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refused[1]})
        else:
            await PlainTextResponse(refused[1], refused[0])(scope, receive, send_with_headers)


# --- who is answered -----------------------------------------------------------------------------------------------------


def _refusal(scope: Scope) -> tuple[int, str] | None:
    """Why a request is not answered: status and sentence, for who runs the server."""
    headers = Headers(scope=scope)
    host, origin = headers.get("host", ""), headers.get("origin")
    if not is_host_allowed(host, st.get_option("server.allowedHosts"), st.get_option("server.address")):
        log.warning("refused: the host %.100r is not among server.allowedHosts", host)
        return 421, "This server has another name. Whoever runs it can add this one to server.allowedHosts."
    friends = st.get_option("server.corsAllowedOrigins") if st.get_option("server.enableCORS") else ["*"]
    if origin is not None and not is_origin_allowed(origin, host, friends):
        log.warning("refused: the origin %.100r, asking %.100r", origin, host)
        return (
            403,
            "A page of another site may not ask. Whoever runs this server can add it to server.corsAllowedOrigins.",
        )
    if scope["path"].rstrip("/").endswith(INSIDE) and not _is_inside(scope, headers):
        return 404, "Not Found"
    return None


def is_host_allowed(host: str, allowed: Iterable[str], address: str | None) -> bool:
    """Whether the server answers to the name ``host``, a Host header.

    A page whose name its owner has made to mean this machine (DNS rebinding) is of the same site as the server; only the name
    tells them apart.

    Args:
        allowed: ``server.allowedHosts``: names, ``*.`` and a name, or ``*``. Where there are none, a server for this machine
            alone answers to this machine's names, and one for all machines to any.
        address: ``server.address``.
    """
    name = _host_name(host)
    if name is None:
        return False
    patterns = [pattern.strip().lower().rstrip(".") for pattern in allowed]
    patterns = patterns or list(HERE if reception.is_this_machine(address) else ["*"])
    return any(
        pattern in ("*", name) or (pattern.startswith("*.") and name.endswith(pattern[1:])) for pattern in patterns
    )


def is_origin_allowed(origin: str, host: str, friends: Iterable[str]) -> bool:
    """Whether a page of ``origin`` may ask ``host``: its own server, or one of ``friends``, where ``*`` is all."""
    try:
        own = urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        own = False
    return own or bool({"*", origin.lower()} & {friend.strip().lower().rstrip("/") for friend in friends})


def _host_name(host: str) -> str | None:
    """The name in a Host header, without port; None where it is none."""
    if not re.fullmatch(r"\[[0-9A-Fa-f:.]+\](:\d{1,5})?|[^\s/?#@\\:\[\]]+(:\d{1,5})?", host):
        return None
    return (urlsplit(f"//{host}").hostname or "").rstrip(".") or None


def _is_inside(scope: Scope, headers: Headers) -> bool:
    """Whether this machine itself asks, and not a proxy on it for somebody else."""
    try:
        near = ipaddress.ip_address((scope.get("client") or ("",))[0]).is_loopback
    except ValueError:
        near = False
    return near and _host_name(headers.get("host", "")) in HERE and not any(name in headers for name in FORWARDED)


# --- what browsers are told ------------------------------------------------------------------------------------------------


def read_sites(setting: str) -> list[str]:
    """The sites of ``ODCONV_EMBED``, with spaces or commas between them: ``https://school.example https://*.edu.example``.

    Raises:
        ValueError: one of them is no site.
    """
    sites = setting.replace(",", " ").split()
    for site in sites:
        if not re.fullmatch(r"https?://(\*\.)?[A-Za-z0-9.-]+(:\d{1,5})?", site):
            raise ValueError(f"{EMBED}: {site!r} is no site, such as https://school.example")
    return sites


def page_headers(sites: Sequence[str]) -> dict[str, str]:
    """Headers of every answer. ``sites``: who may show the app in a frame, besides itself."""
    policy = {
        "default-src": "'self'",
        # Components' scripts are blobs that Streamlit's own script makes of what came through the WebSocket.
        "script-src": " ".join(["'self'", "blob:", *_inline_scripts()]),
        "style-src": "'self' 'unsafe-inline'",  # Streamlit writes its styles, and figures theirs, into the page
        "img-src": "'self' data: blob:",
        "media-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": " ".join(["'self'", *sites]),
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",  # an address holds what a visitor looks at
        "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    }


def _partitioned(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A header, such that a cookie for frames of other sites is kept apart for each: browsers take no other ones there."""
    is_for_frames = name == b"set-cookie" and b"samesite=none" in value.lower()
    return name, value + b"; Partitioned" if is_for_frames else value


@cache
def _inline_scripts() -> list[str]:
    """The hashes of the scripts that stand in Streamlit's page itself."""
    page = (Path(file_util.get_static_dir()) / "index.html").read_text(encoding="utf-8")
    scripts = re.findall("<script>(.*?)</script>", page, re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts]
