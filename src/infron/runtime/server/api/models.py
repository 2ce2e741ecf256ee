"""`GET /v1/models`, `/v1/models/{id}` and `/v1/models/{id}/endpoints`: what can be asked, by the ids for `model`.

It never asks a provider: `exchange.discovery` does.

One list for OpenAI's libraries, Anthropic's, which want it in pages, and OpenRouter's, which refuse a model without any
of its fields.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from infron.catalog.aliases import Aliases
from infron.catalog.definitions import Model, Offer
from infron.catalog.load import Catalog
from infron.errors import InvalidRequest, NotFound
from infron.money import Price, usd_text
from infron.policy.access import Key
from infron.policy.permissions import EVERYTHING, Permissions
from infron.policy.routing import did_you_mean
from infron.runtime.server.api.endpoint import Answering, Endpoint, json_response, number_in

MOST_LISTED = 1_000
PriceOf = Callable[[Model, Offer], Price | None]
# What the wires carry to every provider, or name in the receipt where it stays out.
PARAMETERS = [
    "frequency_penalty", "include_reasoning", "max_tokens", "presence_penalty", "reasoning", "response_format", "seed",
    "stop", "structured_outputs", "temperature", "tool_choice", "tools", "top_p",
]  # fmt: skip
UNKNOWN = "-1"  # what OpenRouter says of a price that is not known beforehand
_PRICES = {
    "prompt": "prompt",
    "completion": "completion",
    "cached": "input_cache_read",
    "cache_write": "input_cache_write",
    "reasoning": "internal_reasoning",
    "prompt_image": "image",
    "prompt_audio": "audio",
    "search": "web_search",
}


class Known(Protocol):
    """Which models can be asked here."""

    async def offered(self) -> list[Model]: ...
    async def find(self, id: str, /) -> Model | None: ...


class Models:
    """The same, as far as a caller's key may use them, and with the providers that it may use."""

    def __init__(self, known: Known, aliases: Aliases) -> None:
        self._known = known
        self._aliases = aliases

    async def offered(self, key: Key | None) -> list[Model]:
        models = await self._known.offered()
        if key is None or key.permissions is EVERYTHING:
            return models
        return [shown for model in models if (shown := self._as_permitted(model, key.permissions)) is not None]

    async def find(self, id: str, key: Key | None) -> Model | None:
        model = await self._known.find(id)
        if model is None or key is None:
            return model
        return self._as_permitted(model, key.permissions)

    def _as_permitted(self, model: Model, permitted: Permissions) -> Model | None:
        if not any(permitted.model(model.id, name) for name in self._aliases.models_of(model.id)):
            return None
        offers = [offer for offer in model.served_by if permitted.provider(offer.provider)]
        return replace(model, served_by=offers) if offers else None


def endpoints(
    catalog: Catalog, models: Models, price_of: PriceOf, for_google: tuple[Answering, Answering]
) -> list[Endpoint]:
    """`price_of`: what a model costs now where it is offered; None if nobody says. `for_google`: what answers Google's
    own clients with the list, and with one.
    """

    async def found(request: Request, key: Key | None) -> Model:
        wanted = request.path_params["id"].strip("/")
        model = await models.find(wanted, key)
        if model is None:
            nearest = [name for name in catalog.nearest(wanted) if key is None or key.permissions.model(name)]
            what = f"No model `{wanted[:200]}` is served here.{did_you_mean(nearest)}"
            raise NotFound(what, code="model_not_found", param="model", nearest=nearest)
        return model

    async def listed(request: Request, key: Key | None) -> Response:
        if _is_google(request):
            return await for_google[0](request, key)
        offered = await models.offered(key)
        page, more = _page(offered, request)
        return json_response(
            {
                "object": "list",
                "data": [_shown(model, price_of(model, model.served_by[0])) for model in page],
                "has_more": more,
                "first_id": page[0].id if page else None,
                "last_id": page[-1].id if page else None,
                "total_count": len(offered),
                "links": {"next": None},
            }
        )

    async def one(request: Request, key: Key | None) -> Response:
        if _is_google(request):
            return await for_google[1](request, key)
        model = await found(request, key)
        return json_response(_shown(model, price_of(model, model.served_by[0])))

    async def served(request: Request, key: Key | None) -> Response:
        model = await found(request, key)
        offers = [_offered(model, offer, catalog, price_of(model, offer)) for offer in model.served_by]
        about = ("id", "name", "created", "description", "architecture")
        shown = _shown(model, None)
        return json_response({"data": {**{name: shown[name] for name in about}, "endpoints": offers}})

    return [
        Endpoint("/models", listed),
        Endpoint("/models/{id:path}/endpoints", served),
        Endpoint("/models/{id:path}", one),
    ]


