"""`GET /v1/models` and `GET /v1/models/{id}`: what can be asked here, by the ids that `model` takes.

It never asks a provider: `exchange.discovery` does.
"""

from __future__ import annotations

from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from infron.catalog.definitions import Model
from infron.catalog.load import Catalog
from infron.errors import NotFound
from infron.policy.access import Key
from infron.policy.routing import did_you_mean
from infron.runtime.server.api.endpoint import Endpoint, json_response


class Models(Protocol):
    """Which models can be asked here."""

    async def offered(self) -> list[Model]: ...
    async def find(self, id: str, /) -> Model | None: ...


def endpoints(catalog: Catalog, models: Models) -> list[Endpoint]:
    async def listed(request: Request, key: Key | None) -> Response:
        return json_response({"object": "list", "data": [_shown(model) for model in await models.offered()]})

    async def one(request: Request, key: Key | None) -> Response:
        wanted = request.path_params["id"].strip("/")
        model = await models.find(wanted)
        if model is not None:
            return json_response(_shown(model))
        nearest = catalog.nearest(wanted)
        what = f"No model `{wanted[:200]}` is served here.{did_you_mean(nearest)}"
        raise NotFound(what, code="model_not_found", param="model", nearest=nearest)

    return [Endpoint("/models", listed), Endpoint("/models/{id:path}", one)]


def _shown(model: Model) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": model.id.partition("/")[0],
        "name": model.name,
        "description": model.description,
        "context_length": model.context_length,
        "architecture": {"input_modalities": model.input, "output_modalities": model.output},
        "top_provider": {"context_length": model.context_length, "max_completion_tokens": model.max_output},
        "providers": [{"provider_slug": offer.provider, "model": offer.id} for offer in model.served_by],
        "supports_streaming": True,
    }
