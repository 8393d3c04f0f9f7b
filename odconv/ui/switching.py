"""The lesson on switches: what stands in the place of each head's attention, and what that does to the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from odconv import drawings
from odconv.attention import HEADS, Heads, Settings
from odconv.drawings import clean_name
from odconv.explain import Explanation
from odconv.switches import (
    AS_LEARNED,
    CHOICES,
    MOST_EDITS,
    NOTHING,
    RELATIVES,
    Attentions,
    Choice,
    Edit,
    Effect,
    Pass,
    Sources,
    Switches,
    attentions_of,
    find_effect,
    relative,
    set_by_hand,
    to_pass,
)
from odconv.ui import (
    asking,
    components,
    connection,
    controls,
    editing,
    inference,
    knob,
    layer,
    live,
    other,
    parts,
    photo,
    text,
    view,
)
from odconv.ui import engine as engines
from odconv.ui.asking import Reply
from odconv.ui.devices import BusyError
from odconv.ui.engine import Engine
from odconv.ui.link import LARGEST_SEED
from odconv.ui.live import Turn
from odconv.ui.pictures import Picture
from odconv.ui.text import language, say

PART = "switches_part"


@dataclass(frozen=True)
class Case:
    """One picture as trained, and where attention in other places comes from."""

    engine: Engine
    picture: Picture
    trained: Explanation
    layer: str  # the one that is looked into
    sources: Sources
    pictures: int  # that the typical attention is the mean of; 0: there is none
    donor: Picture

    @property
    def offered(self) -> list[Choice]:
        """The choices that there are here."""
        return [choice for choice in CHOICES if choice != "typical" or self.pictures]

    @property
    def off(self) -> Choice:
        """What stands for a head that is off."""
        return "typical" if self.pictures else "mean"

    @property
    def switches(self) -> Switches:
        """What the visitor has chosen; what there is not here is replaced by what there is."""
        chosen = view.current()
        choices = (choice if choice in self.offered else self.off for choice in chosen.switches)
        return Switches(Heads(*choices), self.layer if chosen.where == "one" else None, chosen.shuffling)

    @property
    def present(self) -> list[str]:
        """The heads that the switches can act on."""
        if view.current().where == "all":
            return list(self.engine.heads)
        attention = self.trained.layers[self.layer].attention
        return [head for head, values in zip(HEADS, attention, strict=True) if values is not None]

    def words(self) -> dict[str, Any]:
        """Values for the texts on choices."""
        return {
            "pictures": f"{self.pictures:,}",
            "seed": view.current().shuffling,
            "donor": clean_name(self.donor.title),
            "layer": clean_name(self.layer),
        }


def open_case(engine: Engine, picture: Picture) -> Case:
    """Ask the network about ``picture`` as trained, and about the second picture where that is needed.

    Raises:
        BusyError: others have kept the device for too long.
    """
    chosen = view.current()
    trained = inference.ask(engine, picture, Settings()).explanation
    donor = other.picture(chosen, engine.checkpoint.card.resize)
    transplanted: Attentions = NOTHING
    if "transplanted" in (*chosen.switches, chosen.map_of):
        transplanted = attentions_of(inference.ask(engine, donor, Settings()).explanation)
    atlas = engines.load_atlas_for(engine, trained)
    typical = {name: heads for name, heads in atlas.means().items() if "#" not in name} if atlas else NOTHING
    name = layer.chosen(trained)
    name = name.partition("#")[0]
    hand = {name: set_by_hand(attentions_of(trained)[name], chosen.hand)}
    sources = Sources(typical, transplanted, hand)
    return Case(engine, picture, trained, name, sources, atlas.pictures if atlas else 0, donor)


def note_what_is_left_aside() -> None:
    """Say which of the visitor's settings do not act on this page."""
    settings = view.current().settings
    if settings != Settings(keep=settings.keep):
        st.info(text.markdown("switches.aside", settings=drawings.describe_settings(language(), settings)))


