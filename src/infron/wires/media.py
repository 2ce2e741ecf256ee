"""Media types, as names of files, first bytes and formats tell them, and data URIs.

It never looks into a picture or a document beyond its first bytes.
"""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote_to_bytes

from infron.errors import InvalidRequest

# By the end of a file's name.
_MIME_OF_NAME = {
    "avi": "video/avi",
    "csv": "text/csv",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "flac": "audio/flac",
    "gif": "image/gif",
    "heic": "image/heic",
    "html": "text/html",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "md": "text/markdown",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "mpeg": "video/mpeg",
    "ogg": "audio/ogg",
    "pdf": "application/pdf",
    "png": "image/png",
    "txt": "text/plain",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webp": "image/webp",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_BEGINNINGS = (  # of the bytes; what says more than a family of formats is behind the first eight
    (b"\xff\xd8\xff", b"", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", b"", "image/png"),
    (b"GIF8", b"", "image/gif"),
    (b"RIFF", b"WEBP", "image/webp"),
    (b"RIFF", b"WAVE", "audio/wav"),
    (b"%PDF-", b"", "application/pdf"),
    (b"ID3", b"", "audio/mpeg"),
    (b"fLaC", b"", "audio/flac"),
)
_FORMATS = {  # of sound, as `input_audio.format` names them
    "aac": "audio/aac",
    "aiff": "audio/aiff",
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "opus": "audio/opus",
    "pcm16": "audio/pcm",
    "wav": "audio/wav",
    "webm": "audio/webm",
}
_FORMAT_OF = {mime: name for name, mime in _FORMATS.items()}


def mime_of_name(name: str) -> str:
    """By the end of the name of a file, or of a URL without its query; "" where it tells nothing."""
    return _MIME_OF_NAME.get(name.rpartition(".")[2].lower(), "")


def mime_of_data(data: str) -> str:
    """By the first bytes of base64, for images, audio and PDF; "" where they tell nothing."""
    try:
        first = base64.b64decode(data[:24])
    except ValueError:
        return ""
    found = (mime for start, inner, mime in _BEGINNINGS if first.startswith(start) and first[8:].startswith(inner))
    return next(found, "")


def audio_mime(format: str) -> str:
    """The media type of a sound, or of anything where `format` is a media type itself; "" where it is empty."""
    return format.lower() if "/" in format else _FORMATS.get(format, f"audio/{format}" if format else "")


def audio_format(mime: str) -> str:
    """The name that `audio_mime` gives it back from."""
    return _FORMAT_OF.get(mime, mime)


def text_in(data: str) -> str | None:
    """The text in base64; None where it is no base64, or no UTF-8."""
    try:
        return bytes_in(data).decode()
    except ValueError:
        return None


_STEP = 3 << 18  # bytes that are put in base64, or taken out of it, in one go: every other thread waits meanwhile
_FOREIGN = re.compile(r"[^A-Za-z0-9+/=]+")


def base64_of(data: bytes) -> str:
    if len(data) <= _STEP:
        return base64.b64encode(data).decode()
    return "".join([base64.b64encode(data[at : at + _STEP]).decode() for at in range(0, len(data), _STEP)])


def bytes_in(data: str) -> bytes:
    """The bytes in base64, as Python reads it: what is no character of it is passed over, and it ends at its padding.

    Raises ValueError.
    """
    if len(data) <= _STEP:
        return base64.b64decode(data)
    parts: list[bytes] = []
    left = ""
    for at in range(0, len(data), _STEP):
        left += _FOREIGN.sub("", data[at : at + _STEP])
        if "=" in left:
            parts.append(base64.b64decode(left))
            return b"".join(parts)
        whole = len(left) & ~3
        parts.append(base64.b64decode(left[:whole]))
        left = left[whole:]
    parts.append(base64.b64decode(left))
    return b"".join(parts)


def data_uri(mime: str, data: str) -> str:
    """`data`: base64."""
    return f"data:{mime};base64,{data}"


def of_data_uri(uri: str, place: str) -> tuple[str, str]:
    """Media type (in lower case, "" without one) and base64 of a `data:` URI (RFC 2397). Raises InvalidRequest."""
    head, comma, data = uri[5:].partition(",")
    if not comma or not data:
        raise InvalidRequest(f"`{place}` is a data URI without data.", param=place)
    head = head.lower()
    if head.endswith(";base64"):
        return head[:-7], data
    return head, base64_of(unquote_to_bytes(data))


# The beginning of a data URI as the value of a field in JSON: nothing of the kind that stands in a text.
_HEAD = re.compile(rb'"(?:image_)?url"\s*:\s*"data:([^",;]*)(?:;[^",]*)?$')
_BASE64 = b";base64,"
_HEAD_LENGTH = 200


def relabelled(said: bytes) -> bytes | None:
    """JSON in which images in data URIs are called what their bytes show; None where they are.

    Some hosts refuse an image that is called otherwise, and clients go by the name of its file.
    """
    kept: list[bytes] = []
    done, at = 0, said.find(_BASE64)
    while at >= 0:
        head = _HEAD.search(said, max(0, at - _HEAD_LENGTH), at)
        first = said[at + len(_BASE64) : at + 80].replace(b"\\/", b"/")[:24]
        shown = mime_of_data(first.decode("latin-1")).encode() if head else b""
        if head and shown.startswith(b"image/") and shown != head[1].lower().replace(b"\\/", b"/"):
            kept += [said[done : head.start(1)], shown]
            done = head.end(1)
        at = said.find(_BASE64, at + 1)
    return b"".join([*kept, said[done:]]) if kept else None
