"""What a caller with limits is told: the headers of each answer, and the error of a refusal.

It never decides anything, and never tells what others of an organisation have used.
"""

from __future__ import annotations

import math

from infron.errors import Forbidden, InfronError, PaymentRequired, RateLimited, Unauthenticated
from infron.money import PICODOLLARS
from infron.policy.limits import Granted, Refused, Room
from infron.request import Headers

_WHOSE = {"key": "This API key", "organisation": "The organisation of this API key"}
_EACH = {"day": "a day", "week": "a week", "month": "a month", "total": "in all"}


def limit_headers(verdict: Granted | Refused, *, ietf: bool = False) -> Headers:
    """What is left of the rates, by the names that OpenAI gives it; `ietf`: by those of the IETF's draft as well."""
    headers: Headers = []
    rooms = [(name, room) for name in _RATES if (room := getattr(verdict, name)) is not None]
    for name, room in rooms:
        headers += _room_headers(name.encode(), room)
    if ietf and rooms:
        policies = [f'"{name}";q={room.limit};w=60{_RATES[name]}' for name, room in rooms]
        left = [f'"{name}";r={room.remaining};t={math.ceil(room.full_in)}' for name, room in rooms]
        headers.append((b"ratelimit-policy", ", ".join(policies).encode()))
        headers.append((b"ratelimit", ", ".join(left).encode()))
    return headers


# By its attribute of a verdict: what the draft adds for its unit.
_RATES = {"requests": "", "tokens": ';qu="tokens"'}


def _room_headers(name: bytes, room: Room) -> Headers:
    return [
        (b"x-ratelimit-limit-" + name, b"%d" % room.limit),
        (b"x-ratelimit-remaining-" + name, b"%d" % room.remaining),
        (b"x-ratelimit-reset-" + name, duration(room.full_in).encode()),
    ]


def duration(seconds: float) -> str:
    """As OpenAI writes it: `6ms`, `1.5s`, `2m3s`."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    shown = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{minutes}m{shown}" if minutes else shown


def refusal_error(refused: Refused, now: float) -> InfronError:
    """The error for the caller. `now`: unix seconds."""
    whose = _WHOSE[refused.holder]
    if refused.kind == "closed":
        if refused.holder == "key":
            return Unauthenticated("This API key has expired or was revoked.")
        return Forbidden(f"{whose} is closed.")
    if refused.kind in ("budget", "credits"):
        return _payment_required(refused, whose, now)
    what = {
        "requests": f"{whose} may start {refused.limit:,} requests a minute",
        "tokens": f"{whose} may use {refused.limit:,} tokens a minute",
        "concurrent": f"{whose} may have {refused.limit:,} answers under way at once, and has",
    }[refused.kind]
    after = refused.retry_after or 1.0
    reset_ms = math.ceil((now + after) * 1000)
    return RateLimited(
        f"{what}; try again in {_said(after)}.",
        retry_after=math.ceil(after),
        headers={
            "retry-after-ms": str(math.ceil(after * 1000)),
            "X-RateLimit-Limit": str(refused.limit),
            "X-RateLimit-Remaining": str(refused.remaining),
            "X-RateLimit-Reset": str(reset_ms),
        },
        limit=refused.kind,
        holder=refused.holder,
        value=refused.limit,
        remaining=refused.remaining,
        reset_at=reset_ms,
    )


def _payment_required(refused: Refused, whose: str, now: float) -> PaymentRequired:
    after = refused.retry_after
    resets = None if after is None else math.ceil((now + after) * 1000)
    period = refused.period
    if period is None:
        what, advice = f"The credits of {whose[0].lower()}{whose[1:]} are used up", "add some"
        reason = "credits_exhausted"
    else:
        limit = f"${refused.limit / PICODOLLARS:,.2f} {_EACH[period]}"
        what = f"{whose} may spend {limit}" if refused.remaining else f"{whose} has used up its {limit}"
        advice = "raise it" if after is None else f"raise it, or wait for {_said(after)}"
        reason = "budget_exhausted"
    left = refused.remaining / PICODOLLARS
    more = f": ${left:,.6f} of it are left, and this request needs more" if left else ""
    error = PaymentRequired(
        f"{what}{more}; {advice}.",
        retry_after=None if after is None else math.ceil(after),
        reason=reason,
        holder=refused.holder,
        period=period,
        resets_at=resets,
    )
    error.should_retry = False  # a library would only try, and wait
    return error


def _said(seconds: float) -> str:
    if seconds < 120:
        return f"{math.ceil(seconds)} s"
    if seconds < 7200:
        return f"{math.ceil(seconds / 60)} minutes"
    return f"{math.ceil(seconds / 3600)} hours"
