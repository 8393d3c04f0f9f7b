"""A visitor's view and the table of link parameters, by which it is written into a link and read from one.

A link is untrusted: a parameter whose value does not exist here or is out of range is ignored and reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple

from odconv import start
from odconv.attention import HEADS, Heads, Keep, Settings
from odconv.edits import BLURS, MOST_DABS, SCALE, TURNS, Dab
from odconv.forging_view import STEPS
from odconv.plugging import KERNELS, MOST_CHANNELS, MOST_ROWS, NETWORKS, REDUCTIONS, SIDES, WHERE, Plan, Row
from odconv.results import COSTS
from odconv.stimuli import STIMULI, clamp_knob
from odconv.switches import AS_LEARNED, CHOICES, MAPPED, MOST_EDITS, Choice, Edit
from odconv.tasks import TASKS, check_answers, format_answers
from odconv.words import LANGUAGES

SOURCES = ("samples", "upload", "camera", "stimuli")
TEMPERATURES = (0.1, 30.0)
MOST_KERNELS = 64  # more than any network has; a network takes no more than its own K
MOST_PICTURES = 8
LONGEST_NAME = 100  # of a layer
ALL_STEPS = "all"  # in place of one step: all at once
LONGEST_SIDE = 9_999  # of a layer's output, in a link
LARGEST_SEED = 999
LARGEST_CHANNEL = 99_999  # a link can name; which ones a layer has is known when there is a network


REVEALS = ("after", "never", "always")  # a prediction, the network's answer is shown; or without one

SAME, OWN = "same", "own"  # pictures of side B: that of side A, and one that the visitor brought


@dataclass(frozen=True)
class Other:
    """Side B of a comparison: what it has of its own. ``None``: as side A, which is the rest of the view.

    So a link has the parameter ``b-x`` where B has an x of its own.
    """

    picture: str | None = None  # id of a sample, name of a stimulus, ``SAME`` or ``OWN``; None: the one after A's
    knob: float | None = None  # of that stimulus; None: its default
    model: str | None = None  # file name
    layer: str | None = None
    temperature: float | Heads[float] | None = None
    tempered: tuple[str, ...] | None = None
    kernels: int | None = None  # ``MOST_KERNELS``: all
    keep: Keep | None = None
    compensate: bool | None = None
    ablate: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Lesson:
    """What a teacher's link gives to a class, beside pictures, network and settings. A link to the page that makes it has it, too."""

    page: str = "start"  # name of a page's file
    steps: tuple[str, ...] = ()  # as in ``View``, and so are the others
    fixed: bool = False
    present: bool = False
    reveal: str = REVEALS[0]


@dataclass(frozen=True)
class View:
    """Everything that a visitor can choose and a link holds."""

    language: str = ""  # empty: the browser's
    model: str = ""  # file name; empty: the first one
    source: str = "samples"  # whose pictures are offered; without ``compared``, also whose are looked into
    samples: tuple[str, ...] = ()  # ids; empty: the first one
    compare: bool = False  # whether a click on a picture adds it to the others; else it replaces them
    compared: tuple[str, ...] = ()  # sources whose pictures are looked into together; empty: ``source`` alone
    stimulus: str = "grating"
    knob: float | None = None  # None: the stimulus's default
    shown: int = 1  # which of several pictures is looked into, from 1
    layer: str = ""  # empty: the first one, or where several pictures differ most
    filter: int | None = None  # whose kernel is shown, from 0; None: where kernels differ most
    channel: int | None = None  # the same, of the input channels that the filter sees
    forge_step: str = STEPS[0]  # of the lesson on forging, or ``ALL_STEPS``
    place: tuple[int, int] | None = None  # row and column of a layer's output, from 0; None: where it is largest
    step: int = 1  # of ``path``, from 1
    steps: tuple[str, ...] = ()  # those of the first lesson that are walked, in its order; empty: all
    answers: tuple[tuple[str, str], ...] = ()  # (task, answer): what the visitor said before the network did
    question: str = ""  # which one is open in the fold at the foot of a page; empty: the fold is closed
    present: bool = False  # whether the page is shown to a room: large text, no sidebar
    fixed: bool = False  # whether picture, network and page stay: what chooses them is not drawn
    reveal: str = REVEALS[0]  # one of ``REVEALS``
    dials: str = "one"  # of the temperature lesson: "one" for all heads, or "four"
    difference: bool = False  # whether attention is shown minus the typical, where there is an atlas
    switches: Heads[Choice] = AS_LEARNED
    where: str = "all"  # the switches act in: "all" layers, or "one", the one that is looked into
    shuffling: int = 0  # seed of the switch "shuffled"
    map_of: Choice | Literal[""] = ""  # the choice whose effects are mapped; empty: the first that there is
    hand: tuple[Edit, ...] = ()  # entries of the layer that is looked into, for the switch "hand"
    brush: tuple[Dab, ...] = ()  # edits of the picture, see ``odconv.edits``; in the lesson on switches
    turn: float = 0.0  # degrees
    blur: float = 0.0  # % of the shorter side
    grey: bool = False
    settings: Settings = field(default_factory=Settings)
    b: Other = field(default_factory=Other)
    lesson: Lesson = field(default_factory=Lesson)
    plug: Plan = field(default_factory=Plan)  # what is plugged in where
    against: str = COSTS[0]  # what published accuracy is drawn against

    @property
    def path(self) -> tuple[str, ...]:
        """The steps of the first lesson that are walked."""
        return self.steps or start.STEPS


