"""Inspection of a picture file: what it holds and what decoding would cost, before any decoder sees it.

:func:`inspect` walks over the parts of a JPEG, PNG, WebP or HEIC file in few, bounded steps. Of JPEG, PNG and WebP it keeps
only what the pixels need, so that decoders never meet metadata, padding or what follows the end.
"""

from __future__ import annotations

import re

from odconv.picture_files import heif, jpeg, png, webp
from odconv.picture_files.contents import Contents, PictureError

_SIGNATURES = (  # at the start of a file -> what it is; the first that matches counts
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"\x89PNG\r\n\x1a\n", "PNG"),
    (rb"RIFF....WEBP", "WebP"),
    (rb"....ftyp(avif|avis)", "AVIF"),
    (rb"....ftyp(mif1|msf1|miaf).{4,64}avif", "AVIF"),
    (rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", "HEIC"),
    (rb"GIF8[79]a", "GIF"),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "TIFF"),
    (rb"BM", "BMP"),
    (rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a", "JPEG XL"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "JPEG 2000"),
    (rb"(\xef\xbb\xbf)?\s*(<\?xml.{0,1000})?<svg", "SVG"),
)
_SIGNATURES_RE = tuple((re.compile(pattern, re.DOTALL), kind) for pattern, kind in _SIGNATURES)
_INSPECT = {"JPEG": jpeg.inspect, "PNG": png.inspect, "WebP": webp.inspect, "HEIC": heif.inspect}


def inspect(data: bytes) -> Contents:
    """The contents of the picture file ``data``; its kind is found from its first bytes.

    Raises:
        PictureError: of another kind, animated, stored in a rare way, in too many parts, damaged or cut short.
    """
    kind = next((kind for pattern, kind in _SIGNATURES_RE if pattern.match(data[:2048])), None)
    if kind is None:
        raise PictureError("picture.unknown")
    if kind not in _INSPECT:
        raise PictureError("picture.other_kind", kind=kind)
    return _INSPECT[kind](data)
