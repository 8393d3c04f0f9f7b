"""Questions in a fold at the foot of a page, one at a time: the visitor predicts, then the network answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import streamlit as st

from odconv import drawings, findings
from odconv.atlas import Atlas
from odconv.attention import HEADS, Settings
from odconv.card import is_percent
from odconv.explain import Explanation
from odconv.kernel_use import kernel_use
from odconv.tasks import LIKED, TASKS, Finding
from odconv.tempering import FIRST_TEMPERATURE, GATES, Alone
from odconv.ui import asking, familiar, inference, layer, parts, tasks, text, view
from odconv.ui import engine as engines
from odconv.ui.asking import Reply
from odconv.ui.devices import BusyError
from odconv.ui.engine import Engine
from odconv.ui.pictures import Picture, sample_picture, samples
from odconv.ui.text import say

# The tasks at the foot of each page.
EXPLORE = ("taps", "alone", "go", "likes", "class", "strange")
FORGE = ("taps", "likes")  # beside "shuffle", which stands open
LIKED_KERNEL = 2  # W3, from 0


class Question(NamedTuple):
    """One task as this network and picture can be asked it."""

    text: str  # Markdown
    answers: Sequence[str]
    find: Callable[[], Finding]


@parts.part("question_part")
def show_one(engine: Engine, picture: Picture, id: str) -> None:
    """Draw one task, open, where every network with attention can be asked it."""
    try:
        trained = inference.ask(engine, picture, Settings()).explanation
        if asked := QUESTIONS[id](engine, picture, trained):
            tasks.ask(TASKS[id], asked.text, asked.answers, asked.find)
    except BusyError as error:
        asking.show_busy(Reply(None, error), "question")
    view.write_link()


@parts.part("questions_part")
def show(engine: Engine, picture: Picture, ids: Sequence[str]) -> None:
    """Draw the fold with those of the tasks ``ids`` that can be asked of this network. ``engine``: of a dynamic network."""
    fold = st.expander(
        say("question.title"), key="questions", expanded=view.current().question in ids, on_change="rerun"
    )
    if not fold.open:
        return
    with fold:
        try:
            trained = inference.ask(engine, picture, Settings()).explanation
            asked = {id: question for id in ids if (question := QUESTIONS[id](engine, picture, trained))}
            id = view.current().question if view.current().question in asked else next(iter(asked))
            view.bind(
                st.selectbox,
                say("question.choose"),
                key="question",
                value=id,
                then=lambda id: view.change(question=id),
                options={id: say(f"question.{id}") for id in asked},
            )
            tasks.ask(TASKS[id], asked[id].text, asked[id].answers, asked[id].find)
        except BusyError as error:
            asking.show_busy(Reply(None, error), "questions")
    view.write_link()


def _every(id: str) -> tuple[str, ...]:
    return tuple(TASKS[id].answers)


def _first(engine: Engine, record: Explanation) -> str:
    return drawings.first_synonym(engine.checkpoint.card.classes[int(record.logits[0].argmax())])


def _taps(engine: Engine, picture: Picture, trained: Explanation) -> Question | None:
    name = layer.chosen(trained)
    if trained.layers[name].attention.spatial is None:
        return None
    size = engine.checkpoint.card.image_size
    question = text.markdown("task.taps", layer=name)
    return Question(question, _every("taps"), lambda: findings.find_taps(trained.layers[name], name, size))


def _shuffle(engine: Engine, picture: Picture, trained: Explanation) -> Question | None:
    name = layer.chosen(trained)
    present = [head for head, values in zip(HEADS, trained.layers[name].attention, strict=True) if values is not None]
    answers = [answer for answer in _every("shuffle") if answer not in HEADS or answer in present]

    def find() -> Finding:
        changes, output = inference.ask_shuffle(engine, picture, name)
        return findings.find_shuffle(changes, output, name)

    return Question(text.markdown("task.shuffle", layer=name), answers, find)


def _alone(engine: Engine, picture: Picture, trained: Explanation) -> Question | None:
    most = engine.num_kernels
    if most == 1:
        return None
    best = int(trained.logits[0].argmax())

    def find() -> Finding:
        records = {
            count: inference.ask(engine, picture, Settings(kernels=count)).explanation for count in range(most, 0, -1)
        }
        shares = {count: float(record.probabilities[0, best]) for count, record in records.items()}
        first = (_first(engine, trained), _first(engine, records[1]))
        return findings.find_alone(shares, first, _measured_alone(engine.checkpoint.card.measured, most))

    return Question(text.markdown("task.alone", name=_first(engine, trained)), _every("alone"), find)


def _measured_alone(measured: Mapping[str, object], most: int) -> tuple[float, float, int] | None:
    """Percent right with all kernels and with the strongest alone, and of how many pictures, from a card."""
    by_count, n = measured.get("strongest_n_kernels"), measured.get("n")
    if not isinstance(by_count, dict) or type(n) is not int or not 1 <= n < 10**12:
        return None
    numbers = [
        one.get("top1") if isinstance(one, dict) else None for one in (by_count.get(str(most)), by_count.get("1"))
    ]
    whole, single = numbers
    if not is_percent(whole) or not is_percent(single):
        return None
    return float(whole), float(single), n


def _go(engine: Engine, picture: Picture, trained: Explanation) -> Question | None:
    best = int(trained.logits[0].argmax())

    def find() -> Finding:
        without = {
            head: float(inference.ask(engine, picture, Settings(ablate=(head,))).explanation.probabilities[0, best])
            for head in engine.heads
        }
        return findings.find_go(float(trained.probabilities[0, best]), without, _first(engine, trained))

    return Question(text.markdown("task.go", name=_first(engine, trained)), engine.heads, find)


def _suffers(engine: Engine, picture: Picture, trained: Explanation) -> Question | None:
    name = _first(engine, trained)

    def find() -> Finding:
        (reading,) = inference.read_each(engine, picture, [Settings()])
        alone = {head: _read_alone(engine, picture, head) for head in engine.heads}
        return findings.find_suffers(reading, alone, engine.num_kernels, name)

    return Question(text.markdown("task.suffers", name=name), engine.heads, find)


def _read_alone(engine: Engine, picture: Picture, head: str) -> Alone:
    hot = Settings(FIRST_TEMPERATURE, (head,))
    every = [hot, replace(hot, compensate=True)] if head in GATES else [hot]
    free, *kept = inference.read_each(engine, picture, every)
    return Alone(free, kept[0] if kept else None)


def _likes(engine: Engine, picture: Picture, trained: Explanation) -> Question | None:
    name = next(iter(trained.layers))
    kernel = trained.layers[name].attention.kernel
    if kernel is None or kernel.shape[1] <= LIKED_KERNEL:
        return None
    atlas = engines.load_atlas_for(engine, trained)
    use = None if atlas is None else kernel_use(atlas.layers[name], atlas.counts)
    known = atlas is not None and _tells_classes_apart(engine, atlas)

    def find() -> Finding:
        records = {id: inference.ask(engine, sample_picture(id), Settings()).explanation for id in LIKED}
        shares = {}
        for id, record in records.items():
            found = record.layers[name].attention.kernel
            assert found is not None
            shares[id] = float(found[0, LIKED_KERNEL])
        titles = {id: sample_picture(id).title for id in LIKED}
        names = [drawings.first_synonym(one) for one in engine.checkpoint.card.classes]
        return findings.find_likes(shares, titles, use[LIKED_KERNEL] if use and known else None, names, name)

    return Question(text.markdown("task.likes", layer=name), LIKED, find)


def _class(engine: Engine, picture: Picture, trained: Explanation) -> Question | None:
    atlas = engines.load_atlas_for(engine, trained)
    if atlas is None or not _tells_classes_apart(engine, atlas):
        return None
    explained = findings.class_shares(atlas)
    if len(explained) < 2:
        return None

    def find() -> Finding:
        best = max(explained, key=explained.__getitem__)
        shares = trained.layers[best].attention.kernel
        assert shares is not None
        rank = findings.class_rank(atlas, best, shares[0], int(trained.logits[0].argmax()))
        return findings.find_class(explained, rank, _first(engine, trained), atlas)

    return Question(say("task.class"), _every("class"), find)


def _tells_classes_apart(engine: Engine, atlas: Atlas) -> bool:
    return atlas.tells_classes_apart and atlas.classes == len(engine.checkpoint.card.classes)


def _strange(engine: Engine, picture: Picture, trained: Explanation) -> Question | None:
    atlas = engines.load_atlas_for(engine, trained)
    if atlas is None or familiar.fingerprint(engine.checkpoint.card.classes) != familiar.TINY_IMAGENET:
        return None

    def find() -> Finding:
        known: dict[str, float] = {}
        strange: dict[str, float] = {}
        for id, sample in samples().items():
            record = inference.ask(engine, sample_picture(id), Settings()).explanation
            far = findings.distance_from_typical(record, atlas)
            (strange if sample.known is None else known)[sample.title] = far
        return findings.find_strange(known, strange)

    count = sum(sample.known is None for sample in samples().values())
    return Question(say("task.strange", strange=count), _every("strange"), find)


QUESTIONS: dict[str, Callable[[Engine, Picture, Explanation], Question | None]] = {
    "taps": _taps,
    "shuffle": _shuffle,
    "alone": _alone,
    "go": _go,
    "likes": _likes,
    "class": _class,
    "strange": _strange,
    "suffers": _suffers,
}
