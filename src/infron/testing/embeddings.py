"""What hosts answer that embed: the same vectors in the form of each API.

It never uses a decoder, so that what is said here can prove what is understood there; and it never sends anything.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from infron.testing.scripts import Answer, Call, Script, json_answer

Vector = Sequence[float]


def bytes_of(vector: Vector) -> str:
    """Its float32 in base64."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _openai(vectors: Sequence[Vector], prompt: int | None, call: Call) -> Answer:
    """As it was asked for: numbers, or base64."""
    form = bytes_of if call.json.get("encoding_format") == "base64" else list
    data = [{"object": "embedding", "index": place, "embedding": form(v)} for place, v in enumerate(vectors)]
    usage = {} if prompt is None else {"usage": {"prompt_tokens": prompt, "total_tokens": prompt}}
    return json_answer(200, {"object": "list", "data": data, "model": "upstream-model", **usage})


def _cohere(vectors: Sequence[Vector], prompt: int | None, call: Call) -> Answer:
    meta = {} if prompt is None else {"billed_units": {"input_tokens": prompt}}
    said = {"id": "co-1", "embeddings": {"float": vectors}, "texts": call.json["texts"], "meta": meta}
    return json_answer(200, {**said, "response_type": "embeddings_by_type"})


def _cohere_at_bedrock(vectors: Sequence[Vector], prompt: int | None, call: Call) -> Answer:
    counted = () if prompt is None else (("x-amzn-bedrock-input-token-count", str(prompt)),)
    said = {"id": "co-1", "embeddings": {"float": vectors}, "texts": call.json["texts"]}
    return json_answer(200, {**said, "response_type": "embeddings_by_type"}, *counted)


def _gemini(vectors: Sequence[Vector], prompt: int | None, call: Call) -> Answer:
    usage = {} if prompt is None else {"usageMetadata": {"promptTokenCount": prompt}}
    return json_answer(200, {"embeddings": [{"values": vector} for vector in vectors], **usage})


def _vertex(vectors: Sequence[Vector], prompt: int | None, call: Call) -> Answer:
    def said(place: int, vector: Vector) -> dict[str, Any]:
        count = {} if prompt is None else {"token_count": 0 if place else prompt}
        return {"embeddings": {"values": vector, "statistics": {"truncated": False, **count}}}

    return json_answer(200, {"predictions": [said(place, vector) for place, vector in enumerate(vectors)]})


def _titan(vectors: Sequence[Vector], prompt: int | None, call: Call) -> Answer:
    count = {} if prompt is None else {"inputTextTokenCount": prompt}
    return json_answer(200, {"embedding": vectors[0], "embeddingsByType": {"float": vectors[0]}, **count})


class Host(NamedTuple):
    """`wire`: that of its answers of text, `model`: one that embeds, `path`: where that is asked, below its address.

    `most`: inputs of one request. `inputs`: those of a request that it got. `says`: its answer to that.
    """

    wire: str
    model: str
    path: str
    most: int
    inputs: Callable[[Any], list[str]]
    says: Callable[[Sequence[Vector], int | None, Call], Answer]

    def plays(self, embed: Callable[[str], Vector], prompt: int | None = 7) -> Callable[[Call], Script]:
        """A script that embeds whatever it is sent, and counts so many tokens each time."""
        return lambda call: [self.says([embed(text) for text in self.inputs(call.json)], prompt, call)]


def _listed(given: Any) -> list[str]:
    return [
        item if isinstance(item, str) else json.dumps(item) for item in (given if isinstance(given, list) else [given])
    ]


EMBEDDING_HOSTS: dict[str, Host] = {
    "openai": Host("openai-chat", "text-embedding-3-small", "/embeddings", 2048,
                   lambda body: _listed(body["input"]), _openai),
    "cohere": Host("cohere", "embed-v4.0", "/v2/embed", 96, lambda body: list(body["texts"]), _cohere),
    "gemini": Host("gemini", "gemini-embedding-001", "/models/gemini-embedding-001:batchEmbedContents", 100,
                   lambda body: [one["content"]["parts"][0]["text"] for one in body["requests"]], _gemini),
    "vertex": Host("gemini", "text-embedding-005", "/models/text-embedding-005:predict", 25,
                   lambda body: [one["content"] for one in body["instances"]], _vertex),
    "titan": Host("bedrock", "amazon.titan-embed-text-v2:0", "/model/amazon.titan-embed-text-v2%3A0/invoke", 1,
                  lambda body: [body["inputText"]], _titan),
    "cohere at bedrock": Host("bedrock", "cohere.embed-v4:0", "/model/cohere.embed-v4%3A0/invoke", 96,
                              lambda body: list(body["texts"]), _cohere_at_bedrock),
}  # fmt: skip
