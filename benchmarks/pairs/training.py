"""One arm in training: its steps, its checkpoint, and on a GPU its graph, which starts all operations of a step at once."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.pairs.arms import ARMS, TEACHER, Arm, Gates, build, find, parameter_groups
from benchmarks.pairs.pictures import Data, Normalize, Split, crop
from benchmarks.pairs.plan import Plan
from odconv.attention import Heads
from odconv.training.compute import autocast, choose_precision
from odconv.training.data import Purpose, stream, write_whole
from odconv.training.network import branches

WARM_UP = 3  # steps before a graph is made of one
AT_ONCE = 1000  # pictures in a batch that is only looked at
DTYPES = {"float64": torch.float64}
# Distillation (Hinton et al., 2015, https://arxiv.org/abs/1503.02531) as Tian et al. set it (2020, https://arxiv.org/abs/1910.10699)
SOFTENED = 4.0  # temperature of both networks' logits
FROM_TEACHER = 0.9  # share of the teacher's loss; the rest is that of the labels


class PairedError(ValueError):
    """A run that cannot go on; the message is one clear sentence."""


@dataclass(frozen=True, order=True)
class Task:
    """What there is to train."""

    seed: int
    arm: str

    @property
    def name(self) -> str:
        return f"{self.arm}_{self.seed}"

    @property
    def begins_pair(self) -> bool:
        """Whether arms need it, and it is none."""
        return self.arm not in ARMS

    @property
    def differs(self) -> Arm:
        return find(self.arm)


@lru_cache(maxsize=16)  # arms of one seed ask one after the other
def draw(
    seed: int, which: int, epoch: int, pictures: int, steps: int, batch: int, padding: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What an epoch draws: pictures (steps, batch), by how much they move (steps, batch, 2), which are mirrored (steps, batch).

    ``which``: 1 for what a parent is trained on, 0 for its arms.
    """
    order = stream(seed, Purpose.ORDER, which, epoch).permutation(pictures)[: steps * batch].reshape(steps, batch)
    random = stream(seed, Purpose.AUGMENTATION, which, epoch)
    moves = random.integers(-padding, padding + 1, (steps, batch, 2))
    return order, moves, random.integers(0, 2, (steps, batch)) == 1


