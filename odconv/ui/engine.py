"""What there is to open, and open networks with what lies beside their weights. Nothing here draws.

One network serves all visitors, from a cache: a pass gets its settings and changes nothing in the network. A network that a
visitor brought serves that visitor alone: it lies in the session, and in no cache.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Literal

import streamlit as st
import torch

from odconv import atlas
from odconv.architecture import Architecture
from odconv.atlas import Atlas, AtlasError, fingerprint
from odconv.attention import Settings
from odconv.checkpoint import (
    Checkpoint,
    CheckpointError,
    file_versions,
    find_checkpoints,
    load_checkpoint,
    peek_architecture,
)
from odconv.cost import LayerCost, cost
from odconv.explain import Explanation
from odconv.layer import ODConv2d
from odconv.normalize import heads_of, most_kernels, normalizer
from odconv.ui.budget import Share
from odconv.ui.link import OWN
from odconv.ui.memo import Memo
from odconv.unusual import check_fits

log = logging.getLogger(__name__)

BUNDLED = Path(__file__).parents[2] / "assets" / "weights"
# What pages open with: Explore with the network that knows a thousand things, lessons with one whose layers have all four heads.
PHOTOS = "od_efficientnet_lite0_4x_imagenet.safetensors"
LESSONS = "od_resnet18_w32_4x_tiny_imagenet.safetensors"
DEVICES = {"auto": "Auto", "cpu": "CPU", "cuda": "NVIDIA GPU (CUDA)", "mps": "Apple GPU (MPS)"}

Versions = tuple[Hashable, ...]  # see ``file_versions``


# --- what there is to open --------------------------------------------------------------------------------------------


def weights() -> dict[str, Path]:
    """File name -> path of what the model picker offers: the bundled weights and the folder ``ODCONV_WEIGHTS``."""
    own = os.environ.get("ODCONV_WEIGHTS")
    found = find_checkpoints(BUNDLED, *([Path(own)] if own else []))
    return dict(sorted(found.items(), key=lambda item: (item[0] != LESSONS, item[0] == PHOTOS)))


def opening(wanted: str = LESSONS) -> str:
    """Name of the network that a page opens with where the visitor has chosen none.

    It is what ``ODCONV_MODEL`` says, else ``wanted``, else any; empty where there is none.
    """
    names = weights()
    return next((name for name in (os.environ.get("ODCONV_MODEL", ""), wanted, *names) if name in names), "")


def own() -> Engine | None:
    """The network that this visitor brought; None where there is none. It lies in the session's ``reception.Inbox``."""
    inbox = st.session_state.get("inbox")
    return inbox.network if inbox else None


def offered() -> list[str]:
    """Names of the networks that this visitor can choose from: the files of ``weights()``, and ``OWN`` where there is one."""
    return [*weights(), *([OWN] if own() else [])]


def architectures() -> dict[str, Architecture | None]:
    """Name, of ``offered()`` -> what network that is; None where its file does not say so in its first bytes."""
    found = {name: _peek(file_versions(path), path) for name, path in weights().items()}
    mine = own()
    return found | ({OWN: mine.checkpoint.architecture} if mine else {})


@st.cache_resource(max_entries=1000, show_spinner=False)
def _peek(versions: Versions, _path: Path) -> Architecture | None:
    return peek_architecture(_path)


@cache
def devices() -> list[str]:
    """The devices that this machine has, ``"auto"`` first. Every run of a page asks, and it takes milliseconds to look."""
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
class Own:
    """What a network that a visitor brought has instead of a file and of caches that all visitors share."""

    fingerprint: str  # of the file that came
    classes: Literal["card", "assumed", "numbered"]  # where their names are from: a card, ImageNet's order, or none
    megabytes: float  # that its weights take in memory, MiB
    answers: Memo
    share: Share  # of the server's memory


