"""A visitor's own checkpoint: opened from what came, shown for what it is, and forgotten."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import streamlit as st

from odconv.architecture import Architecture
from odconv.atlas import fingerprint
from odconv.card import card_beside
from odconv.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from odconv.drawings import clean_name, count_text
from odconv.normalize import count_heads
from odconv.results import Published
from odconv.ui import components, connection, parts, published, reception, sidebar, text, view
from odconv.ui import engine as engines
from odconv.ui.budget import MIB
from odconv.ui.devices import PATIENCE, BusyError
from odconv.ui.engine import Engine, Own
from odconv.ui.link import OWN
from odconv.ui.memo import Memo
from odconv.ui.reception import CARD, TOGETHER, Inbox, Parcel
from odconv.ui.text import language, markdown, say
from odconv.weights_file import SUFFIXES
from odconv.words import SayableError

log = logging.getLogger(__name__)

SETTING = "ODCONV_UPLOADS"
ANSWERS = 16 * MIB  # bytes of answers that are kept with a network: 16 of a ResNet-101's passes
MOST_MULTIPLY_ADDS = (
    25e9  # for a picture: three times those of a ResNet-101 (2x) at 224 px; all visitors wait for a pass
)
IMAGENET = 1000  # classes
FIRST_CLASS = "tench"  # of ImageNet's
MOST_CLASSES = 5  # are named

_turn = threading.BoundedSemaphore(1)  # checkpoints are read one at a time


# --- opening ------------------------------------------------------------------------------------------------------------


def open_parcel(inbox: Inbox) -> None:
    """Open the checkpoint that came, and forget the one before; where it is refused, that stays, and the inbox says why.

    Raises:
        BusyError: others' checkpoints were being read for too long; it can be opened later.
    """
    if not _turn.acquire(timeout=PATIENCE):
        raise BusyError("mine.busy")
    try:
        parcel = inbox.claim()
        if parcel is None:
            return
        try:
            before, inbox.network = inbox.network, _open(parcel, inbox.most)
            inbox.refused = None
            _free(before)
        except SayableError as error:
            log.warning("own checkpoint refused: %s", str(error))
            parcel.share.release()
            inbox.refused = SayableError(
                error.key, **error.values
            )  # whoever keeps the error keeps all that was at hand
        finally:
            parcel.delete()
            inbox.round += 1
    finally:
        _turn.release()


def _open(parcel: Parcel, most: int) -> Engine:
    """The network of a parcel, for its visitor alone.

    Raises:
        SayableError: one clear sentence.
    """
    engines.set_up_torch()
    try:
        checkpoint = load_checkpoint(parcel.weights)
        checkpoint, classes = _name_classes(checkpoint, parcel.with_card)
    except (MemoryError, RuntimeError) as error:  # torch raises the latter
        raise SayableError("mine.full") from error
    tensors = checkpoint.model.state_dict().values()
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    parcel.share.resize(size + ANSWERS, TOGETHER * most)
    mine = Own(fingerprint(parcel.weights), classes, size / MIB, Memo(ANSWERS), parcel.share)
    # No other network has this identity: not the one that the same visitor brought before, either.
    identity = f"{OWN} {secrets.token_hex(8)}"
    engine = Engine(checkpoint, "cpu", identity, Path(parcel.weights.name), mine)
    if sum(layer.multiply_adds for layer in engine.costs.values()) > MOST_MULTIPLY_ADDS:
        raise SayableError("mine.slow", most=f"{MOST_MULTIPLY_ADDS / 1e9:g}", size=checkpoint.card.image_size)
    return engine


def _name_classes(checkpoint: Checkpoint, with_card: bool) -> tuple[Checkpoint, Literal["card", "assumed", "numbered"]]:
    """``checkpoint`` with names for its classes, and where these are from."""
    if with_card:
        return checkpoint, "card"
    names = _imagenet_names() if len(checkpoint.card.classes) == IMAGENET else None
    if names is None:
        return checkpoint, "numbered"
    return replace(checkpoint, card=replace(checkpoint.card, classes=names)), "assumed"


def _imagenet_names() -> tuple[str, ...] | None:
    """ImageNet's thousand classes in its own order, from the card of a network here; None where there is none."""
    architectures = engines.architectures()
    for name, path in engines.weights().items():
        architecture = architectures[name]
        if architecture and architecture.num_classes == IMAGENET:
            try:
                classes = card_beside(path, architecture).classes
            except CheckpointError:
                continue
            if classes[0].startswith(FIRST_CLASS):
                return classes
    return None


