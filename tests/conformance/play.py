"""One exchange without sockets and clocks: a provider's bytes through its decoder, events through a client's encoder.

It does with events what the gateway does with them, for one candidate; the gateway itself is asked in `test_sockets`.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import msgspec

from conformance.clients import CLIENTS
from conformance.said import Ask, Heard
from infron.catalog.definitions import Provider
from infron.errors import InfronError, ProviderUnavailable
from infron.events import AnyClientEvent, Billed, Done, Failed, Finished, Onward, UsageReported
from infron.money import Usage
from infron.policy import billing
from infron.request import Outgoing, Request
from infron.testing import Answer, Call, Voice
from infron.testing.scripts import Playable
from infron.wires import CLIENT_WIRES, PROVIDER_WIRES

KEY = "provider-key"
MODELS = {
    "anthropic": "claude-opus-5",
    "bedrock": "us.anthropic.claude-sonnet-4-6",
    "gemini": "gemini-3.1-pro",
    "openai-responses": "gpt-5.1",
    "replicate": "owner/name",
}


class Played(NamedTuple):
    """What came of an answer. `content`: some was told before it failed. `requests`: all that the provider got."""

    events: list[AnyClientEvent]
    usage: UsageReported
    error: InfronError | None
    content: bool
    requests: list[Call]


def provider_of(voice: Voice) -> Provider:
    defaults = PROVIDER_WIRES[voice.wire].DEFAULTS
    named = {"id": "mock", "name": "Mock", "base_url": "http://127.0.0.1:1/v1", "api_key": KEY}
    return msgspec.convert({**named, **defaults, **voice.definition}, Provider)


def asked(api: str, ask: Ask, model: str = "m") -> Request:
    client = CLIENTS[api]
    return CLIENT_WIRES[api].parse(json.dumps(client.body(ask, model)).encode(), [], client.target(ask, model))


def sent(request: Request, voice: Voice) -> Outgoing:
    """The request as its provider gets it."""
    model = MODELS.get(voice.wire, "m")
    return PROVIDER_WIRES[voice.wire].encode_request(request, provider_of(voice), model, True)


def played(request: Request, voice: Voice, script: Playable, *, in_bytes: bool) -> Played:
    """The answer to this request. `in_bytes`: it comes a byte at a time."""
    provider, wire = provider_of(voice), PROVIDER_WIRES[voice.wire]
    outgoing: Outgoing | None = sent(request, voice)
    assert outgoing is not None
    decoder = wire.Decoder(provider, 16 << 20, KEY, request.api == voice.wire)
    decoder.rename(outgoing.names)
    decoder.expected = outgoing.choices
    out = Played([], UsageReported(Usage()), None, False, [])
    while outgoing is not None:
        call = Call(outgoing.method, outgoing.url or provider.chat_path, {"host": "127.0.0.1:1"}, outgoing.body)
        out.requests.append(call)
        status, kind, body = _answer(script, call)
        pieces = [body[at : at + 1] for at in range(len(body))] if in_bytes else [body]
        outgoing, over = None, False
        try:
            if status >= 300:
                raise wire.parse_error(status, kind, body, provider, KEY, 1.7e9)
            decoder.headers = kind
            if dict(kind)[b"content-type"].startswith(wire.MEDIA_TYPE):
                batches = [decoder.feed(piece) for piece in pieces]
                batches.append(decoder.close())
            else:
                batches = [decoder.whole(body)]
            for event in [event for batch in batches for event in batch]:
                if over:
                    assert not isinstance(event, Done | Failed | Onward)
                if isinstance(event, Onward):
                    outgoing = event.request
                elif isinstance(event, Failed):
                    raise event.error
                elif isinstance(event, UsageReported):
                    if billing.latest(out.usage.usage, event.usage) is not out.usage.usage:
                        out = out._replace(usage=event)
                elif isinstance(event, Done):
                    over = True
                elif not (isinstance(event, Finished) and event.told):
                    out.events.append(event)
                    out = out._replace(content=out.content or event.content)
            if outgoing is None and not decoder.finished:
                raise ProviderUnavailable("Mock ended its answer without a finish reason.", provider="mock")
        except InfronError as error:
            return out._replace(error=error)
    return out


def _answer(script: Playable, call: Call) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body."""
    head, *steps = script(call) if callable(script) else script
    assert isinstance(head, Answer)
    body = b"".join(step for step in steps if isinstance(step, bytes))
    headers = [(name.lower().encode(), value.encode()) for name, value in head.headers]
    return head.status, headers, body if head.body is None else head.body


def heard(api: str, request: Request, it: Played) -> Heard:
    """What a client of this API hears of it, as a stream or as a whole, as it has asked."""
    client, wire = CLIENTS[api], CLIENT_WIRES[api]
    report = it.usage
    billed = Billed(usage=report.usage, charge=None, estimated=False, provider="mock", raw=report.raw)
    if it.error is not None and not (request.stream and it.content):
        return client.problem(it.error.status, wire.render_error(it.error))
    if not request.stream:
        accumulator = wire.Accumulator("gen-1", 1_700_000_000, request)
        for event in it.events:
            accumulator.add(event)
        return client.whole(accumulator.answer(billed))
    encoder = wire.Encoder("gen-1", 1_700_000_000, request)
    frames = [encoder.encode(event) for event in it.events]
    if it.error is not None:
        frames.append(encoder.fail(it.error))
    else:
        frames += [encoder.usage(billed), encoder.close()]
    return client.stream(b"".join(frames))


def once(api: str, ask: Ask, voice: Voice, script: Playable, *, in_bytes: bool = False) -> tuple[Heard, Played]:
    request = asked(api, ask)
    it = played(request, voice, script, in_bytes=in_bytes)
    return heard(api, request, it), it
