"""Root fields of a request that goes on as it came, as a host's definition says that it takes them.

It never knows what a field means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Raw

from infron.catalog.definitions import RequestQuirks


def fitted(fields: Mapping[str, Raw], quirks: RequestQuirks) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The fields, and the names of those that are left out."""
    names = {name: quirks.rename.get(name, name) for name in fields}
    kept = {
        name
        for name, sent in names.items()
        if name not in quirks.drop and sent not in quirks.drop and (not quirks.only or sent in quirks.only)
    }
    sent = {**quirks.defaults, **{names[name]: raw for name, raw in fields.items() if name in kept}}
    return sent, tuple(sorted(fields.keys() - kept))
