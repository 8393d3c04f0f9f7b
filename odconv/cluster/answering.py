"""Answer questions about networks whose weights lie here, several pictures in one pass. Ray is not needed for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from PIL import Image

from odconv.atlas import fingerprint
from odconv.checkpoint import Checkpoint, find_checkpoints, load_checkpoint
from odconv.cluster.messages import MessageError, Question, pack_answer
from odconv.explain import explain_each
from odconv.images import prepare
from odconv.normalize import normalize

OPEN = 4  # networks that stay open


class Networks:
    """The networks in some folders, each known by the fingerprint of its weights."""

    def __init__(self, folders: Sequence[Path], device: str) -> None:
        # What is called float32 is, on a GPU too; see ``odconv.ui.engine``.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        self.device = device
        self._paths = {fingerprint(path): path for path in find_checkpoints(*folders).values()}
        self._open = lru_cache(OPEN)(self._load)

    def __contains__(self, network: object) -> bool:
        return network in self._paths

    def _load(self, network: str) -> Checkpoint:
        checkpoint = load_checkpoint(self._paths[network])
        checkpoint.model.to(self.device)
        return checkpoint

    def answer(self, questions: Sequence[Question]) -> list[bytes | MessageError]:
        """Of each question the answer as a message, or why there is none. Questions about one network share a pass.

        Raises:
            CheckpointError: a network's file can no longer be read.
        """
        found: dict[int, bytes | MessageError] = {}
        for network in dict.fromkeys(question.network for question in questions):
            mine = [i for i, question in enumerate(questions) if question.network == network]
            found |= zip(mine, self._answer(network, [questions[i] for i in mine]), strict=True)
        return [found[i] for i in range(len(questions))]

    def _answer(self, network: str, questions: Sequence[Question]) -> Sequence[bytes | MessageError]:
        if network not in self:
            return [MessageError(f"no network has the fingerprint {network}")] * len(questions)
        checkpoint = self._open(network)
        side = checkpoint.card.image_size
        card = replace(checkpoint.card, resize=side)  # the square was cut out before it was sent
        fits = [i for i, question in enumerate(questions) if len(question.pixels) == side]
        found: list[bytes | MessageError] = [MessageError(f"a square of {side} px is needed")] * len(questions)
        if fits:
            batch = torch.cat([prepare(Image.fromarray(questions[i].pixels), card) for i in fits])
            settings = [normalize(questions[i].settings, checkpoint.model) for i in fits]
            for i, one in zip(fits, explain_each(checkpoint.model, batch, settings), strict=True):
                found[i] = pack_answer(one)
        return found
