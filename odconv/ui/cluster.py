"""Passes that a cluster makes instead of this machine, where ``ODCONV_ENGINE`` names one.

What needs a network's record alone is asked for there: predictions and attention. What looks into a layer's input, and a
visitor's own network, stays here. Where the cluster gives no answer, this machine does the work, and the page says so.
"""

from __future__ import annotations

import logging
import os
import time
from functools import cache

import numpy as np

from odconv import images
from odconv.attention import Settings
from odconv.cluster.client import Address, ClusterError, parse_address, send
from odconv.cluster.messages import MessageError, Question, pack_question, read_answer
from odconv.explain import Explanation
from odconv.ui.engine import Engine
from odconv.ui.pictures import Picture

log = logging.getLogger(__name__)

SECONDS = 5.0  # in which an answer must come; a visitor waits no longer than ``devices.PATIENCE`` in all
REST = 30.0  # seconds in which a cluster that gave no answer is not asked again about that network

_resting: dict[
    tuple[str, str], float
] = {}  # what ``ODCONV_ENGINE`` says, fingerprint -> until when, ``time.monotonic()``


def named() -> bool:
    """Whether there is a cluster that pictures are sent to."""
    return bool(_where())


def asked(engine: Engine) -> bool:
    """Whether passes through this network are a cluster's, when it answers."""
    return named() and engine.own is None


def note(engine: Engine) -> str:
    """Key of a text about a cluster that should have answered and did not; empty: there is nothing to say."""
    return "network.cluster_away" if asked(engine) and _rests(engine) else ""


def explain(engine: Engine, picture: Picture, settings: Settings) -> Explanation | None:
    """What the cluster's network makes of ``picture``, N = 1; None where there is no cluster, or no answer, which is logged.

    Only the square that the network sees leaves this machine.
    """
    if not asked(engine) or _rests(engine):
        return None
    checkpoint = engine.checkpoint
    card = checkpoint.card
    try:
        address = _parse(_where())
        pixels = np.array(images.crop(picture.image, card.image_size, card.resize))
        question = pack_question(Question(engine.fingerprint, pixels, settings))
        answer = send(address, os.environ.get("ODCONV_ENGINE_TOKEN", ""), question, SECONDS)
        return read_answer(answer, settings, checkpoint.model, len(card.classes))
    except (ClusterError, MessageError, ValueError) as error:  # the latter: the address is none
        log.warning("no answer from the cluster about %s: %s", engine.name, error)
        _resting[_where(), engine.fingerprint] = time.monotonic() + REST
        return None


def _where() -> str:
    return os.environ.get("ODCONV_ENGINE", "")


@cache
def _parse(text: str) -> Address:
    return parse_address(text)


def _rests(engine: Engine) -> bool:
    return time.monotonic() < _resting.get((_where(), engine.fingerprint), 0.0)
