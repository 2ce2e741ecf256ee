"""Where the requests to a provider go and what they carry, or the sentence that says what is missing.

It never opens a connection, and never reads a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from infron.catalog.definitions import Provider

VARIABLE = re.compile(r"\{(\w+)\}")
_VARIABLE_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\x80-\xff]*")
MOST_NAMED = 3  # variables in a sentence, of those any one of which would serve


class ProviderEndpoint(Struct, frozen=True, kw_only=True):
    """Where a request to a provider goes, and the headers that it needs, our key among them.

    `chat_url` may hold `{model}`. `signed`: there is no key; this method of the definition's `auth` proves who asks.
    """

    base_url: str
    chat_url: str
    models_url: str | None
    headers: dict[str, str]
    signed: str = ""

    def __repr__(self) -> str:
        return f"ProviderEndpoint({self.base_url!r}, headers={list(self.headers)})"


def endpoint(provider: Provider, environ: Mapping[str, str]) -> ProviderEndpoint | str:
    """Where to send requests for this provider, or the sentence that says why there is nowhere, and what to set."""
    name = provider.name
    if provider.status == "closed":
        since = f" since {provider.since}" if provider.since else ""
        successor = f" What took its place: {provider.successor}." if provider.successor else ""
        return f"{name} is closed{since}.{successor}{f' {provider.notes}' if provider.notes else ''}"
    if provider.base_url is None:
        return f"{name} has no address: set base_url in [providers.{provider.id}]."
    if needs := lacking(provider, environ):
        return f"{name} needs {'; and '.join(_need(provider, field, names) for field, names in needs)}."
    values = {"model": "{model}"}  # it is put in for each request
    for variable, names in provider.variables.items():
        value = values[variable] = _first_set(names, environ) or provider.variable_defaults.get(variable, "")
        if value and not _VARIABLE_VALUE.fullmatch(value):
            return f"{any_of(names)} cannot be part of an address: letters, digits, dots and hyphens only."
    auth = provider.auth
    key = (provider.api_key or "").strip() or _first_set(auth.env, environ)
    signed = "" if key or auth.method == "header" or not _first_set(auth.ambient, environ) else auth.method
    headers = {header: _first_set([variable], environ) for header, variable in provider.headers_env.items()}
    headers = {**provider.headers, **{header: value for header, value in headers.items() if value}}
    if key:
        headers[provider.auth.header] = f"{provider.auth.scheme} {key}".strip()
    if bad := [header for header, value in headers.items() if not _HEADER_VALUE.fullmatch(value)]:
        return f"{name}: the value for the header {bad[0]} has characters that no header can carry."
    base = provider.base_url
    for variable in VARIABLE.findall(base):
        base = provider.hosts.get(variable, {}).get(values[variable], base)
    base, chat = (
        VARIABLE.sub(lambda match: values.get(match[1], match[0]), part) for part in (base, provider.chat_path)
    )
    base = base.rstrip("/")
    models = base + provider.models_path if provider.models_path else None
    return ProviderEndpoint(base_url=base, chat_url=base + chat, models_url=models, headers=headers, signed=signed)


def lacking(provider: Provider, environ: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """What a definition waits for: a field of it, and the variables of which any one would do, where none is set.

    Credentials are not asked for where the variable of an address, which is asked for, speaks for them too.
    """
    found: dict[str, tuple[str, list[str]]] = {}
    for field, template in (("base_url", provider.base_url or ""), ("chat_path", provider.chat_path)):
        for variable in VARIABLE.findall(template):
            names = provider.variables.get(variable, [])
            if variable != "model" and variable not in provider.variable_defaults and not _first_set(names, environ):
                found.setdefault(variable, (field, names))
    needs = list(found.values())
    ambient = [] if provider.auth.method == "header" else provider.auth.ambient
    asked = [*provider.auth.env, *ambient]
    told = {name for _, names in needs for name in names}
    if asked and not (provider.api_key or "").strip() and not _first_set(asked, environ) and told.isdisjoint(ambient):
        needs.append(("api_key", asked))
    return needs


def _need(provider: Provider, field: str, names: list[str]) -> str:
    where = f"{field} in [providers.{provider.id}]"
    if field != "api_key":
        return f"{any_of(names)} in the environment, or {where}"
    what = "its key" if provider.auth.method == "header" else "credentials"
    return f"{what}: set {any_of(names[:MOST_NAMED])}, or {where}"


def _first_set(names: list[str], environ: Mapping[str, str]) -> str:
    return next((value for name in names if (value := environ.get(name, "").strip())), "")


def any_of(names: list[str]) -> str:
    return " or ".join(names)
