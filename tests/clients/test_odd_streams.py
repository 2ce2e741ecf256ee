"""Every byte case of every wire, read by real client libraries through a gateway: none breaks, each sees the same.

Libraries that cannot read a case even of the API's own provider stand with it in `BEYOND`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anthropic
import ollama
import openai
import pytest
from anthropic import AsyncAnthropic
from google import genai
from odd_streams import ODD, Odd, Seen, odd_gateway
from openai import AsyncOpenAI

# The first of these tests may install the packages.
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(120)]

QUESTION = [{"role": "user", "content": "Hi"}]
PICTURES = (
    "gemini/image_out",
    "gemini/modalities",
    "openai-chat/audio_and_images",
    "openai-chat/images_as_addresses",
    "openai-responses/image",
)
# (case, how the reader's name begins): why it cannot.
BEYOND = {
    ("openai-chat/custom_tool_call", "openai"): "its helper knows functions only",
    ("openai-chat/custom_tool_call", "ai "): "it knows functions only",
    ("openai-chat/custom_tool_call", "langchain"): "it knows functions only",
    ("openai-chat/custom_tool_call", "anthropic"): "clients of this API cannot ask for a call with free text",
    ("openai-chat/custom_tool_call", "responses"): "nobody has asked for a call with free text",
    ("openai-chat/custom_tool_call", "genai"): "clients of this API cannot ask for a call with free text",
    ("openai-chat/custom_tool_call", "ollama"): "clients of this API cannot ask for a call with free text",
    ("gemini/code_execution", "genai"): "it shows code and what came of it apart from text",
    ("gemini/modalities", "genai"): "it refuses modalities that are numbers",
    ("gemini/other_shape", "genai"): "it warns of kinds of tools that are new to it",
    ("gemini/pieces_of_a_call", "genai"): "it shows each piece of a call, as who asks for pieces wants",
    ("openai-responses/unknown_events", "responses openai"): "it refuses events that are new to it",
    ("openai-responses/tool_custom", "responses ai"): "it shows the input of a custom tool as it is",
    ("openai-responses/web_search", "responses ai"): "it shows calls of the provider's own tools",
    **{(case, "responses ai"): "it shows a picture as what a tool of the provider made" for case in PICTURES},
    ("anthropic/json_by_tool", "anthropic"): "nobody asks for JSON so who has the frames as they came",
    ("anthropic/json_by_tool", "ai anthropic"): "nobody asks for JSON so who has the frames as they came",
    ("anthropic/compaction", "ai anthropic"): "it shows the summary as text",
    ("anthropic/pause_turn", "ai anthropic"): "it shows calls of the provider's own tools",
    ("anthropic/pings_and_comments", "ai anthropic"): "it refuses blocks of kinds that are new to it",
    ("anthropic/tool_prefilled", "ai anthropic"): "it refuses calls that a message begins with",
    ("anthropic/wrong_types", "ai anthropic"): "it refuses citations that are no list",
    ("anthropic/wrong_types", "anthropic"): "it adds to citations that are no list",
}


def wanted(odd: Odd, reader: str) -> Seen:
    """What this reader should see: the APIs differ in what they have a place for."""
    seen, messages = odd.seen, "anthropic" in reader
    other = messages or reader.startswith(("responses", "genai", "ollama"))  # another API than the chat's
    text = seen.text + (seen.refusal if other or reader.startswith("ai ") else "")
    calls, finish = seen.calls, seen.finish
    if finish == "function_call" and not reader.startswith(("openai", "langchain")):
        finish = "tool_calls"
        calls = seen.calls_of_old if other else ()
    if seen.refusal and reader.startswith("ai ") and not messages:
        finish = "content_filter"
    if finish == "length" and reader.startswith(
        ("anthropic", "ai anthropic whole", "langchain loop", "genai", "ollama")
    ):
        calls = tuple((name, arguments if _is_json(arguments) else "{}") for name, arguments in calls)
    return Seen(text, calls, finish, seen.failed)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def differs(odd: Odd, reader: str, found: dict[str, Any]) -> str:
    """In words, how what a library saw differs from what it should; "" if it does not."""
    want = wanted(odd, reader)
    if "broke" in found:
        return f"the library broke: {found['broke']}"
    if want.failed != ("failed" in found):
        return f"failed: {found.get('failed', 'not')}"
    if want.failed:
        return ""
    said = (found["text"], normal(found["calls"]))
    ends = found["finish"] in (want.finish, "") or reader.startswith("responses")
    return "" if said == (want.text, normal(want.calls)) and ends else f"{found} and not {want}"


def normal(calls: Any) -> list[tuple[str, Any]]:
    return [(name, json.loads(said or "{}") if _is_json(said or "{}") else said) for name, said in calls]


def single(odd: Odd) -> bool:
    """Whether there is one choice: most libraries show several as one."""
    return odd.name not in ("role_missing", "two_candidates", "end_of_two_choices") and "choices" not in odd.name


def unread(reader: str, odd: Odd) -> bool:
    return any(odd.id == case and reader.startswith(begins) for case, begins in BEYOND)


# ---- Python


async def openai_loop(client: Any, model: str) -> dict[str, Any]:
    """The loop of the README, and of every program that is like it."""
    text, finish, calls = "", "", {}
    async for chunk in await client.chat.completions.create(model=model, messages=QUESTION, stream=True):
        choice = chunk.choices[0]
        text += choice.delta.content or ""
        finish = choice.finish_reason or finish
        for call in choice.delta.tool_calls or ():
            known = calls.setdefault(call.index, ["", ""])
            known[0] += (call.function and call.function.name) or ""
            known[1] += (call.function and call.function.arguments) or ""
    return {"text": text, "calls": list(calls.values()), "finish": finish}


def of_choice(choice: Any) -> dict[str, Any]:
    calls = [call.function for call in choice.message.tool_calls or () if call.type == "function"]
    found = [(function.name, function.arguments) for function in calls]
    return {"text": choice.message.content or "", "calls": found, "finish": choice.finish_reason}


async def openai_helper(client: Any, model: str) -> dict[str, Any]:
    async with client.chat.completions.stream(model=model, messages=QUESTION) as stream:
        async for _ in stream:
            pass
        return of_choice((await stream.get_final_completion()).choices[0])


async def openai_whole(client: Any, model: str) -> dict[str, Any]:
    return of_choice((await client.chat.completions.create(model=model, messages=QUESTION)).choices[0])


ENDS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}


def of_message(message: Any) -> dict[str, Any]:
    calls = [(block.name, json.dumps(block.input)) for block in message.content if block.type == "tool_use"]
    text = "".join(block.text for block in message.content if block.type == "text")
    return {"text": text, "calls": calls, "finish": ENDS.get(message.stop_reason, message.stop_reason)}


async def anthropic_helper(client: Any, model: str) -> dict[str, Any]:
    async with client.messages.stream(model=model, messages=QUESTION, max_tokens=99) as stream:
        async for _ in stream:
            pass
        return of_message(await stream.get_final_message())


async def anthropic_whole(client: Any, model: str) -> dict[str, Any]:
    return of_message(await client.messages.create(model=model, messages=QUESTION, max_tokens=99))


def of_response(response: Any) -> dict[str, Any]:
    if response.status == "failed":
        return {"failed": response.error.message}
    calls = [(item.name, item.arguments) for item in response.output if item.type == "function_call"]
    custom = [item for item in response.output if item.type == "custom_tool_call"]
    calls += [(item.name, json.dumps({"input": item.input})) for item in custom]
    parts = [part for item in response.output if item.type == "message" for part in item.content]
    text = "".join(part.text if part.type == "output_text" else part.refusal for part in parts)
    return {"text": text, "calls": calls, "finish": ""}


async def responses_helper(client: Any, model: str) -> dict[str, Any]:
    async with client.responses.stream(model=model, input="Hi") as stream:
        events = [event async for event in stream]
    assert events[-1].type in ("response.completed", "response.incomplete", "response.failed")
    return of_response(events[-1].response)


async def responses_whole(client: Any, model: str) -> dict[str, Any]:
    return of_response(await client.responses.create(model=model, input="Hi"))


FINISHES = {"STOP": "stop", "MAX_TOKENS": "length"}


def of_candidate(parts: list[Any], finish: Any) -> dict[str, Any]:
    text = "".join(part.text or "" for part in parts if not part.thought)
    calls = [
        (part.function_call.name, json.dumps(part.function_call.args or {})) for part in parts if part.function_call
    ]
    reason = FINISHES.get(finish.value if finish else "", "content_filter")
    return {"text": text, "calls": calls, "finish": "tool_calls" if calls and reason == "stop" else reason}


async def genai_loop(client: Any, model: str) -> dict[str, Any]:
    parts, finish = [], None
    async for chunk in await client.models.generate_content_stream(model=model, contents="Hi"):
        _ = chunk.text, chunk.function_calls
        for candidate in chunk.candidates or ():
            parts += (candidate.content and candidate.content.parts) or ()
            finish = candidate.finish_reason or finish
    return of_candidate(parts, finish)


async def genai_whole(client: Any, model: str) -> dict[str, Any]:
    answer = await client.models.generate_content(model=model, contents="Hi")
    candidate = answer.candidates[0] if answer.candidates else None  # none where the prompt was blocked
    content = candidate and candidate.content
    return of_candidate((content and content.parts) or [], candidate and candidate.finish_reason)


def of_lines(lines: list[Any]) -> dict[str, Any]:
    text = "".join(line.message.content or "" for line in lines)
    functions = [call.function for line in lines for call in line.message.tool_calls or ()]
    calls = [(function.name, json.dumps(function.arguments)) for function in functions]
    assert [line.done for line in lines] == [*[False] * (len(lines) - 1), True]
    reason = lines[-1].done_reason
    return {"text": text, "calls": calls, "finish": "tool_calls" if calls and reason == "stop" else reason}


async def ollama_loop(client: Any, model: str) -> dict[str, Any]:
    return of_lines([line async for line in await client.chat(model=model, messages=QUESTION, stream=True)])


async def ollama_whole(client: Any, model: str) -> dict[str, Any]:
    return of_lines([await client.chat(model=model, messages=QUESTION)])


PYTHON: dict[str, Callable[[Any, str], Awaitable[dict[str, Any]]]] = {
    "openai loop": openai_loop,
    "openai helper": openai_helper,
    "openai whole": openai_whole,
    "anthropic helper": anthropic_helper,
    "anthropic whole": anthropic_whole,
    "responses helper": responses_helper,
    "responses whole": responses_whole,
    "genai loop": genai_loop,
    "genai whole": genai_whole,
    "ollama loop": ollama_loop,
    "ollama whole": ollama_whole,
}


@contextlib.asynccontextmanager
async def client_of(reader: str, url: str) -> AsyncIterator[Any]:
    """The library that this reader is of."""
    if reader.startswith("genai"):
        library = genai.Client(api_key="sk-any", http_options={"base_url": url})
        async with library.aio as client:
            yield client
        library.close()
    elif reader.startswith("ollama"):
        async with ollama.AsyncClient(host=url) as client:
            yield client
    else:
        of, base = (AsyncAnthropic, url) if reader.startswith("anthropic") else (AsyncOpenAI, f"{url}/v1")
        async with of(base_url=base, api_key="sk-any", max_retries=0) as client:
            yield client


async def read(reader: str, client: Any, odd: Odd) -> dict[str, Any]:
    try:
        return await PYTHON[reader](client, odd.model)
    except (openai.APIError, anthropic.APIError, genai.errors.APIError, ollama.ResponseError) as error:
        return {"failed": str(error)}
    except (openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError):
        return {}  # how this helper tells that an answer has ended otherwise than well
    except Exception as error:
        return {"broke": repr(error)}


@pytest.mark.parametrize("reader", PYTHON)
async def test_library_reads_every_odd_stream(reader: str) -> None:
    wrong = {}
    async with odd_gateway() as running, client_of(reader, running.url) as client:
        for odd in ODD.values():
            if unread(reader, odd) or not single(odd):
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # what a library says of fields of other types than it knows
                found = await read(reader, client, odd)
            if found and (difference := differs(odd, reader, found)):
                wrong[odd.id] = difference
    assert wrong == {}


# ---- JavaScript

JAVASCRIPT = [
    "openai loop",
    "openai helper",
    "openai whole",
    "ai openai",
    "ai openai whole",
    "ai openai-compatible",
    "ai openai-compatible whole",
    "ai anthropic",
    "ai anthropic whole",
    "responses openai",
    "responses openai whole",
    "responses ai",
    "responses ai whole",
    "langchain loop",
    "langchain whole",
]


@pytest.mark.parametrize("reader", JAVASCRIPT)
async def test_javascript_library_reads_every_odd_stream(reader: str, node: str, packages: Any) -> None:
    cases = {odd.model: odd for odd in ODD.values() if single(odd) and not unread(reader, odd)}
    async with odd_gateway() as running:
        pipe = asyncio.subprocess.PIPE
        command = (node, str(packages / "odd-streams.mjs"), f"{running.url}/v1", reader)
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
        try:
            async with asyncio.timeout(90):
                output, errors = await process.communicate(json.dumps([*cases]).encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0, errors.decode()
    found = [json.loads(line) for line in output.decode().rstrip("\n").split("\n")]
    assert [one["model"] for one in found] == [*cases]
    said = ((cases[one["model"]], one) for one in found)
    assert {odd.id: difference for odd, one in said if (difference := differs(odd, reader, one))} == {}
