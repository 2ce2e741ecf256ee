"""Which candidates a request has, in which order: from the model id, the caller's preferences and what is configured.

It never knows whether a provider answers, and never opens anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from infron.catalog.definitions import Provider
from infron.catalog.load import Catalog
from infron.errors import Forbidden, InvalidRequest, NotFound, ProviderClosed
from infron.policy.permissions import EVERYTHING, Permissions
from infron.request import NO_WISHES, Request

MAX_CANDIDATES = 16
MAX_LISTED = 100  # provider names in one list of wishes
MAX_NAME = 512  # characters of any name that a caller gives
# Control characters, and those that turn the order of others: names come before people, in logs and on terminals.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def check_names(request: Request) -> None:
    """Raises InvalidRequest where a name or a list is longer than any honest one, or a name is not to be shown.

    What passes may be kept, recorded and repeated in each frame of an answer.
    """
    _check_name("model", request.model)
    if request.models:
        _check_list("models", request.models, MAX_CANDIDATES)
    if (wants := request.preferences) is not NO_WISHES:
        for name, listed in (("order", wants.order), ("only", wants.only), ("ignore", wants.ignore)):
            _check_list(f"provider.{name}", listed, MAX_LISTED)
    if request.user is not None:
        _check_name("user", request.user)
    if request.session_id is not None:
        _check_name("session_id", request.session_id)
    if request.service_tier is not None:
        _check_name("service_tier", request.service_tier)


def _check_name(param: str, value: str) -> None:
    if len(value) > MAX_NAME:
        raise InvalidRequest(f"`{param}` has {len(value):,} characters; {MAX_NAME} are the most.", param=param)
    if not value.isprintable() and _CONTROLS.search(value):
        raise InvalidRequest(f"`{param}` holds a control character; send it without.", param=param)


def _check_list(param: str, values: tuple[str, ...], most: int) -> None:
    if len(values) > most:
        raise InvalidRequest(f"`{param}` has {len(values):,} entries; {most} are the most.", param=param)
    for value in values:
        _check_name(param, value)


class Candidate(Struct, frozen=True):
    """One way to serve a request: at this provider, under this name of its own."""

    provider: Provider
    provider_model: str
    model: str  # the public id


def route(
    request: Request,
    catalog: Catalog,
    why_not: Callable[[Provider], str | None],
    permitted: Permissions = EVERYTHING,
) -> tuple[Candidate, ...]:
    """The candidates in order, each once. `why_not(provider)`: None if it can be used, else a sentence why it cannot.

    Raises NotFound (with the nearest names) for a model that nobody serves, ProviderClosed where the service is gone,
    Forbidden where the caller may use none that do.
    """
    found: dict[tuple[str, str], Candidate] = {}
    first_error: NotFound | ProviderClosed | None = None
    named = _named(request, catalog, permitted)
    for model in named:
        candidates, error = _of_model(model, catalog, why_not)
        if model == named[0]:
            first_error = error
        for candidate in candidates:
            found.setdefault((candidate.provider.id, candidate.provider_model), candidate)
    if not found:
        raise first_error or _unknown(request.model, catalog)
    usable = [candidate for candidate in found.values() if permitted.provider(candidate.provider.id)]
    if not usable:
        serving = ", ".join(dict.fromkeys(candidate.provider.id for candidate in found.values()))
        raise Forbidden(
            f"This API key may not use a provider of `{request.model}`, which is served by {serving}; it may use "
            f"{_listed(permitted.providers)}.",
            param="provider",
        )
    return _preferred(request, catalog, usable)


def _named(request: Request, catalog: Catalog, permitted: Permissions) -> list[str]:
    """The models that are asked for, by their own names, without those that the caller may not use."""
    asked = (request.model, *request.models)
    named = [name for each in asked for name in catalog.aliases.models_of(each) if permitted.model(each, name)]
    if not named:
        raise Forbidden(
            f"This API key may not use the model `{request.model}`; it may use {_listed(permitted.models)}.",
            param="model",
        )
    return list(dict.fromkeys(named))


def _listed(patterns: tuple[str, ...] | None) -> str:
    return ", ".join(f"`{pattern}`" for pattern in patterns or ()) or "none"


def spoken(candidates: tuple[Candidate, ...], request: Request, catalog: Catalog) -> tuple[Candidate, ...]:
    """The same, each on the wire of the request's own API where its provider has that too."""
    for candidate in candidates:
        if candidate.provider.also:
            return tuple([_speaking(candidate, request, catalog) for candidate in candidates])
    return candidates


def _speaking(candidate: Candidate, request: Request, catalog: Catalog) -> Candidate:
    provider = candidate.provider
    if request.api not in provider.also:
        return candidate
    return replace(candidate, provider=catalog.speaking(provider, request.api, request.kinds))


def _of_model(
    model: str, catalog: Catalog, why_not: Callable[[Provider], str | None]
) -> tuple[list[Candidate], NotFound | ProviderClosed | None]:
    """Who serves it; of a known model that nobody can serve, the error that says why."""
    reasons: list[str] = []
    found: list[Candidate] = []
    known = catalog.models.get(model)
    for serving in known.served_by if known else ():
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
            return [], ProviderClosed(reason, provider=direct.id)
        else:
            reasons.insert(0, reason)
    if found or not reasons:
        return found, None
    what = f"`{model}` cannot be served here: {' '.join(dict.fromkeys(reasons))}"
    return [], NotFound(what, code="model_not_found", param="model")


def _unknown(model: str, catalog: Catalog) -> NotFound:
    nearest = catalog.nearest(model)
    what = f"No model `{model[:200]}`.{did_you_mean(nearest)} GET /v1/models lists them."
    return NotFound(what, code="model_not_found", param="model", nearest=nearest)


def did_you_mean(nearest: list[str]) -> str:
    """The sentence that offers the nearest names, with a space before it; empty if there are none."""
    return f" Did you mean {' or '.join(f'`{name}`' for name in nearest)}?" if nearest else ""


def _preferred(request: Request, catalog: Catalog, found: list[Candidate]) -> tuple[Candidate, ...]:
    wants = request.preferences

    def ids(names: tuple[str, ...]) -> list[str]:
        named = [catalog.find_provider(name) for name in names]
        return [provider.id if provider else name for provider, name in zip(named, names, strict=True)]

    order, only, ignore = ids(wants.order), ids(wants.only), ids(wants.ignore)
    left = [c for c in found if (not only or c.provider.id in only) and c.provider.id not in ignore]
    if not left:
        serving = ", ".join(dict.fromkeys(c.provider.id for c in found))
        raise NotFound(
            f"`provider.only` and `provider.ignore` leave nobody for `{request.model}`; it is served by {serving}.",
            param="provider",
        )
    left.sort(key=lambda c: order.index(c.provider.id) if c.provider.id in order else len(order))
    return tuple(left[: MAX_CANDIDATES if wants.allow_fallbacks else 1])


def priced(candidates: tuple[Candidate, ...], is_priced: Callable[[Candidate], bool]) -> tuple[Candidate, ...]:
    """Those of which somebody knows the price. Raises Forbidden where that is none of them."""
    found = tuple(filter(is_priced, candidates))
    if not found:
        first = candidates[0]
        raise Forbidden(
            f"Nobody knows what `{first.model}` costs at {first.provider.name}, so this API key may not use it: the "
            f"operator can state it (prices in [providers.{first.provider.id}]) or allow it (limits.unpriced).",
            param="model",
        )
    return found