class Offer(NamedTuple):
    """What this server has to choose from."""

    models: Sequence[str]  # file names
    samples: Sequence[str]  # ids
    lessons: Sequence[str] = ()  # pages that can be a class's lesson


@dataclass(frozen=True)
class Parameter:
    """One parameter of a link."""

    name: str  # in the link
    field: str  # of ``View`` or of ``Settings``, where its default is; of one of ``PARTS`` with its name before it
    parse: Callable[[str, Offer], Any]  # raises ValueError for text that is no allowed value
    format: Callable[[Any], str] = str  # value -> text


OTHER_SETTINGS = tuple(known.name for known in fields(Other) if known.name in {one.name for one in fields(Settings)})
SETTINGS = {known.name: known.default for known in fields(Settings)}
NOTHING = "none"  # an empty choice, where the default is not empty
PARTS: dict[str, Callable[..., Any]] = {
    "b": Other,
    "lesson": Lesson,
    "plug": Plan,
}  # fields of ``View`` with fields of their own


def _one_of(allowed: Sequence[str]) -> Callable[[str, Offer], str]:
    return lambda text, offer: _pick(text, allowed)


def _pick(text: str, allowed: Sequence[str]) -> str:
    return allowed[list(allowed).index(text)]


def _some_of(text: str, allowed: Sequence[str]) -> tuple[str, ...]:
    wanted = text.split(",")
    if not set(wanted) <= set(allowed):
        raise ValueError(text)
    return tuple(dict.fromkeys(wanted))


def _heads(text: str, offer: Offer) -> tuple[str, ...]:
    return () if text == NOTHING else _some_of(text, HEADS)


def _join(values: Sequence[str]) -> str:
    return ",".join(values) or NOTHING


def _other_picture(text: str, offer: Offer) -> str:
    return _pick(text, [SAME, OWN, *offer.samples, *STIMULI])


def _other_kernels(text: str, offer: Offer) -> int:
    return MOST_KERNELS if text == "all" else _whole(1, MOST_KERNELS)(text, offer)


def _either(text: str, offer: Offer) -> bool:
    return _pick(text, ["0", "1"]) == "1"


def _steps(text: str, offer: Offer) -> tuple[str, ...]:
    """Steps of the first lesson, in the order in which they are walked; all of them is as none chosen."""
    chosen = _some_of(text, start.STEPS)
    return () if len(chosen) == len(start.STEPS) else tuple(step for step in start.STEPS if step in chosen)


def _switch(on: str) -> Callable[[str, Offer], bool]:
    return lambda text, offer: bool(_pick(text, [on]))


