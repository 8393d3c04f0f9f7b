"""The colours of all drawings, told apart by colour-blind people; as text, for the page's CSS and for Plotly."""

from __future__ import annotations

# Okabe and Ito's colours. One per head, on every page.
COLOURS = {"spatial": "#0072B2", "channel": "#009E73", "filter": "#CC79A7", "kernel": "#E69F00"}

# From W1 to the last kernel, through tones between these two. They stand out from white and from dark paper alike, so that
# a kernel keeps its tone when the theme changes: a tone nearer to either would vanish there.
KERNEL_TONES = ("#F0A815", "#7A3E00")

# From the most negative weight over 0 to the most positive: ColorBrewer's RdBu, reversed. Fixed, as weights are numbers and no
# part of the theme; no head has one of them.
DIVERGING = ("#2166AC", "#92C5DE", "#F7F7F7", "#F4A582", "#B2182B")

# Text on paper where the page has no theme of its own, (light, dark).
PAPER = ("#ffffff", "#0e1117")
INK = ("#31333f", "#fafafa")

QUIET = 76  # % of ink in captions and axis texts; below 69 % the light theme's chosen column has less than 4.5 : 1
