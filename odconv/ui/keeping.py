"""Answers that are kept, so that nobody computes again what is known: for all visitors, or with a visitor's own network."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from odconv.ui.memo import Memo

HOUR = 3600.0  # seconds for which an answer is kept that holds nothing of a photo
MINUTE = 60.0  # seconds for which one is kept in which a photo could be recognised

Found = TypeVar("Found")
Asked = ParamSpec("Asked")

# For how many seconds answers are kept, and where.
_kept_for_all: list[tuple[float, Memo]] = []


def keep(seconds: float, most: int) -> Callable[[Callable[Asked, Found]], Callable[Asked, Found]]:
    """Keep what a function gives for ``seconds``: for all visitors, in ``most`` bytes, or with the visitor's own network.

    The key are its arguments without an underscore; an argument ``_engine``, where there is one, says whose network it is.
    """

    def decorate(compute: Callable[Asked, Found]) -> Callable[Asked, Found]:
        shared = Memo(most)
        _kept_for_all.append((seconds, shared))
        signature = inspect.signature(compute)

        @wraps(compute)
        def answer(*args: Asked.args, **kwargs: Asked.kwargs) -> Found:
            given = signature.bind(*args, **kwargs).arguments
            own = given["_engine"].own if "_engine" in signature.parameters else None
            key = (compute.__name__, *(value for name, value in given.items() if not name.startswith("_")))
            found: Found = (own.answers if own else shared).get(key, seconds, lambda: compute(*args, **kwargs))
            return found

        return answer

    return decorate


def forget(longest: float) -> None:
    """Forget all answers that are kept for all visitors, and for at most ``longest`` seconds.

    A memo looks at the clock only when another answer comes: on an idle server they would stay.
    """
    for seconds, shared in _kept_for_all:
        if seconds <= longest:
            shared.clear()
