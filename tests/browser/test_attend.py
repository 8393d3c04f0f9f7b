"""The browser's own arithmetic, from logits to attention, against the definition in float64."""

import numpy as np
import pytest

from odconv.attention import HEADS
from odconv.drawings import script
from odconv.drawings.tempered import floats
from tests import oracle

SHAPES = {"spatial": (3, 3), "channel": (40,), "filter": (24,), "kernel": (4,)}
TEMPERATURES = (0.1, 0.5, 1.0, 2.4, 30.0)
DRAW = """([head, logits, divisor, keepGain]) => attentionOf(head, logits, divisor, keepGain)"""


@pytest.fixture(scope="module")
def calculator(browser):
    """A blank page with the functions of the drawings."""
    page = browser.new_page()
    page.add_script_tag(content=script("on_dials", "attend"))
    yield page
    page.close()


@pytest.mark.parametrize("head", HEADS)
def test_the_browser_divides_and_squashes_as_the_definition_says(calculator, head):
    generator = np.random.default_rng(HEADS.index(head))
    for size in (1.0, 8.0):
        logits = generator.normal(0, size, (1, *SHAPES[head]))
        for temperature in TEMPERATURES:
            for compensate in (False, True):
                wanted = oracle.attend({head: logits}, temperature=temperature, tempered=HEADS, compensate=compensate)
                found = calculator.evaluate(DRAW, [head, logits.ravel().tolist(), temperature, compensate])
                np.testing.assert_allclose(found, wanted[head].ravel(), rtol=1e-9, atol=1e-15)


def test_the_gain_is_kept_where_every_gate_is_too_small_for_a_number(calculator):
    logits = [-90.0, -80.0, -85.0]
    found = calculator.evaluate(DRAW, ["channel", logits, 0.1, True])
    np.testing.assert_allclose(found, [0, 3 * np.mean(1 / (1 + np.exp(-np.array(logits)))), 0], rtol=1e-9, atol=1e-50)


def test_every_step_of_the_softmax_is_what_it_is_called(calculator):
    logits = np.array([2.0, -1.0, 0.5, 7.0])
    steps = calculator.evaluate("(logits) => softmaxSteps(logits, 2)", logits.tolist())
    np.testing.assert_allclose(steps["divided"], logits / 2)
    np.testing.assert_allclose(steps["less"], logits / 2 - 3.5)
    np.testing.assert_allclose(steps["powers"], np.exp(logits / 2 - 3.5), rtol=1e-12)
    assert steps["total"] == pytest.approx(np.exp(logits / 2 - 3.5).sum(), rel=1e-12)
    shares = np.exp(logits / 2) / np.exp(logits / 2).sum()
    np.testing.assert_allclose(steps["shares"], shares, rtol=1e-12)
    effective = calculator.evaluate("effectiveOf", shares.tolist())
    assert effective == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-12)


def test_numbers_reach_the_browser_to_the_last_bit(calculator):
    values = np.random.default_rng(1).normal(size=(3, 3)).astype(np.float32)
    assert calculator.evaluate("floatsOf", floats(values)) == values.ravel().tolist()
