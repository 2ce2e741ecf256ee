"""Writes the tables of the documentation from the rows they describe: `python docs/tables.py`.

It never invents a sentence: what it prints stands in providers.toml, config.py or errors.py.
"""

import re
import sys
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path

from infron import config, errors
from infron.catalog.definitions import Fact, Provider
from infron.catalog.endpoint import lacking
from infron.catalog.load import load_catalog
from infron.wires import PROVIDER_WIRES

ROOT = Path(__file__).parents[1]


def hang_up() -> Iterator[str]:
    columns = ("provider", "id", "wire", "status", "when you hang up", "stops the model", "stops the bill")
    yield f"| {' | '.join((*columns, 'partial usage', 'known from'))} |"
    yield "|---|---|---|---|---|---|---|---|---|"
    rows = load_catalog(None, None, {}, wires=PROVIDER_WIRES).providers
    for row in sorted(rows.values(), key=lambda row: (row.status == "closed", row.name.lower())):
        begin = f"| {row.name} | `{row.id}` | {row.wire}"
        if row.status == "closed":
            since = f" since {row.since}" if row.since else ""
            after = f" Now: {row.successor}." if row.successor else ""
            yield f"{begin} | closed{since} | – | – | – | – | {row.source}. {escape(row.notes, quote=False)}{after} |"
            continue
        facts = (row.stops_work, row.stops_billing, row.reports_partial_usage)
        values = " | ".join(fact.value for fact in facts)
        yield f"{begin} | {row.status} | {row.on_disconnect} | {values} | {_known(row.stops_billing)} |"


def _known(fact: Fact) -> str:
    return f"{fact.source}, {fact.date}" if fact.source else "–"


def providers() -> Iterator[str]:
    rows = load_catalog(None, None, {}, wires=PROVIDER_WIRES).providers
    for row in sorted(rows.values(), key=lambda row: row.name.lower()):
        if row.status == "closed" or row.id == "local":
            continue
        names = ", ".join(f"`{name}`" for name in row.aliases)
        yield f"\n### {row.name}\n"
        yield f"`{row.id}`{f' (also {names})' if names else ''}, wire `{row.wire}`: `{row.base_url}{row.chat_path}`."
        yield f"Needed in the environment: {'; '.join(_needed(row))}."
        if may := _welcome(row):
            yield f"Welcome there: {', '.join(may)}."
        yield f"{escape(row.notes, quote=False)} (Source: {row.source}.)"


def _needed(row: Provider) -> list[str]:
    needs = []
    for field, names in lacking(row, {}):
        if field == "api_key" and row.auth.method != "header":
            ambient = ", ".join(f"`{name}`" for name in row.auth.ambient)
            needs.append(f"{_any_of(row.auth.env)}, or what tells of other credentials: one of {ambient}")
        else:
            needs.append(_any_of(names))
    return needs


def _welcome(row: Provider) -> list[str]:
    """Variables that may be set, and of credentials that nothing waits for."""
    told = {name for _, names in lacking(row, {}) for name in names}
    groups = [*([name] for name in row.auth.env + row.auth.ambient), *row.variables.values()]
    groups += [[name] for name in row.headers_env.values()]
    return [_any_of(names) for names in groups if told.isdisjoint(names)]


def _any_of(names: list[str]) -> str:
    return " or ".join(f"`{name}`" for name in names)


def wires() -> Iterator[str]:
    """What a new definition on each native wire begins with."""
    yield "| wire | `chat_path` | `auth` | further |"
    yield "|---|---|---|---|"
    base = "https://host"
    new = {f"new-{wire}": {"wire": wire, "base_url": base} for wire in PROVIDER_WIRES if wire != "openai-chat"}
    rows = load_catalog(new, None, {}, wires=PROVIDER_WIRES).providers
    for wire in sorted(new):
        row, wire = rows[wire], rows[wire].wire
        auth = f'`header = "{row.auth.header}", scheme = "{row.auth.scheme}"`'
        headers = ", ".join(f'{name} = "{value}"' for name, value in row.headers.items())
        more = [f'`usage = "{row.usage}"`', *([f"`headers = {{ {headers} }}`"] if headers else [])]
        more += ['`on_disconnect = "call"`'] if row.on_disconnect == "call" else []
        yield f"| `{wire}` | `{row.chat_path}` | {auth} | {', '.join(more)} |"


def settings() -> Iterator[str]:
    section = ""
    for row in config.settings():
        if row.section != section:
            section = row.section
            yield f"\n### `[{section}]`\n"
            yield "| setting | type | default | meaning |"
            yield "|---|---|---|---|"
        default = str(row.default).lower() if isinstance(row.default, bool) else row.default
        yield f"| `{row.name}` | {row.type} | {'empty' if default == '' else f'`{default}`'} | {row.help} |"


def error_types() -> Iterator[str]:
    for kind in errors.InfronError.__subclasses__():
        doc = (kind.__doc__ or "").splitlines()[0]
        yield f"| `{kind.error_type}` | {kind.status} | {kind.blame} | {doc} |"


TABLES: dict[str, tuple[str, Callable[[], Iterator[str]]]] = {
    "hang-up": ("README.md", hang_up),
    "providers": ("docs/providers.md", providers),
    "wires": ("docs/definitions.md", wires),
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
