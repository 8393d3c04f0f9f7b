"""What an open network makes of pictures: its answers, which are kept, each from a pass that waits for its device. Nothing here draws."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from odconv import images
from odconv.attention import HEADS, Heads, Settings
from odconv.backbones import EfficientNetLite
from odconv.explain import Explanation, explain, stack
from odconv.findings import shuffle_input
from odconv.forging_view import ForgingView, LayerForging, forge_layer, view_forging
from odconv.kernel_view import KernelView, pick_slice, view_kernel
from odconv.layer import ODConv2d
from odconv.response import LayerResponse, draw_sweep, respond
from odconv.switches import Attentions, Pass
from odconv.tempering import Reading, take_reading
from odconv.ui import cluster, devices, parts
from odconv.ui.budget import MIB
from odconv.ui.devices import else_on_cpu
from odconv.ui.engine import Engine, load_atlas_for
from odconv.ui.keeping import HOUR, MINUTE, keep
from odconv.ui.pictures import Picture

ANSWERS = 64 * MIB  # of answers are kept, bytes: 240 of the bundled network of a thousand classes, 64 of a ResNet-101
VIEWS = 16 * MIB  # kept for a minute: a photo could be recognised in its maps
READINGS = 16 * MIB  # 100 pictures' curves of the bundled network
SWITCHED = 16 * MIB  # of answers in which attention is given: each frame of a drag is another one
LOGITS = 16 * MIB  # 160 maps of effects of the bundled network
CHOICES = MIB  # of slices that were picked, and the like
RESPONSES = 16 * MIB  # kept for as long as answers: they hold nothing of a photo


# --- one picture, or several --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What the network made of N pictures under one choice of settings."""

    explanation: Explanation  # its settings are the normal form of those asked for: ``Settings()`` means as trained
    note: str = ""  # key of a text about how it was computed, such as without the GPU; empty: nothing special


def ask(engine: Engine, picture: Picture, settings: Settings) -> Answer:
    """What the network makes of ``picture`` under ``settings``, N = 1; from the cache where it has been asked before.

    Raises:
        BusyError: others have kept the device for too long.
    """
    return _ask(engine, picture, settings, devices.deadline())


def ask_all(engine: Engine, pictures: Sequence[Picture], settings: Settings, layer: str = "") -> Answer:
    """What the network makes of N pictures, at least one; each is cached by itself. Waits no longer than ``ask``.

    ``layer``: one whose kernel will be asked for, see ``ask_kernel``: the same passes answer that, too.

    Raises:
        BusyError: others have kept the device for too long.
    """
    deadline = devices.deadline()
    answers = [_ask(engine, picture, settings, deadline, layer) for picture in pictures]
    note = next((answer.note for answer in answers if answer.note), "")
    return Answer(stack([answer.explanation for answer in answers]), note)


@dataclass(frozen=True)
class Answers:
    """What the network made of N pictures under some settings, and as trained."""

    now: Explanation
    trained: Explanation
    note: str = ""  # as in ``Answer``

    @property
    def reference(self) -> Explanation | None:
        """What ``now`` is compared with: ``trained``; None where the settings mean the network as trained."""
        return None if self.now.settings == Settings() else self.trained


def ask_both(engine: Engine, pictures: Sequence[Picture], settings: Settings, layer: str = "") -> Answers:
    """What the network makes of ``pictures`` under ``settings``, and as trained. ``layer``: as in ``ask_all``.

    Raises:
        BusyError: others have kept the device for too long.
    """
    now, trained = ask_all(engine, pictures, settings, layer), ask_all(engine, pictures, Settings())
    return Answers(now.explanation, trained.explanation, now.note or trained.note)


def _ask(engine: Engine, picture: Picture, settings: Settings, deadline: float, layer: str = "") -> Answer:
    settings = engine.normalize(settings)
    explanation, note = else_on_cpu(engine, partial(_explain_there, picture, settings, deadline, layer))
    return Answer(explanation, note or cluster.note(engine))


