"""The cached network, the queue in front of it, and its cached answers.

One network serves all visitors: a pass gets its settings and changes nothing in the network. One pass at a time runs on a
device, and a visitor who waits too long gets a ``BusyError``. Nothing here draws.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import streamlit as st
import torch

from odconv import atlas, images
from odconv.atlas import Atlas, AtlasError
from odconv.attention import Heads, Settings
from odconv.checkpoint import Checkpoint, CheckpointError, file_versions, find_checkpoints, load_checkpoint
from odconv.cost import LayerCost, cost
from odconv.explain import Explanation, explain, stack
from odconv.kernel_view import KernelView, pick_slice, view_kernel
from odconv.layer import ODConv2d
from odconv.normalize import heads_of, most_kernels, normalize
from odconv.tempering import Reading, take_reading
from odconv.ui.pictures import Picture
from odconv.unusual import check_fits
from odconv.words import SayableError

log = logging.getLogger(__name__)

BUNDLED = Path(__file__).parents[2] / "assets" / "weights"
FIRST = "od_resnet18_w32_4x_tiny_imagenet.safetensors"  # what a visitor sees who has chosen nothing
DEVICES = {"auto": "Auto", "cpu": "CPU", "cuda": "NVIDIA GPU (CUDA)", "mps": "Apple GPU (MPS)"}
PATIENCE = 15.0  # seconds in the queue after which a visitor is told that the server is busy

HOUR = 3600.0  # seconds for which an answer is kept: it holds attentions and logits, and nothing of the photo
ANSWERS = "64MB"  # of answers are kept: 1,700 of the bundled network, 80 of a ResNet-101
MINUTE = 60.0  # seconds for which a kernel view is kept: it holds a map in which a photo could be recognised
VIEWS = "16MB"
READINGS = "16MB"  # 50 pictures' curves of the bundled network

Versions = tuple[Hashable, ...]  # see ``file_versions``
Identity = tuple[Versions, str]  # versions of weights, card and atlas; the device


class BusyError(SayableError):
    """The queue in front of a device is too long."""


# --- what there is to open --------------------------------------------------------------------------------------------


def weights() -> dict[str, Path]:
    """File name -> path of what the model picker offers: the bundled weights and the folder ``ODCONV_WEIGHTS``."""
    own = os.environ.get("ODCONV_WEIGHTS")
    found = find_checkpoints(BUNDLED, *([Path(own)] if own else []))
    return dict(sorted(found.items(), key=lambda item: item[0] != FIRST))


def devices() -> list[str]:
    """The devices that this machine has, ``"auto"`` first."""
    present = {"auto": True, "cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [name for name in DEVICES if present[name]]


def pick_device(name: str) -> str:
    """The device that ``name`` means here: the fastest one for ``"auto"``, and for what this machine does not have."""
    available = devices()
    if name in available and name != "auto":
        return name
    return next(fast for fast in ("cuda", "mps", "cpu") if fast in available)


# --- an open network --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Engine:
    """An open network on a device."""

    checkpoint: Checkpoint
    device: str  # "cpu", "cuda" or "mps"
    identity: Identity  # names it in cache keys: the versions of its files when it was opened, and its device
    path: Path  # of the weights

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """The attention heads that any of its layers has, in the order of ``HEADS``; none in a static network."""
        return heads_of(self.checkpoint.model)

    @cached_property
    def num_kernels(self) -> int:
        """The largest K of its layers; 1 in a static network."""
        return most_kernels(self.checkpoint.model)

    def normalize(self, settings: Settings) -> Settings:
        """The simplest settings that mean the same for this network; ``Settings()`` where that is the network as trained."""
        return normalize(settings, self.checkpoint.model)


def open_engine(name: str, device: str) -> Engine:
    """The network of a file that ``weights()`` lists, on ``device``; the same object for every visitor.

    It is opened again when its weights, card or atlas have changed, and on the CPU where the GPU has too little memory.

    Raises:
        CheckpointError: one clear sentence; it is logged.
    """
    try:
        path = weights().get(name)
        if path is None:
            raise CheckpointError("checkpoint.no_model")
        return _open(path, pick_device(device))
    except CheckpointError as error:
        log.warning("checkpoint refused: %s", error)
        raise


def _open(path: Path, device: str) -> Engine:
    versions = file_versions(path)
    if versions[1] is None:  # it was there when the folder was listed
        raise CheckpointError("checkpoint.no_model")
    try:
        return _load(path, versions, device)
    except torch.OutOfMemoryError:
        if device == "cpu":
            raise
        log.warning("no memory on %s for %s; it is opened on the CPU", device, path.name)
        return _load(path, versions, "cpu")


@st.cache_resource(max_entries=4, show_spinner=False)
def _load(path: Path, versions: Versions, device: str) -> Engine:
    set_up_torch()
    checkpoint = load_checkpoint(path)
    checkpoint.model.to(device)
    return Engine(checkpoint, device, (versions, device), path)


@cache
def set_up_torch() -> None:
    """Settings of the whole process, made once, when the first network opens."""
    # Half of the cores for the network, the rest for pages: with threads on all of them, a pass of 15 ms waits for the
    # browser or another visitor's page at every layer and takes up to a second.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    # What is called float32 is, on a GPU too: pages show the numbers that ``odconv.training.evaluate`` measures.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def costs(engine: Engine) -> dict[str, LayerCost]:
    """Name of every convolution and linear map -> its cost for one picture."""
    return _count_costs(engine.identity, engine)


@st.cache_resource(max_entries=4, show_spinner=False)
def _count_costs(identity: Identity, _engine: Engine) -> dict[str, LayerCost]:
    return {layer.name: layer for layer in cost(_engine.checkpoint.model, _engine.checkpoint.card.image_size)}


def load_atlas_for(engine: Engine, record: Explanation) -> Atlas | None:
    """The atlas beside the weights; None where there is none, or none that fits ``record``. Refusals are logged."""
    try:
        found = _read_atlas(engine.identity, engine.path)
        if found:
            check_fits(record, found)
        return found
    except (AtlasError, OSError) as error:  # the file may be gone by now
        log.warning("atlas refused: %s", error)
        return None


@st.cache_resource(max_entries=4, show_spinner=False)
def _read_atlas(identity: Identity, _path: Path) -> Atlas | None:
    try:
        return atlas.atlas_beside(_path)
    except AtlasError as error:
        log.warning("atlas refused: %s", error)
        return None


# --- asking it --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What the network made of N pictures under one choice of settings."""

    explanation: Explanation  # its settings are the normal form of those asked for: ``Settings()`` means as trained
    note: str = ""  # key of a text about how it was computed, such as without the GPU; empty: nothing special


