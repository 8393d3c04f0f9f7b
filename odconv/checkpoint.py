"""Checkpoints, each a network with its weights and its card: loading, saving and finding them.

Weights and cards are untrusted. ``weights_file`` reads tensors, ``architecture`` recognises their network, and ``card``
reads the card; here is checked that the three fit each other.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from odconv.architecture import Architecture, recognise
from odconv.backbones import Place, State
from odconv.card import Card, card_beside, card_path
from odconv.refusal import CheckpointError, join_names, printable
from odconv.weights_file import SUFFIXES, read_shapes, read_state

__all__ = [
    "SUFFIXES",
    "Architecture",
    "Card",
    "Checkpoint",
    "CheckpointError",
    "file_versions",
    "find_checkpoints",
    "labels",
    "load_checkpoint",
    "peek_architecture",
    "recognise",
    "save_checkpoint",
]


@dataclass(frozen=True)
class Checkpoint:
    """A network ready to look into."""

    model: nn.Module  # eval mode, float32, no gradients
    card: Card
    architecture: Architecture

    @property
    def dynamic(self) -> bool:
        """Whether the network has ODConv layers, and so attention to show."""
        return self.architecture.dynamic

    def place(self, layer_name: str) -> Place:
        """Where a layer stands: ``layer2.0.conv1`` -> (``layer2``, ``0·1``), its second call ``#2`` -> ``0·1#2``."""
        return self.architecture.place(layer_name)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read weights and, where there is one, the card beside them.

    ``path``: .safetensors, .pth, .pt or .tar; a state dict, or the authors' ``{"state_dict": {"module....": ...}}``.

    Raises:
        CheckpointError: the file is not a checkpoint of a known network, its keys or shapes do not fit (they are named), it
            asks for anything but tensors or for more memory than there is reason to, or the card contradicts the weights.
    """
    path = Path(path)
    state = read_state(path)
    architecture = recognise(state)
    card = card_beside(path, architecture)
    model = architecture.outline()
    _check_fit(state, model.state_dict())
    numbers = {name: _to_float32(tensor) for name, tensor in state.items()}
    _check_numbers(numbers)
    model.load_state_dict(numbers, assign=True)
    return Checkpoint(model.eval().requires_grad_(False), card, architecture)


def peek_architecture(path: str | Path) -> Architecture | None:
    """What network a .safetensors file says it holds, from the shapes in its header; none of its weights is read.

    None for files of other kinds, damaged ones, and networks that are not known. What a file says may be false: only
    :func:`load_checkpoint` knows.
    """
    shapes = read_shapes(Path(path))
    try:
        return recognise({name: torch.empty(shape, device="meta") for name, shape in (shapes or {}).items()})
    except (CheckpointError, RuntimeError, TypeError):  # a shape can be anything
        return None


def save_checkpoint(model: nn.Module, card: Mapping[str, Any], path: str | Path) -> None:
    """Write ``model`` as safetensors (float16; BatchNorm stays float32) and ``card`` as JSON beside it."""
    path = Path(path)
    norms = {
        f"{name}.{part}"
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for part in module.state_dict()
    }
    state = {
        name: (tensor if name in norms else tensor.half()).detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
    }
    save_file(state, path)
    card_path(path).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


# --- finding files -------------------------------------------------------------------------------------------------


def find_checkpoints(*folders: Path) -> dict[str, Path]:
    """File name -> path of the weights files in ``folders``. Of two files of one name, the one in the earlier folder.

    Left out are folders that are not there or may not be read, and files whose names cannot be shown: those that are not
    UTF-8, have control characters, or are longer than 200 characters.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        try:
            paths = sorted(folder.iterdir())
        except OSError:
            continue
        for path in paths:
            if path.suffix in SUFFIXES and path.name == printable(path.name, 200) and _is_file(path):
                found.setdefault(path.name, path)
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def labels(descriptions: Mapping[str, str]) -> dict[str, str]:
    """File name -> label in a list of the files: what is in it, or the file's name where that is not known.

    The name is added where two would be called the same.

    Args:
        descriptions: file name -> what is in the file, in a few words; empty where that is not known.

    Example:
        >>> labels({"a.safetensors": "ODConv", "b.safetensors": "ODConv", "c.safetensors": "Static", "d.pth": ""})
        {'a.safetensors': 'ODConv (a.safetensors)', 'b.safetensors': 'ODConv (b.safetensors)', 'c.safetensors': 'Static', 'd.pth': 'd.pth'}
    """
    taken = Counter(descriptions.values()) + Counter(descriptions.keys())
    found = {
        name: name if not text else text if taken[text] == 1 else f"{text} ({name})"
        for name, text in descriptions.items()
    }
    return found if len(set(found.values())) == len(found) else {name: name for name in found}


FileVersion = tuple[int, int, int]  # time of change in ns, size in bytes, inode


def file_versions(path: str | Path) -> tuple[str, FileVersion | None, FileVersion | None, FileVersion | None]:
    """The path of a weights file and the versions of weights, card and atlas: the key of a cache.

    None for a file that is not there. Two results are equal as long as none of the three files was written, replaced, added
    or removed in between.
    """
    path = Path(path)
    return str(path), _version(path), _version(card_path(path)), _version(path.with_suffix(".atlas.npz"))


def _version(path: Path) -> FileVersion | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


# --- checking weights against their architecture ----------------------------------------------------------------------


def _check_fit(state: State, wanted: State) -> None:
    """Refuse weights that lack a tensor of the network, have another one, or one of the wrong shape or type."""
    missing = [name for name in wanted if name not in state]
    if missing:
        raise CheckpointError("checkpoint.missing", names=join_names(missing))
    unknown = [name for name in state if name not in wanted]
    if unknown:
        raise CheckpointError("checkpoint.unknown", names=join_names(unknown))
    for name, tensor in state.items():
        shape = wanted[name].shape
        if tensor.shape != shape:
            came = printable(str(tuple(tensor.shape)))
            raise CheckpointError("checkpoint.shape", name=printable(name), came=came, wanted=tuple(shape))
    mistyped = [
        name for name, tensor in state.items() if tensor.is_floating_point() != wanted[name].is_floating_point()
    ]
    if mistyped:
        raise CheckpointError("checkpoint.number_type", names=join_names(mistyped))


def _to_float32(tensor: Tensor) -> Tensor:
    """float32 in memory of its own; counters stay whole numbers."""
    return tensor.to(torch.float32).contiguous() if tensor.is_floating_point() else tensor.clone()


def _check_numbers(numbers: State) -> None:
    """Refuse weights with numbers that are not finite, or with a variance below 0, whose root would be NaN."""
    broken = [name for name, tensor in numbers.items() if not tensor.isfinite().all()]
    if broken:
        raise CheckpointError("checkpoint.not_finite", names=join_names(broken))
    negative = [name for name, tensor in numbers.items() if name.endswith("running_var") and (tensor < 0).any()]
    if negative:
        raise CheckpointError("checkpoint.variance", names=join_names(negative))
