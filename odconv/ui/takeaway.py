"""Take-away: the record as CSV, NPZ or one HTML file, built when asked for, and a link to the view."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO

import streamlit as st

from odconv import export
from odconv.atlas import fingerprint
from odconv.attention import Settings
from odconv.explain import Explanation
from odconv.export import Context
from odconv.ui import components, layer, view
from odconv.ui import engine as engines
from odconv.ui.engine import Engine
from odconv.ui.sources import Picture
from odconv.ui.view import View

PICTURE_SIDE = 400  # px of a photo inside the HTML file


@st.fragment(key="takeaway")
def show(engine: Engine, pictures: Sequence[Picture]) -> None:
    """Draw the download buttons and the link."""
    st.subheader("Take it away", anchor=False)
    chosen, settings = view.current(), view.current().settings

    def context() -> Context:  # reads the weights file, so only when a file is built
        return _context(engine, pictures)

    def record() -> Explanation:
        return engines.answer(engine, pictures, settings).explanation

    with st.container(horizontal=True, vertical_alignment="center"):
        for label, file, mime, build in (
            ("CSV", "attention.csv", "text/csv", lambda: export.to_csv(context(), record())),
            ("NPZ", "attention.npz", "application/octet-stream", lambda: export.to_npz(context(), record())),
            ("Figures as HTML", "attention.html", "text/html", lambda: _html(engine, context(), pictures, chosen)),
        ):
            if engine.checkpoint.dynamic:
                st.download_button(label, build, file, mime, on_click="ignore", icon=":material/download:")
        components.copy_link()
    files = (
        "CSV and NPZ: every logit and attention of the chosen pictures under the chosen settings. The HTML file works "
        "offline. "
    )
    st.caption(
        f"{files if engine.checkpoint.dynamic else ''}The link holds model, samples or stimulus, layer, settings and what is "
        "shown of attention, and not which picture is shown; an uploaded picture never leaves this server, so it is not in it."
    )


def _context(engine: Engine, pictures: Sequence[Picture]) -> Context:
    card = engine.checkpoint.card
    return Context(
        language="en",
        model=card.name,
        weights=f"{engine.path.name} {fingerprint(engine.path)}",
        classes=card.classes,
        titles=tuple(picture.title for picture in pictures),
    )


def _html(engine: Engine, context: Context, pictures: Sequence[Picture], chosen: View) -> bytes:
    """Runs when the button is clicked, outside the page's run: what it needs of the session is handed to it."""
    now = engines.answer(engine, pictures, chosen.settings).explanation
    trained = engines.answer(engine, pictures, Settings()).explanation
    atlas = engines.typical(engine, trained) if chosen.difference else None
    return export.to_html(
        context,
        now,
        None if chosen.settings == Settings() else trained,
        photos=[_data_uri(picture) for picture in pictures],
        costs=engines.costs(engine),
        places=layer.places(now),
        selected=chosen.layer,
        typical=None if atlas is None else atlas.means(),
        typical_count=0 if atlas is None else atlas.pictures,
    )


def _data_uri(picture: Picture) -> str:
    image = picture.image.copy()
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
