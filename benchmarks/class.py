"""A class at once: how long each of N visitors waits, and whether each is shown what was asked for.

    python benchmarks/class.py                          30 visitors, 5 minutes, an action every 5 s
    python benchmarks/class.py --visitors 10 --minutes 1 --pace 2
    python benchmarks/class.py --processes 2            behind HAProxy, as deploy/serve.py starts them
    python benchmarks/class.py --floors                 exits 1 where a floor is missed
    python benchmarks/class.py --table                  writes the table into docs/scaling.md, too

First one visitor alone, for ``--alone`` seconds, then the class at the same server; so all can be read as ratios. Visitors
have no browser: they speak with the server over real WebSockets on this machine, and compute on the same cores. The class
opens evenly within ``--opening`` seconds; each fetches the page's files as an empty browser does. Of ten actions six are a drag of a dial for a
second and its release, two are another picture, one another layer and one a photo of their own. The next action begins when
it is due, or when the one before has been answered.

An action is answered when the page has been run, a step of a drag when its figures have come. "Figures" is how long after a release
those had come that show it. After all of it, every number that was shown is compared with serial passes (``classroom/views.py``).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib.metadata import version
from io import BytesIO
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.classroom import views  # noqa: E402
from benchmarks.classroom.deployment import Deployment, serve  # noqa: E402
from benchmarks.classroom.views import Asked, Views, Wrong  # noqa: E402
from benchmarks.classroom.visitor import Visitor  # noqa: E402
from benchmarks.percentiles import percentile  # noqa: E402
from odconv.checkpoint import load_checkpoint  # noqa: E402

CYCLE = ("drag", "picture", "drag", "layer", "drag", "drag", "photo", "drag", "picture", "drag")
DRAG = 1.0  # s
PHOTOS = 3  # of each visitor's own, brought in turn
MOST_VISITORS, MOST_MINUTES, MOST_PROCESSES = 100, 60, 16
NETWORK = ROOT / "assets" / "weights" / "od_efficientnet_lite0_4x_imagenet.safetensors"
SAMPLES = {
    sample["id"]: ROOT / "assets" / "samples" / sample["file"]
    for sample in json.loads((ROOT / "assets" / "samples" / "samples.json").read_text(encoding="utf-8"))
}
TABLE = ROOT / "docs" / "scaling.md"
# What is measured, in the order of the table, and what the table calls it.
ROWS = {
    "open": "opening the page",
    "step": "a step of a drag",
    "figures": "a release, to its figures",
    "release": "a release, to the whole page",
    "picture": "another picture",
    "layer": "another layer",
    "source": "another source of pictures",
    "photo": "a photo of one's own",
}


@dataclass
class Measured:
    """What a group of visitors met with."""

    waits: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # row -> s, of each action
    rates: list[float] = field(default_factory=list)  # redraws a second, of each drag
    errors: Counter[str] = field(default_factory=Counter)
    views: Views = field(default_factory=Counter)
    visitors: Counter[str] = field(default_factory=Counter)  # at each of several processes
    memory: list[tuple[float, float]] = field(default_factory=list)  # s since it began, MiB of the server's processes
    server: float = 0.0  # s of their processors' time
    clients: float = 0.0  # s of this process's
    seconds: float = 0.0


# --- one visitor ----------------------------------------------------------------------------------------------------------


class Member:
    """One of a class: a visitor with an intention, who knows what is to be seen."""

    def __init__(self, number: int, url: str, threads: ThreadPoolExecutor, measured: Measured) -> None:
        self.number, self.measured = number, measured
        self.random, self.url, self.threads = random.Random(number), url, threads
        self.photos = {f"{number}-{i}.jpg": draw_photo(number, i) for i in range(PHOTOS)}
        self._begin()

    def _begin(self) -> None:
        self.sample, self.own, self.source = next(iter(SAMPLES)), "", "samples"
        self.asked = Asked(self.sample)
        self.visitor = Visitor(self.url, self.threads, self._see)

    async def run(self, wait: float, seconds: float, pace: float) -> None:
        """Open the page after ``wait`` seconds, and act every ``pace`` seconds for ``seconds`` since now.

        Who meets with an error opens the page anew.
        """
        began = time.perf_counter()
        await asyncio.sleep(wait)
        await self._do("open", self.open)
        due = time.perf_counter() + pace * self.random.random()
        for turn in range(self.number, sys.maxsize):
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if time.perf_counter() - began >= seconds:
                break
            due = max(due + pace, time.perf_counter())
            await self.act(CYCLE[turn % len(CYCLE)])
        self.measured.visitors[self.visitor.cookies.get("odconv-process", "")] += 1
        await self.visitor.close()

    async def act(self, action: str) -> None:
        """Do one thing of ``CYCLE``, whatever has to be chosen before."""
        if action == "drag":
            await self._do("release", self.drag)
        elif action == "layer":
            await self._do("layer", self.choose_layer)
        else:
            source = "upload" if action == "photo" else "samples"
            if self.source != source and not await self._do("source", lambda: self.turn_to(source)):
                return
            await self._do(action, self.bring_photo if action == "photo" else self.choose_picture)

    async def open(self) -> None:
        await self.visitor.open()

    async def choose_picture(self) -> None:
        others = [name for name in SAMPLES if name != self.sample]
        self.sample = self.random.choice(others)
        self.asked = self.asked._replace(picture=self.sample)
        await self.visitor.choose("gallery", "picked", self.sample)

    async def turn_to(self, source: str) -> None:
        self.source = source
        picture = self.own if source == "upload" else self.sample
        self.asked = self.asked._replace(picture=picture or "none")
        texts = self.visitor.options("source")
        await self.visitor.press("source", texts[("samples", "upload").index(source)])

    async def bring_photo(self) -> None:
        names = list(self.photos)
        self.own = names[(names.index(self.own) + 1) % len(names) if self.own else 0]
        self.asked = self.asked._replace(picture=self.own)
        await self.visitor.upload(self.own, self.photos[self.own])

    async def choose_layer(self) -> None:
        glance = self.visitor.data["glance"]
        others = [layer["name"] for layer in glance["layers"] if layer["name"] != glance["selected"]]
        layer = self.random.choice(others)
        self.asked = self.asked._replace(layer=layer)
        await self.visitor.choose("glance", "layer", layer)

    async def drag(self) -> None:
        """Drag a dial to another place, hold it, and let go. Of its waiting only that after the release is the action's."""
        dials = self.visitor.data["dials"]["dials"]
        dial = dials[-1] if self.random.random() < 0.2 else dials[0]
        stops, start = dial["stops"], dial["nearest"]
        end = self.random.choice([place for place in range(len(stops)) if place != start])
        step = 1 if end > start else -1
        path = [*stops[start + step : end : step], stops[end]]
        most = dial["stops"][-1] if dial["id"] == "kernels" else None

        def at(value: float) -> None:
            change = (
                {"kernels": None if value == most else value} if dial["id"] == "kernels" else {"temperature": value}
            )
            self.asked = self.asked._replace(**change)

        began = time.perf_counter()
        steps = await self.visitor.drag(dial["id"], path, DRAG, at)
        self.measured.waits["step"] += steps
        self.measured.rates.append(len(steps) / (time.perf_counter() - began))
        at(stops[end])
        self.acted = time.perf_counter()
        self.measured.waits["figures"].append(await self.visitor.release({dial["id"]: stops[end]}))

    async def _do(self, row: str, act: Any) -> bool:
        """Do something, and note how long it took or what went wrong. Whether it was done."""
        self.acted = time.perf_counter()
        try:
            await act()
        except Exception as error:  # whatever it is, it is a visitor's error, and the others go on
            self.measured.errors[f"{row}: {type(error).__name__} {error}".strip()[:200]] += 1
            await self.visitor.close()
            self._begin()
            if row != "open":
                await self._do("open", self.open)
            return False
        self.measured.waits[row].append(time.perf_counter() - self.acted)
        return True

    def _see(self, key: str, data: Any) -> None:
        seen = views.read(key, data, self.asked)
        if seen:
            self.measured.views[seen] += 1


