"""Export of a record as CSV, NPZ or one HTML file that works offline."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from html import escape
from io import BytesIO, StringIO
from typing import Any

import numpy as np

from odconv.attention import HEADS, Settings
from odconv.cost import LayerCost
from odconv.drawings import (
    clean_name,
    describe_settings,
    glance_data,
    layer_data,
    prediction_data,
    scale_end_of,
    script,
    side_by_side_data,
    style,
)
from odconv.drawings.describe import join_sentences
from odconv.drawings.differences import Typical
from odconv.drawings.glance import Place
from odconv.explain import Explanation
from odconv.words import LANGUAGES, say

COLUMNS = ("model", "weights", "settings", "image", "layer", "head", "index", "logit", "attention")
LOGIT_COLUMNS = ("model", "weights", "image", "index", "class", "logit")

# Characters with which spreadsheets start a formula; the wide ones are those of Chinese and Japanese keyboards.
FORMULA = tuple("=+-@＝＋－＠")

LANGUAGE_TAGS = {"en": "en", "zh": "zh-Hans"}  # BCP 47


@dataclass(frozen=True)
class Context:
    """What an export says beside the record: its language, and the names of the network, the classes and the pictures.

    Attributes:
        language: one of ``odconv.words.LANGUAGES``.
        model: the network's name, as on its card.
        weights: file name and fingerprint, which tell these weights from others of the same name.
        classes: the classes' names in the order of the logits.
        titles: the pictures' names (N), in the order of the record.
        accuracy: a sentence, in that language, on how often the network is right; empty where its card has no numbers.

    Raises:
        ValueError: there is no such language.
    """

    language: str
    model: str
    weights: str
    classes: tuple[str, ...]
    titles: tuple[str, ...]
    accuracy: str = ""

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            raise ValueError(f"language={self.language!r}: one of {tuple(LANGUAGES)} is needed")


def settings_json(settings: Settings) -> str:
    """The fields of ``settings`` that differ from the default, as compact JSON: ``{"temperature":2.0,"kernels":3}``.

    ``Settings(**json.loads(text))`` gives the settings back.
    """
    default = Settings()
    changed = {field.name: getattr(settings, field.name) for field in fields(Settings)}
    changed = {name: value for name, value in changed.items() if value != getattr(default, name)}
    return json.dumps(changed, separators=(",", ":"))


def to_csv(context: Context, record: Explanation) -> bytes:
    """One row per image, layer, head and entry; ``index`` counts from 0, row by row for spatial attention.

    UTF-8 with a byte order mark, which spreadsheets need. The column ``settings`` has ``settings_json``. A name that a
    spreadsheet would run as a formula gets a leading apostrophe.
    """
    text = StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    rows.writerow(COLUMNS)
    network = (_escape_formula(context.model), _escape_formula(context.weights), settings_json(record.settings))
    for n, title in enumerate(context.titles):
        for name, head, logits, attention in _heads(record):
            place = (_escape_formula(title), _escape_formula(name), head)
            entries = zip(logits[n].ravel().tolist(), attention[n].ravel().tolist(), strict=True)
            rows.writerows(
                (*network, *place, i, float(f"{logit:.7g}"), float(f"{value:.7g}"))
                for i, (logit, value) in enumerate(entries)
            )
    return text.getvalue().encode("utf-8-sig")


def logits_to_csv(context: Context, record: Explanation) -> bytes:
    """One row per image and class with its logit, for a network without attention; otherwise like ``to_csv``."""
    text = StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    rows.writerow(LOGIT_COLUMNS)
    network = (_escape_formula(context.model), _escape_formula(context.weights))
    for title, logits in zip(context.titles, record.logits, strict=True):
        rows.writerows(
            (*network, _escape_formula(title), i, _escape_formula(name), float(f"{logit:.7g}"))
            for i, (name, logit) in enumerate(zip(context.classes, logits.tolist(), strict=True))
        )
    return text.getvalue().encode("utf-8-sig")


def _escape_formula(name: str) -> str:
    name = clean_name(name)
    return "'" + name if name.startswith(FORMULA) else name


def _heads(record: Explanation) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Layer, head, its logits (N, ...) and its attention (N, ...), where a layer has the head."""
    for name, layer in record.layers.items():
        for head, logits, attention in zip(HEADS, layer.logits, layer.attention, strict=True):
            if logits is not None and attention is not None:
                yield name, head, logits, attention


