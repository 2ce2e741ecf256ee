"""What all requests to one provider have in common: where they go, with which head, and whose credentials they carry.

It never sends anything, and never knows which requests there are.
"""

from __future__ import annotations

import time
from typing import Protocol
from urllib.parse import quote

from infron.catalog.definitions import Provider
from infron.catalog.endpoint import Endpoint
from infron.errors import InfronError
from infron.request import Outgoing
from infron.runtime.credentials.aws import AwsSigner
from infron.runtime.credentials.google import GoogleTokens
from infron.runtime.upstream.client import Target
from infron.wires import PROVIDER_WIRES

LOCAL_CONNECTIONS = 120  # the bundled model has 128 threads, and each connection takes one
MOST_MODELS = 4096  # whose addresses are remembered, where the model is part of the address

Headers = tuple[tuple[str, str], ...]


class Signer(Protocol):
    """Credentials that change: asked for each request."""

    def headers(self, method: str, url: str, body: bytes, now: float) -> list[tuple[str, str]] | None:
        """The headers that prove who asks, at `now` (unix s); None while there are no valid credentials."""

    async def refresh(self) -> None:
        """Fetch credentials. Raises InfronError."""


class ProviderHandle:
    """`key`: ours at this provider, which nobody else may see; "" where none is sent as it is.

    `asks_usage`: token counts have to be asked for, and it has not refused the question yet.
    """

    def __init__(
        self, provider: Provider, base_url: str, chat_url: str, headers: Headers, signer: Signer | None = None
    ) -> None:
        self.asks_usage = provider.usage in ("ask", "try")
        named = {name.lower(): value for name, value in headers}
        self.key = named.get(provider.auth.header.lower(), "").removeprefix(provider.auth.scheme).strip()
        self._provider = provider
        self._base_url = base_url
        self._chat_url = chat_url
        self._headers = headers
        self._signer = signer
        self._endpoints: dict[str, Target] = {}
        self._one: Target | None = None
        if chat_url and signer is None and "{model}" not in chat_url:
            self._one = self._make(chat_url, "POST", ())

    @classmethod
    def of(cls, provider: Provider, usable: Endpoint | str) -> ProviderHandle:
        """`usable`: the catalogue's word on this row."""
        if isinstance(usable, str):  # the bundled model, which has no address before it runs
            return cls(provider, "", "", ())
        headers = tuple(usable.headers.items())
        return cls(provider, usable.base_url, usable.chat_url, headers, signer_of(usable))

    def reached(self, url: str, key: str) -> None:
        """The bundled model answers at this base URL."""
        bearer = f"Bearer {key}"
        self.key = key
        self._headers = (("authorization", bearer),)
        self._one = self._make(f"{url}/chat/completions", "POST", ())

    def endpoint(self, provider_model: str, outgoing: Outgoing) -> Target | None:
        """Where a request goes and with which head; None where credentials are missing, or there is no address yet."""
        if self._one is not None and not outgoing.url and not outgoing.headers:
            return self._one
        if self._signer is None:
            known = self._endpoints.get(provider_model)
            if known is None or outgoing.url or outgoing.headers:
                if not self._chat_url:
                    return None
                known = self._make(self._address(provider_model, outgoing), outgoing.method, outgoing.headers)
                if not outgoing.url and not outgoing.headers:
                    if len(self._endpoints) >= MOST_MODELS:
                        self._endpoints.clear()
                    self._endpoints[provider_model] = known
            return known
        url = self._address(provider_model, outgoing)
        proof = self._signer.headers(outgoing.method, url, outgoing.body, time.time())
        return None if proof is None else self._make(url, outgoing.method, (*outgoing.headers, *proof))

    async def refresh(self) -> None:
        """Fetch what `endpoint` lacked. Raises InfronError."""
        if self._signer is None:
            return
        try:
            await self._signer.refresh()
        except InfronError as error:
            error.provider = self._provider.id
            raise

    def _address(self, provider_model: str, outgoing: Outgoing) -> str:
        if outgoing.url.startswith("/"):
            return self._base_url + outgoing.url
        return outgoing.url or self._chat_url.replace("{model}", quote(provider_model, safe=""))

    def _make(self, url: str, method: str, more: Headers) -> Target:
        media = PROVIDER_WIRES[self._provider.wire].MEDIA_TYPE.decode()
        content = (("content-type", "application/json"),) if method == "POST" else ()
        given = {name.lower() for name, _ in more}
        headers = (*self._headers, *content, ("accept", media))
        most = LOCAL_CONNECTIONS if self._provider.id == "local" else self._provider.max_connections
        kept = tuple(header for header in headers if header[0].lower() not in given)
        return Target(url, (*kept, *more), method, most)


def signer_of(usable: Endpoint) -> Signer | None:
    """Who proves where requests come from, for a row without a key; None where its key is a header like any other."""
    match usable.signed:
        case "aws":
            return AwsSigner()
        case "google":
            return GoogleTokens()
    return None