def draw_photo(number: int, turn: int) -> bytes:
    """A photo that nobody else has: gradients under noise, 1280 x 960 px, as JPEG."""
    colours, (y, x) = np.random.default_rng((number, turn)), np.mgrid[:960, :1280] / 960
    slopes = colours.uniform(-160, 160, (2, 3))
    pixels = 128 + x[..., None] * slopes[0] + y[..., None] * slopes[1] + colours.normal(0, 6, (960, 1280, 3))
    buffer = BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


# --- a class --------------------------------------------------------------------------------------------------------------


async def visit(
    server: Deployment, numbers: Sequence[int], opening: float, seconds: float, pace: float
) -> tuple[Measured, dict[str, bytes]]:
    """Let visitors of these ``numbers`` come evenly within ``opening`` seconds, and act. Also their photos, by name."""
    measured = Measured()
    with ThreadPoolExecutor(len(numbers)) as threads:
        members = [Member(number, server.url, threads, measured) for number in numbers]
        began, clients, server_began = time.perf_counter(), time.process_time(), server.processor_seconds()
        watch = asyncio.create_task(_watch_memory(server, measured.memory))
        waits = [opening * i / len(members) for i in range(len(members))]
        await asyncio.gather(*(one.run(wait, seconds, pace) for one, wait in zip(members, waits, strict=True)))
        watch.cancel()
    measured.seconds = time.perf_counter() - began
    measured.server = server.processor_seconds() - server_began
    measured.clients = time.process_time() - clients
    return measured, {name: photo for one in members for name, photo in one.photos.items()}


