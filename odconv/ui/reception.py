"""Checkpoints that browsers send: each into a folder of its visitor's own, within the bounds that the server is run with.

Streamlit's own uploads lie in memory, and ``server.maxUploadSize`` is one bound for all of them: raised for a checkpoint, it
would let every visitor fill the memory through the picker of photos. So checkpoints come here, straight onto the disk, and
only from pages that were given an ``Inbox``.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from weakref import WeakValueDictionary, finalize

import orjson
import streamlit as st
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from odconv import card
from odconv.refusal import CheckpointError, printable
from odconv.ui import redraw
from odconv.ui.budget import MIB, Budget, Share
from odconv.ui.engine import Engine
from odconv.weights_file import MAX_BYTES, SUFFIXES
from odconv.words import SayableError

log = logging.getLogger(__name__)

CARD = ".json"
AT_HOME = 1024  # MiB of a file where the server is this machine's alone; the authors' largest file has about 700
TOGETHER = 4  # times as much as one file may have may the checkpoints of all visitors take
STALLED = 20.0  # seconds without a byte after which a file is given up
SLOWEST = 64 * 2**10  # bytes per second: a slower file keeps its room from others for too long
PIECE = MIB  # bytes that are written at once
LONGEST_NAME = 150  # bytes of a file's name without its ending


# --- whether files are taken, and how large -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Permit:
    """How large a file may be."""

    megabytes: int  # MiB; 0: none is taken
    why_not: str = ""  # key of a sentence; empty where files are taken


def permit(setting: str | None, address: str | None, origin: str | None) -> Permit:
    """What a server takes that is run with these settings.

    Args:
        setting: the environment variable ``ODCONV_UPLOADS``: MiB of a file, 0 for none; None where it is not set.
        address: where the server listens, ``server.address``; None: everywhere.
        origin: the site that the visitor's browser shows, such as ``http://localhost:8501``; None where it does not say so.
    """
    if setting is not None:
        if not (setting.isascii() and setting.isdigit() and len(setting) < 10):
            return Permit(0, "mine.off_unread")
        megabytes = min(int(setting), MAX_BYTES // MIB)
        return Permit(megabytes, "" if megabytes else "mine.off_chosen")
    # Behind a proxy, a server that listens to this machine alone is public all the same; browsers say by what name.
    alone = is_this_machine(address) and (origin is None or is_this_machine(_host(origin)))
    return Permit(AT_HOME) if alone else Permit(0, "mine.off_public")


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).hostname
    except ValueError:
        return None


def is_this_machine(address: str | None) -> bool:
    """Whether an address or name, such as ``server.address``, is reached from this machine alone."""
    return address is not None and address.lower() in ("localhost", "127.0.0.1", "::1", "[::1]")


# --- what all take together ---------------------------------------------------------------------------------------------

BUDGET = Budget("mine.full")  # on the disk while files come, and in memory afterwards


# --- where they come to -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parcel:
    """A checkpoint that came whole."""

    weights: Path
    with_card: bool  # whether its card lies beside it
    share: Share

    def delete(self) -> None:
        """Delete the files; the share stays for as long as it is held."""
        shutil.rmtree(self.weights.parent, ignore_errors=True)


@dataclass(eq=False)
class Inbox:
    """What one visitor has brought: a checkpoint that no page has opened yet, and the network of the last one that was good.

    It goes with the session, and its files with it.
    """

    language: str  # of its refusals
    most: int  # bytes of a file; 0: none is taken
    parcel: Parcel | None = None
    card: Path | None = None  # that came before its weights
    receiving: bool = False
    network: Engine | None = None
    refused: SayableError | None = None  # why the last checkpoint was not opened
    round: int = 0  # how many were opened or refused
    _folders: list[Path] = field(default_factory=list, repr=False)  # that files came into

    def check(self, name: str, size: int) -> str:
        """The name under which a file of ``size`` bytes would be taken now.

        Raises:
            SayableError: it would not be.
        """
        name = file_name(name)
        if self.most == 0:
            raise SayableError("mine.closed")
        if not name.endswith((CARD, *SUFFIXES)):
            raise CheckpointError("checkpoint.ending", file=printable(name), endings=", ".join(SUFFIXES))
        most = card.MAX_BYTES if name.endswith(CARD) else self.most
        if size > most:
            raise SayableError("mine.large", file=printable(name), size=f"{size / MIB:,.1f}", most=f"{most / MIB:g}")
        if self.receiving:
            raise SayableError("mine.receiving")
        return name

    async def take(self, name: str, size: int, parts: AsyncIterator[bytes], with_card: bool) -> None:
        """Write a file of ``size`` bytes as its ``parts`` come. Weights come last, and take the place of those before.

        Args:
            with_card: of weights, whether the card that came before belongs to them.

        Raises:
            SayableError: it is not taken.
        """
        name = self.check(name, size)
        is_card = name.endswith(CARD)
        if not is_card and (before := self.claim()):
            before.delete()
        if is_card or not with_card:
            self._drop_card()
        share = None if is_card else reserve(size, self.most)
        self.receiving, folder = True, None
        try:
            # In a folder of its own: what a network was read from may still be mapped into memory.
            folder = self._new_folder()
            await _write(folder / name, size, parts)
            if share is None:
                self.card = folder / name
            else:
                if self.card:
                    self.card.rename((folder / name).with_suffix(CARD))
                self.parcel = Parcel(folder / name, self.card is not None, share)
                self._drop_card()
        except BaseException as error:
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
            if share:
                share.release()  # whoever keeps the error keeps all that was at hand
            if isinstance(error, OSError):
                log.exception("a checkpoint could not be written")
                raise SayableError("mine.no_disk") from error
            raise
        finally:
            self.receiving = False

    def claim(self) -> Parcel | None:
        """The checkpoint that came, which is the caller's to delete; the inbox has none then."""
        parcel, self.parcel = self.parcel, None
        return parcel

    def _drop_card(self) -> None:
        if self.card:
            shutil.rmtree(self.card.parent, ignore_errors=True)
        self.card = None

    def _new_folder(self) -> Path:
        """A folder that nobody else on the machine may look into."""
        folder = Path(tempfile.mkdtemp(prefix="odconv-"))
        self._folders.append(folder)
        finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    def empty(self) -> None:
        """Delete all files that came."""
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)