def remove() -> None:
    """Forget the visitor's own network, and look into the first of the others where it was chosen."""
    inbox: Inbox | None = st.session_state.get("inbox")
    if inbox:
        before, inbox.network, inbox.refused = inbox.network, None, None
        inbox.round += 1
        _free(before)
    chosen = view.current()
    view.change(
        model="" if chosen.model == OWN else chosen.model,
        b=replace(chosen.b, model=None) if chosen.b.model == OWN else chosen.b,
    )


def _free(network: Engine | None) -> None:
    """Free a network's weights and answers, whoever still refers to it.

    Streamlit keeps what the widgets of other pages call until the session ends.
    """
    if network is None or network.own is None:
        return
    for tensor in (*network.checkpoint.model.parameters(), *network.checkpoint.model.buffers()):
        tensor.data = tensor.data.new_empty(0)
    network.own.answers.clear()
    network.own.share.release()


# --- the page -----------------------------------------------------------------------------------------------------------


def show() -> None:
    """Draw the place where a checkpoint is brought, what was recognised, and the authors' checkpoints."""
    permit = reception.permit(
        os.environ.get(SETTING), st.get_option("server.address"), st.context.headers.get("Origin")
    )
    inbox = reception.open_inbox(connection.session(), language(), permit.megabytes * MIB)
    _open_what_came(inbox)
    with st.container(key="screen"):
        left, right = st.columns([45, 55], gap="large")
    with left:
        if permit.megabytes:
            _show_entrance(inbox, permit.megabytes)
        else:
            st.info(say(permit.why_not, setting=SETTING, example=reception.AT_HOME))
    with right:
        if inbox.network:
            _show_network(inbox.network)
        else:
            st.subheader(say("mine.known"), anchor=False)
            st.markdown(say("mine.known_text"))
    _show_published()


def _open_what_came(inbox: Inbox) -> None:
    if inbox.parcel is None:
        return
    try:
        with (
            st.spinner(say("mine.opening")),
            parts.pause(),
        ):  # it takes seconds, and who reads before may take them, too
            open_parcel(inbox)
    except BusyError as error:
        st.warning(text.refusal(error))
        st.button(say("busy.again"), key="mine_again")
        return
    st.rerun()  # the sidebar offers it


def _show_entrance(inbox: Inbox, megabytes: int) -> None:
    words = {name: say(f"mine.{name}") for name in ("choose", "drop", "cancel", "read", "failed", "one")}
    words["sending"] = say("mine.sending", percent="{percent}", size="{size}", file="{file}")
    endings = [*SUFFIXES, CARD]
    with st.container(key="mine_entrance"):
        refused = inbox.refused.say(language()) if inbox.refused else ""
        components.bring(reception.path(), connection.session(), endings, CARD, inbox.round, refused, words)
    st.caption(say("mine.bounds", megabytes=f"{megabytes:,}", together=f"{TOGETHER * megabytes:,}"))
    st.caption(say("mine.lifetime"))


def _show_network(engine: Engine) -> None:
    st.subheader(say("mine.recognised"), anchor=False)
    rows = [f"| {name} | {value} |" for name, value in _describe(engine)]
    with st.container(key="mine_facts"):
        st.markdown("\n".join(["| | |", "|:--|:--|", *rows]))
    for sentence in _notes(engine):
        st.caption(sentence)
    with st.container(horizontal=True):
        if st.button(say("mine.open"), key="mine_open", type="primary", icon=":material/visibility:"):
            view.change(model=OWN, layer="", filter=None, channel=None, place=None, hand=())
            st.switch_page("pages/explore.py")
        st.button(say("mine.remove"), key="mine_remove", on_click=remove, icon=":material/delete:")