def _explain_there(picture: Picture, settings: Settings, deadline: float, layer: str, engine: Engine) -> Explanation:
    """``_explain``, and keep what comes into ``layer`` where a pass was made that shows it."""
    seen: list[np.ndarray] = []
    asked = (engine.identity, picture.digest, settings)
    found = _explain(
        *asked, engine, picture, deadline, _layer=layer if layer in engine.layers else "", _seen=seen.append
    )
    for features in seen:
        # Not while ``_explain`` computes: who asks for features first would wait for it, and it for them.
        _input(*asked, layer, engine, picture, deadline, features)
    return found


# An answer is computed once, and all who ask for it meanwhile wait for that. The deadline was set before: it holds for them,
# too.
@keep(HOUR, ANSWERS)
def _explain(
    identity: str,
    digest: str,
    settings: Settings,
    _engine: Engine,
    _picture: Picture,
    _deadline: float,
    _known: Explanation | None = None,
    _layer: str = "",
    _seen: Callable[[np.ndarray], None] | None = None,
) -> Explanation:
    """``_known``: the answer, where another question's pass has given it.

    ``_seen`` gets what comes into ``_layer`` where this makes a pass.
    """
    if _known is not None:
        return _known
    with parts.pause() if cluster.asked(_engine) else nullcontext():
        elsewhere = cluster.explain(_engine, _picture, settings)
    if elsewhere is not None:
        return elsewhere
    with devices.hold(_engine.device, _deadline):
        if not _layer or _seen is None:
            return _pass(_engine, _picture, settings)
        found, features = _explain_with_input(_engine, _picture, settings, _layer)
    _seen(features)
    return found


# The next three keep a photo's feature maps, so only for a short time.
@keep(MINUTE, VIEWS)
def _input(
    identity: str,
    digest: str,
    settings: Settings,
    layer: str,
    _engine: Engine,
    _picture: Picture,
    _deadline: float,
    _known: np.ndarray | None = None,
) -> np.ndarray:
    """The feature maps that come into ``layer``, (1, C_in, H, W). ``_known``: as in ``_explain``.

    Whoever looks into a layer asks for the answer, too: one pass gives both.
    """
    if _known is not None:
        return _known
    with devices.hold(_engine.device, _deadline):
        found, features = _explain_with_input(_engine, _picture, settings, layer)
    _explain(identity, digest, settings, _engine, _picture, _deadline, found)
    return features


def _pass(engine: Engine, picture: Picture, settings: Settings, **more: Any) -> Explanation:
    """One pass, ``more`` as for ``explain``. For who holds the device.

    Where a network says what comes before its first ODConv layer, that part runs once for a picture, whatever the settings.
    """
    model = engine.checkpoint.model
    if isinstance(model, EfficientNetLite):
        # Copied into PyTorch's own memory: how products are rounded may depend on where their input begins.
        begun = torch.tensor(_begin(engine.identity, picture.digest, engine, picture))
        return explain(model, begun, settings, forward=model.finish, **more)
    return explain(model, images.prepare(picture.image, engine.checkpoint.card), settings, **more)


@keep(MINUTE, VIEWS)
def _begin(identity: str, digest: str, _engine: Engine, _picture: Picture) -> np.ndarray:
    model = _engine.checkpoint.model
    assert isinstance(model, EfficientNetLite)
    parameter = next(model.parameters())
    with torch.inference_mode():
        image = images.prepare(_picture.image, _engine.checkpoint.card).to(parameter.device, parameter.dtype)
        found: np.ndarray = model.begin(image).cpu().numpy()
    return found


# --- one kernel --------------------------------------------------------------------------------------------


