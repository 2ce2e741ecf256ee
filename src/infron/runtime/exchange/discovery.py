"""Which models there are: those of the catalogue, and those that the providers themselves say they have.

It never keeps a caller waiting for long: a list is asked for now and then, and the last one stands meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from infron.catalog.definitions import Model, Offer, Provider
from infron.catalog.endpoint import ProviderEndpoint
from infron.errors import InfronError
from infron.runtime.exchange.providers import Providers
from infron.runtime.telemetry.bugs import report_bug
from infron.runtime.upstream.client import Client
from infron.runtime.upstream.fetch import fetch
from infron.wires.model_list import MOST_ID, models_of

logger = logging.getLogger("infron")

FRESH_SECONDS = 300.0  # for which a list is not asked for again
# The same where there was none: first for so long, for a provider of one's own may be starting, then ever longer.
FAILED_SECONDS, MOST_FAILED_SECONDS = 5.0, 60.0
MOST_WAITS = 2  # lists that failed, until nobody waits for the next one
FETCH_SECONDS = 10.0
WAIT_SECONDS = 2.0  # that a caller waits for lists that were never here
MOST_BYTES = 8 << 20  # of a list


class _Known(Struct):
    """The last list of a provider, and until when (loop time) it is not asked for again. `why_not`: it gave none;
    `failed`: so often in a row.
    """

    models: dict[str, Model] = {}
    until: float = 0.0
    why_not: str = ""
    failed: int = 0

    def next_look(self, why_not: str) -> float:
        """In how many seconds it is asked for again."""
        self.failed = self.failed + 1 if why_not else 0
        return min(FAILED_SECONDS * 2 ** (self.failed - 1), MOST_FAILED_SECONDS) if why_not else FRESH_SECONDS


class Discovery:
    """`asks`: whether providers are asked at all; without that only the catalogue's models are known."""

    def __init__(self, providers: Providers, client: Client, loop: asyncio.AbstractEventLoop, *, asks: bool) -> None:
        self._providers = providers
        self._client = client
        self._loop = loop
        self._asks = asks
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def offered(self) -> list[Model]:
        """The models that somebody can serve with what is configured: first those of the catalogue."""
        await self._look(self._providers.catalog.providers.values())
        models = {model.id: model for model in self._providers.offered()}
        offers = {(offer.provider, offer.id) for model in models.values() for offer in model.served_by}
        for known in self._known.values():
            for id, model in known.models.items():
                offer = model.served_by[0]
                if (offer.provider, offer.id) not in offers:
                    models.setdefault(id, model)
        for name, ids in self._providers.catalog.aliases.listed(list(models)):
            if (found := await self._first(ids)) is not None:
                models[name] = replace(found, id=name)
        return list(models.values())

    async def _first(self, ids: Iterable[str]) -> Model | None:
        """The first of these models that can be asked for."""
        for id in ids:
            if (found := await self._find(id)) is not None:
                return found
        return None

    async def find(self, id: str) -> Model | None:
        """What is known of a model that can be asked for; of one that is on no list that is its name."""
        found = await self._first(self._providers.catalog.aliases.models_of(id))
        return None if found is None else replace(found, id=id)

    async def _find(self, id: str) -> Model | None:
        found = next((model for model in self._providers.offered() if model.id == id), None)
        prefix, _, provider_model = id.partition("/")
        provider = self._providers.catalog.find_provider(prefix)
        if found is not None or provider is None or self._providers.why_not(provider) is not None:
            return found
        if not provider_model or len(provider_model) > MOST_ID or not provider_model.isprintable():
            return None
        await self._look([provider])
        known = self._known[provider.id].models if provider.id in self._known else {}
        offer = Offer(provider=provider.id, id=provider_model)
        unlisted = Model(id=id, name=provider_model, served_by=[offer])
        return replace(known.get(f"{provider.id}/{provider_model}", unlisted), id=id)

    async def _look(self, providers: Iterable[Provider]) -> None:
        """Ask those whose list is due; wait a little for those that have given none yet."""
        if not self._asks:
            return
        now = self._loop.time()
        new = []
        for provider in providers:
            known = self._known.get(provider.id)
            if known is None or now >= known.until:
                task = self._asking.get(provider.id) or self._begin(provider)
                if task is not None and (known is None or (known.failed <= MOST_WAITS and not known.models)):
                    new.append(task)
        if new:
            await asyncio.wait(new, timeout=WAIT_SECONDS)

    def _begin(self, provider: Provider) -> asyncio.Task[None] | None:
        """Ask a provider that has a list and can be asked."""
        usable = self._providers.catalog.usable(provider)
        if isinstance(usable, str) or usable.models_url is None or usable.signed or not provider.lists_models:
            return None
        task = self._asking[provider.id] = self._loop.create_task(self._ask(provider, usable.models_url, usable))
        return task

    async def _ask(self, provider: Provider, url: str, endpoint: ProviderEndpoint) -> None:
        known = self._known.get(provider.id) or _Known()
        why_not = ""
        try:
            headers = {**endpoint.headers, "accept": "application/json"}
            found = await fetch(self._client, url, headers, seconds=FETCH_SECONDS, most_bytes=MOST_BYTES)
            if found.status != 200 or not found.whole:
                raise ValueError(f"status {found.status}" if found.status != 200 else "too long a list")
            listed = await asyncio.to_thread(models_of, found.body, provider.id)
            known.models = {model.id: model for model in listed}
        except InfronError as error:
            why_not = error.message
        except ValueError as error:
            why_not = str(error)
        except Exception:
            report_bug("reading a list of models")
            why_not = "a bug of the gateway"
        finally:
            self._asking.pop(provider.id, None)
            self._known[provider.id] = known
            known.until = self._loop.time() + known.next_look(why_not)
        if why_not and not known.why_not:
            logger.info("%s does not list its models: %s", provider.name, why_not.rstrip("."))
        known.why_not = why_not

    async def close(self) -> None:
        """Ask nobody any more."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
