"""A running gateway as its clients see it: one request and its response, and the shapes of what comes back.

It never knows the gateway from inside, and never prints anything.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Iterator
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Struct

SILENCE_SECONDS = 120.0
RECEIPT_SECONDS = 5.0
Shape = TypeVar("Shape", bound=Struct)


class StreamedError(Struct):
    message: str


class StreamedDelta(Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class StreamedChoice(Struct):
    delta: StreamedDelta | None = None
    finish_reason: str | None = None


class StreamedUsage(Struct):
    completion_tokens: int | None = None
    cost: float | None = None


class StreamedFrame(Struct):
    """One frame of a streamed answer, as far as it is shown."""

    error: StreamedError | None = None
    choices: list[StreamedChoice] | None = None
    usage: StreamedUsage | None = None


class ShownReceipt(Struct):
    """A receipt, as far as it is shown. `outcome`: None while the answer runs."""

    outcome: str | None = None
    tokens_completion: int | None = None
    estimated: bool | None = None
    total_cost: float | None = None
    upstream_closed_ms: float | None = None


class ReceiptAnswer(Struct):
    data: ShownReceipt


class Refusal(Struct):
    error: StreamedError


class GatewayError(Exception):
    """The gateway refused, broke off, or is not there; the message is one sentence for the person at the terminal."""


class Gateway:
    """A running gateway, spoken to like any client does. `base_url` with or without `/v1`."""

    def __init__(self, base_url: str, api_key: str | None) -> None:
        address = urlsplit(base_url if "://" in base_url else f"http://{base_url}")
        try:
            port = address.port
        except ValueError:
            port = -1
        if address.scheme not in ("http", "https") or not address.hostname or port == -1:
            raise GatewayError(f"{base_url!r} is not an address; write it like http://127.0.0.1:8080.")
        self.url = f"{address.scheme}://{address.netloc}"
        self._prefix = address.path.rstrip("/").removesuffix("/v1")
        self._connect = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        self._host, self._port = address.hostname, port
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    @contextlib.contextmanager
    def open(self, method: str, path: str, body: dict[str, Any] | None = None) -> Iterator[http.client.HTTPResponse]:
        """The response to a request, if it is a 200. Leaving the block closes the connection. Raises GatewayError."""
        connection = self._connect(self._host, self._port, timeout=SILENCE_SECONDS)
        response = None
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, f"{self._prefix}/v1{path}", data, self._headers)
            response = connection.getresponse()
            if response.status != 200:
                raise GatewayError(_refusal(response.status, response.read(1 << 20)))
            yield response
        except ConnectionRefusedError as error:
            raise GatewayError(f"No gateway answers at {self.url}; `infron serve` starts one.") from error
        except TimeoutError as error:
            raise GatewayError(f"{self.url} was silent for {SILENCE_SECONDS:.0f} seconds.") from error
        except http.client.HTTPException as error:
            raise GatewayError(f"{self.url} broke off its answer.") from error
        except OSError as error:
            raise GatewayError(f"{self.url} cannot be reached: {error.strerror or error}.") from error
        finally:
            if response is not None:
                response.close()  # it holds the socket too
            connection.close()

    def receipt(self, id: str) -> ShownReceipt:
        """The receipt of an exchange. Waits for its outcome, but not for ever. Raises GatewayError."""
        deadline = time.monotonic() + RECEIPT_SECONDS
        while True:
            with self.open("GET", f"/generation?id={quote(id)}") as response:
                found = decoded(response.read(), ReceiptAnswer).data
            if found.outcome or time.monotonic() > deadline:
                return found
            time.sleep(0.05)


def decoded(data: bytes, shape: type[Shape]) -> Shape:
    """Raises GatewayError."""
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.MsgspecError as error:
        raise GatewayError("What answers there is not an Infron gateway: check --base-url.") from error


def _refusal(status: int, body: bytes) -> str:
    try:
        message = msgspec.json.decode(body, type=Refusal).error.message
    except msgspec.MsgspecError:
        return f"The gateway answered with status {status}."
    return message if status != 401 else f"{message} (Give it to this command with --api-key or INFRON_API_KEY.)"
