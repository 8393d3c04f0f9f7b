"""Downloads of the record as CSV, NPZ or one HTML file, built when they are clicked, and a link to the view."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from odconv import export
from odconv.export import Context
from odconv.ui import components, scene, sidebar, text, view
from odconv.ui import engine as engines
from odconv.ui.engine import Engine
from odconv.ui.inference import Answers
from odconv.ui.link import View
from odconv.ui.pictures import Picture, data_uri
from odconv.ui.text import say

PICTURE_SIDE = 400  # px of a photo inside the HTML file
LINK_WORDS = {"copy": "copy_link", "copied": "copied", "by_hand": "copy_by_hand"}


def show(engine: Engine, pictures: Sequence[Picture], answers: Answers) -> None:
    """Draw the download buttons and the link. ``answers`` has all pictures, so that building a file asks no network.

    Of a static network there are logits alone, and so no figures of attention.
    """
    st.subheader(say("takeaway.title"), anchor=False)
    chosen, language = view.current(), text.language()
    accuracy = sidebar.accuracy(engine.checkpoint.card.measured)

    def context() -> Context:  # reads the weights file, so only when a file is built
        card = engine.checkpoint.card
        titles = tuple(picture.title for picture in pictures)
        return Context(language, card.name, f"{engine.path.name} {engine.fingerprint}", card.classes, titles, accuracy)

    dynamic = engine.checkpoint.dynamic
    name, to_csv = ("attention", export.to_csv) if dynamic else ("logits", export.logits_to_csv)
    files = [
        ("csv", "text/csv", lambda: to_csv(context(), answers.now)),
        ("npz", "application/octet-stream", lambda: export.to_npz(context(), answers.now)),
    ]
    if dynamic:
        files.append(("html", "text/html", lambda: _html(engine, context(), pictures, answers, chosen)))
    with st.container(horizontal=True, vertical_alignment="center"):
        for kind, mime, build in files:
            file = f"{name}.{kind}"
            st.download_button(
                say(f"takeaway.{kind}"), build, file, mime, on_click="ignore", icon=":material/download:", key=kind
            )
        components.copy_link({name: say(f"takeaway.{key}") for name, key in LINK_WORDS.items()})
    st.caption(f"{say('takeaway.files' if dynamic else 'takeaway.files_static')} {say('takeaway.link')}")


def _html(engine: Engine, context: Context, pictures: Sequence[Picture], answers: Answers, chosen: View) -> bytes:
    """Build the HTML file. It runs when the button is clicked, where there is no session: so all it needs is passed in."""
    atlas = engines.load_atlas_for(engine, answers.trained) if chosen.difference else None
    return export.to_html(
        context,
        answers.now,
        answers.reference,
        photos=[_photo(picture) for picture in pictures],
        costs=engine.costs,
        places=scene.places(engine, answers.now),
        selected=chosen.layer,
        typical=None if atlas is None else atlas.means(),
        typical_count=0 if atlas is None else atlas.pictures,
    )


def _photo(picture: Picture) -> str:
    image = picture.image.copy()
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    return data_uri(image, "JPEG")
