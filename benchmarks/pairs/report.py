"""What a folder of pairs says: each arm against the static network of the same seed, as a table and as plain data."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pairs import statistics
from benchmarks.pairs.arms import ARMS
from benchmarks.pairs.training import PairedError
from odconv.results import Comparison

Entry = Mapping[str, Any]  # what one arm of one seed left
Seeds = Mapping[int, Entry]


def pack(found: np.ndarray) -> str:
    """Bits (N,) of bool as text."""
    return base64.b64encode(np.packbits(found).tobytes()).decode()


def unpack(text: str, count: int) -> np.ndarray:
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=count).astype(bool)


def read(path: Path) -> list[dict[str, Any]]:
    """The results in a folder, or in a file with one in each line, by arm and seed.

    Raises:
        PairedError: there are none, or they are not of one plan and data set.
    """
    if path.is_file():
        texts = path.read_text(encoding="utf-8").splitlines()
    else:
        texts = [one.read_text(encoding="utf-8") for one in sorted(path.glob("*_*.json"))]
    entries = [entry for entry in map(json.loads, texts) if entry["arm"] in ARMS]
    if not entries:
        raise PairedError(f"{path} holds no results.")
    for part in ("plan", "data", "measured_on"):
        if any(entry[part] != entries[0][part] for entry in entries):
            raise PairedError(f"The results in {path} are not all of one {part}.")
    return entries


def report(entries: Sequence[Entry]) -> str:
    """The table of paired differences, and how the pairs were made."""
    first, by_arm = entries[0], _by_arm(entries)
    seconds = {arm: np.mean([one["seconds"] for one in some.values()]) for arm, some in by_arm.items()}
    lines = [
        f"{first['device']}, Python {first['versions']['python']}, torch {first['versions']['torch']}, {first['precision']}; "
        f"top-1 % on {first['measured']:,} pictures of {first['measured_on']}",
        "plan: " + ", ".join(f"{name} {value}" for name, value in first["plan"].items()),
        "s of training, shared equally by what was trained together: " + ", ".join(f"{arm} {value:.0f}" for arm, value in seconds.items()),
        "",
        _row("arm", "parameters", "multiply-adds", "pairs", "top-1", "twin", "difference", "95 % interval", "sign-flip p",
             "right alone", "twin alone", "McNemar p"),
        "| --- |" + " ---: |" * 11,
    ]  # fmt: skip
    for arm in [name for name in ARMS if name in by_arm]:
        compared = list(_compare_all(arm, by_arm))
        if not any(one.against == ARMS[arm].twin for one in compared):
            lines.append(_row_alone(arm, by_arm))
        lines += map(_row_of, compared)
    return "\n".join(lines)


def summarize(entries: Sequence[Entry]) -> dict[str, Any]:
    """Conditions and comparisons as plain data, for those who do not read bits.

    Raises:
        PairedError: a comparison is of one pair, which has no interval; or there is none.
    """
    first, by_arm = entries[0], _by_arm(entries)
    compared = [one for arm in ARMS if arm in by_arm for one in _compare_all(arm, by_arm)]
    if not compared or min(len(one.top1) for one in compared) < 2:
        raise PairedError("A summary is of two pairs at least.")
    static = next(iter(by_arm["static"].values()))
    return {
        **{name: first[name] for name in ("device", "versions", "precision", "measured", "measured_on", "plan")},
        "static": {name: static[name] for name in ("parameters", "multiply_adds")},
        "comparisons": [asdict(one) for one in compared],
    }


def _by_arm(entries: Sequence[Entry]) -> dict[str, dict[int, Entry]]:
    by_arm: dict[str, dict[int, Entry]] = {}
    for entry in entries:
        by_arm.setdefault(entry["arm"], {})[entry["seed"]] = entry
    return by_arm


def _compare_all(arm: str, by_arm: Mapping[str, Seeds]) -> Iterator[Comparison]:
    """All comparisons of an arm that share a seed; none of the static one."""
    twin = ARMS[arm].twin
    some, others = by_arm[arm], by_arm.get(twin, {})
    if arm != twin and set(some) & set(others):
        yield compare(arm, some, others, against=twin)
    for gates in ("frozen", "shuffled"):
        if all(f"right_{gates}" in one for one in some.values()):
            if set(some) & set(others):
                yield compare(arm, some, others, gates, twin)
            yield compare(arm, some, some, gates, "own gates")


def compare(arm: str, some: Seeds, others: Seeds, gates: str = "own", against: str = "static") -> Comparison:
    """``some`` with the given gates against ``others`` with their own; they share one seed at least."""
    what = "right" if gates == "own" else f"right_{gates}"
    one = next(iter(some.values()))
    count = one["measured"]
    seeds = sorted(set(some) & set(others))
    bits = [(unpack(some[seed][what], count), unpack(others[seed]["right"], count)) for seed in seeds]
    gained = [int((mine & ~theirs).sum()) for mine, theirs in bits]
    lost = [int((theirs & ~mine).sum()) for mine, theirs in bits]
    wins = [up - down for up, down in zip(gained, lost, strict=True)]
    return Comparison(
        arm,
        gates,
        against,
        ARMS[arm].kernels,
        one["parameters"],
        one["multiply_adds"],
        tuple(100 * int(mine.sum()) / count for mine, _ in bits),
        tuple(100 * int(theirs.sum()) / count for _, theirs in bits),
        *statistics.mean_interval([100 * win / count for win in wins]),
        statistics.sign_flip_p(wins),
        sum(gained),
        sum(lost),
        statistics.mcnemar_p(sum(gained), sum(lost)),
    )


def _row_of(one: Comparison) -> str:
    name = one.arm if one.gates == "own" else f"{one.arm}, {one.gates} gates"
    against = {"static": "", "own gates": ", against its own"}.get(one.against, f", against {one.against}")
    return _row(
        name + against,
        f"{one.parameters:,}",
        f"{one.multiply_adds:,}",
        str(len(one.top1)),
        f"{np.mean(one.top1):.2f}",
        f"{np.mean(one.against_top1):.2f}",
        f"{one.difference:+z.2f}",
        f"{one.low:+z.2f} to {one.high:+z.2f}" if len(one.top1) > 1 else "one pair",
        f"{one.sign_flip_p:.4f}",
        f"{one.gained:,}",
        f"{one.lost:,}",
        f"{one.mcnemar_p:.2g}",
    )


def _row_alone(arm: str, by_arm: Mapping[str, Seeds]) -> str:
    """An arm that is compared with nothing: the static one, or one without a twin."""
    some = by_arm[arm]
    one = next(iter(some.values()))
    mean = np.mean([100 * unpack(entry["right"], entry["measured"]).mean() for entry in some.values()])
    pairs = len(set(some) & set(by_arm.get("static", {})))
    return _row(arm, f"{one['parameters']:,}", f"{one['multiply_adds']:,}", str(pairs), f"{mean:.2f}", *[""] * 7)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