@parts.part(PART)
def show(engine: Engine, pictures: Sequence[Picture]) -> None:
    """Draw the picture, the prediction and the switches. ``engine``: of a dynamic network."""
    plain = photo.choose(engine, pictures)
    picture = editing.edit(plain)
    try:
        case = open_case(engine, picture)
        effects, relatives, now = _ask(case)
    except BusyError as error:
        asking.show_busy(Reply(None, error), PART)
        return
    if "typical" in view.current().switches and not case.pictures:
        st.info(say("switches.no_typical"))
    if view.current().layer not in ("", case.layer):
        st.info(text.markdown("page.no_layer", layer=view.current().layer, shown=case.layer))
    with st.container(key="screen"):
        left, right = st.columns([34, 66], gap="medium")
    with left:
        photo.show_picture(engine, picture)
        knob.show(engine, None)
        _show_prediction(case, now)
    with right:
        _show_choices(case)
        classes = engine.checkpoint.card.classes
        components.switches(
            drawings.switches_data(
                language(),
                case.switches,
                case.offered,
                case.present,
                case.layer,
                effects,
                relatives,
                case.off,
                case.trained.logits[0],
                classes,
                case.words(),
            ),
            lambda sent: _choose(sent, case),
        )
    try:
        editing.show(engine, plain)
    except BusyError as error:
        asking.show_busy(Reply(None, error), "edit")
    _show_hands(case)
    view.write_link()


def _ask(case: Case) -> tuple[dict[str, Effect], dict[str, Effect], Explanation]:
    """The effects of each switch alone and of all together, those of the relatives, and the pass with all switches."""
    trained = case.trained.logits[0]
    now = inference.ask_switched(case.engine, case.picture, to_pass(case.switches, case.sources))
    heads = {head: to_pass(case.switches.alone(head), case.sources) for head in case.present}
    names = [name for name, on in RELATIVES.items() if set(on) <= set(case.engine.heads)]
    relatives = {name: to_pass(relative(name, case.off), case.sources) for name in names}
    effects = _find_effects(case, heads) | {"all": find_effect(trained, now.logits[0])}
    return effects, _find_effects(case, relatives), now


def _find_effects(case: Case, passes: dict[str, Pass]) -> dict[str, Effect]:
    """The effect of each of the passes."""
    trained = case.trained.logits[0]
    asked = [told for told in passes.values() if not told.as_trained]
    read = inference.read_logits(case.engine, case.picture, asked)
    return {name: find_effect(trained, trained if told.as_trained else next(read)) for name, told in passes.items()}


def _show_prediction(case: Case, now: Explanation) -> None:
    classes = case.engine.checkpoint.card.classes
    if not np.isfinite(now.logits).all():
        st.warning(say("page.beyond_bounds"))
    st.markdown(text.markdown("page.prediction", count=f"{len(classes):,}"))
    reference = None if case.switches.choices == AS_LEARNED else case.trained
    components.prediction(drawings.prediction_data(language(), now, reference, classes))


def _show_choices(case: Case) -> None:
    """Draw what stands above the table: where the switches act, the layer, and the way back."""
    chosen = view.current()
    with st.container(key="switches_choices", horizontal=True, vertical_alignment="bottom", gap="small"):
        view.bind(
            st.segmented_control,
            say("switches.where"),
            key="switches_where",
            value=chosen.where,
            then=lambda where: controls.change_and_rerun(where=where),
            options={where: say(f"switches.where_{where}") for where in ("all", "one")},
            required=True,
        )
        view.bind(
            st.selectbox,
            say("switches.layer"),
            key="switches_layer",
            value=case.layer,
            then=layer.choose,
            options={name: clean_name(name) for name in case.trained.layers if "#" not in name},
            width=170,
        )
        if "transplanted" in (*chosen.switches, chosen.map_of) and not chosen.fixed:
            other.choose_picture(say("switches.donor"))
        if "shuffled" in chosen.switches:
            st.button(say("switches.seed"), key="switches_seed", icon=":material/shuffle:", on_click=_shuffle_again)
        # Never disabled: a button that is takes the keyboard's focus with it.
        st.button(
            say("switches.reset"),
            key="switches_reset",
            on_click=controls.change_and_rerun,
            kwargs={"switches": AS_LEARNED},
        )


