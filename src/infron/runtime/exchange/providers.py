"""A handle for each provider: where its requests go, with which head, whose credentials they carry, what it refuses.

It never sends anything, and never knows which requests there are.
"""

from __future__ import annotations

import time
from typing import Protocol
from urllib.parse import quote, unquote

from infron.catalog.definitions import Model, Provider
from infron.catalog.endpoint import ProviderEndpoint
from infron.catalog.load import Catalog
from infron.errors import InfronError, NotFound, ProviderMisconfigured
from infron.request import Outgoing
from infron.runtime.credentials.aws import AwsSigner
from infron.runtime.credentials.google import GoogleTokens
from infron.runtime.local.model import LocalModel
from infron.runtime.upstream.client import Target
from infron.wires import PROVIDER_WIRES

LOCAL_CONNECTIONS = 120  # the bundled model has 128 threads, and each connection takes one
REFUSAL_SECONDS = 3600.0  # after which a model that did not take the question for usage, or a stream, is asked again
MOST_MODELS = 4096  # whose addresses are remembered, where the model is part of the address

HeaderFields = tuple[tuple[str, str], ...]


class Signer(Protocol):
    """Credentials that change: asked for each request."""

    def headers(self, method: str, url: str, body: bytes, now: float) -> list[tuple[str, str]] | None:
        """The headers that prove who asks, at `now` (unix s); None while there are no valid credentials."""

    async def refresh(self) -> None:
        """Fetch credentials. Raises InfronError."""


class ProviderHandle:
    """One provider. `key`: ours there, which nobody else may see; "" where none is sent as it is."""

    def __init__(self, provider: Provider, usable: ProviderEndpoint | str) -> None:
        """`usable`: the catalogue's word on this provider."""
        self.provider = provider
        self.wire = PROVIDER_WIRES[provider.wire]
        self._has_to_be_asked = provider.usage in ("ask", "try")
        self._refusals: dict[str, float] = {}  # models that do not take the question for usage, and until when
        self._whole: dict[tuple[str, int], float] = {}  # models that answer such requests in one piece, and until when
        self.key = ""
        self._most = provider.max_connections
        self._base_url = self._chat_url = ""
        self._headers: HeaderFields = ()
        self._signer: Signer | None = None
        self._why_not: str | None = None
        self._targets: dict[str, Target] = {}
        self._one: Target | None = None
        if isinstance(usable, str):
            self._why_not = usable
            return
        self._base_url, self._chat_url = usable.base_url, usable.chat_url
        self._headers, self._signer = tuple(usable.headers.items()), signer_of(usable)
        named = {name.lower(): value for name, value in usable.headers.items()}
        self.key = named.get(provider.auth.header.lower(), "").removeprefix(provider.auth.scheme).strip()
        if self._signer is None and "{model}" not in self._chat_url:
            self._one = self._make(self._chat_url, "POST", ())

    def why_not(self) -> str | None:
        """None where requests can be sent there, else the sentence that says why not."""
        return self._why_not

    def asks_usage(self, provider_model: str, now: float) -> bool:
        """Whether a request has to ask for token counts, and may. `now`: seconds of any one clock."""
        if not self._refusals:
            return self._has_to_be_asked
        return self._has_to_be_asked and self._refusals.get(provider_model, 0.0) <= now

    def learn_refusal(self, provider_model: str, now: float) -> None:
        """A request was refused that asked for them, and the same was served that did not. Not held for ever."""
        if len(self._refusals) >= MOST_MODELS:
            self._refusals.clear()
        self._refusals[provider_model] = now + REFUSAL_SECONDS

    @property
    def knows_no_streams(self) -> bool:
        """Whether anything was learned of that."""
        return bool(self._whole)

    def streams(self, provider_model: str, shape: int, now: float) -> bool:
        """Whether a request of this kind is asked for as a stream."""
        return self._whole.get((provider_model, shape), 0.0) <= now

    def learn_no_stream(self, provider_model: str, shape: int, now: float) -> None:
        """The stream of such a request was refused, and a whole answer to the same was served. Not held for ever."""
        if len(self._whole) >= MOST_MODELS:
            self._whole.clear()
        self._whole[provider_model, shape] = now + REFUSAL_SECONDS

    def target(self, provider_model: str, outgoing: Outgoing) -> Target | None:
        """Where a request goes and with which head; None while something is missing that can be fetched."""
        plain = not outgoing.url and not outgoing.headers
        if self._one is not None and plain:
            return self._one
        if self._signer is not None:
            url = self._address(provider_model, outgoing)
            proof = self._signer.headers(outgoing.method, url, outgoing.body, time.time())
            return None if proof is None else self._make(url, outgoing.method, (*outgoing.headers, *proof))
        if not self._chat_url:
            return None
        known = self._targets.get(provider_model) if plain else None
        if known is None:
            known = self._make(self._address(provider_model, outgoing), outgoing.method, outgoing.headers)
            if plain:
                if len(self._targets) >= MOST_MODELS:
                    self._targets.clear()
                self._targets[provider_model] = known
        return known

    async def target_when_ready(self, provider_model: str, outgoing: Outgoing) -> Target:
        """The same, once what was missing is there. Raises InfronError."""
        found = self.target(provider_model, outgoing)
        if found is None and self._signer is not None:
            try:
                await self._signer.refresh()
            except InfronError as error:
                error.provider = self.provider.id
                raise
            found = self.target(provider_model, outgoing)
        if found is None:
            name = self.provider.name
            raise ProviderMisconfigured(f"{name}: there are no valid credentials.", provider=self.provider.id)
        return found

    def _address(self, provider_model: str, outgoing: Outgoing) -> str:
        """The URL. Raises NotFound for a model whose name would lead out of its place in the path."""
        if outgoing.url and not outgoing.url.startswith("/"):
            return outgoing.url
        if wanders(outgoing.url or f"/{provider_model}"):
            raise NotFound(
                f"{self.provider.name} has no such model: `.`, `..` and nothing are no parts of a model's name.",
                param="model",
                provider=self.provider.id,
            )
        if outgoing.url:
            return self._base_url + outgoing.url
        return self._chat_url.replace("{model}", quote(provider_model, safe=""))

    def _make(self, url: str, method: str, more: HeaderFields) -> Target:
        media = self.wire.MEDIA_TYPE.decode()
        content = (("content-type", "application/json"),) if method == "POST" else ()
        given = {name.lower() for name, _ in more}
        headers = (*self._headers, *content, ("accept", media))
        kept = tuple(header for header in headers if header[0].lower() not in given)
        return Target(url, (*kept, *more), method, self._most, self.provider.retry_unanswered)


