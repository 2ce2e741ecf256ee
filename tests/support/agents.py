"""One agent's session in each client API: questions, answers given back as the library gave them, results of tools.

It never knows which provider answers. What the libraries make of an answer goes into the next request unchanged.
"""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from openai.lib.streaming.chat import ChatCompletionStreamState

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n...").decode()
DATA_URI = f"data:image/jpeg;base64,{PNG}"  # mislabelled, as agents do it
SCHEMA = '{"$ref": "#/x", "$defs": {}}'
OPEN = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a"]}
EITHER = {"anyOf": [OPEN, {"type": "object", "properties": {"c": {"type": "string"}}}]}
LONG = "mcp__plugin_office_suite_connector__batch_modify_message_labels_now"  # 67 characters
TOOLS = {"srv/files.read": EITHER, LONG: OPEN}  # the second one is strict


class Called(NamedTuple):
    id: str
    name: str


class Agent:
    """`turns`: what was said, in the API's own form."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.turns: list[Any] = []

    def ask(self, text: str) -> None:
        raise NotImplementedError

    async def answer(self, model: str, stream: bool) -> list[Called]:
        """Ask the model with all that was said; its answer is said too. The calls in it."""
        raise NotImplementedError

    def results(self, calls: list[Called]) -> None:
        """Say them: the first one with an image, the second one failed, further ones are JSON Schemas."""
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


class ChatAgent(Agent):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client = AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)
        self.turns = [{"role": "system", "content": "Be brief."}]

    def ask(self, text: str) -> None:
        self.turns.append({"role": "user", "content": text})

    async def answer(self, model: str, stream: bool) -> list[Called]:
        functions = [{"name": name, "parameters": schema, "strict": schema is OPEN} for name, schema in TOOLS.items()]
        tools: Any = [{"type": "function", "function": function} for function in functions]
        if stream:
            message = await self._streamed(model, tools)
        else:
            answer = await self.client.chat.completions.create(model=model, messages=self.turns, tools=tools)
            message = answer.choices[0].message.model_dump()
        self.turns.append(message)
        return [Called(call["id"], call["function"]["name"]) for call in message.get("tool_calls") or ()]

    async def _streamed(self, model: str, tools: Any) -> dict[str, Any]:
        """Put together as the library does it in its own helper."""
        state: Any = ChatCompletionStreamState()
        async for chunk in await self.client.chat.completions.create(
            model=model, messages=self.turns, tools=tools, stream=True
        ):
            state.handle_chunk(chunk)
        whole: dict[str, Any] = state.get_final_completion().choices[0].message.model_dump(exclude_unset=True)
        return whole

    def results(self, calls: list[Called]) -> None:
        image = {"type": "image_url", "image_url": {"url": DATA_URI}}
        contents: list[Any] = [[{"type": "text", "text": "here"}, image], "it broke"]
        for place, call in enumerate(calls):
            content = contents[place] if place < len(contents) else SCHEMA
            self.turns.append({"role": "tool", "tool_call_id": call.id, "content": content})

    async def close(self) -> None:
        await self.client.close()


class MessagesAgent(Agent):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client = AsyncAnthropic(base_url=url, api_key="any", max_retries=0)

    def ask(self, text: str) -> None:
        self.turns.append({"role": "user", "content": [{"type": "text", "text": text}]})

    async def answer(self, model: str, stream: bool) -> list[Called]:
        tools: Any = [
            {"name": name, "input_schema": schema, **({"strict": True} if schema is OPEN else {})}
            for name, schema in TOOLS.items()
        ]
        asked: Any = {"model": model, "max_tokens": 100, "messages": self.turns, "tools": tools, "system": "Be brief."}
        if stream:
            async with self.client.messages.stream(**asked) as answering:
                message = await answering.get_final_message()
        else:
            message = await self.client.messages.create(**asked)
        self.turns.append({"role": "assistant", "content": message.content})
        return [Called(block.id, block.name) for block in message.content if block.type == "tool_use"]

    def results(self, calls: list[Called]) -> None:
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": PNG}}
        contents: list[Any] = [[{"type": "text", "text": "here"}, image], "it broke"]
        blocks = []
        for place, call in enumerate(calls):
            content = contents[place] if place < len(contents) else SCHEMA
            failed = {"is_error": True} if place == 1 else {}
            blocks.append({"type": "tool_result", "tool_use_id": call.id, "content": content, **failed})
        self.turns.append({"role": "user", "content": blocks})

    async def close(self) -> None:
        await self.client.close()


class ResponsesAgent(Agent):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client = AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)

    def ask(self, text: str) -> None:
        self.turns.append({"role": "user", "content": text})

    async def answer(self, model: str, stream: bool) -> list[Called]:
        tools: Any = [
            {"type": "function", "name": name, "parameters": schema, "strict": schema is OPEN}
            for name, schema in TOOLS.items()
        ]
        asked: Any = {"model": model, "input": self.turns, "tools": tools, "instructions": "Be brief.", "store": False}
        asked["include"] = ["reasoning.encrypted_content"]
        if stream:
            events = await self.client.responses.create(**asked, stream=True)
            items = [event.item async for event in events if event.type == "response.output_item.done"]
        else:
            items = (await self.client.responses.create(**asked)).output
        self.turns += [item.model_dump(exclude_unset=True) for item in items]
        return [Called(item.call_id, item.name) for item in items if item.type == "function_call"]

    def results(self, calls: list[Called]) -> None:
        image = {"type": "input_image", "image_url": DATA_URI, "detail": "auto"}
        contents: list[Any] = [[{"type": "input_text", "text": "here"}, image], "it broke"]
        for place, call in enumerate(calls):
            output = contents[place] if place < len(contents) else SCHEMA
            self.turns.append({"type": "function_call_output", "call_id": call.id, "output": output})

    async def close(self) -> None:
        await self.client.close()


AGENTS: dict[str, type[Agent]] = {"chat": ChatAgent, "messages": MessagesAgent, "responses": ResponsesAgent}
