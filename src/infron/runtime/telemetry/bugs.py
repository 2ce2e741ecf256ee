"""Where failures of our own are told: in the log, with their place in the code.

It never logs what was said: no request, no answer, no key.
"""

from __future__ import annotations

import logging

_log = logging.getLogger("infron")


def report_bug(doing: str, error: BaseException | None = None) -> None:
    """`doing`: what failed, as in "a bug while …". `error`: the exception being handled, unless another is given."""
    _log.error("a bug while %s", doing, exc_info=error or True)
