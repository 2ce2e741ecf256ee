"""What stands at a path: a client API or endpoints.

It never knows who asks, nor what is answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct
from starlette.convertors import Convertor
from starlette.routing import compile_path

from infron.errors import InfronError, MethodNotAllowed, NotFound, UpgradeRequired
from infron.runtime.server.api.endpoint import Endpoint
from infron.wires import CLIENT_PATHS, CLIENT_WIRES
from infron.wires.contract import ClientWire

PREFIXES = ("/v1", "/api/v1")
_OFFERED = ", ".join(f"POST {path}" for api in CLIENT_WIRES.values() for path in api.PATHS)


class Place(Struct, frozen=True):
    """`api`: where exchanges start. `endpoints`: by method. `params`: what stands in the path for their `{name}`s."""

    api: ClientWire | None = None
    endpoints: Mapping[bytes, Endpoint] = {}
    params: Mapping[str, Any] = {}

    def takes_body(self, method: bytes) -> bool:
        """Whether an endpoint does."""
        endpoint = self.endpoints.get(method)
        return endpoint is not None and endpoint.takes_body

    def refusal(self, method: bytes, path: bytes, *, upgrades: bool = False) -> InfronError | None:
        """The error for a method that is not taken here. `upgrades`: it asks for a WebSocket."""
        if upgrades and self.api:
            what = f"{_shown(path)} offers no WebSocket: send each request by POST, over HTTP."
            return UpgradeRequired(what, headers={"Upgrade": "HTTP/1.1"})
        taken = (b"POST",) if self.api else tuple(self.endpoints)
        if method in taken:
            return None
        if not taken:
            return NotFound(
                f"There is nothing at {_shown(path)}. Here are {_OFFERED}, and GET /v1/models: the base address is this"
                " gateway's with /v1 for OpenAI's libraries, without it for Anthropic's."
            )
        allowed = ", ".join(sorted(name.decode() for name in taken))
        what = f"{_shown(path)} does not take {method.decode('latin-1')}; it takes {allowed}."
        return MethodNotAllowed(what, headers={"Allow": allowed})


NOWHERE = Place()
_CHAT = CLIENT_WIRES["openai-chat"]
_OPENROUTER = CLIENT_WIRES["openrouter"]


class Paths:
    """All places of the gateway. `exact`: those without a `{name}`, by their paths."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self.exact: dict[bytes, Place] = {path: Place(api=api) for path, api in CLIENT_PATHS.items()}
        self._patterns: dict[str, tuple[Any, dict[str, Convertor[Any]], dict[bytes, Endpoint]]] = {}
        found: dict[str, dict[bytes, Endpoint]] = {}
        for endpoint in endpoints:
            for prefix in ("",) if endpoint.root else PREFIXES:
                methods = found.setdefault(prefix + endpoint.path, {})
                methods[endpoint.method.encode()] = endpoint
                if endpoint.method == "GET":
                    methods[b"HEAD"] = endpoint
        for path, methods in found.items():
            if "{" in path:
                pattern, _, convertors = compile_path(path)
                self._patterns[path] = pattern, convertors, methods
            else:
                self.exact[path.encode()] = Place(endpoints=methods)

    def find(self, path: bytes) -> Place:
        """What stands at a path without percent-encoding; `NOWHERE` if nothing does.

        Base addresses end in a slash, lack `/v1` or have it twice, as the client's library wants it or not: what is
        meant is found all the same.
        """
        found = self.exact.get(path)
        if found is not None:
            return found
        text = path.decode("utf-8", "replace")
        return next((found for spelling in _spellings(text) if (found := self._at(spelling)) is not NOWHERE), NOWHERE)

    def _at(self, path: str) -> Place:
        return self.exact.get(path.encode()) or self._matching(path)

    def _matching(self, path: str) -> Place:
        for pattern, convertors, methods in self._patterns.values():
            if (match := pattern.match(path)) and all(value.strip("/") for value in match.groupdict().values()):
                params = {name: convertors[name].convert(value) for name, value in match.groupdict().items()}
                return Place(endpoints=methods, params=params)
        return NOWHERE


def _spellings(path: str) -> Iterator[str]:
    """The path as it stands, and what it may have been meant to be."""
    yield path
    parts = [part for part in path.split("/") if part]
    yield "/" + "/".join(parts)
    api = parts[:1] == ["api"]
    rest = parts[1:] if api else parts
    while rest[:1] == ["v1"]:
        rest = rest[1:]
    yield "/".join(("/api/v1" if api else "/v1", *rest))


def api_near(path: bytes) -> ClientWire:
    """In whose form an error is told: of a path below one that a client API has, in that one's, else as OpenAI does, or
    OpenRouter under its own prefix.
    """
    other = _OPENROUTER if path.startswith(b"/api/") else _CHAT
    return next((api for known, api in CLIENT_PATHS.items() if path.startswith(known)), other)


def _shown(path: bytes) -> str:
    return path[:200].decode("utf-8", "replace")
