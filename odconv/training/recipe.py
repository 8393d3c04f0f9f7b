"""Everything that a training run is given: hyperparameters, the schedules that follow from them, a sentence for the card.

A schedule is a function of how far the run is alone, so a resumed run needs no memory of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NamedTuple, get_args, get_type_hints

import numpy as np

from odconv.architecture import BACKBONES, Architecture, family_of, is_dynamic
from odconv.attention import Array
from odconv.training.compute import Precision
from odconv.training.data import Purpose, stream

ARCHITECTURES = tuple(name for name in BACKBONES if "small" in family_of(name).stems)  # for pictures of about 64 px

# The same for every network.
REDUCTION = 1 / 16
APART = 0.5  # noise that sets K copies of a single kernel apart, as a fraction of the kernel's standard deviation
MOMENTUM = 0.9  # Nesterov's
WEIGHT_DECAY = 5e-4  # none on attention branches, BatchNorm and biases
LABEL_SMOOTHING = 0.1
DROPOUT = 0.2  # of the features before the classifier
AVERAGE = 0.999  # decay per step of the averaged weights, which are what is kept
SHIFT = 0.125  # the most by which a crop is off the centre, as a fraction of the side
FIRST_TEMPERATURE = 30.0
DRAWN_TEMPERATURES = (0.5, 4.0)
FEWER_KERNELS = 0.5  # share of the pictures for which fewer than K kernels stay, where kernels are dropped
MEAN = (0.480, 0.448, 0.398)  # of red, green and blue in Tiny-ImageNet
STD = (0.277, 0.269, 0.282)

Drop = Literal["none", "strongest"]


class RecipeError(ValueError):
    """A hyperparameter that no run can have; the message says what came and what is allowed."""


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of a run. The options of the command line are made from these fields.

    Raises:
        RecipeError: a value is outside of what is allowed.
    """

    # Type, what it is in words, and for numbers the lowest and the highest that is allowed.
    arch: Annotated[str, "the network: ODConv (od_...) or its static twin"] = "od_resnet18"
    width: Annotated[int, "channels of the first stage; 64 in the paper", 1, 512] = 32
    kernels: Annotated[int, "K, candidate kernels of a dynamic convolution", 1, 64] = 4
    start: Annotated[str, "weights of the static twin to start from; none: random"] = ""
    initial_logits: Annotated[float, "standard deviation of all first logits; 0: the released code's", 0, 100] = 0.0
    epochs: Annotated[int, "passes over the training pictures", 1, 10_000] = 30
    batch: Annotated[int, "pictures in a batch", 1, 100_000] = 128
    sizes: Annotated[str, "sides in px, each with its fraction of the epochs"] = "32:0.5,48:0.25,64:0.25"
    zoom: Annotated[float, "the most by which a picture is enlarged; 1: not at all", 1, 10] = 1.0
    lr: Annotated[float, "highest learning rate", 1e-9, 100] = 0.15
    warm_up: Annotated[float, "fraction of the run in which the learning rate rises from 0", 0, 1] = 0.2
    attention_lr: Annotated[float, "factor on the learning rate in the attention branches", 0, 1000] = 2.0
    temperature_epochs: Annotated[float, "epochs in which the temperature falls from 30 to 1", 0, 10_000] = 2.0
    temperature_draw: Annotated[float, "then, share of pictures whose temperature is drawn from 0.5 to 4", 0, 1] = 0.0
    kernel_drop: Annotated[Drop, "strongest: then, half of the pictures have only their n strongest kernels"] = "none"
    balance: Annotated[float, "weight of the loss that asks for equal mean shares of the K kernels", 0, 1000] = 0.0
    final_temperature: Annotated[float, "in training, of what is written as temperature 1", 0.01, 100] = 1.0
    precision: Annotated[Precision, "number type of products; auto: what the device is fast at"] = "auto"
    seed: Annotated[int, "of the initial weights and of everything drawn", 0, 2**63 - 1] = 0

    def __post_init__(self) -> None:
        for name, (kind, _, *limits) in hyperparameters().items():
            value, choices = getattr(self, name), ARCHITECTURES if name == "arch" else get_args(kind)
            if choices and value not in choices:
                raise RecipeError(f"{name}={value!r}: one of {', '.join(choices)} is needed")
            if limits and not limits[0] <= value <= limits[1]:  # nor is nan
                raise RecipeError(f"{name}={value!r}: a number from {limits[0]:g} to {limits[1]:g} is needed")
        if self.kernel_drop != "none" and not (self.dynamic and self.kernels > 1):
            raise RecipeError(f"kernel_drop={self.kernel_drop!r}: only a dynamic network with K > 1 can drop kernels")
        shares = [share for side, share in self.stages if 16 <= side <= 1024 and share > 0]
        if len(shares) < len(self.stages) or not math.isclose(sum(shares), 1, abs_tol=1e-6):
            raise RecipeError(
                f"sizes={self.sizes!r}: sides from 16 to 1024 px and fractions above 0 that add up to 1 are needed"
            )

    @property
    def dynamic(self) -> bool:
        """Whether the network has ODConv layers."""
        return is_dynamic(self.arch)

    @property
    def stages(self) -> tuple[tuple[int, float], ...]:
        """(side in px, fraction of the epochs) in order; the last side is what the finished network is for."""
        try:
            pairs = [stage.split(":") for stage in self.sizes.split(",")]
            return tuple((int(side), float(share)) for side, share in pairs)
        except ValueError as error:
            raise RecipeError(f"sizes={self.sizes!r}: such as 32:0.5,48:0.25,64:0.25 is needed") from error

    def architecture(self, num_classes: int) -> Architecture:
        """The network, as weights files know it."""
        dynamic = (self.kernels, REDUCTION) if self.dynamic else (None, None)
        return Architecture(self.arch, self.width, num_classes, "small", *dynamic)

    def picture_size(self, epoch: int) -> int:
        """Side of the pictures in this epoch, px; ``epoch`` counts from 0. The last epoch has the last size in any case."""
        done = 0.0
        for side, share in self.stages:
            done += share * self.epochs
            if epoch < min(done, self.epochs - 1) - 1e-6:
                return side
        return self.stages[-1][0]

    def learning_rate(self, progress: float) -> float:
        """One cycle: from 0 in a line to ``lr``, then along a cosine to 0. ``progress``: of the whole run, 0 to 1."""
        if progress < self.warm_up:
            return self.lr * progress / self.warm_up
        left = (1 - progress) / (1 - self.warm_up) if self.warm_up < 1 else 1.0
        return self.lr * (1 - math.cos(math.pi * left)) / 2

    def temperature(self, epochs_done: float) -> float:
        """From 30 to 1 over ``temperature_epochs``, by the same factor in equal times, and 1 from there on."""
        if epochs_done >= self.temperature_epochs:
            return 1.0
        return FIRST_TEMPERATURE ** (1 - epochs_done / self.temperature_epochs)


