"""A line of the log for every answer.

It never tells more of a request than its method, its path, and whose key it showed.
"""

from __future__ import annotations

from typing import Any

from infron.runtime.server.response import Response
from infron.runtime.telemetry.log import Log


class AccessLog:
    def __init__(self, log: Log) -> None:
        self._log = log

    def record(self, response: Response, peer: Any, seconds: float) -> None:
        """An answer is over, or its client has gone. `peer`: the address of its socket."""
        request = response.request
        self._log.answered(
            client=str(peer[0]) if isinstance(peer, tuple) else "",
            method=request.method.decode("latin-1"),
            path=request.path.decode("utf-8", "replace"),
            status=response.status,
            seconds=seconds,
            key=request.key.id if request.key else None,
            cut=response.cut,
        )
