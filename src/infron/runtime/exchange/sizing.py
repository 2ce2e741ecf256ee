"""What a request may come to before it is sent: its prompt counted, the limit of its answer, the price of both.

It never knows who asks, nor what a budget allows.
"""

from __future__ import annotations

from msgspec import Struct

from infron.catalog.load import Catalog
from infron.conversation import Conversation
from infron.errors import InfronError
from infron.money import Price
from infron.policy import holding, tokens
from infron.policy.holding import Hold, Wanted, affordable
from infron.policy.routing import Candidate
from infron.request import Request
from infron.runtime.exchange.meter import Meter
from infron.wires.output_limit import asked_choices, asked_limit, limited

SMALL = 1024  # bytes of a request whose prompt is held for at a token a byte: counting it would cost more
_TEMPLATE = 16  # tokens, about, of what stands around a short conversation


class Size(Struct, frozen=True):
    """Of a request at one candidate. `counted`: the tokens of its prompt, as well as we know."""

    counted: int
    wanted: Wanted
    hold: Hold
    watched: bool

    @property
    def tokens(self) -> int:
        """What a rate of tokens is asked for."""
        return holding.asked_tokens(self.counted, self.wanted.most, self.wanted.choices)


def size_of(request: Request, candidate: Candidate, price: Price | None, catalog: Catalog, media_tokens: int) -> Size:
    """Counts the prompt: milliseconds for a large one, which then belong on a thread."""
    provider, model = candidate.provider, candidate.provider_model
    asked = _conversation(request)
    meter = Meter(request, candidate)
    if request.size <= SMALL:
        prompt = meter.count_prompt(tokens.BYTES)
        counted = tokens.by_length(prompt)
    else:
        family = tokens.family_of(provider, model)
        counted = meter.count_prompt(family)
        prompt = holding.bound(counted, meter.count_prompt(tokens.BEYOND), family)
    if asked is not None:
        prompt += holding.media_tokens(asked.messages, media_tokens)
    wanted = Wanted(
        prompt=prompt,
        most=asked_limit(request),
        choices=asked_choices(request),
        hour_cache=asked is not None and holding.keeps_an_hour(asked),
        heard=asked is not None and holding.is_heard(asked),
    )
    hidden = holding.hides_thoughts(model, asked)
    watched = holding.is_watched(provider, streamed=request.stream, hidden=hidden)
    return Size(counted, wanted, hold_of(wanted, candidate, price, catalog, watched=watched), watched)


def hold_of(wanted: Wanted, candidate: Candidate, price: Price | None, catalog: Catalog, *, watched: bool) -> Hold:
    most_output, completes = catalog.most_output(candidate.model, candidate.provider.id), candidate.provider.completes
    return holding.hold_of(wanted, price, most_output=most_output, completes=completes, watched=watched)


def paid_for(request: Request, size: Size, hold: int, price: Price | None) -> Request:
    """The request as the hold pays for it. Where nobody can stop the answer, it gets a limit in any case."""
    whole, asked, most = hold >= size.hold.most, size.wanted.most, size.hold.tokens
    if price is None or size.watched or not most or (whole and asked is not None and asked <= most):
        return request
    return limited(request, most if whole else affordable(size.wanted, hold, most, price), unpaid=not whole)


def roughly(request: Request) -> Size:
    """The same where nothing needs to be counted, by its length alone, and without a hold."""
    wanted = Wanted(prompt=request.size + _TEMPLATE, most=asked_limit(request), choices=asked_choices(request))
    return Size(request.size // 4 + _TEMPLATE, wanted, Hold(), watched=False)


def _conversation(request: Request) -> Conversation | None:
    try:
        return request.conversation
    except InfronError:
        return None
