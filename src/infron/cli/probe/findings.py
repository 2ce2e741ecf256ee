"""What the cancel experiment proves: the three facts of a provider's definition, each with its reason.

It never guesses, and never asks anybody: where nothing proves a fact, the fact is `unknown`, and says why.
"""

from __future__ import annotations

import json
import re
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from infron import printable

FactValue = Literal["yes", "no", "unknown"]

# So much of the whole answer must have been left at the disconnect, for its end to prove that nothing stopped it.
LEFT_SECONDS = 1.0
# From this part of the whole answer on it counts as all of it: two answers are seldom equally long.
WHOLE = 0.95


class Trial(Struct, kw_only=True):
    """One answer of the experiment, whole or cut. `asked`: unix seconds; `seconds`: from then to its end, or to
    the disconnect.

    `tokens`: of a whole answer as it was reported, of a cut one those that were delivered, by our count. `reported`:
    completion tokens that the provider had reported before the disconnect; None: nothing. `closed_ms`: from the
    disconnect to the end of the provider's connection. `left`: the disconnect, in `time.monotonic()`.
    """

    asked: float
    seconds: float = 0.0
    tokens: int = 0
    reported: int | None = None
    finish: str | None = None
    upstream_id: str | None = None
    closed_ms: float | None = None
    left: float = 0.0


class Report(Struct, frozen=True, kw_only=True):
    """What the provider said of the cut answer. `words`: that as a clause, such as "its record says …".

    `tokens`: completion tokens that it counted, `billed` if they are what it bills · `seconds`: of work, and
    `whole_seconds` of the whole answer's · `stopped`: its own word that it stopped · `freed`: seconds after the
    disconnect until it was idle · `working`: it is still at work. `final`: it will say nothing else.
    """

    words: str
    tokens: int | None = None
    billed: bool = False
    seconds: float | None = None
    whole_seconds: float | None = None
    stopped: bool = False
    freed: float | None = None
    working: bool = False
    final: bool = True


class ProvenFact(Struct, frozen=True):
    """What is known, and the sentence that says from where; an `unknown` one says why."""

    value: FactValue
    source: str
    date: str = ""


class Finding(Struct, frozen=True, kw_only=True):
    """What the experiment showed. `on_disconnect`: what the definition should say; None: nothing new.

    `cut_tokens`: delivered before the disconnect. `whole_…`: of the same answer to its end, None without one.
    """

    provider: str
    model: str
    date: str
    cut_tokens: int
    cut_seconds: float
    closed_ms: float | None
    whole_tokens: int | None
    whole_seconds: float | None
    verdict: str
    on_disconnect: str | None
    stops_work: ProvenFact
    stops_billing: ProvenFact
    reports_partial_usage: ProvenFact


def find(
    provider: str, model: str, disconnect: str, *, cut: Trial, whole: Trial | None, seen: Report | None,
    why_not: str, waited: float, most: int, free: bool, date: str,
) -> Finding:  # fmt: skip
    """The facts, from what was seen.

    `disconnect`: what was done, `cancel` or `call` · `why_not`: why nothing was seen · `waited`: seconds since
    the disconnect · `most`: tokens that were allowed · `free`: nothing is ever billed there.
    """
    made = _made(cut, whole, seen, most)
    work = _work(cut, whole, seen, waited, made, why_not)
    billing = ProvenFact("yes", "it costs nothing") if free and work.value != "no" else _billing(seen, made, why_not)
    facts = [replace(fact, date=date) for fact in (work, billing, _partial(cut))]
    return Finding(
        provider=provider,
        model=model,
        date=date,
        cut_tokens=cut.tokens,
        cut_seconds=round(cut.seconds, 3),
        closed_ms=None if cut.closed_ms is None else round(cut.closed_ms, 1),
        whole_tokens=whole.tokens if whole is not None else None,
        whole_seconds=round(whole.seconds, 3) if whole is not None else None,
        verdict=VERDICTS[work.value, billing.value],
        on_disconnect={"yes": disconnect, "no": "drain"}.get(billing.value),
        stops_work=facts[0],
        stops_billing=facts[1],
        reports_partial_usage=facts[2],
    )


VERDICTS: dict[tuple[FactValue, FactValue], str] = {
    ("yes", "yes"): "Disconnecting stops the work and the bill.",
    ("yes", "no"): "Disconnecting stops the work, but not the bill.",
    ("yes", "unknown"): "Disconnecting stops the work; what that does to the bill is unknown.",
    ("no", "yes"): "Disconnecting stops the bill, though the work goes on.",
    ("no", "no"): "Disconnecting stops nothing: the work goes on, and all of it is billed.",
    ("no", "unknown"): "Disconnecting does not stop the work; what it does to the bill is unknown.",
    ("unknown", "yes"): "Disconnecting stops the bill; whether the work stops is unknown.",
    ("unknown", "no"): "Disconnecting does not stop the bill; whether the work stops is unknown.",
    ("unknown", "unknown"): "Unknown: nothing shows what disconnecting does to the work or to the bill.",
}


# ---- the facts


class _Made(Struct, frozen=True):
    """How much of the answer was made or billed. `part`: None where that cannot be told."""

    part: Literal["part", "all"] | None
    words: str