async def _watch_memory(server: Deployment, noted: list[tuple[float, float]]) -> None:
    began = time.perf_counter()
    while True:
        noted.append((time.perf_counter() - began, server.resident_megabytes()))
        await asyncio.sleep(1)


def check(measured: Iterable[Measured], photos: Mapping[str, bytes], network: Path = NETWORK) -> list[Wrong]:
    """What was shown and is not what a serial pass of ``network`` gives. ``photos``: what visitors brought, by name."""
    pictures = {id: file.read_bytes() for id, file in SAMPLES.items()} | dict(photos)
    shown = sum((one.views for one in measured), Counter())
    parts: dict[str, Views] = defaultdict(Counter)
    for view, times in shown.items():
        parts[view.asked.picture][view] = times
    with ProcessPoolExecutor(max(1, min(len(parts), len(os.sched_getaffinity(0))))) as processes:
        files = [{name: pictures[name]} if name in pictures else {} for name in parts]
        return [
            wrong for found in processes.map(_check_part, parts.values(), files, repeat(network)) for wrong in found
        ]


def _check_part(shown: Views, pictures: Mapping[str, bytes], network: Path) -> list[Wrong]:
    """In a process of its own: as ``views.check``."""
    torch.set_num_threads(1)  # two threads wait for each other at every layer where the cores have other work
    return list(views.check(shown, pictures, _load(network)))


_load = cache(load_checkpoint)


# --- the report -------------------------------------------------------------------------------------------------------------


