"""The cached network, the queue in front of it, and cached records.

One network serves all visitors: a pass is told its settings and changes nothing. One pass at a time runs on a device;
who waits too long is told so. Nothing here draws.
"""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import streamlit as st
import torch

from odconv import atlas, images
from odconv.atlas import Atlas, AtlasError
from odconv.attention import Settings
from odconv.checkpoint import Checkpoint, CheckpointError, find_checkpoints, load_checkpoint
from odconv.cost import LayerCost, cost
from odconv.explain import Explanation, explain
from odconv.ui.sources import Picture

log = logging.getLogger(__name__)

BUNDLED = Path(__file__).parents[2] / "assets" / "weights"
FIRST = "od_resnet18_w32_4x_tiny_imagenet.safetensors"  # what a visitor sees who has chosen nothing
DEVICES = {"auto": "Auto", "cpu": "CPU", "cuda": "NVIDIA GPU (CUDA)", "mps": "Apple GPU (MPS)"}
PATIENCE = 15.0  # seconds in the queue after which a visitor is told that the server is busy


class BusyError(RuntimeError):
    """The queue in front of a device is too long."""


def weights() -> dict[str, Path]:
    """File name -> path of what the model picker offers: the bundled weights and the folder ``ODCONV_WEIGHTS``."""
    own = os.environ.get("ODCONV_WEIGHTS")
    found = find_checkpoints(BUNDLED, *([Path(own)] if own else []))
    return dict(sorted(found.items(), key=lambda item: item[0] != FIRST))


def devices() -> list[str]:
    """The devices that this machine has, ``"auto"`` first."""
    present = {"auto": True, "cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [name for name in DEVICES if present[name]]


def resolve(device: str) -> str:
    """The device that ``device`` means here; what this machine does not have means ``"auto"``."""
    available = devices()
    if device in available and device != "auto":
        return device
    return next(name for name in ("cuda", "mps", "cpu") if name in available)


@dataclass(frozen=True)
class Engine:
    """A network on a device. ``identity`` names it in cache keys: file, time of change, device."""

    checkpoint: Checkpoint
    device: str
    identity: tuple[str, float, str]
    path: Path


def costs(engine: Engine) -> dict[str, LayerCost]:
    """Name of every convolution and linear map -> its cost for one picture."""
    return _costed(engine.identity, engine)


@st.cache_resource(max_entries=4, show_spinner=False)
def _costed(identity: tuple[str, float, str], _engine: Engine) -> dict[str, LayerCost]:
    return {layer.name: layer for layer in cost(_engine.checkpoint.model, _engine.checkpoint.card.image_size)}


def typical(engine: Engine, record: Explanation) -> Atlas | None:
    """What is typical of many pictures; None without an atlas beside the weights that fits what the network makes."""
    found = _charted(engine.identity, engine.path)
    try:
        if found:
            atlas.check_fits(record, found)
        return found
    except AtlasError as error:
        log.warning("atlas refused: %s", error)
        return None


@st.cache_resource(max_entries=4, show_spinner=False)
def _charted(identity: tuple[str, float, str], _path: Path) -> Atlas | None:
    try:
        return atlas.atlas_beside(_path)
    except AtlasError as error:
        log.warning("atlas refused: %s", error)
        return None


@dataclass(frozen=True)
class Answer:
    """What the network made of some pictures; ``note`` says what the visitor should know of how, or is empty."""

    explanation: Explanation
    note: str = ""


def open_engine(name: str, device: str) -> Engine:
    """The network of a file that ``weights()`` lists, on ``device``; the same object for every visitor.

    Raises:
        CheckpointError: one clear sentence; it is logged.
    """
    path = weights().get(name)
    if path is None:
        raise CheckpointError("checkpoint.no_model")
    try:
        return _opened(path, path.stat().st_mtime, resolve(device))
    except CheckpointError as error:
        log.warning("checkpoint refused: %s", error)
        raise


@st.cache_resource(max_entries=4, show_spinner="Loading the network …")
def _opened(path: Path, changed: float, device: str) -> Engine:
    # Half of the cores for the network, the rest for pages: with threads on all of them, a pass of 15 ms waits for the
    # browser or another visitor's page at every layer and takes up to a second.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    checkpoint = load_checkpoint(path)
    checkpoint.model.to(device)
    # The network lives as long as the server; the garbage collector need not walk it after every run.
    gc.collect()
    gc.freeze()
    return Engine(checkpoint, device, (str(path), changed, device), path)


def answer(engine: Engine, pictures: Sequence[Picture], settings: Settings) -> Answer:
    """What the network makes of ``pictures`` under ``settings``; from the cache where it has been asked before.

    Raises:
        BusyError: others have kept the device for too long.
    """
    return _answered(engine.identity, tuple(picture.digest for picture in pictures), settings, engine, tuple(pictures))


@st.cache_data(max_entries=400, show_spinner=False)
def _answered(
    identity: tuple[str, float, str],
    digests: tuple[str, ...],
    settings: Settings,
    _engine: Engine,
    _pictures: tuple[Picture, ...],
) -> Answer:
    batch = torch.cat([images.prepare(picture.image, _engine.checkpoint.card) for picture in _pictures])
    try:
        with _turn(_engine.device):
            return Answer(explain(_engine.checkpoint.model, batch, settings))
    except torch.OutOfMemoryError:
        log.warning("out of memory on %s, %d pictures; falling back to the CPU", _engine.device, len(batch))
        if _engine.device == "cuda":
            torch.cuda.empty_cache()
        fallback = _opened(_engine.path, identity[1], "cpu")
        with _turn("cpu"):
            explanation = explain(fallback.checkpoint.model, batch, settings)
        return Answer(explanation, "The GPU has no memory left, so this was computed on the CPU.")


_queues = {name: threading.BoundedSemaphore(1) for name in DEVICES}


@contextmanager
def _turn(device: str) -> Iterator[None]:
    """One pass at a time on a device, with a limit to the wait. No streamlit call while holding it."""
    if not _queues[device].acquire(timeout=PATIENCE):
        raise BusyError("Many visitors are using the network right now; please try again in a moment.")
    try:
        yield
    finally:
        _queues[device].release()
