"""Signs requests to AWS with what the standard chain of credentials finds: in the environment, or by botocore.

It never blocks the event loop, never keeps a credential longer than botocore does, and never tells one.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from infron.errors import ProviderMisconfigured, ProviderUnavailable
from infron.runtime.credentials import sigv4
from infron.runtime.credentials.renewal import Renewal

logger = logging.getLogger("infron.aws")

# botocore renews credentials ten to fifteen minutes before they expire, when it is asked for them. So it is asked every
# minute, and what it gave is good for some more, should it fail meanwhile.
LOOK_SECONDS = 60.0
GOOD_SECONDS = 300.0
FIND_SECONDS = 30.0

_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_BEARER_TOKEN_BEDROCK)"
_REGION = re.compile(r"[a-z]{2,6}(?:-[a-z]{2,12}){1,3}-\d{1,2}")
_POSTED = (("content-type", "application/json"),)  # what every POST to a provider carries


class Credentials(Struct, frozen=True):
    access_key: str
    secret_key: str
    session_token: str = ""

    def __repr__(self) -> str:  # the generated one would show the secret
        return "Credentials(…)"


class AwsSigner:
    """Signs for one service of AWS. `region`: where the host of a URL names none; else that of `environ` or profile.

    `find` gives the chain as a function that may block and gives credentials and the region of the profile; None
    where the chain ends without any.
    """

    def __init__(
        self,
        region: str = "",
        service: str = "bedrock",
        environ: Mapping[str, str] | None = None,
        find: Callable[[], Callable[[], tuple[Credentials, str] | None]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        environ = os.environ if environ is None else environ
        self._region = region or environ.get("AWS_REGION", "") or environ.get("AWS_DEFAULT_REGION", "")
        self._nowhere = False  # the last request had no region
        self._service = service
        self._own = from_environment(environ)
        self._find = find or botocore_chain
        self._chain: Callable[[], tuple[Credentials, str] | None] | None = None
        self._clock = clock
        self._found: Credentials | None = None
        self._looked = 0.0  # when they were found
        self._renewal = Renewal(self._renew, clock, logger)

    def headers(self, method: str, url: str, body: bytes, now: float) -> list[tuple[str, str]] | None:
        """The headers to add to a request (its body is JSON); None: call `refresh` first. `now`: unix seconds.

        Credentials about to grow stale are renewed meanwhile: it must be called in the event loop.
        """
        region = region_of(url) or self._region
        self._nowhere = not region
        credentials = self._own
        if credentials is None:
            age = self._clock() - self._looked
            if age > LOOK_SECONDS and self._found is not None and self._renewal.failure is None:
                self._renewal.start()
            credentials = self._found if age <= GOOD_SECONDS else None
        if credentials is None or not region:
            return None
        return sigv4.sign(
            method,
            url,
            _POSTED if method == "POST" else (),
            body,
            access_key=credentials.access_key,
            secret_key=credentials.secret_key,
            session_token=credentials.session_token,
            region=region,
            service=self._service,
            now=now,
        )

    async def refresh(self) -> None:
        """Walk the chain, in a thread, once for all who wait. Raises ProviderMisconfigured that says what to set."""
        if self._own is None:
            await self._renewal.wait()
        if self._nowhere and not self._region:
            raise ProviderMisconfigured("The region of AWS is not known: set AWS_REGION.")

    async def _renew(self) -> None:
        try:
            async with asyncio.timeout(FIND_SECONDS):
                found = await asyncio.to_thread(self._walk)
        except TimeoutError:
            raise ProviderUnavailable(f"No AWS credentials were found within {FIND_SECONDS:g} s.") from None
        if found is None:
            raise ProviderMisconfigured(f"There are no AWS credentials here: set {_KEYS}, a profile or a role.")
        self._found, region = found
        self._region = self._region or region
        self._looked = self._clock()

    def _walk(self) -> tuple[Credentials, str] | None:
        if self._chain is None:
            self._chain = self._find()
        return self._chain()


def from_environment(environ: Mapping[str, str]) -> Credentials | None:
    """The first link of the chain, which needs no library."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    access, secret, token = (environ.get(name, "").strip() for name in names)
    return Credentials(access, secret, token) if access and secret else None


def region_of(url: str) -> str:
    """The region in the host of an endpoint of AWS, FIPS, dual-stack and private ones too; "" where it names none."""
    host = urlsplit(url).hostname or ""
    return next((label for label in host.split(".") if _REGION.fullmatch(label)), "")


def botocore_chain() -> Callable[[], tuple[Credentials, str] | None]:
    """The rest of the chain, in a thread: profiles, SSO, web identity, containers, instances.

    Raises ProviderMisconfigured: the extra is missing, or what was found cannot be used.
    """
    try:
        session_module: Any = importlib.import_module("botocore.session")
        exceptions: Any = importlib.import_module("botocore.exceptions")
    except ImportError:
        raise ProviderMisconfigured(
            f"There are no AWS credentials in the environment: set {_KEYS}. "
            "Profiles, SSO and roles need the extra: pip install 'infron[aws]'."
        ) from None
    session: Any = None
    kept: Any = None

    def frozen() -> tuple[Credentials, str] | None:
        nonlocal session, kept
        try:
            if kept is None:
                session = session_module.Session()
                kept = session.get_credentials()
            if kept is None:
                return None
            now = kept.get_frozen_credentials()  # renews them where they are about to expire
            region = session.get_config_variable("region") or ""
        except (exceptions.BotoCoreError, exceptions.ClientError, OSError, RuntimeError, ValueError) as error:
            kept = None  # what was wrong may be repaired until the next look
            # Its text may name files and profiles of this machine: for the log, not for callers.
            logger.warning("AWS credentials: %s", error)
            raise ProviderMisconfigured(
                f"The AWS credentials of this gateway cannot be used ({type(error).__name__}): set {_KEYS}, "
                "or correct the profile or role."
            ) from error
        if not (now.access_key and now.secret_key):
            return None
        return Credentials(now.access_key, now.secret_key, now.token or ""), region

    return frozen
