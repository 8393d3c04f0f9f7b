"""A network of the pairs as weights that the app opens: float16 safetensors, with a card beside them."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.pairs.arms import REDUCTION, find
from benchmarks.pairs.plan import Plan
from benchmarks.pairs.training import SOFTENED, Task
from odconv.architecture import Architecture
from odconv.checkpoint import save_checkpoint
from odconv.training.data import Dataset
from odconv.training.run import card_of


def export(task: Task, plan: Plan, weights: dict[str, torch.Tensor], dataset: Dataset, folder: Path) -> Path:
    """Write the network; nothing of it is measured yet, ``odconv.training.evaluate`` does.

    Raises:
        ValueError: the arm is no network of ``odconv.architecture``.
    """
    arm = find(task.arm)
    if arm.squeezes or arm.as_many or len(arm.stages) < 4:
        raise ValueError(f"{task.arm} is no network that the app knows.")
    classes = len(dataset.ids)
    if arm.kernels:
        architecture = Architecture(f"od_{plan.backbone}", plan.width, classes, "small", arm.kernels, REDUCTION)
        name = f"od_{plan.backbone}_w{plan.width}_{arm.kernels}x"
    else:
        architecture = Architecture(plan.backbone, plan.width, classes, "small", None, None)
        name = f"{plan.backbone}_w{plan.width}"
    model = architecture.build()
    model.load_state_dict(weights)
    path = folder / f"{name}_tiny_imagenet.safetensors"
    save_checkpoint(model, card_of(path.stem, architecture, dataset, plan.side, in_words(task, plan), {}), path)
    return path


def in_words(task: Task, plan: Plan) -> str:
    """How the network was trained."""
    arm = find(task.arm)
    begins = {
        "parent": f"First {plan.backbone} for {plan.parent_epochs} epochs from random weights; then, from the same function, ",
        "scratch": "From random weights, ",
    }[plan.start]
    what = f"od_{plan.backbone}" if arm.kernels else plan.backbone
    rates = f"SGD with momentum {plan.momentum:g}, rate {plan.learning_rate(plan.warm_up):g}, cosine decay"
    if arm.kernels and plan.start == "parent":
        rates += ", kernels with steps that move a picture's kernel as far as the twin's"
    teacher = f"; distilled at temperature {SOFTENED:g} from a wider network" if arm.learns_from_teacher else ""
    return (
        f"{begins}{what} for {plan.epochs} epochs at {plan.side} px, batch {plan.batch}; {rates}; weight decay "
        f"{plan.weight_decay:g} on everything; pictures moved by up to {plan.padding} px, mirrored at random{teacher}; "
        f"temperature 1, all kernels; seed {task.seed}. One of the pairs of benchmarks/paired.py."
    )
