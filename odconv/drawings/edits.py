"""What an edit of the picture does to prediction and attention, as data for ``sides.js``; and the brush."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from odconv.attention import HEADS
from odconv.comparison import find_largest, mean_sizes, subtract_all
from odconv.drawings.describe import head_name, join_list, join_sentences
from odconv.drawings.names import clean_name, first_synonym
from odconv.drawings.sides import Place, Side, differences_data
from odconv.edits import MOST_DABS, Dab
from odconv.explain import Explanation
from odconv.words import say, texts

SIZES = {"small": 40, "medium": 80, "large": 160}  # radius of the brush, in thousandths of the shorter side
TEMPLATES = ("brush", "brush_note", "sizes", "clear", "full")


def edit_data(
    language: str,
    plain: Explanation,
    edited: Explanation,
    classes: Sequence[str],
    layer: str,
    places: Mapping[str, Place],
) -> dict[str, Any]:
    """The data of ``drawDifferences`` in ``sides.js``: how far attention follows an edit, layer by layer.

    Args:
        language: one of ``odconv.words.LANGUAGES``; all texts in the data are in it.
        plain, edited: of the picture as it is and edited (N = 1), in the same network.
        classes: names in the order of the logits.
        layer: the one that is chosen.
        places: as for ``differences_data``.
    """
    a, b = (Side(record, classes, layer, "") for record in (plain, edited))
    return differences_data(language, a, b, places) | {
        "title": say(language, "edit.map_title"),
        "alt": say(language, "edit.map_alt", count=len(plain.layers)),
    }


def describe_edit(language: str, plain: Explanation, edited: Explanation, classes: Sequence[str]) -> str:
    """What an edit did to the prediction, and how far attention moved; arguments as in :func:`edit_data`."""
    best = int(plain.logits[0].argmax())
    was, now = float(plain.probabilities[0, best]), float(edited.probabilities[0, best])
    first = int(edited.logits[0].argmax())
    names = {"name": first_synonym(classes[best]), "first": first_synonym(classes[first])}
    key = "edit.same_first" if first == best else "edit.other_first"
    sentences = [say(language, key, was=f"{was:.2f}", now=f"{now:.2f}", **names)]
    differences = subtract_all(plain, edited)
    largest = find_largest(plain, edited, differences)
    if largest is not None:
        sizes = [mean_sizes(difference) for difference in differences.values()]
        means = {head: [size for heads in sizes if (size := getattr(heads, head)) is not None] for head in HEADS}
        listed = (
            say(language, "edit.size", head=head_name(language, head), size=f"{np.mean(found):.3f}")
            for head, found in means.items()
            if found
        )
        sentences.append(
            say(
                language,
                "edit.moved",
                heads=join_list(language, listed),
                head=head_name(language, largest.head),
                layer=clean_name(largest.layer),
                size=f"{largest.size:.3f}",
            )
        )
    return join_sentences(language, sentences)


def brush_data(
    language: str, photo: str, alt: str, size: tuple[int, int], colour: tuple[int, int, int], dabs: Sequence[Dab]
) -> dict[str, Any]:
    """The data of ``brush.js``: the picture, and where it is painted over.

    ``photo``: the picture as a data URI, ``alt``: what there is to see; ``size``: its width and height, px; ``colour``: of
    the brush.
    """
    return {
        "photo": photo,
        "alt": alt,
        "aspect": size[0] / size[1],
        "colour": "rgb({} {} {})".format(*colour),
        "dabs": [list(dab) for dab in dabs],
        "most": MOST_DABS,
        "sizes": [{"radius": radius, "text": say(language, f"edit.size_{name}")} for name, radius in SIZES.items()],
        "words": {key: texts(language)[f"edit.{key}"] for key in TEMPLATES},
    }
