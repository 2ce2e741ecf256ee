"""What a caller asks for in the gateway's own headers.

It never knows what comes of it, nor what stands in the body.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from infron.errors import InvalidRequest

ON_DISCONNECT, KEEP_ALIVE = b"x-infron-on-disconnect", b"x-infron-keep-alive"


class Asked(Struct, frozen=True):
    """None: nothing is asked for. `keep_alive`: signs of life before an answer that is not streamed."""

    on_disconnect: str | None = None
    keep_alive: bool | None = None

    def signs_of_life(self, default: bool) -> bool:
        return default if self.keep_alive is None else self.keep_alive


NOTHING = Asked()


def asked_in(headers: Mapping[bytes, bytes]) -> Asked:
    """`headers`: names in lower case. Raises InvalidRequest."""
    if ON_DISCONNECT not in headers and KEEP_ALIVE not in headers:
        return NOTHING
    leaving = _one_of(headers, ON_DISCONNECT, "X-Infron-On-Disconnect", ("cancel", "drain"))
    alive = _one_of(headers, KEEP_ALIVE, "X-Infron-Keep-Alive", ("true", "false"))
    return Asked(on_disconnect=leaving, keep_alive=None if alive is None else alive == "true")


def _one_of(headers: Mapping[bytes, bytes], name: bytes, shown: str, words: tuple[str, str]) -> str | None:
    value = headers.get(name, b"").decode("latin-1").strip().lower()
    if not value or value in words:
        return value or None
    raise InvalidRequest(f"`{shown}` must be `{words[0]}` or `{words[1]}`.", param=shown)