def ask_kernel(
    engine: Engine,
    picture: Picture,
    settings: Settings,
    layer: str,
    filter: int | None = None,
    channel: int | None = None,
    other: Picture | None = None,
) -> KernelView:
    """One slice of the kernel that ``layer`` forges for ``picture`` under ``settings``, beside another picture's.

    Asked before :func:`ask`, it costs no pass of its own: the same one answers both.

    Args:
        filter, channel: which slice, see :func:`odconv.kernel_view.view_kernel`. What is ``None`` or not there is picked by
            :func:`odconv.kernel_view.pick_slice` from the network as trained, so that it stays while a dial is turned.
        other: the picture to compare with, under the same settings; without one it is the typical picture of the atlas, as
            trained, where there is an atlas.

    Raises:
        BusyError: others have kept the device for too long.
        KeyError: the network has no such layer.
    """
    deadline = devices.deadline()
    settings = engine.normalize(settings)
    pair = (picture.digest, None if other is None else other.digest)
    filter, channel = _choose_slice(engine, picture, layer, filter, channel, other, deadline)
    against = _attention_to_compare(engine, picture, settings, layer, other, deadline)
    where = (layer, filter, channel)
    view, _ = else_on_cpu(
        engine,
        lambda there: _view_kernel(there.identity, pair, settings, where, there, picture, against, deadline),
    )
    return view


def ask_forging(
    engine: Engine,
    picture: Picture,
    settings: Settings,
    layer: str,
    filter: int | None = None,
    channel: int | None = None,
    place: tuple[int, int] | None = None,
    other: Picture | None = None,
) -> ForgingView:
    """Every step from the input of ``layer`` to its output for ``picture`` under ``settings``, of one slice at one place.

    Args:
        filter, channel, other: which slice, as in :func:`ask_kernel`. ``other`` only tells where it differs.
        place: of the output map, see :func:`odconv.forging_view.view_forging`.

    Raises:
        BusyError: others have kept the device for too long.
        KeyError: the network has no such layer.
    """
    deadline = devices.deadline()
    settings = engine.normalize(settings)
    filter, channel = _choose_slice(engine, picture, layer, filter, channel, other, deadline)
    made, _ = else_on_cpu(
        engine, lambda there: _forge_layer(there.identity, picture.digest, settings, layer, there, picture, deadline)
    )
    return view_forging(_module(engine, layer), made, filter, channel, place)


def _choose_slice(
    engine: Engine,
    picture: Picture,
    layer: str,
    filter: int | None,
    channel: int | None,
    other: Picture | None,
    deadline: float,
) -> tuple[int, int]:
    """The filter and channel that are asked for; what is ``None`` or not there is picked. See :func:`ask_kernel`."""
    filters, channels = _module(engine, layer).weight.shape[1:3]
    filter = filter if filter is not None and filter < filters else None
    channel = channel if channel is not None and channel < channels else None
    if filter is not None and channel is not None:
        return filter, channel
    pair = (picture.digest, None if other is None else other.digest)
    return _pick(
        engine.identity,
        pair,
        layer,
        filter,
        channel,
        engine,
        lambda: (
            _ask(engine, picture, Settings(), deadline).explanation.layers[layer].attention,
            _attention_to_compare(engine, picture, Settings(), layer, other, deadline),
        ),
    )


def _attention_to_compare(
    engine: Engine, picture: Picture, settings: Settings, layer: str, other: Picture | None, deadline: float
) -> Heads[np.ndarray] | None:
    """The attention in one layer of the picture to compare ``picture`` with, see :func:`ask_kernel`."""
    if other is not None:
        return _ask(engine, other, settings, deadline).explanation.layers[layer].attention
    # The record is asked for only where what depends on it is not in a cache.
    if engine.atlas is None:
        return None
    return _typical(engine.identity, layer, engine, lambda: _ask(engine, picture, Settings(), deadline).explanation)


def _module(engine: Engine, layer: str) -> ODConv2d:
    try:
        module = engine.checkpoint.model.get_submodule(layer.partition("#")[0])
    except AttributeError:
        module = None
    if not isinstance(module, ODConv2d):
        raise KeyError(f"{layer!r}: the network has no such layer")
    return module


@keep(HOUR, CHOICES)
def _typical(
    identity: str, layer: str, _engine: Engine, _record: Callable[[], Explanation]
) -> Heads[np.ndarray] | None:
    """The typical picture's attention in one layer, N = 1, where there is an atlas that fits the network's record."""
    found = load_atlas_for(_engine, _record())
    if found is None:
        return None
    return Heads(*(None if head is None else head[None] for head in found.means()[layer]))