@dataclass(frozen=True)
class Engine:
    """An open network on a device."""

    checkpoint: Checkpoint
    device: str  # "cpu", "cuda" or "mps"
    identity: str  # names it in cache keys: the versions of its files when it was opened, and its device
    path: Path  # of the weights; of a visitor's own only its name is there
    own: Own | None = None  # where a visitor brought it

    @property
    def name(self) -> str:
        """What ``offered()`` calls it, and a link."""
        return OWN if self.own else self.path.name

    @cached_property
    def fingerprint(self) -> str:
        """See :func:`odconv.atlas.fingerprint`."""
        return self.own.fingerprint if self.own else fingerprint(self.path)

    @cached_property
    def costs(self) -> Mapping[str, LayerCost]:
        """Name of every convolution and linear map -> its cost for one picture."""
        return {layer.name: layer for layer in cost(self.checkpoint.model, self.checkpoint.card.image_size)}

    @cached_property
    def atlas(self) -> Atlas | None:
        """The atlas beside the weights; None where there is none, or it is refused, which is logged."""
        if self.own:
            return None
        try:
            return atlas.atlas_beside(self.path)
        except (AtlasError, OSError) as error:  # the file may be gone by now
            log.warning("atlas refused: %s", error)
            return None

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """The attention heads that any of its layers has, in the order of ``HEADS``; none in a static network."""
        return heads_of(self.checkpoint.model)

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """The names of its ODConv layers; none in a static network."""
        return tuple(name for name, module in self.checkpoint.model.named_modules() if isinstance(module, ODConv2d))

    @cached_property
    def num_kernels(self) -> int:
        """The largest K of its layers; 1 in a static network."""
        return most_kernels(self.checkpoint.model)

    def normalize(self, settings: Settings) -> Settings:
        """The simplest settings that mean the same for this network; ``Settings()`` where that is the network as trained."""
        return self._normal(settings)

    @cached_property
    def _normal(self) -> Callable[[Settings], Settings]:
        return lru_cache(1000)(normalizer(self.checkpoint.model))  # each question asks for it several times


def open_engine(name: str, device: str) -> Engine:
    """The network of a name that ``offered()`` lists, on ``device``; of a file, the same object for every visitor.

    A file is opened again when its weights, card or atlas have changed, and on the CPU where the GPU has too little memory.
    A visitor's own network is on the CPU: the GPU's memory is for what all share.

    Raises:
        CheckpointError: one clear sentence; it is logged.
    """
    mine = own()
    if name == OWN and mine:
        return mine
    try:
        path = weights().get(name)
        if path is None:
            raise CheckpointError("checkpoint.no_model")
        return open_on(path, pick_device(device))
    except CheckpointError as error:
        log.warning("checkpoint refused: %s", error)
        raise


def open_on(path: Path, device: str) -> Engine:
    """The network of the weights at ``path``, on a device of :func:`devices`; on the CPU where that has too little memory.

    Raises:
        CheckpointError: one clear sentence.
    """
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
    return Engine(checkpoint, device, f"{versions} {device}", path)


@cache
def set_up_torch() -> None:
    """Settings of the whole process, made once, when the first network opens."""
    # Half of the cores for the network, the rest for pages: with threads on all of them, a pass of 15 ms waits for the
    # browser or another visitor's page at every layer and takes up to a second.
    # Where several processes share the machine, or a container has a part of it, the usual variable says how many.
    if "OMP_NUM_THREADS" not in os.environ:
        # Of the cores that this process may use, where the system says which those are.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores // 2))
    # What is called float32 is, on a GPU too: pages show the numbers that ``odconv.training.evaluate`` measures.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def load_atlas_for(engine: Engine, record: Explanation) -> Atlas | None:
    """The atlas beside the weights; None where there is none, or none that fits ``record``. Refusals are logged."""
    try:
        if engine.atlas:
            check_fits(record, engine.atlas)
        return engine.atlas
    except AtlasError as error:
        log.warning("atlas refused: %s", error)
        return None
