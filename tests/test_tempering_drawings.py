"""What the temperature lesson draws is what was computed, and its sentences say what the numbers say."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest

from odconv import HEADS, Settings, drawings, explain
from odconv.attention import Heads
from odconv.backbones import od_resnet50
from odconv.drawings import Sweep
from odconv.drawings.curves import describe_trap
from odconv.tempering import CURVE, GATES, Reading, take_reading
from odconv.words import LANGUAGES, say

CLASSES = ("tabby, tabby cat", "<b>fox</b>", "owl", "eel", "ant")
LAYER = "layer2.0.conv1"


@pytest.fixture(scope="module")
def sweep(small_model, images):
    return Sweep(
        *(
            {t: take_reading(small_model, images[:1], Settings(t, compensate=kept)) for t in CURVE}
            for kept in (False, True)
        )
    )


def array(text):
    return np.frombuffer(base64.b64decode(text), "<f4")


# --- one layer --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [Settings(), Settings(5.0, compensate=True), Settings(Heads(30.0, 1.0, 2.0, 0.5))])
def test_the_browser_gets_logits_and_applied_attention_to_the_last_bit(small_model, images, settings):
    record = explain(small_model, images[:1], settings).layers[LAYER]
    data = json.loads(json.dumps(drawings.tempered_data("en", record, settings), allow_nan=False))
    assert data["divisors"] == list(settings.divisors)
    assert data["keep_gain"] == settings.compensate
    for head in HEADS:
        np.testing.assert_array_equal(array(data["heads"][head]["logits"]), getattr(record.logits, head)[0].ravel())
        np.testing.assert_array_equal(array(data["heads"][head]["applied"]), getattr(record.attention, head)[0].ravel())


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_head_that_a_layer_lacks_is_missing_with_the_reason(shake, images, language):
    model = shake(od_resnet50(5, width=8, stem="small", num_kernels=1)).eval().requires_grad_(False)
    data = drawings.tempered_data(language, explain(model, images[:1]).layers["layer1.0.conv1"], Settings())
    for head in ("spatial", "kernel"):
        assert data["heads"][head]["absent"] == say(language, f"layer.{head}_absent")
        assert "logits" not in data["heads"][head]


@pytest.mark.parametrize(
    "settings", [Settings(kernels=2), Settings(3.0, ablate=("channel",)), Settings(3.0, layers=(LAYER,))]
)
def test_settings_that_the_browser_does_not_follow_are_refused(small_model, images, settings):
    with pytest.raises(ValueError, match="only temperature"):
        drawings.tempered_data("en", explain(small_model, images[:1], settings).layers[LAYER], settings)


# --- the output -------------------------------------------------------------------------------------------------------


def with_logits(record, logits, settings=None):
    return replace(record, logits=np.array([logits], np.float32), settings=settings or Settings())


def test_the_output_lists_the_first_classes_as_trained_and_says_what_became_of_their_order(small_model, images):
    record = explain(small_model, images[:1])
    trained = with_logits(record, [1.0, 5.0, 3.0, 2.0, 4.0])
    data = drawings.output_data("en", trained, with_logits(record, [0.0, 9.0, 2.0, 1.0, 3.0], Settings(3.0)), CLASSES)
    assert [row["name"] for row in data["rows"]] == ["<b>fox</b>", "ant", "owl", "eel", "tabby"]
    assert [row["index"] for row in data["rows"]] == [1, 4, 2, 3, 0]
    np.testing.assert_array_equal(array(data["logits"]), [1.0, 5.0, 3.0, 2.0, 4.0])
    assert data["divisors"] == [3.0] * 4
    assert "is as trained: <b>fox</b>, ant, owl, eel, tabby." in data["sentence"]
    swapped = drawings.output_data("en", trained, with_logits(record, [0.0, 1.0, 2.0, 8.0, 9.0]), CLASSES)["sentence"]
    assert "the first choice has changed from <b>fox</b> to ant, " in swapped
    assert "these five now come in this order: ant, eel, owl, <b>fox</b>, tabby." in swapped
    changed = drawings.output_data("en", trained, with_logits(record, [3.0, 9.0, 2.0, 1.0, 0.0]), CLASSES)["sentence"]
    assert "the order of these five has changed: <b>fox</b>, tabby, owl, eel, ant." in changed


def test_no_temperature_on_the_output_changes_its_order(small_model, images):
    logits = explain(small_model, images[:1]).logits[0].astype(np.float64)
    for temperature in CURVE:
        shares = np.exp((logits - logits.max()) / temperature)
        assert list(np.argsort(-shares / shares.sum())) == list(np.argsort(-logits))


# --- curves -----------------------------------------------------------------------------------------------------------


def line(chart, name):
    return next(line["values"] for line in chart["lines"] if line["name"] == name)


def test_every_point_of_the_curves_is_a_pass_of_its_own(sweep, small_model, images):
    data = json.loads(json.dumps(drawings.curves_data("en", sweep, LAYER, CLASSES, Settings()), allow_nan=False))
    probability, effective, gates = data["charts"]
    best = int(explain(small_model, images[:1]).logits[0].argmax())
    assert data["temperatures"] == list(CURVE)
    for i in (0, 7, 10, 20, 25):
        free, kept = (explain(small_model, images[:1], Settings(CURVE[i], compensate=kept)) for kept in (False, True))
        assert line(probability, "gain may change")[i] == pytest.approx(free.probabilities[0, best], abs=6e-5)
        assert line(probability, "gain held")[i] == pytest.approx(kept.probabilities[0, best], abs=6e-5)
        shares = {name: layer.attention.kernel[0].astype(float) for name, layer in free.layers.items()}
        counts = {name: float(np.exp(-(row * np.log(np.maximum(row, 1e-300))).sum())) for name, row in shares.items()}
        assert line(effective, "mean over layers")[i] == pytest.approx(np.mean(list(counts.values())), abs=1e-3)
        assert line(effective, LAYER)[i] == pytest.approx(counts[LAYER], abs=1e-3)
        for head in GATES:
            means = [getattr(layer.attention, head).mean() for layer in free.layers.values()]
            assert line(gates, head)[i] == pytest.approx(np.mean(means), abs=6e-5)
    assert effective["scale"] == [1.0, 4]


def test_the_kernels_norm_is_drawn_as_what_the_gates_leave_and_as_times_the_trained_one(sweep):
    passed, norm = drawings.shrinking_data("en", sweep, LAYER, CLASSES, Settings())["charts"]
    for name, readings in (("gain may change", sweep.free), ("gain held", sweep.kept)):
        np.testing.assert_allclose(line(passed, name), [r.passed(LAYER) for r in readings.values()], atol=6e-5)
        wanted = [r.norms[LAYER] / sweep.trained.norms[LAYER] for r in readings.values()]
        np.testing.assert_allclose(line(norm, name), wanted, atol=6e-5)
    assert passed["guide"]["value"] == 1 / 8
    assert line(norm, "gain may change")[CURVE.index(1.0)] == 1.0


@pytest.mark.parametrize("settings", [Settings(), Settings(Heads(30.0, 1.0, 2.0, 0.5))])
def test_curves_know_the_temperatures_before_the_dials_are_drawn(sweep, settings):
    for draw in (drawings.curves_data, drawings.shrinking_data):
        assert draw("en", sweep, LAYER, CLASSES, settings)["divisors"] == list(settings.divisors)


def test_one_kernel_has_no_curve_of_effective_kernels_and_the_chart_says_why(shake, images):
    model = shake(od_resnet50(5, width=8, stem="small", num_kernels=1)).eval().requires_grad_(False)
    readings = {t: take_reading(model, images[:1], Settings(t)) for t in (0.1, 1.0, 30.0)}
    sweep = Sweep(readings, readings)
    assert drawings.curves_data("en", sweep, "layer1.0.conv1", CLASSES, Settings())["charts"][1]["absent"].startswith(
        "K = 1"
    )
    two_gates = drawings.shrinking_data("en", sweep, "layer1.0.conv1", CLASSES, Settings())
    assert two_gates["charts"][0]["guide"] == {"value": 1 / 4, "name": "limit, 1/4"}
    assert "in the limit 1/4" in two_gates["sentence"]


def reading(share, gate=0.3, effective=2.0, norm=1.0, ungated=4.0):
    """A reading whose first class has this probability, of two."""
    logits = np.log(np.array([share, 1 - share]))
    gates = {"a": dict.fromkeys(GATES, gate)}
    return Reading(logits, gates, {"a": effective}, {"a": norm}, {"a": ungated})


@pytest.mark.parametrize(
    ("hot", "kept", "sentence"),
    [
        (0.88, 0.89, "This picture bears both."),
        (0.10, 0.80, "at least half of the loss is gone: it was scale."),
        (0.10, 0.30, "part of the loss is gone"),
        (0.10, 0.05, "it is no better"),
        (0.85, 0.20, "it is no better"),
    ],
)
def test_the_trap_is_described_by_its_numbers(hot, kept, sentence):
    free = {1.0: reading(0.9), 30.0: reading(hot, norm=0.5)}
    text = describe_trap("en", Sweep(free, {1.0: free[1.0], 30.0: reading(kept, norm=0.96)}), "a", ("x", "y"))
    assert text.startswith(
        "In a, as trained, the gates leave 0.250 of the kernel's norm; at T = 30 0.125, in the limit 1/8."
    )
    assert "has 0.50 times its trained norm; with the gain held, 0.96 times" in text
    assert f"x: 0.90 as trained, {hot:.2f} at T = 30, {kept:.2f} with the gain held." in text
    assert sentence in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_of_the_lesson_exists_in_every_language(language, sweep):
    for hot, kept in ((0.88, 0.89), (0.1, 0.8), (0.1, 0.3), (0.1, 0.05)):
        free = {1.0: reading(0.9), 30.0: reading(hot)}
        assert "1/8" in describe_trap(language, Sweep(free, free | {30.0: reading(kept)}), "a", ("x", "y"))
    assert drawings.curves_data(language, sweep, LAYER, CLASSES, Settings())["charts"]
