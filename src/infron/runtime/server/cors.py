"""What pages of other origins are allowed: the headers that let a browser show them an answer.

It never knows what is asked or answered.
"""

from __future__ import annotations

from collections.abc import Mapping

from infron.request import Headers


def allow_origin(origin: bytes | None, allowed: list[str]) -> Headers:
    """The headers that let a page of this origin read an answer; for any other origin only what caches must know."""
    if "*" in allowed:
        grant: Headers = [(b"access-control-allow-origin", b"*")]
    elif origin is not None and origin.decode("latin-1") in allowed:
        grant = [(b"vary", b"origin"), (b"access-control-allow-origin", origin)]
    else:
        return [(b"vary", b"origin")]
    return [*grant, (b"access-control-expose-headers", b"x-generation-id")]


def preflight(method: bytes, asked: Mapping[bytes, bytes], allowed: list[str]) -> Headers | None:
    """What a browser is told when it asks whether it may ask; None if this request is no such question."""
    if not allowed or method != b"OPTIONS" or b"access-control-request-method" not in asked:
        return None
    if "*" not in allowed and asked.get(b"origin", b"").decode("latin-1") not in allowed:
        return []
    return [
        (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
        (b"access-control-allow-headers", asked.get(b"access-control-request-headers", b"authorization, content-type")),
        (b"access-control-max-age", b"600"),
    ]
