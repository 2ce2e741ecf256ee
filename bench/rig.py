"""How to start what is measured, put load on it, and read what it used: processes, cores, /proc.

It never knows a figure or a bar; `run.py` decides what is measured and what is good enough.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
TOOL = BUILD / "streamload"
MEASURED_CORE, LOAD_CORE = 0, 1
PORTS = range(20_000, 30_000)  # below the ones that outgoing connections get
LONGEST_SECONDS = 180  # no run of the load tool takes as much longer as it was told to
TICKS = os.sysconf("SC_CLK_TCK")

NGINX_CONF = """
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid {dir}/nginx.pid;
error_log {dir}/nginx.log warn;
events {{ worker_connections {files}; }}
http {{
  access_log off;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  keepalive_requests 1000000000;
  upstream mock {{ server 127.0.0.1:{mock}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://mock;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 1h;
    }}
  }}
}}
"""

PLAIN_CONF = """
[server]
port = {port}
[ledger]
url = "sqlite:///ledger.db"
[local]
enabled = false
[providers.mock]
wire = "openai-chat"
base_url = "http://127.0.0.1:{mock}/v1"
api_key = "x"
on_disconnect = "cancel"
"""  # which earlier checkouts understand too
GATEWAY_CONF = (
    PLAIN_CONF
    + """
[providers.priced]
wire = "openai-chat"
base_url = "http://127.0.0.1:{mock}/v1"
api_key = "x"
on_disconnect = "cancel"
stops_billing = {{ value = "yes", source = "bench", date = "2026-11-28" }}
prices = {{ "*" = {{ prompt = "1", completion = "10" }} }}
[providers.claude]
wire = "anthropic"
base_url = "http://127.0.0.1:{mock}/v1"
chat_path = "/messages"
api_key = "x"
[providers.bedrock]
wire = "bedrock"
base_url = "http://127.0.0.1:{mock}"
chat_path = "/model/{{model}}/converse-stream"
api_key = "x"
[providers.large]
wire = "openai-chat"
base_url = "http://127.0.0.1:{large}/v1"
api_key = "x"
[providers.vectors]
wire = "openai-embeddings"
base_url = "http://127.0.0.1:{large}/v1"
api_key = "x"
"""
)


class Broken(Exception):
    """The measurement could not be made; the message says why."""


class Subject(NamedTuple):
    """Something that stands between the clients and the provider. `pid` is 0 for nothing at all."""

    name: str
    port: int
    pid: int
    headers: tuple[str, ...] = ()


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens now."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise Broken("there is no free port.")


MOCK = free_port()  # of the simulated provider; the load tool listens there while it runs
LARGE = free_port()  # of the one that sends large answers
DIRECT = Subject("direct", MOCK, 0)


def prepare() -> None:
    """Compile the load tool if its source is newer, and move this process to the core of the load."""
    if len(os.sched_getaffinity(0)) < 2:
        raise Broken("two cores are needed: one for what is measured, one for the load.")
    for program in ("gcc", "nginx", "taskset"):
        if not shutil.which(program):
            raise Broken(f"`{program}` must be on PATH.")
    BUILD.mkdir(exist_ok=True)
    source = HERE / "streamload.c"
    if not TOOL.exists() or TOOL.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-o", TOOL, source, "-lm"], check=True)
    os.sched_setaffinity(0, {LOAD_CORE})


# ---- what is measured


@contextmanager
def nginx(folder: Path) -> Iterator[Subject]:
    """nginx as a plain reverse proxy without buffering: the floor to compare with."""
    conf = folder / "nginx.conf"
    port = free_port()
    conf.write_text(NGINX_CONF.format(dir=folder, files=_raise_files(), mock=MOCK, port=port))
    with _running(["nginx", "-p", str(folder), "-e", str(folder / "nginx.log"), "-c", str(conf)], folder) as pid:
        _wait_for(port, "/", {502, 504}, pid)
        yield Subject("nginx", port, pid)


@contextmanager
def gateway(folder: Path, tree: Path = HERE.parent, under: tuple[str, ...] = ()) -> Iterator[Subject]:
    """The gateway of a checkout with everything on: a key that is asked for, ledger on disk, keep-alive, metrics.

    `under`: the command that runs it, such as one of valgrind.
    """
    with gateway_of_keys(folder, {"gateway": ()}, tree, under) as [subject]:
        yield subject


@contextmanager
def gateway_of_keys(
    folder: Path, limits: dict[str, tuple[str, ...]], tree: Path = HERE.parent, under: tuple[str, ...] = ()
) -> Iterator[list[Subject]]:
    """The same with several keys, each a subject; `limits`: options of `infron keys create`, by the subject's name."""
    file, port = _configure(folder, PLAIN_CONF if under else GATEWAY_CONF)
    environment = _environment(tree)
    headers = [f"Authorization: Bearer {_key(file, environment, *options)}" for options in limits.values()]
    _raise_files()
    with _running([*under, *_infron("serve", "--config", str(file))], folder, environment) as pid:
        _wait_for(port, "/readyz", {200}, pid, 120.0 if under else 20.0)
        yield [Subject(name, port, pid, (header,)) for name, header in zip(limits, headers, strict=True)]


def _key(file: Path, environment: dict[str, str], *options: str) -> str:
    create = _infron("keys", "create", "--config", str(file), *options)
    made = subprocess.run(create, env=environment, capture_output=True, text=True, timeout=60)
    key = re.search(r"sk-infron-\S+", made.stdout)
    if not key:
        raise Broken(f"`infron keys create` printed no key: {made.stdout}{made.stderr}")
    return key[0]


