"""Weights: recognise, load and save them.

A checkpoint is untrusted. Tensors are read by safetensors or by ``torch.load(weights_only=True)``, never by plain pickle.
What the network is, is read from the tensors; what tensors cannot say (preprocessing, class names, how it was trained and
how accurate it is) stands in a card, a JSON file of the same name. Without a card the authors' ImageNet settings hold.
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from odconv import backbones
from odconv.layer import MIN_HIDDEN

SUFFIXES = (".safetensors", ".pth", ".pt", ".tar")
MAX_BYTES = 2 * 2**30  # the largest published file, ResNet-101 2x with its optimiser, has about 0.7 GB

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

State = Mapping[str, Tensor]


class CheckpointError(ValueError):
    """A checkpoint or card that cannot be used; the message is one clear sentence."""


@dataclass(frozen=True)
class Architecture:
    """What a state dict's tensor names and shapes say about its network."""

    backbone: str  # "od_resnet18", "resnet18", "od_mobilenetv2", ...
    width: float  # channels of a ResNet's first stage; a MobileNetV2's width multiplier
    num_classes: int
    stem: str  # "imagenet" or "small"
    num_kernels: int | None  # K; None: static
    reduction: float | None  # hidden width of the attention branches / C_in; None: static

    def build(self) -> nn.Module:
        """The network, freshly initialised."""
        options: dict[str, Any] = {}
        if self.num_kernels is not None:
            options = {"num_kernels": self.num_kernels, "reduction": self.reduction}
        if self.backbone.endswith("mobilenetv2"):
            options["width_mult"] = self.width
        else:
            options |= {"width": int(self.width), "stem": self.stem}
        return getattr(backbones, self.backbone)(self.num_classes, **options)


@dataclass(frozen=True)
class Card:
    """What tensors cannot say: how to prepare pictures, what the classes are, how it was trained and measured."""

    name: str
    classes: tuple[str, ...]
    image_size: int  # side of the square that the network sees, px
    resize: int  # what the shorter side becomes before the centre crop, px
    mean: tuple[float, float, float]  # RGB, of values in 0..1
    std: tuple[float, float, float]
    stem: str
    data: str = ""
    recipe: str = ""
    known_weaknesses: str = ""
    measured: dict[str, Any] = field(default_factory=dict)  # accuracy and its conditions, as the card gives it


