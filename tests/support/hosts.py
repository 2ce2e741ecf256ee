"""What each provider's own host looks for in a request, and how it refuses: from its documentation, not from its row.

An address is that of the model `provider_model(wire)` and of `acme` for every variable of an account.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from infron.testing import Answer, Call

KEY = "test-key-of-the-operator"


def provider_model(wire: str) -> str:
    """A model's id as a provider writes it that is as odd as the wire allows."""
    return {"gemini": "own-id", "replicate": "own/id"}.get(wire, "own/id:1")


Refusal = tuple[int, str]
Body = dict[str, Any]
Rule = Callable[[Body], Refusal | None]


# ---- the shapes of errors


def openai(status: int, message: str) -> Any:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


def detail(status: int, message: str) -> Any:
    return {"detail": message}


def text(status: int, message: str) -> Any:
    return {"error": message}


def mistral(status: int, message: str) -> Any:
    inner = {"detail": [{"type": "extra_forbidden", "loc": ["body"], "msg": message}]}
    return {"object": "error", "message": inner, "type": "invalid_request_error", "param": None, "code": None}


def flat(status: int, message: str) -> Any:
    return {"object": "error", "message": message, "type": "invalid_request_error", "param": None, "code": status}


def xai(status: int, message: str) -> Any:
    return {"code": "Client specified an invalid argument", "error": message}


def novita(status: int, message: str) -> Any:
    return {"code": status, "reason": "INVALID_REQUEST", "message": message, "metadata": {}}


def cloudflare(status: int, message: str) -> Any:
    return {"success": False, "errors": [{"code": 5006, "message": message}], "result": None, "messages": []}


def anthropic(status: int, message: str) -> Any:
    return {"type": "error", "error": {"type": "invalid_request_error", "message": message}, "request_id": "req_1"}


def google(status: int, message: str) -> Any:
    return {"error": {"code": status, "message": message, "status": "INVALID_ARGUMENT"}}


def plain(status: int, message: str) -> Any:
    return {"message": message}


def problem(status: int, message: str) -> Any:
    return {"title": "Invalid request", "detail": message, "status": status}


def inflection(status: int, message: str) -> Any:
    return {"error": status, "message": message}


# ---- what is refused


def only(names: str, status: int = 422) -> Rule:
    """Root fields that it does not know."""
    known = set(names.split())

    def rule(body: Body) -> Refusal | None:
        unknown = sorted(body.keys() - known)
        return (status, f"Extra inputs are not permitted: {unknown}") if unknown else None

    return rule


def without(names: str, status: int = 400) -> Rule:
    refused = set(names.split())

    def rule(body: Body) -> Refusal | None:
        found = sorted(body.keys() & refused)
        return (status, f"not supported: {found}") if found else None

    return rule


def needs(names: str, status: int = 400) -> Rule:
    wanted = set(names.split())

    def rule(body: Body) -> Refusal | None:
        missing = sorted(wanted - body.keys())
        return (status, f"missing: {missing}") if missing else None

    return rule


def messages_with(status: int = 422, **known: str) -> Rule:
    """Messages of the roles that are named, with the fields that are named."""

    def rule(body: Body) -> Refusal | None:
        for place, message in enumerate(body["messages"]):
            role = message["role"]
            if role not in known:
                return status, f"messages[{place}]: no such role: {role}"
            unknown = sorted(message.keys() - set(known[role].split()) - {"role", "content"})
            if unknown:
                return status, f"messages[{place}].{role}: Extra inputs are not permitted: {unknown}"
        return None

    return rule


def no_developer(body: Body) -> Refusal | None:
    roles = [message["role"] for message in body["messages"]]
    return (422, "unknown variant `developer`") if "developer" in roles else None


