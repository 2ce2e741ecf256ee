"""Messages on Amazon Bedrock's Converse wire: turns of content blocks, tool calls and results, media, cache points.

It never fetches what a URL names, and never looks into a picture or a document. Source: the service model
`bedrock-runtime` (2023-09-30) of the AWS SDKs, and what the service has been seen to refuse.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from msgspec import Raw

from infron.conversation import (
    CLAUDE,
    CONVERSE,
    Cache,
    Media,
    Message,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    turns_of,
)
from infron.errors import Unsupported
from infron.wires.bedrock.models import Traits
from infron.wires.media import base64_of, mime_of_data
from infron.wires.session import without_calls

Block = dict[str, Any]


def system_of(messages: Iterable[Message], traits: Traits) -> list[Block]:
    """All system messages, in order."""
    blocks: list[Block] = []
    for message in messages:
        for part in message.parts if message.role == "system" else ():
            if not isinstance(part, Text):
                raise Unsupported("Amazon Bedrock takes only text in system messages.", param="messages")
            if part.text.strip():
                blocks.append({"text": part.text})
                if part.cache and traits.caches:
                    blocks.append(cache_point(part.cache, traits))
    return blocks


def messages_of(messages: Iterable[Message], traits: Traits, with_tools: bool) -> list[dict[str, Any]]:
    """Alternating turns. Without tools in the request calls and results become text: the service refuses them then.

    Raises Unsupported for what Converse or the model cannot carry.
    """
    turns: list[tuple[str, list[Block]]] = []
    for who, parts in turns_of(messages if with_tools else without_calls(messages)):
        blocks = _Turn(who, traits).blocks(parts)
        if blocks and turns and turns[-1][0] == who:  # the turn between them came to nothing
            turns[-1][1].extend(blocks)
        elif blocks:
            turns.append((who, blocks))
    if turns and turns[-1][0] == "assistant" and "text" in (last := turns[-1][1][-1]):
        last["text"] = last["text"].rstrip()  # a beginning of the answer must not end in white space
    return [{"role": who, "content": blocks} for who, blocks in turns]


def cache_point(cache: Cache, traits: Traits) -> Block:
    return {"cachePoint": {"type": "default", **({"ttl": "1h"} if cache == "1h" and traits.hour else {})}}


def replayable(thought: Thinking) -> bool:
    """Whether thinking can be given back: only what proves itself to the model that thought it."""
    return thought.format in ("", CLAUDE, CONVERSE) and bool(thought.data or (thought.signature and thought.text))


class _Turn:
    """One turn under way."""

    def __init__(self, who: str, traits: Traits) -> None:
        self._who = who
        self._traits = traits
        self._names: set[str] = set()  # of documents

    def blocks(self, parts: Iterable[Part]) -> list[Block]:
        blocks: list[Block] = []
        for part in parts:
            block = self._block(part)
            if block is None:
                continue
            blocks.append(block)
            if not isinstance(part, Thinking) and part.cache and self._traits.caches:
                blocks.append(cache_point(part.cache, self._traits))
        if self._names and not any("text" in block for block in blocks):
            blocks.append({"text": "See the document."})  # one is refused where no text stands beside it
        return blocks

    def _block(self, part: Part) -> Block | None:
        if isinstance(part, Text):
            return {"text": part.text} if part.text.strip() else None
        if isinstance(part, Thinking):
            return _thought(part) if self._who == "assistant" else None
        if isinstance(part, ToolCall):
            return self._call(part)
        if isinstance(part, ToolResult):
            return self._result(part)
        if self._who == "assistant":
            raise Unsupported(f"Amazon Bedrock takes no {part.kind} in an assistant message.", param="messages")
        return self._media(part)

    def _call(self, call: ToolCall) -> Block:
        return {"toolUse": {"toolUseId": call.id, "name": call.name, "input": Raw(call.arguments.encode())}}

    def _result(self, result: ToolResult) -> Block:
        content: list[Block] = []
        for part in result.parts:
            if isinstance(part, Text):
                content += [{"text": part.text}] if part.text.strip() else []
            else:
                content.append(self._media(part))
        failed = {"status": "error"} if result.failed else {}
        return {"toolResult": {"toolUseId": result.call_id, "content": content or [{"text": "(empty)"}], **failed}}

    def _media(self, media: Media) -> Block:
        place = f"{'an' if media.kind in ('image', 'audio') else 'a'} {media.kind}"
        source = _source(media, place)
        format = _format(media)
        if format is None:
            said = media.mime or "of no stated media type"
            raise Unsupported(f"Amazon Bedrock does not take {place} that is {said}.", param="messages")
        if media.kind != "document":
            return {media.kind: {"format": format, "source": source}}
        return {"document": {"format": format, "name": self._name(media.name), "source": source}}

    def _name(self, name: str) -> str:
        """As the service allows it, and only once in a turn."""
        name = " ".join(_NO_DOCUMENT.sub(" ", name.rpartition(".")[0] or name).split())[:180] or "document"
        unique, count = name, 1
        while unique in self._names:
            count += 1
            unique = f"{name} {count}"
        self._names.add(unique)
        return unique


# ---- parts

_NO_DOCUMENT = re.compile(r"[^A-Za-z0-9\-()\[\]]")


def _thought(thought: Thinking) -> Block:
    if thought.data:
        data = thought.data
        if thought.format == CLAUDE:
            data = base64_of(data.encode())
        return {"reasoningContent": {"redactedContent": data}}
    return {"reasoningContent": {"reasoningText": {"text": thought.text, "signature": thought.signature}}}


# Subtype of the media type, without an x- before it -> Converse's own word, where they differ.
_FORMATS: dict[str, dict[str, str]] = {
    "image": {"jpg": "jpeg"},
    "audio": {"wave": "wav", "mpeg": "mp3", "l16": "pcm"},
    "video": {"quicktime": "mov", "matroska": "mkv", "ms-wmv": "wmv", "3gpp": "three_gp"},
    "document": {
        "msword": "doc",
        "vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
        "vnd.ms-excel": "xls",
        "vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
        "plain": "txt",
        "markdown": "md",
    },
}
_KNOWN = {
    "image": frozenset(("png", "jpeg", "gif", "webp")),
    "audio": frozenset(("mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "m4a", "mpga", "pcm", "webm")),
    "video": frozenset(("mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp")),
    "document": frozenset(("pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md")),
}


def _format(media: Media) -> str | None:
    mime = mime_of_data(media.data) or media.mime or ("text/plain" if media.text else "")
    subtype = mime.partition(";")[0].strip().lower().rpartition("/")[2].removeprefix("x-")
    if not subtype and media.url:
        subtype = media.url.rpartition(".")[2].lower()
    format = _FORMATS[media.kind].get(subtype, subtype)
    if media.text and media.mime.startswith("text/") and format not in _KNOWN["document"]:
        return "txt"
    return format if format in _KNOWN[media.kind] else None


def _source(media: Media, place: str) -> Block:
    if media.data:
        return {"bytes": media.data}
    if media.text:
        return {"bytes": base64_of(media.text.encode())}
    if media.url.startswith("s3://"):
        return {"s3Location": {"uri": media.url}}
    what = "by its URL, unless that is s3://…" if media.url else "by the id of a file"
    raise Unsupported(f"Amazon Bedrock does not take {place} {what}; send its data.", param="messages")
