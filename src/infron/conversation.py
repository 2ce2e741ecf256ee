"""What is said to a model, in neutral values: turns and their parts, tools, and how the answer shall be.

It never knows a wire format: each wire builds it from a request, or a request from it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

# Whose thinking is whose, as `reasoning_details` of the chat API names it. Thinking that is signed or encrypted means
# nothing to another model family.
CLAUDE = "anthropic-claude-v1"
GEMINI = "google-gemini-v1"  # also the format of the signature of a tool call
GEMINI_CALL = "google-gemini-v1:call"  # a thought that is none: the signature of the call behind it
CONVERSE = "bedrock-converse-v1"  # encrypted thinking of Claude as Converse wraps them, in base64 once more

Cache = Literal["", "5m", "1h"]  # keep everything up to here in the provider's cache, for so long


class Text(Struct, frozen=True):
    text: str
    cache: Cache = ""


class Media(Struct, frozen=True, kw_only=True):
    """A picture, a sound, a film or a document. One of `data` (base64), `url`, `file_id` and `text` says what it is.

    `mime`: "" where the request did not say. `text`: a document that is plain text. `name`: of the file.
    """

    kind: Literal["image", "audio", "video", "document"]
    mime: str = ""
    data: str = ""
    url: str = ""
    file_id: str = ""
    text: str = ""
    name: str = ""
    detail: str = ""
    cache: Cache = ""


class Thinking(Struct, frozen=True, kw_only=True):
    """What a model thought, to be given back to it unharmed: `text` and its `signature`, or `data` that is encrypted.

    `format`: whose it is, as `reasoning_details` names it (`anthropic-claude-v1` …); "" where nobody said.
    """

    text: str = ""
    signature: str = ""
    data: str = ""
    format: str = ""
    id: str = ""


class ToolCall(Struct, frozen=True, kw_only=True):
    """`arguments`: JSON as the model wrote it. `signature`: of the thinking behind it (Gemini)."""

    id: str
    name: str
    arguments: str
    signature: str = ""
    cache: Cache = ""


class ToolResult(Struct, frozen=True, kw_only=True):
    """`name`: of the tool, found by the call's id where the history holds that call, else ""."""

    call_id: str
    name: str = ""
    parts: tuple[Text | Media, ...] = ()
    failed: bool = False
    cache: Cache = ""


Part = Text | Media | Thinking | ToolCall | ToolResult
Role = Literal["system", "user", "assistant", "tool"]


class Message(Struct, frozen=True):
    """One message. `tool` messages hold tool results only; `system` stands for `developer` too."""

    role: Role
    parts: tuple[Part, ...]
    name: str = ""


class Tool(Struct, frozen=True, kw_only=True):
    """A function. `schema`: JSON Schema of its arguments, None where it takes none."""

    name: str
    description: str = ""
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    cache: Cache = ""


class NativeTool(Struct, frozen=True):
    """A tool of the provider's own, in its own JSON: it goes to no other wire."""

    raw: dict[str, Any]


class ResponseFormat(Struct, frozen=True, kw_only=True):
    """`json`: any object; `schema`: an object of this JSON Schema."""

    kind: Literal["json", "schema"]
    name: str = ""
    schema: dict[str, Any] | None = None
    strict: bool | None = None


Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class Reasoning(Struct, frozen=True, kw_only=True):
    """How much to think. `effort` None: not said; `max_tokens`: at most so many; `exclude`: think, but do not tell."""

    effort: Effort | None = None
    max_tokens: int | None = None
    exclude: bool = False


class Conversation(Struct, frozen=True, kw_only=True):
    """A request without its model.

    `tool_choice`: None where nothing was said; `tool_name` goes with `tool`. `stop`: none is ().
    `fields`: what else steers the answer, under neutral names (`temperature`, `top_k`, `user` …: those of OpenAI's chat
    API where it has one), and what only one provider knows, under its name there.
    `asked`: what the caller asks for, by neutral name (`stop`, or a name in `fields`), and how its own API calls that.
    `lost`: what was said and has no place here, as a receipt names it (`messages.server_tool_use`).
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool | NativeTool, ...] = ()
    tool_choice: Literal["auto", "none", "required", "tool"] | None = None
    tool_name: str = ""
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    response_format: ResponseFormat | None = None
    reasoning: Reasoning | None = None
    fields: dict[str, Any] = {}
    asked: dict[str, tuple[str, ...]] = {}
    lost: tuple[str, ...] = ()

    def left_out(self, takes: Collection[str]) -> tuple[str, ...]:
        """What a provider that takes these neutral names is not told, as the caller called it, sorted."""
        names = {name for neutral, names in self.asked.items() if neutral not in takes for name in names}
        return tuple(sorted(names.union(self.lost))) if names else self.lost


def signed_calls(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts with each signature on its call, where the API has no place for it there: it stood before it."""
    signature = ""
    for part in parts:
        if isinstance(part, Thinking) and part.format == GEMINI_CALL:
            signature = part.data
        elif isinstance(part, ToolCall) and signature:
            yield replace(part, signature=signature)
            signature = ""
        else:
            yield part


Turn = tuple[Literal["user", "assistant"], tuple[Part, ...]]


def system_of(messages: Iterable[Message]) -> tuple[Text, ...]:
    """The texts of all system messages, in order: for wires where they stand apart from the turns."""
    return tuple(
        part for message in messages if message.role == "system" for part in message.parts if isinstance(part, Text)
    )


def turns_of(messages: Iterable[Message]) -> tuple[Turn, ...]:
    """Alternating turns without the system messages: tool results are the user's, and come first in their turn."""
    turns: list[tuple[Literal["user", "assistant"], list[Part]]] = []
    for message in messages:
        if message.role == "system":
            continue
        who: Literal["user", "assistant"] = "assistant" if message.role == "assistant" else "user"
        if turns and turns[-1][0] == who:
            turns[-1][1].extend(message.parts)
        else:
            turns.append((who, list(message.parts)))
    for who, parts in turns:
        if who == "user":
            parts.sort(key=lambda part: not isinstance(part, ToolResult))
    return tuple((who, tuple(parts)) for who, parts in turns)
