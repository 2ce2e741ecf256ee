"""JSON of strangers, judged by a linear scan before anything of it is built: how deep, how many values, is it valid.

A parser written in C holds every other thread up while it reads, for seconds, and makes gigabytes of a body full of
brackets. So what is large is read here in bounded steps and never copied; only its small parts are parsed. It never
knows what the fields of a body mean.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

import msgspec
from msgspec import Raw

from infron.errors import InvalidRequest

LARGE = 64 << 10  # bytes; what has no more is parsed in one go
MOST_LIGHT, FEW_VALUES = 1 << 20, 40_000  # bytes of what is parsed in one go because it holds few values
MAX_DEPTH = 200  # of arrays and objects inside each other
MAX_LARGE_DEPTH = 16  # of the large ones among them: each is scanned for itself
# A body may have so many values: the first ones are free, beyond them each needs so many bytes of the body.
FREE_VALUES, BYTES_A_VALUE, MAX_VALUES = 20_000, 128, 150_000
# Of a body that is mostly numbers, such as tokens: these are small, and none is kept.
BYTES_A_NUMBER, MAX_NUMBERS = 2, 1_000_000
MAX_HALVES = 10_000  # of surrogate pairs, in all of a body

TOO_DEEP = f"The body is nested too deeply: more than {MAX_DEPTH} arrays and objects."
_TOO_MANY = "The body holds too many arrays, objects and other values for its size."
_SPACE = b" \t\n\r"
_CONTROLS = bytes(range(32))
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = [1 if byte in b"[{" else -1 for byte in range(256)]
_EVENT = re.compile(rb"[\[\]{},]")
_BAD_ESCAPE = re.compile(rb'\\(?:[^"/bfnrtu]|u(?![0-9a-fA-F]{4})|$)', re.DOTALL)
_NAME = re.compile(rb'[ \t\n\r]*("(?:[^"\\]|\\.)*")[ \t\n\r]*:[ \t\n\r]*', re.DOTALL)
_HIGH = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_HIGH_HALF = re.compile(_HIGH)
_HALF = re.compile(_HIGH + rb"(?!" + _LOW + rb")|(?<!" + _HIGH + rb")" + _LOW)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_items = msgspec.json.Decoder(list[Raw]).decode


def says_any(text: bytes, words: Iterable[bytes]) -> bool:
    """Whether one of these stands anywhere in it. `in` tries each as a number first, and takes ten times as long."""
    return max(map(text.find, words)) >= 0


def is_light(text: bytes) -> bool:
    """Whether it is parsed in one go, for that takes a few milliseconds at most."""
    if len(text) <= LARGE:
        return True
    if len(text) > MOST_LIGHT:
        return False
    # Each value begins behind a comma or a bracket. If there are many, some may stand in strings.
    few = min(FEW_VALUES, _most(len(text)))
    return _begun(text) <= few or not _holds_more(memoryview(text), few)


def _begun(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")


# ---- what is small


def strict(text: bytes, *, whole: bool = True) -> Any:
    """The value of a JSON text that is not large: a body, or (`whole` false) a part of one.

    One that comes out the same when it is written anew, as that of most libraries does, is faultless; of any other one
    the slower reader says what is wrong, and where.

    Raises InvalidRequest, also for a name that stands twice in one object.
    """
    try:
        value = _decode(text)
        if _encode(value) == text and not _too_deep(text, value):
            return value
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        decoded = text.decode()
        value = _slow(decoded)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is not UTF-8 (byte {error.start}); send JSON in UTF-8.") from None
    except json.JSONDecodeError as error:
        place = f" at line {error.lineno}, column {error.colno}" if whole else ""
        raise InvalidRequest(f"The body is not valid JSON: {error.msg}{place}.") from None
    except ValueError:  # Python reads no integer of more than 4,300 digits
        raise InvalidRequest("The body holds a number of thousands of digits.") from None
    except RecursionError:
        raise InvalidRequest(TOO_DEEP) from None
    if _too_deep(text, value):
        raise InvalidRequest(TOO_DEEP)
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _twice(name)
            seen.add(name)
    return fields


def _twice(name: str) -> InvalidRequest:
    name = name[:100].encode("utf-8", "replace").decode()
    return InvalidRequest(f"The body names `{name}` twice in one object; send it once.", param=name)


def _no_constant(name: str) -> Any:
    raise InvalidRequest(f"The body holds {name}, which is not JSON; send a number or null.")


_slow = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constant).decode


def _too_deep(text: bytes, value: Any) -> bool:
    if len(text) <= 2 * MAX_DEPTH:
        return False
    return text.count(b"[") + text.count(b"{") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH)


def _deeper_than(value: Any, depth: int) -> bool:
    level = [value]
    while level and depth:
        level = [
            inner
            for item in level
            for inner in (item.values() if item.__class__ is dict else item)
            if inner.__class__ is dict or inner.__class__ is list
        ]
        depth -= 1
    return bool(level)


# ---- what is large


def _count(text: memoryview, numbers: bool) -> None:
    """Raises InvalidRequest where a body holds more values than it may. `numbers`: it may be mostly numbers."""
    if _holds_more(text, _most(len(text), numbers)):
        raise InvalidRequest(_TOO_MANY)


def _most(size: int, numbers: bool = False) -> int:
    each, most = (BYTES_A_NUMBER, MAX_NUMBERS) if numbers else (BYTES_A_VALUE, MAX_VALUES)
    return min(most, FREE_VALUES + size // each)


def _holds_more(text: memoryview, most: int) -> bool:
    """Whether it holds more values than these, or more than twice as many strings: each is one, or the name of one."""
    strings, inside = 2 * most, 0
    for _, piece in pieces(text):
        parts = _unquoted(piece)
        between = filter(None, parts[inside::2])  # of what is empty a join would make much room
        inside = (inside + len(parts) - 1) % 2
        strings -= len(parts) // 2
        most -= _begun(b"".join(between))
        if most < 0 or strings < 0:
            return True
    return False


def _depths(text: bytes) -> tuple[int, int, int]:
    """How the depth changes between two strings: to the lowest, to the highest, in the end."""
    depths = list(accumulate(map(_STEP.__getitem__, text.translate(None, _ALL_BUT_BRACKETS)), initial=0))
    return min(depths), max(depths), depths[-1]


def large_fields(body: bytes, *, numbers: bool = False) -> dict[str, Raw]:
    """The fields of the object that a large body is, each as it stands there. The whole body is checked.

    `numbers`: it may be mostly numbers. Raises InvalidRequest.
    """
    check_utf8(body)
    text = trimmed(memoryview(body))
    if _kind(text) != b"{":
        raise InvalidRequest("The body must be a JSON object.")
    _count(text, numbers)
    return _fields_of(text, 0, check=True)


def without_halves(body: bytes, *, numbers: bool = False) -> tuple[bytes, tuple[str, ...]]:
    """A large body with U+FFFD for each half of a surrogate pair, and the names of the fields that held some.

    Raises InvalidRequest.
    """
    text = trimmed(memoryview(body))
    if _kind(text) != b"{" or not any(_has_halves(piece) for _, piece in pieces(text)):
        return body, ()
    _count(text, numbers)
    names: list[str] = []
    kept: list[bytes] = [b"{"]
    left = MAX_HALVES
    for start, end in _children(text):
        before = left
        for _, piece in pieces(text[start:end]):
            done = 0
            for found in _HALF.finditer(_plain(piece)):
                kept += (piece[done : found.start()], b"\\ufffd")
                done, left = found.end(), left - 1
            if left < 0:
                raise InvalidRequest("The body holds halves of surrogate pairs (\\ud800-\\udfff) by the thousand.")
            kept.append(piece[done:])
        if left < before:
            names.append(named(text[start:end])[0])
        kept.append(b",")
    kept[-1] = b"}"
    return b"".join(kept), tuple(names)


def _has_halves(piece: bytes) -> bool:
    return may_hold_halves(piece) and _HALF.search(_plain(piece)) is not None


def may_hold_halves(text: bytes) -> bool:
    return text.find(b"\\u") >= 0 and (text.find(b"\\ud") >= 0 or text.find(b"\\uD") >= 0)


def items_of(array: Raw) -> list[Raw]:
    """The items of an array that was checked before."""
    text = memoryview(array)
    if len(text) <= LARGE or (len(text) <= MOST_LIGHT and is_light(bytes(text))):
        return _items(array)
    items: list[Raw] = []
    for run, large in runs(text):
        items += [Raw(trimmed(run))] if large else _items(b"[%b]" % bytes(run))
    return items


def fields_of(value: Raw) -> dict[str, Raw]:
    """The fields of an object that was checked before."""
    text = memoryview(value)
    return _fields(value) if len(text) <= LARGE else _fields_of(text, 0, check=False)


def check_utf8(body: bytes) -> None:
    """Raises InvalidRequest."""
    decoder, place = codecs.getincrementaldecoder("utf-8")(), 0
    while place < len(body):
        piece = body[place : place + LARGE]
        held = len(decoder.getstate()[0])
        try:
            if held or not piece.isascii():
                decoder.decode(piece, place + len(piece) == len(body))
        except UnicodeDecodeError as error:
            where = place - held + error.start
            raise InvalidRequest(f"The body is not UTF-8 (byte {where}); send JSON in UTF-8.") from None
        place += len(piece)


def _check(text: memoryview, level: int) -> None:
    """A large value without space around it. What is inside is counted already."""
    kind = _kind(text)
    if kind == b'"':
        _check_string(text)
    elif level > MAX_LARGE_DEPTH:
        raise InvalidRequest(TOO_DEEP)
    elif kind == b"{":
        _fields_of(text, level, check=True)
    elif kind == b"[":
        for run, large in runs(text):
            _check(trimmed(run), level + 1) if large else strict(b"[%b]" % bytes(run), whole=False)
    else:
        raise _invalid("a number, or a word, of thousands of characters")


def _check_string(text: memoryview) -> None:
    if bytes(text[-1:]) != b'"' or len(text) < 2:
        raise _invalid("something follows a string")
    for _, piece in pieces(text[1:-1]):
        if len(piece.translate(None, _CONTROLS)) < len(piece):
            raise _invalid("a control character in a string; escape it")
        piece = _plain(piece)
        if b"\\" in piece and _BAD_ESCAPE.search(piece):
            raise _invalid("an escape in a string that JSON does not know")
        if b'"' in piece.replace(b'\\"', b"__"):
            raise _invalid("something follows a string")


def _fields_of(text: memoryview, level: int, *, check: bool) -> dict[str, Raw]:
    """`check`: it was not checked before."""
    fields: dict[str, Raw] = {}
    for run, large in runs(text):
        if large:
            name, value = named(run)
            if check:
                _check(value, level + 1)
            found = {name: Raw(value)}
        else:
            part = b"{%b}" % bytes(run)
            if check:
                strict(part, whole=False)
            found = _fields(part)
        if twice := fields.keys() & found.keys():
            raise _twice(min(twice))
        fields |= found
    return fields


def named(field: memoryview) -> tuple[str, memoryview]:
    """Name and value of one field of an object."""
    found = _NAME.match(bytes(field[:LARGE]))
    value = trimmed(field[found.end() :]) if found else field[:0]
    if found is None or not value:
        raise _invalid("an object has a field with no name, one that is too long, or no value")
    return str(strict(found[1], whole=False)), value


def runs(text: memoryview) -> Iterator[tuple[memoryview, bool]]:
    """What an array or an object holds: small children in runs, with the commas between them; each large one alone."""
    start = end = 0
    held = count = 0  # small children in the run that grows; children in all
    for left, right in _children(text):
        count += 1
        if held and (right - left > LARGE or right - start > LARGE):
            yield _filled(text[start:end], held), False
            held = 0
        if right - left > LARGE:
            yield text[left:right], True
        else:
            start, end, held = start if held else left, right, held + 1
    if held and not (count == 1 and _blank(text[start:end])):
        yield _filled(text[start:end], held), False


def _filled(run: memoryview, held: int) -> memoryview:
    if held == 1 and _blank(run):
        raise _invalid("a comma without a value beside it")
    return run


def _blank(text: memoryview) -> bool:
    return not bytes(text).strip(_SPACE)


def _children(text: memoryview) -> Iterator[tuple[int, int]]:
    """Where each child of an array or an object begins and ends, the space around it included."""
    known: dict[bytes, tuple[int, int, int]] = {}  # most of them are a comma or a colon
    child, depth, inside = 1, 1, 0
    for place, piece in pieces(text, 1):
        parts = _unquoted(piece)
        ends = list(accumulate(map(len, parts)))
        for number in range(inside, len(parts), 2):
            part = parts[number]
            seen = known.get(part)
            if seen is None:
                seen = _depths(part)
                if len(part) <= 32:
                    known[part] = seen
            low, high, net = seen
            if depth + high > MAX_DEPTH:
                raise InvalidRequest(TOO_DEEP)
            if depth + low >= 2:
                depth += net
                continue
            start = place + ends[number] - len(part) + number
            for what, at in ((event[0], start + event.start()) for event in _EVENT.finditer(part)):
                if what != b",":
                    depth += 1 if what in b"[{" else -1
                if not depth:
                    if at != len(text) - 1 or text[at] != text[0] + 2:  # [ and ], { and } are two apart
                        raise _invalid("a bracket that closes nothing")
                    yield child, at
                    return
                if what == b"," and depth == 1:
                    yield child, at
                    child = at + 1
        inside = (inside + len(parts) - 1) % 2
    raise _invalid("a string, an array or an object that does not end")


def pieces(text: memoryview, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """The text in bounded steps, with the place of each. No escape is parted, nor are two that make one character."""
    while start < len(text):
        piece = bytes(text[start : start + LARGE])
        if start + len(piece) < len(text):
            piece = piece[: _whole_escapes(piece)]
        yield start, piece
        start += len(piece)


def _plain(piece: bytes) -> bytes:
    """As long as before, each escaped backslash replaced: any other one then begins an escape."""
    return piece.replace(b"\\\\", b"__") if b"\\" in piece else piece


def _unquoted(piece: bytes) -> list[bytes]:
    """What stands between the quotes that begin and end strings: of any two neighbours one is inside a string."""
    return _plain(piece).replace(b'\\"', b"__").split(b'"')


def _whole_escapes(piece: bytes) -> int:
    end = piece.find(b"\\", len(piece) - 6)
    if end < 0:
        end = len(piece)
    elif not _begins_escape(piece, end):
        end += 1
    if _HIGH_HALF.fullmatch(piece, end - 6, end) and _begins_escape(piece, end - 6):
        end -= 6
    return end


def _begins_escape(piece: bytes, at: int) -> bool:
    """Whether this backslash is the first one of an escape."""
    return (at + 1 - len(piece[: at + 1].rstrip(b"\\"))) % 2 == 1


def _kind(text: memoryview) -> bytes:
    return bytes(text[:1])


def trimmed(text: memoryview) -> memoryview:
    """Without the space around it."""
    while text and not (kept := bytes(text[:LARGE]).lstrip(_SPACE)):
        text = text[LARGE:]
    if text:
        text = text[min(len(text), LARGE) - len(kept) :]
    while text and not (kept := bytes(text[-LARGE:]).rstrip(_SPACE)):
        text = text[:-LARGE]
    return text[: len(text) - min(len(text), LARGE) + len(kept)] if text else text


def _invalid(what: str) -> InvalidRequest:
    return InvalidRequest(f"The body is not valid JSON: {what}.")
