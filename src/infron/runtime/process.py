"""The process: it puts the parts together, listens, obeys signals, and ends only when every exchange is settled.

It never looks at a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]
try:
    import uvloop
except ImportError:  # not on Windows, and not for every Python
    uvloop = None  # type: ignore[assignment]

from infron.catalog.load import Catalog, load_catalog
from infron.config import Config
from infron.errors import ConfigError
from infron.policy import access, deadlines, prices
from infron.runtime.exchange.clock import Clock
from infron.runtime.exchange.context import Context
from infron.runtime.exchange.counting import Counter
from infron.runtime.exchange.discovery import Discovery
from infron.runtime.exchange.prices import Prices
from infron.runtime.exchange.providers import Providers
from infron.runtime.exchange.registry import Registry
from infron.runtime.exchange.settlement import Settlements
from infron.runtime.ledger.ledger import Ledger
from infron.runtime.local.model import LocalModel
from infron.runtime.server.listener import Server
from infron.runtime.telemetry.lines import Lines
from infron.runtime.telemetry.log import Handler, Log
from infron.runtime.telemetry.metrics import Metrics
from infron.runtime.upstream.client import Client
from infron.wires import PROVIDER_WIRES

Ready = Callable[[str], None]
SWITCH_SECONDS = (
    0.0005  # a thread that computes lets the loop go on after so long; Python's own 5 ms are felt in streams
)
READERS = 2  # one for a request that takes long, and one for others meanwhile
SETTLE_SECONDS = 5.0  # for counts, and for providers that are told to stop, once all exchanges were ended
logger = logging.getLogger("infron")


def serve(config: Config, *, ready: Ready | None = None) -> int:
    """Serve until a signal says otherwise. `ready(base_url)` is called once requests are answered.

    Returns the exit code. Raises ConfigError with one sentence where it cannot start.
    """
    log = Log(config.log, Lines(config.log_file()))
    try:
        with Handler(log):
            return _serve(config, log, ready)
    finally:
        log.close()


def _serve(config: Config, log: Log, ready: Ready | None) -> int:
    rows = load_catalog(config.providers, config.models, os.environ, wires=PROVIDER_WIRES, path=config.path)
    for note in (*config.notes, *rows.notes):
        logger.warning(note)
    _raise_file_limit()
    listener = listen(config.server.host, config.server.port)
    host, port = listener.getsockname()[:2]
    url = f"http://{_shown(config.server.host, host)}:{port}"
    local = LocalModel.prepare(config.local) if config.local.enabled else None
    if config.server.workers == 1:
        return _run_worker(config, rows, listener, local, log, None, (lambda: ready(url)) if ready else None)
    return _run_parent(config, rows, listener, local, log, url, ready)


# ---- one worker


def _run_worker(
    config: Config,
    rows: Catalog,
    listener: socket.socket,
    local: LocalModel | None,
    log: Log,
    shared: Path | None,
    ready: Callable[[], None] | None,
    parent: int | None = None,
) -> int:
    """`parent`: a file descriptor that comes to its end when the parent process does."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop else None) as runner:
            return runner.run(_serve_until_told(config, rows, listener, local, log, shared, ready, parent))
    finally:
        log.close()


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
    where several workers keep their metrics. `log`: told of each exchange that ends. Raises ConfigError where it cannot
    start.
    """
    loop = asyncio.get_running_loop()
    ledger = Ledger(
        config.ledger_url(), synchronous=config.ledger.synchronous, charge_failed=config.billing.charge_failed
    )
    await ledger.start()
    try:
        access.check_listen(config.server.host, keys_exist=ledger.keys.required)
        prices.warm()
        metrics = Metrics(shared)
        context = compose(config, rows, ledger, local, metrics, log)
        registry = context.registry
        metrics.watch("infron_active_exchanges", "Exchanges that are not settled yet.", lambda: len(registry))
        server = Server(context)
        await server.start(listener)
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
            if publishing is not None:
                publishing.cancel()
            await context.discovery.close()
            await context.upstream.close()
            context.counter.close()
            context.readers.shutdown(wait=False, cancel_futures=True)
            metrics.publish()
    finally:
        await ledger.stop()


def compose(
    config: Config, rows: Catalog, ledger: Ledger, local: LocalModel | None, metrics: Metrics, log: Log | None = None
) -> Context:
    """The parts that exchanges share, put together on this loop."""
    loop = asyncio.get_running_loop()
    registry, counter = Registry(), Counter(loop)
    # The registry comes last: whoever waits until nothing runs finds everything told.
    listeners = (ledger, metrics, *([log] if log is not None else ()), registry)
    listed, providers = Prices(rows, loop), Providers(rows, local)
    client = Client(connect_seconds=config.timeouts.connect_seconds)
    return Context(
        config=config,
        loop=loop,
        clock=Clock(loop),
        ledger=ledger,
        metrics=metrics,
        log=log,
        upstream=client,
        providers=providers,
        discovery=Discovery(providers, client, loop, asks=config.discovers_models),
        prices=listed,
        counter=counter,
        readers=ThreadPoolExecutor(READERS, thread_name_prefix="read"),
        registry=registry,
        settlements=Settlements(counter, listed, listeners, charge_failed=config.billing.charge_failed),
        first_look=deadlines.first_look(config),
    )


async def _serve_until_told(
    config: Config,
    rows: Catalog,
    listener: socket.socket,
    local: LocalModel | None,
    log: Log,
    shared: Path | None,
    ready: Callable[[], None] | None,
    parent: int | None,
) -> int:
    sys.setswitchinterval(SWITCH_SECONDS)
    loop = asyncio.get_running_loop()
    stop, now = asyncio.Event(), asyncio.Event()

    def signalled() -> None:
        (now if stop.is_set() else stop).set()

    # A terminal sends Ctrl-C to every process of the group; of several only the parent obeys it, and passes it on.
    for number in (signal.SIGTERM,) if shared else (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled)
    if parent is not None:

        def orphaned() -> None:
            loop.remove_reader(parent)
            logger.error("The parent process is gone: ending now, so that the port is free for the next one.")
            stop.set()
            now.set()

        loop.add_reader(parent, orphaned)
    async with running(config, rows, listener, local, shared, log) as context:
        # What lives now lives to the end: the collector need not look at it again while streams run.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        if ready is not None:
            ready()
        await stop.wait()
        await _drain(context.registry, now, config.server.grace_seconds)
    if local is not None:
        local.close()
    return 1 if context.ledger.left_open else 0


async def _drain(registry: Registry, now: asyncio.Event, seconds: float) -> None:
    """No live stream is cut by a deploy: they go on up to `seconds`, or until a second signal sets `now`."""
    registry.closing = True
    if len(registry):
        logger.info("Shutting down: waiting for %d exchanges; a second signal ends them now.", len(registry))
    waits = {asyncio.ensure_future(registry.idle.wait()), asyncio.ensure_future(now.wait())}
    await asyncio.wait(waits, timeout=seconds, return_when="FIRST_COMPLETED")
    for wait in waits:
        wait.cancel()


async def _publish(metrics: Metrics) -> None:
    """Leave this worker's numbers for its siblings, once a second."""
    while True:
        metrics.publish()
        await asyncio.sleep(1.0)


