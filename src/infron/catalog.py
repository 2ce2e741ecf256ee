"""Who serves which model, where and how: the rows of `providers.toml` and `models.toml`, checked.

It never opens a connection, and never decides which row a request takes.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Collection, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from infron.config import line_of
from infron.errors import ConfigError
from infron.model import Price
from infron.rows import Auth, Fact, Model, Offer, OnDisconnect, Provider, Quirks, Rate, Row, price_from

__all__ = [
    "Auth",
    "Catalog",
    "Endpoint",
    "Fact",
    "Model",
    "Offer",
    "OnDisconnect",
    "Provider",
    "Quirks",
    "Rate",
    "Row",
    "endpoint",
    "load",
]


class Endpoint(Struct, frozen=True, kw_only=True):
    """Where a request to a provider goes, and the headers that it needs, our key among them.

    `chat_url` may hold `{model}`. `signed`: there is no key; this method of the row's `auth` proves who asks.
    """

    base_url: str
    chat_url: str
    models_url: str | None
    headers: dict[str, str]
    signed: str = ""

    def __repr__(self) -> str:
        return f"Endpoint({self.base_url!r}, headers={list(self.headers)})"


class Catalog:
    """All rows. `providers` by id, `models` by public id, `alias`: every name of a provider in lower case -> its id."""

    def __init__(
        self,
        providers: dict[str, Provider],
        models: dict[str, Model],
        alias: dict[str, str],
        environ: Mapping[str, str],
    ) -> None:
        self.providers = providers
        self.models = models
        self.alias = alias
        self._environ = environ
        self._endpoints = {row.id: endpoint(row, environ) for row in providers.values()}
        offers = ((offer, f"models.toml, {model.id}") for model in models.values() for offer in model.served_by)
        self._prices = {(o.provider, o.id): price_from(o.price, source) for o, source in offers if o.price}
        for row in providers.values():
            for own_id, rate in row.prices.items():
                self._prices[row.id, own_id] = price_from(rate, f"providers.{row.id}.prices")

    def find_provider(self, name: str) -> Provider | None:
        """The row with this id, alias or display name, in any case."""
        return self.providers.get(self.alias.get(name.lower(), ""))

    def usable(self, provider: Provider) -> Endpoint | str:
        """Where to send requests for this row, or the sentence that says why there is nowhere."""
        if self.providers.get(provider.id) is provider:
            return self._endpoints[provider.id]
        return endpoint(provider, self._environ)

    def price(self, provider_id: str, own_id: str) -> Price | None:
        """The price that a row states for this model; None leaves it to the price list."""
        return self._prices.get((provider_id, own_id)) or self._prices.get((provider_id, "*"))

    def nearest(self, model_id: str, n: int = 3) -> list[str]:
        """At most `n` public model ids that an unknown one may have meant, the likeliest first."""
        wanted = model_id[:200].lower()
        by_slug: dict[str, list[str]] = {}
        for known in self.models:
            by_slug.setdefault(known.partition("/")[2], []).append(known)
        whole = difflib.get_close_matches(wanted, self.models, n)
        slugs = difflib.get_close_matches(wanted.rpartition("/")[2], by_slug, n, cutoff=0.7)
        return list(dict.fromkeys([*(known for slug in slugs for known in by_slug[slug]), *whole]))[:n]


# ---- where a row's requests go

_VARIABLE = re.compile(r"\{(\w+)\}")
_VARIABLE_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\x80-\xff]*")


def endpoint(provider: Provider, environ: Mapping[str, str]) -> Endpoint | str:
    """Where to send requests for this row, or the sentence that says why there is nowhere, and what to set."""
    name = provider.name
    if provider.status == "closed":
        since = f" since {provider.since}" if provider.since else ""
        successor = f" What took its place: {provider.successor}." if provider.successor else ""
        return f"{name} is closed{since}.{successor}{f' {provider.notes}' if provider.notes else ''}"
    if provider.base_url is None:
        return f"{name} has no address: set base_url in [providers.{provider.id}]."
    values = {"model": "{model}"}  # it is put in for each request
    for field, template in (("base_url", provider.base_url), ("chat_path", provider.chat_path)):
        for variable in _VARIABLE.findall(template):
            if variable in values:
                continue
            names = provider.variables.get(variable, [])
            value = values[variable] = _first_set(names, environ) or provider.variable_defaults.get(variable, "")
            if not value:
                return f"{name} needs {_any_of(names)} in the environment, or {field} in [providers.{provider.id}]."
            if not _VARIABLE_VALUE.fullmatch(value):
                return f"{_any_of(names)} cannot be part of an address: letters, digits, dots and hyphens only."
    auth = provider.auth
    key = (provider.api_key or "").strip() or _first_set(auth.env, environ)
    signed = "" if key or auth.method == "header" or not _first_set(auth.ambient, environ) else auth.method
    if not key and not signed and (asked := [*auth.env, *auth.ambient]):
        return f"{name} needs its key: set {_any_of(asked)}, or api_key in [providers.{provider.id}]."
    headers = {header: _first_set([variable], environ) for header, variable in provider.headers_env.items()}
    headers = {**provider.headers, **{header: value for header, value in headers.items() if value}}
    if key:
        headers[provider.auth.header] = f"{provider.auth.scheme} {key}".strip()
    if bad := [header for header, value in headers.items() if not _HEADER_VALUE.fullmatch(value)]:
        return f"{name}: the value for the header {bad[0]} has characters that no header can carry."
    base = provider.base_url
    for variable in _VARIABLE.findall(base):
        base = provider.hosts.get(variable, {}).get(values[variable], base)
    base, chat = (
        _VARIABLE.sub(lambda match: values.get(match[1], match[0]), part) for part in (base, provider.chat_path)
    )
    base = base.rstrip("/")
    models = base + provider.models_path if provider.models_path else None
    return Endpoint(base_url=base, chat_url=base + chat, models_url=models, headers=headers, signed=signed)


def _first_set(names: list[str], environ: Mapping[str, str]) -> str:
    return next((value for name in names if (value := environ.get(name, "").strip())), "")


def _any_of(names: list[str]) -> str:
    return " or ".join(names)


# ---- reading the rows

Table = dict[str, Any]
Kind = TypeVar("Kind", bound=Row)


def load(
    config_providers: Mapping[str, Table] | None = None,
    config_models: Mapping[str, Table] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    wires: Collection[str] = (),
    path: Path | None = None,
) -> Catalog:
    """The shipped rows with those of the configuration over them.

    A configured row overrides single fields of the shipped one of that id or alias (a table field, such as `auth`,
    member by member), or adds a whole one: then it needs `wire` and `base_url`. `api_key_env` is short for `auth.env`.
    `wires`: the names that `wire` may have (none: not checked). `path`: the file they come from, to name the line.
    Raises ConfigError, which names the row, the field and what it may be.
    """
    environ = os.environ if environ is None else environ
    shipped = _shipped("providers.toml")
    names = {alias: key for key, row in shipped.items() for alias in row.get("aliases", [])}
    rows = {
        key: _convert(Provider, {"name": key, **row, "id": key}, "providers.toml", [key])
        for key, row in shipped.items()
    }
    for given, table in (config_providers or {}).items():
        where, keys = (str(path) if path else "The configuration"), ["providers", given]
        key = names.get(given, given)
        merged = _merged({"name": key, **shipped.get(key, {}), "id": key}, _with_env(table, where, [*keys], path))
        if key not in shipped:
            for field in ("wire", "base_url"):
                if field not in table:
                    raise _wrong(where, keys, f"a new provider needs `{field}`", path)
        rows[key] = _convert(Provider, merged, where, keys, path)
        _check_provider(rows[key], wires, where, keys, path)
    alias = {name.lower(): row.id for row in rows.values() for name in (row.name, *row.aliases)}
    alias.update({row.id.lower(): row.id for row in rows.values()})
    models = _shipped("models.toml")
    checked = {key: _model(key, row, alias, "models.toml", [key]) for key, row in models.items()}
    for key, table in (config_models or {}).items():
        where, keys = (str(path) if path else "The configuration"), ["models", key]
        if "/" not in key:
            raise _wrong(where, keys, 'a model id is "author/slug"', path)
        checked[key] = _model(key, _merged(models.get(key, {}), table), alias, where, keys, path)
    return Catalog(rows, checked, alias, environ)


def _shipped(name: str) -> dict[str, Table]:
    return tomllib.loads(files("infron").joinpath(name).read_text(encoding="utf-8"))


def _merged(shipped: Table, over: Mapping[str, Any]) -> Table:
    result = dict(shipped)
    for field, value in over.items():
        below = result.get(field)
        result[field] = {**below, **value} if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def _with_env(table: Table, where: str, keys: list[str], path: Path | None) -> Table:
    """The table with `api_key_env` written out."""
    if not isinstance(table, dict):
        raise _wrong(where, keys, "expected a table", path)
    if "api_key_env" not in table:
        return table
    names = table["api_key_env"]
    names = [names] if isinstance(names, str) else names
    rest = {field: value for field, value in table.items() if field != "api_key_env"}
    return {**rest, "auth": {**rest.get("auth", {}), "env": names}}


def _model(key: str, row: Table, alias: dict[str, str], where: str, keys: list[str], path: Path | None = None) -> Model:
    model = _convert(Model, {"name": key, "served_by": [], **row, "id": key}, where, keys, path)
    offers = []
    for offer in model.served_by:
        provider = alias.get(offer.provider.lower())
        if provider is None:
            near = difflib.get_close_matches(offer.provider.lower(), alias, 3)
            hint = f"; did you mean {_any_of(near)}?" if near else ""
            raise _wrong(where, [*keys, "served_by"], f"no such provider: {offer.provider!r}{hint}", path)
        _check_rate(offer.price, where, [*keys, "served_by"], path)
        offers.append(msgspec.structs.replace(offer, provider=provider))
    if not offers:
        raise _wrong(where, keys, "a model needs `served_by = [{provider = …, id = …}]`", path)
    return msgspec.structs.replace(model, served_by=offers)


def _check_provider(row: Provider, wires: Collection[str], where: str, keys: list[str], path: Path | None) -> None:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", row.id):
        raise _wrong(where, keys, "a provider's id is made of letters, digits, dots and hyphens", path)
    if wires and row.wire not in wires:
        raise _wrong(where, [*keys, "wire"], f"expected {_any_of(sorted(wires))}, got {row.wire!r}", path)
    others = [("hosts", base) for bases in row.hosts.values() for base in bases.values()]
    for field, base in [("base_url", row.base_url), *others]:
        url = urlsplit(base or "http://host")
        if url.scheme not in ("http", "https") or not url.netloc or url.query or url.fragment or "@" in url.netloc:
            raise _wrong(where, [*keys, field], "expected http(s)://host/path, without a key or a query", path)
    for field, template in (("base_url", row.base_url or ""), ("chat_path", row.chat_path.replace("{model}", ""))):
        if unknown := set(_VARIABLE.findall(template)) - set(row.variables):
            raise _wrong(where, [*keys, field], f"{{{unknown.pop()}}} is not among this row's `variables`", path)
    for field in ("chat_path", "models_path"):
        if (value := getattr(row, field)) and not value.startswith("/"):
            raise _wrong(where, [*keys, field], 'expected a path that starts with "/"', path)
    if row.max_connections < 1:
        raise _wrong(where, [*keys, "max_connections"], "expected at least 1", path)
    for own_id, rate in row.prices.items():
        _check_rate(rate, where, [*keys, "prices", own_id], path)


def _check_rate(rate: Rate | None, where: str, keys: list[str], path: Path | None) -> None:
    try:
        if rate is not None:
            price_from(rate, "")
    except ValueError as error:
        raise _wrong(where, keys, str(error), path) from error


def _convert(kind: type[Kind], table: Table, where: str, keys: list[str], path: Path | None = None) -> Kind:
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$")
        inner = [name for name in re.findall(r"\.(\w+)", place)]
        if unknown := re.search(r"unknown field `(\w+)`", what):
            inner.append(unknown[1])
            known = difflib.get_close_matches(unknown[1], kind.__struct_fields__, 1, cutoff=0.0)
            what = f"no such field; did you mean {known[0]}?"
        if (enum := re.match(r"Invalid enum value (.*)", what)) and (choice := _choice(kind, inner)):
            what = f"expected {choice}, got {enum[1]}"
        raise _wrong(where, [*keys, *inner], what[:1].lower() + what[1:], path) from error


def _choice(kind: type[Row], inner: list[str]) -> str:
    """The values that a field of a fixed choice may have, or nothing."""
    annotation: Any = kind
    for name in inner:
        fields = msgspec.inspect.type_info(annotation)
        found = next((f.type for f in getattr(fields, "fields", ()) if f.name == name), None)
        if isinstance(found, msgspec.inspect.LiteralType):
            return " or ".join(f'"{value}"' for value in found.values if value)
        annotation = getattr(found, "cls", None)
        if annotation is None:
            break
    return ""


def _wrong(where: str, keys: list[str], what: str, path: Path | None) -> ConfigError:
    line = None
    if path is not None:
        try:
            line = line_of(keys, path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            line = None
    return ConfigError(f"{where}{f', line {line}' if line else ''}: {'.'.join(keys)}: {what.rstrip('.')}.")
