"""The visitor's own pictures, from files or the camera: loading, keeping and forgetting them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import DeletedFile

from odconv import images
from odconv.ui import text, upload_bounds
from odconv.ui.link import MOST_PICTURES
from odconv.ui.pictures import Picture
from odconv.ui.text import say
from odconv.ui.view import change
from odconv.words import SayableError

log = logging.getLogger(__name__)

MOST_FILES = 4 * MOST_PICTURES  # of one upload that are looked at, good or bad


def own_pictures(source: str) -> dict[str, Picture]:
    """Digest -> picture, for all pictures that came from ``source``: "upload" or "camera".

    They are decoded and small, and live in the visitor's session and nowhere else. Looking at other sources keeps them.
    """
    return st.session_state.setdefault(f"pictures-{source}", {})


def chosen_ids(source: str) -> list[str]:
    """Digests of the chosen pictures, in the order of choice; the last one that came where none is chosen."""
    own = own_pictures(source)
    return [id for id in st.session_state.get(f"chosen-{source}", []) if id in own] or list(own)[-1:]


def choose_ids(source: str, ids: Sequence[str]) -> None:
    """Choose the pictures of these digests."""
    st.session_state[f"chosen-{source}"] = list(ids)


def show_loader(source: str, on_new: Callable[[list[str]], None]) -> None:
    """Draw the file picker or the camera, and say which of the last files were refused and why.

    ``on_new`` gets the digests of the pictures that came, at least one.
    """
    round_ = st.session_state.setdefault("upload-round", 0)
    if source == "upload":
        st.file_uploader(
            say("source.photos"),
            type=_offered_endings(st.context.headers.get("User-Agent", "")),
            accept_multiple_files=True,
            key=f"uploads-{round_}",  # a new key empties it: the server holds no file that has been read
            on_change=lambda: _add_files(source, st.session_state[f"uploads-{round_}"], on_new),
            help=say("source.photos_help", megabytes=images.MAX_BYTES // 2**20, most=MOST_PICTURES),
        )
    else:
        st.camera_input(
            say("source.camera"),
            key="camera",
            on_change=lambda: _add_files(source, [st.session_state["camera"]], on_new),
            width=420,
        )
    _show_refused(source)


def _show_refused(source: str) -> None:
    """Say which of the last files were refused, and why."""
    context = get_script_run_ctx()
    kept = st.session_state.setdefault(f"refused-{source}", [])
    error = upload_bounds.refusal(context.session_id) if context else None
    if error and error.key not in [said.key for _, said in kept]:
        kept.append(("", error))
    for title, error in kept:
        reason = error.say(text.language())
        st.error(text.markdown("source.refused", title=title, reason=reason) if title else reason)


def _offered_endings(browser: str) -> list[str]:
    """The file endings to offer; ``browser`` is what its User-Agent header says.

    An iPhone or iPad that is not offered HEIC converts its photos to JPEG by itself, which loads faster.
    """
    light = [ending for ending in images.ENDINGS if ending not in ("heic", "heif")]
    return light if re.search("iPhone|iPad", browser) else list(images.ENDINGS)


def _add_files(source: str, files: Sequence[Any], on_new: Callable[[list[str]], None]) -> None:
    """Read what a visitor has brought, keep the good pictures, say why the others were refused, and drop the files.

    What a visitor does while the run after that still draws comes with the same files once more, which are gone by then.
    """
    brought = [file for file in files if file is not None and not isinstance(file, DeletedFile)]
    if not brought and any(isinstance(file, DeletedFile) for file in files):
        return
    own = own_pictures(source)
    new: list[str] = []
    refused: list[tuple[str, SayableError]] = []
    left_out = len(brought) - MOST_FILES
    for i, file in enumerate(brought[:MOST_FILES]):
        if len(new) == MOST_PICTURES:
            left_out = len(brought) - i
            break
        title, data = images.title_of(file.name, say("picture.untitled")), file.getvalue()
        digest = images.digest(data)
        try:
            if digest not in own:
                own[digest] = Picture(digest, title, title, images.decode(data))
            if digest not in new:
                new.append(digest)
        except images.PictureError as error:
            log.warning("picture refused: %s: %s", title, error)
            refused.append((title, error))
    for file in brought:
        _release(file)
    if left_out > 0:
        refused.append(("", SayableError("source.too_many", most=MOST_PICTURES)))
    oldest = [digest for digest in own if digest not in new][: max(0, len(own) - MOST_PICTURES)]
    for digest in oldest:
        refused.append((own.pop(digest).title, SayableError("source.made_room", most=MOST_PICTURES)))
    st.session_state[f"refused-{source}"] = refused
    st.session_state["upload-round"] += 1
    if new:
        on_new(new)


def _release(file: Any) -> None:
    """Drop an uploaded file's bytes at once: its picture has been decoded."""
    context = get_script_run_ctx()
    if context is not None and context.uploaded_file_mgr is not None:
        context.uploaded_file_mgr.remove_file(  # type: ignore[attr-defined]  # of the in-memory manager
            session_id=context.session_id, file_id=file.file_id
        )


def forget(source: str) -> None:
    """Drop all pictures that came from ``source``."""
    for name in ("pictures", "chosen", "refused"):
        st.session_state.pop(f"{name}-{source}", None)
    change(shown=1)
