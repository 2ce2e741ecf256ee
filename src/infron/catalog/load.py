"""Who serves which model, where and how: the definitions of `providers.toml` and `models.toml`, checked.

It never opens a connection, and never decides which of them a request takes.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Set
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec

from infron.catalog.address import repaired
from infron.catalog.aliases import Aliases
from infron.catalog.definitions import (
    FLAT_QUIRKS,
    NEEDLESS_QUIRKS,
    USUAL_WIRE,
    Also,
    Definition,
    Model,
    Offer,
    Provider,
    Quirks,
    Rate,
    price_from,
)
from infron.catalog.endpoint import VARIABLE, ProviderEndpoint, any_of, endpoint
from infron.errors import ConfigError
from infron.money import Price
from infron.toml_lines import line_of


class Catalog:
    """All definitions. `providers` by id, `models` by public id, `alias`: every name of a provider in lower case -> id,
    `aliases`: other names of models.

    `notes`: a sentence for each name in the configuration that works but has a new one.
    """

    def __init__(
        self,
        providers: dict[str, Provider],
        models: dict[str, Model],
        alias: dict[str, str],
        environ: Mapping[str, str],
        notes: tuple[str, ...] = (),
        also: Mapping[tuple[str, str], Provider] | None = None,
        aliases: Aliases | None = None,
    ) -> None:
        """`also`: of each provider, the definition by which it is asked on a further wire."""
        self.notes = notes
        self.aliases = aliases or Aliases()
        self.providers = providers
        self.models = models
        self.alias = alias
        self._environ = environ
        self._also = also or {}
        self._endpoints = {provider.id: endpoint(provider, environ) for provider in providers.values()}
        offers = ((offer, f"models.toml, {model.id}") for model in models.values() for offer in model.served_by)
        self._prices = {(o.provider, o.id): price_from(o.price, source) for o, source in offers if o.price}
        for provider in providers.values():
            for provider_model, rate in provider.prices.items():
                self._prices[provider.id, provider_model] = price_from(rate, f"providers.{provider.id}.prices")

    def find_provider(self, name: str) -> Provider | None:
        """The provider with this id, alias or display name, in any case."""
        return self.providers.get(self.alias.get(name.lower(), ""))

    def speaking(self, provider: Provider, api: str, kinds: Set[str]) -> Provider:
        """The definition by which a client of this API is served: that of a further wire of the provider, if it has
        that and takes these types of tools there; else its own.
        """
        also = self._also.get((provider.id, api))
        takes = provider.also[api].takes if also else []
        return also if also and (not takes or kinds <= set(takes)) else provider

    def serving(self, model: Model, offer: Offer) -> Provider:
        """The definition by which a model is asked where it is offered: those that embed are asked for nothing else."""
        provider = self.providers[offer.provider]
        return self.speaking(provider, "openai-embeddings", set()) if "embeddings" in model.output else provider

    def usable(self, provider: Provider) -> ProviderEndpoint | str:
        """Where to send requests for this provider, or the sentence that says why there is nowhere."""
        if self.providers.get(provider.id) is provider:
            return self._endpoints[provider.id]
        return endpoint(provider, self._environ)

    def price(self, provider_id: str, provider_model: str) -> Price | None:
        """The price that the definitions state for this model; None leaves it to the price list."""
        return self._prices.get((provider_id, provider_model)) or self._prices.get((provider_id, "*"))

    def most_output(self, model_id: str, provider_id: str) -> int | None:
        """The most tokens that an answer of this model may have at this provider; None: nobody says."""
        model = self.models.get(model_id)
        if model is None:
            return None
        offers = (offer.max_output for offer in model.served_by if offer.provider == provider_id)
        return next((most for most in offers if most is not None), model.max_output)

    def nearest(self, model_id: str, n: int = 3) -> list[str]:
        """At most `n` public model ids that an unknown one may have meant, the likeliest first."""
        wanted = model_id[:200].lower()
        by_slug: dict[str, list[str]] = {}
        for known in self.models:
            by_slug.setdefault(known.partition("/")[2], []).append(known)
        whole = difflib.get_close_matches(wanted, self.models, n)
        slugs = difflib.get_close_matches(wanted.rpartition("/")[2], by_slug, n, cutoff=0.7)
        return list(dict.fromkeys([*(known for slug in slugs for known in by_slug[slug]), *whole]))[:n]


# ---- reading the definitions

Table = dict[str, Any]


class Spoken(Protocol):
    """What a wire says of the definitions of its providers; the contract is `wires.ProviderWire`."""

    DEFAULTS: Table
    CAN_CALL: bool


Kind = TypeVar("Kind", bound=Definition)


def load_catalog(
    config_providers: Mapping[str, Table] | None = None,
    config_models: Mapping[str, Table | bool] | None = None,
    environ: Mapping[str, str] | None = None,
    config_aliases: Mapping[str, str | list[str]] | None = None,
    *,
    wires: Mapping[str, Spoken],
    path: Path | None = None,
) -> Catalog:
    """The shipped definitions with those of the configuration over them, and under both what their wire says of itself.

    A configured one overrides single fields of the shipped one of that id or alias (a table field, such as `auth`,
    field by field), or adds a whole one: then it needs `wire` and `base_url`. `api_key_env` is short for `auth.env`.
    `wires`: those that `wire` may name. `path`: the file they come from, to name the line.
    Raises ConfigError, which names the definition, the field and what it may be.
    """
    environ = os.environ if environ is None else environ
    shipped = _shipped("providers.toml")
    names = {alias: key for key, table in shipped.items() for alias in table.get("aliases", [])}
    providers = {}
    for key, table in shipped.items():
        merged = _merged(_defaults(table.get("wire"), wires), {"name": key, **table, "id": key})
        providers[key] = _convert(Provider, merged, "providers.toml", [key])
    notes: list[str] = []
    for given, table in (config_providers or {}).items():
        where, keys = (str(path) if path else "The configuration"), ["providers", given]
        key = names.get(given, given)
        over = _with_quirks(_with_env(table, where, keys, path), where, keys, path, notes)
        if key not in shipped:
            for field in ("wire", "base_url"):
                if field not in table:
                    raise _wrong(where, keys, f"a new provider needs `{field}`", path)
        under = shipped.get(key, {})
        under = _merged(_defaults(over.get("wire", under.get("wire")), wires), {"name": key, **under, "id": key})
        provider = _convert(Provider, _merged(under, over), where, keys, path)
        _check_provider(provider, wires, where, keys, path)
        if "base_url" in over:
            base, what = repaired(provider.base_url or "", provider.chat_path, provider.version_path)
            if what:
                notes.append(f"{_place(where, [*keys, 'base_url'], path)}: taken for {base}: {what}.")
                provider = msgspec.structs.replace(provider, base_url=base)
        providers[key] = provider
    alias = {
        name.lower(): provider.id for provider in providers.values() for name in (provider.name, *provider.aliases)
    }
    alias.update({provider.id.lower(): provider.id for provider in providers.values()})
    models = _shipped("models.toml")
    checked = {key: _model(key, table, alias, "models.toml", [key]) for key, table in models.items()}
    for key, own in (config_models or {}).items():
        where, keys = (str(path) if path else "The configuration"), ["models", key]
        if isinstance(own, bool) == (key != "discover"):
            raise _wrong(where, keys, f"expected {'true or false' if key == 'discover' else 'a table'}", path)
        if isinstance(own, bool):
            continue
        if "/" not in key:
            raise _wrong(where, keys, 'a model id is "author/slug"', path)
        checked[key] = _model(key, _merged(models.get(key, {}), own), alias, where, keys, path)
    aliases = Aliases(config_aliases or {}, str(path) if path else "The configuration")
    return Catalog(providers, checked, alias, environ, tuple(notes), _also(providers.values(), wires), aliases)


def _also(providers: Iterable[Provider], wires: Mapping[str, Spoken]) -> dict[tuple[str, str], Provider]:
    """By id and client API, how providers are asked on their further wires."""
    spoken = ((provider, api) for provider in providers for api, also in provider.also.items() if also.path)
    return {(provider.id, api): _speaking(provider, provider.also[api], api, wires) for provider, api in spoken}


def _speaking(provider: Provider, also: Also, api: str, wires: Mapping[str, Spoken]) -> Provider:
    """How it is asked on a further wire: by its address and its key, in that one's form."""
    wire = also.wire or api
    defaults = wires[wire].DEFAULTS
    return msgspec.structs.replace(
        provider,
        wire=wire,
        chat_path=also.path,
        headers={**defaults.get("headers", {}), **provider.headers},
        usage=defaults.get("usage", provider.usage),
        completes=defaults.get("completes", True),
        quirks=also.quirks,
        also={},
    )


