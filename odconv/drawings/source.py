"""The JavaScript and CSS of the drawings, as text: for the page's components and for the HTML export."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from odconv.drawings.colours import COLOURS, INK, KERNEL_TONES, PAPER, QUIET


@cache
def script(*names: str) -> str:
    """The shared helpers and the named drawings, as plain functions ``drawPrediction``, ``drawGlance``, ``drawLayer``."""
    folder = files("odconv.drawings")
    return "\n".join((folder / f"{name}.js").read_text(encoding="utf-8") for name in ("draw", *names))


@cache
def style(*names: str) -> str:
    """The shared CSS and that of the named drawings that have their own. Colours come from the page's theme, or else from the visitor's system; on paper, dark on white."""
    theme = f""".od {{
  color-scheme: light dark;
  --paper: var(--st-background-color, light-dark({PAPER[0]}, {PAPER[1]}));
  --ink: var(--st-text-color, light-dark({INK[0]}, {INK[1]}));
  --accent: var(--st-primary-color, light-dark(#0072b2, #56b4e9));
  --quiet: color-mix(in oklab, var(--ink) {QUIET}%, var(--paper));
  --line: color-mix(in oklab, var(--ink) 28%, var(--paper));
  --kernel-first: {KERNEL_TONES[0]};
  --kernel-last: {KERNEL_TONES[1]};
"""
    heads = "".join(f"  --{head}: {colour};\n" for head, colour in COLOURS.items())
    on_paper = (
        f"@media print {{ .od {{ color-scheme: light; --paper: {PAPER[0]}; --ink: {INK[0]}; --accent: #0072b2; }} }}\n"
    )
    folder = files("odconv.drawings")
    rules = "\n".join((folder / f"{name}.css").read_text(encoding="utf-8") for name in ("style", *names))
    return theme + heads + "}\n" + on_paper + rules