@dataclass(frozen=True)
class Checkpoint:
    """A network ready to look into: eval mode, float32, no gradients."""

    model: nn.Module
    card: Card
    architecture: Architecture

    @property
    def dynamic(self) -> bool:
        """Whether there is any attention to show."""
        return self.architecture.num_kernels is not None


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read weights and, where there is one, the card beside them.

    ``path``: .safetensors, .pth, .pt or .tar; a state dict, or the authors' ``{"state_dict": {"module....": ...}}``.

    Raises:
        CheckpointError: the file is not a checkpoint of a known network, its keys or shapes do not fit (they are named), a
            pickle asks for anything but tensors, or the card contradicts the weights.
    """
    path = Path(path)
    state = unwrap(read_tensors(path))
    card_path = path.with_suffix(".json")
    architecture = recognise(state)
    if card_path.is_file():
        card = parse_card(_read_card(card_path), architecture, card_path.name)
    else:
        card = default_card(path.stem, architecture)
    with torch.device("meta"):
        model = architecture.build()
    _check_fit(state, model.state_dict())
    model.load_state_dict({name: _plain(tensor) for name, tensor in state.items()}, assign=True)
    return Checkpoint(model.eval().requires_grad_(False), card, architecture)


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
    path.with_suffix(".json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def find_checkpoints(*folders: Path) -> dict[str, Path]:
    """File name -> path of every checkpoint in ``folders``, by name; in an earlier folder wins over a later."""
    found: dict[str, Path] = {}
    for folder in folders:
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.suffix in SUFFIXES and path.is_file():
                    found.setdefault(path.name, path)
    return found


# --- reading -------------------------------------------------------------------------------------------------------


def read_tensors(path: Path) -> Any:
    """The object in a weights file, tensors on the CPU. Only tensors and plain containers can come out of it."""
    if path.suffix not in SUFFIXES:
        raise CheckpointError(f"{path.name} is not a weights file; the endings {', '.join(SUFFIXES)} are.")
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise CheckpointError(f"{path.name} has {size / 2**30:.1f} GiB; up to {MAX_BYTES / 2**30:.0f} are read.")
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path.name} was refused: it is damaged, or it holds something other than tensors, which could run code."
        ) from error
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file makes the readers raise almost anything
        raise CheckpointError(f"{path.name} could not be read as a weights file; it may be damaged.") from error


def unwrap(content: Any) -> State:
    """The state dict inside what a file held: without wrapper and without the ``module.`` of DataParallel."""
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not (isinstance(content, Mapping) and content and all(isinstance(name, str) for name in content)):
        raise CheckpointError("The file holds no state dict: names with tensors are needed.")
    stray = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if stray:
        raise CheckpointError(f"The state dict holds something that is no tensor: {_listed(stray)}.")
    odd = [name for name, tensor in content.items() if tensor.layout != torch.strided or tensor.is_meta]
    if odd:
        raise CheckpointError(f"The state dict holds tensors without plain numbers: {_listed(odd)}.")
    claimed = 4 * sum(tensor.numel() for tensor in content.values())
    if claimed > MAX_BYTES:  # a tensor can repeat one number, claim to be huge and take no room in its file
        raise CheckpointError(
            f"The weights would take {claimed / 2**30:.0f} GiB; up to {MAX_BYTES / 2**30:.0f} are read."
        )
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def _plain(tensor: Tensor) -> Tensor:
    """float32 in memory of its own; counters stay whole numbers."""
    return tensor.to(torch.float32).contiguous() if tensor.is_floating_point() else tensor.clone()


def _check_fit(state: State, wanted: State) -> None:
    missing = [name for name in wanted if name not in state]
    extra = [name for name in state if name not in wanted]
    misshapen = [
        f"{name} {tuple(tensor.shape)} instead of {tuple(wanted[name].shape)}"
        for name, tensor in state.items()
        if name in wanted and tensor.shape != wanted[name].shape
    ]
    problems = [
        f"{what}: {_listed(names)}"
        for what, names in (("missing", missing), ("not known", extra), ("misshapen", misshapen))
        if names
    ]
    if problems:
        raise CheckpointError(f"The weights do not fit the network they look like; {'; '.join(problems)}.")
    mistyped = [
        name for name, tensor in state.items() if tensor.is_floating_point() != wanted[name].is_floating_point()
    ]
    if mistyped:
        raise CheckpointError(f"The weights have the wrong number type: {_listed(mistyped)}.")
    broken = [name for name, tensor in state.items() if not _plain(tensor).isfinite().all()]
    if broken:
        raise CheckpointError(f"The weights hold values that are not finite numbers: {_listed(broken)}.")


def _listed(names: list[str], most: int = 5) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(name[:80] for name in names[:most]) + rest


# --- recognising ---------------------------------------------------------------------------------------------------


def recognise(state: State) -> Architecture:
    """What network a state dict belongs to, from names and shapes alone.

    Raises:
        CheckpointError: it is none of the networks in ``odconv.backbones``.
    """
    try:
        if "features.0.0.weight" in state:
            return _recognise_mobilenet(state)
        if "layer1.0.conv1.weight" in state:
            return _recognise_resnet(state)
    except CheckpointError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(f"The weights lack or misshape what such a network has: {error.args[0]}.") from error
    raise CheckpointError("The weights are of no network known here: ResNet-18, 34, 50, 101 and MobileNetV2 are.")


def _recognise_resnet(state: State) -> Architecture:
    first = state["layer1.0.conv1.weight"]
    blocks = tuple(
        len({name.split(".")[1] for name in state if name.startswith(f"layer{stage}.")}) for stage in range(1, 5)
    )
    bottleneck = "layer1.0.conv3.weight" in state
    depths = [d for d, known in backbones.RESNET_BLOCKS.items() if known == blocks and (d >= 50) == bottleneck]
    if not depths:
        raise CheckpointError(f"A ResNet with {blocks} blocks is not known; ResNet-18, 34, 50 and 101 are.")
    stem = "imagenet" if state["conv1.weight"].shape[-1] == 7 else "small"
    width = first.shape[-4]  # C_out: the last but three of (C_out, C, k, k) and of (K, C_out, C, k, k)
    return _checked(f"resnet{depths[0]}", width, len(state["fc.weight"]), stem, first, state)


def _recognise_mobilenet(state: State) -> Architecture:
    stem, widest = len(state["features.0.0.weight"]), state["features.17.conv.2.weight"].shape[-4]
    for width_mult in (1.0, 0.75, 0.5, 0.35, 1.3, 1.4):
        if (stem, widest) == tuple(backbones.round_to_8(channels * width_mult) for channels in (32, 320)):
            first, classes = state["features.1.conv.0.0.weight"], len(state["classifier.1.weight"])
            return _checked("mobilenetv2", width_mult, classes, "imagenet", first, state)
    raise CheckpointError(f"A MobileNetV2 with {stem} stem channels is of no known width.")


def _checked(backbone: str, width: float, classes: int, stem: str, first: Tensor, state: State) -> Architecture:
    """Shapes can lie (a tensor can be huge and cost nothing), so what is built from them has bounds."""
    kernels = len(first) if first.ndim == 5 else None
    if not (0 < width <= 512 and 1 <= classes <= 100_000 and (kernels is None or 1 <= kernels <= 64)):
        raise CheckpointError(
            f"A network of width {width} with {classes} classes and {kernels} kernels is not credible."
        )
    if kernels is None:
        return Architecture(backbone, width, classes, stem, None, None)
    return Architecture(f"od_{backbone}", width, classes, stem, kernels, _reduction(state))


def _reduction(state: State) -> float:
    """The fraction r with hidden = max(int(C_in · r), 16) in every branch; 1/16, the paper's, where it fits."""
    low, high = 0.0, math.inf
    for name, tensor in state.items():
        if name.endswith(".attention.fc.weight"):
            hidden, channels = tensor.shape[:2]
            high = min(high, (hidden + 1) / channels)
            if hidden > MIN_HIDDEN:
                low = max(low, hidden / channels)
    if low <= 1 / 16 < high:
        return 1 / 16
    if not low < high < math.inf:
        raise CheckpointError("The attention branches have no common reduction.")
    return (low + high) / 2


