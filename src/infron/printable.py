"""Text as a terminal or a log can show it: what they would obey, or hide, is written as an escape such as `\\u001b`.

It never judges what a text says, and never shortens it.
"""

from __future__ import annotations

import json
import re

# What a terminal obeys: control characters of both sets, and those that turn the direction of all text around them.
# Lone surrogates cannot be written at all; tag characters carry text that nobody sees.
_OBEYED = "\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff\\U000e0000-\\U000e007f"
_HIDDEN = "\\t\\n\\u061c\\u200b\\u200e\\u200f\\u2060-\\u2065\\u206a-\\u206f\\ufeff\\ufff9-\\ufffb"
_IN_TEXT = re.compile(f"[{_OBEYED}]")
_IN_LINE = re.compile(f"[{_OBEYED}{_HIDDEN}]")
_IN_JSON = re.compile(f"[{_OBEYED}{_HIDDEN}]".replace("\\t\\n", ""))


def line(text: str) -> str:
    """One line to read: a name, a sentence, a cell of a table. Line feeds and invisible characters are escaped, too."""
    return text if text.isprintable() else _IN_LINE.sub(_escape, text)


def prose(text: str) -> str:
    """Text of several lines: line feeds, tabs, and what scripts need to be written right stay. CR LF becomes LF."""
    return _IN_TEXT.sub(_escape, text.replace("\r\n", "\n"))


def in_json(document: bytes) -> bytes:
    """JSON with the same meaning."""
    if document.isascii() and b"\x7f" not in document:  # JSON itself escapes the other control characters
        return document
    return _IN_JSON.sub(lambda found: json.dumps(found[0])[1:-1], document.decode()).encode()


def _escape(found: re.Match[str]) -> str:
    """As TOML, JSON and Python write it, but for what lies beyond U+FFFF, which is as TOML and Python do."""
    code = ord(found[0])
    return json.dumps(found[0])[1:-1] if code <= 0xFFFF else f"\\U{code:08x}"
