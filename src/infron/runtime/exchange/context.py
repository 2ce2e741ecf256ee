"""What all exchanges of a process share, handed down to each of them.

It never does anything itself.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct

from infron.runtime.exchange.clock import Clock
from infron.runtime.exchange.counting import Counter
from infron.runtime.exchange.discovery import Discovery
from infron.runtime.exchange.memory import Memory
from infron.runtime.exchange.prices import Prices
from infron.runtime.exchange.providers import Providers
from infron.runtime.exchange.registry import Registry
from infron.runtime.exchange.settlement import Settlements
from infron.runtime.ledger.ledger import Ledger
from infron.runtime.ledger.office import Office
from infron.runtime.telemetry.log import Log
from infron.runtime.telemetry.metrics import Metrics
from infron.runtime.upstream.client import Client
from infron.settings import Config

AT_ONCE = 16 << 10  # bytes of a request that are read and written on the loop; with more of them a thread does it


class Context(Struct, frozen=True, eq=False, kw_only=True):
    """`first_look`: after how many seconds an exchange has something due at the earliest.

    `readers`: the threads that read and write large requests, for which streams must not wait.
    """

    config: Config
    loop: asyncio.AbstractEventLoop
    clock: Clock
    ledger: Ledger
    office: Office
    metrics: Metrics
    log: Log | None
    upstream: Client
    providers: Providers
    discovery: Discovery
    prices: Prices
    counter: Counter
    readers: ThreadPoolExecutor
    registry: Registry
    memory: Memory
    settlements: Settlements
    first_look: float
