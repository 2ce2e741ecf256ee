"""Writes the tables of the documentation from what they describe: `python docs/tables.py`.

It never invents a sentence: what it prints stands in providers.toml, settings.py or errors.py.
"""

import re
import sys
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path

import msgspec

from infron import errors
from infron.catalog.definitions import Also, Fact, Provider
from infron.catalog.endpoint import lacking
from infron.catalog.load import load_catalog
from infron.settings import settings
from infron.wires import PROVIDER_WIRES

ROOT = Path(__file__).parents[1]


def disconnects() -> Iterator[str]:
    columns = ("provider", "id", "wire", "status", "when you disconnect", "stops the model", "stops the bill")
    yield f"| {' | '.join((*columns, 'partial usage', 'known from'))} |"
    yield "|---|---|---|---|---|---|---|---|---|"
    shipped = load_catalog(None, None, {}, wires=PROVIDER_WIRES).providers.values()
    for provider in sorted(shipped, key=lambda one: (one.status == "closed", one.name.lower())):
        begin = f"| {provider.name} | `{provider.id}` | {provider.wire}"
        if provider.status == "closed":
            since = f" since {provider.since}" if provider.since else ""
            after = f" Now: {provider.successor}." if provider.successor else ""
            notes = escape(provider.notes, quote=False)
            yield f"{begin} | closed{since} | – | – | – | – | {provider.source}. {notes}{after} |"
            continue
        facts = (provider.stops_work, provider.stops_billing, provider.reports_partial_usage)
        values = " | ".join(fact.value for fact in facts)
        yield f"{begin} | {provider.status} | {provider.on_disconnect} | {values} | {_known(provider.stops_billing)} |"


def _known(fact: Fact) -> str:
    return f"{fact.source}, {fact.date}" if fact.source else "–"


def providers() -> Iterator[str]:
    shipped = load_catalog(None, None, {}, wires=PROVIDER_WIRES).providers.values()
    for provider in sorted(shipped, key=lambda one: one.name.lower()):
        if provider.status == "closed" or provider.id == "local":
            continue
        names = ", ".join(f"`{name}`" for name in provider.aliases)
        yield f"\n### {provider.name}\n"
        where = f"`{provider.base_url}{provider.chat_path}`"
        also = f" (also {names})" if names else ""
        yield f"`{provider.id}`{also}, wire `{provider.wire}`: {where}."
        usual = PROVIDER_WIRES[provider.wire].DEFAULTS.get("also", {})
        for wire, more in provider.also.items():
            if not more.path or (wire in usual and msgspec.convert(usual[wire], Also) == more):
                continue
            only = f", with tools of the types {', '.join(f'`{kind}`' for kind in more.takes)}" if more.takes else ""
            yield f"Clients of the API of `{wire}` are passed on{only}: `{provider.base_url}{more.path}`."
        yield f"Needed in the environment: {'; '.join(_needed(provider))}."
        if may := _welcome(provider):
            yield f"Welcome there: {', '.join(may)}."
        yield f"{escape(provider.notes, quote=False)} (Source: {provider.source}.)"


def _needed(provider: Provider) -> list[str]:
    needs = []
    for field, names in lacking(provider, {}):
        if field == "api_key" and provider.auth.method != "header":
            ambient = ", ".join(f"`{name}`" for name in provider.auth.ambient)
            needs.append(f"{_any_of(provider.auth.env)}, or what tells of other credentials: one of {ambient}")
        else:
            needs.append(_any_of(names))
    return needs


def _welcome(provider: Provider) -> list[str]:
    """Variables that may be set, and of credentials that nothing waits for."""
    told = {name for _, names in lacking(provider, {}) for name in names}
    groups = [*([name] for name in provider.auth.env + provider.auth.ambient), *provider.variables.values()]
    groups += [[name] for name in provider.headers_env.values()]
    return [_any_of(names) for names in groups if told.isdisjoint(names)]


def _any_of(names: list[str]) -> str:
    return " or ".join(f"`{name}`" for name in names)


def wires() -> Iterator[str]:
    """What a new definition on each native wire begins with."""
    yield "| wire | `chat_path` | `auth` | further |"
    yield "|---|---|---|---|"
    new = {
        f"new-{wire}": {"wire": wire, "base_url": "https://host"} for wire in PROVIDER_WIRES if wire != "openai-chat"
    }
    known = load_catalog(new, None, {}, wires=PROVIDER_WIRES).providers
    for provider in (known[name] for name in sorted(new)):
        auth = f'`header = "{provider.auth.header}", scheme = "{provider.auth.scheme}"`'
        headers = ", ".join(f'{name} = "{value}"' for name, value in provider.headers.items())
        more = [f'`usage = "{provider.usage}"`', *([f"`headers = {{ {headers} }}`"] if headers else [])]
        more += ['`on_disconnect = "call"`'] if provider.on_disconnect == "call" else []
        yield f"| `{provider.wire}` | `{provider.chat_path}` | {auth} | {', '.join(more)} |"


def settings_table() -> Iterator[str]:
    section = ""
    for setting in settings():
        if setting.section != section:
            section = setting.section
            yield f"\n### `[{section}]`\n"
            yield "| setting | type | default | meaning |"
            yield "|---|---|---|---|"
        default = str(setting.default).lower() if isinstance(setting.default, bool) else setting.default
        shown = "empty" if default == "" else f"`{default}`"
        yield f"| `{setting.name}` | {setting.type} | {shown} | {setting.help} |"


def error_types() -> Iterator[str]:
    for kind in errors.InfronError.__subclasses__():
        doc = (kind.__doc__ or "").splitlines()[0]
        yield f"| `{kind.error_type}` | {kind.status} | {kind.blame} | {doc} |"


TABLES: dict[str, tuple[str, Callable[[], Iterator[str]]]] = {
    "disconnects": ("docs/providers.md", disconnects),
    "providers": ("docs/providers.md", providers),
    "wires": ("docs/definitions.md", wires),
    "settings": ("docs/settings.md", settings_table),
    "errors": ("docs/api.md", error_types),
}


def rewritten(name: str) -> tuple[Path, str, str]:
    """(file, its text, its text with the table `name` made anew)."""
    place, lines = TABLES[name]
    path = ROOT / place
    text = path.read_text(encoding="utf-8")
    begin, end = f"<!-- generated: {name} -->\n", "<!-- end -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    body = begin + "\n".join(lines()) + "\n" + end
    return path, text, pattern.sub(lambda _: body, text, count=1)


if __name__ == "__main__":
    for name in TABLES:
        path, before, after = rewritten(name)
        path.write_text(after, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {'changed' if before != after else 'as it was'}", file=sys.stderr)
