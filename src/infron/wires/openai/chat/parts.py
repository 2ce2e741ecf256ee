"""The parts of content of the chat wire as neutral parts, and back: texts, pictures, sounds, films, documents, marks.

It never knows which message a part is in, and never reads what is in a picture or a document.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from infron.conversation import Cache, Media, Part, Text, Thinking
from infron.errors import InvalidRequest, Unsupported
from infron.wires.media import (
    audio_format,
    audio_mime,
    base64_of,
    bytes_in,
    data_uri,
    mime_of_data,
    mime_of_name,
    of_data_uri,
)
from infron.wires.request_fields import cache_control, cache_of, object_of, objects_of, string_of, wrong

# ---- parts of content

Kind = Literal["image", "audio", "video", "document"]

_TEXTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
# Type of the part -> kind, and the field that holds it; where that is missing it stands in the part itself.
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
        cache = cache_of(item, place)
        return Text(text, cache) if text or cache else None
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
    if data and mime in ("", "application/octet-stream"):
        mime = mime_of_data(data) or ("" if kind != "document" else mime_of_name(name))
    if data and kind == "document":
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
        return bytes_in(data).decode()
    except UnicodeDecodeError:
        return ""
    except ValueError:
        raise InvalidRequest(f"`{place}` is not valid base64.", param=place) from None


# ---- to the wire


def written(parts: Iterable[Part]) -> str | list[dict[str, Any]]:
    """`content` of these texts and media: a string where that says it all. Other parts have their own fields."""
    items = [part for part in parts if isinstance(part, Text | Media) and part != Text("")]
    if not items:
        return ""
    if len(items) == 1 and isinstance(items[0], Text) and not items[0].cache:
        return items[0].text
    return [_object_of_part(item) for item in items]


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
        source["file_data"] = data_uri(part.mime or "text/plain", base64_of(part.text.encode()))
    else:
        source |= {"file_url" if type == "file" else "url": part.url, "format": part.mime}
    return {
        "type": type,
        type: {name: value for name, value in source.items() if value},
        **cache_control(part.cache),
    }


_TYPE_OF_KIND = {"audio": "input_audio", "document": "file", "image": "image_url", "video": "video_url"}
