"""Media types that bytes show, whatever they are said to be."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import msgspec
import pytest

from infron.catalog.definitions import Provider
from infron.request import Target
from infron.wires import CLIENT_WIRES, PROVIDER_WIRES, media
from infron.wires.media import mime_of_data, relabelled
from infron.wires.openai import chat as openai_chat

FILES = {
    "image/png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    "image/jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00",
    "image/gif": b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00",
    "image/webp": b"RIFF\x24\x00\x00\x00WEBPVP8 \x18\x00",
    "audio/wav": b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00",
    "audio/mpeg": b"ID3\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    "audio/flac": b"fLaC\x00\x00\x00\x22\x10\x00\x10\x00\x00\x00\x00\x00",
    "application/pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0",
}


@pytest.mark.parametrize("mime", FILES)
def test_media_type_is_known_by_the_first_bytes(mime: str) -> None:
    assert mime_of_data(base64.b64encode(FILES[mime]).decode()) == mime


@pytest.mark.parametrize("data", ["", "aGk=", "\u00fc", "????", "UklGRiQAAABBVkkg"])
def test_media_type_of_other_bytes_is_not_known(data: str) -> None:
    assert mime_of_data(data) == ""


IMAGES = [mime for mime in FILES if mime.startswith("image/")]
MODELS = {"anthropic": "claude-sonnet-5", "bedrock": "us.anthropic.claude-sonnet-4-6", "gemini": "gemini-3.1-pro"}


@pytest.mark.parametrize("wire", MODELS)
@pytest.mark.parametrize("said", ["image/webp", "image/png", "image/jpg", "application/octet-stream"])
@pytest.mark.parametrize("mime", IMAGES)
def test_image_goes_out_as_what_its_bytes_show(wire: str, said: str, mime: str) -> None:
    # A PNG that was said to be WebP went out as such, and the provider refused it; as octet-stream we did.
    url = f"data:{said};base64,{base64.b64encode(FILES[mime]).decode()}"
    message = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
    body = msgspec.json.encode({"model": "m", "max_tokens": 9, "messages": [message]})
    row = Provider(id="mock", name="Mock", wire=wire)
    sent = PROVIDER_WIRES[wire].encode_request(openai_chat.parse(body, []), row, MODELS[wire], False).body
    kind = mime.removeprefix("image/")
    assert (f'"format":"{kind}"' if wire == "bedrock" else f'"{mime}"').encode() in sent


@pytest.mark.parametrize("size", [0, 1, 5_000, media._STEP, media._STEP + 1, 3 * media._STEP + 2])
def test_large_base64_is_put_together_and_taken_apart_in_steps(size: int) -> None:
    data = random.Random(size).randbytes(size)
    text = base64.b64encode(data).decode()
    assert media.base64_of(data) == text
    assert media.bytes_in(text) == data
    broken = "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    assert media.bytes_in(broken) == data


@pytest.mark.parametrize("size", [100, media._STEP])
def test_large_base64_that_is_none_is_told_so(size: int) -> None:
    with pytest.raises(ValueError, match="base64"):
        media.bytes_in("AAAA" * size + "A")


PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(40)).decode()


@pytest.mark.parametrize(
    ("label", "data", "shown"),
    [
        ("image/jpeg", PNG, "image/png"),
        ("image/png", JPEG, "image/jpeg"),
        ("image/jpg", JPEG, "image/jpeg"),
        ("application/octet-stream", PNG, "image/png"),
        ("", JPEG, "image/jpeg"),
        ("IMAGE/PNG", PNG, "IMAGE/PNG"),
        ("image/png;charset=x", PNG, "image/png;charset=x"),
        ("image/heic", base64.b64encode(bytes(40)).decode(), "image/heic"),
        ("application/pdf", base64.b64encode(b"%PDF-1.7" + bytes(40)).decode(), "application/pdf"),
    ],
)
def test_image_in_a_data_uri_is_called_what_its_bytes_show(label: str, data: str, shown: str) -> None:
    """A JPEG that its client called a PNG was refused by hosts that look."""
    image = {"type": "image_url", "image_url": {"url": f"data:{label};base64,{data}"}}
    said = [
        {"type": "text", "text": f"data:image/gif;base64,{data}"},
        image,
        {"image_url": f"data:{label};base64,{data}"},
    ]
    wanted = (
        json.dumps(said)
        .replace(f'"data:{label};base64', f'"data:{shown};base64')
        .replace("data:image/gif", "data:image/gif")
    )
    told = relabelled(json.dumps(said).encode())
    assert told == (None if shown == label else wanted.encode())
    escaped = json.dumps(said).replace("/", "\\/").encode()
    told = relabelled(escaped)
    assert json.loads(escaped if told is None else told) == json.loads(wanted)


def test_data_uri_that_is_said_in_a_text_stays() -> None:
    inner = json.dumps({"image_url": {"url": f"data:image/gif;base64,{PNG}"}})
    for text in (inner, f"data:image/gif;base64,{PNG}", f'"url":"data:image/gif;base64,{PNG}'):
        assert relabelled(json.dumps([{"role": "user", "content": text}]).encode()) is None


def user(**fields: Any) -> dict[str, Any]:
    return {"role": "user", **fields}


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (
            "openai-chat",
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "URI"}}]}]},
        ),
        ("openai-responses", {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "URI"}]}]}),
        ("gemini", {"contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "LABEL", "data": "DATA"}}]}]}),
        (
            "gemini",
            {"contents": [{"role": "user", "parts": [{"inline_data": {"mime_type": "LABEL", "data": "DATA"}}]}]},
        ),
    ],
)
def test_image_goes_to_a_host_of_the_same_api_as_what_its_bytes_show(wire: str, body: dict[str, Any]) -> None:
    def of(label: str) -> bytes:
        said = json.dumps({"model": "m", **body}).replace("URI", f"data:{label};base64,{PNG}")
        return said.replace("LABEL", label).replace("DATA", PNG).encode()

    provider = Provider(id="mock", name="Mock", wire=wire)
    target = Target("/v1beta/models/{model:path}:generateContent", {"model": "m"}, {})
    sent = [
        PROVIDER_WIRES[wire].encode_request(CLIENT_WIRES[wire].parse(of(label), [], target), provider, "m", True).body
        for label in ("image/jpeg", "image/png")
    ]
    assert json.loads(sent[0]) == json.loads(sent[1])
    assert b"image/png" in sent[0]
