"""What a request is for, whether its caller may ask it, and who answers: an exchange or an endpoint.

It never touches a connection: it is given a request, and the response to be filled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from urllib.parse import parse_qsl

from msgspec.structs import replace

from infron.errors import InfronError, InternalError
from infron.policy.asked import asked_in
from infron.policy.routing import check_names
from infron.request import Headers, Request, Target
from infron.runtime.exchange.admission import ExchangeAdmission
from infron.runtime.exchange.context import AT_ONCE, Context
from infron.runtime.exchange.delivery import error_answer
from infron.runtime.exchange.exchange import Exchange
from infron.runtime.exchange.waiting import Waiting
from infron.runtime.server.admission import Admission, Admitted
from infron.runtime.server.api.endpoint import Endpoint
from infron.runtime.server.asgi import AsgiCall
from infron.runtime.server.body import coding_of, whole
from infron.runtime.server.cors import preflight
from infron.runtime.server.paths import Paths, api_near, shown
from infron.runtime.server.request import HttpRequest
from infron.runtime.server.response import Response
from infron.runtime.telemetry.bugs import report_bug
from infron.wires.contract import ClientWire
from infron.wires.openai.responses.recall import refers


class Dispatch:
    """One for all connections of a process."""

    def __init__(self, context: Context, paths: Paths) -> None:
        self.paths = paths
        self._context = context
        self._exchanges = ExchangeAdmission(context)
        self._admission = Admission(context.ledger, context.config.server.allowed_hosts)
        self._cors_origins = context.config.server.cors_origins
        self._tasks: set[asyncio.Task[None]] = set()

    def admit(self, request: HttpRequest, before: Admitted) -> None:
        """Set the request's key, or raise InfronError."""
        method, place, endpoint = request.method, request.place, None
        if place.api is None or method != b"POST":
            if self._preflight(request) is not None:
                return
            if refusal := place.refusal(method, request.path, upgrades=b"upgrade" in request.named):
                raise refusal
            endpoint = place.endpoints[method]
        if endpoint is None or not endpoint.open:
            self._admission.admit(request, before, admin=endpoint is not None and endpoint.admin)
        if request.keeps_body and (encoded := request.named.get(b"content-encoding")) is not None:
            request.coding = coding_of(encoded)

    def begin(self, request: HttpRequest, response: Response) -> None:
        """Begin with the answer; it may be over on return."""
        place = request.place
        if request.until and request.error is None:
            self._admission.judge_again(request)
        if request.error is not None:
            self._refuse(response, request.error)
        elif place.api is not None and request.method == b"POST":
            self._begin_exchange(request, place.api, response)
        elif (granted := self._preflight(request)) is not None:
            response.send(204, granted, b"")
        else:
            call = AsgiCall(request, response)
            response.producer = call
            call.run(self._run(self._ask(place.endpoints[request.method], call, response)))

    def report_bug(self, doing: str, error: BaseException | None = None) -> InfronError:
        """Log it; what is returned may be told to the caller."""
        report_bug(doing, error)
        return InternalError("The gateway failed; its log says where.")

    def _begin_exchange(self, request: HttpRequest, api: ClientWire, response: Response) -> None:
        """What takes long is read by a thread: streams must not wait for it."""
        if request.coding or request.size > AT_ONCE:
            read = partial(self._read, api, request.give_pieces(), request)
            self._run(self._read_then_begin(read, request, response))
            return
        try:
            wanted = api.parse(request.take_body(), request.headers, _target_of(request))
            if refers(wanted):
                self._run(self._read_then_begin(partial(self._recalled, wanted, request), request, response))
            else:
                self._start(wanted, request, response)
        except Exception as error:
            self._fail(response, self._told(error, "reading a request"))

    async def _read_then_begin(self, read: Callable[[], Request], request: HttpRequest, response: Response) -> None:
        try:
            wanted = await self._context.loop.run_in_executor(self._context.readers, read)
            if response.cut:
                return
            self._admission.judge_again(request)
            if request.error is not None:
                raise request.error
            self._start(wanted, request, response)
        except Exception as error:
            if not response.cut:
                self._fail(response, self._told(error, "reading a request"))

    def _read(self, api: ClientWire, pieces: list[bytes], request: HttpRequest) -> Request:
        """The request in a body. Raises InfronError."""
        body = whole(pieces, request.coding, self._context.config.limits.max_body_bytes)
        pieces.clear()  # else a body would be held twice
        return self._recalled(api.parse(body, request.headers, _target_of(request)), request)

    def _recalled(self, wanted: Request, request: HttpRequest) -> Request:
        """With what it refers to of earlier answers. Raises InfronError."""
        return self._context.memory.recall(wanted, request.key.id if request.key else None)

    def _start(self, wanted: Request, request: HttpRequest, response: Response) -> None:
        exchange: Exchange | Waiting | None = None
        try:
            check_names(wanted)
            asked = asked_in(request.named)
            response.producer = exchange = self._exchanges.begin(wanted, request.key, response, asked)
            if isinstance(exchange, Waiting):
                exchange.begin(partial(setattr, response, "producer"), partial(self._turn_away, response))
            else:
                exchange.begin()
        except InfronError as error:
            response.producer = None
            self._refuse(response, error)
        except Exception:
            failure = self.report_bug("starting an exchange")
            if exchange is None:
                self._refuse(response, failure)
            else:  # it may have a row in the ledger already, so it is not only answered but settled
                exchange.fail(failure)

    def _turn_away(self, response: Response, error: InfronError) -> None:
        """The ledger says no."""
        response.producer = None
        self._refuse(response, error)

    def _told(self, error: Exception, doing: str) -> InfronError:
        return error if isinstance(error, InfronError) else self.report_bug(doing, error)

    def _run(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._context.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _ask(self, endpoint: Endpoint, call: AsgiCall, response: Response) -> None:
        request = response.request
        try:
            if request.coding:
                limit, pieces = self._context.config.limits.max_body_bytes, request.give_pieces()
                call.body = await self._context.loop.run_in_executor(
                    self._context.readers, whole, pieces, request.coding, limit
                )
            answer = await endpoint.answer(call.request(), request.key)
            await call.give(answer)
        except Exception as error:
            if not response.cut:
                self._fail(response, self._told(error, f"answering {shown(request.path)}"))

    def _fail(self, response: Response, error: InfronError) -> None:
        """An endpoint could not answer, or no further."""
        if not response.started:
            self._refuse(response, error)
        elif response.producer is not None:
            response.hang_up()

    def _refuse(self, response: Response, error: InfronError) -> None:
        self._context.metrics.refused(error.error_type)
        request = response.request
        response.answer(*error_answer(error, request.place.api or api_near(request.path)))

    def _preflight(self, request: HttpRequest) -> Headers | None:
        return preflight(request.method, request.named, self._cors_origins)


def _target_of(request: HttpRequest) -> Target:
    target = request.place.target
    if not request.query:
        return target
    return replace(target, query=dict(parse_qsl(request.query.decode("latin-1"))))
