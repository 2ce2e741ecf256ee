"""The fuzzer outside the normal run still runs, and a fixed few of its cases keep every promise."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from fuzz import runner
from fuzz.promises import KEY, Broken, Case, check_error
from infron.errors import ProviderUnavailable
from infron.events import TextDelta
from infron.wires import PROVIDER_WIRES


def test_the_first_cases_of_a_fixed_seed_keep_every_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Floods take a second each.
    targets = {name: target._replace(flood=False) for name, target in runner.targets().items()}
    monkeypatch.setattr(runner, "targets", lambda: targets)
    assert runner.fuzz(60, 2, tmp_path, most=400) == {}
    assert set(PROVIDER_WIRES) < set(targets)


CHUNK = b'data: {"id":"","object":"","created":0,"model":"","choices":[{"index":1,%b}]}\n\n'
# What the fuzzer, or a look at its targets, has found: what went wrong, where, and the bytes.
FOUND: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "the folder took a message that is no object for one": ("openai-chat", CHUNK % b'"message":""', {}),
    "a delta was merged into it": ("openai-chat", CHUNK % b'"message":0' + CHUNK % b'"delta":{"content":"x"}', {}),
    "sound in base64 that is none": (
        "openai-chat",
        CHUNK % b'"delta":{"audio":{"data":"\\u00e9="}}' + CHUNK % b'"delta":{"audio":{"data":"AA=="}}',
        {},
    ),
    "a failure followed the end where the body ended": (
        "cohere",
        b'data: {"type":"message-end","delta":{"finish_reason":"COMPLETE"}}\n{"message":"x"}',
        {},
    ),
    "a lone CR ended a line only where the bytes were cut": ("gemini", b'data: {"a":1}\rx: {"b"\r\n\r\n', {}),
    "a BOM in the middle was taken for one at the start": ("gemini", b"data: {}\r\n\r\n\xef\xbb\xbfdata:}\n\r", {}),
    "Google's status repeated the key": ("gemini", b'{"error":{"code":503,"status":"sk-never-told"}}', {"whole": True}),
    "how a prediction ended repeated it": ("replicate", b'event: done\ndata: {"reason":"sk-never-told"}\n\n', {}),
    "a document of which no base64 can be": (
        "openai-chat requests",
        '{"model":"m","messages":[{"role":"user","content":[{"type":"file","file":'
        '{"file_data":"data:text/plain;base64,é"}}]}]}'.encode(),
        {},
    ),
    "a format of a schema that is no word": (
        "openai-chat requests",
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema",'
        b'"json_schema":{"name":"x","schema":{"type":"object","properties":{"a":{"format":[]}}}}}}',
        {},
    ),
    "a name that is no UTF-8 in a frame whose block got another place": (
        "anthropic",
        b'event: content_block_start\ndata: {"type":"content_block_start","index":5,"content_block":{"type":"text",'
        b'"text":""},"\x80":1}\n\n',
        {},
    ),
    "a text that is no UTF-8 in a frame that is handed on": (
        "openai-completions",
        b'data: {"choices":[{"text":"x","index":0}],"x":"\xff"}\n\n',
        {},
    ),
    "vectors that are no UTF-8": ("cohere-embeddings", b'{"embeddings":{"float":["\xed"]}}', {"whole": True}),
    "frames in a list that went on behind an error among them": (
        "gemini",
        b'data: [{"error":{"code":503}},{"candidates":[{"content":{"parts":[{"text":"x"}]}}]}]\r\n\r\n',
        {},
    ),
    "a tool whose name is an object": (
        "openai-responses requests",
        b'{"model":"m","input":"x","tools":[{"type":"function","name":{}}],"tool_choice":{"name":[]}}',
        {},
    ),
    "a message in place of a delta whose role is a list": (
        "openai-chat",
        b'data: {"choices":[{"index":0,"message":{"role":["assistant"],"content":"x","refusal":7}}]}\n\n',
        {},
    ),
    "calls without end, each of whose ids was remembered": (
        "gemini",
        b'data: {"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{}}}]}}]}\r\n\r\n' * 9_000,
        {},
    ),
    "usage after a frame that failed the answer": (
        "openai-chat",
        b'data:{"choices":[{"finish_reason":"p"}]}\n\ndata:]\n\ndata:{"usage":{"completion_tokens":3}}\n\n',
        {},
    ),
    "a block whose type is no word": (
        "anthropic",
        b'data:{"type":"content_block_start","content_block":{"type":{}}}\n\n',
        {},
    ),
    "an end with a name that is no UTF-8": (
        "anthropic",
        b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"\xff":0}\n\n',
        {},
    ),
    "a beginning with a name that is no UTF-8": (
        "anthropic",
        b'event: message_start\ndata: {"\xff":"","message":{"":"","content":[],"usage":{"input_tokens":1e999}}}\n\n',
        {},
    ),
    "an end for which nobody has a word but a line end": (
        "openai-chat",
        'data:{"choices":[{"delta":{},"finish_reason":"\u2028"}]}\n\n'.encode(),
        {},
    ),
    "an end with a number that no float can hold": (
        "anthropic",
        b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"x":1e999}\n\n',
        {},
    ),
    "a list of allowed tools that is none": (
        "openai-responses requests",
        b'{"model":"a","input":"x","tool_choice":{"type":"allowed_tools","tools":true}}',
        {},
    ),
    **{
        f"a number that no float can hold, {number[:9].decode()}, {wire}": (
            f"{wire} usage",
            b'{"input_tokens":1,"prompt_tokens":1,"completion_tokens":%b}' % number,
            {},
        )
        for wire in PROVIDER_WIRES
        for number in (b"1e400", b"1" + b"0" * 400, b"-1.5E+999", b"1" * 310 + b".5")
    },
}


@pytest.mark.parametrize("what", FOUND)
@pytest.mark.parametrize("cut", ["a", "b", "c"])
def test_what_was_found_once_keeps_every_promise(what: str, cut: str) -> None:
    name, data, about = FOUND[what]
    runner.targets()[name].check(Case(what, data, about), random.Random(cut))


def test_a_broken_promise_is_kept_in_few_bytes_and_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Talkative(PROVIDER_WIRES["cohere"].Decoder):  # type: ignore[name-defined,misc]
        def close(self) -> list[object]:
            return [*super().close(), TextDelta("one more")]

    monkeypatch.setattr(PROVIDER_WIRES["cohere"], "Decoder", Talkative)
    found = runner.fuzz(60, 1, tmp_path, only="cohere", most=20)
    (path,) = [path for what, path in found.items() if "followed the end" in what]
    with pytest.raises(Broken, match="something followed the end"):
        runner.replay(path)
    assert len(path.with_suffix(".bytes").read_bytes()) < 100


def test_what_a_provider_told_of_our_key_is_never_in_an_error() -> None:
    with pytest.raises(Broken, match="repeats the key"):
        check_error(ProviderUnavailable(f"wrong key {KEY}", provider="mock"))
