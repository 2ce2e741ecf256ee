"""Who may ask: the key that a request shows or, while the gateway has none, where it comes from.

It never knows what a key may spend, nor what is asked.
"""

from __future__ import annotations

from infron.errors import InfronError, UnsupportedMediaType
from infron.policy.access import Key, KeyRing, check_keyless, credential_of, identify, identify_admin, is_json
from infron.runtime.ledger.ledger import Ledger
from infron.runtime.server.request import HttpRequest


class Admitted:
    """What the last request of a connection that was let in showed, to which ring, and the key that it proved."""

    shown: tuple[bytes | None, ...] = ()
    ring: KeyRing | None = None
    key: Key | None = None


class Admission:
    """One for all connections of a process."""

    def __init__(self, ledger: Ledger, hosts: list[str]) -> None:
        """`hosts`: that a gateway without keys answers to, beside loopback ones."""
        self._ledger = ledger
        self._hosts = frozenset(name.lower() for name in hosts)

    def admit(self, request: HttpRequest, before: Admitted, *, admin: bool = False) -> None:
        """Set the request's key: None on a gateway without keys. Raises InfronError; a body must be JSON.

        `admin`: it must be a key of the admin API.
        """
        named, ring = request.named, self._ledger.keys
        get = named.get
        shown = (
            get(b"host"),
            get(b"content-type"),
            get(b"authorization"),
            get(b"x-api-key"),
            get(b"x-goog-api-key"),
            request.query,
        )
        if admin:  # of which nothing is remembered: another request of the connection may ask a model
            request.key, request.ring = self._identify(request, ring, admin=True), ring
            return
        if shown != before.shown or ring is not before.ring or not request.keeps_body:
            before.key = self._identify(request, ring)
            before.shown, before.ring = shown, ring if request.keeps_body else None
        request.key, request.ring = before.key, ring

    def judge_again(self, request: HttpRequest) -> None:
        """Its body took its time, and keys may have been made or revoked since: then it has an error."""
        ring = self._ledger.keys
        if request.ring is not ring and request.ring is not None:
            try:
                admin = request.key is not None and request.key.kind == "admin"
                request.key = self._identify(request, ring, admin=admin)
            except InfronError as error:
                request.refuse(error)

    def _identify(self, request: HttpRequest, ring: KeyRing, *, admin: bool = False) -> Key | None:
        named, takes_body = request.named, request.keeps_body
        kind = named.get(b"content-type", b"").decode("latin-1")
        key = None
        if admin:
            key = identify_admin(ring, credential_of(named))
        elif ring.required:
            key = identify(ring, credential_of(named, request.query))
        else:
            host = named.get(b"host")
            check_keyless(None if host is None else host.decode("latin-1"), kind, self._hosts, has_body=takes_body)
        if takes_body and not is_json(kind):
            raise UnsupportedMediaType("The body must be JSON: send `Content-Type: application/json`.")
        return key
