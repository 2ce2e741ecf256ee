"""Writes the tables of the documentation from the rows they describe: `python docs/tables.py`.

It never invents a sentence: what it prints stands in providers.toml, config.py or errors.py.
"""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from infron import catalog, config, errors
from infron.rows import Fact
from infron.wires import WIRES

ROOT = Path(__file__).parents[1]


def hang_up() -> Iterator[str]:
    columns = ("provider", "id", "wire", "status", "when you hang up", "stops the model", "stops the bill")
    yield f"| {' | '.join((*columns, 'partial usage', 'known from'))} |"
    yield "|---|---|---|---|---|---|---|---|---|"
    rows = catalog.load(None, None, {}, wires=WIRES).providers
    for row in sorted(rows.values(), key=lambda row: (row.status == "closed", row.name.lower())):
        begin = f"| {row.name} | `{row.id}` | {row.wire}"
        if row.status == "closed":
            since = f" since {row.since}" if row.since else ""
            after = f" Now: {row.successor}." if row.successor else ""
            yield f"{begin} | closed{since} | – | – | – | – | {row.source}. {row.notes}{after} |"
            continue
        facts = (row.stops_work, row.stops_billing, row.reports_partial_usage)
        values = " | ".join(fact.value for fact in facts)
        yield f"{begin} | {row.status} | {row.on_disconnect} | {values} | {_known(row.stops_billing)} |"


def _known(fact: Fact) -> str:
    return f"{fact.source}, {fact.date}" if fact.source else "–"


def providers() -> Iterator[str]:
    rows = catalog.load(None, None, {}, wires=WIRES).providers
    for row in sorted(rows.values(), key=lambda row: row.name.lower()):
        if row.status == "closed" or row.id == "local":
            continue
        names = ", ".join(f"`{name}`" for name in row.aliases)
        keys = [row.auth.env, *row.variables.values(), *([name] for name in row.headers_env.values())]
        yield f"\n### {row.name}\n"
        yield f"`{row.id}`{f' (also {names})' if names else ''}, wire `{row.wire}`: `{row.base_url}{row.chat_path}`."
        yield f"From the environment: {', '.join(' or '.join(f'`{name}`' for name in each) for each in keys if each)}."
        yield f"{row.notes} (Source: {row.source}.)"


def settings() -> Iterator[str]:
    section = ""
    for row in config.settings():
        if row.section != section:
            section = row.section
            yield f"\n### `[{section}]`\n"
            yield "| setting | type | default | meaning |"
            yield "|---|---|---|---|"
        default = str(row.default).lower() if isinstance(row.default, bool) else row.default
        yield f"| `{row.name}` | {row.type} | `{default}` | {row.help} |"


def error_types() -> Iterator[str]:
    for kind in errors.InfronError.__subclasses__():
        doc = (kind.__doc__ or "").splitlines()[0]
        yield f"| `{kind.error_type}` | {kind.status} | {kind.blame} | {doc} |"


TABLES: dict[str, tuple[str, Callable[[], Iterator[str]]]] = {
    "hang-up": ("README.md", hang_up),
    "providers": ("docs/providers.md", providers),
    "settings": ("docs/settings.md", settings),
    "errors": ("docs/api.md", error_types),
}


def rewritten(name: str) -> tuple[Path, str, str]:
    """(file, its text, its text with the table `name` made anew)."""
    place, rows = TABLES[name]
    path = ROOT / place
    text = path.read_text(encoding="utf-8")
    begin, end = f"<!-- generated: {name} -->\n", "<!-- end -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    body = begin + "\n".join(rows()) + "\n" + end
    return path, text, pattern.sub(lambda _: body, text, count=1)


if __name__ == "__main__":
    for name in TABLES:
        path, before, after = rewritten(name)
        path.write_text(after, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {'changed' if before != after else 'as it was'}", file=sys.stderr)