class Training:
    """An arm of one seed, and how far it is."""

    def __init__(
        self,
        task: Task,
        plan: Plan,
        data: Data,
        folder: Path,
        parent: dict[str, Tensor] | None = None,
        teacher: dict[str, Tensor] | None = None,
    ) -> None:
        """``data`` is on the device on which it is trained. A checkpoint in ``folder`` is gone on with.

        ``parent``, ``teacher``: their weights, where the arm starts or learns from one.
        """
        self.task, self.data, self.folder = task, data, folder
        self.plan = replace(plan, epochs=plan.parent_epochs, start="scratch") if task.begins_pair else plan
        self.device = device = data.train.pixels.device
        self.precision = choose_precision(device)[0] if plan.precision == "auto" else plan.precision
        self.model = build(task.arm, self.plan, data.classes, task.seed, parent)
        self.model.to(device, DTYPES.get(self.precision, torch.float32)).train()
        self.teacher: nn.Module | None = None
        if task.differs.learns_from_teacher:
            assert teacher is not None
            self.teacher = build(TEACHER, self.plan, data.classes, task.seed)
            self.teacher.load_state_dict(teacher)
            self.teacher.to(device, DTYPES.get(self.precision, torch.float32)).eval()
        self.normalize = Normalize(device, next(self.model.parameters()).dtype)
        groups = list(parameter_groups(self.model, self.plan))
        for group in groups:
            group["lr"] = torch.zeros((), device=device)
        self.optimiser = torch.optim.SGD(groups, 0.1, plan.momentum, fused=True)
        self.losses: list[float] = []  # mean of each finished epoch
        self.seconds = 0.0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.per_epoch = len(data.train) // plan.batch
        if not self.per_epoch:
            raise PairedError(f"A batch of {plan.batch} is more than the {len(data.train)} pictures to train on.")
        # What an epoch draws lies on the device, and so does the number of the step: a step needs nothing from Python.
        steps, batch = self.per_epoch, plan.batch
        self.order = torch.zeros(steps, batch, dtype=torch.int64, device=device)
        self.moves = torch.zeros(steps, batch, 2, dtype=torch.int64, device=device)
        self.mirrored = torch.zeros(steps, batch, dtype=torch.bool, device=device)
        self.rates, self.temperatures = (torch.zeros(steps, device=device) for _ in range(2))
        self.temperature = torch.ones((), device=device)
        self.at = torch.zeros(1, dtype=torch.int64, device=device)
        self.loss = torch.zeros((), device=device)
        self._attach_temperature()
        self._attach_gates()
        if self.checkpoint.is_file():
            self._load(torch.load(self.checkpoint, map_location=device, weights_only=True))

    @property
    def checkpoint(self) -> Path:
        return self.folder / f"{self.task.name}.pt"

    @property
    def finished(self) -> bool:
        return len(self.losses) >= self.plan.epochs

    def _attach_temperature(self) -> None:
        if self.plan.start == "parent":
            return  # at T = 1 for good

        def hook(branch: nn.Module, inputs: Any, logits: Heads[Tensor]) -> Heads[Tensor]:
            if not branch.training:
                return logits
            return Heads(*(None if head is None else head / self.temperature for head in logits))

        for branch in branches(self.model):
            branch.register_forward_hook(hook)

    def _attach_gates(self) -> None:
        """In training, the attention that the arm is trained with, where it is not the picture's own."""
        gates = self.task.differs.gates
        if gates == "own":
            return
        change = _next_picture if gates == "shuffled" else _mean_of_batch
        for branch in branches(self.model):
            branch.register_forward_hook(lambda branch, inputs, own: change(own) if branch.training else own)

    def begin_epoch(self) -> None:
        """Draw the order, the crops and the mirrored pictures of the next epoch, the same in all arms of a seed."""
        epoch, steps, batch = len(self.losses), self.per_epoch, self.plan.batch
        seed, which = self.task.seed, int(self.task.begins_pair)
        drawn = draw(seed, which, epoch, len(self.data.train), steps, batch, self.plan.padding)
        for place, values in zip((self.order, self.moves, self.mirrored), drawn, strict=True):
            self._put(place, values)
        progress = [(epoch + (step + 0.5) / steps) / self.plan.epochs for step in range(steps)]
        self._put(self.rates, [self.plan.learning_rate(each) for each in progress])
        self._put(self.temperatures, [self.plan.temperature(each) for each in progress])
        self.at.zero_()
        self.loss.zero_()
        if self.stream is not None:
            torch.cuda.synchronize(self.device)  # the steps' stream sees it all

    @staticmethod
    def _put(place: Tensor, values: Any) -> None:
        place.copy_(torch.as_tensor(values))

    def step(self) -> None:
        """The next step of the epoch; on a GPU it is only started."""
        if self.stream is None:
            self._step()
            return
        with torch.cuda.stream(self.stream):
            if self.graph is None:
                self._step()
            else:
                self.graph.replay()

    def _step(self) -> None:
        chosen, moves, mirrored, rate, temperature = (
            array.index_select(0, self.at)[0]
            for array in (self.order, self.moves, self.mirrored, self.rates, self.temperatures)
        )
        for group in self.optimiser.param_groups:
            group["lr"].copy_(rate * group["factor"])
        self.temperature.copy_(temperature)
        self.optimiser.zero_grad(set_to_none=True)
        x = self.normalize(crop(self.data.train.pixels, chosen, moves, mirrored))
        with autocast(self.device, self.precision):
            logits = self.model(x)
        logits = logits.float() if logits.dtype == torch.bfloat16 else logits
        labels = self.data.train.labels.index_select(0, chosen)
        loss = F.cross_entropy(logits, labels)
        if self.teacher is not None:
            with torch.no_grad(), autocast(self.device, self.precision):
                wanted = self.teacher(x).to(logits.dtype)
            loss = (1 - FROM_TEACHER) * loss + FROM_TEACHER * distillation_loss(logits, wanted)
        loss.backward()
        self.optimiser.step()
        self.loss += loss.detach()
        self.at += 1

    def end_epoch(self, seconds: float, keep: bool = True) -> None:
        """``keep``: write a checkpoint.

        Raises:
            PairedError: the loss is no finite number any more.
        """
        self.losses.append(float(self.loss) / self.per_epoch)
        self.seconds += seconds
        if not math.isfinite(self.losses[-1]):
            raise PairedError(f"The loss of {self.task.name} is no finite number any more; a lower --lr may help.")
        if keep:
            write_whole(self.checkpoint, lambda path: torch.save(self.state(), path))

    def state(self) -> dict[str, Any]:
        return {
            "plan": asdict(self.plan),
            "model": self.model.state_dict(),
            "momentum": [self.optimiser.state[p].get("momentum_buffer") for p in self._parameters()],
            "losses": self.losses,
            "seconds": self.seconds,
        }

    def _load(self, kept: dict[str, Any]) -> None:
        if kept["plan"] != asdict(self.plan):
            raise PairedError(f"{self.checkpoint} was begun with other settings.")
        self.model.load_state_dict(kept["model"])
        for parameter, momentum in zip(self._parameters(), kept["momentum"], strict=True):
            if momentum is not None:
                self.optimiser.state[parameter]["momentum_buffer"] = momentum
        self.losses, self.seconds = kept["losses"], kept["seconds"]

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.optimiser.param_groups for parameter in group["params"]]

    # --- graphs -------------------------------------------------------------------------------------------------------

    def snapshot(self) -> list[Tensor]:
        """Copies of all that steps change; before the first step, momentum is 0."""
        states = (self.optimiser.state[parameter] for parameter in self._parameters())
        momentum = [state["momentum_buffer"].clone() for state in states if "momentum_buffer" in state]
        return [tensor.clone() for tensor in self.model.state_dict().values()] + momentum

    def restore(self, kept: Sequence[Tensor]) -> None:
        """Back to a snapshot, in the same memory, which a graph knows."""
        momentum = [self.optimiser.state[parameter]["momentum_buffer"] for parameter in self._parameters()]
        places = [*self.model.state_dict().values(), *momentum]
        with torch.no_grad():
            for place, value in zip(places, kept, strict=False):
                place.copy_(value)
            for place in places[len(kept) :]:
                place.zero_()
            self.at.zero_()
            self.loss.zero_()
        if self.stream is not None:
            torch.cuda.synchronize(self.device)

    def capture(self) -> None:
        """Make a graph of a step. Nothing is changed but memory."""
        assert self.stream is not None
        kept = self.snapshot()
        self.begin_epoch()
        for _ in range(WARM_UP):
            self.step()
        torch.cuda.synchronize(self.device)
        self.restore(kept)
        self.optimiser.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            self._step()
        self.graph = graph
        self.restore(kept)


