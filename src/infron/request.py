"""What a caller asks for, and what is sent to a provider for it.

It never knows a wire format: wires make these values and read them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from msgspec import Raw, Struct

from infron.conversation import Conversation

Headers = list[tuple[bytes, bytes]]  # of HTTP, names in lower case


class Target(Struct, frozen=True):
    """Where a request was sent, in what its body does not say.

    `path`: as the client API has it among its PATHS; `params`: what stands there for its `{name}`s. `query`: fields
    of the query, the last where one comes more than once.
    """

    path: str = ""
    params: Mapping[str, str] = {}
    query: Mapping[str, str] = {}


NO_TARGET = Target()


class Preferences(Struct, frozen=True, kw_only=True):
    """The request's `provider` object, as far as it chooses candidates: lists of provider ids."""

    order: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    allow_fallbacks: bool = True
    require_parameters: bool = False  # rather fail than leave out what a provider cannot take


NO_WISHES = Preferences()


class Prompt(NamedTuple):
    """What is given to a model that is told nothing else. `tokens`: how many of it are given as numbers."""

    texts: list[str]
    tokens: int = 0


class Request(Struct, frozen=True, kw_only=True, dict=True):
    """What the caller wants, said in one client API, which `api` names; `dialect`: another name for its answers' form.

    `include_usage`: counts at the end of a stream; None: neither asked for nor declined.
    `fields`: the root fields that go on to the provider, each as its own JSON. `repaired`: what had to be replaced in
    them, as a receipt names it. `conversation_of`: reads them. `prompt_of`: the same where nothing is a conversation.
    `size`: of the client's body, in bytes.
    """

    api: str
    model: str
    stream: bool
    include_usage: bool | None
    fields: dict[str, Raw]
    conversation_of: Callable[[Mapping[str, Raw]], Conversation]
    size: int = 0
    form: str = ""  # which of its API's answers it asks for, where that has several
    repaired: tuple[str, ...] = ()
    models: tuple[str, ...] = ()  # to be tried after `model`
    preferences: Preferences = NO_WISHES
    user: str | None = None
    session_id: str | None = None
    service_tier: str | None = None  # it changes the price
    dialect: str = ""
    prompt_of: Callable[[Mapping[str, Raw]], Prompt] | None = None
    clamped: int | None = None  # the most tokens of its answer, where we set that
    unpaid: bool = False  # that is as a budget pays for no more
    kinds: frozenset[str] = frozenset()  # types of tools in it, which not every host of its own API takes

    @property
    def conversation(self) -> Conversation:
        """What is said, in no API's terms: made on first use, and kept. Raises InvalidRequest and Unsupported."""
        kept = vars(self)
        if "conversation" not in kept:
            kept["conversation"] = self.conversation_of(self.fields)
        made: Conversation = kept["conversation"]
        return made


class Outgoing(Struct, frozen=True, kw_only=True):
    """A request to a provider, as its wire makes it. The definition's own headers and our key come on top.

    `url`: another address than the definition's: a path below its `base_url`, beginning with `/`, or a full URL that
    the wire has checked. `dropped`: names of what the caller sent and this provider cannot take: root fields, and
    kinds of what is inside them (`messages.thinking`). `choices`: how many answers it asks for. `names`: of tools
    that it had to rename: the host's name -> the caller's own. `delay`: seconds to wait first. `further`: requests
    whose answers go on with this one's, one after the other.
    """

    body: bytes = b""
    method: str = "POST"
    url: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()
    choices: int = 1
    names: dict[str, str] = {}
    delay: float = 0.0
    further: tuple[Outgoing, ...] = ()