def _shipped(name: str) -> dict[str, Table]:
    return tomllib.loads(files("infron.catalog").joinpath(name).read_text(encoding="utf-8"))


def _merged(shipped: Table, over: Mapping[str, Any]) -> Table:
    """Single fields of `over` over those of `shipped`; a table field by field, of `quirks` each of its tables so."""
    result = dict(shipped)
    for field, value in over.items():
        below = result.get(field)
        if isinstance(below, dict) and isinstance(value, dict):
            value = _merged(below, value) if field == "quirks" else {**below, **value}
        result[field] = value
    return result


def _defaults(wire: object, wires: Mapping[str, Spoken]) -> Table:
    wire = USUAL_WIRE if wire is None else wire
    spoken = wires.get(wire) if isinstance(wire, str) else None
    return dict(spoken.DEFAULTS) if spoken is not None else {}


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


def _with_quirks(table: Table, where: str, keys: list[str], path: Path | None, notes: list[str]) -> Table:
    """The table with each quirk that stands in none of the tables of `quirks` in the one where it belongs."""
    given = table.get("quirks")
    if not isinstance(given, dict):
        return table
    given, needless = _without_needless(given)
    for at in needless:
        where_at = _place(where, [*keys, "quirks", *at], path)
        notes.append(f"{where_at}: it is ignored, for every provider's answers are repaired so.")
    quirks: Table = {name: value for name, value in given.items() if name in Quirks.__struct_fields__}
    for name in [name for name in given if name not in quirks]:
        at = [*keys, "quirks", name]
        if name not in FLAT_QUIRKS:
            near = difflib.get_close_matches(name, FLAT_QUIRKS, 1, cutoff=0.0)
            raise _wrong(where, at, f"no such quirk; did you mean {'.'.join(FLAT_QUIRKS[near[0]])}?", path)
        into, new = FLAT_QUIRKS[name]
        notes.append(f"{_place(where, at, path)}: its name is quirks.{into}.{new} now; the old one works on.")
        inner = quirks.get(into, {})
        if not isinstance(inner, dict):
            raise _wrong(where, [*keys, "quirks", into], "expected a table", path)
        quirks[into] = {new: given[name], **inner}
    return {**table, "quirks": quirks}


