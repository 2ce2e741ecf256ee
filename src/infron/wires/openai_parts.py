"""The parts of content of the chat wire as neutral parts, and back: texts, pictures, sounds, films, documents, marks.

It never knows which message a part is in, and never looks into a picture or a document beyond its first bytes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from infron.conversation import Cache, Media, Part, Text, Thinking
from infron.errors import InvalidRequest, Unsupported

# ---- members of a request, each with the place that an error names


def wrong(place: str, wanted: str) -> InvalidRequest:
    return InvalidRequest(f"`{place}` must be {wanted}.", param=place)


def list_of(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise wrong(place, "an array")
    return value


def object_of(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(place, "an object")
    return value


def objects_of(value: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of an array, each with its place."""
    for index, item in enumerate([] if value is None else list_of(value, place)):
        inner = f"{place}[{index}]"
        yield inner, object_of(item, inner)


def string_of(values: Mapping[str, Any], name: str, place: str, required: bool = False) -> str:
    """A string member; null is absent, and absent is "" unless it is `required`."""
    value = values.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str):
        raise wrong(f"{place}.{name}", "a string")
    return value


def cache_of(values: Mapping[str, Any], place: str) -> Cache:
    value = values.get("cache_control")
    if value is None:
        return ""
    place += ".cache_control"
    control = object_of(value, place)
    if control.get("type") != "ephemeral":
        raise wrong(f"{place}.type", "ephemeral")
    ttl: Cache = control.get("ttl") or "5m"
    if ttl not in ("5m", "1h"):
        raise wrong(f"{place}.ttl", "5m or 1h")
    return ttl


# ---- parts of content

Kind = Literal["image", "audio", "video", "document"]

_TEXTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
# Type of the part -> kind, and the member that holds it; where that is missing it stands in the part itself.
_MEDIA: dict[str, tuple[Kind, str]] = {
    "audio_url": ("audio", "audio_url"),
    "file": ("document", "file"),
    "image_url": ("image", "image_url"),
    "input_audio": ("audio", "input_audio"),
    "input_file": ("document", "file"),
    "input_image": ("image", "image_url"),
    "input_video": ("video", "video_url"),
    "video_url": ("video", "video_url"),
}
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
_MIME_OF_NAME = {
    "csv": "text/csv",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "html": "text/html",
    "md": "text/markdown",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_PDF = base64.b64encode(b"%PDF-")[:6].decode()


def parts_of(value: Any, place: str) -> list[Part]:
    """The parts of `content`; empty texts, which hosts refuse, are none."""
    if isinstance(value, str):
        return [Text(value)] if value else []
    if value is not None and not isinstance(value, list):
        raise wrong(place, "a string or an array of parts")
    parts = (_part(item, inner) for inner, item in objects_of(value, place))
    return [part for part in parts if part is not None]


def _part(item: dict[str, Any], place: str) -> Part | None:
    type = string_of(item, "type", place, required=True)
    if type in _TEXTS:
        text = string_of(item, _TEXTS[type], place, required=True)
        return Text(text, cache_of(item, place)) if text else None
    if type == "thinking":
        inner = item.get("thinking")
        pieces = inner if isinstance(inner, list) else [{"text": inner}]
        text = "".join(string_of(object_of(piece, place), "text", place) for piece in pieces)
        thought = Thinking(text=text, signature=string_of(item, "signature", place))
        return thought if thought != Thinking() else None
    if type not in _MEDIA:
        raise Unsupported(f"`{place}` is of a type that this provider does not take.", param=f"{place}.type")
    kind, name = _MEDIA[type]
    source = item.get(name)
    if source is None or isinstance(source, str):
        return _media(kind, item if source is None else {**item, "url": source}, cache_of(item, place), place)
    return _media(kind, object_of(source, f"{place}.{name}"), cache_of(item, place), f"{place}.{name}")


def _media(kind: Kind, source: dict[str, Any], cache: Cache, place: str) -> Media:
    values = {name: string_of(source, name, place) for name in ("url", "data", "file_url", "file_data", "file_id")}
    where = values["url"] or values["data"] or values["file_data"] or values["file_url"]
    name, format = string_of(source, "filename", place), string_of(source, "format", place)
    mime = audio_mime(format)
    data = url = text = ""
    if where[:5].lower() == "data:":
        inner, data = of_data_uri(where, place)
        mime = inner or mime
    elif "://" in where[:40] or values["url"] or values["file_url"]:
        url = where
    else:
        data = where
    if data and kind == "document":
        if mime in ("", "application/octet-stream"):
            mime = (
                "application/pdf" if data.startswith(_PDF) else _MIME_OF_NAME.get(name.lower().rpartition(".")[2], "")
            )
        kind = _KINDS.get(mime.partition("/")[0], kind)
        if mime.startswith("text/"):
            mime = mime.partition(";")[0]
            text = _plain(data, place)
            data = "" if text else data
    if not (data or url or text or values["file_id"]):
        raise InvalidRequest(f"`{place}` holds nothing: send data, a URL or the id of a file.", param=place)
    return Media(
        kind=kind,
        mime=mime,
        data=data,
        url=url,
        file_id="" if data or url or text else values["file_id"],
        text=text,
        name=name,
        detail=string_of(source, "detail", place),
        cache=cache,
    )


_KINDS: dict[str, Kind] = {"audio": "audio", "image": "image", "video": "video"}


def _plain(data: str, place: str) -> str:
    try:
        return base64.b64decode(data).decode()
    except binascii.Error:
        raise InvalidRequest(f"`{place}` is not valid base64.", param=place) from None
    except UnicodeDecodeError:
        return ""


def audio_mime(format: str) -> str:
    """The media type of a sound, or of anything where `format` is a media type itself; "" where it is empty."""
    return format.lower() if "/" in format else _FORMATS.get(format, f"audio/{format}" if format else "")


def audio_format(mime: str) -> str:
    """The name that `audio_mime` gives it back from."""
    return _FORMAT_OF.get(mime, mime)


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
    return head, base64.b64encode(unquote_to_bytes(data)).decode()


# ---- to the wire


def written(parts: Iterable[Part]) -> str | list[dict[str, Any]]:
    """`content` of these texts and media: a string where that says it all. Other parts have their own members."""
    items = [part for part in parts if isinstance(part, Text | Media) and part != Text("")]
    if not items:
        return ""
    if len(items) == 1 and isinstance(items[0], Text) and not items[0].cache:
        return items[0].text
    return [_object_of_part(item) for item in items]


def cache_control(cache: Cache) -> dict[str, Any]:
    """The member `cache_control`, or none."""
    if not cache:
        return {}
    return {"cache_control": {"type": "ephemeral"} if cache == "5m" else {"type": "ephemeral", "ttl": cache}}


def _object_of_part(part: Text | Media) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text, **cache_control(part.cache)}
    type = _TYPE_OF_KIND[part.kind]
    source = {"file_id": part.file_id, "filename": part.name, "detail": part.detail}
    named = type == "input_audio" and not part.url
    if named:
        source |= {"data": part.data, "format": audio_format(part.mime)}
    elif part.data:
        source["file_data" if type == "file" else "url"] = data_uri(part.mime, part.data)
    elif part.text:
        source["file_data"] = data_uri(part.mime or "text/plain", base64.b64encode(part.text.encode()).decode())
    else:
        source |= {"file_url" if type == "file" else "url": part.url, "format": part.mime}
    return {
        "type": type,
        type: {name: value for name, value in source.items() if value},
        **cache_control(part.cache),
    }


_TYPE_OF_KIND = {"audio": "input_audio", "document": "file", "image": "image_url", "video": "video_url"}
