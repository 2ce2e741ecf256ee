"""An endpoint's answer by the rules of ASGI: a body in, and one piece out, or many, as fast as the client takes them.

It never knows which endpoint answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response as Answer

from infron.request import Headers
from infron.runtime.server.request import HttpRequest
from infron.runtime.server.response import Response

Message = MutableMapping[str, Any]


class AsgiCall:
    """The producer of one response: a task, which ends when the client leaves, and waits while it takes nothing.

    `body`: the request's, until it is taken; of one that is encoded it is yet to be set.
    """

    def __init__(self, request: HttpRequest, response: Response) -> None:
        self._task: asyncio.Task[None] | None = None
        self._scope = _scope_of(request)
        self._response = response
        self._status = 0
        self._headers: Headers = []
        self.body: bytes | None = None if request.coding else request.take_body()
        self._writable = asyncio.Event()
        self._writable.set()

    def run(self, task: asyncio.Task[None]) -> None:
        self._task = task
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._task = None  # one that was cancelled holds its frame, and so this

    # ---- from the connection

    def client_gone(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def client_paused(self) -> None:
        self._writable.clear()

    def client_resumed(self) -> None:
        self._writable.set()

    # ---- towards the endpoint

    async def _receive(self) -> Message:
        """The body in one piece. Nothing comes after it: of a client that leaves the task hears by its end."""
        body, self.body = self.body, None
        if body is None:
            await asyncio.get_running_loop().create_future()
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [(name, value) for name, value in message["headers"] if name != b"content-length"]
            return
        response, data, more = self._response, message.get("body", b""), message.get("more_body", False)
        if not response.started and not more:
            response.send(self._status, self._headers, data)
            return
        if not response.started:
            response.open(self._status, self._headers)
            if self._scope["method"] == "HEAD":
                raise asyncio.CancelledError  # nobody will read what would follow
        if response.cut:
            raise OSError("the client has left")
        if more and data:
            response.write(data)
            await asyncio.sleep(0)  # a client that takes everything at once is no reason to serve nobody else
            await self._writable.wait()
        elif not more:
            response.finish(data)

    def request(self) -> Request:
        return Request(self._scope, self._receive)

    async def give(self, answer: Answer) -> None:
        """Send an endpoint's response, and wait until it is handed over."""
        try:
            await answer(self._scope, self._receive, self._send)
        finally:
            close = getattr(getattr(answer, "body_iterator", None), "aclose", None)
            if close is not None:  # what it holds is let go now, not when the collector finds it
                await close()


def _scope_of(request: HttpRequest) -> Message:
    host = request.named.get(b"host", b"localhost")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1" if request.chunked else "1.0",
        "method": request.method.decode("latin-1"),
        "scheme": "http",
        "path": request.path.decode("utf-8", "replace"),
        "raw_path": request.path,
        "query_string": request.query,
        "root_path": "",
        "headers": [(b"host", host), *((name, value) for name, value in request.headers if name != b"host")],
        "client": None,
        "server": None,
        "state": {},
        "path_params": dict(request.place.params),
    }