def to_npz(context: Context, record: Explanation) -> bytes:
    """Compressed NPZ; read it with ``numpy.load(file, allow_pickle=False)``.

    ``model`` and ``weights`` as text, ``settings`` as JSON (see ``settings_json``), ``images`` (N) and ``classes`` as text,
    ``logits`` (N, classes), and for every layer and head that exists ``<layer>/<head>/logits`` and
    ``<layer>/<head>/attention``, shaped as in ``Heads``.
    """
    arrays: dict[str, Any] = {
        "model": np.array(clean_name(context.model)),
        "weights": np.array(clean_name(context.weights)),
        "settings": np.array(settings_json(record.settings)),
        "images": np.array([clean_name(title) for title in context.titles]),
        "classes": np.array([clean_name(name) for name in context.classes]),
        "logits": record.logits,
    }
    for name, head, logits, attention in _heads(record):
        arrays[f"{clean_name(name)}/{head}/logits"] = logits
        arrays[f"{clean_name(name)}/{head}/attention"] = attention
    buffer = BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


# --- HTML -----------------------------------------------------------------------------------------------------------


def to_html(
    context: Context,
    record: Explanation,
    reference: Explanation | None,
    *,
    photos: Sequence[str],
    costs: Mapping[str, LayerCost],
    places: Mapping[str, Place],
    selected: str,
    typical: Mapping[str, Typical] | None = None,
    typical_count: int = 0,
) -> bytes:
    """One HTML file with an introduction, all figures of every picture and, for several pictures, the comparison.

    The figures are drawn by the same code as on the page; a click or an arrow key chooses the layer there, too. The file
    loads nothing from anywhere.

    Args:
        context: names and language.
        record: of N pictures, at least one.
        reference: the untouched network's record of the same pictures; ``None`` where the settings are the trained ones.
        photos: a data URI for each picture.
        costs: layer name, without the ``#2`` of a second call -> its cost.
        places: layer name -> (stage, short label).
        selected: name of the layer that is chosen when the file opens; the first layer where there is none of that name.
        typical: layer name -> its typical attention; where it is given, the differences from it are drawn.
        typical_count: how many pictures ``typical`` is the mean of.
    """
    selected = selected if selected in record.layers else next(iter(record.layers))
    figures = {
        "selected": selected,
        "headings": _headings(context.language, "layer.heading", record),
        "sheets": [
            {"title": clean_name(title), "photo": photo}
            | _sheet(
                context,
                record.picture(n),
                None if reference is None else reference.picture(n),
                costs,
                places,
                selected,
                typical,
            )
            for n, (title, photo) in enumerate(zip(context.titles, photos, strict=True))
        ],
        "comparison": _comparison(context, record, reference, typical) if len(context.titles) > 1 else None,
    }
    introduction = _introduction(context, record.settings, None if typical is None else typical_count)
    return _page(context, introduction, figures).encode()


def _sheet(
    context: Context,
    record: Explanation,
    reference: Explanation | None,
    costs: Mapping[str, LayerCost],
    places: Mapping[str, Place],
    selected: str,
    typical: Mapping[str, Typical] | None,
) -> dict[str, Any]:
    """The figures of one picture."""
    language = context.language
    end = None if typical is None else scale_end_of(record, reference, typical)
    return {
        "prediction": prediction_data(language, record, reference, context.classes),
        "glance": glance_data(language, record, reference, selected, places, typical),
        "layers": {
            name: layer_data(
                language,
                layer,
                None if reference is None else reference.layers[name],
                costs[name.partition("#")[0]],
                None if typical is None else typical[name],
                end,
            )
            for name, layer in record.layers.items()
        },
    }


def _comparison(
    context: Context, record: Explanation, reference: Explanation | None, typical: Mapping[str, Typical] | None
) -> dict[str, Any]:
    """All pictures side by side, for every layer."""
    end = None if typical is None else scale_end_of(record, reference, typical)
    return {
        "headings": _headings(context.language, "compare.heading", record, count=len(context.titles)),
        "layers": {
            name: side_by_side_data(
                context.language,
                layer,
                None if reference is None else reference.layers[name],
                context.titles,
                None if typical is None else typical[name],
                end,
            )
            for name, layer in record.layers.items()
        },
    }


def _headings(language: str, key: str, record: Explanation, **values: int) -> dict[str, str]:
    return {name: say(language, key, layer=clean_name(name), **values) for name in record.layers}


