"""What the gateway makes of bytes that no client library sends, and of those that every one does."""

from __future__ import annotations

import asyncio
import gc
import re
from itertools import pairwise
from random import Random

import pytest
import pytest_asyncio
from rawconnection import CHAT, ask, chat, connected, request

from infron.runtime.server import clock
from infron.runtime.server.connection import GatewayProtocol
from infron.testing import DONE, FINISH, ROLE, ScriptedProvider, Wait, gateway, text

JSON = "Content-Type: application/json"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(playing):
    limits = {"max_body_bytes": 100_000, "max_header_bytes": 8_000}
    async with gateway(providers={"mock": playing.definition()}, limits=limits) as running:
        yield running


# ---- what is no valid request


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"GET /healthz HTTP/2.0\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /healthz HTTP/1.1\nHost: a\n\n",
        b"GET /healthz HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Folded: b\r\n c\r\n\r\n",
        b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc" % CHAT.encode(),
        b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc" % CHAT.encode(),
        b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n" % CHAT.encode(),
        b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        % CHAT.encode(),
        b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"
        % CHAT.encode(),
        b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n" % CHAT.encode(),
        b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" % CHAT.encode(),
        b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        % CHAT.encode(),
        b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        % CHAT.encode(),
        b"POST %b HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % CHAT.encode(),
        b"POST /nowhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        b"POST /nowhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        b"POST /nowhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    ],
)
async def test_what_is_no_valid_request_is_told_so_and_ends_the_connection(running, raw):
    async with connected(running.port) as connection:
        connection.send(raw)
        reply = await connection.reply()
        assert reply.status == 400
        assert reply.error_type == "invalid_request"
        assert reply.headers["connection"] == "close"
        assert await connection.ended() == b""


@pytest.mark.parametrize(
    "lines",
    [
        "X-Big: " + "a" * 9_000,
        "\r\n".join(f"X-{n}: {'a' * 90}" for n in range(100)),
        "\r\n".join("a: b" for _ in range(300)),
    ],
)
async def test_a_head_that_is_too_large_or_has_too_many_fields_is_answered_431(running, lines):
    async with connected(running.port) as connection:
        connection.send(request("GET", "/healthz", lines))
        reply = await connection.reply()
        assert (reply.status, reply.error_type) == (431, "head_too_large")
        assert await connection.ended() == b""


async def test_a_head_that_never_ends_is_answered_before_it_is_there(running):
    async with connected(running.port) as connection:
        connection.send(b"GET /" + b"a" * 9_000)
        assert (await connection.reply()).status == 431


@pytest.mark.parametrize("endless", [b"0\r\nX: ", b"0;"])
async def test_trailers_and_chunk_extensions_are_bounded_too(running, endless):
    async with connected(running.port) as connection:
        connection.send(request("POST", CHAT, JSON, "Transfer-Encoding: chunked"), b"2\r\n{}\r\n", endless)
        reply = asyncio.create_task(connection.reply())
        while not reply.done():
            connection.send(b"a" * 1_000)
            await asyncio.sleep(0.01)
        assert reply.result().status == 431


async def test_a_trailer_does_not_become_a_header(running):
    chunks = b"4\r\nnull\r\n0\r\nX-Infron-On-Disconnect: nonsense\r\n\r\n"
    reply = await ask(running.port, request("POST", CHAT, JSON, "Transfer-Encoding: chunked"), chunks)
    assert reply.status == 400
    assert "X-Infron" not in reply.error["message"]


