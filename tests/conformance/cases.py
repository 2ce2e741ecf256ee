"""The cases: how a provider says something, by its voice, and what every client hears, whichever API it speaks.

They never name a pair: what a wire cannot say is a line of `UNSAID` or `LESS`, what an API has no word for stands with
its client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from conformance.clients import CLIENTS
from conformance.said import Ask, Counts, Heard, Kind, Problem, Said
from infron.testing import Answer, Voice, speak
from infron.testing.scripts import Fault, Playable, Reason
from infron.wires import CLIENT_WIRES, PROVIDER_WIRES

CITY = ("weather", '{"city": "Oslo"}')
TOOLS = ("weather", "time")
USAGE = Counts(20, 9)


class Case(NamedTuple):
    """`script`: what the provider plays."""

    script: Callable[[Voice], Playable]
    said: Said
    ask: Ask = Ask()
    apis: tuple[str, ...] = ()  # that can ask for it; (): all


def streamed(
    *said: Callable[[Voice], bytes], reason: Reason = "stop", usage: Counts = USAGE, last: bool | None = None
) -> Callable[[Voice], Playable]:
    """A stream that comes to its end. `last`: the counts follow the reason; None: as is the wire's habit."""

    def script(voice: Voice) -> Playable:
        steps = [voice.start(usage.prompt), *(say(voice) for say in said)]
        if voice.usage_last if last is None else last:
            steps += [voice.finish(reason), voice.usage(*usage)]
            if not steps[-1]:
                raise ValueError(f"{voice.wire} tells the counts with the end")
        else:
            steps += [voice.usage(*usage), voice.finish(reason)]
        return voice.plays([step for step in [*steps, voice.done()] if step])

    return script


def cut(*said: Callable[[Voice], bytes], done: bool = False) -> Callable[[Voice], Playable]:
    """A stream that ends before its end. `done`: the mark of the end comes all the same."""

    def script(voice: Voice) -> Playable:
        steps = [voice.start(), *(say(voice) for say in said), voice.done() if done else b""]
        if done and not steps[-1]:
            raise ValueError(f"{voice.wire} has no mark of the end beside the reason")
        return voice.plays([step for step in steps if step])

    return script


def refused(kind: Fault) -> Callable[[Voice], Playable]:
    def script(voice: Voice) -> Playable:
        answer: Answer = voice.refuse(kind, "scripted refusal", retry_after="7")
        return [answer]

    return script


def text(content: str) -> Callable[[Voice], bytes]:
    return lambda voice: voice.text(content)


def refusal(content: str) -> Callable[[Voice], bytes]:
    return lambda voice: voice.refusal(content)


def thinking(content: str, signature: str = "") -> Callable[[Voice], bytes]:
    return lambda voice: voice.thinking(content, signature)


def call(name: str, arguments: str, id: str) -> Callable[[Voice], bytes]:
    return lambda voice: voice.tool_call(name, arguments, id)


def fails(kind: Fault) -> Callable[[Voice], bytes]:
    return lambda voice: voice.error(kind, "scripted failure")


def ping(voice: Voice) -> bytes:
    return voice.ping()


WORDS = (text("Hel"), ping, text("lo \u2028高い"))
HELLO = "Hello \u2028高い"
WITH_TOOLS = Ask(tools=TOOLS)
ONE, TWO = call(*CITY, "call_1"), call("time", "{}", "call_2")