# --- cards ---------------------------------------------------------------------------------------------------------


def default_card(name: str, architecture: Architecture) -> Card:
    """What holds for weights that come without a card: the authors' ImageNet preprocessing, classes by number."""
    classes = tuple(f"class {i}" for i in range(architecture.num_classes))
    return Card(name, classes, 224, 256, IMAGENET_MEAN, IMAGENET_STD, architecture.stem)


def _read_card(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"The card {path.name} is not readable JSON.") from error


def parse_card(raw: Any, architecture: Architecture, file: str) -> Card:
    """A checked card from parsed JSON.

    Raises:
        CheckpointError: a field is missing, of the wrong kind, or contradicts the weights; the message names it.
    """

    def field_(name: str, valid: bool, wanted: str) -> None:
        if not valid:
            raise CheckpointError(f"The card {file} needs {name}: {wanted}.")

    field_("an object", isinstance(raw, dict), "names with values")
    size, resize = raw.get("image_size"), raw.get("resize", raw.get("image_size"))
    field_("image_size", type(size) is int and 16 <= size <= 1024, "a whole number of pixels from 16 to 1024")
    field_("resize", type(resize) is int and size <= resize <= 2048, "a whole number of pixels, at least image_size")
    for name, low in (("mean", -10.0), ("std", 1e-6)):
        values = raw.get(name)
        numbers = isinstance(values, list) and len(values) == 3 and all(type(v) in (int, float) for v in values)
        field_(name, numbers and all(low <= v <= 10 for v in values), "three numbers, for red, green and blue")
    stem = raw.get("stem", architecture.stem)
    field_("stem", stem == architecture.stem, f"{architecture.stem!r}, which is what the weights have")
    classes = [entry.get("name") if isinstance(entry, dict) else entry for entry in _list(raw.get("classes"))]
    count = architecture.num_classes
    field_("classes", len(classes) == count, f"{count} names, one for each output of the weights")
    field_("classes", all(isinstance(name, str) and 0 < len(name) <= 200 for name in classes), "names as text")
    texts = {name: raw.get(name, "") for name in ("data", "recipe", "known_weaknesses")}
    field_(", ".join(texts), all(isinstance(text, str) for text in texts.values()), "text")
    measured, name = raw.get("measured", {}), raw.get("name", Path(file).stem)
    field_("measured", isinstance(measured, dict), "an object")
    field_("name", isinstance(name, str) and 0 < len(name) <= 200, "text")
    mean, std = tuple(map(float, raw["mean"])), tuple(map(float, raw["std"]))
    return Card(name, tuple(classes), size, resize, mean, std, stem, measured=measured, **texts)  # type: ignore[arg-type]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