def _number(low: float, high: float) -> Callable[[str, Offer], float]:
    """Round to three significant digits, so that the link, the page and the pass have the same number."""

    def parse(text: str, offer: Offer) -> float:
        if not text.isascii() or "_" in text:  # Python reads other digits, too, and 1_5 as 15
            raise ValueError(text)
        value = float(f"{float(text[:20]):.3g}")
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(text)
        return value

    return parse


def _temperature(text: str, offer: Offer) -> float | Heads[float]:
    """One number, or four with commas between them: one for each head."""
    numbers = [_number(*TEMPERATURES)(number, offer) for number in text.split(",")]
    if len(numbers) not in (1, len(HEADS)):
        raise ValueError(text)
    return numbers[0] if len(numbers) == 1 else Heads(*numbers)


def _write_temperature(value: float | Heads[float]) -> str:
    return ",".join(f"{number:g}" for number in (value if isinstance(value, tuple) else (value,)))


def _whole(low: int, high: int) -> Callable[[str, Offer], int]:
    def parse(text: str, offer: Offer) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(high)) and low <= int(text) <= high):
            raise ValueError(text)
        return int(text)

    return parse


def _place(text: str, offer: Offer) -> tuple[int, int]:
    """Row and column, in a link from 1, as pages write them."""
    row, column = (_whole(1, LONGEST_SIDE)(part, offer) - 1 for part in text.split(","))
    return row, column


def _format_place(place: tuple[int, int]) -> str:
    return f"{place[0] + 1},{place[1] + 1}"


def _name(text: str, offer: Offer) -> str:
    """A layer's name, of any network: whether the network here has it is checked later."""
    if not (text.isprintable() and len(text) <= LONGEST_NAME):
        raise ValueError(text)
    return text


def _as_number(value: float) -> str:
    return f"{value:g}"


def _switches(text: str, offer: Offer) -> Heads[Choice]:
    """A choice for each of the four heads, with commas between them."""
    chosen = [CHOICES[CHOICES.index(choice)] for choice in text.split(",")]
    if len(chosen) != len(HEADS):
        raise ValueError(text)
    return Heads(*chosen)


def _edits(text: str, offer: Offer) -> tuple[Edit, ...]:
    """``head:entry:value`` with commas between them. Whether the layer has such an entry is checked later."""
    edits = {}
    for part in text.split(","):
        head, entry, value = part.split(":")
        edits[_pick(head, HEADS), _whole(0, LARGEST_CHANNEL)(entry, offer)] = _number(0, 1)(value, offer)
    if len(edits) > MOST_EDITS:
        raise ValueError(text)
    return tuple((head, entry, value) for (head, entry), value in edits.items())


def _format_edits(edits: tuple[Edit, ...]) -> str:
    return ",".join(f"{head}:{entry}:{value:g}" for head, entry, value in edits)


def _dabs(text: str, offer: Offer) -> tuple[Dab, ...]:
    """``x:y:radius`` with commas between them."""
    dabs = tuple(Dab(*(_whole(0, SCALE)(number, offer) for number in _three(part))) for part in text.split(","))
    if len(dabs) > MOST_DABS:
        raise ValueError(text)
    return dabs


def _three(text: str) -> list[str]:
    parts = text.split(":")
    if len(parts) != 3:
        raise ValueError(text)
    return parts


def _format_dabs(dabs: tuple[Dab, ...]) -> str:
    return ",".join(":".join(map(str, dab)) for dab in dabs)


def _number_of(allowed: Sequence[int]) -> Callable[[str, Offer], int]:
    return lambda text, offer: int(_pick(text, [str(number) for number in allowed]))


GROUPS = ("none", "depthwise")  # in a link, of a row


def _rows(text: str, offer: Offer) -> tuple[Row, ...]:
    """``channels:kernel side:stride:groups:dilation`` with commas between them."""
    rows = tuple(_row(part, offer) for part in text.split(",")[: MOST_ROWS + 1])
    if len(rows) > MOST_ROWS:
        raise ValueError(text)
    return rows


def _row(text: str, offer: Offer) -> Row:
    *numbers, groups, dilation = text.split(":")
    channels, side, stride = (_whole(1, MOST_CHANNELS)(number, offer) for number in numbers)
    return Row(channels, side, stride, _pick(groups, GROUPS) == "depthwise", _whole(1, MOST_CHANNELS)(dilation, offer))


