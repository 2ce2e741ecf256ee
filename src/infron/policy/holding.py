"""What has to be set aside for an answer before it begins: how many tokens it may have, and what they may cost.

It never knows what a budget allows, and never counts anything itself: texts are counted by a thread.
"""

from __future__ import annotations

import re

from msgspec import Struct

from infron.catalog.definitions import Provider
from infron.conversation import Conversation, Media, Message, ToolResult
from infron.money import Price, Usage
from infron.policy.prices import charge_of

LEAST_WATCHED = 64  # tokens of an answer without which one that is watched need not begin
FIRST_SLICE, LARGEST_SLICE = 256, 8_192  # tokens of a watched answer that are paid for in advance, at once
LEAST_WHOLE = 256  # the same of one that nobody can stop
USUAL_OUTPUT = 8_192  # tokens, of a model of which nobody says how long its answers may be
USUAL_ASK = 1_024  # tokens of an answer that its rate is asked for, at most; what comes beyond is taken as it comes

_EXACT = frozenset(("gpt", "gpt-4"))  # families whose tokens we count as their provider does
_BYTES_A_TOKEN = 500  # of sound and film
# Models that think without showing all of it, and bill for it, by their provider's own id in lower case.
_HIDDEN = re.compile(
    r"(^|[/.])o[1-9]([-@:]|$)|gpt-5(?!.*chat)|codex|grok-(?!.*non-reasoning)(.*reasoning|[4-9]|code)|gemini-(2\.5|[3-9])"
    r"|(^|/)sonar-(reasoning|deep)"
)
_SUMMARISED = re.compile(r"claude-(?!3)")  # what they think is told in short, where it is asked for


class Wanted(Struct, frozen=True, kw_only=True):
    """What an answer may come to, in tokens. `prompt`: no less than it is. `most`: of each choice, None: not said."""

    prompt: int
    most: int | None = None
    choices: int = 1
    hour_cache: bool = False  # parts of the prompt may be kept for an hour
    heard: bool = False  # sounds are in it, or asked for


class Hold(Struct, frozen=True, kw_only=True):
    """Picodollars: without `least` it does not begin, `most` is what it may come to. `tokens`: of each choice."""

    least: int = 0
    most: int = 0
    tokens: int = 0


def bound(count: int, beyond: int, family: str) -> int:
    """Tokens of a text that its provider counts as no more: of our `count` for the family, and of how many bytes the
    text has beyond one for each character. Exact for OpenAI's families; see docs/tokens.md for the others.
    """
    return count if family in _EXACT else max(-(-count * 13 // 10), -(-beyond * 5 // 4))


def is_watched(provider: Provider, *, streamed: bool, hidden: bool) -> bool:
    """Whether an answer can be stopped at any word, so that the provider bills no more than was seen."""
    if not streamed or hidden:
        return False
    return provider.on_disconnect == "call" or (
        provider.on_disconnect == "cancel" and provider.stops_billing.value == "yes"
    )


def hides_thoughts(provider_model: str, asked: Conversation | None) -> bool:
    """Whether the model may think without telling all of it; the provider bills that too."""
    name = provider_model[:200].lower()
    if _HIDDEN.search(name):
        return True
    reasoning = None if asked is None else asked.reasoning
    if reasoning is None or reasoning.effort == "none":
        return False
    return reasoning.exclude or _SUMMARISED.search(name) is not None


def media_tokens(messages: tuple[Message, ...], each: int) -> int:
    """What pictures, sounds, films and documents may come to. `each`: of a picture, and of what has no size."""
    total = 0
    for message in messages:
        for part in message.parts:
            for inner in (part, *part.parts) if isinstance(part, ToolResult) else (part,):
                if isinstance(inner, Media) and not inner.text:
                    total += each if inner.kind == "image" else max(each, len(inner.data) * 3 // 4 // _BYTES_A_TOKEN)
    return total


def keeps_an_hour(asked: Conversation) -> bool:
    """Whether anything of it is to be kept in the provider's cache for an hour."""
    parts = (part for message in asked.messages for part in message.parts)
    return any(getattr(part, "cache", "") == "1h" for part in (*asked.tools, *parts))


def is_heard(asked: Conversation) -> bool:
    """Whether sounds are in it, or asked for: they cost more than text."""
    modalities = asked.fields.get("modalities")
    if isinstance(modalities, list) and "audio" in modalities:
        return True
    return any(isinstance(part, Media) and part.kind == "audio" for each in asked.messages for part in each.parts)


def hold_of(wanted: Wanted, price: Price | None, *, most_output: int | None, completes: bool, watched: bool) -> Hold:
    """What is to be set aside before it begins: of a watched one no more than its first slice. Nothing where nobody
    knows the price, or it is zero.
    """
    if price is None:
        return Hold()
    if not completes:
        whole = dearest(wanted, 0, price)
        return Hold(least=whole, most=whole)
    most = most_output or USUAL_OUTPUT
    if wanted.most is not None:
        most = min(wanted.most, most) if most_output else wanted.most
    if watched:
        most = min(most, FIRST_SLICE)
    least = min(most, LEAST_WATCHED if watched else LEAST_WHOLE)
    return Hold(least=dearest(wanted, least, price), most=dearest(wanted, most, price), tokens=most)


def dearest(wanted: Wanted, completion: int, price: Price) -> int:
    """The most that this prompt and so many tokens in each choice may be charged, in picodollars."""
    return max(_charges(wanted, completion, price))


def affordable(wanted: Wanted, hold: int, most: int, price: Price) -> int:
    """How many tokens of each choice a hold pays for, at most `most`: what `dearest` says of them is within it."""
    for none, one in zip(_charges(wanted, 0, price), _charges(wanted, 1, price), strict=True):
        if none > hold:
            return 0
        if one > none:  # each kind costs the same for every further token
            most = min(most, (hold - none) // (one - none))
    return most


def _charges(wanted: Wanted, completion: int, price: Price) -> list[int]:
    """The charges for all kinds of tokens that these may turn out to be."""
    prompt, said = wanted.prompt, completion * wanted.choices
    kinds = [Usage(prompt=prompt, completion=said)]
    writes = price.cache_write is not None or price.tier is not None
    if writes:
        kinds.append(Usage(prompt=prompt, completion=said, cache_write=prompt))
    if price.reasoning is not None or price.tier is not None:
        kinds.append(Usage(prompt=prompt, completion=said, reasoning=said))
        if writes:
            kinds.append(Usage(prompt=prompt, completion=said, reasoning=said, cache_write=prompt))
    if wanted.hour_cache:
        kinds.append(Usage(prompt=prompt, completion=said, cache_write=prompt, cache_write_1h=prompt))
    if wanted.heard:
        kinds.append(Usage(prompt=prompt, completion=said, prompt_audio=prompt, completion_audio=said))
    charges = (charge_of(usage, price) for usage in kinds)
    return [charge.total for charge in charges if charge is not None]


def asked_tokens(prompt: int, wanted: int | None, choices: int) -> int:
    """What a rate of tokens is asked for before an answer begins."""
    return prompt + choices * min(USUAL_ASK, USUAL_ASK if wanted is None else wanted)
