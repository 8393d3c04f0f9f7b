"""The dials of the temperature lesson: one temperature for all heads or one for each, and the epoch of a training."""

from __future__ import annotations

import math
import re

import streamlit as st

from odconv.attention import HEADS, Heads, Settings, fewest_temperatures
from odconv.card import Card
from odconv.tempering import scheduled_temperature
from odconv.ui import components, connection, controls, dials, live, text, view
from odconv.ui.engine import Engine
from odconv.ui.link import TEMPERATURES
from odconv.ui.text import language, say
from odconv.words import texts

KEY = "temperatures"  # of the dials
LAST_EPOCH = 12  # of the dial; from 10 on nothing changes any more

# For every tenth of an epoch, rounded to three digits as in a link, so that what is shown is what is applied.
SCHEDULE = tuple(float(f"{scheduled_temperature(tenth / 10):.3g}") for tenth in range(10 * LAST_EPOCH + 1))
TEXTS = ("temperature", "trained", "mark", "epoch", "epoch_fall", "epoch_after", "epoch_below", "epoch_four")


def settings() -> Settings:
    """What the lesson tells the network: of the visitor's settings, the temperature alone."""
    chosen = view.current().settings
    return Settings(chosen.temperature, chosen.tempered, compensate=chosen.compensate)


def show(engine: Engine) -> None:
    """Draw the dials."""
    words = {key: texts(language())[f"temper.{key}"] for key in TEXTS}
    of_head = {head: say("temper.of_head", head=say(f"head.{head}")) for head in HEADS}
    components.temperatures(
        {
            "divisors": list(settings().divisors),
            "heads": list(engine.heads),
            "four": _shows_four(engine),
            "stops": dials.STOPS,
            "schedule": SCHEDULE,
            "answered": live.answered(KEY),
            "session": connection.session(),
            "words": words | {"of_head": of_head, "waiting": say("dial.waiting")},
        },
        lambda sent: live.receive(sent, parse_temperatures, KEY),
        key=KEY,
    )


def _shows_four(engine: Engine) -> bool:
    """Whether there is a dial for each head: the visitor wants it so, or one dial could not show the temperatures."""
    return view.current().dials == "four" or len({settings().divisor(head) for head in engine.heads}) > 1


def parse_temperatures(sent: object) -> live.Turn:
    """Check a message that a browser sent: {changes: {temperatures: one for each of the four heads}, released}.

    Raises:
        ValueError: it is anything else, or out of the dials' range.
    """
    changes, released = live.parse_message(sent, ("temperatures",))
    four = changes.get("temperatures")
    if not isinstance(four, list) or len(four) != len(HEADS) or not all(map(_is_on_dial, four)):
        raise ValueError("not four temperatures of the dials")
    temperature, tempered = fewest_temperatures(Heads(*(float(f"{one:.3g}") for one in four)))
    return live.Turn({"temperature": temperature, "tempered": tempered}, released)


def _is_on_dial(value: object) -> bool:
    low, high = TEMPERATURES
    return type(value) in (int, float) and low <= value <= high  # type: ignore[operator]


def show_choices(engine: Engine) -> None:
    """Draw the choice between one dial and four, that of the gain, and the way back."""
    chosen = view.current().settings
    with st.container(key="temper_choices", horizontal=True, vertical_alignment="bottom", gap="medium"):
        view.bind(
            st.segmented_control,
            say("temper.dials"),
            key="temper_dials",
            value="four" if _shows_four(engine) else "one",
            then=_choose_dials,
            options={which: say(f"temper.dials_{which}") for which in ("one", "four")},
            required=True,
            help=say("temper.dials_help"),
        )
        view.bind(
            st.segmented_control,
            say("setting.gain"),
            key="temper_gain",
            value=chosen.compensate,
            then=lambda kept: controls.change_and_rerun(compensate=kept),
            options={False: say("setting.gain_free"), True: say("setting.gain_kept")},
            required=True,
            help=say("setting.gain_help"),
        )
        # Never disabled: a button that is takes the keyboard's focus with it.
        st.button(say("setting.reset"), key="temper_reset", on_click=_reset)


def _reset() -> None:
    view.change(temperature=1.0, tempered=HEADS, compensate=False)


def _choose_dials(which: str) -> None:
    """One dial takes up the temperature that is furthest from 1."""
    if which == "one":
        furthest = max(map(settings().divisor, HEADS), key=lambda one: abs(math.log(one)))
        view.change(temperature=furthest, tempered=HEADS)
    controls.change_and_rerun(dials=which)


def describe_schedule(card: Card) -> None:
    """Say what the epochs are, and what temperatures the network itself met in training, where its card says so."""
    st.caption(say("temper.schedule"))
    if clauses := temperature_clauses(card.recipe):
        st.caption(text.markdown("temper.own_schedule", clauses="; ".join(clauses)))


def temperature_clauses(recipe: str) -> list[str]:
    """Those clauses of a recipe that are about temperatures; clauses end with a semicolon or a full stop.

    Example:
        >>> temperature_clauses("SGD, batch 256; temperature 30 to 1 over 6 epochs (geometric); dropout 0.2")
        ['temperature 30 to 1 over 6 epochs (geometric)']
    """
    clauses = re.split(r";\s+|\.\s+", recipe)
    return [clause.strip() for clause in clauses if re.match(r"temperature\b|all logits divided\b", clause.strip())]
