"""Ray Serve in front of the networks. The only module that imports Ray.

    ODCONV_ENGINE_TOKEN=... serve run odconv.cluster.serving:build gpus=0.25 most=8

puts it on a cluster that is there; ``python -m odconv.cluster`` starts one of its own.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from odconv.cluster.answering import Networks
from odconv.cluster.client import PATH
from odconv.cluster.messages import MAX_QUESTION, MessageError, Question, read_question

TOKEN = "ODCONV_ENGINE_TOKEN"
SHORTEST = 16  # characters of a token
BUNDLED = Path(__file__).parents[2] / "assets" / "weights"  # in a checkout


@dataclass(frozen=True)
class Scale:
    """How much of a cluster is used. Each may come from the environment, such as ``ODCONV_CLUSTER_GPUS=0.25``."""

    fewest: int = 1  # replicas
    most: int = 1  # replicas, where many ask
    cpus: float = 1.0  # of each replica; as many threads does a pass have
    gpus: float = 0.0  # of each replica; 0.25: four share one
    batch: int = 8  # pictures in one pass at most
    wait: float = 0.005  # seconds that the first picture of a pass waits for others

    def __post_init__(self) -> None:
        if not (
            1 <= self.fewest <= self.most and self.cpus > 0 and self.gpus >= 0 and self.batch >= 1 and self.wait >= 0
        ):
            raise ValueError(f"{self}: 1 <= fewest <= most, cpus > 0, gpus >= 0, batch >= 1 and wait >= 0 are needed")


def read_scale(options: Mapping[str, str]) -> Scale:
    """The scale in ``options``, or else in the environment, or else the default.

    Raises:
        ValueError: an option is unknown or no such number.
    """
    kinds: dict[str, type] = {field.name: int if field.type == "int" else float for field in fields(Scale)}
    if unknown := set(options) - set(kinds):
        raise ValueError(f"unknown options: {', '.join(sorted(unknown))}; there are {', '.join(kinds)}")
    told = {name: options.get(name, os.environ.get(f"ODCONV_CLUSTER_{name.upper()}")) for name in kinds}
    return Scale(**{name: kinds[name](value) for name, value in told.items() if value is not None})


def build(options: Mapping[str, str]) -> serve.Application:
    """The application for Ray Serve: the bundled networks of a checkout and those in ``ODCONV_WEIGHTS``.

    Raises:
        ValueError: there is no token of at least ``SHORTEST`` characters, or an option is none.
    """
    token = os.environ.get(TOKEN, "")
    if len(token) < SHORTEST:
        raise ValueError(f"{TOKEN} is needed, with at least {SHORTEST} characters: who has it may ask")
    scale = read_scale(options)
    own = os.environ.get("ODCONV_WEIGHTS")
    return (
        serve.deployment(Passes)
        .options(
            ray_actor_options={"num_cpus": scale.cpus, "num_gpus": scale.gpus},
            autoscaling_config={
                "min_replicas": scale.fewest,
                "max_replicas": scale.most,
                "target_ongoing_requests": scale.batch,
            },
            max_ongoing_requests=2 * scale.batch,  # one pass is computed, the next one gathers
            max_queued_requests=8 * scale.batch,  # whoever comes then computes by himself at once
            health_check_period_s=2,
            graceful_shutdown_timeout_s=5,
        )
        .bind(token, [BUNDLED, *([Path(own)] if own else [])], scale.batch, scale.wait)
    )


class Passes:
    """One replica: questions come in over HTTP, pass through a network together, and leave as answers."""

    def __init__(self, token: str, folders: Sequence[Path], batch: int, wait: float) -> None:
        self._token = token.encode()
        self._networks = Networks(folders, "cuda" if torch.cuda.is_available() else "cpu")
        self._pass.set_max_batch_size(batch)
        self._pass.set_batch_wait_timeout_s(wait)

    async def __call__(self, request: Request) -> Response:
        """The answer to the question in a request's body; 401, 404, 405, 413 or 422 and why where there is none."""
        came = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(came, b"Bearer " + self._token):
            return Response("a token is needed", 401)
        if request.url.path != PATH:
            return Response("no such page", 404)
        if request.method != "POST":
            return Response("POST is needed", 405)
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MAX_QUESTION:
                return Response("too long", 413)
        try:
            question = read_question(bytes(body))
        except MessageError as error:
            return Response(str(error), 422)
        answer = await self._pass(question)
        if isinstance(answer, MessageError):
            return Response(str(answer), 404 if question.network not in self._networks else 422)
        return Response(answer, media_type="application/octet-stream")

    @serve.batch
    async def _pass(self, questions: list[Question]) -> list[bytes | MessageError]:
        return await asyncio.to_thread(self._networks.answer, questions)  # meanwhile the next ones gather
