"""Requests cost memory in proportion to their bytes, whatever stands in them."""

from __future__ import annotations

import tracemalloc

import pytest

from infron.catalog.definitions import Provider
from infron.wires import CLIENT_WIRES, PROVIDER_WIRES, json_guard

SIZE = 1_000_000  # bytes
FREE = 1_000  # values that any body may have, here
SMALL = 1_500_000  # bytes, of those
PAD = b"@pad"
MESSAGE, PART = b'{"role":"user","content":"hi"}', b'{"type":"text","text":"a"}'
# Before and behind what is repeated, what that is, and how many values it has.
BODIES = {
    "openai-chat": [
        (b'{"model":"m","messages":[{"role":"user","content":"@pad"},', MESSAGE, b"]}", 3),
        (b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"@pad"},', PART, b"]}]}", 3),
    ],
    "anthropic": [(b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"@pad"},', MESSAGE, b"]}", 3)],
    "openai-responses": [(b'{"model":"m","input":[{"role":"user","content":"@pad"},', MESSAGE, b"]}", 3)],
}


@pytest.mark.parametrize("host", ["openai-chat", "anthropic", "openai-responses"])
@pytest.mark.parametrize(("api", "number"), [(api, n) for api, bodies in BODIES.items() for n in range(len(bodies))])
def test_request_of_many_tiny_values_costs_little_more_than_its_bytes(
    api: str, number: int, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body of 3 MB held 300,000 values, of which 60 MB were made."""
    monkeypatch.setattr(json_guard, "FREE_VALUES", FREE)
    head, unit, tail, values = BODIES[api][number]
    many = (FREE + SIZE // json_guard.BYTES_A_VALUE - 10) // values
    body = head + b",".join([unit] * many) + tail
    body = body.replace(PAD, b"x" * (SIZE - len(body)))
    provider = Provider(id="host", name="Host", base_url="https://host.test", wire=host)
    tracemalloc.start()
    request = next(wire for wire in CLIENT_WIRES.values() if api == wire.NAME).parse(body, [])
    sent = PROVIDER_WIRES[host].encode_request(request, provider, "m", True)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(sent.body) > SIZE / 2
    assert most < 4 * SIZE + SMALL
