"""Google's credentials: an OAuth 2 token from a key file, gcloud's login or the machine itself, renewed ahead of time.

It never blocks the event loop, never knows a request or a model, and never tells what a key file holds.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import re
import time
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from msgspec import Struct

from infron.errors import ProviderMisconfigured, ProviderUnavailable
from infron.runtime.credentials.renewal import RETRY_SECONDS, Renewal

logger = logging.getLogger("infron.google")

AHEAD_SECONDS = 300.0  # before its end a token is renewed, while it still serves
NETWORK_SECONDS = 10.0  # for one answer of a token endpoint
MACHINE_SECONDS = 3.0  # the machine's own endpoint answers at once, or there is none
UNTOLD_SECONDS = 900.0  # how long a token is good whose end nobody told
MOST_BYTES = 1 << 20  # of such an answer

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TOKEN = re.compile(r"[\x21-\x7e]+")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._-]*")
_HINT = "set GOOGLE_APPLICATION_CREDENTIALS, or run: gcloud auth application-default login"


class Token(Struct, frozen=True):
    """`seconds`: how long it is good from now on. `quota_project`: whose quota is used, "" if nobody is named."""

    value: str
    seconds: float
    quota_project: str = ""

    def __repr__(self) -> str:  # the generated one would show the token
        return "Token(…)"


class GoogleTokens:
    """The token of one row. `fetch` may block, and raises InfronError; without it the usual chain is walked."""

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        fetch: Callable[[], Token] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        environ = os.environ if environ is None else environ
        self._quota_project = environ.get("GOOGLE_CLOUD_QUOTA_PROJECT", "").strip()
        self._fetch = fetch or (lambda: token_of(environ))
        self._clock = clock
        self._headers: list[tuple[str, str]] = []
        self._until = 0.0
        self._renewal = Renewal(self._fetched, clock, logger)

    def headers(self, method: str, url: str, body: bytes, now: float) -> list[tuple[str, str]] | None:
        """The headers to add to a request, whatever it is; None: call `refresh` first. `now`: unix seconds.

        A token that ends soon is renewed meanwhile: it must be called in the event loop.
        """
        if now >= self._until:
            return None
        if now >= self._until - AHEAD_SECONDS and now - self._renewal.began >= RETRY_SECONDS:
            self._renewal.start()
        return self._headers

    async def refresh(self) -> None:
        """Fetch a token, in a thread, once for all who wait. Raises ProviderMisconfigured or ProviderUnavailable."""
        await self._renewal.wait()

    async def _fetched(self) -> None:
        began = self._clock()
        token = await asyncio.to_thread(self._fetch)
        project = self._quota_project or token.quota_project
        self._headers = [("authorization", f"Bearer {token.value}")]
        if _PROJECT.fullmatch(project):
            self._headers.append(("x-goog-user-project", project))
        self._until = began + token.seconds


# ---- where a token comes from; all of this may block


def token_of(environ: Mapping[str, str]) -> Token:
    """A token of the first credentials in Google's order: the file that is named, gcloud's own, the machine's.

    https://cloud.google.com/docs/authentication/application-default-credentials. Raises InfronError.
    """
    named = environ.get("GOOGLE_APPLICATION_CREDENTIALS", "").strip()
    if named:
        return _of_file(Path(named).expanduser(), "the file that GOOGLE_APPLICATION_CREDENTIALS names")
    login = _gcloud_folder(environ) / "application_default_credentials.json"
    if login.is_file():
        return _of_file(login, "gcloud's application default login")
    if environ.get("NO_GCE_CHECK", "").lower() == "true":
        raise ProviderMisconfigured(f"There are no Google credentials here: {_HINT}.")
    return _of_machine(environ)


def _gcloud_folder(environ: Mapping[str, str]) -> Path:
    if folder := environ.get("CLOUDSDK_CONFIG", "").strip():
        return Path(folder)
    if os.name == "nt":
        return Path(environ.get("APPDATA", "")) / "gcloud"
    return Path(environ.get("HOME") or Path.home()) / ".config" / "gcloud"


def _of_machine(environ: Mapping[str, str]) -> Token:
    """What the metadata server of Google Cloud gives to the machine's service account."""
    host = environ.get("GCE_METADATA_HOST", "").strip() or "metadata.google.internal"
    url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
    request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
    try:
        with _direct.open(request, timeout=MACHINE_SECONDS) as answer:
            told = json.loads(answer.read(MOST_BYTES))
        value, seconds = told["access_token"], float(told["expires_in"])
    except HTTPError as error:
        with error:
            what = f"The machine's service account gave no token (HTTP {error.code})"
        if error.code >= 500 or error.code == 429:
            raise ProviderUnavailable(f"{what}.") from None
        raise ProviderMisconfigured(f"{what}: give the machine a service account, or {_HINT}.") from None
    except (OSError, HTTPException):
        raise ProviderMisconfigured(f"There are no Google credentials here: {_HINT}.") from None
    except (ValueError, KeyError, TypeError):
        raise ProviderUnavailable("The machine's metadata server answered with something that is no token.") from None
    return _checked(value, seconds, "", "the machine's metadata server")


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the machine itself is behind no proxy
_outward = urllib.request.build_opener()

