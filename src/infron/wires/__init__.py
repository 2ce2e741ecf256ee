"""The registries: the wires that are spoken to providers, and those that clients speak, by name and by path.

A wire is a module or a package that keeps one side of `contract`, or both.
"""

from __future__ import annotations

from infron.wires import anthropic, bedrock, cloudflare, cohere, gemini, ollama, openrouter, replicate
from infron.wires.bedrock import embeddings as bedrock_embeddings
from infron.wires.cohere import embeddings as cohere_embeddings
from infron.wires.contract import ClientWire, ProviderWire
from infron.wires.gemini import client_embeddings as gemini_client_embeddings
from infron.wires.gemini import embeddings as gemini_embeddings
from infron.wires.gemini import vertex_embeddings
from infron.wires.ollama import embeddings as ollama_embeddings
from infron.wires.openai import chat as openai_chat
from infron.wires.openai import completions as openai_completions
from infron.wires.openai import embeddings as openai_embeddings
from infron.wires.openai import responses as openai_responses

PROVIDER_WIRES: dict[str, ProviderWire] = {
    "openai-chat": openai_chat,
    "openai-responses": openai_responses,
    "openai-completions": openai_completions,
    "openai-embeddings": openai_embeddings,
    "anthropic": anthropic,
    "bedrock": bedrock,
    "bedrock-embeddings": bedrock_embeddings,
    "cloudflare": cloudflare,
    "cohere": cohere,
    "cohere-embeddings": cohere_embeddings,
    "gemini": gemini,
    "gemini-embeddings": gemini_embeddings,
    "vertex-embeddings": vertex_embeddings,
    "replicate": replicate,
}
# A list, for its items are checked against the contract, module by module; those of a tuple are not.
_CLIENTS: list[ClientWire] = [
    openai_chat,
    openai_responses,
    openai_completions,
    openai_embeddings,
    anthropic,
    gemini,
    gemini_client_embeddings,
    ollama,
    ollama_embeddings,
    openrouter,
]
CLIENT_WIRES: dict[str, ClientWire] = {wire.NAME: wire for wire in _CLIENTS}
# Each path below a version stands below `/api` too, but where a wire has that one for itself.
CLIENT_PATHS: dict[bytes, ClientWire] = {
    f"{prefix}{path}".encode(): wire
    for wire in CLIENT_WIRES.values()
    for path in wire.PATHS
    for prefix in (("", "/api") if path.startswith("/v") else ("",))
}
