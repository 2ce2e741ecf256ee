"""What hosts say in words where no code tells it: that a prompt is too long, or that there is no stream of an answer.

It never knows which wire or host an error came from, and never decides what follows from it.

An agent that is told so compacts its conversation; one that is not asks the same again for ever. The wordings are those
that the reports of pi, opencode, OpenClaw, SGLang, vLLM and LiteLLM quote (to 2026-11). Those of hosts that do not
stream are quoted in reports to gh-models, crush, LiteLLM, azure-openai-proxy, chat-ui and pi (2023-06 to 2026-04).
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


_STREAM = r"(?<!non)(?<!non[- ])\bstream(?:ing|ed|able)?(?:\b|(?=_not_))"  # not `stream_options`, nor non-streaming
_NOT = r"(?:not|n['’]t|never|cannot)"
_DO = r"(?:support|allow|permit|accept|offer|available|possible|enabled|implement|used)"

# Each: what is said, in lower case, and who says it. `other`: wordings that are likely, and were not met.
_NO_STREAM = (
    (rf"when {_STREAM}\W{{0,3}}(?:=|is|:)\W{{0,3}}true", "OpenAI (formats of audio)"),
    (r"must be verified to stream", "OpenAI (organisations that are not verified)"),
    (rf"{_STREAM}\W{{0,3}}does not support true", "OpenAI, Azure, GitHub Models"),
    (rf"{_NOT} (?:\w+ ){{0,2}}?{_DO}[^.;]{{0,60}}?{_STREAM}", "Bedrock (tools in streaming mode), Xinference"),
    (rf"{_STREAM}[^.;]{{0,60}}?(?:\b|_){_NOT}(?: be)?(?: \w+){{0,2}}?[ _]{_DO}",
     "Text Generation Inference, azure-openai-proxy, gateways"),
    (rf"\b(?:unsupported|unavailable)\b[^.;]{{0,40}}{_STREAM}"
     rf"|{_STREAM}\W{{0,3}}(?:\w+ ){{0,3}}?(?:unsupported|unavailable|disabled|invalid|forbidden)",
     "Bedrock, GitHub Models"),
    (rf"{_STREAM}[^.;]{{0,40}}?\b(?:must|should|has to|needs to|can only) be\W{{1,3}}(?:set to |only )?"
     r"\W{0,3}(?:false|off|disabled)", "gateways"),
    (rf"\b(?:set|setting|use|pass|with|try)\W{{1,3}}{_STREAM}\W{{0,3}}(?:=|:|to|as)?\W{{0,3}}false", "other"),
    (rf"\b(?:disable|remove|turn off|without) \W{{0,3}}{_STREAM}", "azure-openai-proxy"),
    (rf"(?:cannot|can['’]t|can not|unable to|may not) (?:be )?(?:use|combine|mix)?[^.;]{{0,40}}{_STREAM}", "llama.cpp"),
    (rf"{_NOT} {_STREAM}", "other"),
    (r"\bonly\b[^.;]{0,60}\bnon-?\s?stream", "other"),
    (r"不(?:支持|允许|能)[^。.]{0,12}(?:流式|stream(?!_))|流式[^。.]{0,12}不(?:支持|可用|允许)", "other"),
)  # fmt: skip
_IS_NO_STREAM = re.compile("|".join(pattern for pattern, _ in _NO_STREAM))


def says_no_stream(message: str) -> bool:
    """Whether an error says that the same can be had without a stream only. `message`: as the provider has it.

    Callers can have words repeated, so what this leads to must do no harm where it is wrong.
    """
    return _IS_NO_STREAM.search(message[:4000].lower()) is not None
