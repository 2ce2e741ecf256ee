"""Media types that bytes show, whatever they are said to be."""

from __future__ import annotations

import base64
import random

import msgspec
import pytest

from infron.catalog.definitions import Provider
from infron.wires import PROVIDER_WIRES, media
from infron.wires.media import mime_of_data
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
