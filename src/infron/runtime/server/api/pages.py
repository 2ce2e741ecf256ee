"""`GET /` and its files: the chat page, as it lies in the package.

It never reads a file when it is asked: all are read at the start, so that nothing outside of them can be named.
"""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from infron.policy.access import Key
from infron.runtime.server.api.endpoint import Endpoint

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
# Everything comes from here, no script stands in the page, and no other page may show it in a frame.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Comments and types are for those who read the source: what browsers fetch is a seventh smaller without them.
_COMMENTS = re.compile(rb"^[ \t]*(?:/\*\*(?:[^*]|\*(?!/))*\*/|//[^\n]*)\n", re.MULTILINE)
_HEADERS = {
    "content-security-policy": _POLICY,
    "cache-control": "no-cache",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def endpoints(shown: bool) -> list[Endpoint]:
    """None of them unless they are `shown`. They hold no secret, so strangers may read them: the API asks for keys."""
    return [_endpoint(name, data) for name, data in _files()] if shown else []


def _files() -> list[tuple[str, bytes]]:
    folder = files("infron") / "web" / "chat"
    named = [file for file in folder.iterdir() if _kind(file.name) in _TYPES]
    return [(file.name, _served(file.name, file.read_bytes())) for file in named]


def _kind(name: str) -> str:
    return name.rpartition(".")[2]


def _served(name: str, data: bytes) -> bytes:
    return _COMMENTS.sub(b"", data) if _kind(name) == "js" else data


def _endpoint(name: str, data: bytes) -> Endpoint:
    tag = f'"{hashlib.sha256(data).hexdigest()[:20]}"'
    headers = {**_HEADERS, "etag": tag, "content-type": f"{_TYPES[_kind(name)]}; charset=utf-8"}

    async def page(request: Request, key: Key | None) -> Response:
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(data, headers=headers)

    return Endpoint("/" if name == "index.html" else f"/chat/{name}", page, root=True, open=True)
