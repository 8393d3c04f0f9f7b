"""The JavaScript and CSS of the drawings, as text: for the page's components and for the HTML export."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from odconv.drawings.data import COLOURS


@cache
def script(*names: str) -> str:
    """The shared helpers and the named drawings, as plain functions ``drawPrediction``, ``drawGlance``, ``drawLayer``."""
    folder = files("odconv.drawings")
    return "\n".join((folder / f"{name}.js").read_text(encoding="utf-8") for name in ("draw", *names))


@cache
def style() -> str:
    """The drawings' CSS. Colours come from the page's theme where there is one, else from the visitor's system."""
    theme = """.od {
  color-scheme: light dark;
  --paper: var(--st-background-color, light-dark(#ffffff, #0e1117));
  --ink: var(--st-text-color, light-dark(#31333f, #fafafa));
  --accent: var(--st-primary-color, #0072b2);
  --quiet: color-mix(in oklab, var(--ink) 72%, var(--paper));
  --line: color-mix(in oklab, var(--ink) 28%, var(--paper));
"""
    heads = "".join(f"  --{head}: {colour};\n" for head, colour in COLOURS.items())
    return theme + heads + "}\n" + (files("odconv.drawings") / "style.css").read_text(encoding="utf-8")