def _made(cut: Trial, whole: Trial | None, seen: Report | None, most: int) -> _Made:
    """From the provider's own count of the cut answer, against what was delivered and the whole of it."""
    if seen is None:
        return _Made(None, "")
    if seen.tokens is None and seen.seconds is None:
        return _Made(None, f"{seen.words}, which is no count")
    if whole is None:
        if seen.tokens is not None and seen.tokens >= WHOLE * most:
            return _Made("all", f"{seen.words}, of at most {most}, where {cut.tokens} were delivered")
        return _Made(None, f"{seen.words}; how long the whole answer is was not measured (--control does)")
    if whole.seconds - cut.seconds < LEFT_SECONDS or whole.tokens < 2 * cut.tokens:
        return _Made(
            None,
            f"the whole answer has {whole.tokens} tokens and takes {whole.seconds:.1f} s, so it was as good as "
            "complete at the disconnect (a larger --max-tokens or another model leaves more)",
        )
    if seen.tokens is not None:
        share = (seen.tokens - cut.tokens) / max(1, whole.tokens - cut.tokens)
        words = f"{seen.words}, where {cut.tokens} were delivered and the whole answer has {whole.tokens}"
        every = seen.tokens >= WHOLE * whole.tokens
    else:
        assert seen.seconds is not None
        if seen.whole_seconds is None:
            return _Made(None, f"{seen.words}; how long the whole answer works is not known")
        share, every = seen.seconds / seen.whole_seconds, seen.seconds >= WHOLE * seen.whole_seconds
        words = f"{seen.words}, where the whole answer took {seen.whole_seconds:.1f} s"
    if every:
        return _Made("all", words)
    # An answer that ends by itself may be shorter this time; one that ended at its limit would have again.
    if share <= 0.5 or whole.finish == "length":
        return _Made("part", words)
    return _Made(None, f"{words}: it may as well have been a shorter answer")


def _work(cut: Trial, whole: Trial | None, seen: Report | None, waited: float, made: _Made, why_not: str) -> ProvenFact:
    if seen is None:
        closed = (
            "" if cut.closed_ms is None else f"our connection was closed {cut.closed_ms:.1f} ms after the disconnect, "
        )
        return ProvenFact(
            "unknown", f"{closed}which does not show that the work stopped: {why_not}".removeprefix("which ")
        )
    if seen.stopped:
        return ProvenFact("yes", seen.words)
    left = whole.seconds - cut.seconds if whole is not None else None
    if seen.working:
        if left is not None and waited >= left / 2 >= LEFT_SECONDS / 2:
            return ProvenFact("no", seen.words)
        return ProvenFact("unknown", f"{seen.words}, when it was last looked at (--wait and --control tell more)")
    if seen.freed is not None:
        if left is None:
            return ProvenFact("unknown", f"{seen.words}; whether it was at its end was not measured (--control does)")
        if left < LEFT_SECONDS:
            return ProvenFact("unknown", f"{seen.words}; but only {max(0.0, left):.1f} s of the answer were left")
        words = f"{seen.words}, where the rest of the answer takes {left:.1f} s"
        return ProvenFact("yes" if seen.freed <= left / 2 else "no", words)
    if made.part is not None:
        return ProvenFact("yes" if made.part == "part" else "no", made.words)
    return ProvenFact("unknown", made.words)


def _billing(seen: Report | None, made: _Made, why_not: str) -> ProvenFact:
    if seen is None:
        return ProvenFact("unknown", why_not)
    if not seen.billed:
        return ProvenFact("unknown", "it keeps no bill that could be asked for")
    return ProvenFact({"part": "yes", "all": "no", None: "unknown"}[made.part], made.words)  # type: ignore[arg-type]


def _partial(cut: Trial) -> ProvenFact:
    """Whether the stream itself reports what it used before it ends; an early placeholder does not count."""
    if cut.reported is None:
        return ProvenFact("no", f"no usage had come when {cut.tokens} tokens were delivered")
    words = f"it had reported {cut.reported} completion tokens when {cut.tokens} were delivered"
    return ProvenFact("yes" if cut.reported >= cut.tokens / 2 > 0 else "no", words)


# ---- as a definition


def as_toml(finding: Finding) -> str:
    """The facts as a table for the configuration, with the verdict above it.

    An unknown one is a comment: what the definition says already may be known from elsewhere.
    """
    bare = re.fullmatch(r"[A-Za-z0-9_-]+", finding.provider)
    key = finding.provider if bare else json.dumps(finding.provider, ensure_ascii=False)
    lines = [f"# {finding.verdict}", f"[providers.{key}]"]
    if finding.on_disconnect:
        lines.append(f'on_disconnect = "{finding.on_disconnect}"')
    for name in ("stops_work", "stops_billing", "reports_partial_usage"):
        fact: ProvenFact = getattr(finding, name)
        if fact.value == "unknown":
            lines.append(f"# {name} is not known by this: {fact.source}")
            continue
        source = json.dumps(f"measured with {finding.model}: {fact.source}", ensure_ascii=False)
        lines.append(f'{name} = {{ value = "{fact.value}", source = {source}, date = "{fact.date}" }}')
    return "\n".join(map(printable.line, lines))
