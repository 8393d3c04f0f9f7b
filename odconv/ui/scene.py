"""What Explore's figures are drawn from, and the data that they get: the same whether the page is run or a drag redraws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from odconv import drawings, words
from odconv.attention import Heads, Settings
from odconv.backbones import FAMILIES, Place
from odconv.drawings import describe_settings
from odconv.explain import Explanation
from odconv.ui import dials, inference, keeping, text, view
from odconv.ui import engine as engines
from odconv.ui.budget import MIB
from odconv.ui.engine import Engine
from odconv.ui.inference import Answers
from odconv.ui.pictures import Picture
from odconv.ui.redraw import pack

REDRAWS = 8 * MIB  # bytes of redraws that are kept: 400


@dataclass(frozen=True)
class Scene:
    """What is looked at. Nothing in it asks the session, so it can be drawn from any thread."""

    engine: Engine
    picture: Picture
    settings: Settings
    layer: str  # the one that is wanted; empty, or none of the network's: the first one
    difference: bool  # whether differences from the typical picture are drawn
    language: str


def current(engine: Engine, picture: Picture) -> Scene:
    """What the visitor looks at now."""
    chosen = view.current()
    return Scene(engine, picture, chosen.settings, view.wanted_layer(), chosen.difference, text.language())


def redraw(scene: Scene, trained: Explanation, sent: object) -> bytes:
    """What follows a dial while it is dragged, under the settings that a browser sent; packed, see ``redraw.pack``.

    ``trained``: what the network makes of the picture as trained, which no dial changes.

    Raises:
        BusyError: others have kept the device for too long.
        ValueError: ``sent`` is no message of the dials, see ``dials.parse_turn``.
    """
    engine, turn = scene.engine, dials.parse_turn(sent, scene.engine.num_kernels)
    settings = engine.normalize(replace(scene.settings, **turn.changes))
    seen = (scene.picture.digest, scene.layer, scene.difference, scene.language)
    # What the CPU says for a GPU that has no memory left is not kept as the GPU's.
    draw = _redraw_once if engine.device == "cpu" else _redraw
    return draw(engine.identity, settings, seen, engine, replace(scene, settings=settings), trained)


def _redraw(
    identity: str,
    settings: Settings,
    seen: tuple[str, str, bool, str],
    _engine: Engine,
    _scene: Scene,
    _trained: Explanation,
) -> bytes:
    now = inference.ask_all(_engine, [_scene.picture], settings, layer_to_look_into(_engine, _scene.layer))
    answers = Answers(now.explanation, _trained, now.note)
    return pack(
        {
            "prediction": prediction(_scene, answers),
            "glance": glance(_scene, answers),
            "layer": layer(_scene, answers),
            "in_force": in_force(_scene),
        }
    )


# In a class, many turn the same dial over the same picture.
_redraw_once = keeping.keep(keeping.HOUR, REDRAWS)(_redraw)


def prediction(scene: Scene, answers: Answers) -> dict[str, Any]:
    """The data of ``components.prediction``."""
    return drawings.prediction_data(
        scene.language, answers.now, answers.reference, scene.engine.checkpoint.card.classes
    )


def glance(scene: Scene, answers: Answers) -> dict[str, Any]:
    """The data of ``components.glance``."""
    record, typical = answers.now, _typical(scene, answers)
    name = shown_layer(record, scene.layer)
    return drawings.glance_data(scene.language, record, answers.reference, name, places(scene.engine, record), typical)


def layer(scene: Scene, answers: Answers) -> dict[str, Any]:
    """The data of ``components.layer``."""
    record, reference, typical = answers.now, answers.reference, _typical(scene, answers)
    name = shown_layer(record, scene.layer)
    return drawings.layer_data(
        scene.language,
        record.layers[name],
        None if reference is None else reference.layers[name],
        scene.engine.costs[name.partition("#")[0]],
        typical[name] if typical else None,
        drawings.scale_end_of(record, reference, typical) if typical else None,
    )


def in_force(scene: Scene) -> dict[str, Any]:
    """The data of ``components.in_force``: all settings, and what the temperature does."""
    settings = describe_settings(scene.language, scene.engine.normalize(scene.settings))
    return {
        "settings": words.say(scene.language, "setting.in_force", settings=settings),
        "why": words.say(scene.language, "dial.why"),
    }


def shown_layer(record: Explanation, wanted: str) -> str:
    """The name of the layer to show: ``wanted``, or where there is none of that name, what its family shows, or the first."""
    return _first(wanted, list(record.layers))


def layer_to_look_into(engine: Engine, wanted: str) -> str:
    """The layer that ``shown_layer`` will most likely name, where no record is there yet; empty in a static network."""
    return _first(wanted, engine.layers) if engine.layers else ""


def _first(wanted: str, names: Sequence[str]) -> str:
    return next(name for name in (wanted, *(family.shown for family in FAMILIES), *names) if name in names)


def places(engine: Engine, record: Explanation) -> dict[str, Place]:
    """Name of every layer -> where it stands."""
    return {name: engine.checkpoint.place(name) for name in record.layers}


def _typical(scene: Scene, answers: Answers) -> dict[str, Heads[np.ndarray]] | None:
    """Layer -> typical attention, where differences from it are drawn; else None."""
    if not scene.difference:
        return None
    atlas = engines.load_atlas_for(scene.engine, answers.trained)
    return atlas.means() if atlas else None