class BundledHandle(ProviderHandle):
    """The bundled model, whose process may end and be started again elsewhere: it is asked each time where it is."""

    def __init__(self, provider: Provider, model: LocalModel | None) -> None:
        """`model`: None where it is switched off."""
        missing = "The bundled model is switched off ([local] enabled)." if model is None else model.missing()
        super().__init__(provider, missing or "")
        self._model = model
        self._why_not = missing
        self._most = LOCAL_CONNECTIONS
        self._address_and_key = ("", "")

    def target(self, provider_model: str, outgoing: Outgoing) -> Target | None:
        found = None if self._model is None else self._model.running()
        return None if found is None else self._reached(found)

    async def target_when_ready(self, provider_model: str, outgoing: Outgoing) -> Target:
        if self._model is None:
            raise NotFound("The bundled model is switched off.")
        return self._reached(await self._model.ensure())

    def _reached(self, found: tuple[str, str]) -> Target:
        if self._one is None or found != self._address_and_key:
            self._address_and_key = found
            url, self.key = found
            self._headers = (("authorization", f"Bearer {self.key}"),)
            self._one = self._make(f"{url}/chat/completions", "POST", ())
        return self._one


def wanders(path: str) -> bool:
    """Whether a path below a base address may lead elsewhere: hosts resolve `..`, some decode `%2F` before they do."""
    _, *segments = unquote(path.partition("?")[0]).replace("\\", "/").split("/")
    return any(segment in ("", ".", "..") for segment in segments)


class Providers:
    """All providers, a handle for each that is asked for. `bundled`: the gateway's own model; None: switched off."""

    def __init__(self, catalog: Catalog, bundled: LocalModel | None) -> None:
        self.catalog = catalog
        self.bundled = bundled
        self._handles: dict[tuple[str, str], ProviderHandle] = {}

    def handle(self, provider: Provider) -> ProviderHandle:
        key = provider.id, provider.wire
        found = self._handles.get(key)
        if found is None:
            found = self._handles[key] = self._made(provider)
        return found

    def _made(self, provider: Provider) -> ProviderHandle:
        if provider.bundled:
            return BundledHandle(provider, self.bundled)
        return ProviderHandle(provider, self.catalog.usable(provider))

    def why_not(self, provider: Provider) -> str | None:
        """None where requests can be sent there, else the sentence that says why not."""
        return self.handle(provider).why_not()

    def offered(self) -> list[Model]:
        """The models that somebody can serve with what is configured."""
        usable = {provider.id for provider in self.catalog.providers.values() if self.why_not(provider) is None}
        return [model for model in self.catalog.models.values() if any(o.provider in usable for o in model.served_by)]


def signer_of(usable: ProviderEndpoint) -> Signer | None:
    """Who proves where requests come from, where there is no key; None where the key is a header like any other."""
    match usable.signed:
        case "aws":
            return AwsSigner()
        case "google":
            return GoogleTokens()
    return None