CASES: dict[str, Case] = {
    "text": Case(streamed(*WORDS), Said(text=HELLO, finish="stop", usage=USAGE)),
    "counts with their parts": Case(
        streamed(*WORDS, usage=Counts(20, 9, 16, 4)), Said(text=HELLO, finish="stop", usage=Counts(20, 9, 16, 4))
    ),
    "counts before the reason": Case(streamed(*WORDS, last=False), Said(text=HELLO, finish="stop", usage=USAGE)),
    "counts behind the reason": Case(streamed(*WORDS, last=True), Said(text=HELLO, finish="stop", usage=USAGE)),
    "call": Case(streamed(ONE, reason="tool_calls"), Said(calls=(CITY,), finish="tool_calls", usage=USAGE), WITH_TOOLS),
    "calls in parallel, with text before": Case(
        streamed(text("Look"), ONE, TWO, reason="tool_calls"),
        Said(text="Look", calls=(CITY, ("time", "{}")), finish="tool_calls", usage=USAGE),
        WITH_TOOLS,
    ),
    "call without arguments": Case(
        streamed(call("time", "", "call_1"), reason="tool_calls"),
        Said(calls=(("time", "{}"),), finish="tool_calls", usage=USAGE),
        WITH_TOOLS,
    ),
    "call that its provider ends as a text": Case(
        streamed(ONE, reason="stop"), Said(calls=(CITY,), finish="tool_calls", usage=USAGE), WITH_TOOLS
    ),
    "call of a custom tool beside a function's": Case(
        streamed(lambda voice: voice.custom_call("patch", "*** Begin\n+ä"), TWO, reason="tool_calls"),
        Said(calls=(("time", "{}"),), custom=(("patch", "*** Begin\n+ä"),), finish="tool_calls", usage=USAGE),
        Ask(tools=TOOLS, custom=("patch",)),
        apis=("openai-responses",),
    ),
    "thinking": Case(
        streamed(thinking("Hm"), thinking(".", "c2ln"), *WORDS),
        Said(thinking="Hm.", text=HELLO, finish="stop", usage=USAGE),
    ),
    "thinking and a call": Case(
        streamed(thinking("Hm.", "c2ln"), ONE, reason="tool_calls"),
        Said(thinking="Hm.", calls=(CITY,), finish="tool_calls", usage=USAGE),
        WITH_TOOLS,
    ),
    "length": Case(streamed(*WORDS, reason="length"), Said(text=HELLO, finish="length", usage=USAGE)),
    "length in thinking": Case(
        streamed(thinking("Hm.", "c2ln"), reason="length"), Said(thinking="Hm.", finish="length", usage=USAGE)
    ),
    "content filter": Case(
        streamed(*WORDS, reason="content_filter"), Said(text=HELLO, finish="content_filter", usage=USAGE)
    ),
    "refusal": Case(streamed(refusal("I "), refusal("can't.")), Said(refusal="I can't.", finish="stop", usage=USAGE)),
    "refusal behind text": Case(
        streamed(text("Well: "), refusal("no.")), Said(text="Well: ", refusal="no.", finish="stop", usage=USAGE)
    ),
    "nothing": Case(streamed(), Said(finish="stop", usage=USAGE)),
    "cut": Case(cut(*WORDS), Said(text=HELLO, problem=Problem("failed"))),
    "cut in a call": Case(cut(text("Look"), ONE), Said(text="Look", problem=Problem("failed")), WITH_TOOLS),
    "cut before content": Case(cut(ping), Said(problem=Problem("failed", 502))),
    "the mark of the end alone": Case(cut(*WORDS, done=True), Said(text=HELLO, problem=Problem("failed"))),
    "failure: overloaded": Case(cut(*WORDS, fails("overloaded")), Said(text=HELLO, problem=Problem("overloaded"))),
    "failure: rate limit": Case(cut(*WORDS, fails("rate_limit")), Said(text=HELLO, problem=Problem("rate_limit"))),
    "failure: server": Case(cut(*WORDS, fails("server")), Said(text=HELLO, problem=Problem("failed"))),
    "failure in thinking": Case(cut(thinking("Hm."), fails("server")), Said(thinking="Hm.", problem=Problem("failed"))),
    "failure before content": Case(cut(fails("rate_limit")), Said(problem=Problem("rate_limit", 429))),
    "refusal: invalid": Case(refused("invalid"), Said(problem=Problem("invalid", 400))),
    "refusal: key": Case(refused("key"), Said(problem=Problem("key", 502))),
    "refusal: rate limit": Case(refused("rate_limit"), Said(problem=Problem("rate_limit", 429))),
    "refusal: server": Case(refused("server"), Said(problem=Problem("failed", 502))),
    "refusal: overloaded": Case(refused("overloaded"), Said(problem=Problem("overloaded", 503))),
}

# ---- what wires and APIs cannot say

