import math
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odconv import start
from odconv.attention import HEADS, Heads, Settings
from odconv.edits import MOST_DABS, Dab
from odconv.forging_view import STEPS
from odconv.plugging import KERNELS, MOST_ROWS, NETWORKS, REDUCTIONS, ROW_CHOICES, WHERE, Plan, Row
from odconv.stimuli import STIMULI
from odconv.switches import CHOICES, MAPPED, MOST_EDITS
from odconv.ui.link import (
    ALL_STEPS,
    MOST_KERNELS,
    MOST_PICTURES,
    OTHER_SETTINGS,
    OWN,
    PARAMETERS,
    PARTS,
    REVEALS,
    SAME,
    SETTINGS,
    SOURCES,
    TEMPERATURES,
    Lesson,
    Offer,
    Other,
    View,
    as_own,
    class_view,
    from_query,
    other_settings,
    to_query,
)
from odconv.words import LANGUAGES

UNLINKED = {"layers", "replaced", "seed"}  # fields of settings that the lesson on switches makes from its own choices
OFFER = Offer(["first.safetensors", "second.pth"], [f"picture-{i}" for i in range(12)], ["start", "forge"])
SAMPLES = OFFER.samples

# What the dials send: three significant digits.
temperatures = st.floats(math.log10(TEMPERATURES[0]), math.log10(TEMPERATURES[1])).map(lambda x: float(f"{10**x:.3g}"))
some_heads = st.lists(st.sampled_from(HEADS), unique=True).map(tuple)
others = st.builds(
    Other,
    picture=st.none() | st.sampled_from([SAME, OWN, *SAMPLES]),
    model=st.none() | st.sampled_from(OFFER.models),
    layer=st.none() | st.sampled_from(["layer1.0.conv1", "layer1.0.conv2#2"]),
    temperature=st.none() | temperatures,
    tempered=st.none() | some_heads,
    kernels=st.none() | st.integers(1, 64),
    keep=st.none() | st.sampled_from(["first", "strongest"]),
    compensate=st.none() | st.booleans(),
    ablate=st.none() | some_heads,
)
some_steps = st.lists(st.sampled_from(start.STEPS), unique=True, max_size=len(start.STEPS) - 1).map(
    lambda chosen: tuple(step for step in start.STEPS if step in chosen)
)
lessons = st.builds(
    Lesson,
    page=st.sampled_from(["start", "forge"]),
    steps=some_steps,
    fixed=st.booleans(),
    present=st.booleans(),
    reveal=st.sampled_from(REVEALS),
)
plans = st.builds(
    Plan,
    network=st.sampled_from(NETWORKS),
    num_kernels=st.sampled_from(KERNELS),
    reduction=st.sampled_from(REDUCTIONS),
    where=st.sampled_from(WHERE),
    rows=st.lists(
        st.builds(Row, st.integers(1, 512), **{name: st.sampled_from(some) for name, some in ROW_CHOICES.items()}),
        min_size=1,
        max_size=MOST_ROWS,
    ).map(tuple),
    side=st.integers(16, 224),
)
settings = st.builds(
    Settings,
    temperature=temperatures | st.builds(Heads, *[temperatures] * len(HEADS)),
    tempered=some_heads,
    kernels=st.none() | st.integers(1, 64),
    keep=st.sampled_from(["first", "strongest"]),
    compensate=st.booleans(),
    ablate=some_heads,
)


