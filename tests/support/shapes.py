"""How each provider answers, as far as it is known: one text in its own shape, and what must be recorded of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from infron.testing import DONE, ROLE, SCRIPTS, Answer, Step, delta, frame, speak, text
from infron.testing.scripts import Playable, Script, dump

COUNTS: dict[str, Any] = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}


class Shape(NamedTuple):
    """An answer of the text "Hello": `first` up to "Hel", `rest` from there; and what must be recorded of it.

    `cost`: what the provider says that it bills, in picodollars. `plays`: makes the steps of an answer a script.
    """

    first: list[Step]
    rest: list[Step]
    prompt: int = 20
    completion: int = 5
    cached: int = 0
    reasoning: int = 0
    cost: int | None = None
    finish: str = "stop"
    plays: Callable[[Script], Playable] = list


def choice(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"index": 0, "finish_reason": finish, **fields}


def plain(usage: str) -> Shape:
    """Where nothing else is known: usage in a frame of its own where it is asked for, else on the finish frame."""
    if usage == "always":
        return Shape([ROLE, text("Hel")], [text("lo"), frame(choices=[choice("stop", delta={})], usage=COUNTS), DONE])
    ending = [frame(choices=[], usage=COUNTS)] if usage != "never" else []
    return Shape([ROLE, text("Hel")], [text("lo"), delta("stop"), *ending, DONE])


def spoken(wire: str) -> Shape:
    """An answer on a native wire, in its own bytes."""
    voice = speak(wire)
    first = [voice.start(20), voice.ping(), voice.text("Hel")]
    rest = [voice.text("lo")]
    rest += [voice.finish(), voice.usage(20, 5)] if voice.usage_last else [voice.usage(20, 5), voice.finish()]
    return Shape([*first], [*rest, voice.done()], plays=voice.plays)


def comment(words: str) -> bytes:
    return f": {words}\n\n".encode()


def said(words: str, **fields: Any) -> bytes:
    """A frame whose choice repeats the message so far beside the delta."""
    return frame(
        choices=[choice(delta={"role": "assistant", "content": words}, message={"content": "so far"})], **fields
    )


def run(**fields: Any) -> bytes:
    """A frame of the native path of Workers AI."""
    return b"data: %b\n\n" % dump({**fields, "p": "abcdefgh"})


def usage(prompt: int, completion: int, **fields: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **fields}


COST = 120_000_000  # picodollars: 0.00012 USD
SHAPES: dict[str, Shape] = {
    "openai": Shape(
        [frame(choices=[choice(delta={"role": "assistant", "content": "", "refusal": None})], usage=None), text("Hel")],
        [
            frame(choices=[choice(delta={"content": "lo"}, logprobs=None)], usage=None, service_tier="default"),
            frame(choices=[choice("stop", delta={})], usage=None),
            frame(choices=[], usage={**COUNTS, "prompt_tokens_details": {"cached_tokens": 16}}),
            DONE,
        ],
        cached=16,
    ),
    "azure": Shape(
        [frame(id="", model="", object="", created=0, choices=[], prompt_filter_results=[]), ROLE, text("Hel")],
        [text("lo"), delta("stop"), frame(choices=[], usage=COUNTS), DONE],
    ),
    "fireworks": Shape(
        [
            Answer(headers=(("content-type", "text/event-stream"), ("fireworks-cached-prompt-tokens", "8"))),
            ROLE,
            text("Hel"),
        ],
        [text("lo"), frame(choices=[choice("stop", delta={})], usage=COUNTS), DONE],
        cached=8,
    ),
    "deepinfra": Shape(
        [comment("ping - 2026-08-22 10:00:00"), ROLE, text("Hel")],
        [
            text("lo"),
            frame(
                choices=[choice("stop", delta={})],
                usage={**usage(20, 5), "total_tokens": 35, "estimated_cost": 0.00012}
                | {"completion_tokens_details": {"reasoning_tokens": 10}},
            ),
            DONE,
        ],
        completion=15,
        reasoning=10,
        cost=COST,
    ),
    "together": Shape(
        [delta(role="assistant", content="Hel", token_id=1)],
        [delta(role="assistant", content="lo"), frame(choices=[choice("eos", delta={})], usage=COUNTS), DONE],
    ),
    "xai": Shape(
        [ROLE, text("Hel")],
        [
            text("lo"),
            frame(choices=[choice("", delta={"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]})]),
            frame(
                choices=[],
                usage={**usage(12, 2), "total_tokens": 354, "cost_in_usd_ticks": 1_200_000}
                | {"completion_tokens_details": {"reasoning_tokens": 340}},
            ),
            DONE,
        ],
        prompt=12,
        completion=342,
        reasoning=340,
        cost=COST,
        finish="tool_calls",
    ),
    "deepseek": Shape(
        [comment("keep-alive"), delta(role="assistant", content=None, reasoning_content="Hm."), text("Hel")],
        [
            comment("keep-alive"),
            text("lo"),
            frame(choices=[choice("stop", delta={})], usage={**COUNTS, "prompt_cache_hit_tokens": 16}),
            DONE,
        ],
        cached=16,
    ),
    "groq": Shape(
        [frame(choices=[choice(delta={"role": "assistant", "content": ""})], x_groq={"id": "req_1"}), text("Hel")],
        [text("lo"), frame(choices=[choice("stop", delta={})], x_groq={"id": "req_1", "usage": COUNTS}), DONE],
    ),
    "minimax": Shape(
        [said("Hel", base_resp={"status_code": 0, "status_msg": ""})],
        [
            said("lo"),
            frame(
                object="chat.completion",
                choices=[choice("stop", message={"role": "assistant", "content": "Hello"})],
                usage=COUNTS,
                base_resp={"status_code": 0, "status_msg": ""},
            ),
            DONE,
        ],
    ),
    "huggingface": Shape([ROLE, text("Hel")], [text("lo"), delta("eos_token"), frame(choices=[], usage=COUNTS), DONE]),
    "perplexity": Shape(
        [said("Hel", usage=usage(20, 1), citations=["https://a.example"])],
        [
            said("lo", usage=usage(20, 3)),
            frame(
                object="chat.completion.done",
                choices=[choice("stop", delta={"content": ""}, message={"content": "Hello"})],
                usage={**COUNTS, "cost": {"total_cost": 0.00012}},
            ),
        ],
        cost=COST,
    ),
    "mistral": Shape(
        [
            ROLE,
            delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]),
            delta(content=[{"type": "text", "text": "Hel"}]),
        ],
        [text("lo"), frame(choices=[choice("model_length", delta={"content": ""})], usage=COUNTS), DONE],
        finish="length",
    ),
    "sambanova": Shape(
        [delta(role="assistant", content=""), delta(reasoning="Hm."), text("Hel")],
        [
            text("lo"),
            delta("stop"),
            frame(choices=None, usage={**COUNTS, "is_last_response": True, "total_latency": 0.4}),
            DONE,
        ],
    ),
    "alibaba": Shape(
        [
            delta(role="assistant", content=None, reasoning_content="Hm."),
            frame(choices=[choice("null", delta={"content": "Hel", "reasoning_content": None})], usage=None),
        ],
        [
            text("lo"),
            frame(choices=[choice("stop", delta={"content": ""})], usage=None),
            frame(choices=[], usage={**COUNTS, "prompt_tokens_details": {"cached_tokens": 16}}),
            DONE,
        ],
        cached=16,
    ),
    "ai21": Shape(
        [delta(role="assistant"), frame(choices=[choice(delta={"content": "Hel"})], usage=None)],
        [text("lo"), frame(choices=[choice("stop", delta={"content": ""})], usage=COUNTS), DONE],
    ),
    "cloudflare": Shape(
        [frame(choices=[choice(delta={"role": "assistant", "content": ""})], p="abc"), text("Hel")],
        [text("lo"), delta("stop"), frame(choices=[], usage=COUNTS), DONE],
    ),
    "cloudflare-run": Shape([run(response="Hel")], [run(response="lo"), run(response="", usage=COUNTS), DONE]),
    "azure-classic": Shape(
        [frame(id="", model="", object="", created=0, choices=[], prompt_filter_results=[]), ROLE, text("Hel")],
        [
            frame(choices=[choice(delta={"content": "lo"}, content_filter_results={"hate": {"filtered": False}})]),
            frame(choices=[choice(delta={}, content_filter_offsets={"check_offset": 44}, content_filter_results={})]),
            delta("stop"),
            frame(choices=[], usage=COUNTS),
            DONE,
        ],
    ),
    "moonshotai": Shape(
        [ROLE, text("Hel")], [text("lo"), frame(choices=[choice("stop", delta={}, usage=COUNTS)]), DONE]
    ),
    "openrouter": Shape(
        [comment("OPENROUTER PROCESSING"), ROLE, text("Hel")],
        [text("lo"), delta("stop"), frame(choices=[], usage={**COUNTS, "cost": 0.00012}), DONE],
        cost=COST,
    ),
    "local": Shape(
        [frame(choices=[choice(delta={"role": "assistant"})], prompt_progress={"total": 9}), ROLE, text("Hel")],
        [text("lo"), delta("stop"), frame(choices=[], usage=COUNTS, timings={"n": 1}), DONE],
    ),
}


def shape_of(id: str, wire: str, usage: str) -> Shape:
    """How this row's provider answers."""
    if wire in SCRIPTS and wire != "openai-chat":
        return spoken(wire)
    return SHAPES.get(id) or plain(usage)
