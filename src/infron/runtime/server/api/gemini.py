"""What clients of Gemini's API ask beside answers: `countTokens`, and the models in Google's form.

It never knows who counts. What is not offered here says so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from infron.catalog.definitions import Model
from infron.errors import InvalidRequest, NotFound
from infron.policy.access import Key
from infron.request import Target
from infron.runtime.exchange.prompt import Count
from infron.runtime.server.api.endpoint import ESTIMATED, Answering, Endpoint, json_response, number_in
from infron.runtime.server.api.models import Models
from infron.wires.gemini.client_request import bare

MOST_LISTED = 1_000
ANSWERING = ["generateContent", "streamGenerateContent", "countTokens"]
EMBEDDING = ["embedContent", "batchEmbedContents"]
_NOT_OFFERED = ("batchGenerateContent", "predict", "predictLongRunning")


def endpoints(models: Models, count: Callable[[bytes, Target, Key | None], Awaitable[Count]]) -> list[Endpoint]:
    """`count`: the tokens of a request that is not sent."""

    async def counted(request: Request, key: Key | None) -> Response:
        found = await count(await request.body(), Target(params=request.path_params), key)
        headers = {ESTIMATED: "true"} if found.estimated else None
        return Response(found.body, headers=headers, media_type="application/json")

    async def refused(request: Request, key: Key | None) -> Response:
        method = request.url.path.rpartition(":")[2]
        raise InvalidRequest(
            f"`{method}` is not offered here; {', '.join(ANSWERING + EMBEDDING)} are.", code="not_implemented"
        )

    listed, one = listing(models)
    found = [Endpoint("/v1beta/models", listed, root=True)]
    for version in ("/v1beta", "/v1"):
        path = version + "/models/{model:path}:"
        found.append(Endpoint(f"{path}countTokens", counted, "POST", takes_body=True, root=True))
        found += [Endpoint(path + name, refused, "POST", takes_body=True, root=True) for name in _NOT_OFFERED]
    return [*found, Endpoint("/v1beta/models/{id:path}", one, root=True)]


def listing(models: Models) -> tuple[Answering, Answering]:
    """What answers with the models in Google's form, and with one."""

    async def listed(request: Request, key: Key | None) -> Response:
        offered = await models.offered(key)
        first, size = number_in(request, "pageToken", 0), number_in(request, "pageSize", MOST_LISTED)
        end = first + max(1, min(size, MOST_LISTED))
        more = {"nextPageToken": str(end)} if end < len(offered) else {}
        return json_response({"models": [_shown(model) for model in offered[first:end]], **more})

    async def one(request: Request, key: Key | None) -> Response:
        wanted = bare(request.path_params["id"])
        model = await models.find(wanted, key)
        if model is None:
            raise NotFound(f"No model `{wanted[:200]}` is served here.", code="model_not_found", param="model")
        return json_response(_shown(model))

    return listed, one


def _shown(model: Model) -> dict[str, Any]:
    about: dict[str, Any] = {
        "name": f"models/{model.id}",
        "baseModelId": model.id,
        "version": "1",
        "displayName": model.name,
        "description": model.description,
        "inputTokenLimit": model.context_length,
        "outputTokenLimit": model.max_output,
    }
    methods = EMBEDDING if "embeddings" in model.output else ANSWERING
    return {**{name: value for name, value in about.items() if value}, "supportedGenerationMethods": methods}
