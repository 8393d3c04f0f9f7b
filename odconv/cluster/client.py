"""Ask a cluster over HTTP. Needs nothing but Python: a page's server can ask for passes, and for nothing else, there."""

from __future__ import annotations

import socket
import ssl
import threading
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from odconv.cluster.messages import MAX_ANSWER

CONNECT = 1.0  # seconds in which a cluster must take a connection
PATH = "/ask"
SCHEMES = {"ray": False, "ray+https": True}  # whether what is sent is encrypted


class ClusterError(Exception):
    """A cluster that gave no answer; it says why."""


@dataclass(frozen=True)
class Address:
    """Where a cluster is asked."""

    host: str
    port: int
    encrypted: bool


def parse_address(text: str) -> Address:
    """``ray://host:port``, or ``ray+https://host:port`` where the connection is to be encrypted.

    Raises:
        ValueError: it is none.
    """
    wrong = f"{text!r}: ray://host:port or ray+https://host:port is needed"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(wrong) from error
    if (
        parts.scheme not in SCHEMES
        or not host
        or not port
        or parts.path
        or parts.query
        or parts.fragment
        or "@" in text
    ):
        raise ValueError(wrong)
    return Address(host, port, SCHEMES[parts.scheme])


def send(address: Address, token: str, question: bytes, seconds: float) -> bytes:
    """The answer to ``question``, both as messages. Follows no redirection and goes through no proxy.

    ``seconds``: after which there is no answer, however slowly one may be coming.

    Raises:
        ClusterError: there is none.
    """
    connection = (
        HTTPSConnection(address.host, address.port, timeout=CONNECT, context=ssl.create_default_context())
        if address.encrypted
        else HTTPConnection(address.host, address.port, timeout=CONNECT)
    )
    try:
        connection.connect()
        open_socket = connection.sock
        open_socket.settimeout(seconds)
        watch = threading.Timer(seconds, _hang_up, [open_socket])
        watch.daemon = True
        watch.start()
        try:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}
            connection.request("POST", PATH, question, headers)
            response = connection.getresponse()
            length = response.length
            answer = response.read(min(length or 0, MAX_ANSWER))
        finally:
            watch.cancel()
    except (OSError, HTTPException, ValueError) as error:  # the latter: a token that is no header
        raise ClusterError(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()
    if not length or len(answer) < length:  # cut off, without a length, or too long
        raise ClusterError(f"{len(answer)} of {length} bytes came")
    if response.status != 200:
        raise ClusterError(f"status {response.status}: {answer[:200].decode(errors='replace')}")
    return answer


def _hang_up(open_socket: socket.socket) -> None:
    try:
        open_socket.shutdown(socket.SHUT_RDWR)
    except OSError:  # it has ended by itself
        return
