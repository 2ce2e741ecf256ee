"""Which candidates a request has, in which order: from the model id, the caller's preferences and what is configured.

It never knows whether a provider answers, and never opens anything.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from infron.catalog.definitions import Provider
from infron.catalog.load import Catalog
from infron.errors import InvalidRequest, NotFound, ProviderClosed
from infron.request import Request


class Candidate(Struct, frozen=True):
    """One way to serve a request: at this provider, under this name of its own."""

    provider: Provider
    provider_model: str
    model: str  # the public id


def route(request: Request, catalog: Catalog, why_not: Callable[[Provider], str | None]) -> tuple[Candidate, ...]:
    """The candidates in order. `why_not(provider)`: None if it can be used, else a sentence why it cannot.

    Raises NotFound (with the nearest names) for a model that nobody serves, ProviderClosed where the service is gone.
    """
    found: list[Candidate] = []
    first_error: NotFound | ProviderClosed | None = None
    for model in (request.model, *request.models):
        try:
            found.extend(_of_model(model, catalog, why_not))
        except (NotFound, ProviderClosed) as error:
            first_error = first_error or error
    if not found:
        raise first_error or NotFound(f"No model `{request.model}`.", code="model_not_found", param="model")
    return _preferred(request, catalog, found)


def _of_model(model: str, catalog: Catalog, why_not: Callable[[Provider], str | None]) -> list[Candidate]:
    reasons: list[str] = []
    found: list[Candidate] = []
    row = catalog.models.get(model)
    for serving in row.served_by if row else ():
        provider = catalog.providers[serving.provider]
        if reason := why_not(provider):
            reasons.append(reason)
        else:
            found.append(Candidate(provider, serving.id, model))
    prefix, slash, provider_model = model.partition("/")
    direct = catalog.find_provider(prefix) if slash and provider_model else None
    if direct is not None and not found:
        reason = why_not(direct)
        if reason is None:
            found.append(Candidate(direct, provider_model, model))
        elif direct.status == "closed":
            raise ProviderClosed(reason, provider=direct.id)
        else:
            reasons.insert(0, reason)
    if found:
        return found
    if reasons:
        what = f"`{model}` cannot be served here: {' '.join(dict.fromkeys(reasons))}"
        raise NotFound(what, code="model_not_found", param="model")
    nearest = catalog.nearest(model)
    what = f"No model `{model[:200]}`.{did_you_mean(nearest)} GET /v1/models lists them."
    raise NotFound(what, code="model_not_found", param="model", nearest=nearest)


def did_you_mean(nearest: list[str]) -> str:
    """The sentence that offers the nearest names, with a space before it; empty if there are none."""
    return f" Did you mean {' or '.join(f'`{name}`' for name in nearest)}?" if nearest else ""


def _preferred(request: Request, catalog: Catalog, found: list[Candidate]) -> tuple[Candidate, ...]:
    wants = request.preferences

    def ids(names: tuple[str, ...]) -> list[str]:
        rows = [catalog.find_provider(name) for name in names]
        return [row.id if row else name for row, name in zip(rows, names, strict=True)]

    order, only, ignore = ids(wants.order), ids(wants.only), ids(wants.ignore)
    left = [c for c in found if (not only or c.provider.id in only) and c.provider.id not in ignore]
    if not left:
        serving = ", ".join(dict.fromkeys(c.provider.id for c in found))
        raise NotFound(
            f"`provider.only` and `provider.ignore` leave nobody for `{request.model}`; it is served by {serving}.",
            param="provider",
        )
    left.sort(key=lambda c: order.index(c.provider.id) if c.provider.id in order else len(order))
    if not wants.allow_fallbacks:
        left = left[:1]
    return tuple(left)


def asked_on_disconnect(value: str | None) -> str | None:
    """The checked value of `X-Infron-On-Disconnect`. Raises InvalidRequest."""
    if value is None or value.strip().lower() in ("cancel", "drain"):
        return value.strip().lower() if value else None
    raise InvalidRequest("`X-Infron-On-Disconnect` must be `cancel` or `drain`.", param="X-Infron-On-Disconnect")
