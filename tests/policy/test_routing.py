"""Who may serve a request, how often each is asked, and which names are taken at all."""

from __future__ import annotations

from typing import Any

import pytest
from asking import asking
from msgspec.structs import replace

from infron.catalog.load import Catalog, load_catalog
from infron.errors import InvalidRequest, NotFound
from infron.policy import routing
from infron.policy.routing import MAX_CANDIDATES, MAX_NAME, check_names, route
from infron.request import Preferences, Request
from infron.wires import PROVIDER_WIRES


def asked(model: str = "one/a", **fields: Any) -> Request:
    return replace(asking(), model=model, **fields)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    row = {"wire": "openai-chat", "base_url": "http://host/v1", "api_key": "k"}
    providers = {name: row for name in ("one", "two", *(f"p{number}" for number in range(40)))}
    served = [{"provider": "one", "id": "a"}, {"provider": "two", "id": "b"}]
    return load_catalog(providers, {"acme/a": {"served_by": served}}, {}, wires=PROVIDER_WIRES)


def ids(catalog: Catalog, **fields: Any) -> list[str]:
    return [f"{found.provider.id}/{found.provider_model}" for found in route(asked(**fields), catalog, lambda _: None)]


def test_route_names_each_candidate_once(catalog: Catalog) -> None:
    """A model named a thousand times in `models` was asked for a thousand times, by one request."""
    assert ids(catalog, model="one/a", models=("one/a",) * 15) == ["one/a"]
    assert ids(catalog, model="acme/a", models=("one/a", "two/b", "one/c")) == ["one/a", "two/b", "one/c"]


def test_route_has_few_candidates(catalog: Catalog) -> None:
    models = tuple(f"p{number}/m" for number in range(40))
    assert ids(catalog, models=models) == ["one/a", *models[: MAX_CANDIDATES - 1]]
    wishes = Preferences(order=("p39",))
    assert ids(catalog, models=models, preferences=wishes)[0] == "p39/m"


def test_route_looks_for_nearest_names_of_the_first_model_only(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each took a millisecond in which nobody else was served."""
    looked: list[str] = []
    monkeypatch.setattr(Catalog, "nearest", lambda self, model: looked.append(model) or ["acme/a"])
    with pytest.raises(NotFound, match="Did you mean `acme/a`"):
        route(asked("acme/b", models=tuple(f"acme/{number}" for number in range(15))), catalog, lambda _: None)
    assert looked == ["acme/b"]
    assert ids(catalog, model="acme/b", models=("one/a",)) == ["one/a"]
    assert looked == ["acme/b"]


LONG = "x" * (MAX_NAME + 1)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": LONG}, "model"),
        ({"models": ("one/a", LONG)}, "models"),
        ({"models": ("one/a",) * (MAX_CANDIDATES + 1)}, "models"),
        ({"user": LONG}, "user"),
        ({"session_id": LONG}, "session_id"),
        ({"service_tier": LONG}, "service_tier"),
        ({"preferences": Preferences(order=("one",) * 101)}, "provider.order"),
        ({"preferences": Preferences(only=(LONG,))}, "provider.only"),
        ({"preferences": Preferences(ignore=("one",) * 101)}, "provider.ignore"),
        ({"model": "one/\x1b]52;c;aGk=\x07"}, "model"),
        ({"models": ("one/a\u202e",)}, "models"),
        ({"user": "a\nb"}, "user"),
        ({"session_id": "a\x9bb"}, "session_id"),
    ],
)
def test_names_and_lists_of_a_request_are_bounded(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_names(asked(**fields))
    assert caught.value.param == param
    assert len(caught.value.message) < 200
    assert routing._CONTROLS.search(caught.value.message) is None


def test_names_of_any_language_are_taken() -> None:
    wishes = Preferences(order=("one",) * 100)
    check_names(asked("one/модель-語 (beta)", user="Jürgen 🎉", models=("x" * MAX_NAME,) * 16, preferences=wishes))
