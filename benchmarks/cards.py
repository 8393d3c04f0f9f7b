"""Networks side by side, from what their cards say was measured; the bundled ones as in assets/weights/README.md.

python benchmarks/cards.py [WEIGHTS ...]
"""

import json
import sys
from collections.abc import Mapping, Sequence
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


def main(paths: Sequence[str] = ()) -> None:
    """``paths``: weights files with their cards beside them; none: the bundled ones."""
    print("\n\n".join(tables([Path(path) for path in paths] or list(find_checkpoints(WEIGHTS).values()))))


def tables(paths: Sequence[Path]) -> list[str]:
    """Accuracy and cost of all; what dials do to, and how attention moves in, those that have attention.

    Every card must hold what ``odconv.training.evaluate`` writes; what ``odconv.training.familiar`` writes may be missing.
    """
    accuracy, kept, temperatures, moves, familiar = ({} for _ in range(5))
    for path in paths:
        card, model = json.loads(path.with_suffix(".json").read_text(encoding="utf-8")), load_checkpoint(path).model
        measured, name = card["measured"], path.stem
        accuracy[name] = {
            "parameters": count_text("en", sum(parameter.numel() for parameter in model.parameters())),
            "multiply-adds": count_text("en", sum(layer.multiply_adds for layer in cost(model, card["image_size"]))),
            "top-1 %": _with_interval(measured, "top1"),
            "top-5 %": _with_interval(measured, "top5"),
        }
        if "strongest_n_kernels" in measured:
            counts = {keep: measured[f"{keep}_n_kernels"] for keep in get_args(Keep)}
            kept[name] = {f"{n} {keep}": _top1(entry) for keep, some in counts.items() for n, entry in some.items()}
        if "between_pictures" in measured:
            layers = measured["between_pictures"]["layers"].values()
            temperatures[name] = {f"T = {t}": _top1(entry) for t, entry in measured["temperature"].items()}
            moves[name] = {head: _moves([layer[head] for layer in layers if head in layer]) for head in HEADS}
            values = [layer["effective_kernels"] for layer in layers if "effective_kernels" in layer]
            moves[name]["effective kernels"] = f"{min(values):.2f} to {max(values):.2f}" if values else "1"
        if "familiar" in card:
            found = card["familiar"]
            familiar[name] = {
                "score": found["score"],
                "threshold": f"{found['threshold']:.4f}",
                "false alarms %": f"{found['false_alarms']:.2f}",
                "caught %": _with_interval(found, "caught"),
                **{f"of {source} %": f"{some['caught']:.2f}" for source, some in found["caught_of"].items()},
                "AUROC %": f"{found['auroc']:.2f}",
            }
            if "photos" in found:
                familiar[name]["false alarms % on photos"] = _with_interval(found["photos"], "false_alarms")
    return [_table(rows) for rows in (accuracy, kept, temperatures, moves, *([familiar] if familiar else []))]


def _table(rows: Mapping[str, Mapping[str, str]]) -> str:
    """``rows``: name of a network -> column -> cell."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [f"| network | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    return "\n".join(
        lines
        + [f"| {' | '.join([name, *(row.get(column, '–') for column in columns)])} |" for name, row in rows.items()]
    )


def _top1(entry: Mapping[str, Any]) -> str:
    return f"{entry['top1']:.2f}"


def _with_interval(entry: Mapping[str, Any], name: str) -> str:
    low, high = entry[f"{name}_interval"]
    return f"{entry[name]:.2f} ({low:.2f} to {high:.2f})"


def _moves(deviations: Sequence[float]) -> str:
    """Of one head in each layer that has it: the mean, and in how many layers it moves."""
    if not deviations:
        return "none"
    return f"{sum(deviations) / len(deviations):.3f}; {sum(d >= MOVES for d in deviations)} of {len(deviations)}"


if __name__ == "__main__":
    main(sys.argv[1:])