def ask(engine: Engine, picture: Picture, settings: Settings) -> Answer:
    """What the network makes of ``picture`` under ``settings``, N = 1; from the cache where it has been asked before.

    Raises:
        BusyError: others have kept the device for too long.
    """
    return _ask(engine, picture, settings, time.monotonic() + PATIENCE)


def ask_all(engine: Engine, pictures: Sequence[Picture], settings: Settings) -> Answer:
    """What the network makes of N pictures, at least one; each is cached by itself. Waits no longer than ``ask``.

    Raises:
        BusyError: others have kept the device for too long.
    """
    deadline = time.monotonic() + PATIENCE
    answers = [_ask(engine, picture, settings, deadline) for picture in pictures]
    note = next((answer.note for answer in answers if answer.note), "")
    return Answer(stack([answer.explanation for answer in answers]), note)


@dataclass(frozen=True)
class Answers:
    """What the network made of N pictures under some settings, and as trained."""

    now: Explanation
    trained: Explanation
    note: str = ""  # as in ``Answer``

    @property
    def reference(self) -> Explanation | None:
        """What ``now`` is compared with: ``trained``; None where the settings mean the network as trained."""
        return None if self.now.settings == Settings() else self.trained


def ask_both(engine: Engine, pictures: Sequence[Picture], settings: Settings) -> Answers:
    """What the network makes of ``pictures`` under ``settings``, and as trained.

    Raises:
        BusyError: others have kept the device for too long.
    """
    now, trained = ask_all(engine, pictures, settings), ask_all(engine, pictures, Settings())
    return Answers(now.explanation, trained.explanation, now.note or trained.note)


