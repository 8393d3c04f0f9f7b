"""Take-away: the record as CSV, NPZ or one HTML file, built when asked for, and a link to the view."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO

import streamlit as st

from odconv import drawings, export
from odconv.attention import Settings
from odconv.explain import Explanation
from odconv.ui import components, view
from odconv.ui import engine as engines
from odconv.ui.engine import Engine
from odconv.ui.sources import Picture
from odconv.ui.text import say
from odconv.ui.view import View

PICTURE_SIDE = 400  # px of a photo inside the HTML file


@st.fragment(key="takeaway")
def show(engine: Engine, pictures: Sequence[Picture]) -> None:
    """Draw the download buttons and the link."""
    st.subheader("Take it away", anchor=False)
    chosen, settings = view.current(), view.current().settings
    titles = [picture.title for picture in pictures]
    classes = engine.checkpoint.card.classes

    def record() -> Explanation:
        return engines.ask_all(engine, pictures, settings).explanation

    with st.container(horizontal=True, vertical_alignment="center"):
        for label, file, mime, build in (
            ("CSV", "attention.csv", "text/csv", lambda: export.to_csv(record(), titles)),
            ("NPZ", "attention.npz", "application/octet-stream", lambda: export.to_npz(record(), titles, classes)),
            ("Figures as HTML", "attention.html", "text/html", lambda: _html(engine, pictures, chosen)),
        ):
            if engine.checkpoint.dynamic:
                st.download_button(label, build, file, mime, on_click="ignore", icon=":material/download:")
        components.copy_link(
            {
                "button": say("takeaway.copy_link"),
                "copied": say("takeaway.copied"),
                "by_hand": say("takeaway.copy_by_hand"),
            }
        )
    files = (
        "CSV and NPZ: every logit and attention of the chosen pictures under the chosen settings. The HTML file works "
        "offline. "
    )
    st.caption(
        f"{files if engine.checkpoint.dynamic else ''}The link holds model, samples or stimulus, layer, settings and what is "
        "shown of attention, and not which picture is shown; an uploaded picture never leaves this server, so it is not in it."
    )


def _html(engine: Engine, pictures: Sequence[Picture], chosen: View) -> bytes:
    """Runs when the button is clicked, outside the page's run: what it needs of the session is handed to it."""
    card = engine.checkpoint.card
    settings = engine.normalize(chosen.settings)
    now = engines.ask_all(engine, pictures, settings).explanation
    trained = engines.ask_all(engine, pictures, Settings()).explanation
    costs = engines.costs(engine)
    atlas = engines.load_atlas_for(engine, trained) if chosen.difference else None
    typical = None if atlas is None else atlas.means()
    sheets = []
    for n, picture in enumerate(pictures):
        one = now.picture(n)
        reference = None if settings == Settings() else trained.picture(n)
        sheets.append(
            {
                "title": picture.title,
                "picture": _data_uri(picture),
                "prediction": drawings.prediction(one, reference, card.classes),
                "glance": drawings.glance(one, reference, chosen.layer or next(iter(one.layers)), typical),
                "layers": {
                    name: drawings.layer(
                        name,
                        layer,
                        reference.layers[name] if reference else None,
                        costs[name.partition("#")[0]],
                        typical[name] if typical else None,
                    )
                    for name, layer in one.layers.items()
                },
            }
        )
    shown = f"; difference from {atlas.pictures:,} validation pictures' mean" if atlas else ""
    return export.to_html(sheets, f"{card.name}; {drawings.settings_said(settings)}{shown}")


def _data_uri(picture: Picture) -> str:
    image = picture.image.copy()
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