def hyperparameters() -> dict[str, tuple[Any, ...]]:
    """Name of each hyperparameter -> its type, what it is in words, and for numbers the lowest and the highest."""
    annotated = get_type_hints(Recipe, include_extras=True)
    return {name: (hint.__origin__, *hint.__metadata__) for name, hint in annotated.items()}


class Drawn(NamedTuple, Generic[Array]):
    """What is drawn for each of the N pictures in a batch."""

    temperatures: Array  # (N,)
    kernels: Array  # (N,) of int64: how many stay


def draw(recipe: Recipe, step: int, per_epoch: int, pictures: int) -> Drawn[np.ndarray]:
    """The temperature and number of kernels of each picture in this step: the same for all until the temperature is 1.

    For each picture and not for a whole batch, since BatchNorm has one set of statistics for all that is drawn. If a batch
    had but one temperature and number of kernels, it would be normalised by its own statistics, and the running ones would
    be a mixture that fits no batch.
    """
    now = recipe.temperature(step / per_epoch)
    if now != 1:
        return Drawn(np.full(pictures, now), np.full(pictures, recipe.kernels))
    random = stream(recipe.seed, Purpose.SETTINGS, step)
    drops, counts = random.random(pictures), random.integers(1, max(recipe.kernels, 2), pictures)
    varies, exponents = random.random(pictures), random.random(pictures)
    low, high = DRAWN_TEMPERATURES
    rate = FEWER_KERNELS if recipe.kernel_drop == "strongest" else 0.0
    return Drawn(
        np.where(varies < recipe.temperature_draw, low * (high / low) ** exponents, 1.0),
        np.where(drops < rate, counts, recipe.kernels),
    )


def sentence(recipe: Recipe) -> str:
    """How the network was trained, as it stands in a card."""
    sides = [recipe.picture_size(epoch) for epoch in range(recipe.epochs)]
    stages = ", ".join(f"{sides.count(side)} at {side} px" for side in dict.fromkeys(sides))
    parts = [
        f"{recipe.arch} for {recipe.epochs} epochs ({stages}), {recipe.precision}, batch {recipe.batch}",
        f"SGD with Nesterov momentum {MOMENTUM:g}, one-cycle to {recipe.lr:g} "
        f"({100 * recipe.warm_up:g} % warm-up, cosine decay)",
        f"weight decay {WEIGHT_DECAY:g}, none on BatchNorm and biases",
        *(_attention_clauses(recipe) if recipe.dynamic else ()),
        f"label smoothing {LABEL_SMOOTHING:g}, dropout {DROPOUT:g} before the classifier",
        f"crops shifted by up to {SHIFT:g} of the side"
        + (f", enlarged by up to {recipe.zoom:g}" if recipe.zoom != 1 else "")
        + ", mirrored at random",
        f"weights averaged with decay {AVERAGE:g}, seed {recipe.seed}",
    ]
    return "; ".join(parts)


def _attention_clauses(recipe: Recipe) -> Iterator[str]:
    logits = f", their logits at first with standard deviation {recipe.initial_logits:g} in every head"
    yield (
        f"attention branches with {recipe.attention_lr:g} times the learning rate and weight decay 0, the scale and shift "
        f"of their BatchNorm fixed at 1 and 0{logits if recipe.initial_logits else ''}"
    )
    fall = f"{FIRST_TEMPERATURE:g} to 1 over {recipe.temperature_epochs:g} epochs (geometric)"
    low, high = DRAWN_TEMPERATURES
    drawn = f", then log-uniform from {low:g} to {high:g} for {100 * recipe.temperature_draw:g} % of the pictures"
    yield f"temperature {fall if recipe.temperature_epochs else 1}{drawn if recipe.temperature_draw else ''}"
    if recipe.kernel_drop == "strongest":
        yield (
            f"from then on, for {100 * FEWER_KERNELS:g} % of the pictures only n of the {recipe.kernels} kernels, n from 1 "
            f"to {recipe.kernels - 1}: the strongest in each layer"
        )
    if recipe.balance:
        yield f"a loss of weight {recipe.balance:g} for kernels whose mean shares differ"
    if recipe.final_temperature != 1:
        yield f"all logits divided by {recipe.final_temperature:g} when training was over"