@st.composite
def views(draw):
    source, stimulus = draw(st.sampled_from(list(SOURCES))), draw(st.sampled_from(list(STIMULI)))
    low, high, step = (getattr(STIMULI[stimulus], name) for name in ("low", "high", "step"))
    knob = draw(st.none() | st.integers(0, int((high - low) / step)).map(lambda i: float(f"{low + i * step:g}")))
    return View(
        language=draw(st.sampled_from(["", *LANGUAGES])),
        model=draw(st.sampled_from(["", *OFFER.models])),
        source=source,
        samples=tuple(draw(st.lists(st.sampled_from(SAMPLES), unique=True, max_size=MOST_PICTURES))),
        compare=draw(st.booleans()),
        compared=tuple(draw(st.lists(st.sampled_from(SOURCES), unique=True))),
        stimulus=stimulus,
        knob=knob,
        shown=draw(st.integers(1, MOST_PICTURES)),
        layer=draw(st.sampled_from(["", "layer1.0.conv1", "features.3.conv.1.0", "layer1.0.conv2#2"])),
        filter=draw(st.none() | st.integers(0, 2048)),
        channel=draw(st.none() | st.integers(0, 2048)),
        forge_step=draw(st.sampled_from([*STEPS, ALL_STEPS])),
        place=draw(st.none() | st.tuples(st.integers(0, 9_998), st.integers(0, 9_998))),
        dials=draw(st.sampled_from(["one", "four"])),
        switches=Heads(*draw(st.tuples(*[st.sampled_from(CHOICES)] * len(HEADS)))),
        where=draw(st.sampled_from(["all", "one"])),
        shuffling=draw(st.integers(0, 999)),
        hand=tuple(
            (head, entry, value / 1000)
            for (head, entry), value in draw(
                st.dictionaries(
                    st.tuples(st.sampled_from(HEADS), st.integers(0, 99_999)), st.integers(0, 1000), max_size=MOST_EDITS
                )
            ).items()
        ),
        brush=tuple(Dab(*dab) for dab in draw(st.lists(st.tuples(*[st.integers(0, 1000)] * 3), max_size=MOST_DABS))),
        turn=draw(st.integers(-180, 180).map(float)),
        blur=draw(st.integers(0, 20).map(lambda step: step / 2)),
        grey=draw(st.booleans()),
        map_of=draw(st.sampled_from(["", *MAPPED])),
        present=draw(st.booleans()),
        difference=draw(st.booleans()),
        settings=draw(settings),
        b=draw(others),
        steps=draw(some_steps),
        fixed=draw(st.booleans()),
        reveal=draw(st.sampled_from(REVEALS)),
        lesson=draw(lessons),
        plug=draw(plans),
    )


@given(views())
def test_a_link_gives_back_the_view_it_was_made_of(view):
    assert from_query(to_query(view), OFFER) == (view, [])


def test_the_default_view_has_an_empty_link():
    assert to_query(View()) == {}
    assert from_query({}, OFFER) == (View(), [])


def test_every_field_of_a_view_and_its_settings_has_one_parameter():
    chosen = [parameter.field for parameter in PARAMETERS]
    assert len(set(chosen)) == len({parameter.name for parameter in PARAMETERS}) == len(chosen)
    views = {known.name for known in fields(View)} - {"settings", *PARTS}
    parts = {f"{part}.{known.name}" for part, kind in PARTS.items() for known in fields(kind)}
    assert set(chosen) == views | parts | set(SETTINGS) - UNLINKED


