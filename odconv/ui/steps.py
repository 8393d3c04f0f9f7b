"""What each step of the first lesson looks into, asks, and shows when it has been answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import streamlit as st

from odconv import drawings, start
from odconv.attention import HEADS, Heads, Settings
from odconv.card import is_percent
from odconv.explain import Explanation
from odconv.kernel_view import pick_slice
from odconv.layer import ODConv2d
from odconv.start import CLUE, LAYER, TEMPERATURES, TURN, Case
from odconv.tasks import MOST_KERNELS, TASKS, Finding
from odconv.ui import components, glossary, inference, knob, parts, sources, tasks, text, view
from odconv.ui import engine as engines
from odconv.ui import static_network as static
from odconv.ui.engine import Engine
from odconv.ui.link import View
from odconv.ui.pictures import Picture, sample_picture, samples
from odconv.ui.sources import Member
from odconv.ui.text import say

GRATING = "grating"
PAIR = ("espresso", "rocket")
OWN = {
    "kernels": PAIR,
    "flat": ("tabby-cat",),
    "temperature": ("tabby-cat",),
    "twin": PAIR,
}  # samples of steps that have some
FLAT = Settings(ablate=HEADS)
HELD = Settings(temperature=TEMPERATURES[-1], compensate=True)


def view_of(step: str, chosen: View) -> View:
    """The view that a step looks into: the visitor's, with the step's own pictures where the visitor chose none."""
    if step == "grating":
        knob = TURN[1] if chosen.knob is None else chosen.knob  # where the question asks
        return replace(chosen, source="stimuli", compared=(), compare=False, stimulus=GRATING, knob=knob, shown=1)
    if has_chosen(chosen):
        return chosen
    return replace(chosen, samples=OWN[step], compare=len(OWN[step]) > 1, shown=1)


def has_chosen(chosen: View) -> bool:
    """Whether the visitor has chosen a picture, here or on another page."""
    return chosen.source != "samples" or bool(chosen.samples or chosen.compared)


def show(engine: Engine, step: str, pictures: list[Picture], looked_into: View) -> None:
    """Draw one step of the visitor's path for the ``pictures`` that the view ``looked_into`` names.

    Raises:
        BusyError: others have kept the network for too long.
    """
    path = view.current().path
    st.subheader(say("start.of", step=path.index(step) + 1, count=len(path), name=say(f"start.{step}")), anchor=False)
    if view.current().settings != Settings():
        st.caption(say("start.aside"))
    if step != "twin" and not engine.checkpoint.dynamic:
        static.show(engine, pictures)
        return
    shown = pictures[min(looked_into.shown, len(pictures)) - 1]
    if step == "kernels":
        _show_kernels(engine, _pair(pictures, shown))
    elif step == "flat":
        _show_flat(engine, shown)
    elif step == "temperature":
        _show_temperature(engine, shown)
    elif step == "grating":
        _show_grating(engine)
    else:
        _show_twin(engine, _pair(pictures, shown))


def _pair(pictures: Sequence[Picture], shown: Picture) -> tuple[Picture, Picture]:
    """The picture that is looked into, and another one: the next, or a sample where there is none."""
    if len(pictures) > 1:
        return shown, pictures[(list(pictures).index(shown) + 1) % len(pictures)]
    other = next(id for id in reversed(PAIR) if id != shown.sample)
    return shown, sample_picture(other)


def _draw(
    engine: Engine,
    cases: Sequence[Case],
    pictures: Sequence[Picture],
    slice_shown: Slice,
    scaled_with: Sequence[Case] = (),
) -> None:
    thumbnails = [picture.thumbnail for picture in pictures]
    names, said = _names(engine), slice_shown.said
    components.cases(drawings.cases_data(text.language(), cases, thumbnails, names, said, scaled_with=scaled_with))


def _columns() -> tuple[st.delta_generator.DeltaGenerator, st.delta_generator.DeltaGenerator]:
    with st.container(key="screen"):
        left, right = st.columns([36, 64], gap="medium")
    return left, right


def _show_kernels(engine: Engine, pair: tuple[Picture, Picture]) -> None:
    records = [inference.ask(engine, picture, Settings()).explanation for picture in pair]
    layer = _layer(records[0])
    titles = [picture.title for picture in pair]
    slice_shown = _pick(engine, layer, records, titles)
    cases = _cases(engine, layer, records, titles, slice_shown)
    answers = tuple(TASKS["kernels"].answers)
    left, right = _columns()
    with left:
        several = engine.num_kernels > 1
        values = {"layer": layer, "title": pair[0].title}
        st.markdown(
            glossary.explain("start.kernels_text", kernels=engine.num_kernels, **values)
            if several
            else glossary.explain("start.kernels_text_one", **values)
        )
        places = records[0].layers[layer].output_shape[1:]
        tasks.ask(
            TASKS["kernels"],
            text.markdown("task.kernels", other=pair[1].title),
            answers,
            lambda: start.find_kernels(cases, layer, (places[0], places[1])),
        )
    with right:
        seen = 2 if tasks.revealed(TASKS["kernels"], answers) else 1
        _draw(engine, cases[:seen], pair[:seen], slice_shown, cases)
        st.caption(glossary.explain("start.reading"))


def _show_flat(engine: Engine, picture: Picture) -> None:
    trained = inference.ask(engine, picture, Settings()).explanation
    layer, answers = _layer(trained), tuple(TASKS["flat"].answers)
    shown = tasks.revealed(TASKS["flat"], answers)
    records = [trained, inference.ask(engine, picture, FLAT).explanation] if shown else [trained]
    slice_shown = _pick(engine, layer, [trained])
    titles = [say("start.as_trained"), say("start.flattened")][: len(records)]
    cases = _cases(engine, layer, records, titles, slice_shown)
    left, right = _columns()
    with left:
        st.markdown(glossary.explain("start.flat_text", name=_names(engine)[cases[0].first]))
        tasks.ask(TASKS["flat"], say("task.flat"), answers, lambda: _find_flat(engine, cases, layer))
    with right:
        _draw(engine, cases, [picture] * len(cases), slice_shown)


def _find_flat(engine: Engine, cases: Sequence[Case], layer: str) -> Finding:
    every = inference.ask_all(engine, [sample_picture(id) for id in samples()], FLAT).explanation
    return start.find_flat(cases[0], cases[1], _names(engine), layer, every.logits.argmax(axis=1).tolist())


def _show_temperature(engine: Engine, picture: Picture) -> None:
    answers = tuple(TASKS["temperature"].answers)
    shown = tasks.revealed(TASKS["temperature"], answers)
    chosen = TEMPERATURES if shown else (1.0,)
    records = [inference.ask(engine, picture, Settings(temperature=t)).explanation for t in chosen]
    layer = _layer(records[0])
    slice_shown = _pick(engine, layer, [records[chosen.index(1.0)]])
    cases = _cases(engine, layer, records, [say("start.at", temperature=f"{t:g}") for t in chosen], slice_shown)
    by_temperature = dict(zip(chosen, cases, strict=True))
    left, right = _columns()
    with left:
        name = _names(engine)[by_temperature[1.0].first]
        st.markdown(glossary.explain("start.temperature_text", name=name))
        tasks.ask(
            TASKS["temperature"],
            text.markdown("task.temperature", name=name),
            answers,
            lambda: _find_temperature(engine, picture, by_temperature, records, layer, slice_shown),
        )
    with right:
        _draw(engine, cases, [picture] * len(cases), slice_shown)


def _find_temperature(
    engine: Engine,
    picture: Picture,
    cases: Mapping[float, Case],
    records: Sequence[Explanation],
    layer: str,
    slice_shown: Slice,
) -> Finding:
    """``cases`` and ``records``: of ``TEMPERATURES``."""
    _, trained, high = records
    others = [inference.ask(engine, picture, settings).explanation for settings in (HELD, FLAT)]
    held, flat = _cases(engine, layer, others, ["", ""], slice_shown)
    means = (start.mean_gates(trained), start.mean_gates(high))
    return start.find_temperature(cases, held, flat, means, _names(engine), layer)


@parts.part("grating_part")
def _show_grating(engine: Engine) -> None:
    """A fragment, so that the curve follows a drag."""
    response = inference.ask_response(engine, GRATING, None, Settings())
    layer = LAYER if LAYER in response.layers else next(iter(response.layers))
    found = response.layers[layer]
    shares = found.shares
    at = {angle: list(response.values).index(angle) for angle in (*TURN, CLUE)}
    by_angle = None if shares is None else {angle: shares[at[angle]] for angle in TURN}
    distances = {
        head: float(values.mean()) for head, values in zip(HEADS, found.distance, strict=True) if values is not None
    }
    kernels = 0 if shares is None else min(shares.shape[1], MOST_KERNELS)
    answers = [f"w{i + 1}" for i in range(kernels)] or list(distances)
    left, right = _columns()
    with left:
        if shares is None:
            st.markdown(glossary.explain("start.grating_text_one", layer=layer))
        else:
            st.markdown(glossary.explain("start.grating_text", **_clue(layer, shares[at[TURN[0]]], shares[at[CLUE]])))
        tasks.ask(
            TASKS["grating"],
            say("task.grating" if by_angle else "task.grating_one"),
            answers,
            lambda: start.find_grating(by_angle, distances, layer),
        )
    with right:
        shown = tasks.revealed(TASKS["grating"], answers)
        value = sources.knob(view_of("grating", view.current()))
        read = view.current().reveal == "always"  # so nothing turns
        values = TURN[:2] if read else (value,) if shown else (TURN[0], CLUE)
        pictures = [_turned(engine, value) for value in values]
        records = [inference.ask(engine, picture, Settings()).explanation for picture in pictures]
        # The same slice and scale before and after the answer: another one would look like another kernel.
        before = [_turned(engine, angle) for angle in (TURN[0], CLUE)]
        compared = [inference.ask(engine, picture, Settings()).explanation for picture in before]
        told = [picture.title for picture in before]
        slice_shown = _pick(engine, layer, compared, told)
        scaled_with = _cases(engine, layer, compared, told, slice_shown)
        titles = [picture.title for picture in pictures]
        _draw(engine, _cases(engine, layer, records, titles, slice_shown), pictures, slice_shown, scaled_with)
        if shown:
            attention = records[0].layers[layer].attention
            curve = drawings.response_data(
                text.language(), layer, GRATING, response.values, found, values[0], attention
            )
            if read:
                components.still_response(curve)
                st.markdown(f"**{curve['sentence']}**")
                ends = (drawings.knob_text(text.language(), GRATING, end) for end in (TURN[0], TURN[-1]))
                st.caption(say("start.still", low=next(ends), high=next(ends)))
            else:
                knob.draw(GRATING, value, curve)
    view.write_link()


def _turned(engine: Engine, value: float) -> Picture:
    looked_into = replace(view_of("grating", view.current()), knob=value)
    return sources.picture(Member("stimuli", GRATING), looked_into, engine.checkpoint.card.resize)


def _clue(layer: str, start: np.ndarray, turned: np.ndarray) -> dict[str, object]:
    """What is told of the shares (K,) before the visitor answers: how they stand at first, and at ``CLUE``."""
    first = int(start.argmax())
    next = max((i for i in range(len(start)) if i != first), key=lambda i: float(turned[i]))
    return {
        "layer": layer,
        "first": first + 1,
        "share": f"{start[first]:.2f}",
        "clue": f"{CLUE:g}",
        "first_clue": f"{turned[first]:.2f}",
        "next": next + 1,
        "next_clue": f"{turned[next]:.2f}",
    }


def _show_twin(engine: Engine, pair: tuple[Picture, Picture]) -> None:
    name = static.static_twin(engine) if engine.checkpoint.dynamic else static.dynamic_twin(engine)
    if name is None:
        st.info(say("start.twin_none" if engine.checkpoint.dynamic else "start.twin_none_dynamic"))
        return
    other = engines.open_engine(name, engine.device)
    dynamic, fixed = (engine, other) if engine.checkpoint.dynamic else (other, engine)
    answers = tuple(TASKS["twin"].answers)
    titles = [picture.title for picture in pair]
    records = [inference.ask(dynamic, picture, Settings()).explanation for picture in pair]
    layer = _layer(records[0])
    slice_shown = _pick(dynamic, layer, records, titles)
    made = _cases(dynamic, layer, records, titles, slice_shown)
    still = _static_cases(fixed, layer, pair, slice_shown)
    left, right = _columns()
    with left:
        st.markdown(glossary.explain("start.twin_text", title=titles[0], other=titles[1]))
        tasks.ask(
            TASKS["twin"],
            say("task.twin"),
            answers,
            lambda: start.find_twin(still, made, _names(fixed), layer, _accuracies(fixed, dynamic)),
        )
    with right:
        shown = tasks.revealed(TASKS["twin"], answers)
        _draw_kernels(dynamic, made, still, pair, "" if shown else slice_shown.said, "cases")
        if shown:
            _draw_kernels(fixed, still, made, pair, slice_shown.said, "cases-static")
            _show_summary(records[0], layer)


def _draw_kernels(
    engine: Engine,
    cases: Sequence[Case],
    others: Sequence[Case],
    pictures: Sequence[Picture],
    said: str,
    key: str,
) -> None:
    """Draw what each case is convolved with and what the network says, and no attention; on one scale with ``others``.

    ``said``: of the slice; empty where it is said under the cases that follow.
    """
    thumbnails, names = [picture.thumbnail for picture in pictures], _names(engine)
    data = drawings.cases_data(text.language(), cases, thumbnails, names, said, scaled_with=others, brief=True)
    components.cases(data, key=key)


def _static_cases(engine: Engine, layer: str, pair: Sequence[Picture], slice_shown: Slice) -> list[Case]:
    records = [inference.ask(engine, picture, Settings()).explanation for picture in pair]
    titles = [say("start.twin_case", title=picture.title) for picture in pair]
    return _cases(engine, layer, records, titles, slice_shown)


def _accuracies(fixed: Engine, dynamic: Engine) -> tuple[float, float, int] | None:
    """In how many percent of the same number of pictures each is right, from their cards."""
    one, other = (engine.checkpoint.card.measured for engine in (fixed, dynamic))
    right, also_right, n = one.get("top1"), other.get("top1"), one.get("n")
    if (
        type(n) is not int
        or not 1 <= n < 10**12
        or n != other.get("n")
        or not is_percent(right)
        or not is_percent(also_right)
    ):
        return None
    return float(right), float(also_right), n


def _show_summary(record: Explanation, layer: str) -> None:
    attention = record.layers[layer].attention
    st.subheader(say("start.summary"), anchor=False)
    st.markdown(
        "\n".join(
            f"* {say(f'start.summary_{head}', count=_count(values))}"
            for head, values in zip(HEADS, attention, strict=True)
            if values is not None
        )
    )
    st.caption(text.markdown("start.summary_note", layer=layer))


def _count(values: np.ndarray) -> str:
    return " × ".join(map(str, values.shape[1:]))


# --- cases ------------------------------------------------------------------------------------------------------------


def _layer(record: Explanation) -> str:
    return LAYER if LAYER in record.layers else next(iter(record.layers))


def _names(engine: Engine) -> list[str]:
    return [drawings.first_synonym(name) for name in engine.checkpoint.card.classes]


class Slice(NamedTuple):
    """Which slice of a layer's kernels is shown."""

    filter: int
    channel: int  # among the input channels that the filter sees
    said: str