def _format_rows(rows: tuple[Row, ...]) -> str:
    return ",".join(
        f"{row.channels}:{row.kernel_size}:{row.stride}:{GROUPS[row.depthwise]}:{row.dilation}" for row in rows
    )


PARAMETERS = (
    Parameter("lang", "language", _one_of(list(LANGUAGES))),
    Parameter("model", "model", lambda text, offer: _pick(text, offer.models)),
    Parameter("source", "source", _one_of(SOURCES)),
    Parameter("sample", "samples", lambda text, offer: _some_of(text, offer.samples)[:MOST_PICTURES], ",".join),
    Parameter("compare", "compare", _switch("1"), lambda on: "1"),
    Parameter("compared", "compared", lambda text, offer: _some_of(text, SOURCES), ",".join),
    Parameter("stimulus", "stimulus", _one_of(list(STIMULI))),
    Parameter("knob", "knob", _number(-math.inf, math.inf), _as_number),
    Parameter("shown", "shown", _whole(1, MOST_PICTURES)),
    Parameter("layer", "layer", _name),
    Parameter("filter", "filter", _whole(0, LARGEST_CHANNEL)),
    Parameter("channel", "channel", _whole(0, LARGEST_CHANNEL)),
    Parameter("forge", "forge_step", _one_of((*STEPS, ALL_STEPS))),
    Parameter("place", "place", _place, _format_place),
    Parameter("step", "step", _whole(1, len(start.STEPS))),
    Parameter("steps", "steps", _steps, ",".join),
    Parameter("controls", "fixed", _switch("hidden"), lambda on: "hidden"),
    Parameter("reveal", "reveal", _one_of(REVEALS)),
    Parameter("question", "question", _one_of(list(TASKS))),
    Parameter("answers", "answers", lambda text, offer: check_answers(text), format_answers),
    Parameter("show", "difference", _switch("difference"), lambda on: "difference"),
    Parameter("present", "present", _switch("1"), lambda on: "1"),
    Parameter("t", "temperature", _temperature, _write_temperature),
    Parameter("dials", "dials", _one_of(["one", "four"])),
    Parameter("switch", "switches", _switches, ",".join),
    Parameter("where", "where", _one_of(["all", "one"])),
    Parameter("seed", "shuffling", _whole(0, LARGEST_SEED)),
    Parameter("hand", "hand", _edits, _format_edits),
    Parameter("brush", "brush", _dabs, _format_dabs),
    Parameter("turn", "turn", _number(*TURNS), _as_number),
    Parameter("blur", "blur", _number(*BLURS), _as_number),
    Parameter("grey", "grey", _switch("1"), lambda on: "1"),
    Parameter("map", "map_of", _one_of(MAPPED)),
    Parameter("tempered", "tempered", _heads, _join),
    Parameter("kernels", "kernels", _whole(1, MOST_KERNELS)),
    Parameter("keep", "keep", _one_of(["strongest", "first"])),
    Parameter("compensate", "compensate", _switch("1"), lambda on: "1"),
    Parameter("ablate", "ablate", _heads, _join),
    Parameter("b-picture", "b.picture", _other_picture),
    Parameter("b-knob", "b.knob", _number(-math.inf, math.inf), _as_number),
    Parameter("b-model", "b.model", lambda text, offer: _pick(text, offer.models)),
    Parameter("b-layer", "b.layer", _name),
    Parameter("b-t", "b.temperature", _temperature, _write_temperature),
    Parameter("b-tempered", "b.tempered", _heads, _join),
    Parameter("b-kernels", "b.kernels", _other_kernels, lambda count: "all" if count == MOST_KERNELS else str(count)),
    Parameter("b-keep", "b.keep", _one_of(["strongest", "first"])),
    Parameter("b-compensate", "b.compensate", _either, lambda on: "1" if on else "0"),
    Parameter("b-ablate", "b.ablate", _heads, _join),
    Parameter("class-page", "lesson.page", lambda text, offer: _pick(text, offer.lessons)),
    Parameter("class-steps", "lesson.steps", _steps, ",".join),
    Parameter("class-controls", "lesson.fixed", _switch("hidden"), lambda on: "hidden"),
    Parameter("class-present", "lesson.present", _switch("1"), lambda on: "1"),
    Parameter("class-reveal", "lesson.reveal", _one_of(REVEALS)),
    Parameter("plug-network", "plug.network", _one_of(NETWORKS)),
    Parameter("plug-kernels", "plug.num_kernels", _number_of(KERNELS)),
    Parameter("plug-reduction", "plug.reduction", _number_of(REDUCTIONS)),
    Parameter("plug-where", "plug.where", _one_of(WHERE)),
    Parameter("plug-rows", "plug.rows", _rows, _format_rows),
    Parameter("plug-side", "plug.side", _whole(*SIDES)),
    Parameter("against", "against", _one_of(COSTS)),
)


