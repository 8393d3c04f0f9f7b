"""The colours of all drawings, as CSS text. Colour-blind people can tell them apart."""

from __future__ import annotations

# Okabe and Ito's colours. One per head, on every page.
COLOURS = {"spatial": "#0072B2", "channel": "#009E73", "filter": "#CC79A7", "kernel": "#E69F00"}

# The tones of W1 and of the last kernel; the others lie between. Both stand out from white and from dark paper, so that a
# kernel keeps its tone when the theme changes.
KERNEL_TONES = ("#F0A815", "#7A3E00")

# From the most negative weight over 0 to the most positive: ColorBrewer's PuOr, reversed, told apart by
# colour-blind people. The same in both themes. Not blue for negative: blue is spatial attention.
DIVERGING = ("#542788", "#998EC3", "#F7F7F7", "#F1A340", "#B35806")

# Of a map, from its lowest number to its highest.
GREYS = ("#000000", "#FFFFFF")

# Text on paper where the page has no theme of its own, (light, dark).
PAPER = ("#ffffff", "#0e1117")
INK = ("#31333f", "#fafafa")

QUIET = 76  # % of ink in captions and axis texts; below 69 % the light theme's chosen column has less than 4.5 : 1
