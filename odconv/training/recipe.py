"""What a training run is told: every hyperparameter, the schedules that follow from them, and one sentence for the card.

A schedule is a pure function of how far the run is, so a resumed run needs no memory of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NamedTuple, get_args, get_type_hints

import numpy as np

from odconv.architecture import BACKBONES, Architecture, family_of, is_dynamic
from odconv.attention import Array
from odconv.backbones import Stem
from odconv.training.data import stream

ORDER, VARIATION, TOLD, NETWORK = range(4)  # what randomness is for; see data.stream

DRAWN_TEMPERATURES = (0.5, 4.0)

Decay = Literal["cosine", "linear"]
Fall = Literal["linear", "geometric"]
Drop = Literal["none", "first", "random", "strongest"]
Precision = Literal["bfloat16", "float32"]
Affine = Literal["learned", "fixed"]


class RecipeError(ValueError):
    """A hyperparameter that no run can have; the message says what came and what is allowed."""


@dataclass(frozen=True)
class Recipe:
    """Every hyperparameter of a run. The command line is made from these fields.

    Raises:
        RecipeError: a value is outside of what is allowed.
    """

    arch: Annotated[str, f"the network: {', '.join(BACKBONES)}"] = "od_resnet18"
    width: Annotated[float, "channels of a ResNet's first stage (64 in the paper); a MobileNetV2's multiplier"] = 32
    stem: Annotated[Stem, "small: 3x3 with stride 2, no pooling, for pictures of about 64 px"] = "small"
    kernels: Annotated[int, "K, candidate kernels of a dynamic convolution"] = 4
    reduction: Annotated[float, "hidden width of the attention branches as a fraction of the input channels"] = 1 / 16
    initial_logits: Annotated[float, "deviation of every head's logits at the start; 0: the released code's"] = 0.0
    start: Annotated[
        str, "weights to start from: of this network, of that with K = 1, or of its static twin; none: random"
    ] = ""
    apart: Annotated[float, "noise that sets K copies of a single kernel apart, as a fraction of their deviation"] = 0.5
    epochs: Annotated[int, "passes over the training pictures"] = 30
    batch: Annotated[int, "pictures in a batch"] = 128
    sizes: Annotated[str, "sides in px, each with the fraction of the epochs it is used for"] = "32:0.5,48:0.25,64:0.25"
    shift: Annotated[float, "the most by which a crop is off the centre, as a fraction of the side"] = 0.125
    zoom: Annotated[float, "the most by which a picture is enlarged; 1: not at all"] = 1.0
    lr: Annotated[float, "highest learning rate"] = 0.15
    warm_up: Annotated[float, "fraction of the run in which the learning rate rises from 0"] = 0.2
    decay: Annotated[Decay, "how the learning rate then falls to 0"] = "cosine"
    momentum: Annotated[float, "Nesterov momentum of SGD"] = 0.9
    weight_decay: Annotated[float, "of all weights outside the attention branches; BatchNorm and biases have none"] = (
        5e-4
    )
    attention_lr: Annotated[float, "factor on the learning rate in the attention branches"] = 2.0
    attention_weight_decay: Annotated[float, "of the weights in the attention branches"] = 0.0
    attention_affine: Annotated[
        Affine, "scale and shift of the branches' BatchNorm; fixed at 1 and 0, no hidden unit can go off for good"
    ] = "learned"
    label_smoothing: Annotated[float, "share of each label that is spread over all classes"] = 0.1
    dropout: Annotated[float, "of the features before the classifier"] = 0.2
    average: Annotated[float, "decay per step of the averaged weights, which are what is kept"] = 0.999
    temperature_start: Annotated[float, "temperature of all four heads at the start"] = 30.0
    temperature_epochs: Annotated[float, "epochs in which the temperature falls to 1"] = 2.0
    temperature_fall: Annotated[Fall, "in a line, or by the same factor in each step"] = "linear"
    temperature_draw: Annotated[float, "after that, share of the pictures whose temperature is drawn from 0.5 to 4"] = (
        0.0
    )
    kernel_drop: Annotated[Drop, "after that, which kernels stay for pictures for which fewer than K do"] = "none"
    kernel_drop_rate: Annotated[float, "share of the pictures for which fewer than K kernels stay, at most 0.5"] = 0.5
    balance: Annotated[float, "weight of the loss that asks for equal mean shares of the K kernels in a batch"] = 0.0
    final_temperature: Annotated[
        float, "of training, at which the weights that are written are at temperature 1; below 1 gates move more"
    ] = 1.0
    precision: Annotated[Precision, "number type of the products"] = "bfloat16"
    mean: Annotated[tuple[float, float, float], "of red, green and blue, subtracted"] = (0.480, 0.448, 0.398)
    std: Annotated[tuple[float, float, float], "of red, green and blue, divided by"] = (0.277, 0.269, 0.282)
    seed: Annotated[int, "of the initial weights and of everything drawn"] = 0

    def __post_init__(self) -> None:
        for name, (kind, _) in hyperparameters().items():
            value, choices = getattr(self, name), get_args(kind)
            if isinstance(value, float) and not math.isfinite(value):
                raise RecipeError(f"{name}={value!r}: a finite number is needed")
            if choices and isinstance(choices[0], str) and value not in choices:
                raise RecipeError(f"{name}={value!r}: one of {', '.join(choices)} is needed")
        if self.arch not in BACKBONES:
            raise RecipeError(f"arch={self.arch!r}: one of {', '.join(BACKBONES)} is needed")
        for name in ("kernels", "epochs", "batch", "zoom"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{name}={getattr(self, name)!r}: at least 1 is needed")
        for name in ("width", "reduction", "lr", "temperature_start", "final_temperature"):
            if getattr(self, name) <= 0:
                raise RecipeError(f"{name}={getattr(self, name)!r}: a number above 0 is needed")
        for name in _AT_LEAST_0:
            if getattr(self, name) < 0:
                raise RecipeError(f"{name}={getattr(self, name)!r}: a number of at least 0 is needed")
        for name, most in _SHARES.items():
            if not 0 <= getattr(self, name) <= most:
                raise RecipeError(f"{name}={getattr(self, name)!r}: a number from 0 to {most} is needed")
        if self.kernel_drop != "none" and not (self.dynamic and self.kernels > 1):
            raise RecipeError(f"kernel_drop={self.kernel_drop!r}: only a dynamic network with K > 1 can drop kernels")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise RecipeError(f"mean={self.mean}, std={self.std}: three numbers each are needed, std above 0")
        _parsed(self.sizes)

    @property
    def dynamic(self) -> bool:
        """Whether the network has ODConv layers."""
        return is_dynamic(self.arch)

    @property
    def stages(self) -> tuple[tuple[int, float], ...]:
        """(side in px, fraction of the epochs) in order; the last side is what the finished network is for."""
        return _parsed(self.sizes)

    def architecture(self, num_classes: int) -> Architecture:
        """What the weights files know this network as."""
        dynamic = (self.kernels, self.reduction) if self.dynamic else (None, None)
        stems = family_of(self.arch).stems
        stem = self.stem if self.stem in stems else stems[0]
        return Architecture(self.arch, self.width, num_classes, stem, *dynamic)


def hyperparameters() -> dict[str, tuple[Any, str]]:
    """Name of each hyperparameter -> its type, and what it is in words."""
    annotated = get_type_hints(Recipe, include_extras=True)
    return {name: (hint.__origin__, hint.__metadata__[0]) for name, hint in annotated.items()}


_AT_LEAST_0 = (
    "weight_decay", "attention_weight_decay", "attention_lr", "initial_logits", "apart", "temperature_epochs", "balance",
    "seed",
)  # fmt: skip
_SHARES = {
    "shift": 0.5,
    "warm_up": 1,
    "momentum": 1,
    "label_smoothing": 1,
    "dropout": 1,
    "average": 1,
    "temperature_draw": 1,
    "kernel_drop_rate": 0.5,
}


def _parsed(sizes: str) -> tuple[tuple[int, float], ...]:
    try:
        stages = tuple((int(side), float(share)) for side, share in (stage.split(":") for stage in sizes.split(",")))
    except ValueError as error:
        raise RecipeError(f"sizes={sizes!r}: such as 32:0.5,48:0.25,64:0.25 is needed") from error
    if not all(16 <= side <= 1024 and share > 0 for side, share in stages):
        raise RecipeError(f"sizes={sizes!r}: sides from 16 to 1024 px and fractions above 0 are needed")
    if not math.isclose(sum(share for _, share in stages), 1, abs_tol=1e-6):
        raise RecipeError(f"sizes={sizes!r}: the fractions must add up to 1")
    return stages


# --- schedules --------------------------------------------------------------------------------------------------------


def size(recipe: Recipe, epoch: int) -> int:
    """Side of the pictures in this epoch, px; ``epoch`` counts from 0. The last epoch has the last size in any case."""
    done = 0.0
    for side, share in recipe.stages:
        done += share * recipe.epochs
        if epoch < min(done, recipe.epochs - 1) - 1e-6:
            return side
    return recipe.stages[-1][0]


def learning_rate(recipe: Recipe, progress: float) -> float:
    """One cycle: from 0 in a line to ``lr``, then down to 0. ``progress``: of the whole run, 0 to 1."""
    if progress < recipe.warm_up:
        return recipe.lr * progress / recipe.warm_up
    left = (1 - progress) / (1 - recipe.warm_up) if recipe.warm_up < 1 else 1.0
    return recipe.lr * (left if recipe.decay == "linear" else (1 - math.cos(math.pi * left)) / 2)


def temperature(recipe: Recipe, epochs_done: float) -> float:
    """From ``temperature_start`` to 1 over ``temperature_epochs``, and 1 from there on.

    What the heads feel is the reciprocal: in a line, most of its rise comes in the last steps; geometrically it is spread.
    """
    if epochs_done >= recipe.temperature_epochs:
        return 1.0
    left = 1 - epochs_done / recipe.temperature_epochs
    if recipe.temperature_fall == "geometric":
        return recipe.temperature_start**left
    return 1 + (recipe.temperature_start - 1) * left


def average_decay(recipe: Recipe, step: int) -> float:
    """How much of the averaged weights stays in this step; less in the first steps, whose weights are to be forgotten."""
    return min(recipe.average, (1 + step) / (10 + step))


class Drawn(NamedTuple, Generic[Array]):
    """What is drawn for each of the N pictures in a batch."""

    temperatures: Array  # (N,)
    kernels: Array  # (N,) of int64: how many stay


def drawn(recipe: Recipe, step: int, per_epoch: int, pictures: int) -> Drawn[np.ndarray]:
    """What each picture of this step has for itself: what all have, until the temperature has come to 1.

    For each picture and not for a whole batch, since BatchNorm has one set of statistics for all that is drawn: when a
    batch has but one temperature and number of kernels, it is normalised by its own statistics, and the running ones become
    a mixture that fits none of them.
    """
    now = temperature(recipe, step / per_epoch)
    if now != 1:
        return Drawn(np.full(pictures, now), np.full(pictures, recipe.kernels))
    random = stream(recipe.seed, TOLD, step)
    drops, counts = random.random(pictures), random.integers(1, max(recipe.kernels, 2), pictures)
    varies, exponents = random.random(pictures), random.random(pictures)
    low, high = DRAWN_TEMPERATURES
    rate = 0.0 if recipe.kernel_drop == "none" else recipe.kernel_drop_rate
    return Drawn(
        np.where(varies < recipe.temperature_draw, low * (high / low) ** exponents, 1.0),
        np.where(drops < rate, counts, recipe.kernels),
    )


# --- words ------------------------------------------------------------------------------------------------------------


_WHICH = {
    "first": "the first",
    "random": "drawn at random in each layer",
    "strongest": "the strongest in each layer",
}


def sentence(recipe: Recipe) -> str:
    """How the network was trained, as it stands in a card."""
    sides = [size(recipe, epoch) for epoch in range(recipe.epochs)]
    stages = ", ".join(f"{sides.count(side)} at {side} px" for side in dict.fromkeys(sides))
    parts = [
        f"{recipe.arch} for {recipe.epochs} epochs ({stages}), {recipe.precision}, batch {recipe.batch}",
        f"SGD with Nesterov momentum {recipe.momentum:g}, one-cycle to {recipe.lr:g} "
        f"({100 * recipe.warm_up:g} % warm-up, {recipe.decay} decay)",
        f"weight decay {recipe.weight_decay:g}, none on BatchNorm and biases",
    ]
    if recipe.dynamic:
        parts.append(
            f"attention branches with {recipe.attention_lr:g} times the learning rate and weight decay "
            f"{recipe.attention_weight_decay:g}"
        )
        if recipe.attention_affine == "fixed":
            parts[-1] += ", the scale and shift of their BatchNorm fixed at 1 and 0"
        if recipe.initial_logits:
            parts[-1] += f", their logits at first with standard deviation {recipe.initial_logits:g} in every head"
        fall = (
            f"{recipe.temperature_start:g} to 1 over {recipe.temperature_epochs:g} epochs ({recipe.temperature_fall})"
        )
        parts.append(f"temperature {fall if recipe.temperature_epochs else 1}")
        if recipe.temperature_draw:
            low, high = DRAWN_TEMPERATURES
            parts[-1] += (
                f", then log-uniform from {low:g} to {high:g} for {100 * recipe.temperature_draw:g} % of the pictures"
            )
        if recipe.kernel_drop != "none":
            parts.append(
                f"from then on, for {100 * recipe.kernel_drop_rate:g} % of the pictures only n of the {recipe.kernels} kernels, n from 1 to "
                f"{recipe.kernels - 1}: {_WHICH[recipe.kernel_drop]}"
            )
        if recipe.balance:
            parts.append(f"a loss of weight {recipe.balance:g} for kernels whose mean shares differ")
        if recipe.final_temperature != 1:
            parts.append(f"all logits divided by {recipe.final_temperature:g} when training was over")
    enlarged = f", enlarged by up to {recipe.zoom:g}" if recipe.zoom != 1 else ""
    parts += [
        f"label smoothing {recipe.label_smoothing:g}, dropout {recipe.dropout:g} before the classifier",
        f"crops shifted by up to {recipe.shift:g} of the side{enlarged}, mirrored at random",
        f"weights averaged with decay {recipe.average:g}, seed {recipe.seed}",
    ]
    return "; ".join(parts)
