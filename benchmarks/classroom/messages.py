"""What a browser does about messages that it has already: it says which, and the server sends references to those.

As Streamlit's own page does (``ForwardMessageCache`` in its JavaScript): a message that the server calls cacheable is kept by its
hash until so many runs of the page have ended since it was drawn last; a run of some parts of it lets go only of theirs.
The app's own settings (``.streamlit/config.toml``) call none cacheable: so this has an effect only where they are changed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from streamlit.proto.ForwardMsg_pb2 import ForwardMsg


@dataclass
class _Kept:
    message: ForwardMsg
    part: str  # of the page, that drew it first
    run: int  # in which it was drawn last


class Messages:
    """The messages that one page keeps."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}  # by hash
        self._runs = 0  # that have ended
        self._most_age = 0  # as the server says
        self._began = False  # the run for the last click

    @property
    def hashes(self) -> list[str]:
        """What the server is told with each click."""
        return list(self._kept)

    def begin(self) -> None:
        """A click was sent: a run that ends before the server has begun the one for it does not count."""
        self._began = False

    def take(self, message: ForwardMsg) -> ForwardMsg:
        """A message as it came, or the one that it refers to.

        Raises:
            KeyError: it refers to one that is not kept.
        """
        kind = message.WhichOneof("type")
        if kind == "ref_hash":
            kept = self._kept[message.ref_hash]
            kept.run = self._runs
            kept.message.metadata.CopyFrom(message.metadata)
            return kept.message
        if kind == "new_session":
            self._most_age, self._began = message.new_session.config.max_cached_message_age, True
        elif kind == "script_finished":
            run = message.metadata.run
            if self._began and run.script_run_id and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                self._end_run(run.fragment_ids)
        elif message.metadata.cacheable and message.hash:
            kept = self._kept.setdefault(message.hash, _Kept(message, message.delta.fragment_id, self._runs))
            kept.run = self._runs
        return message

    def _end_run(self, parts: Collection[str]) -> None:
        """``parts``: of the page, that the run was of; none: it was of all."""
        self._runs += 1
        for hash, kept in list(self._kept.items()):
            if self._runs - kept.run > self._most_age and (not parts or kept.part in parts):
                del self._kept[hash]
