"""The bytes of one connection made into requests, within the limits of heads and bodies.

It never knows the socket they come from, and never answers anything: what cannot be understood is raised.
"""

from __future__ import annotations

from typing import Any, Protocol

import httptools

from infron.errors import HeadTooLarge, InfronError, InvalidRequest, PayloadTooLarge
from infron.request import Headers
from infron.runtime.server.paths import Paths
from infron.runtime.server.request import HttpRequest, target_of
from infron.settings import Limits

MAX_HEADERS = 256


class Receiver(Protocol):
    """Whom the requests are for."""

    def request_begun(self, request: HttpRequest) -> None:
        """Its head is here; what is wrong with it may still be raised."""


class RequestParser:
    """`request`: the one that is being received, once its head is here. `begun`: a first byte of one is here."""

    def __init__(self, receiver: Receiver, limits: Limits, paths: Paths) -> None:
        self.request: HttpRequest | None = None
        self.begun = False
        self._receiver = receiver
        self._limits = limits
        self._paths = paths
        self._parser: Any = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: Headers = []
        self._unparsed = 0  # bytes received since the parser last made something of them
        self._raw_left = 0  # bytes of a body that the parser must not see

    def close(self) -> None:
        """No request follows. Without it this object, its receiver and the parser would hold each other in circles."""
        del self._parser, self._receiver

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Raises InfronError for what cannot be understood, or any other error for a bug of ours; then it is over."""
        self._unparsed += len(data)
        failure: BaseException | None = None
        try:
            if self._raw_left:
                data = self._take_raw(data)
            while data:
                try:
                    self._parser.feed_data(data)
                    break
                except httptools.HttpParserUpgrade as upgrade:
                    # No upgrade is offered, so the request is answered as it stands and the next one follows it.
                    data = self._take_raw(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            failure, error.__context__ = error.__context__ or error, None
        except httptools.HttpParserError as error:
            failure = InvalidRequest(f"This is not a valid HTTP/1.1 request: {error}.")
        if failure is not None:
            raise failure
        if self._unparsed > self._limits.max_header_bytes:
            raise self._too_much_head()

    def _take_raw(self, data: bytes | bytearray | memoryview) -> bytes | bytearray | memoryview:
        """Take what is left of a body that the parser must not see; what follows it is given back."""
        part, rest = data[: self._raw_left], data[self._raw_left :]
        if part:
            self._raw_left -= len(part)
            self.on_body(bytes(part))
            if not self._raw_left:
                self.on_message_complete()
        return rest

    def check_length(self, request: HttpRequest) -> None:
        """Raises PayloadTooLarge where the head announces a body that is."""
        if request.length > self._limits.max_body_bytes:
            raise self._too_much_body()

    def _too_much_head(self) -> InfronError:
        return HeadTooLarge(
            f"The request's head is larger than {self._limits.max_header_bytes:,} bytes"
            f" or has more than {MAX_HEADERS} fields."
        )

    def _too_much_body(self) -> InfronError:
        return PayloadTooLarge(f"The body is larger than {self._limits.max_body_bytes:,} bytes.")

    # ---- the parser's callbacks; an error raised in one ends the parsing

    def on_message_begin(self) -> None:
        self._url, self._headers, self.begun = b"", [], True

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self._headers
        if len(headers) >= MAX_HEADERS:  # now: strangers would have each one kept to the head's end
            raise self._too_much_head()
        headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        read, self._unparsed = self._unparsed, 0
        headers, self._headers = self._headers, []  # what follows are trailers: the head is judged, they do not count
        version, method = self._parser.get_http_version(), self._parser.get_method()
        tunnel = method == b"CONNECT"  # never made; what follows is for it, and no request of ours
        request = self.request = HttpRequest(
            method,
            headers,
            keep_alive=version == "1.1" and not tunnel and self._parser.should_keep_alive(),
            chunked=version == "1.1",
        )
        self._receiver.request_begun(request)
        if read > self._limits.max_header_bytes and self._is_large(headers):
            raise self._too_much_head()
        self._check_framing(request, version)
        named = request.named
        request.length = int(named.get(b"content-length", b"0"))
        place = self._paths.exact.get(self._url)
        if place is not None:
            request.path = self._url
        else:
            request.path, request.query, authority = target_of(self._url)
            if authority:  # RFC 9112 §3.2.2: the target's host counts, whatever the header says
                named[b"host"] = authority
            place = self._paths.find(request.path)
        request.place = place
        request.keeps_body = place.api is not None or place.takes_body(request.method)
        if b"expect" in named:
            request.expects = version == "1.1" and named[b"expect"].lower() == b"100-continue"
        if b"upgrade" in named and not tunnel and self._parser.should_upgrade():
            self._raw_left = request.length  # the parser believes that there is no body

    def _is_large(self, headers: Headers) -> bool:
        size = len(self._url) + sum(len(name) + len(value) + 4 for name, value in headers)
        return size > self._limits.max_header_bytes

    def _check_framing(self, request: HttpRequest, version: str) -> None:
        """What the parser lets pass though another server in the chain may read it differently."""
        if version not in ("1.0", "1.1"):
            raise InvalidRequest(f"HTTP/{version} is not spoken here, HTTP/1.1 is.")
        named = request.named
        many: set[bytes] = set()  # names of fields that stand there more than once
        if len(named) < len(request.headers):
            names = [name for name, _ in request.headers]
            many = {name for name in (b"host", b"transfer-encoding") if names.count(name) > 1}
        if b"host" in many or (b"host" not in named and version == "1.1"):
            raise InvalidRequest("An HTTP/1.1 request needs one Host header.")
        encoding = named.get(b"transfer-encoding")
        if encoding is None:
            return
        chunked = encoding.strip().lower() == b"chunked" and b"transfer-encoding" not in many
        if not chunked or version == "1.0" or self._parser.should_upgrade():
            raise InvalidRequest("The only transfer encoding that is understood is `chunked`, and only in HTTP/1.1.")

    def on_chunk_header(self) -> None:
        self._unparsed = 0

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        request = self.request
        assert request is not None
        request.size += len(body)
        if request.size > self._limits.max_body_bytes:
            raise self._too_much_body()
        if request.keeps_body and request.error is None:
            request.body.append(body)

    def on_message_complete(self) -> None:
        if self._raw_left:
            return
        self.begun = False
        self._unparsed = 0
        request, self.request = self.request, None
        assert request is not None
        request.complete = True
