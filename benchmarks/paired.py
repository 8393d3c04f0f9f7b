"""Does ODConv pay? Pairs of a static network and its arms: same parent, same order of pictures, same crops, same schedule.

    python benchmarks/paired.py --data DIR --out RUN --quick          one pair at reduced size, within an hour on two cores
    python benchmarks/paired.py --data DIR --out RUN --seeds 6 --arms static,od1,od4 [--start parent|scratch] [...]
    python benchmarks/paired.py --out RUN --report
    python benchmarks/paired.py --report benchmarks/results/*.jsonl --summary assets/measured/paired.json

Each seed trains a static network for some epochs; from it, all arms go on: the static one as it is, those with ODConv from the
same function (heads at 0, kernels equal but for noise that sums to 0), with steps of the kernels that move a picture's kernel as
far as the twin's. With ``--start scratch`` all begin with random weights and ODConv at temperature 30, as in the paper.

An arm and seed leave one JSON file in RUN; what is there is skipped, and what was under way goes on from its last epoch. The
validation pictures are looked at once by each, at the end; ``--tune`` looks at a slice of the training pictures instead.
Arms: static, od1 and od4 (K = 1, 4), od4_late (the last two stages alone), wider and more (static, with as many multiply-adds or
parameters as od4, from a parent as wide), se (squeeze-and-excitation), od4_fixed and od4_shuffled (trained with the mean attention of the batch, or that
of another picture), static_distilled and od4_distilled (from a static network twice as wide, a pair of their own). Arms with their
own attention are measured with frozen and with shuffled gates, too.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.pairs.arms import ARMS, TEACHER, build, parent_of, size
from benchmarks.pairs.export import export
from benchmarks.pairs.pictures import load
from benchmarks.pairs.plan import Plan, fields_in_words
from benchmarks.pairs.report import pack, read, report, summarize
from benchmarks.pairs.training import PairedError, Task, Training, fit, right_with_gates, seconds_per_step
from odconv.training.compute import full_float32
from odconv.training.data import DataError, find_dataset, write_whole

QUICK = {"classes": 20, "parent_epochs": 4, "epochs": 10, "batch": 128}
RESERVE = 25.0  # s, of a budget, for measuring
SLACK, BETWEEN = 1.05, 0.02  # an epoch takes longer than its steps: by a share of them, and by seconds for each run


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the pairs")
    parser.add_argument("--data", type=Path, help="folder of the data set, or .npz file of its arrays")
    parser.add_argument("--cache", type=Path, help="folder for decoded pictures (default: DATA/decoded)")
    parser.add_argument(
        "--report",
        type=Path,
        nargs="*",
        metavar="PATH",
        help="print the table of these folders, or files with a result in each line, and end (default: that of OUT)",
    )
    parser.add_argument("--summary", type=Path, metavar="FILE", help="with --report: write what it says as JSON, too")
    parser.add_argument("--quick", action="store_true", help=f"one pair at reduced size: {QUICK}")
    parser.add_argument("--seeds", type=int, default=1, help="how many pairs")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--arms", default="static,od4", help=", ".join(ARMS))
    parser.add_argument("--parent", type=Path, help="weights of a static network that all seeds start from")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with seeds of its own")
    parser.add_argument("--keep-weights", action="store_true", help="those of the arms, too, in ARM_SEED.weights.pt")
    parser.add_argument(
        "--export",
        nargs=2,
        metavar=("ARM_SEED", "FOLDER"),
        help="write a network that was kept as weights with a card, and end",
    )
    parser.add_argument("--keep-every", type=int, default=1, help="epochs between two checkpoints")
    parser.add_argument("--no-graphs", action="store_true", help="on a GPU: start each operation by itself")
    parser.add_argument("--calibrate", action="store_true", help="print what an epoch of each arm takes, and end")
    parser.add_argument(
        "--budget-seconds", type=float, help="choose the epochs so that all ends in this time, on a GPU"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    group = parser.add_argument_group("the plan, the same for all in a folder")
    for name, (kind, words) in fields_in_words().items():
        how: dict[str, Any] = {"action": "store_true"} if kind is bool else {"type": kind}
        if get_args(kind):
            how = {"choices": get_args(kind)}
        words = f"{words} (default: {getattr(Plan, name)})"
        group.add_argument(f"--{name.replace('_', '-')}", default=argparse.SUPPRESS, help=words, **how)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    options = make_parser().parse_args(argv)
    given = {name: getattr(options, name) for name in fields_in_words() if hasattr(options, name)}
    plan = Plan(**((QUICK if options.quick else {}) | given))
    options.began = time.time()
    try:
        if options.out is None and not options.report:
            raise PairedError("--out is needed: the folder of the pairs.")
        if options.report is None:
            names = options.arms.split(",")
            if unknown := set(names) - set(ARMS):
                raise PairedError(f"There is no arm {min(unknown)}: {', '.join(ARMS)}.")
            if options.data is None:
                raise PairedError("--data is needed: the folder of the data set.")
            if options.export:
                print(f"Wrote {_export(options)}.")
                return
            _run(options, plan, names)
        if options.calibrate:
            return
        found = [read(path) for path in options.report or [options.out]]
        print("\n\n".join(map(report, found)))
        if options.summary:
            text = json.dumps([summarize(entries) for entries in found], indent=1) + "\n"
            write_whole(options.summary, lambda path: path.write_text(text, encoding="utf-8"))
    except (DataError, PairedError) as error:
        sys.exit(str(error))


def _export(options: argparse.Namespace) -> Path:
    arm, _, seed = options.export[0].rpartition("_")
    task, plan = Task(int(seed), arm), Plan(**json.loads((options.out / "plan.json").read_text(encoding="utf-8")))
    return export(task, plan, read_weights(options, task), find_dataset(options.data), Path(options.export[1]))


# --- running ----------------------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace, plan: Plan, arms: Sequence[str]) -> None:
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    jobs = min(options.jobs, len(seeds))
    options.out.mkdir(parents=True, exist_ok=True)
    plan = _settle_plan(options, plan)
    context = multiprocessing.get_context("spawn")
    together = _Together(context, jobs)
    if jobs == 1:
        _work(options, plan, arms, list(seeds), together)
        return
    shares = [list(seeds)[job::jobs] for job in range(jobs)]
    workers = [context.Process(target=_work, args=(options, plan, arms, share, together)) for share in shares]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failed := [worker.exitcode for worker in workers if worker.exitcode]:
        raise PairedError(f"{len(failed)} of {jobs} processes ended early.")


def _settle_plan(options: argparse.Namespace, plan: Plan) -> Plan:
    """The plan of the folder, which is written there at first; with a budget, its epochs are chosen once."""
    path = options.out / "plan.json"
    if not path.is_file():
        return plan if options.budget_seconds or options.calibrate else _write_plan(options.out, plan)
    kept = Plan(**json.loads(path.read_text(encoding="utf-8")))
    if options.budget_seconds:
        plan = replace(plan, epochs=kept.epochs)
        options.budget_seconds = None
    if kept != plan:
        differ = [name for name, value in asdict(kept).items() if value != getattr(plan, name)]
        raise PairedError(f"{options.out} was begun with another plan: {', '.join(differ)} differ.")
    return plan


def _write_plan(folder: Path, plan: Plan) -> Plan:
    text = json.dumps(asdict(plan), indent=1) + "\n"
    write_whole(folder / "plan.json", lambda path: path.write_text(text, encoding="utf-8"))
    return plan


class _Together:
    """What the processes of a command decide together."""

    def __init__(self, context: Any, jobs: int) -> None:
        self.jobs, self.barrier = jobs, context.Barrier(jobs)
        self.slowest, self.epochs = context.Value("d", 0.0), context.Value("i", 0)

    def wait(self) -> bool:
        """Until all are here, in minutes at most; true in one of them."""
        return self.barrier.wait(180) == 0


def _work(
    options: argparse.Namespace, plan: Plan, arms: Sequence[str], seeds: Sequence[int], together: _Together
) -> None:
    """All arms of some seeds, in one process."""
    device = torch.device(options.device)
    if together.jobs > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // together.jobs))
    with full_float32():
        data = load(options.data, plan.side, plan.classes, plan.tune, options.cache).to(device)
        if options.calibrate:
            calibrate(options, plan, data, arms)
            return
        needs = [TEACHER] * any(ARMS[arm].learns_from_teacher for arm in arms)
        if plan.start == "parent" and not options.parent:
            needs += sorted({parent_of(arm) for arm in arms})
        at_once = device.type == "cuda" or options.budget_seconds is not None  # epochs are chosen once, for all
        for tasks in groups(seeds, arms, needs, at_once):
            tasks = [task for task in tasks if not result_path(options.out, task).is_file()]
            trainings = [begin(options, plan, data, task) for task in tasks]
            if options.budget_seconds and tasks and not tasks[0].begins_pair:
                plan = _choose_epochs(options, plan, trainings, together)
                for one in trainings:
                    one.plan = plan
            fit(trainings, options.keep_every)
            for one in trainings:
                finish(options, one)


def groups(seeds: Sequence[int], arms: Sequence[str], needs: Sequence[str], at_once: bool) -> Iterator[list[Task]]:
    """What is trained together: on a GPU all that do not wait for each other, else one after the other, pair after pair.

    ``needs``: what each seed's arms need before.
    """
    if at_once:
        for names in filter(None, (needs, arms)):
            yield [Task(seed, name) for seed in seeds for name in names]
        return
    for seed in seeds:
        yield from ([Task(seed, name)] for name in (*needs, *arms))


def begin(options: argparse.Namespace, plan: Plan, data: Any, task: Task) -> Training:
    parent = teacher = None
    if plan.start == "parent" and not task.begins_pair:
        parent = parent_weights(options, task)
    if task.differs.learns_from_teacher:
        teacher = read_weights(options, Task(task.seed, TEACHER))
    training = Training(task, plan, data, options.out, parent, teacher)
    if training.stream is not None and not options.no_graphs and not training.finished:
        training.capture()
    return training


def parent_weights(options: argparse.Namespace, task: Task) -> dict[str, torch.Tensor]:
    if options.parent:
        if task.differs.as_many:
            raise PairedError(f"{task.arm} needs a parent as wide as it is, and cannot start from {options.parent}.")
        from odconv import load_checkpoint

        return {name: tensor.float() for name, tensor in load_checkpoint(options.parent).model.state_dict().items()}
    return read_weights(options, Task(task.seed, parent_of(task.arm)))


def weights_path(folder: Path, task: Task) -> Path:
    return folder / f"{task.name}.weights.pt"


def read_weights(options: argparse.Namespace, task: Task) -> dict[str, torch.Tensor]:
    return torch.load(weights_path(options.out, task), map_location="cpu", weights_only=True)


def _choose_epochs(options: argparse.Namespace, plan: Plan, trainings: Sequence[Training], together: _Together) -> Plan:
    """As many epochs for all as fit into what is left of the budget, by what a step takes while all processes work."""
    together.wait()
    seconds_per_step(trainings, 3)  # first replays take longer
    together.wait()
    taken = seconds_per_step(trainings)
    with together.slowest.get_lock():
        together.slowest.value = max(together.slowest.value, taken)
    if together.wait():  # one of them decides
        epoch = together.slowest.value * trainings[0].per_epoch * SLACK + BETWEEN * len(trainings)
        left = options.budget_seconds - (time.time() - options.began) - RESERVE
        together.epochs.value = max(2, int(left / epoch))
        _write_plan(options.out, replace(plan, epochs=together.epochs.value))
        print(f"{epoch:.2f} s an epoch of all, {left:.0f} s left: {together.epochs.value} epochs", flush=True)
    together.wait()
    return replace(plan, epochs=together.epochs.value)


def finish(options: argparse.Namespace, training: Training) -> None:
    """Measure, write the result, and forget the checkpoint; the weights of what arms need are kept."""
    task, plan, data = training.task, training.plan, training.data
    entry: dict[str, Any] = {"arm": task.arm, "seed": task.seed}
    if task.begins_pair or options.keep_weights:
        write_whole(weights_path(options.out, task), lambda new: torch.save(training.model.state_dict(), new))
    if not task.begins_pair:
        found = right_with_gates(training, data.measured, task.differs.gates)
        entry |= {"top1": 100 * float(found.double().mean()), "right": pack(found.numpy())}
        if task.differs.kernels and task.differs.gates == "own":
            for gates in ("frozen", "shuffled"):
                found = right_with_gates(training, data.measured, gates)
                entry |= {f"top1_{gates}": 100 * float(found.double().mean()), f"right_{gates}": pack(found.numpy())}
    entry |= {
        "measured": len(data.measured),
        "measured_on": "a slice of train" if plan.tune else "val",
        "losses": [round(loss, 5) for loss in training.losses],
        "seconds": round(training.seconds, 2),
        **size(training.model, plan.side),
        "precision": training.precision,
        "plan": asdict(plan),
        "data": data.digest,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "device": torch.cuda.get_device_name() if training.stream is not None else platform.machine(),
    }
    line = json.dumps(entry) + "\n"
    write_whole(result_path(options.out, task), lambda path: path.write_text(line, encoding="utf-8"))
    training.checkpoint.unlink(missing_ok=True)
    accuracy = f", {entry['top1']:.2f} %" if "top1" in entry else ""
    print(f"{task.name}: loss {training.losses[-1]:.3f}{accuracy}, {training.seconds:.0f} s", flush=True)


def result_path(folder: Path, task: Task) -> Path:
    return folder / f"{task.name}.json"


def calibrate(options: argparse.Namespace, plan: Plan, data: Any, arms: Sequence[str]) -> None:
    """What an epoch of each arm takes by itself; on a GPU without and with graphs, whose steps are compared."""
    for arm in arms:
        teacher = build(TEACHER, plan, data.classes, 0).state_dict()
        training = Training(Task(0, arm), replace(plan, start="scratch"), data, options.out, teacher=teacher)
        words = f"{arm}: {_epoch_seconds(training):.2f} s an epoch"
        if training.stream is not None:
            try:
                losses = [_loss_after(training)]
                training.capture()
                losses.append(_loss_after(training))
                words += f", {_epoch_seconds(training):.2f} s with a graph; loss of 10 steps {losses[0]:.4f} and {losses[1]:.4f}"
                if not abs(losses[0] - losses[1]) < 0.02 * losses[0]:
                    raise PairedError(f"{words}: the graph computes something else.")
            except RuntimeError as error:
                raise PairedError(f"{words}; no graph: {str(error).splitlines()[0]}") from error
        print(words, flush=True)


def _epoch_seconds(training: Training) -> float:
    seconds_per_step([training], 3)
    return seconds_per_step([training]) * training.per_epoch


def _loss_after(training: Training, steps: int = 10) -> float:
    kept = training.snapshot()
    training.begin_epoch()
    for _ in range(steps):
        training.step()
    if training.stream is not None:
        torch.cuda.synchronize()
    loss = float(training.loss) / steps
    training.restore(kept)
    return loss


if __name__ == "__main__":
    main()
