"""Whether a configuration will work: what is wrong in it, and whether the providers accept their keys.

It never changes anything, and never sends a request that costs money.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
import tomllib
from pathlib import Path
from typing import Any

from msgspec import Struct

from infron import config
from infron.catalog.aliases import Aliases
from infron.catalog.endpoint import ProviderEndpoint
from infron.catalog.load import Catalog, load_catalog
from infron.errors import InfronError
from infron.policy import access
from infron.runtime.exchange.providers import signer_of
from infron.runtime.ledger.administration import list_keys
from infron.runtime.ledger.stores import store_of
from infron.runtime.local import model as local
from infron.runtime.upstream import client as upstream
from infron.runtime.upstream.fetch import fetch
from infron.settings import Config
from infron.wires import PROVIDER_WIRES

LIVE_SECONDS = 20.0


class ProviderCheck(Struct, frozen=True):
    """What a provider said to its key."""

    provider: str
    good: bool
    sentence: str
    milliseconds: float


def settings(path: Path | None) -> list[str]:
    """One sentence for each thing that is wrong, with the line of the file where it stands."""
    problems = config.problems(path)
    providers, models = _tables(path)
    for key, table in providers.items():
        problems += _definition({key: table}, {}, path)
    if not problems:  # models name providers: only where these are right can they be judged
        for key, table in models.items():
            problems += _definition(providers, {key: table}, path)
    if not problems:
        loaded = config.load(path)
        for name, stands_for in loaded.aliases.items():
            problems += _alias(name, stands_for, path)
        problems += [reason for reason in (_ledger(loaded), _local(loaded)) if reason]
    return problems


def _alias(name: str, models: str | list[str], path: Path | None) -> list[str]:
    try:
        Aliases({name: models}, str(path))
    except InfronError as error:
        return [error.message]
    return []


def _tables(path: Path | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """`[providers]` and `[models]` of the file, as far as they can be read: `config` has said what is wrong with it."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        data = {}
    found = [data.get(name) for name in ("providers", "models")]
    whole = [table if isinstance(table, dict) else {} for table in found]
    providers, models = ({key: one for key, one in table.items() if isinstance(one, dict)} for table in whole)
    return providers, models


def _definition(providers: dict[str, Any], models: dict[str, Any], path: Path | None) -> list[str]:
    try:
        load_catalog(providers, models, os.environ, wires=PROVIDER_WIRES, path=path)
    except InfronError as error:
        return [error.message]
    return []


def notes(loaded: Config) -> list[str]:
    """A sentence for each thing that works, but has a newer name."""
    return [*loaded.notes, *_catalog(loaded).notes]


def waiting(loaded: Config) -> list[str]:
    """Why the definitions that the configuration speaks of cannot be used here and now, a sentence each."""
    catalog = _catalog(loaded)
    named = [found for name in loaded.providers if (found := catalog.find_provider(name)) is not None]
    return [why for found in named if not found.bundled and isinstance(why := catalog.usable(found), str)]


def _catalog(loaded: Config) -> Catalog:
    return load_catalog(
        loaded.providers, loaded.models, os.environ, loaded.aliases, wires=PROVIDER_WIRES, path=loaded.path
    )


def _ledger(loaded: Config) -> str | None:
    try:
        problem = store_of(loaded.ledger_url()).problem()
        keys = list_keys(loaded.ledger_url())
        access.check_listen(loaded.server.host, keys_exist=bool(keys))
    except InfronError as error:
        return error.message
    return problem


def _local(loaded: Config) -> str | None:
    """Only a file that was asked for can be missing; without the bundled model the gateway works too."""
    return local.missing(loaded.local) if loaded.local.enabled and loaded.local.gguf else None


# ---- live


async def live(loaded: Config) -> list[ProviderCheck]:
    """Ask every usable provider for its list of models, all at once: each should take the key."""
    catalog = _catalog(loaded)
    client = upstream.Client(connect_seconds=loaded.timeouts.connect_seconds)
    asked = []
    for provider in catalog.providers.values():
        found = catalog.usable(provider)
        if provider.bundled:
            if local.missing(loaded.local) is None:
                asked.append(_start(loaded))
        elif isinstance(found, ProviderEndpoint):
            asked.append(_ask(client, provider.id, found))
    try:
        return await asyncio.gather(*asked)
    finally:
        await client.close()


async def _start(loaded: Config) -> ProviderCheck:
    began, model = time.monotonic(), local.LocalModel.prepare(loaded.local)
    try:
        await model.ensure()
        good, sentence = True, "The bundled model starts."
    except InfronError as error:
        good, sentence = False, error.message
    finally:
        model.close()
    return ProviderCheck("local", good, sentence, (time.monotonic() - began) * 1000)


async def _ask(client: upstream.Client, provider: str, endpoint: ProviderEndpoint) -> ProviderCheck:
    began = time.monotonic()
    try:
        if endpoint.models_url is None:
            good, sentence = await _credentials(endpoint)
        else:
            headers = {**endpoint.headers, "accept": "application/json"}
            found = await fetch(client, endpoint.models_url, headers, seconds=LIVE_SECONDS, most_bytes=0)
            good, sentence = found.status in (200, 429), _meaning(found.status)
            if found.status == 404 and (base := await _with_version(client, endpoint, headers)):
                sentence = f"There is nothing at this address, but there is at {base}: set base_url to that."
    except InfronError as error:
        good, sentence = False, error.message
    return ProviderCheck(provider, good, sentence, (time.monotonic() - began) * 1000)


async def _with_version(client: upstream.Client, endpoint: ProviderEndpoint, headers: dict[str, str]) -> str:
    """The base address with `/v1`, if the list of models is there; "" where it is not, or has a version already."""
    base = endpoint.base_url + "/v1"
    if endpoint.models_url is None or re.search(r"/v\d", endpoint.base_url):
        return ""
    url = base + endpoint.models_url.removeprefix(endpoint.base_url)
    found = await fetch(client, url, headers, seconds=LIVE_SECONDS, most_bytes=0)
    return base if found.status in (200, 401, 403, 429) else ""


async def _credentials(endpoint: ProviderEndpoint) -> tuple[bool, str]:
    """As much as can be known where there is no list of models: whether what signs requests finds credentials."""
    signer = signer_of(endpoint)
    if signer is None:
        return True, "It has no list of models, so only a paid request could check its key."
    try:
        async with asyncio.timeout(LIVE_SECONDS):
            if signer.headers("POST", endpoint.chat_url, b"", time.time()) is None:
                await signer.refresh()
    except TimeoutError:
        return False, f"No credentials were found within {LIVE_SECONDS:.0f} seconds."
    return True, "Its credentials are found; only a paid request could check whether it accepts them."


def _meaning(status: int) -> str:
    known = {
        200: "It answers.",
        400: "It refuses to list its models, as some providers do where the key is wrong.",
        401: "It refuses the key.",
        403: "It knows the key, and does not permit it to list models.",
        404: "Nothing answers at this address: check base_url.",
        429: "It accepts the key, and its rate limit is reached.",
    }
    return f"{known.get(status, 'An unexpected answer.')} (status {status})"
