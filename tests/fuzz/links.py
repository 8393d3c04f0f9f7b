"""Links: what stands behind the question mark of an address, as JSON of names and texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from odconv.ui.link import PARAMETERS, class_view, from_query, to_query
from tests.fuzz.strategies import letters, odd_texts, to_bytes
from tests.test_link import OFFER, views

MEMORY = 32_000_000

NAMES = [parameter.name for parameter in PARAMETERS]
names = st.sampled_from(NAMES) | st.text(letters, max_size=8)
# What good values are made of, one after another.
PIECES = (
    ",",
    ":",
    "1",
    "0",
    "-",
    ".",
    "5",
    "e",
    "none",
    "all",
    "spatial",
    "kernel",
    "mean",
    "hand",
    "flat",
    "nan",
    "inf",
    "²",
    "\ud800",
)
texts = st.one_of(
    st.text(letters),
    odd_texts,
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.tuples(st.sampled_from(PIECES), st.sampled_from((100, 5000, 100_000))).map(lambda two: two[0] * two[1]),
)


def cases(corpus: Sequence[bytes]) -> SearchStrategy[bytes]:
    kept = st.sampled_from([{}, *map(parse, corpus)])
    return changed(st.one_of(kept, kept, kept, kept, views().map(to_query))).map(to_bytes)  # views take long to make


@st.composite
def changed(draw: Any, queries: SearchStrategy[dict[str, str]]) -> dict[str, str]:
    query = dict(draw(queries))
    for _ in range(draw(st.integers(0, 4))):
        name = draw(st.sampled_from([*query])) if query and draw(st.booleans()) else draw(names)
        before = query.get(name, "")
        place = draw(st.integers(0, len(before)))
        act = draw(st.sampled_from(("cut", "comma", "twice", "insert", "replace", "another's")))
        if act == "cut":
            query[name] = before[:place]
        elif act == "comma":
            query[name] = before + ","
        elif act == "twice":
            query[name] = f"{before},{before}"
        elif act == "another's":
            query[name] = query[draw(st.sampled_from([*query]))] if query else ""
        else:
            query[name] = before[:place] + draw(texts) + before[place:] if act == "insert" else draw(texts)
    return query


def parse(data: bytes) -> dict[str, str]:
    try:
        query = json.loads(data)
    except ValueError:
        return {}
    return {name: text for name, text in query.items() if isinstance(text, str)} if isinstance(query, dict) else {}


def check(data: bytes) -> str:
    query = parse(data)
    view, ignored = from_query(query, OFFER)
    assert set(ignored) <= set(query) & set(NAMES)
    _check_canonical(to_query(view))
    _check_canonical(to_query(class_view(view)))
    return "ignored in part" if ignored else "read"


def _check_canonical(query: Mapping[str, str]) -> None:
    """What a page writes into its address, it understands, and writes it so again."""
    again, ignored = from_query(query, OFFER)
    assert not ignored, f"{ignored} of {query}"
    assert to_query(again) == query
    "&".join(query.values()).encode()
