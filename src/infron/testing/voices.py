"""The wires that a scripted provider can speak; `speak` gives the voice of one.

It never knows what any of them says.
"""

from __future__ import annotations

from infron.testing.anthropic import AnthropicVoice
from infron.testing.bedrock import BedrockVoice
from infron.testing.cloudflare import CloudflareVoice
from infron.testing.cohere import CohereVoice
from infron.testing.gemini import GeminiVoice
from infron.testing.openai_chat import OpenAIVoice
from infron.testing.openai_responses import ResponsesVoice
from infron.testing.replicate import ReplicateVoice
from infron.testing.scripts import Voice

_VOICES: tuple[type[Voice], ...] = (
    OpenAIVoice,
    AnthropicVoice,
    GeminiVoice,
    BedrockVoice,
    CohereVoice,
    CloudflareVoice,
    ReplicateVoice,
    ResponsesVoice,
)
SCRIPTS: dict[str, type[Voice]] = {voice.wire: voice for voice in _VOICES}


def speak(wire: str) -> Voice:
    """A voice for this wire. Raises ValueError with the wires that there are."""
    if wire not in SCRIPTS:
        raise ValueError(f"no wire {wire!r}; there are {', '.join(SCRIPTS)}")
    return SCRIPTS[wire]()
