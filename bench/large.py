"""What is large, again and again, through the gateway: the load beside which `run.py` measures the streams of others.

`--port` and `--key`: the gateway's · `--api`: whose clients ask · `--provider`: the port on which this listens as the
provider `large`, or `vectors` for embeddings. It ends when it is told to.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
from collections.abc import Iterator
from typing import Any

MB = 1 << 20
SIZES = (1 * MB, 8 * MB, 31 * MB)  # of requests; 32 MiB are the most
ANSWER = 5 * MB  # in one frame, or in the arguments of one call
VECTORS, DIMENSIONS = 500, 1000
PATHS = {
    "chat": "/v1/chat/completions",
    "Messages": "/v1/messages",
    "Responses": "/v1/responses",
    "Gemini": "/v1beta/models/large%2F{model}:streamGenerateContent",
    "Ollama": "/api/chat",
    "embeddings": "/v1/embeddings",
}


def body(api: str, said: str, model: str) -> dict[str, Any]:
    match api:
        case "Responses":
            return {"model": f"large/{model}", "stream": True, "input": said}
        case "Gemini":
            return {"contents": [{"role": "user", "parts": [{"text": said}]}]}
        case "embeddings":
            return {"model": f"vectors/{model}", "input": said}
    return {
        "model": f"large/{model}",
        "stream": True,
        "max_tokens": 9,
        "messages": [{"role": "user", "content": said}],
    }


def requests(api: str) -> Iterator[tuple[str, bytes]]:
    """(path, body) of one after the other: large requests, then requests for large answers."""
    for size in SIZES:
        for said in (
            "lorem ipsum, " * (size // 13),
            base64.b64encode(random.Random(1).randbytes(size * 3 // 4)).decode(),
        ):
            yield PATHS[api].format(model="small"), json.dumps(body(api, said, "small")).encode()
    for model in ("frame", "call", "many"):
        yield PATHS[api].format(model=model), json.dumps(body(api, "Hi", model)).encode()


def _chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    fields = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return (
        b"data: %b\n\n"
        % json.dumps({**fields, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode()
    )


def _call(arguments: str, **head: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, **head, "function": {"name": "f", "arguments": arguments}}]}


TEXT = "lorem ipsum, " * (ANSWER // 13)
STREAMS = {
    "small": [_chunk({"content": "Hi"})],
    "frame": [_chunk({"content": TEXT})],
    "call": [_chunk(_call(json.dumps({"text": TEXT}), id="c", type="function"))],
    "many": [_chunk({"content": "lorem "})] * 50_000,
}
EMBEDDED = json.dumps(
    {
        "object": "list",
        "data": [
            {"object": "embedding", "index": n, "embedding": [random.Random(n).random()] * DIMENSIONS}
            for n in range(VECTORS)
        ],
        "model": "m",
        "usage": {"prompt_tokens": 9, "total_tokens": 9},
    }
).encode()


async def provide(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One answer for each connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    asked = await reader.readexactly(length)
    model = next((name for name in STREAMS if f'"{name}"'.encode() in asked[:MB]), "small")
    if b"/embeddings" in head.split(b"\r\n")[0]:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(EMBEDDED))
        writer.write(EMBEDDED)
    else:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        writer.writelines([*STREAMS[model], _chunk({}, "stop"), b"data: [DONE]\n\n"])
    await writer.drain()
    writer.close()


async def ask(port: int, key: str, path: str, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\n{key}\r\ncontent-type: application/json\r\nconnection: close\r\n"
    )
    writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
    status = (await reader.readline()).split()[1]
    if status != b"200":
        raise SystemExit(f"large: {path}: {status!r} {(await reader.read())[-300:]!r}")
    while await reader.read(MB):
        pass
    writer.close()


async def main(port: int, key: str, api: str, provider: int) -> None:
    async with await asyncio.start_server(provide, "127.0.0.1", provider, limit=64 * MB):
        print("listening", flush=True)
        while True:
            for path, data in requests(api):
                await ask(port, key, path, data)
            print("round", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--provider", type=int, required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--api", choices=PATHS, required=True)
    asyncio.run(main(**vars(parser.parse_args())))
