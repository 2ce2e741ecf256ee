"""API keys: what one looks like, how its hash finds it, and whether a caller may go on.

It never knows where keys are kept, what time it is, or what a request asks for.
"""

from __future__ import annotations

import base64
from collections.abc import Container, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from ipaddress import ip_address
from types import MappingProxyType
from typing import Literal
from urllib.parse import parse_qsl

from msgspec import Struct
from msgspec.structs import force_setattr

from infron.errors import ConfigError, Forbidden, Unauthenticated, UnsupportedMediaType
from infron.policy.holders import NO_LIMITS, Limits, Organisation
from infron.policy.permissions import EVERYTHING, Permissions

PREFIX = "sk-infron-"
SECRET_BYTES = 32
Kind = Literal["caller", "admin"]
SECRET_LENGTH = len(PREFIX) + 43  # 32 bytes in base64 without padding
ADMIN_PREFIX = "sk-infron-admin-"
ADMIN_LENGTH = len(ADMIN_PREFIX) + 43


class Key(Struct, frozen=True, kw_only=True):
    """An API key without its secret. `hint` shows both ends of the secret. Times are unix seconds.

    `revision`: raised by each change of it. `limited`: whether it or its organisation has any limit.
    """

    id: str  # key_…
    name: str
    hint: str
    created_at: float
    revoked_at: float | None = None
    expires_at: float | None = None
    kind: Kind = "caller"
    permissions: Permissions = EVERYTHING
    revision: int = 1
    limits: Limits = NO_LIMITS
    organisation: Organisation | None = None
    limited: bool = False

    @property
    def limited_money(self) -> bool:
        """Whether what it may spend is limited."""
        return self.limits.on_money or (self.organisation is not None and self.organisation.limits.on_money)

    def __post_init__(self) -> None:
        theirs = self.organisation.limits if self.organisation else NO_LIMITS
        force_setattr(self, "limited", self.limits != NO_LIMITS or theirs != NO_LIMITS)

    def lapsed(self, now: float) -> bool:
        """Whether it may not be used any more, at `now` in unix seconds, though nobody revoked it."""
        closed = self.organisation is not None and self.organisation.closed_at is not None
        return closed or (self.expires_at is not None and self.expires_at <= now)


class KeyRing(Struct, frozen=True):
    """All usable keys at one moment, found by the keyed hash of their secret. Nothing of it ever changes.

    `required`: whether requests need a key at all; true from the first key on, even if all were revoked since.
    `lapsed`: keys that are not to be used any more, by expiry or because their organisation was closed. `admins`: those
    of the admin API, which are of no use anywhere else.
    """

    pepper: bytes
    keys: Mapping[bytes, Key]
    required: bool
    lapsed: Mapping[bytes, Key] = {}
    admins: Mapping[bytes, Key] = {}

    def __post_init__(self) -> None:
        for name in ("keys", "lapsed", "admins"):
            force_setattr(self, name, MappingProxyType(dict(getattr(self, name))))

    def find(self, credential: str) -> Key | None:
        """The key with this secret. What is looked up is a keyed hash, so timing tells nothing about secrets."""
        return self._look_up(self.keys, credential, SECRET_LENGTH)

    def find_lapsed(self, credential: str) -> Key | None:
        return self._look_up(self.lapsed, credential, SECRET_LENGTH)

    def find_admin(self, credential: str) -> Key | None:
        return self._look_up(self.admins, credential, ADMIN_LENGTH)

    def _look_up(self, keys: Mapping[bytes, Key], credential: str, length: int) -> Key | None:
        if len(credential) != length or not credential.isascii():
            return None
        return keys.get(hash_secret(self.pepper, credential))


# Nobody gets in by this one: what stands in for a ring that has not been read yet.
CLOSED = KeyRing(pepper=b"", keys={}, required=True)


# ---- secrets


def new_secret(randomness: bytes, kind: Kind = "caller") -> str:
    """The secret made of 32 random bytes."""
    if len(randomness) != SECRET_BYTES:
        raise ValueError(f"a secret takes {SECRET_BYTES} bytes, not {len(randomness)}")
    return (ADMIN_PREFIX if kind == "admin" else PREFIX) + base64.urlsafe_b64encode(randomness).decode().rstrip("=")


