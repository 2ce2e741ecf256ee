"""The byte cases of all wires as models behind one gateway, and what a client library should see of each.

It never knows a library.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

from infron.testing import Answer, Call, RunningGateway, Script, ScriptedProvider, gateway, speak
from infron.testing.scripts import json_answer

CASES = Path(__file__).parents[1] / "wires" / "cases"
WIRES = ("openai-chat", "anthropic", "bedrock", "cloudflare", "cohere", "gemini", "openai-responses", "replicate")
_NAME = re.compile(r"/(?:models|model|run)/(\w+)")
_PREDICTION = re.compile(r"/replicate/(?:models/case/([^/]+)/predictions|predictions/([^/]+))(?:/(\w+))?$")


class Seen(NamedTuple):
    """Of the first choice. `calls`: name and arguments; `calls_of_old`: those of the older kind. `failed`: an error is
    raised or shown.
    """

    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    finish: str = ""
    failed: bool = False
    refusal: str = ""
    calls_of_old: tuple[tuple[str, str], ...] = ()


class Odd(NamedTuple):
    wire: str
    name: str
    data: bytes
    case: dict[str, Any]

    @property
    def id(self) -> str:
        return f"{self.wire}/{self.name}"

    @property
    def special(self) -> dict[str, Any]:
        """What its provider's definition says beside the usual."""
        quirks = self.case.get("quirks")
        return {**self.case.get("row", {}), **({"quirks": quirks} if quirks else {})}

    @property
    def provider(self) -> str:
        return f"{self.wire}-{self.name}".replace("_", "-") if self.special else self.wire

    @property
    def model(self) -> str:
        return f"{self.provider}/{'case/' if self.wire == 'replicate' else ''}{self.name}"

    @property
    def told(self) -> bool:
        """Whether the answer is there: what leads to a further request is told by that."""
        return not any("Onward" in event for event in self.case["events"])

    @property
    def script(self) -> Script:
        kind = "application/json" if self.case.get("whole") else speak(self.wire).media_type
        return [Answer(headers=(("content-type", kind),)), self.data]

    @property
    def seen(self) -> Seen:
        return _of_frames(self.case) if self.wire == "openai-chat" else _of_events(self.case["events"])


def _of_frames(case: dict[str, Any]) -> Seen:
    text, finish, refusal = "", "", ""
    calls: dict[int, list[str]] = {}
    old = ["", ""]
    for frame in case["client"]:
        for choice in frame["choices"]:
            if choice["index"]:
                continue
            delta = choice["delta"]
            text += delta.get("content") or ""
            refusal += delta.get("refusal") or ""
            finish = choice.get("finish_reason") or finish
            for place, name in enumerate(("name", "arguments")):
                old[place] += (delta.get("function_call") or {}).get(name) or ""
            for item in delta.get("tool_calls") or ():
                part = item.get("function") or {}
                known = calls.setdefault(item["index"], ["", ""])
                known[0] += part.get("name") or ""
                known[1] += part.get("arguments") or ""
    failed = not finish or any("failed" in event for event in case["events"])
    made = tuple((name, arguments) for name, arguments in calls.values())
    return Seen(text, made, finish, failed, refusal, ((old[0], old[1]),) if old[0] else ())


def _of_events(events: list[Any]) -> Seen:
    text, finish, refusal = "", "", ""
    calls: dict[int, list[str]] = {}
    failed = False
    for event in events:
        ((kind, fields),) = event.items() if isinstance(event, dict) else [(event, {})]
        failed = failed or kind == "Failed"
        if not isinstance(fields, dict) or fields.get("choice"):
            continue
        match kind:
            case "TextDelta":
                text += fields["text"]
            case "RefusalDelta":
                refusal += fields["text"]
            case "ToolCallStarted":
                calls[fields["index"]] = [fields["name"], ""]
            case "ToolCallDelta":
                calls[fields["index"]][1] += fields["arguments"]
            case "Finished":
                finish = fields["reason"]
    made = tuple((name, arguments) for name, arguments in calls.values())
    return Seen(text, made, finish, failed or not finish, refusal)


def odd_streams() -> list[Odd]:
    return [
        Odd(wire, path.stem, path.read_bytes(), json.loads(path.with_suffix(".json").read_text()))
        for wire in WIRES
        for path in sorted((CASES / wire.replace("-", "_")).glob("*.bytes"))
    ]


ODD = {odd.id: odd for odd in odd_streams() if odd.told}


def _script(call: Call) -> Script:
    wire = call.path.split("/")[2]
    if wire == "replicate":
        return _of_prediction(call)
    found = _NAME.search(call.path)
    name = found[1] if found else call.json["model"]
    return ODD[f"{wire}/{name}"].script


def _of_prediction(call: Call) -> Script:
    """A prediction that is streamed as the case has it, and has ended so for who looks at it."""
    found = _PREDICTION.search(call.path)
    assert found is not None
    name, what = found[1] or found[2], found[3]
    odd = ODD[f"replicate/{name.replace('-', '_')}"]
    if what == "stream" or odd.case.get("whole"):
        return odd.script
    here = f"http://{call.headers['host']}/v1/replicate/predictions/{odd.name.replace('_', '-')}"
    status = "starting" if call.method == "POST" else "failed" if odd.seen.failed else "succeeded"
    urls = {"get": here, "cancel": f"{here}/cancel", "stream": f"{here}/stream"}
    return [json_answer(200, {"id": odd.name.replace("_", "-"), "status": status, "urls": urls, "metrics": {}})]


@contextlib.asynccontextmanager
async def odd_gateway() -> AsyncIterator[RunningGateway]:
    """A gateway whose models are these: `Odd.model`."""
    async with ScriptedProvider(_script) as provider:
        rows = {
            odd.provider: provider.definition(
                **{**speak(odd.wire).definition, "base_url": f"{provider.base_url}/{odd.wire}", **odd.special}
            )
            for odd in ODD.values()
        }
        async with gateway(providers=rows) as running:
            yield running
