"""What a picture file holds, read off its bytes before any decoder sees them.

:func:`inspect` walks over the parts of a JPEG, PNG, WebP or HEIC file in few, bounded steps. It finds out what decoding
would cost, and leaves out all that the pixels do not need: decoders never meet metadata, padding or what follows the end.
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
    """What the picture file ``data`` holds, whatever its name.

    Raises:
        PictureError: of another kind, animated, stored in a rare way, in too many parts, damaged or cut short.
    """
    kind = next((kind for pattern, kind in _SIGNATURES_RE if pattern.match(data[:2048])), None)
    if kind is None:
        raise PictureError("picture.unknown")
    if kind not in _INSPECT:
        raise PictureError("picture.other_kind", kind=kind)
    return _INSPECT[kind](data)
