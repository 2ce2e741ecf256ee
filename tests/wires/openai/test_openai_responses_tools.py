"""Tools of the Responses API get functions' names that every host takes, and are known by them again."""

from __future__ import annotations

import pytest

from infron.wires.openai.responses.tools import NAMES, Offered, Toolbox, flat_name


def function(name: str) -> dict[str, str]:
    return {"type": "function", "name": name}


def test_tools_whose_names_collide_get_names_of_their_own_and_are_known_by_them():
    inside = {"type": "namespace", "name": "n", "tools": [function("x")]}
    toolbox = Toolbox([function("a.b"), function("a_b"), function("n__x"), inside])
    names = [tool.name for tool in toolbox.tools]
    assert len(set(names)) == 4
    assert all(map(NAMES.take, names))
    offered = [("a.b", ""), ("a_b", ""), ("n__x", ""), ("x", "n")]
    assert [(tool.name, tool.namespace) for tool in map(toolbox.offered, names)] == offered
    assert [toolbox.name_of(name, namespace) for name, namespace in offered] == names


@pytest.mark.parametrize("name", ["weather", "a.b", "x" * 70, "ü", "a b", "-"])
@pytest.mark.parametrize("namespace", ["", "ns", "n s", "y" * 63])
def test_tools_of_a_history_are_named_as_those_that_are_offered(name: str, namespace: str):
    flat = flat_name(Offered("function", name, namespace))
    assert NAMES.take(flat)
    assert Toolbox(None).name_of(name, namespace) == flat