# ---- several workers


def _run_parent(
    config: Config,
    rows: Catalog,
    listener: socket.socket,
    local: LocalModel | None,
    log: Log,
    url: str,
    ready: Ready | None,
) -> int:
    """Fork the workers, pass signals on, replace one that dies. The last exit code that was not 0 is ours."""
    shared = Path(tempfile.mkdtemp(prefix="infron-"))
    workers: set[int] = set()
    stopping = False
    parent_gone, alive = os.pipe()  # `alive` is open in this process only, for as long as it lives

    def start() -> None:
        pid = os.fork()
        if pid == 0:
            os.close(alive)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            code = 1
            try:
                code = _run_worker(config, rows, listener, local, log, shared, None, parent_gone)
            except ConfigError as error:
                print(f"infron: {error.message}", file=sys.stderr)
                code = 3
            finally:
                os._exit(code)
        workers.add(pid)

    def forward(number: int, frame: object) -> None:
        nonlocal stopping
        stopping = True
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, forward)
    for _ in range(config.server.workers):
        start()
    result = 0
    if ready is not None and _wait_ready(url, workers):
        ready(url)
    while workers:
        pid, status = os.wait()
        workers.discard(pid)
        code = os.waitstatus_to_exitcode(status)
        if code == 3 or (stopping and code):
            result = code if code > 0 else 1
        if code == 3 and not stopping:
            forward(signal.SIGTERM, None)
        elif not stopping:
            logger.error("Worker %d ended with code %d; a new one takes its place.", pid, code)
            start()
    if local is not None:
        local.close()
    shutil.rmtree(shared, ignore_errors=True)
    return result


def _wait_ready(url: str, workers: set[int]) -> bool:
    for _ in range(200):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:
            if answer.status == 200:
                return True
        time.sleep(0.05)
        if not workers:
            return False
    return False


# ---- sockets


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigError with one sentence."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(f"server.host {host!r} is no address of this machine ({error.strerror}).") from error
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another port with --port or server.port."
        ) from error
    listener.listen(4096)
    listener.setblocking(False)
    listener.set_inheritable(True)
    return listener


def _shown(configured: str, bound: str) -> str:
    name = configured if configured in ("localhost",) else bound
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)
    return f"[{name}]" if ":" in name else name


def _raise_file_limit() -> None:
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
