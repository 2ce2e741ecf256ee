"""What stands at a path: a client API or endpoints.

It never knows who asks, nor what is answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from starlette.convertors import Convertor
from starlette.routing import compile_path

from infron.errors import InfronError, MethodNotAllowed, NotFound, UpgradeRequired
from infron.request import NO_TARGET, Target
from infron.runtime.server.api.endpoint import Endpoint
from infron.wires import CLIENT_PATHS, CLIENT_WIRES
from infron.wires.contract import ClientWire

PREFIXES = ("/v1", "/api/v1")
_OFFERED = ", ".join(f"POST {api.PATHS[0].replace(':path}', '}')}" for api in CLIENT_WIRES.values())


class Place(Struct, frozen=True):
    """`api`: where exchanges start, and `target` what its request is sent to. `endpoints`: by method. `params`: what
    stands in the path for their `{name}`s.
    """

    api: ClientWire | None = None
    target: Target = NO_TARGET
    endpoints: Mapping[bytes, Endpoint] = {}
    params: Mapping[str, Any] = {}

    def takes_body(self, method: bytes) -> bool:
        """Whether an endpoint does."""
        endpoint = self.endpoints.get(method)
        return endpoint is not None and endpoint.takes_body

    def refusal(self, method: bytes, path: bytes, *, upgrades: bool = False) -> InfronError | None:
        """The error for a method that is not taken here. `upgrades`: it asks for a WebSocket."""
        if upgrades and self.api:
            what = f"{shown(path)} offers no WebSocket: send each request by POST, over HTTP."
            return UpgradeRequired(what, headers={"Upgrade": "HTTP/1.1"})
        taken = (b"POST",) if self.api else tuple(self.endpoints)
        if method in taken:
            return None
        if not taken and path.startswith(b"/admin"):
            return NotFound(
                f"There is nothing at {shown(path)}: docs/admin.md lists the paths of the admin API. It is at the port "
                "that `admin.port` sets; here only if `admin.shared` does."
            )
        if not taken or not path.strip(b"/"):  # what is sent to the page's address was meant for the API
            return NotFound(
                f"There is nothing at {shown(path)}. Here are {_OFFERED}, and GET /v1/models: the base address is this"
                " gateway's with /v1 for OpenAI's libraries, without it for Anthropic's."
            )
        allowed = ", ".join(sorted(name.decode() for name in taken))
        what = f"{shown(path)} does not take {method.decode('latin-1')}; it takes {allowed}."
        return MethodNotAllowed(what, headers={"Allow": allowed})


NOWHERE = Place()


class Paths:
    """All places of the gateway. `exact`: those without a `{name}`, by their paths."""

    def __init__(self, endpoints: Iterable[Endpoint], apis: Mapping[bytes, ClientWire] = CLIENT_PATHS) -> None:
        self.exact: dict[bytes, Place] = {}
        self._patterns: list[tuple[Any, dict[str, Convertor[Any]], Place]] = []
        for known, api in apis.items():
            path = known.decode()
            own = path if path in api.PATHS else path.removeprefix("/api")
            self._put(path, Place(api=api, target=Target(own)))
        found: dict[str, dict[bytes, Endpoint]] = {}
        for endpoint in endpoints:
            for prefix in ("",) if endpoint.root else PREFIXES:
                methods = found.setdefault(prefix + endpoint.path, {})
                methods[endpoint.method.encode()] = endpoint
                if endpoint.method == "GET":
                    methods[b"HEAD"] = endpoint
        for path, methods in found.items():
            self._put(path, Place(endpoints=methods))

    def _put(self, path: str, place: Place) -> None:
        if "{" in path:
            pattern, _, convertors = compile_path(path)
            self._patterns.append((pattern, convertors, place))
        else:
            self.exact[path.encode()] = place

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
        for pattern, convertors, place in self._patterns:
            if (match := pattern.match(path)) and all(value.strip("/") for value in match.groupdict().values()):
                params = {name: convertors[name].convert(value) for name, value in match.groupdict().items()}
                return replace(place, target=replace(place.target, params=params), params=params)
        return NOWHERE


def _spellings(path: str) -> Iterator[str]:
    """The path as it stands, and what it may have been meant to be."""
    yield path
    parts = [part for part in path.split("/") if part]
    yield "/" + "/".join(parts)
    api = parts[:1] == ["api"]
    rest = parts[1:] if api else parts
    version = "v1"
    while rest and rest[0] in _VERSIONS:
        version, rest = _VERSIONS[rest[0]], rest[1:]
    yield "/".join(("/api" if api else "", version, *rest))


_VERSIONS = {"v1": "v1", "v1alpha": "v1beta", "v1beta": "v1beta"}


def api_near(path: bytes) -> ClientWire:
    """In whose form an error is told at a path where no client API is: of the one that is nearest."""
    return max((known for known in _NEAR.items() if path.startswith(known[0])), key=lambda known: len(known[0]))[1]


_NEAR: dict[bytes, ClientWire] = {
    f"{prefix}{path}".encode(): api
    for api in CLIENT_WIRES.values()
    for path in api.NEAR
    for prefix in (("", "/api") if path.startswith("/v") else ("",))
}


def shown(path: bytes) -> str:
    """A path for a message, however long or odd it is."""
    return path[:200].decode("utf-8", "replace")
