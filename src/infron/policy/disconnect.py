"""What a disconnect of the client leads to: cancel, drain or call, by the provider's definition and the caller's wish.

It never knows a socket, a clock, or what was delivered.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from infron.catalog.definitions import Provider


class Disconnect(NamedTuple):
    """What is done when the client leaves, and the sentence for the receipt.

    `stop`: the provider is to be told to stop, at once or as soon as it can be.
    """

    drain: bool
    reason: str
    stop: bool = False


def on_disconnect(
    provider: Provider, asked: str | None, streamed: bool, allow_override: bool, *, can_call: bool = False
) -> Disconnect:
    """Cancel or drain. `asked`: the caller's `X-Infron-On-Disconnect`, `cancel`, `drain` or None.

    `can_call`: whether a provider that has to be told to stop can be told so already. Cancelling where the provider
    bills on would leave the operator with a bill that the caller escapes, so there it needs the operator's leave.
    """
    name = provider.id
    if not streamed:
        return Disconnect(True, "drain: the request was not streamed")
    if asked == "drain":
        return Disconnect(True, "drain: asked for by the caller")
    if provider.on_disconnect == "call":
        if can_call:
            return Disconnect(False, f"cancel: {name} is told to stop", stop=True)
        return Disconnect(True, f"drain: {name} cannot be told to stop before it has answered", stop=True)
    if asked == "cancel" and provider.on_disconnect != "cancel":
        if allow_override:
            return Disconnect(False, "cancel: asked for by the caller, allowed by the operator")
        return Disconnect(True, f"drain: cancelling does not stop the bill at {name}")
    if provider.on_disconnect == "cancel":
        return Disconnect(False, f"cancel: closing the connection stops {name}")
    return Disconnect(True, f"drain: {name} goes on when the connection closes")


def may_drain(providers: Iterable[Provider], asked: str | None, *, streamed: bool) -> bool:
    """Whether the answer may be read on after its client left, whichever of the providers gives it."""
    return not streamed or asked == "drain" or any(provider.on_disconnect != "cancel" for provider in providers)
