"""The settings: their names, types, defaults and help.

It never knows what a setting is used for, nor where its value comes from.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(ge=0, lt=1e9)]  # so neither infinite nor no number
Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1)]


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file. Every field carries its help text; the docs and `--help` are made from them."""


class ServerSection(Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    host: Annotated[
        str, Meta(description="Address to listen on. Any but a loopback one is refused until an API key exists.")
    ] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port to listen on; 0 picks a free one.")] = 8080
    workers: Annotated[Count, Meta(description="Processes that serve; they share the port and the ledger.")] = 1
    grace_seconds: Annotated[
        Seconds,
        Meta(
            description="After SIGTERM or Ctrl-C: how long running streams may go on; 0 ends them at once. "
            "Its old name is drain_seconds."
        ),
    ] = 600.0
    max_streams: Annotated[
        Count,
        Meta(description="Running exchanges in one process; above it requests are answered 503 with retry-after."),
    ] = 20_000
    allowed_hosts: Annotated[
        list[str],
        Meta(description='Host names beside loopback that a gateway without keys answers to: "host.docker.internal".'),
    ] = []
    cors_origins: Annotated[
        list[str], Meta(description='Origins whose pages may call the API, or ["*"]. None by default.')
    ] = []


class LedgerSection(Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    url: Annotated[
        str,
        Meta(description="Where exchanges and keys are kept. A relative path is relative to the configuration file."),
    ] = "sqlite:///infron.db"
    synchronous: Annotated[
        Literal["normal", "full"],
        Meta(
            description="SQLite durability: normal keeps every entry when the process is killed, full also in a "
            "power cut; it costs a disk flush for each batch."
        ),
    ] = "normal"
    keep_days: Annotated[
        int,
        Meta(
            ge=0,
            le=36_500,
            description="Whole days for which settled entries, and so receipts and `infron usage`, are kept; 0: for "
            "ever. What holders were charged, the journal and the audit log stay.",
        ),
    ] = 0
    timeout_seconds: Annotated[
        Seconds,
        Meta(description="How long a request with limits waits for the ledger to say whether it may begin; then 503."),
    ] = 5.0


class KeepAlive(Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    first_seconds: Annotated[
        Seconds, Meta(description="Silence towards the client after which the first comment is sent. 0: no comments.")
    ] = 2.0
    every_seconds: Annotated[
        Seconds, Meta(description="Silence after which each further comment is sent. 0: none.")
    ] = 10.0
    whole: Annotated[
        bool,
        Meta(
            description="The same before answers that are not streamed: white space in front of the JSON. The status "
            "is then 200 whatever follows. Callers choose with the header `X-Infron-Keep-Alive`."
        ),
    ] = False


class Chat(Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    usage: Annotated[
        Literal["always", "asked"],
        Meta(
            description="Counts and cost at the end of a stream: unless a request declines them, or only if it asks "
            "for them with stream_options.include_usage."
        ),
    ] = "always"


class Pages(Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    chat: Annotated[
        bool,
        Meta(description="Show the chat page at `/`: anybody may open it, and it asks for a key where one is needed."),
    ] = True


class Limits(Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    max_body_bytes: Annotated[Count, Meta(description="Largest request body; a larger one is answered 413.")] = 32 << 20
    max_header_bytes: Annotated[
        Count, Meta(description="Largest request head, in all; a larger one is answered 431.")
    ] = 64 << 10
    max_frame_bytes: Annotated[
        Count,
        Meta(description="Largest single frame that a provider may send; a larger one ends the attempt as failed."),
    ] = 16 << 20
    media_tokens: Annotated[
        Count,
        Meta(
            description="What a picture in a request counts as, in tokens, before its provider has counted it: budgets "
            "must have as much left."
        ),
    ] = 3_000
    ietf_headers: Annotated[
        bool,
        Meta(description="Also say what is left in `RateLimit` and `RateLimit-Policy`, as a draft of the IETF has it."),
    ] = False
    unpriced: Annotated[
        Literal["refuse", "refuse-all", "allow"],
        Meta(description="Models whose price nobody knows: refused to keys with a limit, to everybody, to nobody."),
    ] = "refuse"


class Timeouts(Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    header_seconds: Annotated[Seconds, Meta(description="A request's head must be here by then; else 408.")] = 30.0
    body_seconds: Annotated[
        Seconds, Meta(description="Longest pause between two parts of a request's body; then 408.")
    ] = 30.0
    body_total_seconds: Annotated[
        Seconds, Meta(description="A request's whole body must be here by then; else 408.")
    ] = 600.0
    connect_seconds: Annotated[
        Seconds, Meta(description="Connecting to a provider, TLS included; then the next provider is tried, or 504.")
    ] = 10.0
    first_token_seconds: Annotated[
        Seconds,
        Meta(
            description="From the request to a provider to its first content; then the next provider is tried, or "
            "the outcome is timed_out."
        ),
    ] = 300.0
    stall_seconds: Annotated[
        Seconds,
        Meta(
            description="Longest pause between two frames of a provider, comments aside; then the stream ends "
            "with an error frame."
        ),
    ] = 120.0
    total_seconds: Annotated[
        Seconds,
        Meta(description="The whole exchange, all attempts included; then it ends with an error, as timed_out."),
    ] = 3600.0
    client_stall_seconds: Annotated[
        Seconds, Meta(description="A client that takes no byte for so long counts as disconnected.")
    ] = 60.0


class Drain(Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    seconds: Annotated[
        Seconds,
        Meta(
            description="How long an answer is read on after its client left; then it is cut, and the bill is an "
            "estimate."
        ),
    ] = 300.0
    max_concurrent: Annotated[
        int, Meta(ge=0, description="Answers read on at once, over all workers; further ones are cut. 0 reads none on.")
    ] = 100
    max_per_key: Annotated[
        int,
        Meta(
            ge=0,
            description="The same for one API key; at the limit its new requests that might drain get 429. 0 "
            "reads none on.",
        ),
    ] = 20


class Billing(Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    charge_failed: Annotated[
        bool,
        Meta(
            description="Charge the caller for what a failed answer delivered; false: failed answers are free, "
            "and the operator pays."
        ),
    ] = False
    allow_cancel_override: Annotated[
        bool, Meta(description="Let callers cancel where the provider bills on: the operator pays the rest.")
    ] = False


class Memory(Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    seconds: Annotated[
        Seconds,
        Meta(
            description="How long answers of the Responses API can be referred to (`previous_response_id`, "
            "`item_reference`), unless `store` is false. Each process keeps what it gave, in memory alone; workers "
            "ask each other. 0: not at all."
        ),
    ] = 3600.0
    max_bytes: Annotated[
        Count, Meta(description="Of all that one process keeps; then the oldest go of the key that has most.")
    ] = 256 << 20
    max_bytes_per_key: Annotated[Count, Meta(description="Of what is kept for one key; then its oldest go.")] = 32 << 20


class LogSection(Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    format: Annotated[
        Literal["text", "json"],
        Meta(description="One line each: text to read, or JSON to collect, with the same fields."),
    ] = "text"
    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="What is less is left out. info: every exchange with its reason; warning: those that failed."),
    ] = "info"
    file: Annotated[
        str,
        Meta(
            description="File that all workers append to; empty: standard error. Rotate it by renaming it: within a "
            "second of the next line a new one is begun. A relative path is relative to the configuration file."
        ),
    ] = ""
    access: Annotated[
        bool, Meta(description="Also a line for every HTTP answer, refused requests too, whatever the level.")
    ] = False


class Admin(Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    port: Annotated[
        Port, Meta(description="Port of the admin API, for keys made with `infron keys create --admin`. 0: it is off.")
    ] = 0
    host: Annotated[str, Meta(description="Address that the admin API listens on.")] = "127.0.0.1"
    shared: Annotated[
        bool, Meta(description="Also answer it at server.port, below `/admin/v1`, where callers ask.")
    ] = False


class Local(Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    enabled: Annotated[bool, Meta(description="Offer the bundled model, if it is installed.")] = True
    gguf: Annotated[str, Meta(description="Another GGUF file to run instead; empty: the bundled one.")] = ""
    threads: Annotated[Count, Meta(description="Threads that compute; each takes a core while an answer runs.")] = 1
    slots: Annotated[Count, Meta(description="Answers at once; further ones wait for a slot.")] = 4
    context_tokens: Annotated[Count, Meta(description="Prompt and answer of one slot together.")] = 2048


class Config(Section, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings, checked. `providers`, `models`: definitions, whole or some fields; `models` has a setting, too.
    `aliases`: other names for models, and for what they stand.

    `path`: the file, if any. `notes`: a sentence for each thing that is right, but better said otherwise.
    """

    server: ServerSection = ServerSection()
    ledger: LedgerSection = LedgerSection()
    keepalive: KeepAlive = KeepAlive()
    chat: Chat = Chat()
    pages: Pages = Pages()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    drain: Drain = Drain()
    billing: Billing = Billing()
    memory: Memory = Memory()
    log: LogSection = LogSection()
    admin: Admin = Admin()
    local: Local = Local()
    providers: dict[str, dict[str, Any]] = {}
    models: dict[str, dict[str, Any] | bool] = {}
    aliases: dict[str, str | list[str]] = {}
    path: Path | None = None
    notes: tuple[str, ...] = ()

    def ledger_url(self) -> str:
        """The ledger's address with a relative SQLite path made absolute (relative to the file, else to here)."""
        scheme, _, name = self.ledger.url.partition(":///")
        return f"sqlite:///{self._folder() / name}" if scheme == "sqlite" else self.ledger.url

    @property
    def discovers_models(self) -> bool:
        """`models.discover`."""
        return self.models.get(_DISCOVER.name, True) is True

    def log_file(self) -> Path | None:
        """Where the log goes, absolute; None: to standard error."""
        return self._folder() / self.log.file if self.log.file else None

    def _folder(self) -> Path:
        return self.path.resolve().parent if self.path else Path.cwd()


class Setting(NamedTuple):
    """One line of the settings table."""

    section: str
    name: str
    type: str
    default: Any
    help: str

    @property
    def variable(self) -> str:
        return f"INFRON_{self.section}_{self.name}".upper()


# The one setting that stands among definitions: the id of a model has a slash.
_DISCOVER = Setting(
    "models",
    "discover",
    "true or false",
    True,
    "Also list the models that providers with a key say they have; they are asked every few minutes, if anybody asks.",
)
# (section, old name) -> its name of today.
OLD_NAMES = {("server", "drain_seconds"): "grace_seconds"}
SECTIONS = (
    "server", "ledger", "keepalive", "chat", "pages", "limits", "timeouts", "drain", "billing", "memory", "log",
    "admin", "local",
)  # fmt: skip


def settings() -> Iterator[Setting]:
    """Every setting outside of the definitions in `[providers]` and `[models]`, in the order of the file."""
    for section in SECTIONS:
        kind = type(getattr(Config(), section))
        hints = get_type_hints(kind, include_extras=True)
        for field in msgspec.structs.fields(kind):
            hint = hints[field.name]
            default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
            yield Setting(section, field.name, _plain(hint), default, _help(hint))
    yield _DISCOVER


def _plain(hint: Any) -> str:
    origin = get_origin(hint)
    if origin is Annotated:
        return _plain(get_args(hint)[0])
    if origin is Literal:
        return " or ".join(f'"{value}"' for value in get_args(hint))
    if origin in (Union, types.UnionType):
        return " or ".join(_plain(part) for part in get_args(hint))
    if origin is list:
        return f"list of {_plain(get_args(hint)[0])}s"
    name = str(hint.__name__)
    return {"str": "string", "int": "integer", "float": "number", "bool": "true or false"}.get(name, name)


def _help(hint: Any) -> str:
    described = [part.description for part in get_args(hint)[1:] if isinstance(part, Meta) and part.description]
    return described[0] if described else ""