@keep(HOUR, CHOICES)
def _pick(
    identity: str,
    pair: tuple[str, str | None],
    layer: str,
    filter: int | None,
    channel: int | None,
    _engine: Engine,
    _attentions: Callable[[], tuple[Heads[np.ndarray], Heads[np.ndarray] | None]],
) -> tuple[int, int]:
    return pick_slice(_module(_engine, layer), *_attentions(), filter, channel)


@keep(MINUTE, VIEWS)
def _view_kernel(
    identity: str,
    pair: tuple[str, str | None],
    settings: Settings,
    where: tuple[str, int, int],
    _engine: Engine,
    _picture: Picture,
    _against: Heads[np.ndarray] | None,
    _deadline: float,
) -> KernelView:
    layer, filter, channel = where
    features = _input(identity, pair[0], settings, layer, _engine, _picture, _deadline)
    attention = _explain(identity, pair[0], settings, _engine, _picture, _deadline).layers[layer].attention
    return view_kernel(_module(_engine, layer), features, attention, _against, filter, channel)


@keep(MINUTE, VIEWS)
def _forge_layer(
    identity: str,
    digest: str,
    settings: Settings,
    layer: str,
    _engine: Engine,
    _picture: Picture,
    _deadline: float,
) -> LayerForging:
    module = _module(_engine, layer)
    here = replace(settings.for_layer(layer.partition("#")[0]), layers=None)
    features = _input(identity, digest, settings, layer, _engine, _picture, _deadline)
    with devices.hold(_engine.device, _deadline):
        # Copied as in ``_pass``.
        output = explain(module, torch.tensor(features), here).logits[0]  # what the layer itself puts out
    return forge_layer(module, features, output, here)


def _explain_with_input(
    engine: Engine, picture: Picture, settings: Settings, layer: str
) -> tuple[Explanation, np.ndarray]:
    """What the network makes of ``picture``, without feature maps, and those that come into one layer. For who holds the device."""
    found = _pass(engine, picture, settings, keep_input_of=layer)
    record = found.layers[layer]
    assert record.input is not None
    return replace(found, layers={**found.layers, layer: replace(record, input=None)}), record.input


# --- the sweep of a stimulus ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Response:
    """What every layer does while the knob of a stimulus goes from end to end."""

    values: np.ndarray  # (M,) of the knob
    layers: dict[str, LayerResponse]


def ask_response(engine: Engine, stimulus: str, photo: Picture | None, settings: Settings) -> Response:
    """How the layers respond to ``stimulus`` under ``settings``; ``photo``: what it is drawn from, where it needs one.

    Raises:
        BusyError: others have kept the device for too long.
    """
    deadline, settings = devices.deadline(), engine.normalize(settings)
    digest = None if photo is None else photo.digest
    found, _ = else_on_cpu(
        engine, lambda there: _respond(there.identity, stimulus, digest, settings, there, photo, deadline)
    )
    return found


@keep(HOUR, RESPONSES)
def _respond(
    identity: str,
    stimulus: str,
    digest: str | None,
    settings: Settings,
    _engine: Engine,
    _photo: Picture | None,
    _deadline: float,
) -> Response:
    values, batch = draw_sweep(stimulus, _engine.checkpoint.card, None if _photo is None else _photo.image)
    with devices.hold(_engine.device, _deadline):
        return Response(values, respond(_engine.checkpoint.model, batch, settings))


# --- curves over settings ---------------------------------------------------------------------------------------------


def read_each(engine: Engine, picture: Picture, settings: Sequence[Settings]) -> Iterator[Reading]:
    """What one pass under each of ``settings`` says of ``picture``, one after the other.

    Each is cached by itself, and between two of them others have their turn.

    Raises:
        BusyError: others have kept the device for too long; what was read before is not lost.
    """
    for one in settings:
        parts.give_way()
        reading, _ = else_on_cpu(engine, partial(_read_under, picture, engine.normalize(one)))
        yield reading


