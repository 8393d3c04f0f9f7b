"""Passes here and through Ray Serve on the same machine: what the way there costs, and when it pays. Some minutes; needs Ray.

    python benchmarks/engines.py [--network NAME] [--visitors 1,4,8] [--seconds 5] [--rounds 3] [--gpus 0]
    python benchmarks/engines.py --table docs/scaling.md

Visitors ask one after the other, each time about another picture under settings of their own, without a pause. "Here" is what a
page's server does without a cluster: one pass at a time, in the order of asking, with a thread for each two cores. Rounds take
turns, so that both meet the same machine. ``--table`` also writes what was found between ``<!-- engines -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import argparse
import os
import platform
import secrets
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from odconv import Settings, explain, load_checkpoint
from odconv.atlas import fingerprint
from odconv.cluster.client import parse_address, send
from odconv.cluster.messages import Question, pack_question, read_answer
from odconv.explain import Explanation
from odconv.images import prepare

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "assets" / "weights"
NETWORK = "od_efficientnet_lite0_4x_imagenet.safetensors"
TEMPERATURES = (1.0, 3.0, 30.0)
BEGIN, END = "<!-- engines -->\n", "<!-- end -->\n"

Ask = Callable[[np.ndarray, Settings], Explanation]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default=NETWORK, help="a file in assets/weights, or a path")
    parser.add_argument("--visitors", type=lambda text: [int(n) for n in text.split(",")], default=[1, 4, 8])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gpus", type=float, default=0.0, help="that the cluster's replica gets; 0: none here either")
    parser.add_argument("--table", type=Path, help="a text that is to hold what was found")
    options = parser.parse_args(arguments)
    path = WEIGHTS / options.network
    device = "cuda" if options.gpus else "cpu"
    cores = os.cpu_count() or 1
    torch.set_num_threads(max(1, cores // 2))
    side = load_checkpoint(path).card.image_size
    load = os.getloadavg()[0]  # of others: with more processes, Ray gets more of cores that are fought over
    with a_cluster(path, options.gpus, torch.get_num_threads()) as there:
        engines = {"here": here(path, device), "Ray Serve": there}
        rows = [
            row
            for visitors in options.visitors
            for row in compare(engines, side, visitors, options.seconds, options.rounds)
        ]
    where = torch.cuda.get_device_name() if options.gpus else f"{cores} cores"
    text = (
        f"`{path.name}`, {where}, {torch.get_num_threads()} threads for a pass, torch {torch.__version__}, "
        f"Python {platform.python_version()}; {options.rounds} rounds of {options.seconds:g} s each, all clients on the same machine; load before {load:.1f}.\n\n"
        + "\n".join(
            [
                "| visitors | engine | answers/s | p50, ms | p95, ms | answers/s to here |",
                "|---|---|---|---|---|---|",
                *rows,
            ]
        )
        + "\n"
    )
    print(text)
    if options.table:
        put(options.table, text)


def here(path: Path, device: str) -> Ask:
    """Passes in this process, one at a time, as a page's server makes them."""
    checkpoint, turn = load_checkpoint(path), Lock()
    checkpoint.model.to(device)
    card = replace(checkpoint.card, resize=checkpoint.card.image_size)

    def ask(pixels: np.ndarray, settings: Settings) -> Explanation:
        image = prepare(Image.fromarray(pixels), card)
        with turn:
            return explain(checkpoint.model, image, settings)

    return ask


@contextmanager
def a_cluster(path: Path, gpus: float, cpus: int) -> Iterator[Ask]:
    """A cluster on this machine with one replica, for as long as the block lasts."""
    checkpoint, name = load_checkpoint(path), fingerprint(path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_urlsafe(32)
    line = [sys.executable, "-m", "odconv.cluster", f"--port={port}", f"cpus={cpus}", f"gpus={gpus}"]
    environment = os.environ | {"ODCONV_ENGINE_TOKEN": token, "ODCONV_WEIGHTS": str(path.parent)}
    with subprocess.Popen(
        line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout
            name_of, _, where = process.stdout.readline().decode().strip().partition("=")
            if name_of != "ODCONV_ENGINE":
                sys.exit("the cluster did not start; python -m odconv.cluster says why")
            address = parse_address(where)

            def ask(pixels: np.ndarray, settings: Settings) -> Explanation:
                answer = send(address, token, pack_question(Question(name, pixels, settings)), 60)
                return read_answer(answer, settings, checkpoint.model, len(checkpoint.card.classes))

            yield ask
        finally:
            process.terminate()


def compare(engines: dict[str, Ask], side: int, visitors: int, seconds: float, rounds: int) -> list[str]:
    """Rows of the table for so many visitors. The first engine is what the others are compared with."""
    waits: dict[str, list[float]] = {name: [] for name in engines}
    for ask in engines.values():
        visit(ask, side, visitors, 0.5)
    for _ in range(rounds):
        for name, ask in engines.items():
            waits[name] += visit(ask, side, visitors, seconds)
    rates = {name: len(some) / (rounds * seconds) for name, some in waits.items()}
    first = next(iter(rates.values()))
    return [
        f"| {visitors} | {name} | {rates[name]:.1f} | {1000 * statistics.median(some):.0f} | "
        f"{1000 * float(np.quantile(some, 0.95)):.0f} | {rates[name] / first:.2f} |"
        for name, some in waits.items()
    ]


def visit(ask: Ask, side: int, visitors: int, seconds: float) -> list[float]:
    """Seconds that each answer took to so many visitors who ask for ``seconds``; the last ones may end after that."""
    end = time.perf_counter() + seconds

    def one(visitor: int) -> list[float]:
        random, waits = np.random.default_rng(visitor), []
        settings = Settings(TEMPERATURES[visitor % len(TEMPERATURES)], kernels=1 + visitor % 4)
        while time.perf_counter() < end:
            pixels = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
            asked = time.perf_counter()
            ask(pixels, settings)
            waits.append(time.perf_counter() - asked)
        return waits

    with ThreadPoolExecutor(visitors) as pool:
        return [wait for waits in pool.map(one, range(visitors)) for wait in waits]


def put(path: Path, table: str) -> None:
    """Write ``table`` between the marks in the text at ``path``."""
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after and END not in rest:
        sys.exit(f"{path} has no {BEGIN.strip()} ... {END.strip()}")
    path.write_text(before + BEGIN + table + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