def messages_without(names: str, status: int = 400) -> Rule:
    """Fields of messages, or of parts of their content."""
    refused = set(names.split())

    def rule(body: Body) -> Refusal | None:
        for message in body["messages"]:
            parts = message.get("content")
            for each in [message, *(parts if isinstance(parts, list) else [])]:
                if found := sorted(each.keys() & refused):
                    return status, f"Extra inputs are not permitted, field: {found}"
        return None

    return rule


def no_strict_tools(body: Body) -> Refusal | None:
    strict = any("strict" in tool["function"] for tool in body.get("tools", []))
    return (400, "Extra inputs are not permitted, field: tools[0].function.strict") if strict else None


def strings(body: Body) -> Refusal | None:
    """Content that is text must be a string."""
    for message in body["messages"]:
        content = message.get("content")
        if content is None or (isinstance(content, list) and all(part["type"] == "text" for part in content)):
            return 400, "messages: content must be a string"
    return None


def short_ids(body: Body) -> Refusal | None:
    for message in body["messages"]:
        for id in (message.get("tool_call_id"), *(call["id"] for call in message.get("tool_calls") or [])):
            if id is not None and not (len(id) == 9 and id.isascii() and id.isalnum()):
                return 422, "Tool call id has to be a-z, A-Z, 0-9, with a length of 9."
    return None


def whole_with(name: str, status: int = 422) -> Rule:
    def rule(body: Body) -> Refusal | None:
        return (status, f"streaming is not supported with {name}") if body.get(name) and body["stream"] else None

    return rule


def integer_logprobs(body: Body) -> Refusal | None:
    wrong = "top_logprobs" in body or not isinstance(body.get("logprobs", 0), int) or body.get("logprobs") is True
    return (400, "logprobs: expected an integer") if wrong else None


# ---- the hosts


class Host(NamedTuple):
    """`env`: where its key is usually kept. `model`: whether the body names it. `leaves_out`: not to be asked there.

    `tool_turns`: whether calls and their results may stand in the history.
    """

    url: str
    env: str
    error: Callable[[int, str], Any] = openai
    rules: tuple[Rule, ...] = (no_developer,)
    header: str = "authorization"
    scheme: str = "Bearer"
    headers: tuple[tuple[str, str], ...] = ()
    model: bool = True
    bad_key: int = 401
    leaves_out: tuple[str, ...] = ()
    tool_turns: bool = True

    @property
    def target(self) -> str:
        parts = urlsplit(self.url)
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def refusal(self, call: Call) -> Answer | None:
        """Its answer to a request that it does not take; None where it does."""
        found = self._judged(call)
        if found is None:
            return None
        body = json.dumps(self.error(*found)).encode()
        return Answer(found[0], (("content-type", "application/json"),), body)

    def _judged(self, call: Call) -> Refusal | None:
        if (call.method, call.path) != ("POST", self.target):
            return 404, f"there is nothing at {call.method} {call.path}"
        if call.headers.get(self.header) != f"{self.scheme} {KEY}".strip():
            return self.bad_key, "this is no valid key"
        if call.headers.get("content-type") != "application/json":
            return 400, "the body is no JSON"
        for name, value in self.headers:
            if call.headers.get(name) != value:
                return 400, f"the header {name} is missing"
        body = call.json
        if self.model and body.get("model") != "own/id:1":
            return 404, f"there is no model {body.get('model')!r}"
        return next((found for rule in self.rules if (found := rule(body))), None)


MISTRAL = only(
    "model messages stream temperature top_p max_tokens stop random_seed n presence_penalty frequency_penalty"
    " response_format tools tool_choice parallel_tool_calls prediction safe_prompt prompt_mode prompt_cache_key"
    " reasoning_effort metadata"
)
MISTRAL_MESSAGES = messages_with(system="", user="", assistant="tool_calls prefix", tool="tool_call_id name")
GROQ_MESSAGES = messages_with(
    400, system="", user="", assistant="reasoning tool_calls function_call", tool="tool_call_id"
)
MODERN = (needs("max_completion_tokens"), without("max_tokens"))
FIREWORKS = (no_developer, messages_without("cache_control provider_specific_fields"), no_strict_tools)
ANTHROPIC = (
    needs("max_tokens messages"),
    only(
        "model messages system max_tokens stream stop_sequences temperature top_p top_k tools tool_choice thinking"
        " metadata service_tier output_config cache_control",
        400,
    ),
)
GEMINI = (
    needs("contents"),
    only("contents systemInstruction generationConfig tools toolConfig safetySettings cachedContent labels", 400),
)
CLOUDFLARE = "https://api.cloudflare.com/client/v4/accounts/acme/ai"
OWN = "own%2Fid%3A1"

