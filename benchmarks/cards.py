"""Networks side by side, from what their cards say was measured; the bundled ones as in assets/weights/README.md.

python benchmarks/cards.py [WEIGHTS ...]
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

sys.path.insert(0, str(Path(__file__).parents[1]))
from odconv import HEADS, load_checkpoint
from odconv.attention import Keep
from odconv.checkpoint import find_checkpoints
from odconv.cost import cost
from odconv.drawings import count_text
from odconv.training.measure import MOVES

WEIGHTS = Path(__file__).parents[1] / "assets" / "weights"

CardFields = Mapping[str, Any]


def main(paths: Sequence[str] = ()) -> None:
    """``paths``: weights files with their cards beside them; none: the bundled ones."""
    print("\n\n".join(tables([Path(path) for path in paths] or list(find_checkpoints(WEIGHTS).values()))))


def tables(paths: Sequence[Path]) -> list[str]:
    """Accuracy and cost of all; what dials do to, and how attention moves in, those that have attention.

    Every card must hold what ``odconv.training.evaluate`` writes.
    """
    cards = {path: json.loads(path.with_suffix(".json").read_text(encoding="utf-8")) for path in paths}
    dynamic = {path: card for path, card in cards.items() if "between_pictures" in card["measured"]}
    several = {path: card for path, card in dynamic.items() if "strongest_n_kernels" in card["measured"]}
    counts = sorted({n for card in several.values() for n in card["measured"]["strongest_n_kernels"]}, key=int)
    temperatures = sorted({t for card in dynamic.values() for t in card["measured"]["temperature"]}, key=float)
    kept = {f"{n} {keep}": _in(f"{keep}_n_kernels", n) for keep in get_args(Keep) for n in counts}
    return [
        _table(cards, {"parameters": _parameters, "multiply-adds": _multiply_adds, "top-1 %": _top1, "top-5 %": _top5}),
        _table(several, kept),
        _table(dynamic, {f"T = {t}": _in("temperature", t) for t in temperatures}),
        _table(dynamic, {head: _moves(head) for head in HEADS} | {"effective kernels": _effective}),
    ]


def _table(cards: Mapping[Path, CardFields], columns: Mapping[str, Callable[[Path, CardFields], str]]) -> str:
    lines = [f"| network | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    for path, card in cards.items():
        cells = [cell(path, card) for cell in columns.values()]
        lines.append(f"| {path.stem} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _parameters(path: Path, card: CardFields) -> str:
    return count_text("en", sum(parameter.numel() for parameter in load_checkpoint(path).model.parameters()))


def _multiply_adds(path: Path, card: CardFields) -> str:
    return count_text("en", sum(layer.multiply_adds for layer in cost(load_checkpoint(path).model, card["image_size"])))


def _top1(path: Path, card: CardFields) -> str:
    return _with_interval(card["measured"], "top1")


def _top5(path: Path, card: CardFields) -> str:
    return _with_interval(card["measured"], "top5")


def _with_interval(entry: CardFields, name: str) -> str:
    low, high = entry[f"{name}_interval"]
    return f"{entry[name]:.2f} ({low:.2f} to {high:.2f})"


def _in(section: str, key: str) -> Callable[[Path, CardFields], str]:
    def cell(path: Path, card: CardFields) -> str:
        entry = card["measured"][section].get(key)
        return "–" if entry is None else f"{entry['top1']:.2f}"

    return cell


def _moves(head: str) -> Callable[[Path, CardFields], str]:
    def cell(path: Path, card: CardFields) -> str:
        values = [layer[head] for layer in card["measured"]["between_pictures"]["layers"].values() if head in layer]
        if not values:
            return "none"
        return f"{sum(values) / len(values):.3f}; {sum(value >= MOVES for value in values)} of {len(values)}"

    return cell


def _effective(path: Path, card: CardFields) -> str:
    layers = card["measured"]["between_pictures"]["layers"].values()
    values = [layer["effective_kernels"] for layer in layers if "effective_kernels" in layer]
    return f"{min(values):.2f} to {max(values):.2f}" if values else "1"


if __name__ == "__main__":
    main(sys.argv[1:])