@pytest.mark.parametrize("shown", ["1.0000001", "1", "1.00"])
def test_a_temperature_is_what_the_page_can_show_of_it(shown):
    assert from_query({"t": shown}, OFFER) == (View(), [])
    assert from_query({"t": "15.04"}, OFFER)[0].settings.temperature == 15
    assert to_query(from_query({"t": "1.02"}, OFFER)[0]) == {"t": "1.02"}
    assert from_query({"t": "30,1,2.004,.5"}, OFFER)[0].settings.temperature == Heads(30, 1, 2, 0.5)
    assert to_query(View(settings=Settings((30, 1, 2, 0.5)))) == {"t": "30,1,2,0.5"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("show", value) for value in ("", "1", "Difference", "attention")],
        *[
            ("t", value)
            for value in ("", "abc", "nan", "inf", "-inf", "-1", "0", "1e9", "0x1", "1,5", "9" * 5000, "1_5", "１５")
        ],
        *[
            ("t", value)
            for value in ("1,2,3", "1,2,3,", "1,2,3,4,5", "1,2,3,31", "1,2,3,nan", "1,,,", ",".join("1" * 999))
        ],
        *[(name, value) for name in ("dials",) for value in ("", "1", "taps", "spatial,kernel")],
        *[("switch", value) for value in ("", "mean", "mean,mean,mean", "off,mean,mean,mean", "mean,mean,mean,mean,")],
        *[("where", value) for value in ("", "layer1", "ALL")],
        *[("seed", value) for value in ("", "-1", "1000", "1.5", "²", "9" * 5000)],
        *[
            ("hand", value)
            for value in ("", "spatial:1", "spatial:1:2", "spatial:-1:0.5", "tap:1:0.5", "kernel:1:nan,")
        ],
        ("hand", ",".join(f"filter:{i}:0.5" for i in range(MOST_EDITS + 1))),
        *[("brush", value) for value in ("", "1:2", "1:2:3:4", "1:2:1001", "1:2:-3", "1:2:3,", "a:b:c")],
        ("brush", ",".join(["1:2:3"] * (MOST_DABS + 1))),
        *[("turn", value) for value in ("", "181", "-181", "nan")],
        *[("blur", value) for value in ("", "-1", "11", "nan")],
        *[("grey", value) for value in ("", "0", "true")],
        *[("map", value) for value in ("", "learned", "hand")],
        *[("kernels", value) for value in ("", "0", "65", "-1", "2.5", "²", "٣", "1e1", "nan", "9" * 5000)],
        *[(name, value) for name in ("filter", "channel") for value in ("", "-1", "1.5", "²", "100000", "9" * 5000)],
        *[("shown", value) for value in ("", "0", "9", "-1", "²", "9" * 5000)],
        *[("model", value) for value in ("../../etc/passwd", "/etc/passwd", "first", "FIRST.SAFETENSORS", "")],
        *[("sample", value) for value in ("nope", "picture-1,nope", ",", "picture-1,", "picture-1;picture-2")],
        *[(name, value) for name in ("tempered", "ablate") for value in ("", "spatial,", "Kernel", "none,kernel")],
        *[(name, value) for name in ("compensate", "compare") for value in ("0", "true", "")],
        *[("forge", value) for value in ("", "1", "Pool", "every")],
        *[("place", value) for value in ("", "3", "0,1", "1,0", "1,2,3", "-1,2", "1.5,2", "1, 2", "²,1", "1,10000")],
        *[("knob", value) for value in ("abc", "1e9", "-1e9", "nan", "inf")],
        *[("lang", value) for value in ("tlh", "EN", "")],
        *[("b-picture", value) for value in ("", "nope", "picture-1,picture-2", "../x")],
        *[("b-knob", value) for value in ("abc", "45")],  # side B has no stimulus
        *[("b-model", value) for value in ("../../etc/passwd", "first", "")],
        *[("b-t", value) for value in ("", "nan", "0", "1e9")],
        *[("b-kernels", value) for value in ("", "0", "65", "none")],
        *[("b-compensate", value) for value in ("", "2", "true")],
        *[("b-tempered", value) for value in ("", "Kernel")],
        *[(name, value) for name in ("steps", "class-steps") for value in ("", "1", "flat,", "flat,flux", "Flat")],
        *[(name, value) for name in ("reveal", "class-reveal") for value in ("", "0", "later")],
        *[(name, value) for name in ("controls", "class-controls") for value in ("", "0", "shown")],
        *[("class-page", value) for value in ("", "study", "../app", "Start")],
        *[("plug-network", value) for value in ("", "resnet34", "../x", "OWN")],
        *[("plug-kernels", value) for value in ("", "0", "3", "16", "²", "9" * 5000)],
        *[("plug-reduction", value) for value in ("", "1/16", "2", "64")],
        *[("plug-where", value) for value in ("", "lambda: 1", "stem")],
        *[("plug-side", value) for value in ("", "15", "225", "-1", "1e2")],
        *[
            ("plug-rows", value)
            for value in (
                "",
                "8",
                "8:3:1:none",
                "8:3:1:none:1:1",
                "0:3:1:none:1",
                "513:3:1:none:1",
                "8:2:1:none:1",
                "8:3:3:none:1",
                "8:3:1:two:1",
                "8:3:1:none:5",
                "8:3:1:none:1,",
                "-8:3:1:none:1",
                "x:3:1:none:1",
                "²:3:1:none:1",
            )
        ],
        ("plug-rows", ",".join(["8:3:1:none:1"] * (MOST_ROWS + 1))),
        ("plug-rows", "8:3:1:none:1," * 5000),
        ("b-keep", "last"),
        ("b-layer", "a\nb"),
        ("source", "zzz"),
        ("keep", "last"),
        ("stimulus", "<script>"),
        *[("layer", value) for value in ("x" * 101, "a\nb", "\u202ea", "\x00", "\ud800")],
    ],
)
def test_a_parameter_that_is_not_understood_is_named_and_leaves_the_default(name, value):
    assert from_query({name: value}, OFFER) == (View(), [name])