def start_seconds(folder: Path) -> float:
    """Wall time from starting `infron serve` until `/readyz` answers 200."""
    file, port = _configure(folder)
    begin = time.monotonic()
    with _running(_infron("serve", "--config", str(file)), folder) as pid:
        return _wait_for(port, "/readyz", {200}, pid) - begin


def _configure(folder: Path, conf: str = GATEWAY_CONF) -> tuple[Path, int]:
    file, port = folder / "infron.toml", free_port()
    file.write_text(conf.format(mock=MOCK, large=LARGE, port=port))
    return file, port


def _infron(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "infron", *arguments]


def _environment(tree: Path = HERE.parent) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree / "src")}


def _raise_files() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@contextmanager
def _running(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> Iterator[int]:
    log = folder / f"{Path(command[0]).name}.out"
    with log.open("ab") as out:
        process = subprocess.Popen(
            ["taskset", "-c", str(MEASURED_CORE), *command],
            env=environment or _environment(),
            cwd=folder,
            stdout=out,
            stderr=out,
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            print(f"  {command[0]} did not stop within 20 s after SIGTERM", file=sys.stderr)


def _wait_for(port: int, path: str, wanted: set[int], pid: int, limit: float = 20.0) -> float:
    """Poll until the status is one of `wanted`; the moment at which it was, in seconds of the monotonic clock."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            raise Broken(f"the server on port {port} ended at once; its output is in {BUILD}.")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", path)
            if connection.getresponse().status in wanted:
                return time.monotonic()
        connection.close()
        time.sleep(0.005)
    raise Broken(f"nothing answered on port {port} within {limit:.0f} s.")


@contextmanager
def large(subject: Subject, api: str) -> Iterator[None]:
    """While clients of this API send large requests through the gateway, and get large answers. They give way to the
    load tool, whose clock must not wait for them.
    """
    command = ["nice", "-n", "10", sys.executable, str(HERE / "large.py"), "--port", str(subject.port), "--api", api]
    command += ["--provider", str(LARGE), "--key", subject.headers[0]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as asking:
        try:
            assert asking.stdout is not None
            asking.stdout.readline()
            yield
            if asking.poll() is not None:
                raise Broken(f"the large requests of {api} ended early; why stands above.")
        finally:
            asking.kill()


# ---- what it used


def _family(pid: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def cpu_us(pid: int) -> float:
    """User and system time of all threads of the process and its descendants so far, in microseconds."""
    ticks = 0
    for member in _family(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks * 1e6 / TICKS


def rss_kib(pid: int) -> int:
    """Resident memory of the process and its descendants, in KiB."""
    return sum(
        int(line.split()[1])
        for member in _family(pid)
        for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        if line.startswith("Rss:")
    )


# ---- the load


def load(subject: Subject, mode: str, **options: float | str) -> dict[str, Any]:
    """Run the tool against the subject. Its result, with what the subject used within the measured window (`cpu_us`),
    what strangers used on the same cores meanwhile (`strangers_us`), and the counts of answers that went `wrong`.
    """
    with _tool(subject, mode, options) as tool:
        begin = _marked(tool, "begin", subject)
        end = _marked(tool, "end", subject)
        result: dict[str, Any] = json.loads(_line(tool, subject))
    wrong = {name: result[name] for name in ("refused", "broken", "lost", "unanswered") if result[name]}
    used = end.subject - begin.subject
    strangers = max(end.everybody - begin.everybody - used - result["tool_cpu_us"], 0.0)
    return {**result, "cpu_us": used, "strangers_us": strangers, "wrong": wrong}


def hold(subject: Subject, seconds: float, **options: float | str) -> int:
    """Open the streams, wait until all are there and `seconds` more; the subject's resident memory then, in KiB."""
    with _tool(subject, "hold", options) as tool:
        _marked(tool, "held", subject)
        time.sleep(seconds)
        return rss_kib(subject.pid)


@contextmanager
def _tool(subject: Subject, mode: str, options: dict[str, float | str]) -> Iterator[subprocess.Popen[str]]:
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    headers = [part for header in subject.headers for part in ("--header", header)]
    target = ["--port", str(MOCK), "--target", f"127.0.0.1:{subject.port}"]
    command = ["taskset", "-c", str(LOAD_CORE), str(TOOL), mode, *target, *headers, *flags]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tool:
        overdue = threading.Timer(LONGEST_SECONDS + float(options.get("seconds", 0)), tool.kill)
        overdue.start()
        try:
            yield tool
        finally:
            overdue.cancel()
            tool.kill()
    time.sleep(0.3)  # what it left behind is tidied up before the next run


def _line(tool: subprocess.Popen[str], subject: Subject) -> str:
    assert tool.stdout is not None
    line = tool.stdout.readline()
    if not line:
        raise Broken(f"the load tool ended early against {subject.name}; its words are above.")
    return line


class Moment(NamedTuple):
    """CPU time so far, in microseconds: of the subject, and of everybody on the two cores."""

    subject: float
    everybody: float


def _marked(tool: subprocess.Popen[str], name: str, subject: Subject) -> Moment:
    if json.loads(_line(tool, subject)).get("mark") != name:
        raise Broken(f"the load tool did not reach `{name}`.")
    return Moment(cpu_us(subject.pid) if subject.pid else 0.0, _busy_us())


def _busy_us() -> float:
    """User, nice and system time of the two cores so far, in microseconds."""
    wanted = {f"cpu{MEASURED_CORE}", f"cpu{LOAD_CORE}"}
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    return sum(sum(map(int, line[1:4])) for line in lines if line[0] in wanted) * 1e6 / TICKS