HOSTS: dict[str, Host] = {
    # The page's first list.
    "openai": Host("https://api.openai.com/v1/chat/completions", "OPENAI_API_KEY", rules=MODERN),
    "azure": Host("https://acme.openai.azure.com/openai/v1/chat/completions", "AZURE_OPENAI_API_KEY", rules=MODERN,
                  header="api-key", scheme=""),
    "anthropic": Host("https://api.anthropic.com/v1/messages", "ANTHROPIC_API_KEY", anthropic, ANTHROPIC,
                      "x-api-key", "", (("anthropic-version", "2023-06-01"),)),
    "fireworks": Host("https://api.fireworks.ai/inference/v1/chat/completions", "FIREWORKS_API_KEY", rules=FIREWORKS),
    "mancer": Host("https://neuro.mancer.tech/oai/v1/chat/completions", "MANCER_API_KEY"),
    "novita": Host("https://api.novita.ai/openai/v1/chat/completions", "NOVITA_API_KEY", novita),
    "deepinfra": Host("https://api.deepinfra.com/v1/openai/chat/completions", "DEEPINFRA_API_KEY", detail),
    "together": Host("https://api.together.xyz/v1/chat/completions", "TOGETHER_API_KEY",
                     rules=(no_developer, integer_logprobs)),
    "cohere": Host("https://api.cohere.com/v2/chat", "COHERE_API_KEY", plain, (needs("messages"), without(
        "n logit_bias user store top_logprobs max_completion_tokens top_p stop stream_options"))),
    "hyperbolic": Host("https://api.hyperbolic.xyz/v1/chat/completions", "HYPERBOLIC_API_KEY"),
    "infermatic": Host("https://api.totalgpt.ai/v1/chat/completions", "INFERMATIC_API_KEY"),
    "avian": Host("https://api.avian.io/v1/chat/completions", "AVIAN_API_KEY"),
    "xai": Host("https://api.x.ai/v1/chat/completions", "XAI_API_KEY", xai,
                (messages_without("name"), no_strict_tools), bad_key=400),
    "cloudflare": Host(f"{CLOUDFLARE}/v1/chat/completions", "CLOUDFLARE_API_TOKEN", cloudflare,
                       (no_developer, strings, needs("max_tokens"))),
    "liquid": Host("https://api.liquid.ai/v1/chat/completions", "LIQUID_API_KEY", rules=(without("top_p"),)),
    "friendli": Host("https://api.friendli.ai/serverless/v1/chat/completions", "FRIENDLI_TOKEN", detail),
    "chutes": Host("https://llm.chutes.ai/v1/chat/completions", "CHUTES_API_KEY", detail),
    "deepseek": Host("https://api.deepseek.com/chat/completions", "DEEPSEEK_API_KEY"),
    # The second.
    "amazon-bedrock": Host(f"https://bedrock-runtime.acme.amazonaws.com/model/{OWN}/converse-stream",
                           "AWS_BEARER_TOKEN_BEDROCK", plain, (needs("messages"), without("model stream")),
                           model=False),
    "groq": Host("https://api.groq.com/openai/v1/chat/completions", "GROQ_API_KEY",
                 rules=(GROQ_MESSAGES, without("logprobs top_logprobs logit_bias"), strings)),
    "modal": Host("https://inference.us-west.modal.direct/v1/chat/completions", "MODAL_PROXY_TOKEN"),
    "google-vertex": Host("https://acme-aiplatform.googleapis.com/v1/projects/acme/locations/acme/publishers/google/"
                          "models/own-id:streamGenerateContent?alt=sse", "GOOGLE_OAUTH_ACCESS_TOKEN", google, GEMINI,
                          model=False),
    "google-ai-studio": Host("https://generativelanguage.googleapis.com/v1beta/models/own-id"
                             ":streamGenerateContent?alt=sse", "GEMINI_API_KEY", google, GEMINI,
                             "x-goog-api-key", "", model=False),
    "minimax": Host("https://api.minimax.io/v1/chat/completions", "MINIMAX_API_KEY"),
    "huggingface": Host("https://router.huggingface.co/v1/chat/completions", "HF_TOKEN", text),
    "replicate": Host("https://api.replicate.com/v1/models/own/id/predictions", "REPLICATE_API_TOKEN", problem,
                      (needs("input", 422),), model=False, leaves_out=("tools",), tool_turns=False),
    "perplexity": Host("https://api.perplexity.ai/chat/completions", "PERPLEXITY_API_KEY"),
    "mistral": Host("https://api.mistral.ai/v1/chat/completions", "MISTRAL_API_KEY", mistral,
                    (MISTRAL, MISTRAL_MESSAGES, short_ids)),
    "ai21": Host("https://api.ai21.com/studio/v1/chat/completions", "AI21_API_KEY", detail,
                 (no_developer, whole_with("tools")), leaves_out=("tools",)),
    "featherless": Host("https://api.featherless.ai/v1/chat/completions", "FEATHERLESS_API_KEY"),
    "lambda": Host("https://api.lambda.ai/v1/chat/completions", "LAMBDA_API_KEY"),
    "sambanova": Host("https://api.sambanova.ai/v1/chat/completions", "SAMBANOVA_API_KEY"),
    "inflection": Host("https://gateway.inf7cw9.com/external/api/inference/openai/v1/chat/completions",
                       "INFLECTION_API_KEY", inflection),
    "zero-one-ai": Host("https://api.lingyiwanwu.com/v1/chat/completions", "YI_API_KEY", flat),
    "aion-labs": Host("https://api.aionlabs.ai/v1/chat/completions", "AIONLABS_API_KEY"),
    "alibaba": Host("https://dashscope-intl.aliyuncs.com/compatible-mode/v1/chat/completions", "DASHSCOPE_API_KEY"),
    "nebius": Host("https://api.tokenfactory.nebius.com/v1/chat/completions", "NEBIUS_API_KEY", detail),
    "targon": Host("https://api.targon.com/v1/chat/completions", "TARGON_API_KEY"),
    "inference-net": Host("https://api.inference.net/v1/chat/completions", "INFERENCE_API_KEY"),
    # On neither.
    "azure-classic": Host(f"https://acme.openai.azure.com/openai/deployments/{OWN}/chat/completions?api-version=acme",
                          "AZURE_OPENAI_API_KEY", rules=MODERN, header="api-key", scheme=""),
    "cloudflare-run": Host(f"{CLOUDFLARE}/run/own/id%3A1", "CLOUDFLARE_API_TOKEN", cloudflare,
                           (no_developer, strings, needs("max_tokens"),
                            without("model stream_options logprobs x_vendor")), model=False),
    "openrouter": Host("https://openrouter.ai/api/v1/chat/completions", "OPENROUTER_API_KEY", rules=()),
    "moonshotai": Host("https://api.moonshot.ai/v1/chat/completions", "MOONSHOT_API_KEY"),
    "zai": Host("https://api.z.ai/api/paas/v4/chat/completions", "ZHIPU_API_KEY"),
    "cerebras": Host("https://api.cerebras.ai/v1/chat/completions", "CEREBRAS_API_KEY"),
}  # fmt: skip
