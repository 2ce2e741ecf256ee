"""The settings of a gateway, read from one TOML file and the environment.

It never knows what a setting is used for. A wrong one is refused with the line where it stands.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from infron.errors import ConfigError
from infron.settings import OLD_NAMES, SECTIONS, Config, Setting, settings
from infron.toml_lines import line_of

_IN_WORDS = {
    "`int`": "an integer", "`float`": "a number", "`str`": "a string", "`bool`": "true or false", "`array`": "a list",
    "`object`": "a table", "`datetime`": "a date", "`date`": "a date", "`time`": "a time", " >= ": " of at least ",
    " <= ": " of at most ", " < ": " below ",
}  # fmt: skip
_TABLES = (*SECTIONS, "providers", "models", "aliases")


def load(path: str | Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read the settings: the file (`path`, else `INFRON_CONFIG`), then `INFRON_<SECTION>_<NAME>` over it.

    Raises ConfigError with the place of the first mistake.
    """
    environ = os.environ if environ is None else environ
    chosen = path or environ.get("INFRON_CONFIG") or None
    file = _read(chosen)
    for variable, setting in _variables():
        if (raw := environ.get(variable)) is not None:
            table = file.data.setdefault(setting.section, {})
            if isinstance(table, dict):
                table[setting.name] = _from_environment(variable, setting, raw)
    try:
        config = msgspec.convert(file.data, Config)
    except msgspec.ValidationError as error:
        raise ConfigError((problems(path, environ) or [str(error)])[0]) from error
    return msgspec.structs.replace(config, path=Path(chosen) if chosen else None, notes=file.notes)


def problems(path: str | Path | None = None, environ: Mapping[str, str] | None = None) -> list[str]:
    """One sentence for each setting that is wrong, where `load` raises the first one only; empty if `load` works."""
    environ = os.environ if environ is None else environ
    try:
        file = _read(path or environ.get("INFRON_CONFIG") or None)
    except ConfigError as error:
        return [error.message]
    found: list[str] = []
    for section, table in file.data.items():
        inner = table.items() if isinstance(table, dict) else ()
        for part in [{section: {name: value}} for name, value in inner] or [{section: table}]:
            try:
                msgspec.convert(part, Config)
            except msgspec.ValidationError as error:
                found.append(file.explain(str(error)))
    for variable, setting in _variables():
        if (raw := environ.get(variable)) is not None:
            try:
                value = _from_environment(variable, setting, raw)
                msgspec.convert({setting.section: {setting.name: value}}, Config)
            except ConfigError as error:
                found.append(error.message)
            except msgspec.ValidationError as error:
                complaint = str(error).partition(" - at ")[0]
                found.append(f"{variable}={raw!r}: {_expected(complaint, [setting.section, setting.name])}.")
    return found


class _File(NamedTuple):
    """What a file says. `name`: for messages. `notes`: what is right, yet worth a sentence."""

    name: str
    text: str
    data: dict[str, Any]
    notes: tuple[str, ...] = ()

    def place(self, keys: list[str]) -> str:
        """The file, and the line on which the setting stands, by its old name if need be."""
        old = next(([section, before] for (section, before), now in OLD_NAMES.items() if [section, now] == keys), [])
        line = line_of(keys, self.text) or line_of(old, self.text)
        return f"{self.name}, line {line}" if line else self.name

    def explain(self, message: str) -> str:
        """msgspec's complaint with the setting's full name and the place that it is about."""
        what, _, path = message.partition(" - at ")
        keys = re.findall(r"\.(\w+)", path)
        if unknown := re.search(r"unknown field `(\w+)`", what):
            keys.append(unknown[1])
            what = f"there is no such setting{_meant(keys)}"
        else:
            what = f"{_expected(what, keys)}."
        return f"{self.place(keys)}: {'.'.join(keys)}: {what}"


def _read(chosen: str | Path | None) -> _File:
    """Raises ConfigError."""
    if not chosen:
        return _File("the environment", "", {})
    name = str(chosen)
    try:
        text = Path(chosen).read_text(encoding="utf-8")
        file = _File(name, text, tomllib.loads(text))
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}: not valid TOML: {error}.") from error
    for ours in ("path", "notes"):  # fields of Config that no file sets
        if ours in file.data:
            raise ConfigError(f"{file.place([ours])}: {ours}: there is no such setting.")
    return _renamed(file)


def _renamed(file: _File) -> _File:
    """With the settings of old names under their names of today. Raises ConfigError where both are given."""
    notes = []
    for (section, before), now in OLD_NAMES.items():
        table = file.data.get(section)
        if not isinstance(table, dict) or before not in table:
            continue
        where = f"{file.place([section, before])}: {section}.{before}"
        if now in table:
            raise ConfigError(f"{where} is the old name of {section}.{now}: keep one of them.")
        table[now] = table.pop(before)
        notes.append(f"{where} is called {section}.{now} now; the old name works as before.")
    return file._replace(notes=tuple(notes))


def _variables() -> Iterator[tuple[str, Setting]]:
    """Each variable of the environment that is looked at, old names first, so that today's win."""
    known = {(setting.section, setting.name): setting for setting in settings()}
    for (section, before), now in OLD_NAMES.items():
        yield f"INFRON_{section}_{before}".upper(), known[section, now]
    for setting in known.values():
        yield setting.variable, setting


def _from_environment(variable: str, setting: Setting, raw: str) -> Any:
    if isinstance(setting.default, list):
        return [part.strip() for part in raw.split(",") if part.strip()]
    try:
        if isinstance(setting.default, bool):
            return {"true": True, "1": True, "false": False, "0": False}[raw.strip().lower()]
        if isinstance(setting.default, int | float):
            return type(setting.default)(raw)
    except (KeyError, ValueError) as error:
        article = {"integer": "an ", "number": "a "}.get(setting.type, "")
        raise ConfigError(f"{variable}={raw!r}: expected {article}{setting.type}.") from error
    return raw


def _meant(keys: list[str]) -> str:
    """The setting, or section, of the nearest name."""
    names = [setting.name for setting in settings() if setting.section == keys[0]] if len(keys) > 1 else _TABLES
    near = difflib.get_close_matches(keys[-1], names, 1)
    return f"; did you mean {'.'.join([*keys[:-1], near[0]])}?" if near else "."


def _expected(complaint: str, keys: list[str]) -> str:
    """msgspec's complaint, such as "Expected `int` <= 65535", in words."""
    for code, words in _IN_WORDS.items():
        complaint = complaint.replace(code, words)
    if complaint.startswith("Invalid enum value"):
        types = [setting.type for setting in settings() if [setting.section, setting.name] == keys]
        return f"expected {types[0]}, got {complaint.rpartition(' ')[2]}" if types else complaint
    return complaint[:1].lower() + complaint[1:]
