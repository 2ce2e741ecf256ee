"""Who serves which model, where and how: the rows of `providers.toml` and `models.toml`, checked.

It never opens a connection, and never decides which row a request takes.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

OnDisconnect = Literal["cancel", "drain", "call"]


class Row(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A row or a part of one."""


class Fact(Row):
    """One thing that hanging up does at a provider: `yes`, `no` or `unknown`, and where that is known from."""

    value: Literal["yes", "no", "unknown"] = "unknown"
    source: str = ""
    date: str = ""


class Auth(Row):
    """How our key goes into a request: `header: scheme key`. `env`: the first of these variables that is set."""

    header: str = "Authorization"
    scheme: str = "Bearer"
    env: list[str] = []


class Quirks(Row):
    """Where a provider of the OpenAI chat wire differs from OpenAI. Requests:

    `max_tokens`: the one of the two names that it takes ("" = both) · `roles`: role to send instead ·
    `rename`, `drop`, `only`, `defaults`: root members of the request (`only` empty = all) ·
    `strip_message`, `strip_tool`: members dropped from each message, each tool function.

    Answers: `usage_path`: where usage stands if not at the root, dotted · `usage_excludes_reasoning`:
    `completion_tokens` must be raised by the reasoning tokens · `error_finish`: finish reasons that are failures ·
    `skip_frames`: a frame with this root member is progress, nothing else · `drop_members`: root members never passed on.
    """

    max_tokens: Literal["", "max_tokens", "max_completion_tokens"] = ""
    roles: dict[str, str] = {}
    rename: dict[str, str] = {}
    drop: list[str] = []
    only: list[str] = []
    defaults: dict[str, Any] = {}
    strip_message: list[str] = []
    strip_tool: list[str] = []
    usage_path: str = ""
    usage_excludes_reasoning: bool = False
    error_finish: list[str] = []
    skip_frames: list[str] = []
    drop_members: list[str] = []


class Provider(Row):
    """One row: who serves, where, on which wire, and what hanging up does there.

    `base_url` may hold `{name}` for each of `variables` (name -> environment variables, the first set wins).
    `usage`: how token counts come in a stream: `ask` (only with `stream_options`), `try` (ask, and once more without
    if it refuses the field), `always` (unasked), `never`. `status` other than `operating` or `uncertain` means that no
    request is sent: `since` and `successor` say so to whoever asks. `api_key` comes from the configuration only.
    """

    id: str
    name: str
    aliases: list[str] = []
    wire: str = "openai-chat"
    base_url: str | None = None
    chat_path: str = "/chat/completions"
    models_path: str | None = "/models"
    auth: Auth = Auth()
    api_key: str | None = None
    headers: dict[str, str] = {}
    headers_env: dict[str, str] = {}
    variables: dict[str, list[str]] = {}
    usage: Literal["ask", "try", "always", "never"] = "try"
    on_disconnect: OnDisconnect = "cancel"
    stops_work: Fact = Fact()
    stops_billing: Fact = Fact()
    reports_partial_usage: Fact = Fact()
    status: Literal["operating", "uncertain", "closed"] = "operating"
    since: str = ""
    successor: str = ""
    tokenizer: str = ""
    max_connections: int = 10_000
    quirks: Quirks = Quirks()
    notes: str = ""
    source: str = ""