def by_minute(memory: Sequence[tuple[float, float]]) -> list[float]:
    """Mean MiB in each whole minute."""
    minutes: dict[int, list[float]] = defaultdict(list)
    for second, mebibytes in memory:
        minutes[int(second // 60)].append(mebibytes)
    whole = [minute for minute in minutes if memory[-1][0] >= 60 * (minute + 1) - 2]
    return [sum(minutes[minute]) / len(minutes[minute]) for minute in whole]


def missed(alone: Measured, together: Measured, wrong: Sequence[Wrong]) -> list[str]:
    """The floors that were missed, a sentence each."""
    found = [f"{count} x {error}" for error, count in (alone.errors + together.errors).items()]
    if wrong:
        found.append(f"{sum(one.times for one in wrong)} figures were shown that no serial pass gives")
    for group, name in ((alone, "the single visitor"), (together, "the class")):
        found += [f"{name} did nothing of: {ROWS[row]}" for row in ROWS if not group.waits.get(row)]
    if together.waits.get("release") and alone.waits.get("release"):
        ratio = percentile(together.waits["release"], 95) / percentile(alone.waits["release"], 95)
        if ratio > 6:
            found.append(
                f"a release takes {ratio:.1f} times as long as a single visitor's (p95), and at most 6 are allowed"
            )
    if together.rates and min(together.rates) < 2:
        slow = sum(rate < 2 for rate in together.rates)
        found.append(
            f"{slow} of {len(together.rates)} drags got fewer than 2 redraws a second: {min(together.rates):.2f}"
        )
    if together.waits.get("open") and percentile(together.waits["open"], 95) > 5:
        found.append(f"opening takes {percentile(together.waits['open'], 95):.1f} s (p95), and at most 5 s are allowed")
    minutes = by_minute(together.memory)
    if len(minutes) >= 3 and minutes[-1] > 1.05 * minutes[1]:
        found.append(f"memory grew from {minutes[1]:.0f} MiB in the second minute to {minutes[-1]:.0f} in the last")
    return found


def report(alone: Measured, together: Measured, wrong: Sequence[Wrong], conditions: str) -> str:
    """All that was measured, as Markdown."""
    lines = [
        conditions,
        "",
        "| | alone p50 | p95 | n | class p50 | p95 | n | p50 ratio | p95 ratio |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row, name in ROWS.items():
        one, many = alone.waits.get(row, []), together.waits.get(row, [])
        if one and many:
            times = [(percentile(waits, 50), percentile(waits, 95), len(waits)) for waits in (one, many)]
            cells = [f"{times[i][j]:.2f} s" if j < 2 else f"{times[i][j]:,}" for i in range(2) for j in range(3)]
            ratios = [f"{times[1][j] / times[0][j]:.1f}" for j in range(2)]
            lines.append(f"| {' | '.join([name, *cells, *ratios])} |")
    lines.append("")
    for group, name in ((alone, "alone"), (together, "class")):
        actions = sum(
            len(group.waits.get(row, [])) for row in ("release", "picture", "layer", "source", "photo", "open")
        )
        if group.rates:
            low, middle = min(group.rates), percentile(group.rates, 50)
            lines.append(
                f"* {name}: redraws a second of a drag, median {middle:.1f}, least {low:.1f} (n = {len(group.rates):,})"
            )
        lines.append(
            f"* {name}: {actions:,} actions in {group.seconds:.0f} s; of the processors' time the server took"
            f" {group.server / group.seconds:.2f} s a second, {1e3 * group.server / max(actions, 1):.0f} ms an action;"
            f" the visitors {group.clients / group.seconds:.2f} s a second"
        )
    if len(together.visitors) > 1:
        lines.append(f"* visitors at each process: {', '.join(map(str, sorted(together.visitors.values())))}")
    minutes = ", ".join(f"{mebibytes:.0f}" for mebibytes in by_minute(together.memory)) or "less than a minute"
    lines.append(f"* the server's resident memory, MiB, by minute: {minutes}")
    errors = together.errors + alone.errors
    lines.append(
        f"* errors: {sum(errors.values())}{''.join(f'; {count} x {error}' for error, count in errors.items())}"
    )
    shown = sum((alone.views + together.views).values())
    lines.append(f"* cross-talk: {sum(one.times for one in wrong)} of {shown:,} figures that were shown")
    lines += [f"  * {one.times} x {one.view.figure} of {one.view.asked}: {one.why}" for one in wrong[:10]]
    return "\n".join(lines)


def describe(options: argparse.Namespace) -> str:
    """Where and how it was measured."""
    processor = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "streamlit"))
    processes = "one process" if options.processes == 1 else f"{options.processes} processes behind HAProxy"
    return (
        f"{processor[1] if processor else platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()},"
        f" {packages}, {date.today()}; {options.visitors} visitors, {processes}, {options.minutes:g} minutes,"
        f" an action every {options.pace:g} s; all opened within {options.opening:g} s; load before:"
        f" {os.getloadavg()[0]:.1f}"
    )


def write_table(path: Path, text: str) -> None:
    """Put ``text`` between the marks in a document."""
    before, mark, rest = path.read_text(encoding="utf-8").partition("<!-- class -->\n")
    if not mark:
        raise ValueError(f"{path}: no place for the table")
    path.write_text(f"{before}{mark}{text}\n<!-- end -->{rest.partition('<!-- end -->')[2]}", encoding="utf-8")


def read_log(log: Path, errors: Counter[str]) -> None:
    """Count what the server itself calls an error, and its processes that ended."""
    for line in re.findall(
        r"^\w*(?:Error|Exception)\b.*|^serve: .* ended with code .*", log.read_text(encoding="utf-8"), re.MULTILINE
    ):
        errors[f"server: {line[:150]}"] += 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=30)
    parser.add_argument("--processes", type=int, default=1, help="of the app; behind HAProxy where there are several")
    parser.add_argument("--minutes", type=float, default=5.0, help="that the class takes, opening included")
    parser.add_argument("--pace", type=float, default=5.0, help="seconds from one action of a visitor to the next")
    parser.add_argument("--opening", type=float, default=30.0, help="seconds within which the class opens")
    parser.add_argument("--alone", type=float, default=60.0, help="seconds of the single visitor, an action every 2 s")
    parser.add_argument("--floors", action="store_true", help="exit with 1 where a floor is missed")
    parser.add_argument("--table", action="store_true", help=f"write it into {TABLE.relative_to(ROOT)}, too")
    options = parser.parse_args(arguments)
    if not (1 <= options.visitors <= MOST_VISITORS and 0 < options.minutes <= MOST_MINUTES and options.pace > 0):
        parser.error(f"1 to {MOST_VISITORS} visitors, up to {MOST_MINUTES} minutes")
    if not 1 <= options.processes <= MOST_PROCESSES:
        parser.error(f"1 to {MOST_PROCESSES} processes")
    conditions = describe(options)
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder), options.processes, NETWORK.name) as server:
        alone, together, photos = asyncio.run(measure(server, options))
        read_log(server.log, together.errors)
    wrong = check([alone, together], photos)
    text = report(alone, together, wrong, conditions)
    print(text)
    if options.table:
        write_table(TABLE, text)
    found = missed(alone, together, wrong)
    print(*(f"missed: {sentence}" for sentence in found), sep="\n")
    return 1 if options.floors and found else 0


async def measure(server: Deployment, options: argparse.Namespace) -> tuple[Measured, Measured, dict[str, bytes]]:
    """What one visitor meets with, what the class does, and the photos that they bring."""
    await visit(server, range(2000, 2000 + options.processes), 0, 0, 1)  # the first ones open the network
    alone, photos = await visit(server, [1000], 0, options.alone, 2.0)
    for number in range(1001, 1006):  # a page is opened once by each: for a median it takes several
        opened, _ = await visit(server, [number], 0, 0, 1)
        alone.waits["open"] += opened.waits["open"]
        alone.views += opened.views
    together, more = await visit(server, range(options.visitors), options.opening, 60 * options.minutes, options.pace)
    return alone, together, photos | more


if __name__ == "__main__":
    sys.exit(main())
