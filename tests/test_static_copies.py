"""Streamlit's own files are answered from memory as Streamlit answers them, and nothing else is."""

from pathlib import Path

import pytest
from streamlit import file_util
from streamlit.web.server.starlette.starlette_static_routes import create_streamlit_static_handler

from odconv.ui import static_copies
from odconv.ui.static_copies import StaticCopies
from tests.asgi import ask

FOLDER = Path(file_util.get_static_dir())
FILE = "/" + next((FOLDER / "static" / "js").glob("index.*.js")).relative_to(FOLDER).as_posix()


@pytest.fixture
def asked():
    """(the middleware in front of Streamlit's files, the paths that Streamlit was asked for)."""
    files, paths = create_streamlit_static_handler(str(FOLDER), ""), []

    async def app(scope, receive, send):
        paths.append(scope["path"])
        await files(scope, receive, send)

    return StaticCopies(app), paths


def test_a_file_is_read_once_and_every_answer_is_the_same(asked):
    app, paths = asked
    first, second = ask(app, FILE), ask(app, FILE)
    assert paths == [FILE]
    assert (first.status, first.headers, first.body) == (second.status, second.headers, second.body)
    assert second.status == 200
    assert second.body == (FOLDER / FILE[1:]).read_bytes()
    assert int(second.headers["content-length"]) == len(second.body)
    assert "immutable" in second.headers["cache-control"]


@pytest.mark.parametrize("path", ["/", "/index.html", "/static/js/none.js", "/static/js/../../index.html"])
def test_what_may_change_and_what_is_not_there_is_not_kept(asked, path):
    app, paths = asked
    for _ in range(2):
        ask(app, path)
    assert len(paths) == 2
    assert app.copies == {}


def test_a_part_and_a_file_that_a_browser_has_are_answered_by_streamlit(asked):
    app, paths = asked
    whole = ask(app, FILE)
    assert ask(app, FILE, headers={"Range": "bytes=0-9"}).status == 206
    assert ask(app, FILE, headers={"If-None-Match": whole.headers["etag"]}).status == 304
    assert ask(app, FILE, method="HEAD").body == b""
    assert len(paths) == 4
    assert app.copies[FILE].body == whole.body


def test_copies_take_no_more_than_there_is_room_for(asked, monkeypatch):
    app, paths = asked
    monkeypatch.setattr(static_copies, "MOST", 1000)
    for _ in range(2):
        assert ask(app, FILE).status == 200
    assert len(paths) == 2
    assert app.size == 0
