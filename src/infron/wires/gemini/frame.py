"""What one frame of Gemini's stream holds, and what of it means what on the chat wire.

It never knows which frames came before.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from infron.wires.gemini.usage import UsageMetadata
from infron.wires.lenient_json import dict_in, dicts_in


class Call(Struct, gc=False):
    name: Any = None
    id: Any = None
    args: Raw = Raw(b"")


class Blob(Struct, gc=False):
    mimeType: Any = None
    data: Any = None


class Part(Struct, gc=False):
    text: Any = None
    thought: Any = None
    thoughtSignature: Any = None
    functionCall: Call | None = None
    inlineData: Blob | None = None
    executableCode: Any = None
    codeExecutionResult: Any = None


class Content(Struct, gc=False):
    parts: list[Part] | None = None


class Candidate(Struct, gc=False):
    content: Content | None = None
    finishReason: Any = None
    index: Any = None
    groundingMetadata: Any = None


class Frame(Struct, gc=False):
    candidates: list[Candidate] | None = None
    usageMetadata: UsageMetadata | bool | int | float | str | list[Any] | None = None  # what is no object is none
    promptFeedback: Any = None
    responseId: Any = None
    modelVersion: Any = None
    error: Any = None


FRAMES = msgspec.json.Decoder(Frame)
decode = FRAMES.decode
ITEMS = msgspec.json.Decoder(list[Raw])

# What is not here is a failure, but for UNSPECIFIED, which says nothing.
FINISH = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "LANGUAGE": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
UNSPECIFIED = "FINISH_REASON_UNSPECIFIED"


def places_of(metadata: dict[str, Any]) -> dict[int, tuple[int, int]]:
    """Number of a source -> where the text first cites it, in bytes."""
    places: dict[int, tuple[int, int]] = {}
    for support in dicts_in(metadata, "groundingSupports"):
        segment, numbers = dict_in(support, "segment"), support.get("groundingChunkIndices")
        if not isinstance(numbers, list):
            continue
        start, end = segment.get("startIndex", 0), segment.get("endIndex")
        if start.__class__ is int and end.__class__ is int and 0 <= start <= end:
            for number in numbers:
                if number.__class__ is int:
                    places.setdefault(number, (start, end))
    return places