def reserve(size: int, most: int) -> Share:
    """Room for a file of ``size`` bytes, twice: for itself and for the network that it becomes.

    Raises:
        SayableError: there is none.
    """
    return BUDGET.take(2 * size, TOGETHER * most)


def file_name(name: str) -> str:
    """A name for a file that is fit for every disk and page, and as much like ``name`` as can be.

    Example:
        >>> file_name("../runs/<b>net</b>.pth")
        'b_.pth'
    """
    last = re.split(r"[\\/]", name)[-1]
    name = re.sub(r'[<>:"|?*]', "_", printable(last, len(last))).strip(" .")
    stem, dot, ending = name.rpartition(".")
    if not dot:
        stem, ending = name, ""
    return (_shorten(stem, LONGEST_NAME) or "_") + dot + _shorten(ending, 20)


def _shorten(text: str, most: int) -> str:
    """The beginning of ``text`` that takes ``most`` bytes in UTF-8."""
    return text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")


async def _write(path: Path, size: int, parts: AsyncIterator[bytes]) -> None:
    """Write exactly ``size`` bytes.

    Raises:
        SayableError: more or fewer came, or none for too long.
        OSError: the disk does not take them.
    """
    came, waiting = 0, bytearray()
    file = await asyncio.to_thread(path.open, "wb")
    try:
        async with asyncio.timeout(STALLED + size / SLOWEST):
            while True:
                async with asyncio.timeout(STALLED):
                    part = await anext(parts, None)
                if part is None:
                    break
                came += len(part)
                if came > size:
                    raise SayableError("mine.broken_off")
                waiting += part
                if len(waiting) >= PIECE:
                    await asyncio.to_thread(file.write, bytes(waiting))
                    waiting.clear()
            await asyncio.to_thread(file.write, bytes(waiting))
    except TimeoutError as error:
        raise SayableError("mine.broken_off") from error
    finally:
        await asyncio.to_thread(file.close)
    if came < size:
        raise SayableError("mine.broken_off")


# --- the door -------------------------------------------------------------------------------------------------------------

_open: WeakValueDictionary[str, Inbox] = WeakValueDictionary()  # by session, for as long as that keeps it


def open_inbox(session: str, language: str, most: int) -> Inbox:
    """The inbox of the session that the page is run in, for files of up to ``most`` bytes; ``session``: ``connection.session()``."""
    inbox: Inbox = st.session_state.setdefault("inbox", Inbox(language, most))
    inbox.language, inbox.most = language, most
    _open[session] = inbox
    return inbox


def empty_all() -> None:
    """Delete all files that came, when the server ends."""
    for inbox in list(_open.values()):
        inbox.empty()


def path() -> str:
    """The path of the address that files are sent to."""
    return redraw.path().removesuffix("redraw") + "checkpoint-file"


def routes() -> list[Route]:
    """What the server answers besides pages."""
    return [Route(path(), answer, methods=["POST"])]


async def answer(request: Request) -> Response:
    """Take a file, or, where there is ``ask`` in the query, say whether it would be taken.

    The query: ``name``; ``bytes``; ``card``, where a card that came before belongs to it. The session's name, which nobody
    else knows, is in a header that no page of another site can send.

    204: yes. 400: it is no such request. 404: no inbox is open for the session. 422: no, as {refused: why} says.
    """
    inbox = _open.get(request.headers.get("x-odconv-session", ""))
    query = request.query_params
    if inbox is None:
        return Response(status_code=404)
    if not re.fullmatch("[0-9]{1,15}", query.get("bytes", "")) or not query.get("name"):
        return Response(status_code=400)
    name, size = query["name"], int(query["bytes"])
    try:
        if "ask" in query:
            inbox.check(name, size)
            if not file_name(name).endswith(CARD):
                reserve(size, inbox.most).release()
        else:
            await inbox.take(name, size, request.stream(), "card" in query)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody reads it
    except SayableError as error:
        log.warning("checkpoint not taken: %s", str(error))
        body = orjson.dumps({"refused": error.say(inbox.language)})
        return Response(body, status_code=422, media_type="application/json")
    return Response(status_code=204)
