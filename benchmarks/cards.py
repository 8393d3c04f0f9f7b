"""The bundled networks side by side, from what their cards say was measured, as the tables in assets/weights/README.md.

python benchmarks/cards.py
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from odconv import HEADS, load_checkpoint
from odconv.checkpoint import find_checkpoints
from odconv.cost import cost
from odconv.drawings import count

WEIGHTS = Path(__file__).parents[1] / "assets" / "weights"
MOVES = 0.05  # deviation between pictures from which on a head is counted as moving

Card = Mapping[str, Any]


def main() -> None:
    print("\n\n".join(tables(list(find_checkpoints(WEIGHTS).values()))))


def tables(paths: Sequence[Path]) -> list[str]:
    """Accuracy and cost of all; what dials do to, and how attention moves in, those that have attention."""
    cards = {path: json.loads(path.with_suffix(".json").read_text(encoding="utf-8")) for path in paths}
    dynamic = {path: card for path, card in cards.items() if "between_pictures" in card["measured"]}
    several = {path: card for path, card in dynamic.items() if "strongest_n_kernels" in card["measured"]}
    return [
        _table(cards, {"parameters": _parameters, "multiply-adds": _multiply_adds, "top-1 %": _top1, "top-5 %": _top5}),
        _table(several, {f"{n} {keep}": _kept(keep, n) for keep in ("strongest", "first") for n in "1234"}),
        _table(dynamic, {f"T = {t}": _at(t) for t in ("0.3", "0.5", "1", "2", "3", "4", "30")}),
        _table(dynamic, {head: _moves(head) for head in HEADS} | {"effective kernels": _effective}),
    ]


def _table(cards: Mapping[Path, Card], columns: Mapping[str, Callable[[Path, Card], str]]) -> str:
    lines = [f"| network | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    for path, card in cards.items():
        cells = [cell(path, card) for cell in columns.values()]
        lines.append(f"| {path.stem} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _parameters(path: Path, card: Card) -> str:
    return count(sum(parameter.numel() for parameter in load_checkpoint(path).model.parameters()))


def _multiply_adds(path: Path, card: Card) -> str:
    return count(sum(layer.multiply_adds for layer in cost(load_checkpoint(path).model, card["image_size"])))


def _top1(path: Path, card: Card) -> str:
    return _with_interval(card["measured"], "top1")


def _top5(path: Path, card: Card) -> str:
    return _with_interval(card["measured"], "top5")


def _with_interval(entry: Card, name: str) -> str:
    low, high = entry[f"{name}_interval"]
    return f"{entry[name]:.2f} ({low:.2f} to {high:.2f})"


def _kept(keep: str, n: str) -> Callable[[Path, Card], str]:
    return lambda path, card: f"{card['measured'][f'{keep}_n_kernels'][n]['top1']:.2f}"


def _at(temperature: str) -> Callable[[Path, Card], str]:
    return lambda path, card: f"{card['measured']['temperature'][temperature]['top1']:.2f}"


def _moves(head: str) -> Callable[[Path, Card], str]:
    def cell(path: Path, card: Card) -> str:
        values = [layer[head] for layer in card["measured"]["between_pictures"]["layers"].values() if head in layer]
        if not values:
            return "none"
        return f"{sum(values) / len(values):.3f}; {sum(value >= MOVES for value in values)} of {len(values)}"

    return cell


def _effective(path: Path, card: Card) -> str:
    layers = card["measured"]["between_pictures"]["layers"].values()
    values = [layer["effective_kernels"] for layer in layers if "effective_kernels" in layer]
    return f"{min(values):.2f} to {max(values):.2f}" if values else "1"


if __name__ == "__main__":
    main()
