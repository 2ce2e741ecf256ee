"""What a request is for, whether its caller may ask it, and who answers: the relay or the application.

It never touches a connection: it is given a request, and the response to be filled.
"""

from __future__ import annotations

import asyncio
from typing import Any

from infron.errors import InfronError, InternalError, MethodNotAllowed, UnsupportedMediaType
from infron.policy.access import Key, KeyRing, is_json
from infron.policy.routing import asked_on_disconnect
from infron.runtime.exchange.exchange import error_answer
from infron.runtime.exchange.relay import Relay
from infron.runtime.server.application import ask
from infron.runtime.server.cors import preflight
from infron.runtime.server.request import HttpRequest, api_near
from infron.runtime.server.response import Response
from infron.wires.contract import ClientWire


class Admission:
    """What the last request of a connection that was let in showed, to which ring, and the key that it proved."""

    shown: tuple[bytes | None, ...] = ()
    ring: KeyRing | None = None
    key: Key | None = None


class Dispatch:
    """One for all connections of a process. `application`: the ASGI one for everything that is no stream."""

    def __init__(self, relay: Relay, application: Any) -> None:
        self._relay = relay
        self._application = application
        self._cors_origins = relay.config.server.cors_origins
        self._tasks: set[asyncio.Task[None]] = set()

    def admit(self, request: HttpRequest, before: Admission) -> None:
        """Sets the request's key, or raises InfronError."""
        if request.method == b"OPTIONS" and self._preflight(request) is not None:
            return
        if request.method != b"POST":
            raise MethodNotAllowed(f"{request.path.decode()} takes POST alone.", headers={"Allow": "POST"})
        named, ring = request.named, self._relay.ledger.keys
        shown = (named.get(b"host"), named.get(b"content-type"), named.get(b"authorization"), named.get(b"x-api-key"))
        if shown == before.shown and ring is before.ring:
            request.key = before.key
            return
        host = named.get(b"host")
        content_type = named.get(b"content-type", b"").decode("latin-1")
        request.key = self._relay.admit(named, None if host is None else host.decode("latin-1"), content_type)
        if not is_json(content_type):
            raise UnsupportedMediaType("The body must be JSON: send `Content-Type: application/json`.")
        before.shown, before.ring, before.key = shown, ring, request.key

    def begin(self, request: HttpRequest, response: Response) -> None:
        """Begin with the answer; it may be over on return."""
        if request.error is not None:
            self._refuse(response, request.error)
        elif request.api is not None and request.method == b"POST":
            self._begin_exchange(request, request.api, response)
        elif (granted := self._preflight(request)) is not None:
            response.send(204, granted, b"")
        else:
            task = self._relay.loop.create_task(self._ask_application(request, response))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def report_bug(self, doing: str, error: BaseException | None = None) -> InfronError:
        """Log it; what is returned may be told to the caller."""
        self._relay.report_bug(doing, error)
        return InternalError("The gateway failed; its log says where.")

    def _begin_exchange(self, request: HttpRequest, api: ClientWire, response: Response) -> None:
        try:
            wish = request.named.get(b"x-infron-on-disconnect")
            asked = asked_on_disconnect(wish.decode("latin-1")) if wish else None
            wanted = api.parse(request.take_body(), request.headers)
            response.exchange = self._relay.begin(wanted, request.key, response, asked)
            response.exchange.begin()
        except InfronError as error:
            response.exchange = None
            self._refuse(response, error)
        except Exception:
            failure = self.report_bug("starting an exchange")
            if response.exchange is None:
                self._refuse(response, failure)
            else:  # it may have a row in the ledger already, so it is not only answered but settled
                response.exchange.take_failure(failure)

    async def _ask_application(self, request: HttpRequest, response: Response) -> None:
        answer = await ask(self._application, request, self._relay)
        if not response.cut:
            response.send(*answer)

    def _refuse(self, response: Response, error: InfronError) -> None:
        self._relay.metrics.refused(error.error_type)
        response.answer(*error_answer(error, api_near(response.request.path)))

    def _preflight(self, request: HttpRequest) -> list[tuple[bytes, bytes]] | None:
        return preflight(request.method, request.named, self._cors_origins)
