"""The shape of a definition: of a provider, of a model, as shipped (`*.toml` here) and in the configuration.

It never reads a file or the environment, and never decides anything.
"""

from __future__ import annotations

import datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any, Literal

from msgspec import Struct

from infron.money import Price

USUAL_WIRE = "openai-chat"
OnDisconnect = Literal["cancel", "drain", "call"]
Amount = str | int | float
_NO_TOKENS = frozenset(("request", "search", "audio_second"))  # priced each, not by the million


class Definition(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A definition or a part of one."""


class Fact(Definition, frozen=True):
    """One thing that hanging up does at a provider: `yes`, `no` or `unknown`, and where that is known from."""

    value: Literal["yes", "no", "unknown"] = "unknown"
    source: str = ""
    date: str = ""


class Auth(Definition, frozen=True):
    """How our key goes into a request: `header: scheme key`. `env`: the first of these variables that is set.

    `method` other than `header`: where no such variable is set, requests are signed (`aws`: Signature Version 4) or
    carry a token that is fetched and renewed (`google`: OAuth 2) with what the cloud's own chain of credentials finds;
    it is asked where one of the variables `ambient` is set.
    """

    header: str = "Authorization"
    scheme: str = "Bearer"
    env: list[str] = []
    method: Literal["header", "aws", "google"] = "header"
    ambient: list[str] = []


class Rate(Definition, frozen=True):
    """A price as a definition states it: decimal strings, USD per million tokens, by the names of `money.Price`.

    `request`, `search` and `audio_second` are USD each. An empty string: this kind has no price of its own; where it is
    no text, what it costs is unknown. Above `tier_from` prompt tokens `tier` holds instead.
    """

    prompt: Amount
    completion: Amount
    cached: Amount = ""
    cache_write: Amount = ""
    cache_write_1h: Amount = ""
    reasoning: Amount = ""
    citation: Amount = ""
    prompt_audio: Amount = ""
    prompt_image: Amount = ""
    prompt_video: Amount = ""
    cached_audio: Amount = ""
    cached_image: Amount = ""
    cached_video: Amount = ""
    completion_audio: Amount = ""
    completion_image: Amount = ""
    completion_video: Amount = ""
    search: Amount = ""
    audio_second: Amount = ""
    request: Amount = "0"
    tier_from: int = 0
    tier: Rate | None = None


class RequestQuirks(Definition, frozen=True):
    """Where a provider's requests differ from OpenAI's, in this order:

    `stream_options`: further fields of `stream_options`, wherever we send that one · `max_tokens`: the one of the two
    names that it takes ("" = both) · `rename`: root field -> its name there · `integer_logprobs`: `logprobs` is the
    number that OpenAI calls `top_logprobs` (1 without it), and there is no `top_logprobs` · `drop`, `defaults` (where
    absent): root fields · `whole_for`: root fields beside which it does not stream, each with the `type` of it that
    this holds for ("" = any): a whole answer is asked for then · `only`: the only root fields (empty = all) ·
    `strip_tool`: fields dropped from each tool function · `json_beside_tools`: `response_format` is taken where there
    are tools, else it is asked for in words there · `json_schema`: an answer can be held to a schema, else to JSON
    alone, and the schema is told in words · `closed_strict`: `strict` is taken only with a schema whose objects are
    closed, with every property required.

    On the Gemini wire: `vertex`: the host is Vertex AI, where calls of functions have no ids, requests have labels, and
    a service tier is asked for by a header.
    """

    stream_options: dict[str, Any] = {}
    max_tokens: Literal["", "max_tokens", "max_completion_tokens"] = ""
    rename: dict[str, str] = {}
    integer_logprobs: bool = False
    drop: list[str] = []
    defaults: dict[str, Any] = {}
    whole_for: dict[str, str] = {}
    only: list[str] = []
    strip_tool: list[str] = []
    json_beside_tools: bool = True
    json_schema: bool = True
    closed_strict: bool = False
    vertex: bool = False


class MessageQuirks(Definition, frozen=True):
    """Where the messages of a provider's requests differ from OpenAI's.

    `strip`: fields dropped from each message and each part of its content · `takes`: fields of other hosts' answers
    that are given back here too, such as `reasoning_content`, and marks for a cache; where it does not name them they
    are left out, for many hosts refuse a message over them · `roles`: role -> the one to send instead ·
    `only`: role -> fields that a message of that role may have · `plain_content`: content that is a list of text parts
    only is sent as one string (joined by line feeds), null content as an empty string · `tool_id_length`: each tool
    call id in the history is replaced, the same by the same, by so many letters and digits · `reasoning`: the field in
    which thinking is wanted back on every assistant message, be it empty · `system_first`: a system message may stand
    at the beginning only, so that later ones go into it, as in any case those do that `roles` makes system messages ·
    `no_empty`: messages that say nothing are refused, so they are left out · `alternate`: after the system's the turns
    of the user and the model take turns, the user's first, so messages of one side are joined ·
    `speaks_after_results`: the model speaks between results of tools and the user's next message · `prefill`: an
    assistant message at the end is refused (`no`: the user asks to go on), or wants `prefix: true` (`prefix`).
    """

    strip: list[str] = []
    takes: list[str] = []
    roles: dict[str, str] = {}
    only: dict[str, list[str]] = {}
    plain_content: bool = False
    tool_id_length: int = 0
    reasoning: str = ""
    system_first: bool = False
    no_empty: bool = False
    alternate: bool = False
    speaks_after_results: bool = False
    prefill: Literal["", "no", "prefix"] = ""


class AnswerQuirks(Definition, frozen=True):
    """Where a provider's answers differ from OpenAI's.

    `usage_path`: where usage stands if not at the root, dotted · `usage_excludes_reasoning`: `completion_tokens` must
    be raised by the reasoning tokens · `cached_header`: the response header that counts cached prompt tokens where
    usage does not · `cost_path`: where usage holds what the provider bills, dotted, in units of which `cost_per_usd`
    make a dollar · `error_finish`: finish reasons that are failures · `finish`: finish reasons that mean
    another one than they usually do; an empty one ends a choice only where it is named here, and one that means "" ends
    none · `error_path`: a field, dotted, that reports a failure unless it is absent, empty or zero;
    `error_message_path`: its text, if it is not the text itself · `skip_frames`: a frame with this root field is
    progress, nothing else · `drop`: root fields never passed on · `drop_choice`: fields never passed on in a choice
    · `cumulative_details`: `reasoning_details` may repeat what they said before: only what is new is passed on.
    """

    usage_path: str = ""
    usage_excludes_reasoning: bool = False
    cached_header: str = ""
    cost_path: str = ""
    cost_per_usd: int = 1
    error_finish: list[str] = []
    finish: dict[str, str] = {}
    error_path: str = ""
    error_message_path: str = ""
    skip_frames: list[str] = []
    drop: list[str] = []
    drop_choice: list[str] = []
    cumulative_details: bool = False


class Quirks(Definition, frozen=True):
    """Where a provider differs from its wire."""

    request: RequestQuirks = RequestQuirks()
    message: MessageQuirks = MessageQuirks()
    answer: AnswerQuirks = AnswerQuirks()


# Where the quirks stand that a configuration may still name without their table.
_NEVER_FLAT = ("only", "drop", "json_beside_tools", "json_schema", "closed_strict")
FLAT_QUIRKS: dict[str, tuple[str, str]] = {
    **{name: ("request", name) for name in RequestQuirks.__struct_fields__ if name not in _NEVER_FLAT},
    **{name: ("message", name) for name in ("roles", "plain_content", "tool_id_length")},
    **{name: ("answer", name) for name in AnswerQuirks.__struct_fields__},
    "drop": ("request", "drop"),
    "only": ("request", "only"),
    "strip_message": ("message", "strip"),
    "only_message": ("message", "only"),
    "drop_members": ("answer", "drop"),
}

# Quirks of answers that are repaired at every provider now.
NEEDLESS_QUIRKS = frozenset(("loose_tool_calls", "split_content"))


class Also(Definition, frozen=True):
    """A further API whose clients it serves, at the same address and with the same key. `path`: empty: it does not.

    `wire`: in which it is asked for that (empty: the API's own) · `takes`: the types of tools that it knows there
    (empty = all): requests with others are put in its own wire · `quirks`: where it differs from that wire; those of
    its own wire do not count there.
    """

    path: str
    wire: str = ""
    takes: list[str] = []
    quirks: Quirks = Quirks()


class Provider(Definition, frozen=True):
    """Who serves, where, on which wire, and what hanging up does there.

    `base_url` and `chat_path` may hold `{name}` for each of `variables` (name -> environment variables, the first set
    wins; `variable_defaults` where none is), `chat_path` also `{model}`, the provider's own id of the model. `hosts`:
    variable of `base_url` -> its value -> what to use for `base_url` instead. `version_path`: what a `base_url` without
    any version of an API is followed by.
    `headers_env`: header -> environment variable, sent where that is set. `models_path`: empty where there is no list;
    `lists_models`: it is one of what this account can ask, not of all that there is.
    `usage`: how token counts come in a stream: `ask` (only with `stream_options`), `try` (ask, and once more without
    if it refuses the field), `always` (unasked), `never`. `status` other than `operating` or `uncertain` means that no
    request is sent: `since` and `successor` say so to whoever asks. `api_key` comes from the configuration only.
    `also`: client API -> how it is asked for that: on its own wire what clients send goes on as it came. `completes`:
    its answers hold tokens, which have a price; embeddings have none.
    `bundled`: a process of the gateway serves it, which says itself where it listens.
    `retry_unanswered`: a request that crosses with the closing of the kept connection it is written to, so that nothing
    at all comes back, is sent once more.
    `price_list`: the provider's id in genai-prices; `prices`: its own id of a model ("*": any) -> what it costs.
    """

    id: str
    name: str
    aliases: list[str] = []
    wire: str = USUAL_WIRE
    base_url: str | None = None
    version_path: str = ""
    chat_path: str = "/chat/completions"
    models_path: str | None = "/models"
    also: dict[str, Also] = {}
    completes: bool = True
    auth: Auth = Auth()
    api_key: str | None = None
    headers: dict[str, str] = {}
    headers_env: dict[str, str] = {}
    variables: dict[str, list[str]] = {}
    variable_defaults: dict[str, str] = {}
    hosts: dict[str, dict[str, str]] = {}
    lists_models: bool = True
    usage: Literal["ask", "try", "always", "never"] = "try"
    on_disconnect: OnDisconnect = "cancel"
    stops_work: Fact = Fact()
    stops_billing: Fact = Fact()
    reports_partial_usage: Fact = Fact()
    status: Literal["operating", "uncertain", "closed"] = "operating"
    since: str = ""
    successor: str = ""
    tokenizer: str = ""
    bundled: bool = False
    price_list: str = ""
    prices: dict[str, Rate] = {}
    max_connections: int = 10_000
    retry_unanswered: bool = True
    quirks: Quirks = Quirks()
    notes: str = ""
    source: str = ""

    def __repr__(self) -> str:  # the generated one would show the key
        return f"Provider({self.id!r})"


class Offer(Definition, frozen=True):
    """One provider that serves a model, `id` being its own id of it; limits only where they differ from the model's."""

    provider: str
    id: str
    price: Rate | None = None
    context_length: int | None = None
    max_output: int | None = None


class Model(Definition, frozen=True):
    """A public model id (`author/slug`) and who serves it, best first. Limits in tokens, None where unknown.

    `input` and `output` are kinds of content (`text`, `image`, `audio`, `video`, `file`) that are known to work: they
    inform, nothing is refused by them.
    """

    id: str
    name: str
    served_by: list[Offer]
    context_length: int | None = None
    max_output: int | None = None
    input: tuple[str, ...] = ("text",)
    output: tuple[str, ...] = ("text",)
    released: datetime.date | None = None
    description: str = ""

    @property
    def created(self) -> int:
        """Midnight (UTC) of the day it was released, in unix seconds; 0 where that is unknown."""
        if self.released is None:
            return 0
        return int(datetime.datetime.combine(self.released, datetime.time(), datetime.UTC).timestamp())


def per_token(usd_per_million: Decimal) -> int:
    """USD per million tokens as picodollars per token; a fraction of one is rounded half to even."""
    return int((usd_per_million * 1_000_000).to_integral_value(ROUND_HALF_EVEN))


def price_from(rate: Rate, source: str) -> Price:
    """A stated price in picodollars. Raises ValueError for what is not a decimal number of at least 0."""
    stated = {name: getattr(rate, name) for name in Rate.__struct_fields__ if name not in ("tier", "tier_from")}
    amounts: dict[str, Any] = {
        name: per_token(_decimal(amount) * (1_000_000 if name in _NO_TOKENS else 1))
        for name, amount in stated.items()
        if amount != "" or name in ("prompt", "completion")
    }
    tier = price_from(rate.tier, source) if rate.tier else None
    return Price(**amounts, source=source, tier_from=rate.tier_from, tier=tier)


def _decimal(amount: Amount) -> Decimal:
    try:
        value = Decimal(str(amount))
    except InvalidOperation:
        value = Decimal(-1)
    if not value.is_finite() or not 0 <= value <= 10**6:
        raise ValueError(f'{amount!r} is not a price: write USD per million tokens, such as "0.25"')
    return value
