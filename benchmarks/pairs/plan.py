"""What all arms of all pairs in a folder share: data, recipe, schedules. A pure description."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_type_hints

Start = Literal["parent", "scratch"]
Precision = Literal["auto", "bfloat16", "float32", "float64"]


@dataclass(frozen=True)
class Plan:
    """The options of the command line are made from these fields. Defaults: the recipe of the paper's authors for ResNets."""

    start: Annotated[Start, "what arms start from: a static network that was trained before, or random weights"] = (
        "parent"
    )
    backbone: Annotated[str, "the static network"] = "resnet18"
    width: Annotated[int, "channels of its first stage"] = 16
    side: Annotated[int, "of the pictures, px"] = 32
    classes: Annotated[int, "of the data set, the first so many"] = 200
    tune: Annotated[bool, "measure on 5,000 pictures of train instead of the validation pictures"] = False
    epochs: Annotated[int, "of each arm"] = 30
    parent_epochs: Annotated[int, "of the static network that arms start from"] = 10
    batch: Annotated[int, "pictures in a batch"] = 256
    lr: Annotated[float, "highest learning rate for a batch of 256; in proportion for others"] = 0.1
    warm_up: Annotated[
        float, "share of the epochs in which the learning rate rises from 0; then it falls along a cosine"
    ] = 0.0
    momentum: Annotated[float, "of SGD"] = 0.9
    weight_decay: Annotated[float, "of all parameters"] = 1e-4
    attention_lr: Annotated[float, "factor on the learning rate in the attention branches"] = 1.0
    kernel_step: Annotated[float, "from a parent: the kernels' step, as a multiple of the twin's"] = 1.0
    noise: Annotated[float, "from a parent: what sets the K kernels apart, as a fraction of their deviation"] = 0.1
    temperature_share: Annotated[float, "from random weights: share of the epochs in which T falls from 30 to 1"] = 0.1
    padding: Annotated[int, "the most by which a crop is off the centre, px"] = 4
    precision: Annotated[Precision, "number type of products; auto: what the device is fast at"] = "auto"

    def learning_rate(self, progress: float) -> float:
        """``progress``: of the whole run, 0 to 1."""
        highest = self.lr * self.batch / 256
        if progress < self.warm_up:
            return highest * progress / self.warm_up
        return highest * (1 + math.cos(math.pi * (progress - self.warm_up) / (1 - self.warm_up))) / 2

    def temperature(self, progress: float) -> float:
        """Along a line from 30 to 1, as in the released code; always 1 from a parent, whose function is to be kept."""
        if self.start == "parent" or progress >= self.temperature_share:
            return 1.0
        return 30 - 29 * progress / self.temperature_share


def fields_in_words() -> dict[str, tuple[Any, str]]:
    """Name of each field -> its type and what it is in words."""
    hints = get_type_hints(Plan, include_extras=True)
    return {name: (hint.__origin__, hint.__metadata__[0]) for name, hint in hints.items()}
