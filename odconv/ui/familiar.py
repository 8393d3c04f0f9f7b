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
from odconv.ui.pictures import Picture, samples

# The class list that samples.json speaks of, see ``fingerprint``: its null means none of these, and says nothing of others.
SPOKEN_OF = "91a2d5eb720c3b1b"


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
    count = len(card.classes)
    if (picture.sample or picture.drawn) and fingerprint(card.classes) == SPOKEN_OF:
        if picture.drawn or picture.sample is None:
            return text.markdown("familiar.drawn", count=count)
        really, first = samples()[picture.sample].known, card.classes[int(logits[0].argmax())]
        if really is None:
            return text.markdown("familiar.none", count=count)
        if really == first:
            return ""
        return text.markdown("familiar.really", really=first_synonym(really), first=first_synonym(first))
    if card.familiar is None:
        return ""
    key = "familiar.perhaps" if is_unfamiliar(logits, card.familiar) else "familiar.always"
    return text.markdown(key, count=count, **_trust(card.familiar))


def _trust(familiarity: Familiarity) -> dict[str, str]:
    return {
        "score": text.say(f"familiar.{familiarity.score}"),
        "higher": f"{100 - familiarity.false_alarms:.3g}",
        "pictures": f"{familiarity.pictures:,}",
        "false_alarms": f"{familiarity.false_alarms:.2g}",
        "caught": f"{familiarity.caught:.0f}",
        "strangers": f"{familiarity.strangers:,}",
    }
