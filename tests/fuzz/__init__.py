"""Hostile input, made anew on every run: ``python -m tests.fuzz --seconds 60``.

Each target is a module here with

* ``cases(corpus)``: a strategy of bytes, which also changes what the corpus holds;
* ``check(data)``: gives them to the app as they come from outside, and returns what became of them in a word. Raises where that
  is neither a result nor the one refusal of that part, in a sentence that can be shown;
* ``MEMORY``: bytes that one case may take at most.

What fails lies in ``corpus/<target>/``, made as small as possible. Named by what it is and committed, it is tried by every
test run from then on, and changed by every later run of this.
"""

from __future__ import annotations

from pathlib import Path

TARGETS = ("pictures", "checkpoints", "cards", "atlases", "links", "messages", "redraws")
CORPUS = Path(__file__).parent / "corpus"


def corpus(target: str) -> dict[str, bytes]:
    """Name -> content of what a target's corpus holds."""
    folder = CORPUS / target
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.is_dir() else {}
