"""The base address of a configured provider, as its wire needs it: people give it with and without the version.

It never asks anybody whether something answers there.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_VERSION = re.compile(r"/v\d+\w*(?=/|$)")


def repaired(base_url: str, chat_path: str, version: str) -> tuple[str, str]:
    """`base_url` without what `chat_path` says once more, and with the API's `version` where neither has one.

    `version`: the path that clients of this API put behind a base address themselves, such as `/v1`; "" for none.
    The second value says what was done, for a sentence; "" where nothing was.
    """
    base, path = base_url.rstrip("/"), chat_path.partition("?")[0]
    place = urlsplit(base).path
    if "{" not in path and place.endswith(path):
        return base[: -len(path)], f"{path} is part of every request already"
    first = _VERSION.match(path)
    if first and place.endswith(first[0]):
        return base[: -len(first[0])], f"{first[0]} is part of every request already"
    if version and not _VERSION.search(place) and not first:
        return base + version, f"{version} was added, where this API is found"
    return base_url, ""