def _shuffle_again() -> None:
    controls.change_and_rerun(shuffling=(view.current().shuffling + 1) % (LARGEST_SEED + 1))


def _choose(sent: object, case: Case) -> None:
    """A switch was turned, or a relative chosen; ``sent`` comes from a browser. The map shows which switch is turned, too."""
    if not isinstance(sent, dict):
        return
    name, choices = sent.get("relative"), sent.get("choices")
    if isinstance(name, str) and name in RELATIVES:
        controls.change_and_rerun(switches=relative(name, case.off).choices, where="all")
    elif isinstance(choices, list) and len(choices) == len(HEADS) and all(one in case.offered for one in choices):
        controls.change_and_rerun(switches=Heads(*choices))


def _show_hands(case: Case) -> None:
    """Draw the attention of the layer that is looked into, whose entries can be set."""
    learned = attentions_of(case.trained)[case.layer]
    st.subheader(text.markdown("by_hand.title", layer=case.layer), anchor=False)
    st.caption(say("by_hand.intro"))
    components.by_hand(
        drawings.by_hand_data(language(), learned, _edits_in(learned)),
        live.answered("by_hand"),
        connection.session(),
        lambda sent: live.receive(sent, lambda sent: parse_hand(sent, learned), "by_hand"),
    )


def _edits_in(learned: Heads[np.ndarray]) -> list[Edit]:
    """Those that the visitor has made, of entries that there are."""
    sizes = {head: 0 if values is None else values.size for head, values in zip(HEADS, learned, strict=True)}
    return [edit for edit in view.current().hand if edit[1] < sizes[edit[0]]]


def parse_hand(sent: object, learned: Heads[np.ndarray]) -> Turn:
    """Check a message that a browser sent: {changes: {hand: all entries that are set}, released}.

    Heads in which something else is set than before are switched to "hand"; those in which nothing is set any more, back.

    Raises:
        ValueError: it is anything else, an entry is not there, or there are too many.
    """
    changes, released = live.parse_message(sent, ("hand",))
    listed = changes.get("hand")
    if not isinstance(listed, list) or len(listed) > MOST_EDITS:
        raise ValueError("not entries that are set")
    edits = tuple(_check_edit(one, learned) for one in listed)
    if len({edit[:2] for edit in edits}) < len(edits):
        raise ValueError("an entry is set twice")
    before, choices = view.current().hand, view.current().switches
    for head in HEADS:
        now, was = ([edit for edit in some if edit[0] == head] for some in (edits, before))
        if now and now != was:
            choices = turn_to(choices, head, "hand")
        elif was and not now and getattr(choices, head) == "hand":
            choices = turn_to(choices, head, "learned")
    return Turn({"hand": edits, "switches": choices, "layer": view.wanted_layer()}, released)


def _check_edit(one: object, learned: Heads[np.ndarray]) -> Edit:
    if not isinstance(one, list) or len(one) != 3 or one[0] not in HEADS:
        raise ValueError("not an entry")
    head, entry, value = one
    values = getattr(learned, head)
    if values is None or type(entry) is not int or not 0 <= entry < values.size:
        raise ValueError("no such entry")
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ValueError("not a weight")
    return head, entry, float(f"{value:.3g}")


def turn_to(choices: Heads[Choice], head: str, choice: Choice) -> Heads[Choice]:
    """``choices`` with another one for ``head``."""
    return choices._replace(**{head: choice})
