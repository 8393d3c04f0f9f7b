"""Files that are said to be pictures."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from odconv import decoding
from odconv.images import PictureError, decode
from odconv.picture_files import contents
from tests.fuzz.sentences import check_refusal
from tests.fuzz.strategies import MOST, changed_bytes
from tests.pictures import good_files, with_right_sums

MEMORY = contents.MEMORY + 30_000_000  # what is kept, the file and the allocator's own come on top


def cases(corpus: Sequence[bytes]) -> SearchStrategy[bytes]:
    files = changed_bytes([*good_files(), *corpus])
    return st.one_of(files, files.map(mend))


def mend(data: bytes) -> bytes:
    """The sums of a PNG and the length of a WebP made right, so that what was changed is not all that is wrong."""
    if data.startswith(b"\x89PNG"):
        return with_right_sums(data)[:MOST]
    if data.startswith(b"RIFF"):
        return data[:4] + struct.pack("<I", max(0, len(data) - 8)) + data[8:]
    return data


def check(data: bytes) -> str:
    refused = ""
    try:
        picture = decode(data)
    except PictureError as error:
        check_refusal(error)
        refused = error.key
    finally:
        assert decoding._decoder.acquire(blocking=False), "the decoder is kept"
        decoding._decoder.release()
    assert refused != "picture.no_memory", "it asked for more memory than any picture may take"
    if refused:
        return refused
    assert picture.mode == "RGB"
    assert 1 <= min(picture.size) <= max(picture.size) <= decoding.LARGEST_SIDE
    assert len(picture.tobytes()) == 3 * picture.width * picture.height
    assert not picture.info
    return "shown"
