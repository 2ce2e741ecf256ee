"""A body for Gemini as a request: at which address, with which headers, for how many answers.

It never knows what the body says beyond that.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from infron.catalog.definitions import Provider
from infron.request import Outgoing

TIERS = {"flex": "flex", "priority": "priority"}  # by the header or field that asks for it
_TIER_HEADER = "X-Vertex-AI-LLM-Shared-Request-Type"


def addressed(body: bytes, provider: Provider, provider_model: str, *, tier: str | None, wanted: Any) -> Outgoing:
    """An own id may be the name alone or its whole path (`models/…`, `tunedModels/…`). `tier`: to be asked for by a
    header. `wanted`: how many answers the body asks for, if it is a number.
    """
    path = quote(provider_model.removeprefix("publishers/google/"), safe="/")
    named = "/" in path and "/models/{model}" in provider.chat_path
    return Outgoing(
        body=body,
        url=provider.chat_path.replace("/models/{model}", f"/{path}") if named else "",
        headers=((_TIER_HEADER, tier),) if tier else (),
        choices=wanted if type(wanted) is int and wanted > 1 else 1,
    )
