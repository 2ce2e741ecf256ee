"""The process: it puts the parts together, listens, obeys signals, and ends only when every exchange is settled.

It never looks at a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]
try:
    import uvloop
except ImportError:  # not on Windows, and not for every Python
    uvloop = None  # type: ignore[assignment]

from infron.catalog.load import Catalog, load_catalog
from infron.policy import access, deadlines, prices
from infron.runtime.exchange.clock import Clock
from infron.runtime.exchange.context import Context
from infron.runtime.exchange.counting import Counter
from infron.runtime.exchange.discovery import Discovery
from infron.runtime.exchange.memory import Memory
from infron.runtime.exchange.other_memories import OtherMemories
from infron.runtime.exchange.prices import Prices
from infron.runtime.exchange.providers import Providers
from infron.runtime.exchange.registry import Registry
from infron.runtime.exchange.settlement import Settlements
from infron.runtime.ledger.ledger import Ledger
from infron.runtime.ledger.office import Office
from infron.runtime.ledger.stores import store_of
from infron.runtime.local.model import LocalModel
from infron.runtime.server.endpoints import admin_paths, paths
from infron.runtime.server.listener import Server
from infron.runtime.telemetry.lines import Lines
from infron.runtime.telemetry.log import Handler, Log
from infron.runtime.telemetry.metrics import Metrics, forget
from infron.runtime.upstream.client import Client
from infron.runtime.workers.orders import Orders
from infron.runtime.workers.signals import Signals
from infron.runtime.workers.sockets import SPREADS, join, listen, shown
from infron.runtime.workers.supervisor import Line, Workers
from infron.settings import Config
from infron.wires import PROVIDER_WIRES

Ready = Callable[[str], None]
SWITCH_SECONDS = (
    0.0005  # a thread that computes lets the loop go on after so long; Python's own 5 ms are felt in streams
)
COLLECTIONS = (2_000, 10, 2_500)  # few objects at once, for it is a pause; all of them seldom: circles are not made
READERS = 2  # one for a request that takes long, and one for others meanwhile
SETTLE_SECONDS = 5.0  # for counts, and for providers that are told to stop, once all exchanges were ended
logger = logging.getLogger("infron")


def serve(config: Config, *, ready: Ready | None = None) -> int:
    """Serve until a signal says otherwise. `ready(base_url)` is called once requests are answered.

    Returns the exit code; by then signals are ignored, for the process is about to end. Raises ConfigError with one
    sentence where it cannot start.
    """
    signals = Signals()
    try:
        log = Log(config.log, Lines(config.log_file()))
        try:
            with Handler(log):
                return _serve(config, log, signals, ready)
        finally:
            log.close()
    finally:
        signals.ignore()


def _serve(config: Config, log: Log, signals: Signals, ready: Ready | None) -> int:
    rows = load_catalog(
        config.providers, config.models, os.environ, config.aliases, wires=PROVIDER_WIRES, path=config.path
    )
    for note in (*config.notes, *rows.notes):
        logger.warning(note)
    _raise_file_limit()
    host, several = config.server.host, config.server.workers > 1
    listener = listen(host, config.server.port, shared=several)
    bound, port = listener.getsockname()[:2]
    if several and config.admin.port:  # which the workers will share: let a port that is somebody else's be told now
        listen(config.admin.host, config.admin.port, "admin.port").close()
    local = LocalModel.prepare(config.local) if config.local.enabled else None

    def announce() -> None:
        if ready is not None:
            ready(f"http://{shown(host, bound)}:{port}")

    one = partial(_serve_until_told, config, rows, local, log)
    if not several:
        return _run(signals, None, lambda orders: one(orders, listener, announce))
    listeners = [listener, *(join(host, port) for _ in range(1, config.server.workers if SPREADS else 1))]
    with tempfile.TemporaryDirectory(prefix="infron-", ignore_cleanup_errors=True) as folder:
        shared = Path(folder)

        def work(line: Line, listener: socket.socket | None, signals: Signals) -> int:
            own = listener or join(host, port)
            return _run(signals, line, lambda orders: one(orders, own, line.ready, line.drained, shared))

        workers = Workers(config.server.workers, work, listeners, signals, gone=partial(forget, shared), last=log.close)
        try:
            return workers.run(announce)
        finally:
            if local is not None:
                local.close()


def _run(signals: Signals, line: Line | None, main: Callable[[Orders], Coroutine[Any, Any, int]]) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop else None) as runner:
        orders = Orders(runner.get_loop(), line)
        signals.tell(orders.signalled)
        return runner.run(main(orders))


# ---- one process


@contextlib.asynccontextmanager
async def running(
    config: Config,
    rows: Catalog,
    listener: socket.socket,
    local: LocalModel | None = None,
    shared: Path | None = None,
    log: Log | None = None,
) -> AsyncIterator[Context]:
    """A whole gateway on this loop, answering on `listener` until the block ends; then every entry is settled.

    It is with what is known by then; the ledger's `left_open` tells how many entries could not be written. `shared`:
    where several workers keep their metrics, and ask each other. `log`: told of each exchange that ends. Raises
    ConfigError where it cannot start.
    """
    loop = asyncio.get_running_loop()
    ledger = Ledger(
        config.ledger_url(),
        synchronous=config.ledger.synchronous,
        charge_failed=config.billing.charge_failed,
        keep_days=config.ledger.keep_days,
    )
    await ledger.start()
    try:
        access.check_listen(config.server.host, keys_exist=ledger.keys.required)
        prices.warm()
        metrics = Metrics(shared)
        context = compose(config, rows, ledger, local, metrics, log, shared)
        registry = context.registry
        metrics.watch("infron_active_exchanges", "Exchanges that are not settled yet.", lambda: len(registry))
        server = Server(context, paths(context))
        await context.memory.open()
        await server.start(listener)
        administration = await _administration(context)
        publishing = loop.create_task(_publish(metrics)) if shared else None
        try:
            yield context
        finally:
            registry.closing = True
            registry.end_all()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(registry.idle.wait(), SETTLE_SECONDS)
            context.counter.hurry()
            registry.settle_all()
            await server.stop()
            if administration is not None:
                await administration.stop()
            if publishing is not None:
                publishing.cancel()
            await context.discovery.close()
            await context.upstream.close()
            context.counter.close()
            context.memory.close()
            context.office.close()
            context.readers.shutdown(wait=False, cancel_futures=True)
            metrics.publish()
    finally:
        await ledger.stop()


def compose(
    config: Config,
    rows: Catalog,
    ledger: Ledger,
    local: LocalModel | None,
    metrics: Metrics,
    log: Log | None = None,
    shared: Path | None = None,
) -> Context:
    """The parts that exchanges share, put together on this loop."""
    loop = asyncio.get_running_loop()
    registry, counter = Registry(), Counter(loop)
    ledger.serve(registry.stop, registry.progress)
    # The registry comes last: whoever waits until nothing runs finds everything told.
    listeners = (ledger, metrics, *([log] if log is not None else ()), registry)
    listed, providers = Prices(rows, loop), Providers(rows, local)
    others = OtherMemories(shared, str(os.getpid())) if shared and hasattr(socket, "AF_UNIX") else None
    client = Client(connect_seconds=config.timeouts.connect_seconds)
    return Context(
        config=config,
        loop=loop,
        clock=Clock(loop),
        ledger=ledger,
        office=Office(store_of(config.ledger_url(), synchronous=config.ledger.synchronous)),
        metrics=metrics,
        log=log,
        upstream=client,
        providers=providers,
        discovery=Discovery(providers, client, loop, asks=config.discovers_models),
        prices=listed,
        counter=counter,
        readers=ThreadPoolExecutor(READERS, thread_name_prefix="read"),
        registry=registry,
        memory=Memory(config.memory, loop, config.limits.max_body_bytes, others),
        settlements=Settlements(counter, listed, listeners, charge_failed=config.billing.charge_failed),
        first_look=deadlines.first_look(config),
    )


async def _administration(context: Context) -> Server | None:
    """The admin API on a port of its own, if the settings say so; each worker answers it."""
    settings = context.config.admin
    if not settings.port:
        return None
    several = context.config.server.workers > 1
    listener = (join if several else listen)(settings.host, settings.port, "admin.port")
    server = Server(context, admin_paths(context))
    await server.start(listener)
    logger.info("The admin API is at http://%s:%d/admin/v1.", shown(settings.host, settings.host), settings.port)
    return server


async def _serve_until_told(
    config: Config,
    rows: Catalog,
    local: LocalModel | None,
    log: Log,
    orders: Orders,
    listener: socket.socket,
    ready: Callable[[], None],
    drained: Callable[[], None] = lambda: None,
    shared: Path | None = None,
) -> int:
    """`ready`, `drained`: how to say that requests are answered, and that none is running any more."""
    sys.setswitchinterval(SWITCH_SECONDS)
    orders.starting = asyncio.current_task()
    try:
        if orders.stop.is_set():
            return 0
        async with running(config, rows, listener, local, shared, log) as context:
            orders.starting = None
            # What lives now lives to the end: the collector need not look at it again while streams run.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*COLLECTIONS)
            ready()
            await orders.stop.wait()
            await _drain(context.registry, orders.now, config.server.grace_seconds)
            drained()
            await orders.leave.wait()
        return 1 if context.ledger.left_open else 0
    except asyncio.CancelledError:
        if not orders.stop.is_set():
            raise
        return 0
    finally:
        if local is not None:
            local.close()


async def _drain(registry: Registry, now: asyncio.Event, seconds: float) -> None:
    """No live stream is cut by a deploy: they go on up to `seconds`, or until a second signal sets `now`."""
    registry.closing = True
    if len(registry):
        logger.info("Shutting down: waiting for %d exchanges; a second signal ends them now.", len(registry))
    waits = {asyncio.ensure_future(registry.idle.wait()), asyncio.ensure_future(now.wait())}
    await asyncio.wait(waits, timeout=seconds, return_when="FIRST_COMPLETED")
    for wait in waits:
        wait.cancel()
    registry.end_all()


async def _publish(metrics: Metrics) -> None:
    """Leave this worker's numbers for its siblings, once a second."""
    while True:
        metrics.publish()
        await asyncio.sleep(1.0)


def _raise_file_limit() -> None:
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