# ---- methods, paths, content types


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", CHAT, "POST"),
        ("DELETE", "/api" + CHAT, "POST"),
        ("OPTIONS", CHAT, "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("OPTIONS", "/v1/models", "GET, HEAD"),
        ("PUT", "/healthz", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_told_the_right_one(running, method, path, allow):
    async with connected(running.port) as connection:
        connection.send(request(method, path, body=b""), request())
        reply = await connection.reply()
        assert (reply.status, reply.error_type) == (405, "method_not_allowed")
        assert sorted(reply.headers["allow"].split(", ")) == sorted(allow.split(", "))
        assert (await connection.reply()).status == 200


async def test_a_tunnel_is_not_made_and_what_was_for_it_is_no_request(running):
    """What followed CONNECT was answered as the next request, though a proxy in front may take it for a body."""
    async with connected(running.port) as connection:
        connection.send(request("CONNECT", CHAT, body=request()), request())
        assert (await connection.reply()).status == 405
        assert await connection.ended() == b""


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/", "//", "/v2/models", "/%ff%00", "/v1/x/../key", "/v1/chat", CHAT + CHAT, "/api/api/v1/models"],
)
async def test_an_unknown_path_is_404_and_says_what_there_is(running, path):
    reply = await ask(running.port, request("POST", path, JSON, body=b"{}"))
    assert (reply.status, reply.error_type) == (404, "not_found")
    assert "/v1/chat/completions" in reply.error["message"]
    assert "base address" in reply.error["message"]


@pytest.mark.parametrize(
    "prefix", ["", "/", "/v1", "/v1/", "//v1", "/v1/v1", "/v1//v1/", "/api", "/api/", "/api/v1/v1"]
)
@pytest.mark.parametrize("end", ["", "/", "//"])
async def test_a_path_is_found_however_the_base_address_was_written(running, prefix, end):
    """`//chat/completions` was 404: base addresses end in a slash, lack `/v1`, or have it where the library adds it."""
    reply = await ask(running.port, chat(path=f"{prefix}/chat/completions{end}"))
    assert (reply.status, b"Hello" in reply.body) == (200, True)
    reply = await ask(running.port, request("GET", f"{prefix}/models{end}"))
    assert reply.json["object"] == "list"
    reply = await ask(running.port, request("POST", f"{prefix}/messages{end}", JSON, body=b"{}"))
    assert (reply.status, reply.json["type"]) == (400, "error")  # in the form of that API


async def test_a_path_below_a_root_is_not_found_elsewhere(running):
    for path in ("/healthz/", "//readyz", "/metrics/"):
        assert (await ask(running.port, request("GET", path))).status == 200
    for path in ("/v1/healthz", "/api/v1/metrics", "/healthz/x"):
        assert (await ask(running.port, request("GET", path))).status == 404


@pytest.mark.parametrize(
    "target",
    [
        CHAT,
        "/api" + CHAT,
        CHAT + "?api-version=1",
        "/v1/chat/%63ompletions",
        "http://localhost" + CHAT,
        "http://[::1]" + CHAT,
        "http://[::1]:8080" + CHAT,
        CHAT + "?",
    ],
)
async def test_the_chat_path_is_known_in_every_spelling(running, target):
    reply = await ask(running.port, chat(path=target))
    assert reply.status == 200
    assert b"Hello" in reply.body


async def test_the_host_of_an_absolute_target_counts_whatever_the_header_says(running):
    for host in ("evil.example", "[::2]", "[2001:db8::1]:80"):
        reply = await ask(running.port, chat(path=f"http://{host}{CHAT}"))
        assert (reply.status, reply.error_type) == (403, "permission_denied")


@pytest.mark.parametrize(
    "line", ["Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded", "X-No: type"]
)
async def test_a_body_of_another_type_than_json_is_answered_415(running, provider, line):
    async with connected(running.port) as connection:
        connection.send(request("POST", CHAT, line, body=b"{}"), request())
        reply = await connection.reply()
        assert (reply.status, reply.error_type) == (415, "unsupported_media_type")
        assert (await connection.reply()).status == 200  # the connection lives on
        assert provider.calls == []


async def test_an_upgrade_is_not_taken_up_and_the_request_answered_as_it_stands(running):
    async with connected(running.port) as connection:
        connection.send(chat("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"))
        connection.send(request("GET", "/healthz", "Connection: Upgrade", "Upgrade: websocket"), request())
        reply = await connection.reply()
        assert (reply.status, b"Hello" in reply.body) == (200, True)
        assert (await connection.reply()).json == {"status": "ok"}
        assert (await connection.reply()).json == {"status": "ok"}


async def test_the_body_of_an_upgrade_request_is_never_read_as_a_request(running):
    inner = request("GET", "/metrics")
    async with connected(running.port) as connection:
        connection.send(request("POST", CHAT, JSON, "Connection: Upgrade", "Upgrade: h2c", body=inner)[: -len(inner)])
        connection.send(inner[:10])
        await asyncio.sleep(0)
        connection.send(inner[10:], request())
        assert (await connection.reply()).status == 400
        assert (await connection.reply()).json == {"status": "ok"}


async def test_head_is_answered_without_a_body(running):
    async with connected(running.port) as connection:
        connection.send(request("HEAD", "/healthz"), request("HEAD", "/nowhere"), request())
        reply = await connection.reply(bodiless=True)
        assert (reply.status, reply.headers["content-length"]) == (200, "15")
        assert (await connection.reply(bodiless=True)).status == 404
        assert (await connection.reply()).json == {"status": "ok"}


# ---- bodies


async def test_a_body_said_to_be_too_large_is_refused_unread(running, provider):
    async with connected(running.port) as connection:
        connection.send(request("POST", CHAT, JSON, "Content-Length: 100001"))
        reply = await connection.reply()
        assert (reply.status, reply.error_type) == (413, "payload_too_large")
        assert "100,000" in reply.error["message"]
        assert await connection.ended() == b""


@pytest.mark.parametrize(("path", "status"), [(CHAT, 413), ("/nowhere", 404)])
@pytest.mark.parametrize("chunked", [True, False])
async def test_the_answer_to_a_body_that_is_refused_arrives_while_it_is_still_sent(running, path, status, chunked):
    """A close with unread bytes is a reset, which takes the answer away from a client that still sends."""
    part = b"x" * 65_536
    total = 400
    async with connected(running.port) as connection:
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(part) * total}"
        connection.send(request("POST", path, JSON, length))
        for _ in range(total):
            connection.send(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            await connection.writer.drain()
        assert (await connection.reply()).status == status
        assert await connection.ended() == b""


async def test_a_body_in_pieces_is_put_together(running, provider):
    raw = chat()
    async with connected(running.port) as connection:
        for byte in raw:
            connection.send(bytes((byte,)))
            await connection.writer.drain()
        assert b"Hello" in (await connection.reply()).body
    assert provider.calls[0].json["messages"] == [{"role": "user", "content": "Hi"}]


async def test_a_chunked_body_is_put_together(running, provider):
    body = chat().partition(b"\r\n\r\n")[2]
    chunks = b"".join(b"1;ext=1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    reply = await ask(running.port, request("POST", CHAT, JSON, "Transfer-Encoding: chunked"), chunks)
    assert b"Hello" in reply.body


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": "m"}', b"\xff\xfe", b'{"model": 1, "messages": []}'])
async def test_a_bad_body_is_told_what_is_wrong_and_changes_nothing(running, provider, body):
    async with connected(running.port) as connection:
        connection.send(request("POST", CHAT, JSON, body=body), chat())
        reply = await connection.reply()
        assert (reply.status, reply.error_type) == (400, "invalid_request")
        assert "x-generation-id" not in reply.headers
        assert (await connection.reply()).status == 200
    assert len(provider.calls) == 1


async def test_expect_100_continue_is_honoured(running):
    head, _, body = chat("Expect: 100-continue").partition(b"\r\n\r\n")
    async with connected(running.port) as connection:
        connection.send(head, b"\r\n\r\n")
        assert (await connection.head()).status == 100
        connection.send(body)
        assert b"Hello" in (await connection.reply()).body


async def test_expect_100_continue_is_refused_with_the_final_status(running):
    refused = request("POST", CHAT, "Content-Type: text/plain", "Expect: 100-continue", "Content-Length: 9")
    assert (await ask(running.port, refused)).status == 415
    too_large = request("POST", CHAT, JSON, "Expect: 100-continue", "Content-Length: 999999")
    assert (await ask(running.port, too_large)).status == 413


async def test_the_leave_to_send_a_body_comes_in_its_turn(running):
    """A 100 in the middle of an earlier answer would be read as a part of it."""
    head, _, body = chat("Expect: 100-continue").partition(b"\r\n\r\n")
    async with connected(running.port) as connection:
        connection.send(chat(), head, b"\r\n\r\n")
        assert b"[DONE]" in (await connection.reply()).body
        assert (await connection.head()).status == 100
        connection.send(body)
        assert b"[DONE]" in (await connection.reply()).body


# ---- versions and connections


async def test_http_1_0_is_answered_close_delimited(running):
    async with connected(running.port) as connection:
        connection.send(chat("Connection: keep-alive", version="1.0", host=""))
        reply = await connection.reply()
        assert reply.status == 200
        assert "transfer-encoding" not in reply.headers
        assert reply.headers["connection"] == "close"
        assert reply.body.startswith(b"data: ")
        assert reply.body.endswith(b"data: [DONE]\n\n")


async def test_connection_close_is_obeyed_and_what_follows_ignored(running, provider):
    async with connected(running.port) as connection:
        connection.send(chat("Connection: close"), chat())
        reply = await connection.reply()
        assert reply.headers["connection"] == "close"
        assert await connection.ended() == b""
    assert len(provider.calls) == 1


async def test_a_connection_takes_one_request_after_another(running):
    async with connected(running.port) as connection:
        for _ in range(3):
            connection.send(chat())
            reply = await connection.reply()
            assert "connection" not in reply.headers
            assert b"Hello" in reply.body
            connection.send(b"\r\n", request("GET", "/v1/models"))
            assert (await connection.reply()).json["object"] == "list"


async def test_a_client_that_closes_its_half_still_gets_a_small_answer(running):
    async with connected(running.port) as connection:
        connection.send(request("GET", "/v1/models"), request())
        connection.writer.write_eof()
        assert (await connection.reply()).status == 200
        assert (await connection.reply()).json == {"status": "ok"}
        assert await connection.ended() == b""


async def test_a_chat_request_of_a_client_that_has_closed_its_half_is_not_carried_on():
    _, provider = await held_stream()
    async with (
        provider,
        gateway(providers={"mock": provider.definition()}) as running,
        connected(running.port) as connection,
    ):
        connection.send(request("GET", "/v1/models"), chat())
        connection.writer.write_eof()
        assert (await connection.reply()).status == 200
        assert await connection.ended() == b""
        await asyncio.wait_for(running.context.registry.idle.wait(), 30)


# ---- pipelining


async def test_pipelined_requests_are_answered_in_order(running):
    kinds = [
        chat(),
        request(),
        chat(stream=False),
        request("GET", "/nowhere"),
        chat(model="nobody/none"),
        request(),
        chat(),
    ]
    async with connected(running.port) as connection:
        connection.send(*kinds)
        replies = [await connection.reply() for _ in kinds]
    assert [reply.status for reply in replies] == [200, 200, 200, 404, 404, 200, 200]
    ids = [reply.headers.get("x-generation-id") for reply in replies]
    assert [id is not None for id in ids] == [True, False, True, False, False, False, True]
    for reply, id in zip(replies, ids, strict=True):
        assert set(re.findall(rb"gen-[\w-]+", reply.body)) == ({id.encode()} if id else set())


@pytest.mark.parametrize("seed", range(4))
async def test_requests_cut_anywhere_are_the_same_requests(running, seed):
    chunked = request("POST", CHAT, JSON, "Transfer-Encoding: chunked") + b"2;x=y\r\n{}\r\n0\r\nX: y\r\n\r\n"
    upgrade = request("POST", "/nowhere", "Connection: Upgrade", "Upgrade: h2c", body=b"GET / HTTP/1.1")
    raw = b"".join((request(), chunked, upgrade, chat(), request("HEAD"), chat(stream=False), b"NONSENSE\r\n"))
    random = Random(seed)
    cuts = sorted(random.sample(range(len(raw)), 12))
    async with connected(running.port) as connection:
        for start, end in pairwise((0, *cuts, len(raw))):
            connection.send(raw[start:end])
            await connection.writer.drain()
            await asyncio.sleep(0.002)
        replies = [await connection.reply(bodiless=number == 4) for number in range(7)]
        assert [reply.status for reply in replies] == [200, 400, 404, 200, 200, 200, 400]
        assert await connection.ended() == b""


async def test_spoilt_requests_are_never_a_bug(running, caplog):
    random = Random(7)
    whole = chat("Expect: 100-continue", "Connection: Upgrade", "Upgrade: h2c", "Origin: https://a.example") + request()

    async def send(raw: bytes) -> None:
        async with connected(running.port) as connection:
            connection.send(raw)
            connection.writer.write_eof()
            await connection.ended()

    for _ in range(40):
        spoilt = []
        for _ in range(10):
            raw = bytearray(whole)
            for _ in range(random.randint(1, 4)):
                raw[random.randrange(len(raw))] = random.choice(b"\r\n\0 :;,/%?#\xff0A")
            spoilt.append(bytes(raw[: random.randint(1, len(raw))]))
        await asyncio.gather(*map(send, spoilt))
    await asyncio.wait_for(running.context.registry.idle.wait(), 5)
    assert caplog.records == []
    assert (await ask(running.port, request())).status == 200


async def held_stream():
    gate = asyncio.Event()
    return gate, ScriptedProvider([ROLE, text("one"), Wait(gate), text("two"), FINISH, DONE])


async def test_a_malformed_request_behind_a_running_stream_waits_for_its_turn():
    """Cutting the stream for it would let one bad byte of a proxy's pool destroy an answer that was paid for."""
    gate, provider = await held_stream()
    async with (
        provider,
        gateway(providers={"mock": provider.definition()}) as running,
        connected(running.port) as connection,
    ):
        connection.send(chat())
        await connection.head()
        while b"one" not in await connection.chunk():
            pass
        connection.send(b"NONSENSE\r\n\r\n", request())
        gate.set()
        body = b""
        while chunk := await connection.chunk():
            body += chunk
        assert b"two" in body
        assert body.endswith(b"data: [DONE]\n\n")
        reply = await connection.reply()
        assert (reply.status, reply.headers["connection"]) == (400, "close")
        assert await connection.ended() == b""


async def test_a_slow_request_behind_a_running_stream_does_not_cut_it():
    gate, provider = await held_stream()
    timeouts = {"header_seconds": 0.1}
    async with (
        provider,
        gateway(providers={"mock": provider.definition()}, timeouts=timeouts) as running,
        connected(running.port) as connection,
    ):
        connection.send(chat(), b"GET /hea")
        await connection.head()
        await asyncio.sleep(0.4)
        gate.set()
        body = b""
        while chunk := await connection.chunk():
            body += chunk
        assert body.endswith(b"data: [DONE]\n\n")
        assert (await connection.reply()).status == 408


async def test_a_hang_up_is_noticed_though_pipelined_requests_wait():
    """A server that stops reading while requests wait never sees the end of the connection."""
    gate, provider = await held_stream()
    async with (
        provider,
        gateway(providers={"mock": provider.definition()}) as running,
        connected(running.port) as connection,
    ):
        connection.send(chat(), *[request()] * 500)
        call = await provider.called()
        connection.writer.close()
        async with asyncio.timeout(30):
            await call.closed.wait()
            await running.context.registry.idle.wait()
        assert not gate.is_set()


async def test_a_pipeline_that_grows_without_bound_is_closed():
    _, provider = await held_stream()
    async with (
        provider,
        gateway(providers={"mock": provider.definition()}) as running,
        connected(running.port) as connection,
    ):
        connection.send(chat())
        await connection.head()
        with pytest.raises(ConnectionError):  # noqa: PT012
            while True:
                connection.send(*[request()] * 100)
                await connection.writer.drain()
                await asyncio.sleep(0)
        await asyncio.wait_for(running.context.registry.idle.wait(), 30)


async def test_answers_that_nobody_takes_do_not_pile_up(running):
    count = 1_500
    async with connected(running.port, buffer=4_096) as connection:
        connection.writer.transport.pause_reading()
        connection.send(*[request("GET", "/metrics")] * count)
        await connection.writer.drain()
        (protocol,) = _connections(running)
        async with asyncio.timeout(30):
            while not protocol.write_paused:
                await asyncio.sleep(0.01)
        assert protocol.transport.get_write_buffer_size() < 1 << 20
        assert protocol.waiting
        connection.writer.transport.resume_reading()
        async with asyncio.timeout(30):
            for _ in range(count):
                assert (await connection.reply()).status == 200


# ---- clocks


def _connections(running):
    """The protocol objects of a gateway's connections."""
    found = [it for it in gc.get_objects() if isinstance(it, GatewayProtocol)]
    return [it for it in found if it in it.server.connections and it.server.limits is running.context.config.limits]


@pytest.mark.parametrize(
    ("first", "kind"),
    [(b"GET /healthz HTT", "head"), (request("POST", CHAT, JSON, "Content-Length: 9") + b"{", "body")],
)
async def test_a_request_that_comes_too_slowly_is_answered_408(provider, first, kind):
    timeouts = {"header_seconds": 0.2, "body_seconds": 0.2}
    async with (
        gateway(providers={"mock": provider.definition()}, timeouts=timeouts) as running,
        connected(running.port) as connection,
    ):
        connection.send(first)
        reply = await connection.reply()
        assert (reply.status, reply.error_type) == (408, "request_timeout")
        assert kind in reply.error["message"]
        assert await connection.ended() == b""


async def test_a_body_that_trickles_in_has_its_time_in_all(provider):
    """One byte per half minute kept a request alive for a year."""
    timeouts = {"body_seconds": 5.0, "body_total_seconds": 0.3}
    async with (
        gateway(providers={"mock": provider.definition()}, timeouts=timeouts) as running,
        connected(running.port) as connection,
    ):
        connection.send(request("POST", CHAT, JSON, "Content-Length: 1000"))
        reply = asyncio.create_task(connection.reply())
        while not reply.done():
            connection.send(b" ")
            await asyncio.sleep(0.05)
        assert (reply.result().status, reply.result().error_type) == (408, "request_timeout")


async def test_a_head_that_trickles_in_gets_no_more_time_for_it(provider):
    async with (
        gateway(providers={"mock": provider.definition()}, timeouts={"header_seconds": 0.3}) as running,
        connected(running.port) as connection,
    ):
        reply = asyncio.create_task(connection.reply())
        while not reply.done():
            connection.send(b"GET / HTTP/1.1\r\n" if not reply.get_name().startswith("x") else b"a: b\r\n")
            reply.set_name("x")
            await asyncio.sleep(0.05)
        assert reply.result().status == 408


async def test_a_connection_without_a_byte_is_closed_in_silence(provider):
    async with (
        gateway(providers={"mock": provider.definition()}, timeouts={"header_seconds": 0.2}) as running,
        connected(running.port) as connection,
    ):
        assert await connection.ended() == b""


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(clock, "KEEP_ALIVE_SECONDS", 0.2)


async def test_a_connection_that_stays_idle_is_closed_in_the_end(running, impatient):
    async with connected(running.port) as connection:
        connection.send(request())
        await connection.reply()
        assert await connection.ended() == b""


async def test_the_clock_of_idle_connections_does_not_run_while_an_answer_does(impatient):
    gate, provider = await held_stream()
    async with (
        provider,
        gateway(providers={"mock": provider.definition()}) as running,
        connected(running.port) as connection,
    ):
        connection.send(request())
        await connection.reply()
        connection.send(chat())
        await connection.head()
        await asyncio.sleep(0.5)
        gate.set()
        body = b""
        while chunk := await connection.chunk():
            body += chunk
        assert body.endswith(b"data: [DONE]\n\n")


async def test_a_client_that_takes_nothing_is_closed_in_the_end(provider, impatient):
    async with (
        gateway(providers={"mock": provider.definition()}, timeouts={"client_stall_seconds": 0.2}) as running,
        connected(running.port, buffer=4_096) as connection,
    ):
        connection.writer.transport.pause_reading()
        connection.send(*[request("GET", "/metrics")] * 1_500)
        await connection.writer.drain()
        (protocol,) = _connections(running)
        async with asyncio.timeout(30):
            while protocol in protocol.server.connections:
                await asyncio.sleep(0.01)


# ---- CORS

ORIGIN = "Origin: https://app.example"
ASKS = ("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization, x-stainless-os")


async def test_without_the_setting_no_origin_is_let_in(running):
    for raw in (chat(ORIGIN), request("GET", "/v1/models", ORIGIN), request("OPTIONS", CHAT, ORIGIN, *ASKS)):
        reply = await ask(running.port, raw)
        assert not [name for name in reply.headers if name.startswith("access-control")]


@pytest.mark.parametrize("origins", [["https://app.example"], ["*"]])
async def test_pages_of_an_allowed_origin_can_read_every_answer(provider, origins):
    async with gateway(providers={"mock": provider.definition()}, server={"cors_origins": origins}) as running:
        answers = (
            (200, chat(ORIGIN)),
            (200, chat(ORIGIN, stream=False)),
            (404, chat(ORIGIN, model="nobody/none")),
            (200, request("GET", "/v1/models", ORIGIN)),
            (404, request("GET", "/nowhere", ORIGIN)),
        )
        for status, raw in answers:
            reply = await ask(running.port, raw)
            assert reply.status == status
            assert reply.headers["access-control-allow-origin"] in ("*", "https://app.example")
            assert reply.headers["access-control-expose-headers"] == "x-generation-id"
        for path in (CHAT, "/api/v1/models"):
            reply = await ask(running.port, request("OPTIONS", path, ORIGIN, *ASKS))
            assert reply.status == 204
            assert "POST" in reply.headers["access-control-allow-methods"]
            assert reply.headers["access-control-allow-headers"] == "authorization, x-stainless-os"


async def test_pages_of_other_origins_are_told_nothing(provider):
    settings = {"cors_origins": ["https://other.example"]}
    async with gateway(providers={"mock": provider.definition()}, server=settings) as running:
        for raw in (chat(ORIGIN), request("GET", "/v1/models", ORIGIN), request("OPTIONS", CHAT, ORIGIN, *ASKS)):
            reply = await ask(running.port, raw)
            assert reply.headers["vary"] == "origin"
            assert not [name for name in reply.headers if name.startswith("access-control")]