def _read_under(picture: Picture, settings: Settings, engine: Engine) -> Reading:
    return _read(engine.identity, picture.digest, settings, engine, picture, devices.deadline())


@keep(HOUR, READINGS)
def _read(
    identity: str, digest: str, settings: Settings, _engine: Engine, _picture: Picture, _deadline: float
) -> Reading:
    image = images.prepare(_picture.image, _engine.checkpoint.card)
    with devices.hold(_engine.device, _deadline):
        return take_reading(_engine.checkpoint.model, image, settings)


# --- switches -----------------------------------------------------------------------------------------------------------


def ask_switched(engine: Engine, picture: Picture, told: Pass) -> Explanation:
    """What the network makes of ``picture``, N = 1, in a pass that is told more than settings.

    Raises:
        BusyError: others have kept the device for too long.
    """
    deadline = devices.deadline()
    settings, key = engine.normalize(told.settings), _digest(told.given)
    if not told.given:
        return _ask(engine, picture, settings, deadline).explanation
    found, _ = else_on_cpu(
        engine,
        lambda there: _switch(there.identity, picture.digest, settings, key, there, picture, told.given, deadline),
    )
    return found


def read_logits(engine: Engine, picture: Picture, passes: Sequence[Pass]) -> Iterator[np.ndarray]:
    """The logits (classes,) of ``picture`` in each pass, one after the other, as by :func:`read_each`.

    Raises:
        BusyError: others have kept the device for too long; what was read before is not lost.
    """
    for told in passes:
        parts.give_way()
        logits, _ = else_on_cpu(
            engine, partial(_read_logits_of, picture, Pass(engine.normalize(told.settings), told.given))
        )
        yield logits


def _read_logits_of(picture: Picture, told: Pass, engine: Engine) -> np.ndarray:
    key, deadline = _digest(told.given), devices.deadline()
    return _logits(engine.identity, picture.digest, told.settings, key, engine, picture, told.given, deadline)


def _digest(given: Attentions) -> str:
    """Names given attentions in cache keys."""
    found = hashlib.sha256()
    for name, heads in given.items():
        for head, values in zip(HEADS, heads, strict=True):
            if values is not None:
                found.update(f"{name}\0{head}\0{values.dtype}{values.shape}".encode())
                found.update(values.tobytes())
    return found.hexdigest()


@keep(HOUR, SWITCHED)
def _switch(
    identity: str,
    digest: str,
    settings: Settings,
    key: str,
    _engine: Engine,
    _picture: Picture,
    _given: Attentions,
    _deadline: float,
) -> Explanation:
    with devices.hold(_engine.device, _deadline):
        return _pass(_engine, _picture, settings, given=_given)


@keep(HOUR, LOGITS)
def _logits(
    identity: str,
    digest: str,
    settings: Settings,
    key: str,
    _engine: Engine,
    _picture: Picture,
    _given: Attentions,
    _deadline: float,
) -> np.ndarray:
    with devices.hold(_engine.device, _deadline):
        return _pass(_engine, _picture, settings, given=_given).logits[0]


# --- an input that is shuffled --------------------------------------------------------------------------------------


def ask_shuffle(engine: Engine, picture: Picture, layer: str) -> tuple[Heads[float], float]:
    """What changes in ``layer`` when the places of its input for ``picture`` are shuffled, see :func:`shuffle_input`.

    Raises:
        BusyError: others have kept the device for too long.
        KeyError: the network has no such layer.
    """
    deadline = devices.deadline()
    found, _ = else_on_cpu(
        engine, lambda there: _shuffle(there.identity, picture.digest, layer, there, picture, deadline)
    )
    return found


@keep(HOUR, CHOICES)
def _shuffle(
    identity: str, digest: str, layer: str, _engine: Engine, _picture: Picture, _deadline: float
) -> tuple[Heads[float], float]:
    with devices.hold(_engine.device, _deadline):
        record = _pass(_engine, _picture, Settings(), keep_input_of=layer).layers[layer]
        assert record.input is not None
        return shuffle_input(_module(_engine, layer), record.input)