def _describe(engine: Engine) -> Iterable[tuple[str, str]]:
    """What was recognised: names and values, as Markdown."""
    architecture, card, costs = engine.checkpoint.architecture, engine.checkpoint.card, engine.costs.values()
    yield say("mine.file"), text.escape_markdown(clean_name(engine.path.name))
    yield say("mine.architecture"), _backbone(architecture)
    if architecture.num_kernels is not None and architecture.reduction is not None:
        yield say("mine.kernels"), f"{architecture.num_kernels}"
        yield say("mine.reduction"), f"{architecture.reduction:.4g}"
        yield say("mine.heads"), _heads(engine)
    names = [clean_name(name.partition(",")[0]) for name in card.classes[:MOST_CLASSES]]
    more = "" if len(card.classes) <= MOST_CLASSES else say("head.comma") + "…"
    yield (
        say("mine.classes"),
        markdown("mine.class_names", count=len(card.classes), names=say("head.comma").join(names) + more),
    )
    yield say("mine.pictures"), say("mine.pictures_value", size=card.image_size, resize=card.resize)
    parameters = sum(parameter.numel() for parameter in engine.checkpoint.model.parameters())
    yield say("mine.parameters"), count_text(language(), parameters)
    yield say("mine.multiply_adds"), count_text(language(), sum(one.multiply_adds for one in costs))
    yield say("mine.memory"), f"{engine.own.megabytes:,.1f} MiB" if engine.own else ""


def _backbone(architecture: Architecture) -> str:
    return markdown("mine.backbone", backbone=architecture.backbone, width=f"{architecture.width:g}")


def _heads(engine: Engine) -> str:
    layers, heads = count_heads(engine.checkpoint.model)
    if set(heads.values()) == {layers}:
        return say("mine.heads_all", layers=layers)
    found = [say("mine.head_in", head=say(f"head.{head}"), layers=layers, count=count) for head, count in heads.items()]
    return say("head.semicolon").join(found)


def _notes(engine: Engine) -> Iterable[str]:
    """What is to be known of the network, as Markdown."""
    architecture, card = engine.checkpoint.architecture, engine.checkpoint.card
    if architecture.dynamic:
        layers, heads = count_heads(engine.checkpoint.model)
        for head in (head for head, count in heads.items() if count < layers):
            yield say(f"mine.lacks_{head}")
    else:
        yield say("mine.static")
    if engine.own and engine.own.classes != "card":
        yield say(f"mine.classes_{engine.own.classes}")
    if measured := sidebar.accuracy(card.measured):
        yield say("mine.measured", accuracy=measured)
    elif same := next((one for one in published.imagenet() if _is_like(one, architecture)), None):
        yield markdown("mine.like_published", model=_title(same), top1=f"{same.top1:.2f}", top5=f"{same.top5:.2f}")


def _is_like(one: Published, architecture: Architecture) -> bool:
    found = (architecture.backbone, architecture.width, architecture.num_kernels, architecture.num_classes)
    return found == (one.backbone, one.width, one.kernels, IMAGENET) and architecture.stem == "imagenet"


def _title(one: Published) -> str:
    return one.model if one.kernels is None else say("mine.with_kernels", model=one.model, kernels=one.kernels)


def _show_published() -> None:
    """Draw the table of the authors' checkpoints."""
    rows = [one for one in published.imagenet() if one.kernels is not None]
    st.subheader(say("mine.authors"), anchor=False)
    st.markdown(say("mine.authors_text", count=len(rows), source=rows[0].source_url))
    columns = ("network", "kernels", "parameters", "multiply_adds", "top1", "top5")
    lines = ["| " + " | ".join(say(f"mine.column_{name}") for name in columns) + " |", "|:--|--:|--:|--:|--:|--:|"]
    for one in rows:
        link = f"[{text.escape_markdown(one.model)}]({one.checkpoint_url})"
        numbers = [f"{one.parameters_m:.2f}", f"{one.multiply_adds_m:,g}", f"{one.top1:.2f}", f"{one.top5:.2f}"]
        lines.append("| " + " | ".join([link, str(one.kernels), *numbers]) + " |")
    with st.container(key="mine_authors"):
        st.markdown("\n".join(lines))
