"""What a client asks in one of its APIs, as the gateway reads it."""

from __future__ import annotations

import json
from typing import Any

from infron.request import Request
from infron.wires import CLIENT_WIRES

HI = {"role": "user", "content": "Hi"}


def asking(api: str = "openai-chat", /, **fields: Any) -> Request:
    """A request of these root fields: for `m`, and streamed, unless they say otherwise."""
    body = {"model": "m", "messages": [HI], "stream": True, **fields}
    return CLIENT_WIRES[api].parse(json.dumps(body).encode(), [])