# Type of the file -> module of google-auth, how its Credentials are made, whether they are told the scope.
_KINDS = {
    "service_account": ("google.oauth2.service_account", "from_service_account_info", True),
    "authorized_user": ("google.oauth2.credentials", "from_authorized_user_info", False),
    "impersonated_service_account": (
        "google.auth.impersonated_credentials",
        "from_impersonated_service_account_info",
        True,
    ),
    "external_account_authorized_user": ("google.auth.external_account_authorized_user", "from_info", True),
    "external_account": ("google.auth.identity_pool", "from_info", True),
    "external_account of AWS": ("google.auth.aws", "from_info", True),
    "external_account of a program": ("google.auth.pluggable", "from_info", True),
}


def _kind_of(info: dict[str, Any]) -> str:
    kind, source = str(info.get("type")), info.get("credential_source")
    if kind == "external_account" and info.get("subject_token_type") == "urn:ietf:params:aws:token-type:aws4_request":
        return "external_account of AWS"
    if kind == "external_account" and isinstance(source, dict) and "executable" in source:
        return "external_account of a program"
    return kind


def _of_file(path: Path, name: str) -> Token:
    try:
        info = json.loads(path.read_bytes())
    except OSError as error:
        raise ProviderMisconfigured(f"Google credentials: {name} cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError):
        info = None
    if not isinstance(info, dict) or (kind := _kind_of(info)) not in _KINDS:
        raise ProviderMisconfigured(f"Google credentials: {name} is no JSON of credentials of a known type.")
    try:
        module: Any = importlib.import_module(_KINDS[kind][0])
        exceptions: Any = importlib.import_module("google.auth.exceptions")
    except ImportError:
        raise ProviderMisconfigured(
            "Files of Google credentials need the extra: pip install 'infron[google]'."
        ) from None
    make, scoped = _KINDS[kind][1:]
    transport = _Transport(exceptions.TransportError)
    try:
        credentials = getattr(module.Credentials, make)(info, **({"scopes": [_SCOPE]} if scoped else {}))
        credentials.refresh(transport)
    except exceptions.TransportError:
        raise ProviderUnavailable("Google's token endpoint could not be reached.") from None
    except exceptions.RefreshError as error:
        if transport.status >= 500 or transport.status in (408, 429):
            raise ProviderUnavailable(f"Google's token endpoint answered with HTTP {transport.status}.") from None
        raise ProviderMisconfigured(f"Google refused the credentials of {name}{_reason(error)}.") from None
    except (exceptions.GoogleAuthError, ValueError, KeyError, TypeError, AttributeError) as error:
        # Its text may quote the file: for nobody.
        raise ProviderMisconfigured(f"Google credentials: {name} cannot be used ({type(error).__name__}).") from None
    seconds = UNTOLD_SECONDS
    if credentials.expiry is not None:  # in UTC, without saying so
        seconds = credentials.expiry.replace(tzinfo=UTC).timestamp() - time.time()
    return _checked(credentials.token, seconds, getattr(credentials, "quota_project_id", None) or "", name)


def _reason(error: Exception) -> str:
    """What the endpoint said, where it is a short text: `invalid_grant: …`."""
    told = error.args[0] if error.args else ""
    if not isinstance(told, str) or not told or told[:1] in ("<", "{") or len(told) > 200:
        return ""
    return f": {' '.join(told.split()).rstrip('.')}"


def _checked(value: Any, seconds: float, quota_project: Any, name: str) -> Token:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise ProviderUnavailable(f"No token came for the Google credentials of {name}.")
    return Token(value, seconds, str(quota_project))


class _Answer(Struct, frozen=True):
    """What google-auth wants to know of an HTTP answer (google.auth.transport.Response)."""

    status: int
    headers: dict[str, str]
    data: bytes


class _Transport:
    """HTTP for google-auth (google.auth.transport.Request), which then needs no other library. `status`: the last."""

    def __init__(self, unreachable: type[Exception]) -> None:
        self._unreachable = unreachable
        self.status = 0

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> _Answer:
        self.status = 0
        if not url.startswith(("https://", "http://")):
            raise self._unreachable("This is no address of a token endpoint.")
        request = urllib.request.Request(url, body, dict(headers or {}), method=method)
        try:
            with _outward.open(request, timeout=timeout or NETWORK_SECONDS) as answer:
                found = _Answer(answer.status, dict(answer.headers), answer.read(MOST_BYTES))
        except HTTPError as error:
            with error:
                found = _Answer(error.code, dict(error.headers), error.read(MOST_BYTES))
        except (OSError, HTTPException, ValueError) as error:
            raise self._unreachable(type(error).__name__) from error
        self.status = found.status
        return found
