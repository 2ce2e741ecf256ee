"""Tools of the Responses API get functions' names that every host takes, and are known by them again."""

from __future__ import annotations

import msgspec
import pytest

from infron.events import ToolCallStarted
from infron.wires.openai.responses import Encoder, parse
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


def test_large_request_has_its_tools_read_with_it_and_is_not_repeated_in_its_answer() -> None:
    """31 MB of instructions were read on the loop, and sent back three times."""
    tools = [{"type": "custom", "name": f"tool {number}", "description": "x" * 900} for number in range(100)]
    more = {"type": "additional_tools", "tools": [{"type": "custom", "name": "last"}]}
    body = {
        "model": "m",
        "input": [more, {"role": "user", "content": "Hi"}],
        "tools": tools,
        "instructions": "y" * 70_000,
    }
    for pad, made in ((0, False), (1, True)):
        given = {**body, "tools": tools[: 99 * pad + 1], "instructions": body["instructions"] * pad}
        request = parse(msgspec.json.encode(given), [])
        assert ("toolbox" in vars(request)) is made
        encoder = Encoder("gen-1", 1, request)
        told = encoder.encode(ToolCallStarted(0, "call_1", "last"))
        assert b'"custom_tool_call"' in told
        assert (len(told) < 3_000) is made
