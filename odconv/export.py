"""What a visitor takes away: a record as CSV, NPZ or one HTML file that works offline."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from io import BytesIO, StringIO
from typing import Any

import numpy as np

from odconv.attention import HEADS
from odconv.drawings import script, style
from odconv.explain import Explanation

COLUMNS = ("image", "layer", "head", "index", "logit", "attention")


def to_csv(record: Explanation, titles: Sequence[str]) -> bytes:
    """One row per image, layer, head and entry, UTF-8; ``index`` counts from 0, row by row for spatial attention.

    ``titles`` (N): the pictures' names. A name that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    text = StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    rows.writerow(COLUMNS)
    for n, title in enumerate(titles):
        for name, layer in record.layers.items():
            for head, logits, attention in zip(HEADS, layer.logits, layer.attention, strict=True):
                if logits is None or attention is None:
                    continue
                entries = zip(logits[n].ravel().tolist(), attention[n].ravel().tolist(), strict=True)
                rows.writerows(
                    (_inert(title), name, head, i, float(f"{logit:.7g}"), float(f"{value:.7g}"))
                    for i, (logit, value) in enumerate(entries)
                )
    return text.getvalue().encode()


def _inert(text: str) -> str:
    return "'" + text if text.startswith(tuple("=+-@\t\r\n")) else text


def to_npz(record: Explanation, titles: Sequence[str], classes: Sequence[str]) -> bytes:
    """Compressed NPZ; read it with ``numpy.load(file, allow_pickle=False)``.

    ``images`` (N) and ``classes`` as text, ``logits`` (N, classes), ``settings`` as JSON, and for every layer and head
    that exists ``<layer>/<head>/logits`` and ``<layer>/<head>/attention``, shaped as in ``Heads``.
    """
    arrays: dict[str, Any] = {
        "images": np.array(list(titles)),
        "classes": np.array(list(classes)),
        "logits": record.logits,
        "settings": np.array(json.dumps(vars(record.settings))),
    }
    for name, layer in record.layers.items():
        for head, logits, attention in zip(HEADS, layer.logits, layer.attention, strict=True):
            if logits is not None:
                arrays[f"{name}/{head}/logits"] = logits
                arrays[f"{name}/{head}/attention"] = attention
    buffer = BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def to_html(sheets: Sequence[dict[str, Any]], subtitle: str) -> bytes:
    """One HTML file with all figures, drawn by the same code as the page; it loads nothing from anywhere.

    ``sheets``: one per picture, {title, picture (a data URI), prediction, glance, layers: {name: data}} from
    ``odconv.drawings``. In the file, too, a click or an arrow key chooses the layer.
    """
    # "<" is escaped, so that no text in the data can end the script element.
    data = json.dumps(list(sheets), ensure_ascii=False).replace("<", "\\u003c")
    subtitle = subtitle.replace("&", "&amp;").replace("<", "&lt;")
    page = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>ODConv Explorer</title>
<style>
{style()}
body {{ margin: 24px auto; max-width: 1160px; padding: 0 16px; background: light-dark(#fff, #0e1117); color-scheme: light dark; }}
.sheet {{ margin-bottom: 56px; }} .top {{ display: flex; flex-wrap: wrap; gap: 24px; margin: 12px 0 24px; }}
.top img {{ max-width: 260px; max-height: 220px; border-radius: 6px; }} .top .prediction {{ flex: 1 1 320px; }}
.layer-name {{ margin: 28px 0 6px; }}
</style>
<body><main class="od"><h1>ODConv Explorer</h1><p>{subtitle}</p></main>
<script>
{script("prediction", "glance", "layer")}
const SHEETS = {data};
for (const sheet of SHEETS) {{
  const section = document.createElement("section");
  section.className = "od sheet";
  section.innerHTML = `<h2>${{esc(sheet.title)}}</h2><div class="top"><img src="${{esc(sheet.picture)}}" alt="${{esc(sheet.title)}}">
    <div class="prediction"></div></div><div class="glance"></div><h3 class="layer-name"></h3><div class="layer"></div>`;
  document.querySelector("main").append(section);
  const part = (name) => section.querySelector("." + name);
  const choose = (name) => {{
    part("layer-name").textContent = `One layer: ${{name}}`;
    drawGlance(part("glance"), {{ ...sheet.glance, selected: name }}, {{ choose }});
    drawLayer(part("layer"), sheet.layers[name]);
  }};
  drawPrediction(part("prediction"), sheet.prediction);
  choose(sheet.glance.selected);
}}
</script></body></html>
"""
    return page.encode()
