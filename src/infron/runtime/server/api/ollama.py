"""What Ollama's clients ask beside answers: the models, one of them, those that run, the version.

It never loads or changes a model: nothing runs here but what providers serve.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from infron.catalog.definitions import Model
from infron.errors import InvalidRequest, NotFound
from infron.policy.access import Key
from infron.runtime.server.api.endpoint import Endpoint, json_response
from infron.runtime.server.api.models import Models
from infron.wires import lenient_json
from infron.wires.ollama.client_request import bare

VERSION = "0.13.0"  # of the API that is spoken; clients ask whether it is new enough for them
_NOT_OFFERED = ("copy", "create", "pull", "push")


def endpoints(models: Models) -> list[Endpoint]:
    async def tags(request: Request, key: Key | None) -> Response:
        return json_response({"models": [_listed(model) for model in await models.offered(key)]})

    async def show(request: Request, key: Key | None) -> Response:
        body = lenient_json.value_of(await request.body())
        values = body if isinstance(body, dict) else {}
        wanted = values.get("model") or values.get("name")
        if not isinstance(wanted, str) or not wanted:
            raise InvalidRequest("`model` is missing.", param="model")
        model = await models.find(bare(wanted), key)
        if model is None:
            raise NotFound(f"model '{wanted[:200]}' not found", code="model_not_found", param="model")
        return json_response(_shown(model))

    async def running(request: Request, key: Key | None) -> Response:
        return json_response({"models": []})

    async def version(request: Request, key: Key | None) -> Response:
        return json_response({"version": VERSION})

    async def refused(request: Request, key: Key | None) -> Response:
        raise InvalidRequest(f"{request.url.path} is not offered here.", code="not_implemented")

    return [
        Endpoint("/api/tags", tags, root=True),
        Endpoint("/api/show", show, "POST", takes_body=True, root=True),
        Endpoint("/api/ps", running, root=True),
        Endpoint("/api/version", version, root=True),
        *(Endpoint(f"/api/{name}", refused, "POST", takes_body=True, root=True) for name in _NOT_OFFERED),
    ]


def _details(model: Model) -> dict[str, Any]:
    family = model.id.partition("/")[0]
    return {
        "parent_model": "",
        "format": "",
        "family": family,
        "families": [family],
        "parameter_size": "",
        "quantization_level": "",
    }


def _modified(model: Model) -> str:
    return datetime.fromtimestamp(model.created, UTC).isoformat().replace("+00:00", "Z")


def _listed(model: Model) -> dict[str, Any]:
    return {
        "name": model.id,
        "model": model.id,
        "modified_at": _modified(model),
        "size": 0,
        "digest": hashlib.sha256(model.id.encode()).hexdigest(),
        "details": _details(model),
    }


def _shown(model: Model) -> dict[str, Any]:
    family = model.id.partition("/")[0]
    info: dict[str, Any] = {"general.architecture": family, "general.basename": model.name}
    if model.context_length:
        info[f"{family}.context_length"] = model.context_length
    seeing = ["vision"] if "image" in model.input else []
    return {
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": _details(model),
        "model_info": info,
        "capabilities": ["completion", "tools", *seeing],
        "modified_at": _modified(model),
    }