def _ask(engine: Engine, picture: Picture, settings: Settings, deadline: float) -> Answer:
    settings = engine.normalize(settings)
    explanation, note = _else_on_cpu(
        engine, lambda there: _explain(there.identity, picture.digest, settings, there, picture, deadline)
    )
    return Answer(explanation, note)


Found = TypeVar("Found")


def _else_on_cpu(engine: Engine, compute: Callable[[Engine], Found]) -> tuple[Found, str]:
    """What ``compute`` gives on the engine's device, or on the CPU where that has no memory for it; and the answer's note."""
    try:
        return compute(engine), ""
    except torch.OutOfMemoryError:
        if engine.device == "cpu":
            raise
    log.warning("out of memory on %s; falling back to the CPU", engine.device)
    if engine.device == "cuda":
        torch.cuda.empty_cache()
    # Cached as what the CPU says. The GPU is asked again the next time.
    return compute(_open(engine.path, "cpu")), "network.gpu_out_of_memory"


# Streamlit computes a key once, and all who ask for it meanwhile wait for that. The deadline was set before: it holds for
# them, too.
@st.cache_data(ttl=HOUR, max_size=ANSWERS, show_spinner=False)
def _explain(
    identity: Identity,
    digest: str,
    settings: Settings,
    _engine: Engine,
    _picture: Picture,
    _deadline: float,
    _known: Explanation | None = None,
) -> Explanation:
    """``_known``: the answer, where another question's pass has given it."""
    if _known is not None:
        return _known
    image = images.prepare(_picture.image, _engine.checkpoint.card)
    with _wait_for_device(_engine.device, _deadline):
        return explain(_engine.checkpoint.model, image, settings)


# --- asking for one kernel --------------------------------------------------------------------------------------------


def ask_kernel(
    engine: Engine,
    picture: Picture,
    settings: Settings,
    layer: str,
    filter: int | None = None,
    channel: int | None = None,
    other: Picture | None = None,
) -> KernelView:
    """One slice of the kernel that ``layer`` forges for ``picture`` under ``settings``, beside another picture's.

    Asked before :func:`ask`, it costs no pass of its own: the same one answers both.

    Args:
        filter, channel: which slice, see :func:`odconv.kernel_view.view_kernel`. What is ``None`` or not there is picked by
            :func:`odconv.kernel_view.pick_slice` from the network as trained, so that it stays while a dial is turned.
        other: the picture to compare with, under the same settings; without one it is the typical picture of the atlas, as
            trained, where there is an atlas.

    Raises:
        BusyError: others have kept the device for too long.
        KeyError: the network has no such layer.
    """
    deadline = time.monotonic() + PATIENCE
    settings = engine.normalize(settings)
    filters, channels = _module(engine, layer).weight.shape[1:3]
    filter = filter if filter is not None and filter < filters else None
    channel = channel if channel is not None and channel < channels else None

    # Asked for only where what depends on it is not in a cache: reading a record takes milliseconds of each frame of a drag.
    def trained() -> Explanation:
        return _ask(engine, picture, Settings(), deadline).explanation

    def compared(settings: Settings) -> Heads[np.ndarray] | None:
        if other is None:
            return _typical(engine.identity, layer, engine, trained)
        return _ask(engine, other, settings, deadline).explanation.layers[layer].attention

    pair = (picture.digest, None if other is None else other.digest)
    if filter is None or channel is None:
        filter, channel = _pick(
            engine.identity,
            pair,
            layer,
            filter,
            channel,
            engine,
            lambda: (trained().layers[layer].attention, compared(Settings())),
        )
    against, where = compared(settings), (layer, filter, channel)
    view, _ = _else_on_cpu(
        engine,
        lambda there: _view_kernel(there.identity, pair, settings, where, there, picture, against, deadline),
    )
    return view


