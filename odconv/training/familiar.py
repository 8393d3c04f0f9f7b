"""Find below what score a picture is probably of none of a network's classes, and write it into the card.

    python -m odconv.training.familiar --weights FILE --data DIR --others NAME=DIR [NAME=DIR ...]
        [--known CLASS ...] [--doubtful CLASS ...] [--cache DIR]

The threshold is the score that 5 % of the validation pictures are below: its false alarms. How many pictures of other things
are below it is counted in the folders of --others, each with a folder of pictures for every class. Of their classes, those
of --known are among the network's, and tell how often the alarm is false for photos that were not made small before; those of
--doubtful are left out. All scores of ``odconv.familiar`` are tried, and the one with the largest area under the ROC
curve is taken. The card keeps it under ``familiar``, with its conditions.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from odconv.attention import Settings
from odconv.checkpoint import CheckpointError
from odconv.familiar import SCORES, scores
from odconv.training.compute import full_float32
from odconv.training.data import DataError, find_pictures, load_pictures, write_whole
from odconv.training.evaluate import load_inputs, make_parser
from odconv.training.measure import Entry, Preparation, conditions, percent, predict_logits

FALSE_ALARMS = 0.05  # of the validation pictures
MOST = 50  # pictures of each class of other things: as many as Tiny-ImageNet has of each for validation


def measure_familiarity(validation: np.ndarray, strange: Mapping[str, np.ndarray], known: np.ndarray) -> Entry:
    """The threshold for the score with the largest area under the ROC curve, and how well every score tells.

    Args:
        validation: logits (N, classes) of the validation pictures.
        strange: where from -> logits of pictures of none of the classes, at least one in all.
        known: logits of photos of some of the classes; none, (0, classes), where there are none.
    """
    tried = {score: _try_score(score, validation, strange, known) for score in SCORES}
    best = max(tried, key=lambda score: tried[score]["auroc"])
    others = {score: {part: entry[part] for part in ("caught", "auroc")} for score, entry in tried.items()}
    return {"score": best} | tried[best] | {"scores": others}


def _try_score(score: str, validation: np.ndarray, strange: Mapping[str, np.ndarray], known: np.ndarray) -> Entry:
    inside, outside = scores(validation, score), {name: scores(some, score) for name, some in strange.items()}
    every = np.concatenate(list(outside.values()))
    threshold = round(float(np.quantile(inside, FALSE_ALARMS)), 4)
    entry: Entry = {"threshold": threshold, "false_alarms": round(100 * float((inside < threshold).mean()), 2)}
    entry |= {"n": len(inside)} | percent("caught", every < threshold) | {"strangers": len(every)}
    entry["auroc"] = round(100 * auroc(inside, every), 2)
    entry["caught_of"] = {
        name: percent("caught", some < threshold) | {"n": len(some)} for name, some in outside.items()
    }
    if len(known):
        entry["photos"] = percent("false_alarms", scores(known, score) < threshold) | {"n": len(known)}
    return entry


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """How often a number of ``inside`` is above one of ``outside``, ties counting half: the area under the ROC curve."""
    rising = np.sort(outside)
    below, up_to = (np.searchsorted(rising, inside, side).mean() for side in ("left", "right"))
    return float(below + up_to) / 2 / len(outside)


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser("familiar", __doc__)
    parser.add_argument("--others", type=_named_folder, nargs="+", required=True, metavar="NAME=DIR")
    parser.add_argument("--known", nargs="+", default=[], metavar="CLASS", help="classes of --others that it has, too")
    parser.add_argument("--doubtful", nargs="+", default=[], metavar="CLASS", help="classes of --others to leave out")
    options = parser.parse_args(argv)
    path = options.weights.with_suffix(".json")
    try:
        with full_float32():
            familiar = _measure(options)
        card = json.loads(path.read_text(encoding="utf-8"))
        card = {name: value for name, value in card.items() if name != "classes"} | {
            "familiar": familiar,
            "classes": card["classes"],  # the longest part stays last
        }
        write_whole(path, lambda new: new.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf-8"))
    except (CheckpointError, DataError) as error:
        sys.exit(str(error))
    print(
        f"{familiar['score']} below {familiar['threshold']:g}: {familiar['false_alarms']:.2f} % of "
        f"{familiar['n']:,} validation pictures, {familiar['caught']:.2f} % of {familiar['strangers']:,} others; "
        f"the rest is in {path}"
    )


def _measure(options: argparse.Namespace) -> Entry:
    checkpoint, _, validation = load_inputs(options)
    card, cache = checkpoint.card, options.cache or options.data / "decoded"
    how = Preparation(card.image_size, card.mean, card.std)
    known, strange, kinds = [np.empty((0, len(card.classes)))], {}, {}
    named: set[str] = set()
    for name, folder in options.others:
        found = find_pictures(folder, MOST, options.doubtful)
        pictures = load_pictures(found, "val", card.image_size, cache, card.resize)
        logits = predict_logits(checkpoint.model, pictures, how, Settings())
        is_known = np.isin(np.array(found.ids)[pictures.labels], options.known)
        known.append(logits[is_known])
        strange[name], kinds[name] = logits[~is_known], [kind for kind in found.ids if kind not in options.known]
        named |= set(found.ids)
    if missing := set(options.known) - named:
        raise DataError(f"There is no class {min(missing)} in the folders of --others.")
    if not any(map(len, strange.values())):
        raise DataError("The folders of --others hold no pictures of other things than the network's classes.")
    logits = predict_logits(checkpoint.model, validation, how, Settings())
    where = conditions(checkpoint.model, how, len(validation))
    entry = measure_familiarity(logits, strange, np.concatenate(known))
    what = (
        "a picture whose score, of the logits as trained, is below the threshold is perhaps of none of the classes; "
        "false_alarms: percent of n validation pictures below it; caught: percent of strangers, pictures of none of the "
        f"classes, up to {MOST} of each kind; photos: of some of the classes (known), from the same folders; with 95 % "
        "Wilson intervals; auroc: percent"
    )
    about = {part: where[part] for part in ("image_size", "precision", "device", "torch")}
    return {"what": what} | entry | about | {"kinds": kinds, "known": options.known, "doubtful": options.doubtful}


def _named_folder(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    if not name or not folder:
        raise argparse.ArgumentTypeError(f"{text!r}: NAME=DIR is needed")
    return name, Path(folder)


if __name__ == "__main__":
    main()
