"""What a URL and its headers mean on the wire: the origin, the request head, and the proxy that the environment names.

It never opens a connection, and never knows what is asked or answered.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, quote, unquote, urlsplit

from msgspec import Struct

import infron
from infron.errors import ConfigError

_PORTS = {"http": 80, "https": 443}
_OURS = frozenset(
    {"host", "content-length", "transfer-encoding", "accept-encoding", "connection", "expect", "te", "upgrade"}
)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN = re.compile(r"[\0\r\n]")
_SAFE_IN_TARGET = "!#$%&'()*+,-./:;=?@[]_~"  # what may already be there on purpose, `%` included


class Proxy(Struct, frozen=True):
    """An HTTP proxy. `authorization`: the value of Proxy-Authorization, or None."""

    host: str
    port: int
    authorization: str | None = None

    @property
    def name(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"


class Origin(Struct, frozen=True):
    """Who is spoken to, and through which proxy: connections are shared by all requests of one origin."""

    scheme: str  # http or https
    host: str  # a DNS name in its ASCII form or an IP address, lower-case, without brackets
    port: int
    proxy: Proxy | None = None

    @property
    def name(self) -> str:
        """`host`, with the port where it is not the usual one: for the Host header and for messages."""
        host = bracketed(self.host)
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def tunnelled(self) -> bool:
        return self.proxy is not None and self.scheme == "https"


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """The IP address that `host` is, or None where it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def resolve(url: str, environ: Mapping[str, str]) -> tuple[Origin, str]:
    """(origin, request target) of `url`.

    Raises ConfigError: not http(s), no host, a bad port, a proxy of a kind that is not spoken.
    """
    try:
        parts = urlsplit(url)
        host, port = _host(parts), parts.port
    except ValueError as error:  # UnicodeError, which IDNA raises, is one too
        raise ConfigError(f"A provider's address cannot be used: {error}.") from error
    if parts.scheme not in _PORTS or not host or host.startswith("."):
        raise ConfigError("A provider's address must look like https://host[:port]/path.")
    if parts.username is not None:
        raise ConfigError(f"{host}: a provider's address must not hold a user or password; use `api_key`.")
    port = _PORTS[parts.scheme] if port is None else port
    origin = Origin(parts.scheme, host, port, proxy_for(parts.scheme, host, port, environ))
    target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_SAFE_IN_TARGET)
    if origin.proxy and not origin.tunnelled:
        target = f"http://{origin.name}{target}"
    return origin, target


def request_head(method: str, target: str, origin: Origin, headers: tuple[tuple[str, str], ...]) -> bytes:
    """The head up to where `content-length: N` or the empty line goes. Raises ConfigError, without the value."""
    if not _NAME.fullmatch(method):
        raise ConfigError("A request's method must be one word.")
    lines = [f"{method} {target} HTTP/1.1", f"host: {origin.name}", "accept-encoding: identity"]
    if origin.proxy and origin.proxy.authorization and not origin.tunnelled:
        lines.append(f"proxy-authorization: {origin.proxy.authorization}")
    if not any(name.lower() == "user-agent" for name, _ in headers):
        lines.append(f"user-agent: infron/{infron.__version__}")  # some hosts refuse requests that have none
    for name, value in headers:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{origin.name}: a header's name holds a character that HTTP does not allow.")
        if _FORBIDDEN.search(value):
            raise ConfigError(f"{origin.name}: the header {name} holds a line break; is there one at a key's end?")
        if name.lower() not in _OURS:
            lines.append(f"{name}: {value}")
    try:
        return "\r\n".join([*lines, ""]).encode("latin-1")
    except UnicodeEncodeError as error:
        raise ConfigError(f"{origin.name}: a header holds a character that HTTP does not allow.") from error


def proxy_for(scheme: str, host: str, port: int, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy for one origin by `<scheme>_proxy`, `all_proxy` and `no_proxy`, each in lower or upper case.

    Loopback names never take a proxy. Raises ConfigError, naming the variable, for a proxy that is not an HTTP one.
    """
    if _bypassed(host, port, environ.get("no_proxy") or environ.get("NO_PROXY") or ""):
        return None
    for variable in (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"):
        if url := environ.get(variable, "").strip():
            return _proxy(variable, url)
    return None


def _proxy(variable: str, url: str) -> Proxy:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = _host(parts), parts.port
    except ValueError as error:
        raise ConfigError(f"{variable} cannot be used: it must look like http://host:port.") from error
    if parts.scheme != "http" or not host:
        raise ConfigError(f"{variable} must name an HTTP proxy, like http://host:port; no other kind is spoken.")
    authorization = None
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {b64encode(credentials.encode()).decode()}"
    return Proxy(host, 80 if port is None else port, authorization)


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").rstrip(".")
    return host if address_of(host) else host.encode("idna").decode("ascii").lower()


def _bypassed(host: str, port: int, no_proxy: str) -> bool:
    address = address_of(host)
    if host == "localhost" or host.endswith(".localhost") or (address is not None and address.is_loopback):
        return True
    return any(_matches(entry, host, port, address) for entry in re.split(r"[\s,]+", no_proxy.lower()) if entry)


def _matches(entry: str, host: str, port: int, address: IPv4Address | IPv6Address | None) -> bool:
    """One entry of NO_PROXY: `*`, a CIDR block, or an address, a name or a name's suffix, with or without a port."""
    if entry == "*":
        return True
    if "/" in entry:
        try:
            return address is not None and address in ip_network(entry, strict=False)
        except ValueError:
            return False
    name, colon, digits = entry.rpartition(":")
    if colon and digits.isdigit() and (":" not in name or name.endswith("]")):
        if int(digits) != port:
            return False
    else:
        name = entry
    name = name.strip("[]")
    if address is not None:
        return address_of(name) == address
    name = name.removeprefix("*").removeprefix(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))
