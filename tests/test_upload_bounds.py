"""Photos that were sent and not yet read: how many there may be, of one visitor and of all, and what refusing one costs."""

import asyncio
import uuid
from types import SimpleNamespace

import pytest
import streamlit as st
from starlette.applications import Starlette
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec
from streamlit.web.server.starlette import starlette_routes

from odconv.ui import upload_bounds
from odconv.ui.budget import MIB
from odconv.ui.upload_bounds import LEAST, OF_ONE, TOGETHER, UploadBounds
from tests.asgi import ask

LARGEST = 1  # MiB of a file, here
OTHERS = [f"other {i}" for i in range(TOGETHER)]


class Session:
    """A visitor's session that is there."""

    def __init__(self):
        self.runs, self._client_state = 0, "as it was"

    def request_rerun(self, state):
        assert state == "as it was"
        self.runs += 1


@pytest.fixture
def server(monkeypatch):
    """Streamlit's own upload route behind the bounds; ``sessions`` are there."""
    sessions = {name: Session() for name in ("mine", *OTHERS)}
    manager = MemoryUploadedFileManager("/_stcore/upload_file")
    runtime = SimpleNamespace(
        uploaded_file_mgr=manager,
        is_active_session=sessions.__contains__,
        _session_mgr=SimpleNamespace(
            get_active_session_info=lambda id: SimpleNamespace(session=sessions[id]) if id in sessions else None
        ),
    )
    monkeypatch.setattr(upload_bounds.Runtime, "instance", lambda: runtime)
    monkeypatch.setattr(upload_bounds.Runtime, "exists", lambda: True)
    monkeypatch.setattr(starlette_routes, "is_xsrf_enabled", lambda: False)
    asked = st.get_option
    monkeypatch.setattr(st, "get_option", lambda name: LARGEST if name == "server.maxUploadSize" else asked(name))
    app = Starlette(routes=starlette_routes.create_upload_routes(runtime, manager, ""))
    yield SimpleNamespace(app=UploadBounds(app), manager=manager, sessions=sessions)
    assert upload_bounds._coming.taken == 0
    assert not upload_bounds._coming_from


def send(server, data=b"", session="mine", length=None, parts=None):
    """What the server answers to a photo, sent as a browser sends it."""
    head = b'--x\r\nContent-Disposition: form-data; name="f"; filename="f.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    body = [head + data, b"\r\n--x--\r\n"] if parts is None else parts
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    if length is not None:
        headers["Content-Length"] = str(length)
    elif parts is None:
        headers["Content-Length"] = str(sum(map(len, body)))
    path = f"/_stcore/upload_file/{session}/{uuid.uuid4()}"
    return ask(server.app, path, method="PUT", headers=headers, body=body)


def fill(server, session, count=OF_ONE, data=bytes(LARGEST * MIB)):
    for i in range(count):
        server.manager.add_file(session, UploadedFileRec(f"{session} {i}", "f.jpg", "image/jpeg", data))


def test_a_photo_lands_and_its_room_is_free_again_when_it_has_been_read(server):
    for _ in range(3 * OF_ONE):
        assert send(server, bytes(900_000)).status == 204
        server.manager.remove_session_files("mine")


def test_one_visitor_who_reads_none_of_sixty_files_fills_only_that_visitors_room(server):
    answers = [send(server, bytes(1_000_000)).status for _ in range(60)]
    landed = answers.count(204)
    assert answers == [204] * landed + [413] * (60 - landed)
    assert OF_ONE <= landed < OF_ONE * LARGEST * MIB / 1_000_000
    assert server.manager._total_bytes <= OF_ONE * LARGEST * MIB
    assert send(server, bytes(1_000_000), OTHERS[0]).status == 204


def test_nothing_of_a_refused_photo_is_read(server):
    fill(server, "mine")
    assert send(server, bytes(900_000)).read == []


def test_all_together_have_a_bound_too(server):
    for other in OTHERS:
        fill(server, other)
    assert send(server, b"a photo").status == 413
    assert upload_bounds.refusal("mine").key == "source.server_full"
    server.manager.remove_session_files(OTHERS[0])
    assert send(server, b"a photo").status == 204


def test_photos_that_are_on_their_way_count_and_so_do_those_that_do_not_say_how_large_they_are(server):
    fill(server, "mine", OF_ONE - 1)
    inner = []

    async def meanwhile():
        inner.append(await asyncio.to_thread(lambda: send(server, b"another").status))
        return b""

    assert send(server, parts=[meanwhile]).status == 400  # nothing came of it in the end
    assert inner == [413]
    assert send(server, b"another").status == 204


def test_empty_files_count_too(server):
    for _ in range(3):
        assert send(server).status == 204
    most = OF_ONE * LARGEST * MIB // LEAST
    fill(server, "mine", most - 3, b"")
    assert send(server).status == 413


def test_a_page_is_run_once_for_all_its_refused_photos_and_can_say_why(server):
    fill(server, "mine")
    for _ in range(5):
        assert send(server, bytes(900_000)).status == 413
    assert server.sessions["mine"].runs == 1
    assert upload_bounds.refusal("mine").key == "source.no_room"
    assert upload_bounds.refusal("mine") is None
    assert upload_bounds.refusal("nobody's") is None


def test_a_session_that_is_not_there_takes_no_room_and_is_refused_by_streamlit(server):
    for other in OTHERS:
        fill(server, other)
    answer = send(server, bytes(900_000), "nobody's")
    assert (answer.status, answer.read) == (400, [])


def test_a_photo_that_comes_too_slowly_gives_up_its_room(server, monkeypatch):
    monkeypatch.setattr(upload_bounds, "STALLED", 0.05)
    monkeypatch.setattr(upload_bounds, "SLOWEST", 2**40)

    async def never():
        await asyncio.sleep(20)
        return b""

    answer = send(server, parts=[b"--x\r\n", never])
    assert answer.status == 408
    assert answer.headers["connection"] == "close"
