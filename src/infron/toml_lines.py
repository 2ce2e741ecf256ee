"""Where a setting stands in a TOML text, which no parser of the standard library tells.

It never reads a file, and never knows which settings there are.
"""

from __future__ import annotations

import re


def line_of(keys: list[str], text: str) -> int | None:
    """The line of a TOML `text` on which the setting with this path of names stands, or its table's header."""
    section, found = "", None
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([\w.\"'-]+)\s*\]+", line):
            section = header[1].replace('"', "").replace("'", "")
            if section == ".".join(keys):
                found = number
        elif (pair := re.match(r"\s*([\w.\"'-]+)\s*=", line)) and (
            f"{section}.{pair[1]}".strip(".").split(".") == keys
        ):
            return number
    return found
