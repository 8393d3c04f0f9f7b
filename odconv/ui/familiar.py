"""The note under the prediction: what a picture really is, or that it may be of none of the network's classes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import streamlit as st

from odconv.card import Card
from odconv.drawings import first_synonym
from odconv.familiar import Familiarity, is_unfamiliar
from odconv.ui import text
from odconv.ui.engine import Engine
from odconv.ui.inference import Answers
from odconv.ui.pictures import Picture, Sample, samples

# The class lists that samples.json speaks of, see ``fingerprint``: what is none of theirs may be of another list's.
TINY_IMAGENET, IMAGENET = "91a2d5eb720c3b1b", "a40d9be82eb4738b"


def fingerprint(classes: Sequence[str]) -> str:
    """What a list of class names is known by: the first 16 hex digits of the SHA-256 of its lines."""
    return hashlib.sha256("\n".join(classes).encode()).hexdigest()[:16]


def show(engine: Engine, picture: Picture, answers: Answers | None) -> None:
    """Say what there is to say of one picture, as trained: so that nothing moves while a dial is turned."""
    if answers and (sentence := to_sentence(picture, answers.trained.logits, engine.checkpoint.card)):
        with st.container(key="familiar"):
            st.caption(sentence)


def to_sentence(picture: Picture, logits: np.ndarray, card: Card) -> str:
    """The note, as Markdown, or an empty text. ``logits``: (1, classes), the network's as trained."""
    if not np.isfinite(logits).all():
        return ""
    count = f"{len(card.classes):,}"
    if (picture.sample or picture.drawn) and (listed := fingerprint(card.classes)) in (TINY_IMAGENET, IMAGENET):
        if picture.drawn or picture.sample is None:
            return text.markdown("familiar.drawn", count=count)
        right, first = _classes_of(samples()[picture.sample], listed), card.classes[int(logits[0].argmax())]
        if not right:
            return text.markdown("familiar.none", count=count)
        if first in right:
            return ""
        return text.markdown("familiar.really", really=first_synonym(right[0]), first=first_synonym(first))
    if card.familiar is None:
        return ""
    key = "familiar.perhaps" if is_unfamiliar(logits, card.familiar) else "familiar.always"
    return text.markdown(key, count=count, **_trust(card.familiar))


def _classes_of(sample: Sample, listed: str) -> tuple[str, ...]:
    """The classes of a sample in a list of which samples.json speaks, the best first."""
    if listed == IMAGENET:
        return sample.thousand
    return () if sample.known is None else (sample.known,)


def _trust(familiarity: Familiarity) -> dict[str, str]:
    return {
        "score": text.say(f"familiar.{familiarity.score}"),
        "higher": f"{100 - familiarity.false_alarms:.3g}",
        "pictures": f"{familiarity.pictures:,}",
        "false_alarms": f"{familiarity.false_alarms:.2g}",
        "caught": f"{familiarity.caught:.0f}",
        "strangers": f"{familiarity.strangers:,}",
    }