def fit(together: Sequence[Training], keep_every: int = 1) -> None:
    """Train to the end, in turns of a step each, so that on a GPU the graphs of all run beside each other."""
    while running := [one for one in together if not one.finished]:
        for one in running:
            one.begin_epoch()
        began = time.perf_counter()
        for step in range(max(one.per_epoch for one in running)):
            for one in running:
                if step < one.per_epoch:
                    one.step()
        if running[0].stream is not None:
            torch.cuda.synchronize(running[0].device)
        seconds = (time.perf_counter() - began) / len(running)
        for one in running:
            one.end_epoch(seconds, keep=(len(one.losses) + 1) % keep_every == 0)


def seconds_per_step(together: Sequence[Training], steps: int = 20) -> float:
    """What a step of all takes; nothing is changed."""
    kept = [one.snapshot() for one in together]
    for one in together:
        one.begin_epoch()
    steps = min(steps, *(one.per_epoch for one in together))
    began = time.perf_counter()
    for _ in range(steps):
        for one in together:
            one.step()
    if together[0].stream is not None:
        torch.cuda.synchronize(together[0].device)
    taken = (time.perf_counter() - began) / steps
    for one, before in zip(together, kept, strict=True):
        one.restore(before)
    return taken


def distillation_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """The divergence of softened shares (N, C) from the teacher's, times T², which keeps the size of its gradient."""
    shares = [F.log_softmax(each / SOFTENED, 1) for each in (logits, wanted)]
    return SOFTENED**2 * F.kl_div(*shares, reduction="batchmean", log_target=True)


