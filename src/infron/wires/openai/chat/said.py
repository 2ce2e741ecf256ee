"""One message of a chat history, looked into no further than it has to be, and written anew only where it was changed.

It never knows what a host takes.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from infron.wires.json_guard import fields_of

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_NULL = Raw(b"null")


class Said:
    """One message: its fields as they came, and those that were looked into. `changed`: it has to be written anew.

    `calls`: of a message of the model. `result`: the call that a message of a tool answers, as it names it.
    """

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.fields: dict[str, Any] = dict(fields_of(raw))
        self.role = str(_decode(self.fields.get("role", _NULL)))
        self.calls = self._list("tool_calls") if self.role == "assistant" else []
        self.result: Any = _decode(self.fields.get("tool_call_id", _NULL)) if self.role == "tool" else None
        self.changed = False

    def _list(self, name: str) -> list[Any]:
        raw = self.fields.get(name, _NULL)
        value = _decode(raw) if bytes(memoryview(raw)[:1]) == b"[" else None
        return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []

    def put(self, name: str, value: Any) -> None:
        self.fields[name] = value
        self.changed = True

    def written(self) -> Any:
        return self.fields if self.changed else self.raw


def made(role: str, **fields: Any) -> Said:
    """A message of ours."""
    return Said(Raw(_encode({"role": role, **fields})))


def is_list(value: Raw) -> bool:
    return bytes(memoryview(value)[:1]) == b"["


def content_of(said: Said) -> Any:
    """The content, decoded; "" for none."""
    content = said.fields.get("content", "")
    return (_decode(content) if isinstance(content, Raw) else content) or ""


def parts_in(content: Any) -> list[Any]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []
