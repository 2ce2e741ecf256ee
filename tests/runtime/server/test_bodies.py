"""Bodies that are compressed, or large, or made to hurt: what is taken, what is refused, and what it costs others."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import random
import threading
import time
import zlib

import pytest
import pytest_asyncio
from rawconnection import CHAT, QUESTION, ask, chat, connected, request

from infron.runtime.server import body as bodies
from infron.runtime.server import endpoints as served
from infron.runtime.server.api.endpoint import Endpoint, json_response
from infron.testing import ScriptedProvider, gateway, speak
from infron.wires import CLIENT_PATHS
from infron.wires.openai import chat as openai_chat

brotli, zstd = bodies.brotli, bodies.zstd
pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = "Content-Type: application/json"
PLAIN = json.dumps(QUESTION).encode()


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED = {
    "gzip": gzip.compress(PLAIN),
    "x-gzip": gzip.compress(PLAIN),
    "GZip": gzip.compress(PLAIN[:20]) + gzip.compress(PLAIN[20:]),
    "deflate": zlib.compress(PLAIN),
    " Deflate ": raw_deflate(PLAIN),
    "identity": PLAIN,
}
if zstd:
    PACKED |= {"zstd": zstd.compress(PLAIN), "ZSTD": zstd.compress(PLAIN[:20]) + zstd.compress(PLAIN[20:])}
if brotli:
    PACKED |= {"br": brotli.compress(PLAIN)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(playing):
    async def echo(request, key):
        return json_response((await request.body()).decode())

    shipped, served.endpoints = (
        served.endpoints,
        lambda context: [*shipped(context), Endpoint("/echo", echo, method="POST", takes_body=True)],
    )
    try:
        async with gateway(providers={"mock": playing.definition()}) as running:
            yield running
    finally:
        served.endpoints = shipped


# ---- compressed


@pytest.mark.parametrize("coding", PACKED)
async def test_body_that_is_compressed_is_decoded(running, provider, coding):
    """It was said to be no UTF-8."""
    packed = PACKED[coding]
    reply = await ask(running.port, request("POST", CHAT, JSON, f"Content-Encoding: {coding}", body=packed))
    assert (reply.status, b"Hello" in reply.body) == (200, True)
    assert provider.calls[0].json["messages"] == QUESTION["messages"]
    assert "content-encoding" not in provider.calls[0].headers
    reply = await ask(running.port, request("POST", "/v1/echo", JSON, f"Content-Encoding: {coding}", body=packed))
    assert reply.json.encode() == PLAIN


@pytest.mark.parametrize("coding", [*(() if brotli else ("br",)), "compress", "gzip, gzip", "x-snappy", "zstd;q=1"])
async def test_body_of_a_coding_that_is_none_of_ours_is_refused_by_its_name(running, coding):
    for path in (CHAT, "/v1/messages", "/v1/echo"):
        lines = (JSON, f"Content-Encoding: {coding}", "Expect: 100-continue", "Content-Length: 9")
        reply = await ask(running.port, request("POST", path, *lines))
        assert reply.status == 415
        assert f"`{coding}`" in reply.json["error"]["message"]
        assert reply.headers["accept-encoding"] == ", ".join(bodies.CODINGS)
    assert (await ask(running.port, request("GET", "/v1/models", f"Content-Encoding: {coding}"))).status == 200


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", b"no gzip at all"),
        ("gzip", PACKED["gzip"][:-9]),
        ("gzip", PACKED["gzip"] + b"more"),
        ("gzip", b"\x1f"),
        ("deflate", b"\xff\xff\xff"),
        ("deflate", PACKED["deflate"][:-5]),
        *((name, b"no such thing at all") for name in bodies.CODINGS[2:]),
        *((name, PACKED[name][:-5]) for name in bodies.CODINGS[2:]),
        *((name, PACKED[name] + b"more") for name in bodies.CODINGS[2:]),
    ],
    ids=lambda value: value if isinstance(value, str) else "packed",  # which has the time in it
)
async def test_body_that_is_not_what_its_coding_says_is_refused(running, provider, coding, packed):
    reply = await ask(running.port, request("POST", CHAT, JSON, f"Content-Encoding: {coding}", body=packed))
    assert (reply.status, reply.error_type) == (400, "invalid_request")
    assert coding in reply.error["message"]
    assert provider.calls == []


@pytest.mark.parametrize("coding", bodies.CODINGS)
async def test_body_that_grows_over_the_limit_is_refused_without_being_held(running, coding):
    """4 MB of a bomb are 4 GB."""
    libraries = {"gzip": gzip, "deflate": zlib, "zstd": zstd, "br": brotli}
    pack = libraries[coding].compress
    bomb = pack(bytes(200 << 20))
    largest = 0
    decoded = bodies._slices

    def counted(pieces):
        nonlocal largest
        for number, piece in enumerate(decoded(pieces)):
            largest = number
            yield piece

    bodies._slices = counted
    try:
        reply = await ask(running.port, request("POST", CHAT, JSON, f"Content-Encoding: {coding}", body=bomb))
    finally:
        bodies._slices = decoded
    assert (reply.status, reply.error_type) == (413, "payload_too_large")
    assert largest * bodies._SLICE_BYTES < 1 << 20  # it stops where the limit is
    reply = await ask(running.port, request("POST", CHAT, JSON, "Content-Encoding: gzip", "Content-Length: 99999999"))
    assert reply.status == 413


# ---- large


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["openai-chat", "anthropic"])
async def test_body_of_many_megabytes_goes_through_unharmed(name):
    voice = speak(name)
    data = random.Random(1).randbytes(9 << 20)
    picture = "data:image/png;base64," + zlib.crc32(data).to_bytes(4).hex() * (2 << 20)
    content = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": picture}}]
    async with (
        ScriptedProvider(voice.plays(voice.answer("Hello"))) as provider,
        gateway(providers={"mock": provider.definition(**voice.definition)}) as running,
    ):
        reply = await ask(running.port, chat(messages=[{"role": "user", "content": content}], stream=False))
        assert reply.status == 200, reply.body
        sent = provider.calls[0].json["messages"][0]["content"][1]
        assert (sent["image_url"]["url"] if name == "openai-chat" else sent["source"]["data"]) in picture


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ({}, "messages"),
        ([1], "messages[0]"),
        ([{"role": "user", "content": "x" * 70_000}, {"content": ""}], "messages[1].role"),
        ([{"role": "user", "content": "x"}, {"role": "user", "content": {"a": "x" * 70_000}}], "messages[1].content"),
        ([{"role": 1, "content": "x" * 70_000}], "messages[0].role"),
    ],
)
async def test_large_body_is_told_what_is_wrong_like_a_small_one(running, provider, messages, param):
    for size in (0, 70_000, 2 << 20):
        reply = await ask(running.port, chat(messages=messages, metadata={"pad": "x" * size}))
        assert (reply.status, reply.error["param"]) == (400, param)
    assert provider.calls == []


@pytest.mark.parametrize("size", [70_000, 2 << 20])
async def test_large_body_is_sent_on_as_it_came_and_its_wishes_are_known(running, provider, size):
    fields = {
        "metadata": {"a": [1.50, "\u00e9"], "pad": "x" * size},
        "models": ["mock/b"],
        "usage": {"include": True},
    }
    reply = await ask(running.port, chat(**fields, temperature=1))
    assert b'"usage"' in reply.body
    assert b"[DONE]" in reply.body
    assert provider.calls[0].json["metadata"] == fields["metadata"]
    assert "models" not in provider.calls[0].json
    for name, value in (("user", "x" * size), ("models", ["x" * size]), ("provider", {"order": ["x" * size]})):
        reply = await ask(running.port, chat(**{name: value}))
        assert (reply.status, reply.error["param"].partition(".")[0]) == (400, name)


async def test_large_body_of_a_client_that_leaves_starts_nothing(running, provider):
    raw = chat(messages=[{"role": "user", "content": "x" * 3_000_000}])
    async with connected(running.port) as connection:
        connection.send(raw)
        await connection.writer.drain()
        connection.writer.transport.abort()
    assert (await ask(running.port, chat())).status == 200
    await asyncio.wait_for(running.context.registry.idle.wait(), 5)


# ---- made to hurt

HOSTILE = {
    "brackets": b"[],",
    "190 deep": b"[" * 190 + b"]" * 190 + b",",
    "objects": b'{"a":{}},',
    "numbers": b"1,",
    "strings": b'"",',
    "names": b'{"abcdefgh":1},',
}


@pytest.mark.heavy
@pytest.mark.parametrize("kind", HOSTILE)
async def test_hostile_body_takes_no_time_of_the_loop(running, kind):
    """Its JSON was built on the loop, up to three times: 14 s for 32 MB in which nobody else was served."""
    unit = HOSTILE[kind]
    head = PLAIN[:-1] + b',"x":['
    raw = request("POST", CHAT, JSON, body=head + unit * ((30 << 20) // len(unit)) + b"0]}")
    over = asyncio.Event()

    async def longest_turn() -> float:
        longest, before = 0.0, time.thread_time()
        while not over.is_set():
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, before = max(longest, now - before), now
        return longest

    gc.collect()
    gc.disable()
    try:
        async with connected(running.port) as connection:
            connection.send(raw)
            await connection.writer.drain()
            looking = asyncio.create_task(longest_turn())
            async with asyncio.timeout(30):
                line = await connection.reader.readline()
            over.set()
            assert line.split()[1] == b"400"
            assert await looking < 0.02
    finally:
        gc.enable()


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/responses"])
async def test_request_that_is_not_small_is_read_and_written_by_a_thread(running, provider, monkeypatch, path):
    """One of 60 kB held the loop for up to 30 ms: all that was not larger was read, and translated, there."""
    wire, threads = CLIENT_PATHS[path.encode()], []
    here = threading.get_ident()
    for module, name in ((wire, "parse"), (openai_chat, "encode_request")):
        call = getattr(module, name)

        def seen(*args, call=call):
            threads.append(threading.get_ident() == here)
            return call(*args)

        monkeypatch.setattr(module, name, seen)
    for size, on_loop in ((1_000, True), (20_000, False)):
        said = {"messages": [{"role": "user", "content": "x" * size}], "max_tokens": 9, "input": "x" * size}
        assert (await ask(running.port, chat(path=path, model="mock/any", **said))).status == 200
        assert threads == [on_loop, on_loop]
        threads.clear()
