"""AWS Signature Version 4: which headers prove to a service of AWS who asks.

It never knows where credentials come from, never reads a clock, and never keeps a secret. Source: the AWS
documentation "Create a signed AWS API request"; its published test suite is asserted in the tests.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import quote, unquote, urlsplit

_ALGORITHM = "AWS4-HMAC-SHA256"
_PORTS = {"http": ":80", "https": ":443"}
_OURS = frozenset(("authorization", "host", "x-amz-date", "x-amz-security-token"))


def sign(
    method: str,
    url: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    *,
    access_key: str,
    secret_key: str,
    session_token: str = "",
    region: str,
    service: str,
    now: datetime | float,
) -> list[tuple[str, str]]:
    """The headers to add: X-Amz-Date, X-Amz-Security-Token where there is a token, Authorization.

    `url` as it is sent, percent-encoded. `headers`: those that the signature covers beside the host and ours; they
    must be sent as they are here. `now`: a time with its zone, or unix seconds.
    """
    when = now.astimezone(UTC) if isinstance(now, datetime) else datetime.fromtimestamp(now, UTC)
    stamp = when.strftime("%Y%m%dT%H%M%SZ")
    added = [("X-Amz-Date", stamp)]
    if session_token:
        added.append(("X-Amz-Security-Token", session_token))
    kept = [(name, value) for name, value in headers if name.lower() not in _OURS]
    asked, names = canonical_request(method, url, [*kept, *added], body, service)
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(asked.encode()).hexdigest()}"
    key = b"AWS4" + secret_key.encode()
    for step in scope.split("/"):
        key = hmac.digest(key, step.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return [*added, ("Authorization", f"{_ALGORITHM} {credential}")]


def canonical_request(
    method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes, service: str
) -> tuple[str, str]:
    """The text whose hash is signed, and the names of the headers in it (lower case, sorted, joined by `;`)."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower().removesuffix(_PORTS.get(parts.scheme, ""))
    values: dict[str, list[str]] = {"host": [host]}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(" ".join(value.split()))
    names = ";".join(sorted(values))
    lines = "".join(f"{name}:{','.join(values[name])}\n" for name in sorted(values))
    path, query = _path(parts.path, service), _query(parts.query)
    return f"{method}\n{path}\n{query}\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}", names


def _path(path: str, service: str) -> str:
    """Every service but S3 wants dots resolved, slashes single, and what is percent-encoded encoded once more."""
    if service == "s3":
        return path or "/"
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    tail = "/" if kept and path.endswith(("/", "/.", "/..")) else ""
    return quote(f"/{'/'.join(kept)}{tail}", safe="/~")


def _query(query: str) -> str:
    pairs = (item.partition("=") for item in query.split("&") if item)
    encoded = sorted((quote(unquote(name), safe=""), quote(unquote(value), safe="")) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)