def _module(engine: Engine, layer: str) -> ODConv2d:
    module = dict(engine.checkpoint.model.named_modules()).get(layer.partition("#")[0])
    if not isinstance(module, ODConv2d):
        raise KeyError(f"{layer!r}: the network has no such layer")
    return module


@st.cache_resource(max_entries=1000, show_spinner=False)
def _typical(
    identity: Identity, layer: str, _engine: Engine, _record: Callable[[], Explanation]
) -> Heads[np.ndarray] | None:
    """The typical picture's attention in one layer, N = 1, where there is an atlas that fits the network's record."""
    found = load_atlas_for(_engine, _record())
    if found is None:
        return None
    return Heads(*(None if head is None else head[None] for head in found.means()[layer]))


@st.cache_data(ttl=HOUR, max_entries=1000, show_spinner=False)
def _pick(
    identity: Identity,
    pair: tuple[str, str | None],
    layer: str,
    filter: int | None,
    channel: int | None,
    _engine: Engine,
    _attentions: Callable[[], tuple[Heads[np.ndarray], Heads[np.ndarray] | None]],
) -> tuple[int, int]:
    return pick_slice(_module(_engine, layer), *_attentions(), filter, channel)


@st.cache_data(ttl=MINUTE, max_size=VIEWS, show_spinner=False)
def _view_kernel(
    identity: Identity,
    pair: tuple[str, str | None],
    settings: Settings,
    where: tuple[str, int, int],
    _engine: Engine,
    _picture: Picture,
    _against: Heads[np.ndarray] | None,
    _deadline: float,
) -> KernelView:
    layer, filter, channel = where
    image = images.prepare(_picture.image, _engine.checkpoint.card)
    with _wait_for_device(_engine.device, _deadline):
        found = explain(_engine.checkpoint.model, image, settings, keep_input_of=layer)
    record = found.layers[layer]
    assert record.input is not None
    # The same pass answers what is asked next: what the network makes of this picture. A second one would halve the frames
    # of a drag. The photo's input stays here.
    answer = replace(found, layers=found.layers | {layer: replace(record, input=None)})
    _explain(identity, pair[0], settings, _engine, _picture, _deadline, answer)
    return view_kernel(_module(_engine, layer), record.input, record.attention, _against, filter, channel)


# --- asking for curves ------------------------------------------------------------------------------------------------


def read_each(engine: Engine, picture: Picture, settings: Sequence[Settings]) -> Iterator[Reading]:
    """What one pass under each of ``settings`` says of ``picture``, one after the other.

    Each is cached by itself, and between two of them the device is free for others.

    Raises:
        BusyError: others have kept the device for too long; what was read before is not lost.
    """
    for one in settings:
        reading, _ = _else_on_cpu(engine, partial(_read_under, picture, engine.normalize(one)))
        yield reading


def _read_under(picture: Picture, settings: Settings, engine: Engine) -> Reading:
    return _read(engine.identity, picture.digest, settings, engine, picture, time.monotonic() + PATIENCE)


@st.cache_data(ttl=HOUR, max_size=READINGS, show_spinner=False)
def _read(
    identity: Identity, digest: str, settings: Settings, _engine: Engine, _picture: Picture, _deadline: float
) -> Reading:
    image = images.prepare(_picture.image, _engine.checkpoint.card)
    with _wait_for_device(_engine.device, _deadline):
        return take_reading(_engine.checkpoint.model, image, settings)


_queues = {name: threading.BoundedSemaphore(1) for name in DEVICES}


@contextmanager
def _wait_for_device(device: str, deadline: float) -> Iterator[None]:
    """Hold the device, one pass at a time. Make no streamlit call while holding it.

    Raises:
        BusyError: it was not free by ``deadline``, in seconds of ``time.monotonic()``.
    """
    if not _queues[device].acquire(timeout=max(0.0, deadline - time.monotonic())):
        raise BusyError("busy.network")
    try:
        yield
    finally:
        _queues[device].release()
