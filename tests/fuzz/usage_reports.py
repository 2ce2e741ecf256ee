"""Usage reports of providers, on every wire, and the bills that are made of them."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from fuzz.answers import in_words_of
from fuzz.client_requests import MODELS, providers
from fuzz.corpus import whole_of
from fuzz.promises import KEY, Case, Target, check_error, promise, valid
from infron.errors import InfronError
from infron.events import Billed, ClientEvent, Event, Failed, UsageReported
from infron.money import MEDIA, Price, Usage
from infron.policy.prices import price_of
from infron.policy.routing import Candidate
from infron.records import Bill, Outcome
from infron.runtime.exchange.meter import WHOLE, Meter
from infron.runtime.exchange.settlement import Settlements
from infron.wires import CLIENT_WIRES, PROVIDER_WIRES
from infron.wires.bedrock import eventstream

BODY = (
    b'{"model":"m","messages":[{"role":"user","content":"Hi"}],'
    b'"input":"Hi","contents":[{"parts":[{"text":"Hi"}]}],"max_tokens":9}'
)
COUNTED = Usage(prompt=9, completion=4)
LARGEST = 2**63 - 1  # what a store can hold


def check_usage(wire: str, case: Case, chance: random.Random) -> None:
    asked = {name: api.parse(in_words_of(name, BODY), []) for name, api in CLIENT_WIRES.items()}
    candidate = Candidate(chance.choice(providers(wire)), chance.choice(MODELS[wire]), "m")
    request = asked["openai-chat"]
    meter = Meter(request, candidate)
    meter.fully_sent = True
    try:
        events = PROVIDER_WIRES[wire].Decoder(candidate.provider, 16 << 20, KEY, False)
        told = events.whole(stream(wire, case.data)) if wire == "replicate" else events.feed(stream(wire, case.data))
        told += events.close()
    except InfronError as error:
        check_error(error, candidate.provider.id)
        promise(not is_json(case.data), "a usage report fails the answer")
        return
    take(meter, told, case)
    prices = [None, PRICE, price_of(candidate.provider, candidate.provider_model, None, NOW)]
    price = chance.choice(prices)
    settlements = Settlements(
        cast(Any, None), cast(Any, SimpleNamespace(of=lambda *_: price)), (), charge_failed=chance.random() < 0.5
    )
    for outcome in Outcome:
        meter.counted = None
        meter.counted = COUNTED if meter.needs_count(outcome) else None
        bill = settlements.bill(
            outcome, meter, price, slow_reader=chance.random() < 0.5, bills_on=chance.random() < 0.5
        )
        check_bill(bill, outcome, meter)
        for name, api in CLIENT_WIRES.items():
            billed = Billed(
                usage=bill.usage, charge=bill.parts, estimated=bill.estimated, provider="mock", raw=meter.raw
            )
            valid(api.Accumulator("gen-1", 1, asked[name]).answer(billed), "the whole answer")
            for line in api.Encoder("gen-1", 1, asked[name]).usage(billed).split(b"\n"):
                if line.startswith(b"data: {"):
                    valid(line[6:], "a frame of usage")


def take(meter: Meter, events: list[Event], case: Case) -> None:
    for event in events:
        if isinstance(event, UsageReported):
            check_counts(event.usage)
            meter.report(event)
        elif isinstance(event, ClientEvent) and event.content:
            meter.text.append(event.text)
        elif isinstance(event, Failed):
            promise(not is_json(case.data), "a usage report fails the answer")


def check_bill(bill: Bill, outcome: Outcome, meter: Meter) -> None:
    check_counts(bill.usage)
    promise(bill.cost is None or (type(bill.cost) is int and bill.cost >= 0), f"a cost of {bill.cost!r}")
    if bill.parts is not None:
        parts = msgspec.structs.asdict(bill.parts).values()
        promise(all(type(part) is int and part >= 0 for part in parts), f"a charge of {bill.parts!r}")
    promise(bill.charge == (None if bill.parts is None else bill.parts.total), "a charge is not the sum of its parts")
    if outcome in WHOLE and meter.delivered:
        half = bool(bill.usage.prompt) != bool(bill.usage.completion)
        promise(not half, "half a report is taken for a whole one")
        promise(bill.estimated or meter.usage is not None, "an answer without a report is not flagged")
        own = meter.usage is None or bool(meter.usage.prompt) != bool(meter.usage.completion)
        promise(bill.estimated or not own, "our own count is not flagged")


def check_counts(usage: Usage) -> None:
    counts = msgspec.structs.asdict(usage)
    promise(all(type(count) is int and 0 <= count <= LARGEST for count in counts.values()), f"counts of {usage!r}")
    promise(usage.cached + usage.cache_write <= usage.prompt, "more is cached than was asked")
    promise(usage.cache_write_1h <= usage.cache_write, "more is kept for an hour than is kept")
    promise(usage.reasoning + usage.citation <= usage.completion, "more is thought than was said")
    for side, whole in (("prompt", usage.prompt), ("cached", usage.cached), ("completion", usage.completion)):
        promise(sum(counts[f"{side}_{kind}"] for kind in MEDIA) <= whole, f"more media than tokens: {side}")


def is_json(data: bytes) -> bool:
    """Whether it is an object in JSON, or in what Python takes for it (NaN, 1e400), and in one line."""
    try:
        value = json.loads(data.decode())
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(value, dict)
        and b"\n" not in data
        and b"\r" not in data
        and data.count(b"[") + data.count(b"{") < 100
    )


NOW = datetime(2026, 11, 1, tzinfo=UTC)
LONG = Price(prompt=1, completion=3, covers_media=True)
PRICE = Price(
    prompt=10**6, completion=10**7, cached=10**5, reasoning=2 * 10**7, prompt_audio=7, tier_from=120, tier=LONG
)
CHUNK = b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m",%b}\n\n'
HI = CHUNK % b'"choices":[{"index":0,"delta":{"role":"assistant","content":"hi"},"finish_reason":null}]'
END = CHUNK % b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]'


def named(payload: bytes) -> bytes:
    """An event of Anthropic's stream."""
    return b"event: %b\ndata: %b\n\n" % (json.loads(payload.replace(b"@", b"0"))["type"].encode(), payload)


