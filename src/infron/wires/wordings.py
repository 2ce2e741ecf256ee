"""What hosts say in words where no code tells it: that a prompt is longer than what their model reads.

It never knows which wire or host an error came from, and never decides what follows from it.

An agent that is told so compacts its conversation; one that is not asks the same again for ever. The wordings are those
that the reports of pi, opencode, OpenClaw, SGLang, vLLM and LiteLLM quote (to 2026-11).
"""

from __future__ import annotations

import re

_CONTEXT = r"context[ _-](?:length|window|size|limit)"

# Each: what is said, in lower case, and who says it.
_TOO_LONG = (
    (r"\b(?:input|prompt|messages)(?: length)?(?: is| are)? too long", "Anthropic, Bedrock, Fireworks, Ollama"),
    (rf"maximum (?:\w+ ){{0,2}}{_CONTEXT}|maximum model length", "OpenAI, vLLM, DeepSeek, OpenRouter, Mistral"),
    (rf"(?:exceed|(?:longer|greater|larger|more) than|too (?:large|long|many|big))[^.]{{0,120}}?{_CONTEXT}",
     "OpenAI, SGLang, Together, llama.cpp, LM Studio, Cloudflare, Anthropic (with max_tokens)"),
    (rf"{_CONTEXT}[^.]{{0,60}}?(?:exceed|is only|is smaller|too small|overflow)", "MiniMax, LM Studio, llama.cpp"),
    (r"configured context size is", "DS4"),
    (r"\b(?:input|prompt|requested|request)s?\b(?:(?!output|completion)[^.]){0,20}\btokens?\b[^.]{0,60}"
     r"(?:exceed|(?:greater|more|longer|larger) than)", "Gemini, OpenAI, Nova, watsonx, Copilot"),
    (r"\btokens in (?:the |your )?(?:request|prompt|input|messages)[^.]{0,40}(?:exceed|more than)", "Zhipu, Cohere"),
    (r"`?inputs`? tokens \+ `?max_new_tokens|`?inputs`? must have less than", "Text Generation Inference"),
    (r"total (?:number of )?tokens[^.]{0,60}exceed", "Cohere"),
    (r"\b(?:input|prompt|request) length\b[^.]{0,60}(?:exceed|should be \[|must be (?:<|less|at most)|longer|greater)",
     "SGLang, Poolside, Qwen"),
    (r"maximum (?:allowed |number of )?(?:prompt|input) (?:length|tokens)", "xAI, Poolside, Bedrock"),
    (r"exceed\w* (?:the |model |max(?:imum)? )*(?:input )?tokens? limit", "Kimi, Bedrock"),
    (r"reduce the length of (?:the |your )?(?:input )?(?:messages?|prompt|input|either one|conversation)",
     "Groq, Cerebras, OpenRouter"),
    (r"too many (?:input |prompt )?tokens", "Cohere, Bedrock"),
    (r"max(?:imum)? size: [\d,]+ tokens", "GitHub Models"),
    (r"上下文[^。.]{0,20}(?:超长|超出|超过|过长|超限)|(?:提示词?|prompt(?!_))[^。._]{0,12}(?:超长|超出|超过|过长|超限)"
     r"|输入(?:长度|文本|内容|token)?[^图音视。.]{0,12}(?:超长|超出|超过|过长|超限)", "Zhipu, Baidu, Qwen"),
)  # fmt: skip
_IS_TOO_LONG = re.compile("|".join(pattern for pattern, _ in _TOO_LONG))
# Codes for the same, of OpenAI, llama.cpp, Anthropic, GitHub Models and Copilot.
_CODES = re.compile(
    r"context_(?:length|window|size)|tokens_limit_reached|max_prompt_tokens|prompt_too_long|input_too_long"
)
# Too much at once is told in nearly the same words.
_TOO_MUCH_AT_ONCE = re.compile(
    r"rate.?limit|too many requests|\bper (?:second|min|hour|day|month)|\bdaily\b|\bquota|throttl|please wait"
)


def says_too_long(code: str, message: str) -> bool:
    """Whether an error says that the prompt is longer than what the model reads. Both as the provider has them."""
    if _CODES.search(code.lower()):
        return True
    words = message[:2000].lower()
    return _IS_TOO_LONG.search(words) is not None and _TOO_MUCH_AT_ONCE.search(words) is None
