"""Every async test here runs twice: on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop
from scripted import Host, Script

from infron.runtime.upstream.client import Client


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], Any]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def host() -> AsyncIterator[Callable[..., Any]]:
    """`await host(script, tls=None, address="127.0.0.1", port=0)`: a Host that plays the script to every connection."""
    hosts: list[Host] = []

    async def start(script: Script, **more: Any) -> Host:
        hosts.append(await Host.start(script, **more))
        return hosts[-1]

    yield start
    for each in hosts:
        await each.stop()


@pytest.fixture
async def clients() -> AsyncIterator[Callable[..., Client]]:
    """Makes clients that see no environment but their own. At the end each one must be empty and consistent."""
    made: list[Client] = []

    def make(**more: Any) -> Client:
        made.append(Client(**{"environ": {}, **more}))
        return made[-1]

    yield make
    for client in made:
        await client.close()
        for stats in client.stats().values():
            assert (stats.open, stats.idle, stats.connecting, stats.waiting) == (0, 0, 0, 0)
    gc.collect(1)  # transports that nobody closed complain when they are collected


@pytest.fixture
async def client(clients: Callable[..., Client]) -> Client:
    return clients()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def trusted(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment that trusts the test authority."""
    path: Path = tmp_path_factory.mktemp("trust") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return {"SSL_CERT_FILE": str(path)}


@pytest.fixture(scope="session")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """For a host that is called localhost, 127.0.0.1 or api.test."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1", "api.test").configure_cert(context)
    return context