def _pick(engine: Engine, layer: str, records: Sequence[Explanation], titles: Sequence[str] = ()) -> Slice:
    """The slice to show: where the kernels of two records differ most, or of one the slice with the largest weight.

    ``titles``: of the pictures of two records.
    """
    module = engine.checkpoint.model.get_submodule(layer.partition("#")[0])
    assert isinstance(module, ODConv2d)
    own, *others = (record.layers[layer].attention for record in records)
    filter, channel = pick_slice(module, own, others[-1] if others else None)
    _, filters, seen, _, _ = module.weight.shape
    place = {"filter": filter, "channel": filter // (filters // module.groups) * seen + channel}
    if not others:
        return Slice(filter, channel, say("case.slice_largest", **place))
    one, other = map(drawings.clean_name, titles)
    return Slice(filter, channel, say("case.slice_differs", **place, one=one, other=other))


def _cases(
    engine: Engine,
    layer: str,
    records: Sequence[Explanation],
    titles: Sequence[str],
    slice_shown: Slice,
) -> list[Case]:
    module = engine.checkpoint.model.get_submodule(layer.partition("#")[0])
    nothing: Heads[np.ndarray] = Heads(None, None, None, None)
    cases = []
    for record, title in zip(records, titles, strict=True):
        attention = record.layers[layer].attention if layer in record.layers else nothing
        cases.append(
            Case(
                drawings.clean_name(title),
                Heads(*(None if head is None else head[0] for head in attention)),
                start.forge_slice(module, attention, slice_shown.filter, slice_shown.channel),
                record.probabilities[0],
            )
        )
    return cases
