"""Free what visitors left behind, soon after they have gone.

Streamlit keeps a session for ``server.disconnectedSessionTTL`` seconds after its browser has gone, so that the browser can
come back. But it frees overdue sessions only when another one comes or goes; without that, uploads and pictures would stay
for good. So a task looks for them again and again.

Everything here runs on the event loop of Streamlit's runtime, as its session storage must. It and ``upload_bounds`` are
the only places that reach into Streamlit, whose version is pinned.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import streamlit as st
from streamlit.runtime import Runtime

from odconv.ui import keeping, memory, reception

log = logging.getLogger(__name__)

SWEEPS = 5  # within the time that a session is kept
LEAST_GAP = 2.0  # seconds between two: a file that a click has made is fetched within them


@asynccontextmanager
async def sweeping(_app: object) -> AsyncIterator[None]:
    """Look for what is overdue as long as the server runs: its ``lifespan``."""
    memory.keep_freed()
    memory.set_modules_aside()
    task = asyncio.create_task(_sweep_on(Runtime.instance()), name="odconv.lifetime")
    try:
        yield
    finally:
        task.cancel()
        reception.empty_all()


async def _sweep_on(runtime: Runtime) -> None:
    while True:
        await asyncio.sleep(max(st.get_option("server.disconnectedSessionTTL") / SWEEPS, LEAST_GAP))
        try:
            sweep(runtime)
        except Exception:
            log.exception("what gone visitors left could not be freed")


def sweep(runtime: Runtime) -> int:
    """End the sessions that are overdue and free what they hold. Returns how many there were."""
    ended = _end_overdue(runtime)
    # A session that ended while its page ran may have added a file since, which would stay for good.
    manager, media = runtime._session_mgr, runtime.media_file_mgr
    present = [*manager.list_active_sessions(), *manager._session_storage.list()]  # type: ignore[attr-defined]
    for id in set(media._files_by_session_and_coord) - {info.session.id for info in present}:
        media.clear_session_refs(id)
    media.remove_orphaned_files()  # a download goes in the second round
    if ended:
        # Kernel views, in which a photo could be recognised; and all the rest once nobody is there who could ask for it again.
        keeping.forget(keeping.MINUTE if present else keeping.HOUR)
        # A page's variables, pictures and a network among them, are in a cycle with the functions that its file defines.
        # Without a collection an idle server keeps them for good.
        gc.collect()
        memory.give_back()
    return ended


def _end_overdue(runtime: Runtime) -> int:
    """End the sessions that are overdue. Nothing here refers to one any more when garbage is collected: it would stay."""
    overdue = runtime._session_mgr._session_storage._cache.expire()  # type: ignore[attr-defined]
    for _, info in overdue:
        info.session.shutdown()  # frees uploads and media files
        # The rest goes with the session itself, and that may be part of a cycle that no garbage collection looks at.
        for holder in (info.session.session_state, info.session._fragment_storage, info.session._browser_queue):
            holder.clear()
    return len(overdue)