@given(st.dictionaries(st.sampled_from([parameter.name for parameter in PARAMETERS]), st.text()))
def test_no_text_in_a_link_raises_or_gets_out_of_range(query):
    view, ignored = from_query(query, OFFER)
    assert set(ignored) <= set(query)
    assert all(TEMPERATURES[0] <= temperature <= TEMPERATURES[1] for temperature in view.settings.divisors)
    assert view.settings.kernels is None or 1 <= view.settings.kernels <= 64
    assert 1 <= view.shown <= MOST_PICTURES
    assert set(view.samples) <= set(SAMPLES)
    assert len(view.layer) <= 100
    assert all(index is None or 0 <= index < 100_000 for index in (view.filter, view.channel))


def test_a_bad_parameter_does_not_take_the_good_ones_with_it():
    view, ignored = from_query({"t": "abc", "kernels": "2", "sample": "picture-3", "extra": "1"}, OFFER)
    assert view == View(samples=("picture-3",), settings=Settings(kernels=2))
    assert ignored == ["t"]


def test_samples_in_a_link_are_shown_once_each_and_at_most_eight():
    view, _ = from_query({"sample": ",".join(SAMPLES[:1] + SAMPLES)}, OFFER)
    assert view.samples == tuple(SAMPLES[:MOST_PICTURES])


def test_side_b_is_side_a_but_for_what_it_has_of_its_own():
    chosen = View(settings=Settings(3.0, kernels=2, ablate=("channel",)))
    assert other_settings(chosen) == chosen.settings
    some = replace(chosen, b=Other(temperature=1.0, kernels=MOST_KERNELS, ablate=()))
    assert other_settings(some) == Settings()
    assert to_query(some)["b-kernels"] == "all"
    assert {name for name in to_query(some) if name.startswith("b-")} == {"b-t", "b-kernels", "b-ablate"}


@given(settings, settings)
def test_side_b_can_have_any_settings_of_its_own_beside_any_of_side_a(ours, theirs):
    chosen = View(settings=ours, b=Other(**as_own(theirs, OTHER_SETTINGS)))
    all_kept = replace(theirs, kernels=None if theirs.kernels == MOST_KERNELS else theirs.kernels)
    assert other_settings(chosen) == all_kept


def test_steps_are_walked_in_the_paths_order_and_a_step_beyond_the_chosen_ones_is_not_there():
    view, ignored = from_query({"steps": "twin,flat,twin", "step": "2"}, OFFER)
    assert (view.path, view.step, ignored) == (("flat", "twin"), 2, [])
    view, ignored = from_query({"steps": "twin,flat", "step": "3"}, OFFER)
    assert (view.path, view.step, ignored) == (("flat", "twin"), 1, ["step"])
    assert from_query({"steps": ",".join(reversed(start.STEPS))}, OFFER) == (View(), [])


@given(views())
def test_a_class_gets_the_teachers_pictures_network_and_settings_and_no_answer(view):
    seen = class_view(view)
    own = {known.name for known in fields(Lesson)} - {"page"}
    assert {name: getattr(seen, name) for name in own} == {name: getattr(view.lesson, name) for name in own}
    assert (seen.step, seen.answers, seen.question) == (1, (), "")
    assert not any(name.startswith("class-") for name in to_query(seen))
    same = {known.name for known in fields(View)} - own - {"lesson", "step", "answers", "question"}
    if view.lesson.page == "start":  # whose steps have settings of their own
        same -= {"settings"}
        assert seen.settings == Settings()
    assert {name: getattr(seen, name) for name in same} == {name: getattr(view, name) for name in same}
    assert from_query(to_query(seen), OFFER) == (seen, [])


def test_the_knob_of_side_b_belongs_to_its_stimulus():
    assert from_query({"b-picture": "grating", "b-knob": "45"}, OFFER)[0].b == Other(picture="grating", knob=45)
    view, ignored = from_query({"b-picture": "grating", "b-knob": "9999"}, OFFER)
    assert (view.b, ignored) == (Other(picture="grating"), ["b-knob"])