# --- looking ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def right(training: Training, split: Split) -> Tensor:
    """Whether the network's first guess is right, for each picture: (N,) of bool, on the CPU."""
    model, found = training.model.eval(), []
    for pixels, labels in zip(split.pixels.split(AT_ONCE), split.labels.split(AT_ONCE), strict=True):
        with autocast(training.device, training.precision):
            logits = model(training.normalize(pixels))
        found.append(logits.argmax(1) == labels)
    model.train()
    return torch.cat(found).cpu()


def right_with_gates(training: Training, split: Split, gates: Gates, pictures: int = 5000) -> Tensor:
    """As :func:`right`, with the picture's own attention, or with one that knows nothing of the picture.

    ``gates``: "frozen": in each layer the mean over ``pictures`` of train; "shuffled": in all layers that of one other picture.
    """
    if gates == "own":
        return right(training, split)
    change = (
        _frozen(training, pictures)
        if gates == "frozen"
        else {branch: lambda branch, inputs, own: _next_picture(own) for branch in branches(training.model)}
    )
    if gates == "shuffled":  # neighbours may be of one class
        order = torch.from_numpy(stream(training.task.seed, Purpose.SETTINGS).permutation(len(split))).to(
            training.device
        )
        split = Split(split.pixels[order], split.labels[order])
    with ExitStack() as inside:
        for branch, hook in change.items():
            inside.callback(branch.register_forward_hook(hook).remove)
        found = right(training, split)
    if gates == "shuffled":
        found = found[order.cpu().argsort()]
    return found


def _next_picture(logits: Heads[Tensor]) -> Heads[Tensor]:
    return Heads(*(None if head is None else head.roll(1, 0) for head in logits))


def _mean_of_batch(logits: Heads[Tensor]) -> Heads[Tensor]:
    """Logits of the mean attention of the batch, for all of its pictures."""
    means = Heads(*(None if one is None else one.mean(0, keepdim=True) for one in _attention(logits)))
    return _expand(_logits(means), logits)


def _frozen(training: Training, pictures: int) -> dict[nn.Module, Any]:
    """Hooks that give every picture the logits of the mean attention over some pictures of train, evenly spaced."""
    train = training.data.train
    places = torch.linspace(0, len(train) - 1, min(pictures, len(train)), device=training.device).round().long()
    sums: dict[nn.Module, list[Tensor | None]] = {}

    def note(branch: nn.Module, inputs: Any, logits: Heads[Tensor]) -> None:
        found = [None if one is None else one.sum(0) for one in _attention(logits)]
        before = sums.get(branch, [0.0] * 4)
        sums[branch] = [None if new is None else old + new for old, new in zip(before, found, strict=True)]

    with ExitStack() as inside:
        for branch in branches(training.model):
            inside.callback(branch.register_forward_hook(note).remove)
        right(training, Split(train.pixels[places], train.labels[places]))

    def fixed(means: Heads[Tensor]) -> Any:
        return lambda branch, inputs, own: _expand(_logits(means), own)

    return {
        branch: fixed(Heads(*(None if one is None else one / len(places) for one in some)))
        for branch, some in sums.items()
    }


def _attention(logits: Heads[Tensor]) -> Heads[Tensor]:
    """Gates and shares, in float32 at least."""
    *gates, kernel = (None if one is None else one.to(torch.promote_types(one.dtype, torch.float32)) for one in logits)
    return Heads(
        *(None if one is None else torch.sigmoid(one) for one in gates), None if kernel is None else kernel.softmax(1)
    )


def _logits(attention: Heads[Tensor]) -> Heads[Tensor]:
    """What :func:`_attention` makes such gates and shares of."""
    *gates, kernel = (None if one is None else one.double() for one in attention)
    return Heads(
        *(None if one is None else torch.logit(one) for one in gates), None if kernel is None else kernel.log()
    )


def _expand(logits: Heads[Tensor], own: Heads[Tensor]) -> Heads[Tensor]:
    """One picture's logits for all of a batch, as its own are."""
    return Heads(
        *(None if one is None else one.to(like.dtype).expand_as(like) for one, like in zip(logits, own, strict=True))
    )
