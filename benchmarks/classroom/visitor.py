"""A visitor without a browser: speaks with the server as Streamlit's own page and this app's widgets do.

A page is a WebSocket on which the browser says what was clicked, and the server sends what is to be drawn: protobuf both ways.
Steps of a drag are requests of their own (``odconv/ui/redraw.py``), and a photo is put to an address that the server names.
What a figure is drawn from comes as JSON: ``notice`` gets all of it.
"""

from __future__ import annotations

import asyncio
import gzip
import http.client
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any
from urllib.parse import urlsplit

import orjson
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

MOST_BUSY = 10  # times that a page says so, one after another
LIMIT = 60.0  # seconds after which an action is taken for lost
# As in odconv/ui/components/pacing.js and dials.js, in seconds.
LEAST_GAP, PATIENCE, AGAIN = 0.05, 1.5, 0.2
NOT_YET = (404, 429, 503)
TO_ITS_END = (ForwardMsg.FINISHED_SUCCESSFULLY, ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY)  # of a run
FIGURES = ("prediction", "glance", "layer")  # of Explore, that follow a dial

Notice = Callable[[str, Any], None]  # key of a figure, its data


class LostError(Exception):
    """The server did not do what a visitor asked for; says what."""


class Visitor:
    """One visitor's page. Everything is asked for one after another.

    Args:
        url: of the server, with a slash at its end.
        threads: in which requests besides the WebSocket wait.
        notice: gets the data of every figure that the visitor is shown.
    """

    def __init__(self, url: str, threads: Executor, notice: Notice) -> None:
        self.url, self.threads, self.notice = url, threads, notice
        self.address = urlsplit(url)
        self.http: http.client.HTTPConnection | None = None
        self.socket: ClientConnection | None = None
        self.cookies: dict[str, str] = {}  # which also keep this visitor at one of several processes
        self.session = self.page = self.query = ""
        self.elements: dict[str, Any] = {}  # key of a widget -> its message
        self.data: dict[str, Any] = {}  # key of a component -> what it was drawn from last
        self.fragments: dict[str, str] = {}  # key of a widget -> the part of the page that it runs
        self.states: dict[str, Callable[[Any], None]] = {}  # id of a widget -> what sets its state in a message
        self.seq, self.gap = 0, LEAST_GAP
        self.busy = 0  # how often the page said that it asks again by itself

    # --- the page -----------------------------------------------------------------------------------------------------

    async def open(self, query: str = "") -> None:
        """Fetch the page's own files, as a browser does that has none of them, and have it run."""
        _, page = await self._request("GET", "/")
        for file in re.findall(r'(?:src|href)="\./(static/[^"]+)"', page.decode()):
            await self._request("GET", f"/{file}")
        await self._request("GET", "/_stcore/health")
        await self._request("GET", "/_stcore/host-config")
        self.query = query
        self.socket = await connect(
            f"ws://{self.address.netloc}/_stcore/stream",
            subprotocols=["streamlit", self.cookies.get("_streamlit_xsrf", "")],  # type: ignore[list-item]
            origin=self.url.rstrip("/"),  # type: ignore[arg-type]
            additional_headers={"Cookie": self._cookie()},
            compression=None,
            max_size=None,
        )
        assert self.socket.response
        self._keep_cookies(self.socket.response.headers.get_all("Set-Cookie"))
        await self._rerun()

    async def close(self) -> None:
        """Leave."""
        if self.socket:
            await self.socket.close()
        if self.http:
            self.http.close()

    async def choose(self, key: str, event: str, value: object) -> None:
        """A component's trigger, such as a click on a picture: the page runs."""
        element = self.elements[key]
        name = f"$$STREAMLIT_INTERNAL_KEY_{element.id}__events"
        text = orjson.dumps([{"event": event, "value": value}]).decode()
        await self._rerun(self.fragments[key], once={name: lambda state: setattr(state, "json_trigger_value", text)})

    async def press(self, key: str, option: str) -> None:
        """One of a row of buttons, by its place among the options: the page runs."""
        element = self.elements[key]
        self.states[element.id] = lambda state: state.string_array_value.data.append(option)
        await self._rerun(self.fragments[key])

    def options(self, key: str) -> list[str]:
        """What can be pressed in a row of buttons."""
        return [option.content for option in self.elements[key].options]

    async def upload(self, name: str, data: bytes) -> None:
        """Bring a photo: the page runs."""
        await self.claim(name, len(data), await self.put(name, data))

    async def put(self, name: str, data: bytes) -> Any:
        """Send a photo to the server, of which the page is yet to hear. Returns the addresses that the server gave it."""
        ask = BackMsg()
        ask.file_urls_request.request_id = name
        ask.file_urls_request.file_names.append(name)
        ask.file_urls_request.session_id = self.session
        await self._send(ask)
        answer = await self._hear("file_urls_response")
        urls = answer.file_urls_response.file_urls[0]
        body = (
            f'--odconv\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        ).encode() + data
        body += b"\r\n--odconv--\r\n"
        headers = {
            "Content-Type": "multipart/form-data; boundary=odconv",
            "X-Xsrftoken": self.cookies.get("_streamlit_xsrf", ""),
        }
        status, _ = await self._request("PUT", urls.upload_url, body, headers)
        if status != 204:
            raise LostError(f"the photo was answered with {status}")
        return urls

    async def claim(self, name: str, size: int, urls: Any) -> None:
        """Say that a photo was sent to these addresses: the page runs."""
        key = [key for key in self.elements if key.startswith("uploads-")][-1]
        element = self.elements[key]

        def uploaded(state: Any) -> None:
            info = state.file_uploader_state_value.uploaded_file_info.add()
            info.name, info.size, info.file_id = name, size, urls.file_id
            info.file_urls.CopyFrom(urls)

        await self._rerun(self.fragments[key], once={element.id: uploaded})

    # --- dials ----------------------------------------------------------------------------------------------------------

    async def drag(self, id: str, path: Sequence[float], seconds: float, moved: Callable[[float], None]) -> list[float]:
        """Drag a dial along ``path`` for ``seconds`` and hold it.

        ``moved`` hears where it stands before the figures there come. Returns how long each step waited for its figures.
        """
        began, waits, waited_since = time.perf_counter(), [], None
        last = len(path) - 1
        while (now := time.perf_counter()) - began < seconds:
            value = path[min(last, int(len(path) * (now - began) / seconds))]
            self.seq += 1
            asked = {
                "changes": {id: value},
                "released": False,
                "seq": self.seq,
                "session": self.data["dials"]["session"],
            }
            waited_since = waited_since or now
            try:
                status, body = await asyncio.wait_for(self._post(self.data["dials"]["redraw"], asked), PATIENCE)
            except TimeoutError:
                continue  # what is turned to meanwhile is asked for, and the answer to this is not looked at
            if status == 200:
                waits.append(time.perf_counter() - waited_since)
                waited_since = None
                moved(value)
                for key, figure in orjson.loads(body).items():
                    self.notice(key, figure)
            elif status not in NOT_YET:
                raise LostError(f"a step of a drag was answered with {status}")
            await asyncio.sleep(AGAIN if status != 200 else max(0.0, self.gap - (time.perf_counter() - now)))
        return waits

    async def release(self, changes: Mapping[str, float]) -> float:
        """Let go of the dial: the page runs. Returns how many seconds passed until the figures had come."""
        dials = self.elements["dials"]
        self.seq += 1
        turned = {"changes": changes, "released": True, "seq": self.seq, "session": self.data["dials"]["session"]}
        text = orjson.dumps({"turned": turned}).decode()
        self.states[dials.id] = lambda state: setattr(state, "json_value", text)
        began = time.perf_counter()
        came = await self._rerun(self.fragments["dials"])
        return max(came[key] for key in FIGURES) - began

    # --- messages ---------------------------------------------------------------------------------------------------------

    async def _rerun(
        self, fragment: str = "", once: Mapping[str, Callable[[Any], None]] | None = None
    ) -> dict[str, float]:
        """Say what the widgets are at, and wait until the page has been run. Returns when each figure came."""
        message = BackMsg()
        client = message.rerun_script
        client.query_string, client.page_script_hash, client.fragment_id = self.query, self.page, fragment
        client.context_info.timezone, client.context_info.locale, client.context_info.url = "UTC", "en", self.url
        for id, put in {**self.states, **(once or {})}.items():
            state = client.widget_states.widgets.add()
            state.id = id
            put(state)
        self.came: dict[str, float] = {}
        self.drawn: list[tuple[str, Any]] = []  # key and data of each figure of this run
        self.again: tuple[float, str] | None = None  # s after which a part of the page asks again by itself, and its id
        await self._send(message)
        await self._hear("script_finished")
        if self.again:  # the page has said that its figures are those of before
            wait, part = self.again
            self.busy += 1
            if self.busy > MOST_BUSY:
                raise LostError("the network was busy for too long")
            await asyncio.sleep(wait)
            return await self._rerun(part)
        self.busy = 0
        for key, data in self.drawn:
            self.notice(key, data)
        return self.came

    async def _send(self, message: BackMsg) -> None:
        assert self.socket
        await self.socket.send(message.SerializeToString())

    async def _hear(self, wanted: str) -> ForwardMsg:
        """Take in what the server sends until a message of the type ``wanted``; of a run, until it was one to its end."""
        assert self.socket
        async with asyncio.timeout(LIMIT):
            while True:
                message = ForwardMsg()
                message.ParseFromString(await self.socket.recv())  # type: ignore[arg-type]
                self._take(message)
                if message.WhichOneof("type") == wanted and (
                    wanted != "script_finished" or message.script_finished in TO_ITS_END
                ):
                    return message

    def _take(self, message: ForwardMsg) -> None:
        kind = message.WhichOneof("type")
        if kind == "new_session":
            self.session = message.new_session.initialize.session_id or self.session
            self.page = message.new_session.page_script_hash
        elif kind == "page_info_changed":
            self.query = message.page_info_changed.query_string
        elif kind == "auto_rerun":
            self.again = (message.auto_rerun.interval, message.auto_rerun.fragment_id)
        elif kind == "session_event" and message.session_event.WhichOneof("type") == "script_compilation_exception":
            raise LostError("the page cannot be compiled")
        elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            self._draw(message.delta.new_element, message.delta.fragment_id)

    def _draw(self, drawn: Any, fragment: str) -> None:
        kind = drawn.WhichOneof("type")
        element = getattr(drawn, kind)
        if kind == "exception":
            raise LostError(f"the page shows an error: {element.type}: {element.message}")
        key = re.sub("^\\$\\$ID-[0-9a-f]+-", "", getattr(element, "id", "")).rstrip()
        if not key:
            return
        before = self.elements.pop(key, None)  # so that the last one is at the end
        if before is not None and before.id != element.id:  # another widget has taken its place, see ``view.bind``
            self.states.pop(before.id, None)
        self.elements[key], self.fragments[key] = element, fragment
        if kind == "bidi_component":
            self.came[key] = time.perf_counter()
            self.states.setdefault(element.id, lambda state: setattr(state, "json_value", "{}"))
            self.data[key] = orjson.loads(element.json)
            self.drawn.append((key, self.data[key]))

    # --- requests -----------------------------------------------------------------------------------------------------------

    async def _post(self, path: str, sent: object) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json", "Origin": self.url.rstrip("/")}
        return await self._request("POST", path, orjson.dumps(sent), headers)

    async def _request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of an answer, over a connection that is kept."""
        sent = {"Accept-Encoding": "gzip", **(headers or {}), **({"Cookie": self._cookie()} if self.cookies else {})}
        return await asyncio.get_running_loop().run_in_executor(
            self.threads, self._request_now, method, path, body, sent
        )

    def _request_now(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        assert self.address.hostname
        kept, self.http = self.http, None  # another request may begin before this one's answer has come
        try:
            if kept is None:
                raise ConnectionError
            kept.request(method, path, body, headers)
            answer = kept.getresponse()
        except ConnectionError:  # there is none, or the server has closed it, which it does after some seconds
            kept = http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=LIMIT)
            kept.request(method, path, body, headers)
            answer = kept.getresponse()
        data = answer.read()
        self.gap = float(answer.getheader("Odconv-Gap", 1e3 * LEAST_GAP)) / 1e3
        self._keep_cookies(answer.headers.get_all("Set-Cookie", []))
        if self.http is None:
            self.http = kept
        else:
            kept.close()
        return answer.status, gzip.decompress(data) if answer.getheader("Content-Encoding") == "gzip" else data

    def _keep_cookies(self, sent: Sequence[str]) -> None:
        for cookie in sent:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value

    def _cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())
