"""What a gone visitor left is freed, whoever else comes or not."""

import tomllib
import urllib.request
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue
from streamlit.runtime.fragment import MemoryFragmentStorage
from streamlit.runtime.media_file_manager import MediaFileManager
from streamlit.runtime.memory_media_file_storage import MemoryMediaFileStorage
from streamlit.runtime.memory_session_storage import MemorySessionStorage
from streamlit.runtime.session_manager import SessionInfo
from streamlit.runtime.state import SessionState
from streamlit.web.server.starlette import starlette_server

from odconv.ui import keeping, lifetime, memory
from odconv.ui.memo import Memo
from tests.browser.server import Server
from tests.loops import finish

CONFIG = Path(__file__).parents[1] / ".streamlit" / "config.toml"


class Session:
    """A gone visitor's session, as far as Streamlit's storage and the sweep know it."""

    def __init__(self, id, picture):
        self.id, self.ended, self.itself = id, False, self  # a cycle, as the real one is part of
        self.session_state = SessionState()
        self.session_state["picture"] = picture
        self._fragment_storage = MemoryFragmentStorage()
        self._fragment_storage.register("stage", lambda: picture)
        self._browser_queue = ForwardMsgQueue()

    def shutdown(self):
        self.ended = True


def runtime_with(seconds, *sessions):
    storage = MemorySessionStorage(ttl_seconds=seconds)
    for session in sessions:
        storage.save(SessionInfo(client=None, session=session))
    media = MediaFileManager(MemoryMediaFileStorage("/media"))
    return SimpleNamespace(
        _session_mgr=SimpleNamespace(_session_storage=storage, list_active_sessions=list), media_file_mgr=media
    )


def test_an_overdue_session_is_ended_and_what_it_holds_is_let_go():
    picture = Image.new("RGB", (8, 8))
    session, seen = Session("gone", picture), weakref.ref(picture)
    del picture
    runtime = runtime_with(0, session)
    assert lifetime.sweep(runtime) == 1
    assert session.ended
    assert seen() is None
    assert lifetime.sweep(runtime) == 0


def test_the_session_itself_is_let_go_also_the_last_one():
    sessions = [Session("gone", b""), Session("gone, too", b"")]
    seen, runtime = list(map(weakref.ref, sessions)), runtime_with(0, *sessions)
    del sessions
    lifetime.sweep(runtime)
    assert [one() for one in seen] == [None, None]


@pytest.mark.parametrize(("others", "kept"), [([], []), (["away"], ["an hour"])], ids=["nobody", "somebody"])
def test_views_go_with_a_visitor_and_answers_with_the_last_one(monkeypatch, others, kept):
    memos = {"a minute": (60.0, Memo(100)), "an hour": (3600.0, Memo(100))}
    for seconds, memo in memos.values():
        memo.get("key", seconds, lambda: "kept")
    there = lambda: [name for name, (_, memo) in memos.items() if memo.get("key", 0.0, lambda: "") == "kept"]  # noqa: E731
    monkeypatch.setattr(keeping, "_kept_for_all", list(memos.values()))
    runtime = runtime_with(0, Session("gone", b""))
    runtime._session_mgr.list_active_sessions = lambda: [SimpleNamespace(session=Session(id, b"")) for id in others]
    lifetime.sweep(runtime)
    assert there() == kept
    lifetime.sweep(runtime)  # nobody has gone since
    assert there() == kept


def test_a_session_that_may_still_come_back_is_left_alone():
    session = Session("away", bytes(1000))
    runtime = runtime_with(100, session)
    assert lifetime.sweep(runtime) == 0
    assert not session.ended
    assert session.session_state["picture"] == bytes(1000)
    assert runtime._session_mgr._session_storage.get("away").session is session


def test_a_file_that_a_page_adds_when_its_session_has_ended_is_let_go():
    runtime = runtime_with(100, Session("away", b""))
    media = runtime.media_file_mgr
    for id in ("away", "gone"):
        media._files_by_session_and_coord[id]["icon"] = "file"
    lifetime.sweep(runtime)
    assert set(media._files_by_session_and_coord) == {"away"}


def test_a_visitor_who_was_lost_without_a_word_is_forgotten_within_the_three_minutes_that_the_page_promises():
    kept = tomllib.loads(CONFIG.read_text())["server"]["disconnectedSessionTTL"]
    noticed = starlette_server.DEFAULT_WEBSOCKET_PING_INTERVAL + starlette_server.DEFAULT_WEBSOCKET_PING_TIMEOUT
    assert noticed + kept + kept / lifetime.SWEEPS <= 180


# --- where the server listens, and whom it asks --------------------------------------------------------------------

LISTEN = "0A"  # in /proc/net/tcp
RECORD = """
import sys
def record(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        with open({path!r}, "a") as file:
            print(event, arguments[1 if event == "socket.connect" else 0], file=file)
sys.addaudithook(record)
"""


def listening(port):
    """The addresses, in the hexadecimal of /proc, at which a port of this machine can be reached."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:] if Path(table).exists() else []:
            address, _, number = line.split()[1].partition(":")
            if int(number, 16) == port and line.split()[3] == LISTEN:
                found.add(address)
    return found


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's list of sockets")
@pytest.mark.parametrize(
    ("options", "addresses"),
    [([], {"0100007F"}), (["--server.address", "0.0.0.0"], {"00000000"})],
    ids=["by default", "for a class"],
)
def test_the_server_listens_on_this_machine_alone_unless_told_otherwise_and_asks_no_other_one(
    tmp_path, options, addresses
):
    record = tmp_path / "record.txt"
    (tmp_path / "sitecustomize.py").write_text(RECORD.format(path=str(record)))
    with Server(options=options, PYTHONPATH=str(tmp_path)) as server:
        urllib.request.urlopen(server.url)
        assert listening(server.port) == addresses
    asked = record.read_text() if record.exists() else ""
    assert [line for line in asked.splitlines() if "127.0.0.1" not in line and "localhost" not in line] == []


def test_a_server_sets_up_its_memory_before_its_first_visitor(monkeypatch):
    done = []
    monkeypatch.setattr(memory, "keep_freed", lambda: done.append("keep freed"))
    monkeypatch.setattr(memory, "set_modules_aside", lambda: done.append("set modules aside"))
    monkeypatch.setattr(lifetime.Runtime, "instance", SimpleNamespace)

    async def serve():
        async with lifetime.sweeping(None):
            done.append("visitors")

    finish(serve())
    assert done == ["keep freed", "set modules aside", "visitors"]