_NO_REASON = "it has no reason for the end"
_NO_MARK = "its end is the reason, or the body's"
_WITH_END = "it tells the counts with the end"
_AS_TEXT = {name: "it refuses in its text" for name in ("refusal", "refusal behind text")}
# Cases for which a wire has no words, so that its voice refuses.
UNSAID: dict[str, dict[str, str]] = {
    "openai-responses": {"the mark of the end alone": _NO_MARK, "counts behind the reason": _WITH_END},
    "anthropic": _AS_TEXT,
    "bedrock": {**_AS_TEXT, "the mark of the end alone": _NO_MARK},
    "gemini": {**_AS_TEXT, "the mark of the end alone": _NO_MARK},
    "cohere": {**_AS_TEXT, "content filter": "there is none", "counts behind the reason": _WITH_END},
    "cloudflare": {**_AS_TEXT, **{name: _NO_REASON for name in ("length", "length in thinking", "content filter")}},
    "replicate": {
        **_AS_TEXT,
        **{name: "it has no tools" for name, case in CASES.items() if case.ask.tools or case.ask.custom},
        **{name: "it has no thinking" for name, case in CASES.items() if case.said.thinking},
        **{name: "it has no such reason" for name in ("length", "content filter")},
        "the mark of the end alone": _NO_MARK,
        "counts behind the reason": _WITH_END,
    },
}
_SILENT = Counts(0, 0)  # no counts came, as after a prediction that its voice gives none
# What is heard of a wire where it says less, or has ways of its own.
LESS: dict[tuple[str, str], dict[str, Any]] = {
    # Counts whose parts it does not tell.
    ("bedrock", "counts with their parts"): {"usage": Counts(20, 9, 16)},
    ("cohere", "counts with their parts"): {"usage": Counts(20, 9, 16)},
    ("replicate", "counts with their parts"): {"usage": USAGE},
    # A failure inside a stream that is a sentence without a word for what failed.
    **{
        (wire, f"failure: {what}"): {"problem": Problem("failed")}
        for wire in ("cohere", "replicate")
        for what in ("overloaded", "rate limit")
    },
    ("cohere", "failure before content"): {"problem": Problem("failed", 502)},
    ("replicate", "failure before content"): {"problem": Problem("failed", 502)},
    ("cloudflare", "failure: overloaded"): {"problem": Problem("rate_limit")},  # its own status of that is 429
    ("replicate", "refusal: invalid"): {"problem": Problem("invalid", 422)},
    # The reason of its end is the mark of it.
    ("cloudflare", "the mark of the end alone"): {"finish": "stop", "usage": _SILENT, "problem": None},
    # A stream that breaks is taken up again, and the prediction says whether it has succeeded.
    ("replicate", "cut"): {"finish": "stop", "usage": _SILENT, "problem": None},
    ("replicate", "cut before content"): {"finish": "stop", "usage": _SILENT, "problem": None},
}


def expected(name: str, api: str, wire: str) -> Said:
    """What a client of this API hears of the case from this wire."""
    client, case = CLIENTS[api], CASES[name]
    said = case.said._replace(**LESS.get((wire, name), {}))
    if said.refusal and not client.refuses:
        said = said._replace(text=said.text + said.refusal, refusal="")
    if said.usage is not None and not client.counts_parts:
        said = said._replace(usage=Counts(said.usage.prompt, said.usage.completion))
    if (problem := said.problem) is not None:
        words = client.wordless if problem.status else client.wordless_in_stream
        said = said._replace(problem=problem._replace(kind=words.get(problem.kind, problem.kind)))
    return said


def expected_whole(name: str, api: str, wire: str) -> Said:
    """The same of an answer that is not streamed: a failure leaves nothing of it, but has a status."""
    said = CASES[name].said._replace(**LESS.get((wire, name), {}))
    if (problem := said.problem) is None:
        return expected(name, api, wire)
    kind = CLIENTS[api].wordless.get(problem.kind, problem.kind)
    return Said(problem=Problem(kind, problem.status or STATUS.get(problem.kind, 502)))


STATUS: dict[Kind, int] = {"rate_limit": 429, "overloaded": 503}


def judged(heard: Heard) -> Heard:
    """Of an answer that failed what it had said of calls and counts is nobody's. Whether a failure is the provider's
    500 or our 502 depends on what it says of itself.
    """
    said = heard.said
    if said.problem is None:
        return heard
    assert "provider-key" not in heard.message
    assert heard.message
    status = 502 if said.problem.status == 500 and said.problem.kind == "failed" else said.problem.status
    return heard._replace(
        said=said._replace(usage=None, calls=(), custom=(), problem=said.problem._replace(status=status))
    )


def script_of(name: str, wire: str) -> tuple[Voice, Playable]:
    """The voice that says a case, and what it plays."""
    voice = speak(wire)
    return voice, CASES[name].script(voice)


# Embeddings and completions have APIs of their own, in which no turn is said: tests/wires has what they promise.
_TURNLESS = ("-embeddings", "-completions")
WIRES = [wire for wire in PROVIDER_WIRES if not wire.endswith(_TURNLESS)]
APIS = [api for api in CLIENT_WIRES if not api.endswith(_TURNLESS)]
CELLS = [
    (name, wire, api)
    for name, case in CASES.items()
    for wire in WIRES
    for api in APIS
    if name not in UNSAID.get(wire, {}) and (not case.apis or api in case.apis)
]