def _without_needless(quirks: Table) -> tuple[Table, list[list[str]]]:
    """The quirks without those that nobody needs any more, and the places of these."""
    answer = quirks.get("answer")
    inner = answer if isinstance(answer, dict) else {}
    places = [[name] for name in quirks if name in NEEDLESS_QUIRKS]
    places += [["answer", name] for name in inner if name in NEEDLESS_QUIRKS]
    kept = {name: value for name, value in quirks.items() if name not in NEEDLESS_QUIRKS}
    if inner:
        kept["answer"] = {name: value for name, value in inner.items() if name not in NEEDLESS_QUIRKS}
    return kept, places


def _model(
    key: str, table: Table, alias: dict[str, str], where: str, keys: list[str], path: Path | None = None
) -> Model:
    model = _convert(Model, {"name": key, "served_by": [], **table, "id": key}, where, keys, path)
    offers = []
    for offer in model.served_by:
        provider = alias.get(offer.provider.lower())
        if provider is None:
            near = difflib.get_close_matches(offer.provider.lower(), alias, 3)
            hint = f"; did you mean {any_of(near)}?" if near else ""
            raise _wrong(where, [*keys, "served_by"], f"no such provider: {offer.provider!r}{hint}", path)
        _check_rate(offer.price, where, [*keys, "served_by"], path)
        offers.append(msgspec.structs.replace(offer, provider=provider))
    if not offers:
        raise _wrong(where, keys, "a model needs `served_by = [{provider = …, id = …}]`", path)
    return msgspec.structs.replace(model, served_by=offers)


