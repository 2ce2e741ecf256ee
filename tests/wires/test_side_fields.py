"""A field beside what is said, of a type that it never has, loses nothing of an answer."""

from __future__ import annotations

import pytest

from infron.catalog.definitions import Provider
from infron.events import Failed, Finished, TextDelta
from infron.wires import PROVIDER_WIRES

WRONG = ['"x"', "1", "-1.5", "true", "null", "[]", '[1, "x"]', "{}", '{"a": {}}', "1" + 30 * "0"]

MESSAGE = '{"type":"message","id":"m","role":"assistant","status":"completed","content":[{"type":"output_text","text":"Hi","annotations":[]}]}'  # noqa: E501
# Wire, and a whole answer; the field is at @.
ANSWERS = {
    "openai-chat": [
        '{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":@}',
        '{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop","logprobs":@}]}',
        '{"id":@,"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}',
    ],
    "anthropic": [
        '{"type":"message","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","usage":@}',
        '{"type":"message","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn",'
        '"usage":{"input_tokens":@,"cache_creation":@,"iterations":@,"service_tier":@}}',
        '{"type":"message","content":[{"type":"text","text":"Hi","citations":@}],"stop_reason":"end_turn"}',
    ],
    "bedrock": [
        '{"output":{"message":{"role":"assistant","content":[{"text":"Hi"}]}},"stopReason":"end_turn",'
        '"usage":@,"metrics":@,"trace":@}',
    ],
    "cohere": [
        '{"message":{"content":[{"type":"text","text":"Hi"}],"citations":@},"finish_reason":"COMPLETE"}',
        '{"message":{"content":[{"type":"text","text":"Hi"}]},"finish_reason":"COMPLETE","usage":@,"id":@}',
    ],
    "gemini": [
        '{"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"STOP"}],"usageMetadata":@}',
        '{"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"STOP","groundingMetadata":@}],'
        '"usageMetadata":{"promptTokenCount":@,"promptTokensDetails":@,"trafficType":@},"modelVersion":@}',
    ],
    "openai-responses": [
        f'{{"object":@,"status":"completed","output":[{MESSAGE}]}}',
        f'{{"object":"response","status":"completed","output":[{MESSAGE}],"usage":@,"id":@,"service_tier":@}}',
    ],
    "replicate": [
        '{"id":"p","status":"succeeded","output":"Hi","urls":@,"metrics":@}',
    ],
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(("wire", "answer"), [(wire, answer) for wire, all in ANSWERS.items() for answer in all])
def test_field_of_a_wrong_type_beside_an_answer_loses_nothing_of_it(wire: str, answer: str, wrong: str) -> None:
    """Counts of Gemini that were no object, citations of Cohere that were no list, failed the whole answer."""
    provider = Provider(id="host", name="Host", base_url="https://host.test", wire=wire)
    decoder = PROVIDER_WIRES[wire].Decoder(provider, 1 << 20, "", False)
    events = decoder.whole(answer.replace("@", wrong).encode())
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Hi"
    assert [event.reason for event in events if isinstance(event, Finished) and not event.told] == ["stop"]
    assert not any(isinstance(event, Failed) for event in events)
