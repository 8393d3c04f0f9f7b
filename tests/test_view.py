import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odconv.attention import HEADS, Settings
from odconv.stimuli import STIMULI
from odconv.ui.view import MOST_PICTURES, SOURCES, TEMPERATURES, View, from_query, to_query

MODELS = ["first.safetensors", "second.pth"]
SAMPLES = [f"picture-{i}" for i in range(12)]

# What the dials send: three significant digits.
temperatures = st.floats(math.log10(TEMPERATURES[0]), math.log10(TEMPERATURES[1])).map(lambda x: float(f"{10**x:.3g}"))
some_heads = st.lists(st.sampled_from(HEADS), unique=True).map(tuple)
settings = st.builds(
    Settings,
    temperature=temperatures,
    tempered=some_heads.filter(bool),
    kernels=st.none() | st.integers(1, 64),
    keep=st.sampled_from(["first", "strongest"]),
    compensate=st.booleans(),
    ablate=some_heads,
)


@st.composite
def views(draw):
    source, stimulus = draw(st.sampled_from(list(SOURCES))), "grating"
    knob = None
    if source == "stimuli":
        stimulus = draw(st.sampled_from(list(STIMULI)))
        low, high, step = (getattr(STIMULI[stimulus], name) for name in ("low", "high", "step"))
        knob = draw(st.none() | st.integers(0, int((high - low) / step)).map(lambda i: float(f"{low + i * step:g}")))
    return View(
        model=draw(st.sampled_from(["", *MODELS])),
        source=source,
        samples=tuple(draw(st.lists(st.sampled_from(SAMPLES), unique=True, max_size=MOST_PICTURES))),
        stimulus=stimulus,
        knob=knob,
        layer=draw(st.sampled_from(["", "layer1.0.conv1", "features.3.conv.1.0", "layer1.0.conv2#2"])),
        difference=draw(st.booleans()),
        settings=draw(settings),
    )


@given(views())
def test_a_link_gives_back_the_view_it_was_made_of(view):
    assert from_query(to_query(view), MODELS, SAMPLES) == (view, [])


def test_the_default_view_has_an_empty_link():
    assert to_query(View()) == {}
    assert from_query({}, MODELS, SAMPLES) == (View(), [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("show", value) for value in ("", "1", "Difference", "attention")],
        *[("t", value) for value in ("", "abc", "nan", "inf", "-inf", "-1", "0", "1e9", "0x1", "1,5", "9" * 5000)],
        *[("kernels", value) for value in ("", "0", "65", "-1", "2.5", "²", "٣", "1e1", "nan", "9" * 5000)],
        *[("model", value) for value in ("../../etc/passwd", "/etc/passwd", "first", "FIRST.SAFETENSORS", "")],
        *[("sample", value) for value in ("nope", "picture-1,nope", ",", "picture-1,", "picture-1;picture-2")],
        *[(name, value) for name in ("tempered", "ablate") for value in ("", "spatial,", "Kernel", "none")],
        *[("compensate", value) for value in ("0", "true", "")],
        *[("knob", value) for value in ("abc", "1e9", "-1e9", "nan")],
        ("source", "zzz"),
        ("keep", "last"),
        ("stimulus", "<script>"),
        ("layer", "x" * 101),
    ],
)
def test_a_parameter_that_is_not_understood_is_named_and_leaves_the_default(name, value):
    assert from_query({name: value}, MODELS, SAMPLES) == (View(), [name])


@given(st.dictionaries(st.sampled_from(["t", "kernels", "knob", "layer", "sample", "ablate", "model"]), st.text()))
def test_no_text_in_a_link_raises_or_gets_out_of_range(query):
    view, ignored = from_query(query, MODELS, SAMPLES)
    assert set(ignored) <= set(query)
    assert TEMPERATURES[0] <= view.settings.temperature <= TEMPERATURES[1]
    assert view.settings.kernels is None or 1 <= view.settings.kernels <= 64
    assert set(view.samples) <= set(SAMPLES)
    assert len(view.layer) <= 100


def test_a_bad_parameter_does_not_take_the_good_ones_with_it():
    view, ignored = from_query({"t": "abc", "kernels": "2", "sample": "picture-3", "extra": "1"}, MODELS, SAMPLES)
    assert view == View(samples=("picture-3",), settings=Settings(kernels=2))
    assert ignored == ["t"]


def test_samples_in_a_link_are_shown_once_each_and_at_most_eight():
    view, _ = from_query({"sample": ",".join(SAMPLES[:1] + SAMPLES)}, MODELS, SAMPLES)
    assert view.samples == tuple(SAMPLES[:MOST_PICTURES])
