"""What a connection has in place of its transport once that is closed: whatever is written goes nowhere.

It never knows a connection.
"""

from __future__ import annotations

import asyncio
from typing import Any


class Gone(asyncio.Transport):
    def write(self, data: bytes | bytearray | memoryview) -> None: ...
    def write_eof(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def is_closing(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


GONE = Gone()
