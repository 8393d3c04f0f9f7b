"""A network before and after ODConv was plugged in: its totals as bars, and a table of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from odconv.attention import HEADS
from odconv.drawings.describe import describe_absence, head_name, join_list
from odconv.drawings.names import clean_name
from odconv.drawings.numbers import count_text, three_digits_text
from odconv.plugging import REASONS, Conversion, Layer, Timing
from odconv.words import say


def totals_data(language: str, found: Conversion, timing: Timing | None) -> dict[str, Any]:
    """Parameters, multiply-adds and milliseconds before and after. ``timing``: ``None`` where none was measured."""
    rows = [
        _total(language, "parameters", found.parameters, [f"{number:,}" for number in found.parameters]),
        _total(language, "multiply_adds", found.multiply_adds, _counts(language, found.multiply_adds)),
    ]
    if timing:
        texts = [say(language, "plug.milliseconds_text", number=three_digits_text(one)) for one in timing.milliseconds]
        rows.append(_total(language, "milliseconds", timing.milliseconds, texts, timing.factor))
    else:
        name, unmeasured = say(language, "plug.milliseconds"), say(language, "plug.unmeasured")
        rows.append({"id": "milliseconds", "name": name, "factor": "", "bars": [], "absent": unmeasured})
    return {
        "rows": rows,
        "sentence": describe_dynamic(language, found.layers),
        "same": describe_outputs(language, found),
    }


def _total(
    language: str, id: str, numbers: Sequence[float], texts: Sequence[str], factor: float | None = None
) -> dict[str, Any]:
    """One total, with a bar for each of both networks; the longer one has all the width."""
    longest = max(numbers)
    bars = [
        {"name": say(language, f"plug.{which}"), "share": number / longest, "text": text}
        for which, number, text in zip(("given", "converted"), numbers, texts, strict=True)
    ]
    times = numbers[1] / numbers[0] if factor is None else factor
    return {
        "id": id,
        "name": say(language, f"plug.{id}"),
        "factor": say(language, "plug.times", factor=f"{times:.2f}"),
        "bars": bars,
        "absent": "",
    }


def _counts(language: str, numbers: Sequence[int]) -> list[str]:
    return [count_text(language, number) for number in numbers]


def describe_dynamic(language: str, layers: Sequence[Layer]) -> str:
    """How many of the convolutions become dynamic, in a sentence."""
    convs = [layer for layer in layers if layer.conv]
    count = sum(bool(layer.heads) for layer in convs)
    if not count:
        return say(language, "plug.dynamic_none")
    return say(language, "plug.dynamic", count=count, total=len(convs))


def describe_outputs(language: str, found: Conversion) -> str:
    """How far the outputs of both networks are apart, in a sentence."""
    return say(
        language,
        "plug.same",
        difference=f"{found.max_difference:.1e}" if found.max_difference else "0",
        scale=f"{found.scale:.3g}",
        shape=shape_text(found.shape),
    )


def shape_text(shape: Sequence[int]) -> str:
    """``(1, 3, 224, 224)``."""
    return f"({', '.join(map(str, shape))})"


def layers_data(language: str, found: Conversion) -> dict[str, Any]:
    """A row for each convolution and linear map, and which of the heads the dynamic ones have."""
    dynamic = [layer for layer in found.layers if layer.heads]
    heads = [
        {
            "id": head,
            "initial": head_name(language, head)[0],
            "text": say(
                language,
                "plug.head_in",
                head=head_name(language, head),
                count=sum(head in layer.heads for layer in dynamic),
                total=len(dynamic),
            ),
            "absent": describe_absence(language, head) if any(head not in layer.heads for layer in dynamic) else "",
        }
        for head in HEADS
    ]
    columns = {
        name: say(language, f"plug.{name}") for name in ("layer", "kind", "heads", "parameters", "multiply_adds")
    }
    return {"columns": columns, "heads": heads, "rows": [_row(language, layer) for layer in found.layers]}


def _row(language: str, layer: Layer) -> dict[str, Any]:
    lacks = [head for head in HEADS if layer.heads and head not in layer.heads]
    has = join_list(language, (head_name(language, head) for head in layer.heads))
    missing = join_list(language, (head_name(language, head) for head in lacks))
    return {
        "name": clean_name(layer.name) or say(language, "plug.itself"),
        "kind": _kind_text(language, layer),
        "heads": list(layer.heads),
        "alt": f"{has}. {say(language, 'plug.missing', head=missing)}" if lacks else has,
        "reasons": {head: describe_absence(language, head) for head in lacks},
        "static": "" if layer.heads else say(language, "plug.stays", reason=_reason_text(language, layer.reason)),
        "parameters": _before_and_after([f"{number:,}" for number in layer.parameters]),
        "multiply_adds": _before_and_after(_counts(language, layer.multiply_adds)),
    }


def _before_and_after(texts: Sequence[str]) -> list[str]:
    """Both, or one where they are the same."""
    return list(dict.fromkeys(texts))


def _kind_text(language: str, layer: Layer) -> str:
    if layer.conv is None:
        return say(language, "plug.kind_linear")
    side, stride, dilation, depthwise = layer.conv
    text = say(language, "plug.kind_depthwise" if depthwise else "plug.kind_conv", side=side)
    if stride > 1:
        text += say(language, "plug.kind_stride", stride=stride)
    if dilation > 1:
        text += say(language, "plug.kind_dilation", dilation=dilation)
    return text


def _reason_text(language: str, reason: str) -> str:
    known = (*REASONS.values(), "linear")
    return say(language, f"plug.reason_{reason}") if reason in known else clean_name(reason)
