"""What crosses the wire between a page's server and a cluster: numbers and names, in the form of safetensors; no code.

Either side is a stranger to the other: all that comes is checked here, settings by ``Settings`` itself. What an answer need not
say is not in it: layers' shapes and strides are those of the asker's own network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import nn

from odconv.attention import HEADS, Heads, Settings
from odconv.explain import Explanation, LayerRecord, layer_record
from odconv.layer import ODConv2d

MAX_SIDE = 1024  # px; a question's picture is the square that the network sees
MAX_QUESTION = 4 * 2**20  # bytes
MAX_ANSWER = 64 * 2**20  # bytes
MAX_ABOUT = 2**18  # bytes of names and numbers in JSON


class MessageError(ValueError):
    """A message that is not one; it says what is wrong."""


@dataclass(frozen=True)
class Question:
    """What a network is asked: what it makes of one picture under some settings."""

    network: str  # the fingerprint of its weights, see ``odconv.atlas``
    pixels: np.ndarray  # (S, S, 3) uint8, the square that it sees
    settings: Settings


def pack_question(question: Question) -> bytes:
    """``question`` as a message."""
    about = {"network": question.network, "settings": asdict(question.settings)}
    return save({"about": _pack(about), "pixels": np.ascontiguousarray(question.pixels)})


def read_question(message: bytes) -> Question:
    """The question in ``message``.

    Raises:
        MessageError: it is too long, damaged, or its network, picture or settings are none.
    """
    tensors = _load(message, MAX_QUESTION)
    about = _about(tensors)
    network, told, pixels = about.get("network"), about.get("settings"), tensors.get("pixels")
    if not isinstance(network, str) or len(network) != 16:
        raise MessageError("a network's fingerprint of 16 digits is needed")
    if pixels is None or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise MessageError("pixels of uint8 in the shape (S, S, 3) are needed")
    if not 1 <= pixels.shape[0] == pixels.shape[1] <= MAX_SIDE:
        raise MessageError(f"pixels of shape {pixels.shape}: a square of at most {MAX_SIDE} px is needed")
    if not isinstance(told, dict) or set(told) != {field.name for field in fields(Settings)}:
        raise MessageError("settings are not those of this version")
    try:
        return Question(network, pixels, Settings(**told))
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise MessageError(f"settings are refused: {error}") from error


def pack_answer(answer: Explanation) -> bytes:
    """What a network made of one picture as a message; without settings, shapes and strides, which the asker knows."""
    tensors = {"logits": answer.logits}
    for i, layer in enumerate(answer.layers.values()):
        tensors |= {f"{i}/logits/{head}": values for head, values in _present(layer.logits)}
        tensors |= {f"{i}/attention/{head}": values for head, values in _present(layer.attention)}
        if layer.kept is not None:
            tensors[f"{i}/kept"] = layer.kept
    about = {"layers": [[name, *layer.input_shape[1:]] for name, layer in answer.layers.items()]}
    packed = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    return save(packed | {"about": _pack(about)})


def read_answer(message: bytes, settings: Settings, model: nn.Module, classes: int) -> Explanation:
    """The explanation in ``message`` of a picture under ``settings``, N = 1, that ``model``'s twin elsewhere made.

    Raises:
        MessageError: it is too long, damaged, or not of such a network.
    """
    tensors = _load(message, MAX_ANSWER)
    entries = _about(tensors).get("layers")
    modules = {name: module for name, module in model.named_modules() if isinstance(module, ODConv2d)}
    if not isinstance(entries, list) or len(entries) < len(modules):
        raise MessageError("layers are missing")
    layers = {}
    for i, entry in enumerate(entries):
        name, *side = entry if isinstance(entry, list) and len(entry) == 3 else ("", 0, 0)
        layer = modules.get(name.partition("#")[0]) if isinstance(name, str) else None
        if layer is None or name in layers or not all(type(n) is int and 1 <= n <= MAX_SIDE for n in side):
            raise MessageError(f"layer {i} is none of this network")
        layers[name] = _read_layer(tensors, i, layer, side)
    return Explanation(settings, _array(tensors, "logits", np.float32, (1, classes)), layers)


def _read_layer(tensors: Mapping[str, np.ndarray], i: int, layer: ODConv2d, side: list[int]) -> LayerRecord:
    branch, kernels = layer.attention, layer.weight.shape[0]
    shapes: Heads[Any] = Heads(
        None if branch.spatial_fc is None else (1, layer.kernel_size, layer.kernel_size),
        (1, layer.in_channels),
        None if branch.filter_fc is None else (1, layer.out_channels),
        None if branch.kernel_fc is None else (1, kernels),
    )

    def read(part: str) -> Heads[np.ndarray]:
        named = zip(HEADS, shapes, strict=True)
        return Heads(
            *(
                None if shape is None else _array(tensors, f"{i}/{part}/{head}", np.float32, shape)
                for head, shape in named
            )
        )

    kept = None if shapes.kernel is None else _array(tensors, f"{i}/kept", np.bool_, shapes.kernel)
    return layer_record(layer, side, read("logits"), read("attention"), kept)


def _present(heads: Heads[np.ndarray]) -> list[tuple[str, np.ndarray]]:
    return [(head, values) for head, values in zip(HEADS, heads, strict=True) if values is not None]


def _pack(about: object) -> np.ndarray:
    return np.frombuffer(json.dumps(about).encode(), np.uint8)


def _load(message: bytes, most: int) -> dict[str, np.ndarray]:
    if len(message) > most:
        raise MessageError(f"{len(message)} bytes came, and at most {most} are read")
    try:
        return load(message)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:  # the latter: a number type that numpy lacks
        raise MessageError("it is damaged") from error


def _about(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    packed = tensors.get("about")
    if packed is None or packed.dtype != np.uint8 or packed.size > MAX_ABOUT:
        raise MessageError("what it is about is missing")
    try:
        about = json.loads(packed.tobytes())
    except (ValueError, RecursionError) as error:
        raise MessageError("what it is about is damaged") from error
    if not isinstance(about, dict):
        raise MessageError("what it is about is damaged")
    return about


def _array(tensors: Mapping[str, np.ndarray], name: str, kind: type, shape: tuple[int, ...]) -> np.ndarray:
    values = tensors.get(name)
    if values is None or values.dtype != kind or values.shape != shape:
        came = "nothing" if values is None else f"{values.dtype} of shape {values.shape}"
        raise MessageError(f"{name}: {np.dtype(kind)} of shape {shape} is needed, and {came} came")
    return values