START = named(b'{"type":"message_start","message":{"id":"x","model":"m","usage":{"input_tokens":3}}}')
BLOCK = named(b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"hi"}}')
STOP = named(b'{"type":"content_block_stop","index":0}')
DELTA = named(b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":@}')
OVER = named(b'{"type":"message_stop"}')


def message(kind: str, payload: bytes) -> bytes:
    return eventstream.encode(
        {":message-type": "event", ":event-type": kind, ":content-type": "application/json"}, payload
    )


SAYS = b'{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"hi"}}}}'
SAID = (
    message("messageStart", b'{"role":"assistant"}'),
    message("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"hi"}}'),
    message("messageStop", b'{"stopReason":"end_turn"}'),
)
# A whole answer of each wire that says `hi`; the usage that it reports stands for @.
STREAMS: dict[str, tuple[bytes, ...]] = {
    "openai-chat": (HI, END, CHUNK % b'"choices":[],"usage":@', b"data: [DONE]\n\n"),
    "anthropic": (START, BLOCK, STOP, DELTA, OVER),
    "gemini": (
        b'data: {"candidates":[{"content":{"parts":[{"text":"hi"}]},"finishReason":"STOP"}],"usageMetadata":@}\r\n\r\n',
    ),
    "bedrock": (*SAID, b'{"usage":@}'),
    "cohere": (
        b"data: %b\n\n" % SAYS,
        b'data: {"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":@}}\n\n',
    ),
    "cloudflare": (b'data: {"response":"hi"}\n\ndata: {"response":"","usage":@}\n\n', b"data: [DONE]\n\n"),
    "replicate": (b'{"id":"p1","status":"succeeded","output":["hi"],"metrics":@}',),
    "cohere-embeddings": (b'{"embeddings":[[0.5]],"meta":{"billed_units":@}}',),
    "gemini-embeddings": (b'{"embeddings":[{"values":[0.5]}],"usageMetadata":@}',),
    "vertex-embeddings": (b'{"predictions":[{"embeddings":{"values":[0.5],"statistics":@}}]}',),
    "bedrock-embeddings": (b'{"embedding":[0.5],"inputTextTokenCount":@}',),
    "openai-completions": (
        b'data: {"choices":[{"text":"hi","finish_reason":"stop"}],"usage":@}\n\n',
        b"data: [DONE]\n\n",
    ),
    "openai-embeddings": (b'{"object":"list","data":[{"embedding":[0.5]}],"usage":@}',),
    "openai-responses": (
        b'data: {"type":"response.output_text.delta","output_index":0,"delta":"hi"}\n\n',
        b'data: {"type":"response.completed","response":{"status":"completed","usage":@}}\n\n',
    ),
}


def stream(wire: str, usage: bytes) -> bytes:
    frames = [frame.replace(b"@", usage) for frame in STREAMS[wire]]
    if wire == "bedrock":
        frames[-1] = message("metadata", frames[-1])
    return b"".join(frames)


OPENAI = {
    "prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150, "cost": 0.001, "prompt_cache_hit_tokens": 3,
    "prompt_tokens_details": {"cached_tokens": 20, "audio_tokens": 5, "image_tokens": 6, "cache_write_tokens": 7,
                              "cached_tokens_details": {"audio_tokens": 2}, "cache_write_1h_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 9, "audio_tokens": 3, "accepted_prediction_tokens": 1},
    "citation_tokens": 4, "num_search_queries": 2, "server_tool_use": {"web_search_requests": 1},
    "prompt_audio_seconds": 3, "cost_details": {"upstream_inference_cost": 0.1},
}  # fmt: skip
GEMINI = {
    "promptTokenCount": 100, "candidatesTokenCount": 40, "totalTokenCount": 150, "thoughtsTokenCount": 10,
    "cachedContentTokenCount": 20, "toolUsePromptTokenCount": 5, "trafficType": "ON_DEMAND_FLEX",
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 90}, {"modality": "AUDIO", "tokenCount": 10}],
    "cacheTokensDetails": [{"modality": "IMAGE", "tokenCount": 3}],
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 30}],
}  # fmt: skip
STEP = {"type": "message", "input_tokens": 5, "output_tokens": 5, "cache_creation": {"ephemeral_1h_input_tokens": 1}}
ANTHROPIC = {
    "input_tokens": 100, "output_tokens": 50, "cache_creation_input_tokens": 7, "cache_read_input_tokens": 20,
    "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}, "service_tier": "priority",
    "output_tokens_details": {"thinking_tokens": 9}, "server_tool_use": {"web_search_requests": 2}, "speed": "fast",
    "iterations": [STEP, {**STEP, "type": "compaction"}],
}  # fmt: skip
BEDROCK = {
    "inputTokens": 100, "outputTokens": 50, "totalTokens": 150, "cacheReadInputTokens": 5, "cacheWriteInputTokens": 6,
    "cacheDetails": [{"ttl": "1h", "inputTokens": 4}],
}  # fmt: skip
COUNTS = {"input_tokens": 100, "output_tokens": 50}
COHERE = {"billed_units": COUNTS, "tokens": {"input_tokens": 170, "output_tokens": 50}, "cached_tokens": 16}
RESPONSES = {
    **COUNTS, "total_tokens": 150, "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 5},
    "output_tokens_details": {"reasoning_tokens": 50}, "cost": 0.001,
}  # fmt: skip
REPORTS: dict[str, Any] = {
    "openai-chat": OPENAI, "anthropic": ANTHROPIC, "gemini": GEMINI, "bedrock": BEDROCK, "cohere": COHERE,
    "cloudflare": OPENAI, "replicate": {"input_token_count": 100, "output_token_count": 50, "predict_time": 1.5},
    "openai-responses": RESPONSES, "openai-embeddings": OPENAI, "openai-completions": OPENAI,
    "cohere-embeddings": COUNTS, "gemini-embeddings": GEMINI, "vertex-embeddings": {"token_count": 50},
    "bedrock-embeddings": {"inputTextTokenCount": 50},
}  # fmt: skip
NUMBERS = b'1e400 NaN -Infinity 1.5 50.0 -1 1099511627777 1e12 0 true null [] "50" 1%b'.replace(
    b"%b", b"0" * 400
).split()


def targets() -> dict[str, Target]:
    found: dict[str, Target] = {}
    for wire, report in REPORTS.items():
        plain = json.dumps(report).encode()
        corpus = [Case(wire, plain, {}), *(Case(wire, plain.replace(b"50", number), {}) for number in NUMBERS)]
        check = lambda case, chance, wire=wire: check_usage(wire, case, chance)  # noqa: E731
        found[f"{wire} usage"] = Target(corpus, whole_of, check)
    return found