def _check_provider(
    provider: Provider, wires: Mapping[str, Spoken], where: str, keys: list[str], path: Path | None
) -> None:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", provider.id):
        raise _wrong(where, keys, "a provider's id is made of letters, digits, dots and hyphens", path)
    if provider.wire not in wires:
        raise _wrong(where, [*keys, "wire"], f"expected {any_of(sorted(wires))}, got {provider.wire!r}", path)
    others = [("hosts", base) for bases in provider.hosts.values() for base in bases.values()]
    for field, base in [("base_url", provider.base_url), *others]:
        url = urlsplit(base or "http://host")
        if url.scheme not in ("http", "https") or not url.netloc or url.query or url.fragment or "@" in url.netloc:
            raise _wrong(where, [*keys, field], "expected http(s)://host/path, without a key or a query", path)
    for api, also in provider.also.items():
        if (wire := also.wire or api) not in wires:
            raise _wrong(where, [*keys, "also"], f"expected {any_of(sorted(wires))}, got {wire!r}", path)
        if also.path and not also.path.startswith("/"):
            raise _wrong(where, [*keys, "also", api], 'expected a path that starts with "/"', path)
    for field, template in (
        ("base_url", provider.base_url or ""),
        ("chat_path", provider.chat_path.replace("{model}", "")),
    ):
        if unknown := set(VARIABLE.findall(template)) - set(provider.variables):
            raise _wrong(where, [*keys, field], f"{{{unknown.pop()}}} is not among the definition's `variables`", path)
    for field in ("chat_path", "models_path"):
        if (value := getattr(provider, field)) and not value.startswith("/"):
            raise _wrong(where, [*keys, field], 'expected a path that starts with "/"', path)
    if provider.on_disconnect == "call" and not wires[provider.wire].CAN_CALL:
        able = any_of([name for name, wire in wires.items() if wire.CAN_CALL])
        raise _wrong(where, [*keys, "on_disconnect"], f"only a provider of the wire {able} can be told to stop", path)
    if provider.max_connections < 1:
        raise _wrong(where, [*keys, "max_connections"], "expected at least 1", path)
    for provider_model, rate in provider.prices.items():
        _check_rate(rate, where, [*keys, "prices", provider_model], path)


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
            known = difflib.get_close_matches(unknown[1], _fields(kind, inner[:-1]), 1, cutoff=0.0)
            what = f"no such field; did you mean {known[0]}?" if known else "no such field"
        if (enum := re.match(r"Invalid enum value (.*)", what)) and (choice := _choice(kind, inner)):
            what = f"expected {choice}, got {enum[1]}"
        raise _wrong(where, [*keys, *inner], what[:1].lower() + what[1:], path) from error


def _at(kind: type[Definition], inner: list[str]) -> Any:
    """The type of what stands at `inner` in a definition of this kind, as msgspec tells it; None where nothing can."""
    found: Any = msgspec.inspect.type_info(kind)
    for name in inner:
        found = next((field.type for field in getattr(found, "fields", ()) if field.name == name), None)
        if isinstance(found, msgspec.inspect.DictType):  # its keys are nobody's fields
            found = found.value_type
    return found


def _choice(kind: type[Definition], inner: list[str]) -> str:
    """The values that a field of a fixed choice may have, or nothing."""
    found = _at(kind, inner)
    values = found.values if isinstance(found, msgspec.inspect.LiteralType) else ()
    return " or ".join(f'"{value}"' for value in values if value)


def _fields(kind: type[Definition], inner: list[str]) -> list[str]:
    return [field.name for field in getattr(_at(kind, inner), "fields", ())]


def _wrong(where: str, keys: list[str], what: str, path: Path | None) -> ConfigError:
    end = "" if what.endswith("?") else "."
    return ConfigError(f"{_place(where, keys, path)}: {what.rstrip('.')}{end}")


def _place(where: str, keys: list[str], path: Path | None) -> str:
    """Where a field stands in the configuration: the file, its line and its name."""
    line = None
    if path is not None:
        try:
            line = line_of(keys, path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            line = None
    return f"{where}{f', line {line}' if line else ''}: {'.'.join(keys)}"
