"""What visitors leave behind: 500 photos in one session, then 100 sessions that come, bring a photo and go.

    python benchmarks/sessions.py
    python benchmarks/sessions.py --uploads 50 --sessions 10
    python benchmarks/sessions.py --floors                 exits 1 where memory does not return to within 10 %, or something is kept
    python benchmarks/sessions.py --table                  writes the table into docs/scaling.md, too

Visitors have no browser (``classroom/visitor.py``). The server forgets who has gone after 4 seconds instead of 120. Memory is that
of its process, resident, once it has had time to forget; the first row is after a few visitors whose like have come and gone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.classroom.visitor import Visitor  # noqa: E402
from tests.browser.server import Server  # noqa: E402

NETWORK = "od_resnet18_w32_4x_tiny_imagenet.safetensors"
TABLE = ROOT / "docs" / "scaling.md"
KEPT = 4  # seconds that the server waits for a visitor who has gone
TOLERANCE = 0.10
WARM = (3, 12)  # visitors before the first row, and photos of each

# Read by the server's process as it starts: at a signal it writes down what it holds.
COUNT = """
import gc, json, os, signal
def count(*_):
    from odconv.ui.pictures import Picture
    from streamlit.runtime import Runtime
    from streamlit.runtime.app_session import AppSession
    runtime, objects = Runtime.instance(), gc.get_objects()
    storage, files = runtime._session_mgr._session_storage.list(), runtime.uploaded_file_mgr.file_storage
    held = {{
        "sessions": len(runtime._session_mgr.list_active_sessions()) + len(storage),
        "states": sum(type(one) is AppSession for one in objects),
        "files": sum(map(len, files.values())),
        "pictures": sum(type(one) is Picture and len(one.digest) == 64 for one in objects),
    }}
    with open({path!r} + ".new", "w") as file:
        json.dump(held, file)
    os.replace({path!r} + ".new", {path!r})
signal.signal(signal.SIGUSR1, count)
"""


@dataclass(frozen=True)
class Held:
    """What a server holds of its visitors."""

    sessions: int
    states: int  # sessions in memory, remembered or not
    files: int  # that came and were not read
    pictures: int  # that visitors brought

    @property
    def nothing(self) -> bool:
        """Whether all was freed. Streamlit's own loop keeps the emptied record of the session that it served last."""
        return (self.sessions, self.files, self.pictures) == (0, 0, 0) and self.states <= 1


class CountedServer(Server):
    """A server that soon forgets visitors, and says what it holds. ``folder``: for its own use."""

    def __init__(self, folder: Path, seconds: int = KEPT) -> None:
        self.counted = folder / "held.json"
        (folder / "sitecustomize.py").write_text(COUNT.format(path=str(self.counted)))
        options = ["--server.disconnectedSessionTTL", str(seconds)]
        super().__init__(folder / "log", options, PYTHONPATH=str(folder), ODCONV_MODEL=NETWORK)

    def held(self) -> Held:
        """What is held now."""
        self.counted.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        for _ in range(600):
            if self.counted.exists():
                return Held(**json.loads(self.counted.read_text()))
            time.sleep(0.1)
        raise RuntimeError("the server did not say what it holds within a minute")

    async def forget(self) -> Held:
        """What is held once everybody has gone and been forgotten, or after a minute."""
        for _ in range(60):
            held = self.held()
            if held.nothing:
                return held
            await asyncio.sleep(1)
        return held

    async def settled_megabytes(self) -> float:
        """Resident size, MiB: the least of a few seconds."""
        found = []
        for _ in range(5):
            found.append(self.resident_megabytes())
            await asyncio.sleep(1)
        return min(found)


def draw_photo(number: int) -> bytes:
    """A photo that is like no other, 800 x 600 px, as JPEG."""
    pixels = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).resize((800, 600), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


@asynccontextmanager
async def visitor(server: Server, threads: ThreadPoolExecutor) -> AsyncIterator[Visitor]:
    """A visitor on Explore who is about to bring photos, for as long as the ``with`` block lasts."""
    one = Visitor(server.url, threads, lambda key, data: None)
    try:
        await one.open()
        await one.press("source", one.options("source")[1])
        yield one
    finally:
        await one.close()


async def visit(server: Server, threads: ThreadPoolExecutor, first: int, photos: int) -> None:
    """One who comes, brings ``photos``, from number ``first`` on, and goes."""
    async with visitor(server, threads) as one:
        for number in range(first, first + photos):
            await one.upload(f"{number}.jpg", draw_photo(number))


async def measure(server: CountedServer, uploads: int, sessions: int) -> list[tuple[str, float, Held]]:
    """What it is after, MiB, and what is held then."""
    rows = []

    async def note(what: str) -> None:
        held = await server.forget()
        rows.append((what, await server.settled_megabytes(), held))
        print(rows[-1], file=sys.stderr, flush=True)

    with ThreadPoolExecutor(8) as threads:
        visitors, photos = WARM
        for number in range(visitors):
            await visit(server, threads, 10**6 + 100 * number, photos)
        await note(f"{visitors} visitors with {photos} photos each")
        await visit(server, threads, 0, uploads)
        await note(f"one session with {uploads:,} photos")
        for start in range(0, sessions, 4):  # a few at once
            numbers = range(start, min(start + 4, sessions))
            await asyncio.gather(*(visit(server, threads, 2 * 10**6 + number, 1) for number in numbers))
        await note(f"{sessions:,} sessions with a photo each")
    return rows


def missed(rows: Sequence[tuple[str, float, Held]]) -> list[str]:
    """What did not return, a sentence each."""
    most = (1 + TOLERANCE) * rows[0][1]
    found = [f"{mib:.0f} MiB after {what}, and at most {most:.0f} are allowed" for what, mib, _ in rows if mib > most]
    return found + [f"{held} after {what}" for what, _, held in rows if not held.nothing]


def report(rows: Sequence[tuple[str, float, Held]]) -> str:
    """All that was measured, as Markdown."""
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "streamlit"))
    lines = [
        f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages},"
        f" {date.today()}; {NETWORK}; photos of 800 x 600 px; load at the end: {os.getloadavg()[0]:.1f}",
        "",
        "| after | resident, MiB | to the first | sessions | files | own pictures |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for what, mib, held in rows:
        share = 100 * (mib / rows[0][1] - 1)
        cells = (what, f"{mib:.0f}", f"{share:+.1f} %", held.sessions, held.files, held.pictures)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def write_table(path: Path, text: str) -> None:
    """Put ``text`` between the marks in a document."""
    before, mark, rest = path.read_text(encoding="utf-8").partition("<!-- sessions -->\n")
    if not mark:
        raise ValueError(f"{path}: no place for the table")
    path.write_text(f"{before}{mark}{text}\n<!-- end -->{rest.partition('<!-- end -->')[2]}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uploads", type=int, default=500, help="in one session")
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--floors", action="store_true", help="exit with 1 where something did not return")
    parser.add_argument("--table", action="store_true", help=f"write it into {TABLE.relative_to(ROOT)}, too")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, CountedServer(Path(folder)) as server:
        rows = asyncio.run(measure(server, options.uploads, options.sessions))
    text = report(rows)
    print(text)
    if options.table:
        write_table(TABLE, text)
    found = missed(rows)
    print(*(f"missed: {sentence}" for sentence in found), sep="\n")
    return 1 if options.floors and found else 0


if __name__ == "__main__":
    sys.exit(main())