def change(view: View, **changes: Any) -> View:
    """``view`` with other values for the fields named, those of ``View`` and those of its ``Settings`` alike."""
    settings = {name: value for name, value in changes.items() if name in SETTINGS}
    others = {name: value for name, value in changes.items() if name not in SETTINGS}
    return replace(view, settings=replace(view.settings, **settings), **others)


def to_query(view: View) -> dict[str, str]:
    """The parameters of a link to ``view``; fields that have their default are left out."""
    query, plain = {}, View()
    for parameter in PARAMETERS:
        value = _value(view, parameter.field)
        if value != _value(plain, parameter.field):
            query[parameter.name] = parameter.format(value)
    return query


def _value(view: View, name: str) -> Any:
    part, _, own = name.rpartition(".")
    if part:
        return getattr(getattr(view, part), own)
    return getattr(view.settings if name in SETTINGS else view, name)


def from_query(query: Mapping[str, str], offer: Offer) -> tuple[View, list[str]]:
    """The view that a link describes, and the names of the parameters that were ignored, since their values are not allowed."""
    found: dict[str, Any] = {}
    ignored: list[str] = []
    for parameter in PARAMETERS:
        if parameter.name in query:
            try:
                found[parameter.field] = parameter.parse(query[parameter.name], offer)
            except ValueError:
                ignored.append(parameter.name)
    parts = {part: make(**_take(found, f"{part}.")) for part, make in PARTS.items()}
    view = change(View(), **found, **parts)
    if view.step > len(view.path):
        view, ignored = replace(view, step=1), [*ignored, "step"]
    if view.knob is not None and view.knob != clamp_knob(view.stimulus, view.knob):
        view, ignored = replace(view, knob=None), [*ignored, "knob"]
    if view.b.knob is not None and (
        view.b.picture not in STIMULI or view.b.knob != clamp_knob(view.b.picture, view.b.knob)
    ):
        view, ignored = replace(view, b=replace(view.b, knob=None)), [*ignored, "b-knob"]
    return view, ignored


def _take(found: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Take those out of ``found`` whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): found.pop(name) for name in list(found) if name.startswith(prefix)}


def class_view(view: View) -> View:
    """What a class is to see: the teacher's pictures, network and settings in the lesson's way, and nothing answered yet."""
    own = {known.name: getattr(view.lesson, known.name) for known in fields(Lesson) if known.name != "page"}
    # The first lesson's steps have settings of their own.
    settings = Settings() if view.lesson.page == "start" else view.settings
    return replace(view, **own, settings=settings, lesson=Lesson(), step=1, answers=(), question="")


def other_settings(view: View) -> Settings:
    """The settings of side B: those of side A, but for what B has of its own."""
    own = {name: getattr(view.b, name) for name in OTHER_SETTINGS if getattr(view.b, name) is not None}
    if own.get("kernels") == MOST_KERNELS:
        own["kernels"] = None
    return replace(view.settings, **own)


def as_own(settings: Settings, names: Iterable[str]) -> dict[str, Any]:
    """Fields of ``Other`` by which side B has these fields of ``settings`` of its own; see ``other_settings``."""
    own = {name: getattr(settings, name) for name in names if name in OTHER_SETTINGS}
    if "kernels" in own and own["kernels"] is None:
        own["kernels"] = MOST_KERNELS
    return own
