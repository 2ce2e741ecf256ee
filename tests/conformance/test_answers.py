"""Every client hears the same, whichever wire its answer came on: as a stream, cut anywhere, and as a whole.

What a wire cannot say, and what an API has no word for, is named in `cases`.
"""

from __future__ import annotations

import pytest

from conformance.cases import APIS, CASES, CELLS, UNSAID, WIRES, expected, expected_whole, judged, script_of
from conformance.clients import CLIENTS
from conformance.play import once
from infron.testing import SCRIPTS


def test_matrix_has_every_wire() -> None:
    assert set(CLIENTS) == set(APIS), "a client API lacks its reader in tests/conformance/clients"
    assert set(WIRES) <= set(SCRIPTS), "a provider wire lacks its voice in infron.testing"


@pytest.mark.parametrize(("wire", "name"), [(wire, name) for wire, names in UNSAID.items() for name in names])
def test_voice_refuses_what_its_wire_cannot_say(wire: str, name: str) -> None:
    with pytest.raises(ValueError, match=wire):
        script_of(name, wire)


@pytest.mark.parametrize(("name", "wire", "api"), CELLS)
def test_answer_is_heard_by_a_client_of_any_api(name: str, wire: str, api: str) -> None:
    ask, want = CASES[name].ask, expected(name, api, wire)
    for in_bytes in (False, True):
        heard, _ = once(api, ask, *script_of(name, wire), in_bytes=in_bytes)
        assert judged(heard).said == want
    heard, _ = once(api, ask._replace(stream=False), *script_of(name, wire))
    assert judged(heard).said == expected_whole(name, api, wire)
