"""Other names for models: `claude-*` for whatever serves those who ask for Claude.

It never knows which models there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from infron.errors import ConfigError

MOST_CHARACTERS = 400


class Aliases:
    """`names`: as they are stated, each with the models that are asked for in its place, in this order.

    A name and its models may have one `*`, which stands for any characters and keeps what it stood for. An exact name
    goes before patterns, the longer pattern before the shorter one. What an alias leads to is a model, no alias.
    """

    def __init__(self, names: Mapping[str, str | list[str]] = {}, where: str = "The configuration") -> None:
        """Raises ConfigError that names the alias."""
        self.names: dict[str, tuple[str, ...]] = {}
        for name, models in names.items():
            listed = [models] if isinstance(models, str) else models
            problem = _problem(name, listed)
            if problem:
                raise ConfigError(f'{where}: aliases."{name[:100]}": {problem}.')
            self.names[name] = tuple(listed)
        patterns = sorted((name for name in self.names if "*" in name), key=len, reverse=True)
        self._patterns = [(re.compile("(.*)".join(map(re.escape, name.split("*")))), name) for name in patterns]

    def models_of(self, name: str) -> tuple[str, ...]:
        """The models that a name stands for; itself, where it is no alias."""
        if name in self.names:
            return self.names[name]
        for pattern, stated in self._patterns:
            if found := pattern.fullmatch(name):
                return tuple(model.replace("*", found[1]) for model in self.names[stated])
        return (name,)

    def listed(self, offered: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Each name to be listed beside the models that are offered, and those that it stands for.

        A pattern whose model has a star is told by each model that this can be; another one as it is stated, for that
        can be asked for too.
        """
        for name, models in self.names.items():
            fixed = tuple(model for model in models if "*" not in model)
            if fixed:
                yield name, fixed
            for model in models:
                if "*" in model:
                    shape = re.compile("(.+)".join(map(re.escape, model.split("*"))))
                    yield from (
                        (name.replace("*", found[1]), (id,)) for id in offered if (found := shape.fullmatch(id))
                    )


def _problem(name: str, models: list[str]) -> str:
    if not name or len(name) > MOST_CHARACTERS or not name.isprintable():
        return "a name has one to 400 printable characters"
    if not models or not all(model and model.isprintable() for model in models):
        return "it needs the id of a model, or a list of them, as in GET /v1/models"
    if name.count("*") > 1 or any(model.count("*") > 1 for model in models):
        return "there may be one * only"
    if "*" not in name and any("*" in model for model in models):
        return "a model may have a * only where the name has one"
    return ""
