"""Which classes use which trained kernel, as data for ``kernel_use.js``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from odconv.drawings.describe import join_clauses, join_list
from odconv.drawings.names import first_synonym
from odconv.drawings.numbers import json_numbers
from odconv.kernel_use import KernelUse
from odconv.words import say


def kernel_use_data(
    language: str, kernels: Sequence[KernelUse], counts: np.ndarray, classes: Sequence[str], first: int | None
) -> dict[str, Any]:
    """For each of a layer's kernels: the classes that use it most and least, and the class that a picture is taken for.

    Args:
        language: one of ``odconv.words.LANGUAGES``; all texts in the data are in it.
        kernels: from ``odconv.kernel_use.kernel_use``.
        counts: (classes,), how many pictures of each class the mean shares are of.
        classes: names in the order of the logits; of synonyms separated by commas the first is shown.
        first: the class that the network as trained takes the picture for; ``None`` where it says nothing.
    """
    names = [first_synonym(name) for name in classes]
    fewest, most = int(counts.min()), int(counts.max())
    pictures = str(most) if fewest == most else say(language, "forge.use_range", low=fewest, high=most)
    return {
        "heading": say(language, "forge.use_heading"),
        "note": say(language, "forge.use_note", pictures=pictures),
        "rows": [_row(language, f"W{i}", kernel, names, first) for i, kernel in enumerate(kernels, 1)],
    }


def _row(language: str, title: str, kernel: KernelUse, names: Sequence[str], first: int | None) -> dict[str, Any]:
    known = np.isfinite(kernel.shares)
    rank = None if first is None else kernel.rank(first)
    if kernel.preferred:
        ends = {end: _list(language, kernel, getattr(kernel, end), names) for end in ("most", "least")}
        texts = {end: say(language, f"forge.use_{end}", classes=listed) for end, listed in ends.items()}
    elif known.any():
        low, high = (f"{share:.2f}" for share in (kernel.shares[known].min(), kernel.shares[known].max()))
        texts = {"none": say(language, "forge.use_none", low=low, high=high)}
    else:
        texts = {"none": say(language, "forge.use_unknown")}
    if first is not None and rank is not None:
        values = {"name": names[first], "share": f"{kernel.shares[first]:.2f}", "count": int(known.sum())}
        # Where no class prefers the kernel, places among classes are chance.
        key = "forge.use_here" if kernel.preferred else "forge.use_here_alone"
        texts["here"] = say(language, key, rank=rank, **values)
    return {
        "title": title,
        "shares": json_numbers(kernel.shares[known]),
        "first": None if rank is None or first is None else float(json_numbers(kernel.shares[first])),
        "alt": f"{title}: {join_clauses(language, texts.values())}",
        "texts": texts,
    }


def _list(language: str, kernel: KernelUse, labels: Sequence[int], names: Sequence[str]) -> str:
    return join_list(
        language,
        (say(language, "forge.use_class", name=names[label], share=f"{kernel.shares[label]:.2f}") for label in labels),
    )
