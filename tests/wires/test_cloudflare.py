"""The native path of Workers AI: where the model goes, what is left of the chat wire's body, what its errors mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infron.catalog.load import load_catalog
from infron.errors import Unsupported
from infron.request import Outgoing
from infron.wires import PROVIDER_WIRES
from infron.wires.cloudflare import encode_request, parse_error
from infron.wires.openai.chat.request import parse

ROW = load_catalog({}, {}, {}, wires=PROVIDER_WIRES).providers["cloudflare-run"]
MODEL = "@cf/meta/llama-3.3-70b-instruct-fp8-fast"
PIXEL = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def sent(provider_model: str = MODEL, **fields: Any) -> Outgoing:
    body = {"model": "cloudflare-run/x", "messages": [{"role": "user", "content": "Hi"}], "stream": True, **fields}
    return encode_request(parse(json.dumps(body).encode(), []), ROW, provider_model, True)


def test_the_model_stands_in_the_path_and_not_in_the_body() -> None:
    outgoing = sent()
    assert outgoing.url == f"/run/{MODEL}"
    body = json.loads(outgoing.body)
    assert body == {"messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": 2048}


@pytest.mark.parametrize("provider_model", ["", "../../tokens", "@cf/../x", "./x", "/x", "x//y"])
def test_a_model_id_leads_to_no_other_path(provider_model: str) -> None:
    with pytest.raises(Unsupported):
        sent(provider_model)


def test_signs_of_a_query_are_part_of_the_models_name() -> None:
    assert sent("@cf/a?b#c d").url == "/run/@cf/a%3Fb%23c%20d"


def test_a_schema_goes_without_its_envelope() -> None:
    schema = {"type": "object"}
    asked = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": schema}}
    assert json.loads(sent(response_format=asked).body)["response_format"] == {
        "type": "json_schema",
        "json_schema": schema,
    }
    assert json.loads(sent(response_format={"type": "json_object"}).body)["response_format"] == {"type": "json_object"}


def test_text_parts_become_one_string_and_pictures_stay() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert json.loads(sent(messages=[{"role": "user", "content": parts}]).body)["messages"][0]["content"] == "a\nb"
    seen = [*parts, PIXEL]
    assert json.loads(sent(messages=[{"role": "user", "content": seen}]).body)["messages"][0]["content"] == seen


def test_what_the_path_does_not_know_is_named() -> None:
    outgoing = sent(logit_bias={"1": 1}, user="u", top_k=3, max_completion_tokens=5)
    assert outgoing.dropped == ("logit_bias", "user")
    body = json.loads(outgoing.body)
    assert (body["top_k"], body["max_tokens"]) == (3, 5)


# Each: the HTTP status and Cloudflare's code -> our status, whether another try is worth it.
ERRORS = [
    (429, 3036, "you have used up your daily free allocation of 10,000 neurons", 429, False),
    (429, 3040, "Capacity temporarily exceeded, please try again.", 429, None),
    (400, 5007, "No such model @cf/x or task", 400, None),
    (408, 3008, "Request was aborted", 408, None),
    (200, 3040, "Capacity temporarily exceeded, please try again.", 429, None),
    (200, 3006, "Request is too large", 413, None),
    (200, 1, "Something else", 502, None),
]


@pytest.mark.parametrize(("status", "code", "message", "ours", "retry"), ERRORS)
def test_an_error_is_told_by_its_code(status: int, code: int, message: str, ours: int, retry: bool | None) -> None:
    body = json.dumps({"success": False, "errors": [{"code": code, "message": message}], "result": None}).encode()
    error = parse_error(status, [], body, ROW)
    assert (error.status, error.message, error.should_retry, error.provider) == (ours, message, retry, ROW.id)
    assert error.metadata["provider_code"] == str(code)