def hash_secret(pepper: bytes, secret: str) -> bytes:
    """What is stored in the secret's place: useless without the pepper, and no guess can be tested without it."""
    return blake2b(secret.encode("utf-8", "replace"), key=pepper, digest_size=32).digest()


def hint(secret: str) -> str:
    """Both ends of a secret: enough to recognise it in a list, too little to guess it."""
    prefix = ADMIN_PREFIX if secret.startswith(ADMIN_PREFIX) and len(secret) == ADMIN_LENGTH else PREFIX
    return f"{secret[: len(prefix) + 4]}…{secret[-4:]}"


def credential_of(headers: Mapping[bytes, bytes], query: bytes = b"") -> str | None:
    """The credential of a request: `Authorization: Bearer …` in its headers (names in lower case), else `x-api-key`,
    else where Google's clients have it: `x-goog-api-key`, or `key` in the query.
    """
    scheme, _, rest = headers.get(b"authorization", b"").partition(b" ")
    token = rest.strip() if scheme.lower() == b"bearer" else b""
    for name in _KEY_HEADERS if not token else ():
        token = token or headers.get(name, b"").strip()
    if not token and b"key=" in query:
        token = dict(parse_qsl(query)).get(b"key", b"").strip()
    return token.decode("latin-1") or None


_KEY_HEADERS = (b"x-api-key", b"x-goog-api-key")


# ---- may the caller go on?


def identify(ring: KeyRing, credential: str | None) -> Key | None:
    """The caller's key; None while no key exists and anyone may ask. Raises Unauthenticated."""
    if not ring.required:
        return None
    if not credential:
        raise Unauthenticated(
            "An API key is needed: send it as `Authorization: Bearer sk-infron-…`.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    key = ring.find(credential)
    if key is None:
        raise Unauthenticated(_why_not(ring, credential), headers={"WWW-Authenticate": "Bearer"})
    return key


def _why_not(ring: KeyRing, credential: str) -> str:
    """What the holder of the secret may know of why it is refused."""
    if ring.find_admin(credential):
        return "This is a key of the admin API: models are asked with a key that `infron keys create` makes."
    lapsed = ring.find_lapsed(credential)
    if lapsed is None:
        return "This API key is unknown or was revoked."
    if lapsed.organisation is not None and lapsed.organisation.closed_at is not None:
        return "The organisation of this API key is closed."
    when = datetime.fromtimestamp(lapsed.expires_at or 0, UTC)
    return f"This API key expired at {when:%Y-%m-%d %H:%M} UTC."


def identify_admin(ring: KeyRing, credential: str | None) -> Key:
    """The key of whoever asks the admin API. Raises Unauthenticated."""
    key = ring.find_admin(credential) if credential else None
    if key is None:
        raise Unauthenticated(
            "A key of the admin API is needed, `infron keys create --admin` makes one: send it as `Authorization: "
            "Bearer sk-infron-admin-…`.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return key


def check_keyless(host: str | None, content_type: str | None, hosts: Container[str] = (), *, has_body: bool) -> None:
    """What a gateway without keys asks of each request, so that no web page can use it through its visitor's browser.

    A page's own name in `Host` means DNS rebinding; a body that is not JSON is one that browsers send across origins
    without asking. `hosts`: names in lower case that are taken beside the loopback ones.
    Raises Forbidden or UnsupportedMediaType.
    """
    name = None if host is None else host_name(host)
    if name is not None and not is_loopback(name) and name.rstrip(".").lower() not in hosts:
        raise Forbidden(
            f"Without an API key this gateway answers to loopback names only, not to `{name[:100]}`: create a key with "
            "`infron keys create`, or name the host in `server.allowed_hosts`."
        )
    if has_body and not is_json(content_type):
        raise UnsupportedMediaType("The body must be JSON: send `Content-Type: application/json`.")


def check_listen(host: str, *, keys_exist: bool) -> None:
    """Raises ConfigError where strangers could use the gateway without a key."""
    if not keys_exist and not is_loopback(host):
        raise ConfigError(
            f"Listening on {host or 'every address'} needs an API key to exist: create one with `infron keys create`, "
            "or listen on 127.0.0.1."
        )


def host_name(header: str) -> str:
    """The name in a Host header, without port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


@lru_cache(1024)
def is_loopback(host: str) -> bool:
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


@lru_cache(256)
def is_json(content_type: str | None) -> bool:
    kind = (content_type or "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