def _introduction(context: Context, settings: Settings, typical_count: int | None) -> str:
    """A paragraph on ODConv and the figures, and a list of network, settings and pictures, as HTML."""
    language = context.language
    figures = [say(language, "takeaway.about_figures")]
    if len(context.titles) > 1:
        figures.append(say(language, "takeaway.about_comparison"))
    if typical_count is not None:
        figures.append(say(language, "takeaway.about_difference", count=f"{typical_count:,}"))
    facts = {
        "model": clean_name(context.model),
        "weights": clean_name(context.weights),
        "accuracy": clean_name(context.accuracy),
        "settings": describe_settings(language, settings),
        "pictures": ", ".join(map(clean_name, context.titles)),
    }
    rows = [
        f"<dt>{escape(say(language, f'takeaway.{key}'))}</dt><dd>{escape(text)}</dd>"
        for key, text in facts.items()
        if text
    ]
    return f"""<header><h1>{escape(say(language, "takeaway.page_title"))}</h1>
<p>{escape(say(language, "takeaway.about"))}</p>
<p>{escape(join_sentences(language, figures))}</p>
<dl>{"".join(rows)}</dl></header>"""


def _page(context: Context, introduction: str, figures: dict[str, Any]) -> str:
    # "<" is escaped, so that no text in the data can end the script element.
    data = json.dumps(figures, allow_nan=False).replace("<", "\\u003c")
    return f"""<!doctype html>
<html lang="{LANGUAGE_TAGS[context.language]}"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{escape(say(context.language, "takeaway.page_title"))}</title>
<style>
{style()}
:root {{ color-scheme: light dark; }}
body {{ margin: 0; background: light-dark(#fff, #0e1117); }}
main.od {{ max-width: 1160px; margin: 24px auto; padding: 0 16px; }}
header {{ max-width: 76ch; }} .od header p {{ margin: 0 0 10px; }}
dl {{ display: grid; grid-template-columns: auto 1fr; gap: 4px 16px; margin: 16px 0 0; }}
dt {{ color: var(--quiet); }} dd {{ margin: 0; overflow-wrap: anywhere; }}
h2, h3 {{ overflow-wrap: anywhere; }} h2 {{ margin: 44px 0 12px; }} h3 {{ margin: 28px 0 6px; }}
.top {{ display: flex; flex-wrap: wrap; gap: 24px; margin: 12px 0 24px; }}
.top img {{ max-width: min(260px, 100%); max-height: 220px; border-radius: 6px; }} .top .prediction {{ flex: 1 1 280px; min-width: 0; }}
@media print {{ :root {{ color-scheme: light; }} body {{ background: #fff; }} main.od {{ margin: 0; padding: 0; }} .top, .layer {{ break-inside: avoid; }} main > section + section {{ break-before: page; }} }}
</style>
<body><main class="od">
{introduction}
</main>
<script>
{script("prediction", "glance", "layer", "side_by_side")}
const FIGURES = {data};
const main = document.querySelector("main");
const add = (html) => {{
  const section = document.createElement("section");
  section.innerHTML = html;
  return main.appendChild(section);
}};
const sheets = FIGURES.sheets.map((sheet) => {{
  const section = add(`<h2>${{esc(sheet.title)}}</h2><div class="top"><img src="${{esc(sheet.photo)}}" alt="${{esc(sheet.title)}}">
    <div class="prediction"></div></div><div class="glance"></div><h3 class="layer-name"></h3><div class="layer"></div>`);
  const part = (name) => section.querySelector("." + name);
  drawPrediction(part("prediction"), sheet.prediction);
  return {{ ...sheet, part }};
}});
const comparison = FIGURES.comparison && add('<h2 class="layer-name"></h2><div class="side-by-side"></div>');
const choose = (layer) => {{
  for (const {{ glance, layers, part }} of sheets) {{
    part("layer-name").textContent = FIGURES.headings[layer];
    drawGlance(part("glance"), {{ ...glance, selected: layer }}, {{ choose }});
    drawLayer(part("layer"), layers[layer]);
  }}
  if (comparison) {{
    comparison.querySelector("h2").textContent = FIGURES.comparison.headings[layer];
    drawSideBySide(comparison.querySelector(".side-by-side"), FIGURES.comparison.layers[layer]);
  }}
}};
choose(FIGURES.selected);
</script></body></html>
"""