def _is_google(request: Request) -> bool:
    return "x-goog-api-client" in request.headers or "x-goog-api-key" in request.headers


def _page(models: list[Model], request: Request) -> tuple[list[Model], bool]:
    """The models that are asked for, and whether more follow: all of them, unless a page is asked for."""
    asked = request.query_params
    places = {model.id: place for place, model in enumerate(models)}
    first, end = 0, len(models)
    for name in ("after_id", "before_id"):
        if (id := asked.get(name)) is not None and id not in places:
            raise InvalidRequest(f"`{name}` is no model of this list.", param=name)
    if (after := asked.get("after_id")) is not None:
        first = places[after] + 1
    if (before := asked.get("before_id")) is not None:
        end = places[before]
    limit = number_in(request, "limit", len(models), least=1)
    if "limit" in asked:
        limit = min(limit, MOST_LISTED)
    if before is not None and after is None:
        return models[max(first, end - limit) : end], end - limit > first
    return models[first : min(end, first + limit)], first + limit < end


def _shown(model: Model, price: Price | None) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "type": "model",
        "created": model.created,
        "created_at": datetime.fromtimestamp(model.created, UTC).isoformat().replace("+00:00", "Z"),
        "owned_by": model.id.partition("/")[0],
        "name": model.name,
        "display_name": model.name,
        "canonical_slug": model.id,
        "description": model.description,
        "context_length": model.context_length,
        "max_input_tokens": model.context_length,
        "max_tokens": model.max_output,
        "architecture": {
            "modality": f"{'+'.join(model.input)}->{'+'.join(model.output)}",
            "input_modalities": model.input,
            "output_modalities": model.output,
            "tokenizer": "Other",
            "instruct_type": None,
        },
        "pricing": _pricing(price),
        "top_provider": {
            "context_length": model.context_length,
            "max_completion_tokens": model.max_output,
            "is_moderated": False,
        },
        "per_request_limits": None,
        "supported_parameters": PARAMETERS,
        "default_parameters": None,
        "supported_voices": None,
        "links": {"details": f"/api/v1/models/{model.id}/endpoints"},
        "providers": [{"provider_slug": offer.provider, "model": offer.id} for offer in model.served_by],
        "supports_streaming": True,
    }


def _pricing(price: Price | None) -> dict[str, str]:
    """USD a token, in decimals; what has no price of its own is left out."""
    if price is None:
        return {"prompt": UNKNOWN, "completion": UNKNOWN}
    stated = ((shown, getattr(price, name)) for name, shown in _PRICES.items())
    prices = {shown: usd_text(amount) for shown, amount in stated if amount is not None}
    return {**prices, "request": usd_text(price.request)}


def _offered(model: Model, offer: Offer, catalog: Catalog, price: Price | None) -> dict[str, Any]:
    """How a provider serves a model. What is not measured is null."""
    name = catalog.providers[offer.provider].name
    return {
        "name": f"{name} | {model.id}",
        "model_id": model.id,
        "model_name": model.name,
        "provider_name": name,
        "tag": offer.provider,
        "context_length": model.context_length or 0,
        "max_completion_tokens": model.max_output,
        "max_prompt_tokens": None,
        "pricing": _pricing(price),
        "quantization": None,
        "status": 0,
        "supported_parameters": PARAMETERS,
        "supports_implicit_caching": False,
        "supports_tool_choice": dict.fromkeys(("auto", "function", "none", "required"), True),
        "supports_voice_cloning": False,
        **dict.fromkeys(
            ("latency_last_30m", "throughput_last_30m", "uptime_last_5m", "uptime_last_30m", "uptime_last_1d")
        ),
    }
