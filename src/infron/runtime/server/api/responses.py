"""What is kept of the Responses API: `GET` and `DELETE /v1/responses/{id}`, its input items; `cancel`, `/input_tokens`.

It never knows how an answer was made, nor shows one to another key than its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from datetime import datetime
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from infron.errors import InvalidRequest, NotFound
from infron.policy.access import Key
from infron.records import Outcome
from infron.request import Request as Asked
from infron.runtime.exchange.memory import Answer, Memory
from infron.runtime.ledger.receipts import Receipt
from infron.runtime.server.api.endpoint import ESTIMATED, Endpoint, json_response, number_in
from infron.wires.json_steps import value_in, written
from infron.wires.openai.responses import parse
from infron.wires.openai.responses.recall import input_items

MOST_LISTED = 100


def endpoints(
    memory: Memory,
    count: Callable[[Callable[[], Asked], Key | None], Awaitable[int]],
    stop: Callable[[str, Key | None], Awaitable[Receipt | None]],
    readers: Executor,
) -> list[Endpoint]:
    """`count`: the tokens of a request that is not sent; it is given how to read that. `stop`: a generation of a key.
    `readers`: for what is large.
    """

    async def found(request: Request, key: Key | None) -> Answer:
        id = request.path_params["id"]
        answer = await asyncio.get_running_loop().run_in_executor(readers, memory.find, _owner(key), id)
        if answer is None:
            raise _missing(id)
        return answer

    async def one(request: Request, key: Key | None) -> Response:
        if request.query_params.get("stream", "").lower() == "true":
            raise InvalidRequest("A response that is over is not streamed again: ask without `stream`.", param="stream")
        return Response((await found(request, key)).kept.response, media_type="application/json")

    async def cancelled(request: Request, key: Key | None) -> Response:
        """One that is over stays as it is."""
        id = request.path_params["id"]
        receipt = await stop(id, key)
        if receipt is not None and receipt.outcome is Outcome.COMPLETED:
            return Response((await found(request, key)).kept.response, media_type="application/json")
        told = {"id": id, "object": "response", "status": "cancelled", "output": [], "error": None}
        if receipt is not None:
            began = int(datetime.fromisoformat(receipt.created_at).timestamp())
            told |= {"created_at": began, "model": receipt.model}
        return json_response({**told, "parallel_tool_calls": True, "tool_choice": "auto", "tools": []})

    async def deleted(request: Request, key: Key | None) -> Response:
        id, loop = request.path_params["id"], asyncio.get_running_loop()
        here = memory.forget(_owner(key), id)
        if not here and not await loop.run_in_executor(readers, memory.forget_elsewhere, _owner(key), id):
            raise _missing(id)
        return json_response({"id": id, "object": "response", "deleted": True})

    async def items(request: Request, key: Key | None) -> Response:
        answer = await found(request, key)
        page = partial(_page, answer, request)  # of what may be as large as a request
        return Response(await asyncio.get_running_loop().run_in_executor(readers, page), media_type="application/json")

    async def tokens(request: Request, key: Key | None) -> Response:
        body = await request.body()
        counted = await count(lambda: memory.recall(parse(body, []), _owner(key)), key)
        told = {"object": "response.input_tokens", "input_tokens": counted}
        return json_response(told, headers={ESTIMATED: "true"})

    return [
        Endpoint("/responses/input_tokens", tokens, "POST", takes_body=True),
        Endpoint("/responses/{id}", one),
        Endpoint("/responses/{id}", deleted, "DELETE"),
        Endpoint("/responses/{id}/cancel", cancelled, "POST"),
        Endpoint("/responses/{id}/input_items", items),
    ]


def _owner(key: Key | None) -> str | None:
    return key.id if key else None


def _missing(id: str) -> NotFound:
    return NotFound(
        f"There is no response `{id[:100]}` that is kept here (any more), or it is not yours: the process that gave it "
        "keeps it for a while, unless `store` is false or the answer did not come to its end.",
        param="id",
    )


def _with_ids(answer: Answer) -> list[dict[str, Any]]:
    """The input items, each with its type and an id, as client libraries want them."""
    shown = []
    for place, raw in enumerate(input_items(answer.given)):
        item = value_in(raw)
        if isinstance(item, dict):
            own = item.get("id") or f"msg_{answer.id.rpartition('-')[2]}in{place:02d}"
            shown.append({**item, "type": item.get("type") or "message", "id": own, **_content(item)})
    return shown


def _content(item: dict[str, Any]) -> dict[str, Any]:
    """Content that is said in short, in parts."""
    said = item.get("content")
    if not isinstance(said, str):
        return {}
    kind = "output_text" if item.get("role") == "assistant" else "input_text"
    return {"content": [{"type": kind, "text": said}]}


def _page(answer: Answer, request: Request) -> bytes:
    """Its input items, the newest first, unless `order` is `asc`; at most `limit`, after the item `after`."""
    items, asked = _with_ids(answer), request.query_params
    limit = number_in(request, "limit", 20, least=1, most=MOST_LISTED)
    if asked.get("order", "desc") != "asc":
        items = items[::-1]
    if (after := asked.get("after")) is not None:
        places = [place for place, item in enumerate(items) if item["id"] == after]
        if not places:
            raise InvalidRequest("`after` is none of the items of this response.", param="after")
        items = items[places[0] + 1 :]
    page = items[:limit]
    first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
    more = len(items) > len(page)
    told = {"object": "list", "data": page, "first_id": first, "last_id": last, "has_more": more}
    return written(told, len(memoryview(answer.given)))
